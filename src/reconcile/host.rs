//! One pass over the host: whose store it is, the agents' network, which addresses are in use, agents that have
//! containers and no object.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::board::host_condition;
use super::leadership::Standing;
use super::{Key, PassError, Reconcile, Requeue};
use crate::agent::EventKind;
use crate::clock;
use crate::names::AgentName;
use crate::observed::{Container, ContainerState, Network};
use crate::runtime::RuntimeClass;
use crate::store::{self, ClusterRecord};

/// Between two looks at the host, at least.
const FLOOR: Duration = Duration::from_millis(300);
/// Between two looks while something is wrong with the store: all are frozen until it is seen to be well.
const AGAIN: Duration = Duration::from_secs(2);

/// Why all is left alone when the store is not ours.
pub(super) const ANOTHER_CLUSTER: &str = "the store belongs to another cluster; nothing is removed";

impl Reconcile {
    pub(super) async fn host_pass(&self) -> Result<Requeue, PassError> {
        // Each start of a container is a network event: many of them are one look.
        let now = Instant::now();
        let last = *self.host_looked.lock();
        let wait = last.map_or(Duration::ZERO, |last| {
            FLOOR.saturating_sub(now.duration_since(last))
        });
        if !wait.is_zero() {
            return Ok(Requeue::After(wait));
        }
        *self.host_looked.lock() = Some(now);
        let began = self.leadership.standing();
        self.check_store().await;
        let containers = match self.parts.runtime.list().await {
            Ok(containers) => {
                self.parts
                    .board
                    .set(host_condition::DOCKER, true, "Answers", "Docker answers");
                containers
            }
            Err(error) => {
                self.parts.board.set(
                    host_condition::DOCKER,
                    false,
                    "NotAnswering",
                    error.to_string(),
                );
                return Err(error.into());
            }
        };
        let Some(network) = self.ensure_network(began).await? else {
            return Ok(Requeue::After(AGAIN));
        };
        self.addresses
            .lock()
            .refresh(&containers, Some(&network), clock::now());
        self.tell_of_addresses(&network);
        self.parts.endpoints.set_adopted(!network.addresses_owned);
        self.wake_detached(&containers, &network);
        let changed = self.network.send_if_modified(|known| {
            let differs = known.as_ref().map(|known| (&known.id, known.gateway))
                != Some((&network.id, network.gateway));
            *known = Some(network);
            differs
        });
        self.note_containers(&containers);
        if changed {
            self.wake_known();
        }
        Ok(Requeue::Done)
    }

    /// Remembers whether the store was another cluster's when it last answered.
    pub(super) fn note_owner(&self, record: &store::Result<Option<ClusterRecord>>) {
        if let Ok(record) = record {
            let foreign = matches!(record, Some(record) if record.id != self.settings.cluster);
            self.foreign.store(foreign, Ordering::Relaxed);
        }
    }

    /// Whose store it is. One without our id was wiped: it becomes ours again in a later epoch, and what it no longer
    /// knows keeps running, for want of a tombstone (law 6).
    async fn check_store(&self) {
        let ours = &self.settings.cluster;
        let board = &self.parts.board;
        let record = self.parts.store.cluster().await;
        self.note_owner(&record);
        let problem = match record {
            Ok(Some(record)) if record.id == *ours => {
                self.epoch.store(record.epoch, Ordering::Relaxed);
                None
            }
            Ok(Some(_)) => Some(("AnotherCluster", ANOTHER_CLUSTER.to_owned())),
            Ok(None) => {
                let next = self.epoch() + 1;
                match self.parts.store.found(ours, next).await {
                    Ok(_) => Some((
                        "Wiped",
                        "the store was empty: agents it does not know keep running in quarantine"
                            .to_owned(),
                    )),
                    Err(error) => Some(("NotAnswering", error.to_string())),
                }
            }
            Err(error) => Some(("NotAnswering", error.to_string())),
        };
        match problem {
            None => board.set(
                host_condition::STORE,
                true,
                "Answers",
                "the store answers and is ours",
            ),
            Some((reason, ref message)) => {
                board.set(host_condition::STORE, false, reason, message.clone())
            }
        }
        if problem.is_some()
            && let Some(trigger) = self.trigger.get()
        {
            trigger.wake_at(Key::Host, Instant::now() + AGAIN);
        }
        let reason = problem.map(|(_, message)| message);
        let before = std::mem::replace(&mut *self.frozen.lock(), reason.clone());
        if before.is_some() && reason.is_none() {
            self.wake_known();
        }
    }

