//! Many agents on a simulated engine and store, and the reconciler as it ships on both, with every call counted.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agentainer::agent::{Agent, AgentSpec, ClusterId, Metadata, ResourceVersion, Uid};
use agentainer::clock;
use agentainer::endpoints::Endpoints;
use agentainer::keys::FINALIZER;
use agentainer::names::AgentName;
use agentainer::plan::EndpointState;
use agentainer::probe::{Outcome, Prober};
use agentainer::reconcile::{self, Board, Handle, Injection, Parts, Settings};
use agentainer::runtime::RuntimeSettings;
use agentainer::store::{AgentStore, Write};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::fake_runtime::{self, FakeEngine, FakeRuntime};
use super::fake_store::{self, FakeStore};

/// Agents, and a server that looks after them.
pub struct Fleet {
    pub engine: FakeEngine,
    pub port: FakeRuntime,
    pub store: FakeStore,
    pub handle: Handle,
    endpoints: Arc<Endpoints>,
    calls: Arc<Mutex<BTreeMap<String, u64>>>,
    _server: AbortOnDropHandle<()>,
}

pub fn name(nth: usize) -> AgentName {
    AgentName::new(format!("agent-{nth:04}")).unwrap()
}

impl Fleet {
    /// So many agents, none of them made yet.
    pub async fn new(agents: usize) -> Self {
        let engine = FakeEngine::new();
        engine.add_image("agent");
        let cluster = ClusterId("ours".to_owned());
        let port = engine.runtime(RuntimeSettings {
            cluster: cluster.clone(),
            network: "agentainer-network".to_owned(),
            allowed_host_paths: Vec::new(),
            denied_host_paths: Vec::new(),
        });
        let store = FakeStore::default();
        store.found(&cluster, 1).await.unwrap();
        let writes: Vec<Write> = (0..agents).map(create).collect();
        store.commit(&writes).await.unwrap();
        let calls: Arc<Mutex<BTreeMap<String, u64>>> = Arc::default();
        let counted = Arc::clone(&calls);
        engine.set_hook(move |call| {
            *counted
                .lock()
                .entry(format!("engine {}", call.name))
                .or_default() += 1;
            None
        });
        let servers = store.by_hand();
        let counted = Arc::clone(&calls);
        servers.on_call(move |call| {
            *counted.lock().entry(format!("store {call}")).or_default() += 1;
            None
        });
        let endpoints = Arc::new(Endpoints::default());
        let woken: Arc<Mutex<Option<Handle>>> = Arc::default();
        let wake = {
            let woken = Arc::clone(&woken);
            move |agent: &AgentName| {
                if let Some(handle) = woken.lock().as_ref() {
                    handle.wake(agent);
                }
            }
        };
        let subnet = "10.64.0.0/16".parse().unwrap();
        let parts = Parts {
            store: Arc::new(servers),
            runtime: Arc::new(port.clone()),
            endpoints: Arc::clone(&endpoints),
            prober: Arc::new(Prober::with(
                Arc::new(wake),
                Arc::new(|_, _| Box::pin(std::future::ready(Outcome::Ready))),
            )),
            board: Board::default(),
        };
        let settings = Settings {
            cluster,
            member: agentainer::store::MemberId {
                server: "server".to_owned(),
                run: "run-1".to_owned(),
            },
            succeeds: false,
            epoch: 1,
            concurrency: 8,
            resync: Duration::from_secs(60),
            host_resync: Duration::from_secs(15),
            subnets: Arc::new(move || vec![subnet]),
            injection: Injection {
                url: "http://host.docker.internal:8081".to_owned(),
                redis: None,
                token: Arc::new(|uid: &Uid, epoch| format!("{uid}-{epoch}")),
            },
            seed: 1,
        };
        let (handle, work) = reconcile::run(parts, settings, CancellationToken::new());
        *woken.lock() = Some(handle.clone());
        let server = tokio::spawn(async move { work.await.unwrap() });
        Self {
            engine,
            port,
            store,
            handle,
            endpoints,
            calls,
            _server: AbortOnDropHandle::new(server),
        }
    }

    /// How many agents are routed to.
    pub fn ready(&self) -> usize {
        let table = self.endpoints.table();
        let ready = table.routes.iter().filter(|(_, route)| {
            let mut states = route.endpoints.iter().map(|(_, state)| *state);
            states.any(|state| state == EndpointState::Ready)
        });
        ready.count()
    }

    /// Lets time pass until all of them are ready and nothing is left to do.
    pub async fn settled(&self, agents: usize) {
        for _ in 0..10_000 {
            tokio::time::sleep(Duration::from_millis(500)).await;
            if self.ready() == agents {
                break;
            }
        }
        assert_eq!(self.ready(), agents, "not all became ready");
        tokio::time::sleep(Duration::from_secs(15)).await;
    }

    /// Another environment for one agent: its container is replaced.
    pub async fn change(&self, nth: usize, colour: &str) {
        let mut agent = self.store.get(&name(nth)).await.unwrap().unwrap();
        let expected = agent.metadata.resource_version;
        let spec = serde_json::json!({"image": "agent", "env": {"COLOUR": colour}});
        agent.spec = serde_json::from_value(spec).unwrap();
        agent.metadata.generation += 1;
        let write = Write::Update {
            agent: Box::new(agent),
            expected,
            applied: None,
        };
        self.store.commit(&[write]).await.unwrap();
    }

    /// The calls since this was last asked, by port and method.
    pub fn calls(&self) -> BTreeMap<String, u64> {
        std::mem::take(&mut self.calls.lock())
    }
}

/// Those among some calls that change something.
pub fn writes(calls: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let changes = |call: &str| match call.split_once(' ') {
        Some(("store", name)) => fake_store::changes(name),
        Some((_, name)) => fake_runtime::writes(name),
        None => false,
    };
    let found = calls.iter().filter(|(call, _)| changes(call));
    found.map(|(call, count)| (call.clone(), *count)).collect()
}

fn create(nth: usize) -> Write {
    let metadata = Metadata {
        name: name(nth),
        labels: Default::default(),
        annotations: Default::default(),
        owner: "default".to_owned(),
        uid: Uid(format!("life-{nth}")),
        generation: 1,
        resource_version: ResourceVersion::default(),
        creation_timestamp: clock::now(),
        deletion_timestamp: None,
        finalizers: vec![FINALIZER.to_owned()],
    };
    // Every tenth calls its neighbour, as in a mesh.
    let spec = match nth % 10 {
        9 => {
            serde_json::json!({"image": "agent", "env": {"NEXT": format!("http://agent-{:04}:8000", nth - 1)}})
        }
        _ => serde_json::json!({"image": "agent"}),
    };
    let spec: AgentSpec = serde_json::from_value(spec).unwrap();
    Write::Create {
        agent: Box::new(Agent::new(metadata, spec)),
        applied: None,
    }
}
