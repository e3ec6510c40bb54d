//! Hints from the engine: what happened to our containers and our network.
//!
//! Read as plain JSON: with bollard's models one event of a type that is not in its list ends the stream, and what
//! came after it is never told.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use http::Method;
use parking_lot::Mutex;
use serde_json::Value;

use super::{DockerRuntime, READ, error, filters, map, stream};
use crate::clock;
use crate::keys::label;
use crate::names::AgentName;
use crate::observed::ContainerId;
use crate::runtime::{Result, RuntimeEvent};

/// What matters of all that is told. Probes inside containers alone would make three events each (`exec_…`).
const ACTIONS: [&str; 15] = [
    "create",
    "remove",
    "start",
    "restart",
    "die",
    "stop",
    "kill",
    "oom",
    "pause",
    "unpause",
    "rename",
    "update",
    "destroy",
    "connect",
    "disconnect",
];
/// The engine answers a moment before it listens: what happened in between is asked for with the rest, in seconds.
const OVERLAP: i64 = 1;

impl DockerRuntime {
    pub(super) async fn follow_events(&self) -> Result<BoxStream<'static, Result<RuntimeEvent>>> {
        let list = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        let filters = filters(&BTreeMap::from([
            ("type", list(&["container", "network"])),
            ("event", list(&ACTIONS)),
        ]));
        let since = clock::now().as_second() - OVERLAP;
        let path = format!("/events?since={since}&filters={filters}");
        let open = self.transport.open(Method::GET, &path, None::<&Value>);
        let response = self.within("events", READ, open).await?;
        let reader = Reader {
            cluster: self.settings.cluster.to_string(),
            network: self.settings.network.clone(),
            owners: Arc::clone(&self.owners),
        };
        let address = self.address.clone();
        Ok(stream::lines(response)
            .map_err(move |cause| error::map("events", &address, cause))
            .try_filter_map(move |line| {
                let event = reader.read(&line);
                async move { Ok(event) }
            })
            .boxed())
    }
}

struct Reader {
    cluster: String,
    network: String,
    owners: Arc<Mutex<BTreeMap<ContainerId, AgentName>>>,
}

impl Reader {
    /// One event as a hint; `None` when it is not about us.
    fn read(&self, event: &Value) -> Option<RuntimeEvent> {
        let action = map::text(event, "/Action")?;
        let attributes = event.pointer("/Actor/Attributes")?;
        let attribute = |name: &str| attributes.get(name).and_then(Value::as_str);
        match map::text(event, "/Type")? {
            "container" => {
                if attribute(label::CLUSTER)? != self.cluster {
                    return None;
                }
                let agent = AgentName::new(attribute(label::AGENT)?).ok()?;
                let id = ContainerId(map::text(event, "/Actor/ID")?.to_owned());
                let mut owners = self.owners.lock();
                if action == "destroy" {
                    owners.remove(&id);
                } else {
                    owners.insert(id.clone(), agent.clone());
                }
                Some(RuntimeEvent::Container {
                    agent,
                    id,
                    action: action.to_owned(),
                })
            }
            "network" if attribute("name")? == self.network => {
                let member = attribute("container").map(|id| ContainerId(id.to_owned()));
                let owner = |id: ContainerId| {
                    let agent = self.owners.lock().get(&id).cloned()?;
                    Some(RuntimeEvent::Container {
                        agent,
                        id,
                        action: format!("network {action}"),
                    })
                };
                Some(member.and_then(owner).unwrap_or(RuntimeEvent::Network))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reader() -> Reader {
        Reader {
            cluster: "c1".to_owned(),
            network: "agentainer-network".to_owned(),
            owners: Arc::default(),
        }
    }

    fn of_container(cluster: &str, action: &str) -> Value {
        json!({"Type": "container", "Action": action, "Actor": {"ID": "x1", "Attributes": {
            "agentainer.dev/cluster": cluster, "agentainer.dev/agent": "users"}}})
    }

    fn of_network(name: &str, action: &str, container: &str) -> Value {
        json!({"Type": "network", "Action": action, "Actor": {"ID": "n1", "Attributes": {
            "name": name, "container": container, "type": "bridge"}}})
    }

    #[test]
    fn only_our_clusters_containers_are_told() {
        let reader = reader();
        assert_eq!(reader.read(&of_container("c2", "die")), None);
        assert!(matches!(
            reader.read(&of_container("c1", "die")),
            Some(RuntimeEvent::Container { action, .. }) if action == "die"
        ));
    }

    #[test]
    fn a_known_container_that_leaves_the_network_names_its_agent() {
        let reader = reader();
        let leave = of_network("agentainer-network", "disconnect", "x1");
        assert_eq!(reader.read(&leave), Some(RuntimeEvent::Network));
        reader.read(&of_container("c1", "start"));
        assert!(matches!(
            reader.read(&leave),
            Some(RuntimeEvent::Container { action, .. }) if action == "network disconnect"
        ));
        assert_eq!(reader.read(&of_network("other", "disconnect", "x1")), None);
    }

    #[test]
    fn odd_events_are_passed_over() {
        let reader = reader();
        for odd in [
            json!(null),
            json!({}),
            json!({"Type": "model", "Action": 3}),
            json!([1]),
        ] {
            assert_eq!(reader.read(&odd), None);
        }
    }
}