    /// The network, made when it is missing, and made again with a subnet of ours when it has none and is empty; by who leads
    /// alone. `None`: it is missing, and another server makes it.
    async fn ensure_network(&self, began: Standing) -> Result<Option<Network>, PassError> {
        let found = self.parts.runtime.network().await?;
        let frozen = self.frozen.lock().is_some();
        if let Some(network) = &found
            && (network.addresses_owned || frozen || !network.members.is_empty())
        {
            return Ok(found);
        }
        match self
            .leadership
            .during(began, true, self.make_network(found.clone()))
            .await
        {
            Some(made) => made.map(Some),
            None => Ok(found),
        }
    }

    async fn make_network(&self, found: Option<Network>) -> Result<Network, PassError> {
        let runtime = &self.parts.runtime;
        let bare = found.is_some();
        if let Some(network) = found {
            tracing::info!(network = %network.name, "the agents' network has no subnet of its own and is empty: making it again");
            match runtime.remove_network(&network.id).await {
                Ok(()) => {}
                Err(error) if error.class() == RuntimeClass::Conflict => return Ok(network),
                Err(error) => return Err(error.into()),
            }
        }
        let mut last = None;
        for subnet in (self.settings.subnets)() {
            match runtime.create_network(subnet).await {
                Ok(network) => {
                    self.parts.board.set(
                        host_condition::NETWORK,
                        true,
                        "Created",
                        format!("{} is there", network.name),
                    );
                    let why = if bare {
                        "had no subnet of its own"
                    } else {
                        "was not there"
                    };
                    let message = format!("network '{}' {why} and was made", network.name);
                    self.tell(None, EventKind::Normal, "NetworkCreated", &message);
                    return Ok(network);
                }
                // Taken by another network or a route of the host: the next one.
                Err(error)
                    if matches!(
                        error.class(),
                        RuntimeClass::Conflict | RuntimeClass::Terminal
                    ) =>
                {
                    last = Some(error)
                }
                Err(error) => return Err(error.into()),
            }
        }
        match last {
            Some(error) => {
                self.parts.board.set(
                    host_condition::NETWORK,
                    false,
                    "NotCreated",
                    error.to_string(),
                );
                Err(error.into())
            }
            None => Err(PassError::Stale(
                "no subnet is left for the agents' network; name one with --subnet",
            )),
        }
    }

    fn tell_of_addresses(&self, network: &Network) {
        let board = &self.parts.board;
        board.set(
            host_condition::NETWORK,
            true,
            "Present",
            format!("{} is there", network.name),
        );
        if network.addresses_owned {
            board.set(
                host_condition::ADDRESSES,
                true,
                "AddressesOwned",
                "addresses are chosen by agentainer and rest before they are given again",
            );
        } else {
            board.set(
                host_condition::ADDRESSES,
                false,
                "AddressesNotOwned",
                format!(
                    "{} was made without a subnet of its own; it is made again when it is empty",
                    network.name
                ),
            );
        }
    }

    /// Wakes agents with a running container that is not on the network.
    fn wake_detached(&self, containers: &[Container], network: &Network) {
        let detached = containers.iter().filter(|container| {
            let on_it = container
                .attachment
                .as_ref()
                .is_some_and(|attachment| attachment.network == network.id);
            container.state == ContainerState::Running && !on_it
        });
        for container in detached {
            self.wake(Key::Agent(container.identity.agent.clone()));
        }
    }

    /// Wakes agents that have containers and were not known to, and says which are in quarantine.
    fn note_containers(&self, containers: &[Container]) {
        let named: BTreeSet<AgentName> = containers
            .iter()
            .map(|container| container.identity.agent.clone())
            .collect();
        let objects = self.agents.snapshot();
        let stray: Vec<_> = named
            .iter()
            .filter(|name| !objects.contains_key(*name))
            .map(ToString::to_string)
            .collect();
        let board = &self.parts.board;
        if stray.is_empty() {
            // Only its presence means something: who reads a list of conditions looks for what is False.
            board.clear(host_condition::QUARANTINE);
        } else {
            let message = format!(
                "containers of agents that the store does not know keep running: {}; `agentainer recover` takes them up again, so does applying their manifests; else remove the containers",
                stray.join(", ")
            );
            board.set(
                host_condition::QUARANTINE,
                true,
                "ContainersWithoutAgent",
                message,
            );
        }
        let new: Vec<AgentName> = {
            let mut seen = self.seen.lock();
            named
                .into_iter()
                .filter(|name| seen.insert(name.clone()))
                .collect()
        };
        for name in new {
            self.wake(Key::Agent(name));
        }
        for name in stray
            .iter()
            .filter_map(|name| AgentName::new(name.clone()).ok())
        {
            self.wake(Key::Agent(name));
        }
    }
}
