//! What wakes the controller: the store's watch and the engine's events, each turned into keys.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt as _, stream};
use rand::Rng;

use super::Key;
use crate::agent::{Agent, ResourceVersion, upstreams};
use crate::controller::{
    Backoff, Cache, CacheWriter, Change, Changes, ListWatch, Listing, reflect, resubscribe, watcher,
};
use crate::endpoints::Endpoints;
use crate::names::AgentName;
use crate::runtime::{ContainerRuntime, RuntimeError, RuntimeEvent};
use crate::store::{AgentStore, StoreError};

/// Between two tries to reach a source that is away.
const RETRY: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
/// All objects are read again this often, whatever was told: nothing rests on having heard of a change.
const RELIST: Duration = Duration::from_secs(300);

struct StoreWatch(Arc<dyn AgentStore>);

impl ListWatch for StoreWatch {
    type Key = AgentName;
    type Object = Agent;
    type Position = ResourceVersion;
    type Error = StoreError;

    async fn list(&self) -> Result<Listing<Agent, ResourceVersion>, StoreError> {
        let list = self.0.list().await?;
        Ok(Listing {
            objects: list.agents,
            position: list.resource_version,
        })
    }

    async fn watch(&self, after: ResourceVersion) -> Result<Changes<Self>, StoreError> {
        let changes = self.0.watch(after).await?;
        Ok(changes
            .map(|change| {
                let change = change?;
                Ok(Change {
                    key: change.name,
                    object: change.agent,
                    position: change.resource_version,
                })
            })
            .boxed())
    }

    fn must_list(&self, error: &StoreError) -> bool {
        matches!(error, StoreError::Expired)
    }
}

/// Keys whose agent changed in the store, and those whose spec names an agent that came, went or changed its readiness.
pub(super) fn store(
    store: Arc<dyn AgentStore>,
    writer: CacheWriter<AgentName, Agent>,
    agents: Cache<AgentName, Agent>,
    endpoints: Arc<Endpoints>,
    heard: impl Fn(&AgentName) + Send + 'static,
    rng: impl Rng + Send + 'static,
) -> impl Stream<Item = Key> + Send {
    let mut known: BTreeMap<AgentName, (ResourceVersion, bool)> = BTreeMap::new();
    let mut namers = Namers::default();
    let watched = watcher("store", StoreWatch(store), RETRY, RELIST, rng);
    reflect(writer, watched).flat_map(move |name| {
        let snapshot = agents.snapshot();
        let now = snapshot
            .get(&name)
            .map(|agent| (agent.metadata.resource_version, agent.status.is_ready()));
        let before = match now {
            Some(now) => known.insert(name.clone(), now),
            None => known.remove(&name),
        };
        namers.note(&name, snapshot.get(&name).map(|agent| &**agent));
        if let Some(agent) = snapshot.get(&name).filter(|_| before.is_none()) {
            endpoints.announce(
                &name,
                &agent.metadata.uid,
                &agent.spec.proxy,
                agent.spec.persistence.as_ref(),
            );
        }
        // What the leader drains gets nothing new from here on.
        heard(&name);
        let mut keys = Vec::new();
        if now.is_some_and(|_| before.is_some())
            && before.map(|seen| seen.0) == now.map(|seen| seen.0)
        {
            // The status alone: our own writing, nothing to do for the agent itself.
        } else {
            keys.push(Key::Agent(name.clone()));
        }
        if before.map(|seen| seen.1) != now.map(|seen| seen.1) {
            keys.extend(namers.of(&name).map(Key::Agent));
        }
        stream::iter(keys)
    })
}

/// Who waits for whom, or calls whom. Specs say so, not statuses: those leave out who was not there.
#[derive(Default)]
struct Namers {
    /// Agents by those whose spec names them.
    by_named: BTreeMap<AgentName, BTreeSet<AgentName>>,
    named: BTreeMap<AgentName, BTreeSet<AgentName>>,
}

