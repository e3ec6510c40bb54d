//! The oracle: what it means that the world matches the specs.

use std::collections::BTreeSet;

use agentainer::agent::spec::DesiredState;
use agentainer::agent::{Agent, Phase, Revision};
use agentainer::observed::{Container, ContainerState};
use agentainer::store::AgentStore;

use crate::world::World;

impl World {
    /// Where world and specs differ; `None`: nowhere.
    pub async fn mismatch(&self) -> Option<String> {
        let agents = self.store.list().await.unwrap().agents;
        for agent in &agents {
            if let Err(why) = self.matches(agent) {
                return Some(format!("{}: {why}", agent.metadata.name));
            }
        }
        let known: BTreeSet<_> = agents.iter().map(|agent| &agent.metadata.name).collect();
        let containers = self.port.look();
        let stray = containers
            .iter()
            .find(|container| !known.contains(&container.identity.agent));
        if let Some(stray) = stray {
            return Some(format!("{} has no object", stray.name));
        }
        let addresses: Vec<_> = containers.iter().filter_map(asked).collect();
        let distinct: BTreeSet<_> = addresses.iter().collect();
        (distinct.len() < addresses.len()).then(|| format!("one address twice: {addresses:?}"))
    }

    fn matches(&self, agent: &Agent) -> Result<(), String> {
        let name = agent.metadata.name.as_str();
        let containers = self.containers(name);
        let spec = agent.spec.clone().normalized();
        let ensure = |holds: bool, why: String| if holds { Ok(()) } else { Err(why) };
        ensure(
            agent.metadata.deletion_timestamp.is_none(),
            "it is not gone".to_owned(),
        )?;
        let ordinals: Vec<u32> = containers.iter().map(|c| c.identity.ordinal).collect();
        let wanted: Vec<u32> = (0..spec.replicas.0).collect();
        let stopped = spec.state == DesiredState::Stopped;
        ensure(
            ordinals == wanted || (stopped && ordinals.iter().all(|o| wanted.contains(o))),
            format!("containers of ordinals {ordinals:?}"),
        )?;
        let serves = spec.state == DesiredState::Running;
        let ready = if serves { wanted.len() } else { 0 };
        ensure(
            self.ready_everywhere(name) == BTreeSet::from([ready]),
            format!("routed: {:?}", self.routed(name)),
        )?;
        let gone: Vec<_> = self
            .routed(name)
            .into_iter()
            .filter(|(id, _)| !containers.iter().any(|container| container.id == *id))
            .collect();
        ensure(gone.is_empty(), format!("routed to what is gone: {gone:?}"))?;
        let status = &agent.status;
        let phase = match spec.state {
            DesiredState::Stopped => Phase::Stopped,
            DesiredState::Paused => Phase::Paused,
            DesiredState::Running if wanted.is_empty() => Phase::Stopped,
            DesiredState::Running => Phase::Running,
        };
        ensure(status.phase == phase, format!("phase {}", status.phase))?;
        ensure(
            status.observed_generation == agent.metadata.generation,
            "an old status".to_owned(),
        )?;
        let is_ready = phase == Phase::Running;
        ensure(
            status.is_ready() == is_ready,
            format!("Ready: {}", status.is_ready()),
        )?;
        for kind in ["Quarantined", "Stuck"] {
            ensure(status.condition(kind).is_none(), kind.to_owned())?;
        }
        // Dear, so last.
        let revision = agent.revision();
        for container in &containers {
            self.container_matches(agent, &revision, container)
                .map_err(|why| format!("{}: {why}", container.name))?;
        }
        Ok(())
    }

    fn container_matches(
        &self,
        agent: &Agent,
        revision: &Revision,
        container: &Container,
    ) -> Result<(), String> {
        let ensure = |holds: bool, why: String| if holds { Ok(()) } else { Err(why) };
        let identity = &container.identity;
        ensure(
            identity.uid == agent.metadata.uid,
            "of another life".to_owned(),
        )?;
        let state = match agent.spec.state {
            DesiredState::Running => ContainerState::Running,
            DesiredState::Paused => ContainerState::Paused,
            DesiredState::Stopped => {
                let rests = matches!(
                    container.state,
                    ContainerState::Exited | ContainerState::Created
                );
                return ensure(rests, container.state.as_str().to_owned());
            }
        };
        ensure(
            container.state == state,
            container.state.as_str().to_owned(),
        )?;
        // A paused agent is frozen where it is.
        let paused = agent.spec.state == DesiredState::Paused;
        ensure(
            paused || identity.revision == *revision,
            "of another revision".to_owned(),
        )?;
        ensure(
            container.limits.pids == 512 || identity.revision != *revision,
            format!("limits {:?}", container.limits),
        )?;
        if paused {
            return Ok(());
        }
        let network = self.port.look_at_network().ok_or("no network")?;
        let place = container.attachment.as_ref().ok_or("detached")?;
        ensure(place.network == network.id, "on another network".to_owned())?;
        ensure(
            place.ip.is_some() && place.ip == place.asked_ip.map(Into::into),
            format!("address {:?}, asked {:?}", place.ip, place.asked_ip),
        )?;
        let own = agent
            .metadata
            .name
            .container(identity.ordinal, identity.incarnation);
        let names = [agent.metadata.name.to_string(), own];
        ensure(
            names
                .iter()
                .all(|name| place.aliases.contains(name) || container.name == *name),
            format!("DNS names {:?}", place.aliases),
        )
    }

    /// Ordinal 0 carries its agent's name, all others their own.
    pub fn names_are_right(&self, agent: &str) -> bool {
        self.containers(agent).iter().all(|container| {
            let identity = &container.identity;
            container.name
                == if identity.ordinal == 0 {
                    agent.to_owned()
                } else {
                    identity
                        .agent
                        .container(identity.ordinal, identity.incarnation)
                }
        })
    }
}

fn asked(container: &Container) -> Option<std::net::Ipv4Addr> {
    container.attachment.as_ref()?.asked_ip
}
