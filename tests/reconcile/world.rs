//! A whole little host: engine, store, and a server on both that can die and be started again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use agentainer::agent::spec::HealthCheck;
use agentainer::agent::status::ConditionStatus;
use agentainer::agent::{Agent, AgentSpec, AgentStatus, ClusterId, Metadata, ResourceVersion, Uid};
use agentainer::clock;
use agentainer::endpoints::{Endpoint, Endpoints};
use agentainer::keys::{FINALIZER, RESTARTED_AT};
use agentainer::names::AgentName;
use agentainer::observed::{Container, ContainerId, ContainerState};
use agentainer::plan::EndpointState;
use agentainer::probe::{Outcome, Prober, Target};
use agentainer::reconcile::{self, Board, Handle, Injection, Parts, Settings};
use agentainer::runtime::RuntimeSettings;
use agentainer::store::{AgentStore, Write};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::calls::Calls;
use crate::fake_runtime::{FakeEngine, FakeRuntime};
use crate::fake_store::FakeStore;

pub const NETWORK: &str = "agentainer-network";
/// Every agent is looked at this often.
pub const RESYNC: Duration = Duration::from_secs(60);

pub const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub fn name(text: &str) -> AgentName {
    AgentName::new(text).unwrap()
}

type Answer = Box<dyn Fn(&Container, Option<&HealthCheck>) -> Outcome + Send>;

/// One server's life.
pub struct Server {
    pub handle: Handle,
    pub endpoints: Arc<Endpoints>,
    pub board: Board,
    pub shutdown: CancellationToken,
    task: JoinHandle<()>,
    /// What the prober wakes; emptied at the end, so that nothing of this life stays.
    woken: Arc<Mutex<Option<Handle>>>,
}

impl Server {
    /// Ends it as `kill -9` does: nothing is finished, nothing is told.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
        self.woken.lock().take();
        drop((self.handle, self.endpoints));
        // What was aborted is dropped when it is next scheduled.
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    /// Ends it in order.
    pub async fn end(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
        self.woken.lock().take();
    }

    /// What it would do with requests for an agent's containers.
    pub fn routed(&self, agent: &str) -> Vec<(ContainerId, EndpointState)> {
        let table = self.endpoints.table();
        let Some(route) = table.routes.get(&name(agent)) else {
            return Vec::new();
        };
        let endpoints = route.endpoints.iter();
        endpoints
            .map(|(endpoint, state)| (endpoint.container.clone(), *state))
            .collect()
    }

    /// A container as its proxy knows it.
    pub fn endpoint(&self, container: &Container) -> Arc<Endpoint> {
        let table = self.endpoints.table();
        let route = table.routes.get(&container.identity.agent);
        let endpoints = route.expect("it has a route").endpoints.iter();
        let mut found = endpoints.filter(|(endpoint, _)| endpoint.container == container.id);
        Arc::clone(&found.next().expect("it is in the table").0)
    }
}

pub struct World {
    pub engine: FakeEngine,
    /// Our cluster's port on the engine.
    pub port: FakeRuntime,
    /// The store as everybody but the server sees it: without its faults.
    pub store: FakeStore,
    /// What the server said.
    pub calls: Calls,
    pub cluster: ClusterId,
    /// The agents' subnet, for when the network must be made.
    pub subnet: ipnet::Ipv4Net,
    servers: FakeStore,
    answers: Arc<Mutex<Answer>>,
    server: Option<Server>,
    seed: u64,
    lives: u64,
}

impl World {
    /// A host with the images `users`, `auth` and `orders`, a store of ours, and no server yet.
    pub async fn without_server(seed: u64) -> Self {
        if let Ok(filter) = tracing_subscriber::EnvFilter::try_from_default_env() {
            let _ = tracing_subscriber::fmt()
                .with_env_filter(filter)
                .with_test_writer()
                .try_init();
        }
        let engine = FakeEngine::new();
        for image in ["users", "auth", "orders"] {
            engine.add_image(image);
        }
        let cluster = ClusterId("ours".to_owned());
        let port = engine.runtime(RuntimeSettings {
            cluster: cluster.clone(),
            network: NETWORK.to_owned(),
            allowed_host_paths: Vec::new(),
            denied_host_paths: Vec::new(),
        });
        let servers = FakeStore::default();
        let store = servers.by_hand();
        store.found(&cluster, 1).await.unwrap();
        let calls = Calls::default();
        let of = calls.clone();
        engine.set_hook(move |call| of.of_engine(call));
        let of = calls.clone();
        servers.on_call(move |call| of.of_store(call));
        Self {
            engine,
            port,
            store,
            calls,
            cluster,
            subnet: "10.90.0.0/20".parse().unwrap(),
            servers,
            answers: Arc::new(Mutex::new(Box::new(|_, _| Outcome::Ready))),
            server: None,
            seed,
            lives: 0,
        }
    }

