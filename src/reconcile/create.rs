//! Makes one container: incarnation and address are reserved first, the name is the compare-and-swap.

use std::net::Ipv4Addr;

use super::{PassError, Reconcile};
use crate::agent::Agent;
use crate::clock;
use crate::names::AgentName;
use crate::observed::{ContainerId, Identity};
use crate::plan::{CreateInstance, START_FAILED};
use crate::runtime::{CreateContainer, Origin, RuntimeClass};

impl Reconcile {
    pub(super) async fn create(
        &self,
        name: &AgentName,
        agent: Option<&Agent>,
        wanted: &CreateInstance,
    ) -> Result<bool, PassError> {
        let network = self
            .network
            .borrow()
            .clone()
            .ok_or(PassError::Stale("the agents' network is missing"))?;
        let store = &self.parts.store;
        let place = store
            .reserve(&wanted.uid, wanted.ordinal, wanted.after_incarnation)
            .await?;
        let container_name = name.container(wanted.ordinal, place.incarnation);
        let request = CreateContainer {
            name: container_name.clone(),
            identity: Identity {
                cluster: self.settings.cluster.clone(),
                agent: name.clone(),
                uid: wanted.uid.clone(),
                generation: wanted.generation,
                revision: wanted.revision.clone(),
                ordinal: wanted.ordinal,
                incarnation: place.incarnation,
                epoch: self.epoch(),
            },
            origin: origin(agent, wanted),
            spec: wanted.spec.clone(),
            image: wanted.image.clone(),
            injected_env: self.settings.injection.environment(
                name,
                &wanted.uid,
                self.epoch(),
                &container_name,
            ),
            network: network.id.clone(),
            address: self
                .addresses
                .lock()
                .take(&network, place.address_cursor, clock::now()),
            aliases: [name.to_string(), container_name.clone()].into(),
            host_gateway: network.gateway,
        };
        let id = match self.parts.runtime.create(&request).await {
            Ok(id) => id,
            Err(error) if error.class() == RuntimeClass::Conflict => {
                // An earlier try of ours that seemed to fail, or somebody else's container: adopt or go on above it.
                let holder = self.parts.runtime.holder_of_name(&container_name).await?;
                match holder.filter(|holder| holder.identity.as_ref() == Some(&request.identity)) {
                    Some(ours) => ours.id,
                    None => {
                        let place = (wanted.ordinal, &wanted.revision);
                        return self.remember(name, agent, place, "CreateFailed", error);
                    }
                }
            }
            Err(error) => {
                let place = (wanted.ordinal, &wanted.revision);
                return self.remember(name, agent, place, "CreateFailed", error);
            }
        };
        if wanted.take_agent_name {
            match self.parts.runtime.rename(&id, name.as_str()).await {
                Err(error) if error.class() == RuntimeClass::Conflict => {}
                other => other?,
            }
        }
        if wanted.start {
            return self.start_new(name, agent, wanted, &id).await;
        }
        Ok(true)
    }

    async fn start_new(
        &self,
        name: &AgentName,
        agent: Option<&Agent>,
        wanted: &CreateInstance,
        id: &ContainerId,
    ) -> Result<bool, PassError> {
        if let Err(error) = self.parts.runtime.start(id).await {
            let place = (wanted.ordinal, &wanted.revision);
            return self.remember(name, agent, place, START_FAILED, error);
        }
        self.forgive(name, agent, wanted.ordinal);
        if wanted.paused {
            self.parts.runtime.pause(id).await?;
        }
        Ok(true)
    }

    /// A free address of the agents' network for a container, when we choose them. Where the search begins hangs on the
    /// container, so that a server that has just begun, and knows of no address that rests, seldom gives one of those.
    pub(super) fn fresh_address(&self, container: &ContainerId) -> Option<Ipv4Addr> {
        let network = self.network.borrow().clone()?;
        let id = container.0.bytes();
        let cursor = id.fold(0_u64, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(u64::from(byte))
        });
        self.addresses.lock().take(&network, cursor, clock::now())
    }
}

/// What is kept on the container for `recover`.
fn origin(agent: Option<&Agent>, wanted: &CreateInstance) -> Origin {
    Origin {
        owner: agent.map(|agent| agent.metadata.owner.clone()),
        restarted_at: wanted.restarted_at.clone(),
    }
}