impl Namers {
    fn note(&mut self, name: &AgentName, agent: Option<&Agent>) {
        let names: BTreeSet<AgentName> = agent.map_or_else(BTreeSet::new, |agent| {
            let called = upstreams::named(name, &agent.spec.env);
            called.chain(agent.spec.depends_on.clone()).collect()
        });
        let before = self.named.get(name);
        if before == Some(&names) || (before.is_none() && names.is_empty()) {
            return;
        }
        for gone in self.named.remove(name).unwrap_or_default() {
            if let Some(namers) = self.by_named.get_mut(&gone) {
                namers.remove(name);
            }
        }
        for other in &names {
            let namers = self.by_named.entry(other.clone()).or_default();
            namers.insert(name.clone());
        }
        if !names.is_empty() {
            self.named.insert(name.clone(), names);
        }
    }

    fn of(&self, name: &AgentName) -> impl Iterator<Item = AgentName> + use<> {
        let namers = self.by_named.get(name).cloned();
        namers.unwrap_or_default().into_iter()
    }
}

/// Keys that the engine's events name; after each gap the host and every agent that is known.
pub(super) fn engine(
    runtime: Arc<dyn ContainerRuntime>,
    endpoints: Arc<Endpoints>,
    known: impl Fn() -> Vec<Key> + Clone + Send + 'static,
    rng: impl Rng + Send + 'static,
) -> impl Stream<Item = Key> + Send {
    resubscribe("engine", RETRY, rng, move || {
        let (runtime, known) = (Arc::clone(&runtime), known.clone());
        let endpoints = Arc::clone(&endpoints);
        async move {
            let events = runtime.events().await?;
            // Subscribed: whatever happened before is looked for.
            endpoints.unsettle();
            let all = std::iter::once(Key::Host).chain(known());
            let first = stream::iter(all.map(Ok::<_, RuntimeError>).collect::<Vec<_>>());
            let ended = Arc::clone(&endpoints);
            let heard = move |event: Result<RuntimeEvent, RuntimeError>| {
                // What happens from now on is not told.
                let event = event.inspect_err(|_| endpoints.unsettle())?;
                note_doubt(&endpoints, &event);
                Ok(key_of(event))
            };
            let end = stream::once(async move { ended.unsettle() });
            let end = end.filter_map(|()| std::future::ready(None));
            Ok::<_, RuntimeError>(first.chain(events.map(heard)).chain(end))
        }
    })
}

/// What an event says of addresses, before any pass has looked.
fn note_doubt(endpoints: &Endpoints, event: &RuntimeEvent) {
    endpoints.unsettle();
    if let RuntimeEvent::Container { id, action, .. } = event
        && ["die", "destroy", "network disconnect"].contains(&action.as_str())
    {
        endpoints.let_go(id);
    }
}

fn key_of(event: RuntimeEvent) -> Key {
    match event {
        RuntimeEvent::Container { agent, .. } => Key::Agent(agent),
        RuntimeEvent::Network => Key::Host,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_agent_that_is_called_and_did_not_exist_before_concerns_its_caller() {
        let caller: Agent = serde_json::from_value(serde_json::json!({
            "apiVersion": "agentainer.dev/v1",
            "kind": "Agent",
            "metadata": {
                "name": "gateway", "owner": "default", "uid": "u", "generation": 1,
                "resourceVersion": "1", "creationTimestamp": "2026-01-01T00:00:00Z",
            },
            "spec": {"env": {"A": "http://billing:8000"}, "dependsOn": ["auth"]},
        }))
        .unwrap();
        let name = |text: &str| AgentName::new(text).unwrap();
        let mut namers = Namers::default();
        namers.note(&name("gateway"), Some(&caller));
        let concerned = |namers: &Namers, other: &str| namers.of(&name(other)).count();
        assert!(caller.status.upstreams.is_empty());
        let counts = ["billing", "auth", "users", "gateway"].map(|other| concerned(&namers, other));
        assert_eq!(counts, [1, 1, 0, 0]);
        namers.note(&name("gateway"), None);
        assert_eq!(concerned(&namers, "billing"), 0);
    }
}