    /// The same with a running server.
    pub async fn new(seed: u64) -> Self {
        let mut world = Self::without_server(seed).await;
        world.serve().await;
        world
    }

    /// Starts a server.
    pub async fn serve(&mut self) {
        assert!(self.server.is_none(), "one server of a name at a time");
        let store = self.servers.another();
        self.server = Some(self.start("server-1", false, store).await);
    }

    /// Starts a further run of the server, to which the one that runs is to hand over.
    pub async fn successor(&mut self) -> Server {
        let store = self.servers.another();
        self.start("server-1", true, store).await
    }

    /// Starts a further server beside it, which the store never fails.
    pub async fn beside(&mut self, id: &str) -> Server {
        let store = self.store.another();
        self.beside_on(id, store).await
    }

    /// The same, which has the store this way.
    pub async fn beside_on(&mut self, id: &str, store: FakeStore) -> Server {
        self.start(id, false, store).await
    }

    /// The server itself.
    pub fn server(&self) -> &Server {
        self.server.as_ref().expect("a server runs")
    }

    pub fn take_server(&mut self) -> Server {
        self.server.take().expect("a server runs")
    }

    async fn start(&mut self, id: &str, succeeds: bool, store: FakeStore) -> Server {
        self.lives += 1;
        let epoch = match self.store.cluster().await.unwrap() {
            Some(record) => record.epoch,
            None => {
                let now = u64::try_from(clock::now().as_second()).unwrap();
                self.store.found(&self.cluster, now).await.unwrap().epoch
            }
        };
        let woken: Arc<Mutex<Option<Handle>>> = Arc::default();
        let (answers, port) = (Arc::clone(&self.answers), self.port.clone());
        let ask = move |target: Target, _ready: bool| {
            let asked = port.look().into_iter().find(|c| c.id == target.container);
            let outcome = match asked.filter(|asked| asked.state == ContainerState::Running) {
                Some(container) => (answers.lock())(&container, target.check.as_ref()),
                None => Outcome::Unanswered("no such container runs".to_owned()),
            };
            Box::pin(std::future::ready(outcome)) as futures::future::BoxFuture<'static, Outcome>
        };
        let wake = {
            let woken = Arc::clone(&woken);
            move |agent: &AgentName| {
                if let Some(handle) = woken.lock().as_ref() {
                    handle.wake(agent);
                }
            }
        };
        let endpoints = Arc::new(Endpoints::default());
        let board = Board::default();
        let parts = Parts {
            store: Arc::new(store),
            runtime: Arc::new(self.port.clone()),
            endpoints: Arc::clone(&endpoints),
            prober: Arc::new(Prober::with(Arc::new(wake), Arc::new(ask))),
            board: board.clone(),
        };
        let subnet = self.subnet;
        let settings = Settings {
            cluster: self.cluster.clone(),
            member: agentainer::store::MemberId {
                server: id.to_owned(),
                run: self.lives.to_string(),
            },
            succeeds,
            epoch,
            concurrency: 8,
            resync: RESYNC,
            host_resync: s(15),
            subnets: Arc::new(move || vec![subnet]),
            injection: Injection {
                url: "http://host.docker.internal:8081".to_owned(),
                redis: None,
                token: Arc::new(|uid: &Uid, epoch| format!("{uid}-{epoch}")),
            },
            seed: self.seed.wrapping_mul(1000).wrapping_add(self.lives),
        };
        let shutdown = CancellationToken::new();
        let (handle, work) = reconcile::run(parts, settings, shutdown.clone());
        *woken.lock() = Some(handle.clone());
        let task = tokio::spawn(async move { work.await.unwrap() });
        Server {
            handle,
            endpoints,
            board,
            shutdown,
            task,
            woken,
        }
    }

    /// Ends the server as `kill -9` does: nothing is finished, nothing is told.
    pub async fn kill(&mut self) {
        let Some(server) = self.server.take() else {
            return;
        };
        server.kill().await;
        self.calls.revive();
    }

    pub async fn restart(&mut self) {
        self.kill().await;
        self.serve().await;
    }

    /// Whether a condition of the host holds.
    pub fn told_well(&self, kind: &str) -> bool {
        let server = self.server.as_ref().expect("a server runs");
        let conditions = server.board.list();
        let mut of_it = conditions.iter().filter(|condition| condition.kind == kind);
        of_it.any(|condition| condition.status == ConditionStatus::True)
    }

    /// Decides what answers probes from now on.
    pub fn answer(&self, answer: impl Fn(&Container) -> Outcome + Send + 'static) {
        self.answer_checks(move |container, _| answer(container));
    }

    /// The same, by the check that is asked with.
    pub fn answer_checks(
        &self,
        answer: impl Fn(&Container, Option<&HealthCheck>) -> Outcome + Send + 'static,
    ) {
        *self.answers.lock() = Box::new(answer);
    }

    /// Applies a spec as the API does; an agent that the store forgot becomes the same one again.
    pub async fn apply(&self, agent: &str, spec: Value) -> Agent {
        let spec: AgentSpec = serde_json::from_value(spec).unwrap();
        self.write(agent, |agent| agent.spec = spec.clone()).await
    }

    /// What `agentainer restart` does.
    pub async fn roll(&self, agent: &str) -> Agent {
        let now = clock::now().to_string();
        let key = RESTARTED_AT.to_owned();
        self.write(agent, |agent| {
            agent.metadata.annotations.insert(key.clone(), now.clone());
            agent.metadata.generation += 1;
        })
        .await
    }

    /// The same, of an agent that may not be there.
    pub async fn roll_if_there(&self, agent: &str) {
        if self.agent(agent).await.is_some() {
            self.roll(agent).await;
        }
    }

    /// Changes an agent, or makes it.
    pub async fn write(&self, agent: &str, mut change: impl FnMut(&mut Agent)) -> Agent {
        let name = name(agent);
        let write = match self.store.get(&name).await.unwrap() {
            Some(mut agent) => {
                let (spec, expected) = (agent.spec.clone(), agent.metadata.resource_version);
                change(&mut agent);
                agent.metadata.generation += u64::from(agent.spec != spec);
                Write::Update {
                    agent: Box::new(agent),
                    expected,
                    applied: None,
                }
            }
            None => {
                let former = self.server.as_ref();
                let former = former.and_then(|server| server.handle.former_life(&name));
                let (uid, generation) = former.map_or_else(
                    || (Uid::random(), 1),
                    |life| (life.uid, life.generation.max(1)),
                );
                let metadata = Metadata {
                    name: name.clone(),
                    labels: Default::default(),
                    annotations: Default::default(),
                    owner: "default".to_owned(),
                    uid,
                    generation,
                    resource_version: ResourceVersion::default(),
                    creation_timestamp: clock::now(),
                    deletion_timestamp: None,
                    finalizers: vec![FINALIZER.to_owned()],
                };
                let mut agent = Agent::new(metadata, AgentSpec::default());
                change(&mut agent);
                Write::Create {
                    agent: Box::new(agent),
                    applied: None,
                }
            }
        };
        let written = self.store.commit(&[write]).await.unwrap().remove(0);
        if let Some(server) = &self.server {
            server.handle.wake(&name);
        }
        written.unwrap()
    }

    /// Asks for an agent's deletion.
    pub async fn delete(&self, agent: &str) {
        let write = Write::Delete {
            name: name(agent),
            expected: None,
            at: clock::now(),
        };
        self.store.commit(&[write]).await.unwrap();
    }

    pub async fn agent(&self, agent: &str) -> Option<Agent> {
        self.store.get(&name(agent)).await.unwrap()
    }

    pub async fn status(&self, agent: &str) -> AgentStatus {
        self.agent(agent).await.unwrap().status
    }

    /// The reason and message of a condition.
    pub async fn said(&self, agent: &str, kind: &str) -> Option<(String, String)> {
        let status = self.status(agent).await;
        let condition = status.condition(kind)?;
        Some((condition.reason.clone(), condition.message.clone()))
    }

    /// An agent's containers.
    pub fn containers(&self, agent: &str) -> Vec<Container> {
        let mut all = self.port.look();
        all.retain(|container| container.identity.agent.as_str() == agent);
        all
    }

    /// An agent's only container.
    pub fn only(&self, agent: &str) -> Container {
        let mut all = self.containers(agent);
        assert_eq!(all.len(), 1, "{all:#?}");
        all.remove(0)
    }

    /// Which containers of an agent are there, and since when they run.
    pub fn untouched(&self, agent: &str) -> Vec<(ContainerId, Option<jiff::Timestamp>, String)> {
        let all = self.containers(agent).into_iter();
        all.map(|c| (c.id, c.started_at, c.name)).collect()
    }

    /// What the proxy would do with requests for an agent's containers.
    pub fn routed(&self, agent: &str) -> Vec<(ContainerId, EndpointState)> {
        self.server().routed(agent)
    }

    /// A container as the proxy knows it.
    pub fn endpoint(&self, container: &Container) -> Arc<Endpoint> {
        self.server().endpoint(container)
    }

    /// How many containers of an agent get requests.
    pub fn ready(&self, agent: &str) -> usize {
        let all = self.routed(agent);
        all.iter()
            .filter(|(_, s)| *s == EndpointState::Ready)
            .count()
    }

    /// The same, by each server.
    pub fn ready_everywhere(&self, agent: &str) -> BTreeSet<usize> {
        BTreeSet::from([self.ready(agent)])
    }

    /// Lets time pass until something holds; says how long it took. A server that died meanwhile is started again.
    pub async fn until(
        &mut self,
        limit: Duration,
        what: &str,
        mut holds: impl AsyncFnMut(&Self) -> bool,
    ) -> Duration {
        let began = Instant::now();
        while !holds(self).await {
            let passed = began.elapsed();
            assert!(
                passed < limit,
                "not within {limit:?}: {what}\n{}",
                self.told().await
            );
            let step = match passed.as_millis() {
                0..300 => 10,
                300..3000 => 50,
                _ => 250,
            };
            sleep(Duration::from_millis(step)).await;
            if self.calls.dead() {
                self.restart().await;
            }
        }
        began.elapsed()
    }

    /// Lets time pass. A server that died meanwhile is started again.
    pub async fn pass(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            sleep(Duration::from_millis(50).min(until - Instant::now())).await;
            if self.calls.dead() {
                self.restart().await;
            }
        }
    }

    pub fn serves(&self) -> bool {
        self.server.is_some()
    }

    /// Lets time pass until world and specs match.
    pub async fn match_within(&mut self, limit: Duration) -> Duration {
        let what = "world and specs match";
        self.until(limit, what, async |world| world.mismatch().await.is_none())
            .await
    }

    /// Lets time pass; says what was written.
    pub async fn writes_in(&self, time: Duration) -> Vec<crate::calls::Call> {
        let before = self.calls.len();
        sleep(time).await;
        self.calls.writes_since(before)
    }

    /// As [`match_within`](Self::match_within), then nothing is written for more than two resyncs.
    pub async fn settle_within(&mut self, limit: Duration) {
        self.match_within(limit).await;
        // A run that was ready for 10 s ends a row of failures, and the status says so.
        sleep(s(12)).await;
        let writes = self.writes_in(s(130)).await;
        assert!(
            writes.is_empty(),
            "settled, and yet: {writes:#?}\n{}",
            self.told().await
        );
        assert_eq!(self.mismatch().await, None);
    }

    /// Everything, for a failing test.
    async fn told(&self) -> String {
        let mut text = format!("mismatch: {:?}\n", self.mismatch().await);
        for agent in self.store.list().await.unwrap().agents {
            text += &format!("{:#?}\n", agent.status);
        }
        for container in self.port.look() {
            text += &format!("{container:?}\n");
        }
        let calls = self.calls.since(self.calls.len().saturating_sub(40));
        for call in calls {
            text += &format!("{} {}\n", call.name, call.target);
        }
        text
    }
}
