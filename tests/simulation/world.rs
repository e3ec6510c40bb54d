//! The simulated host: engine, store, one server that can die, stand still and be started again, an operator, and
//! somebody else's hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agentainer::agent::{Agent, AgentSpec, ClusterId, Metadata, ResourceVersion, Uid};
use agentainer::clock;
use agentainer::endpoints::Endpoints;
use agentainer::keys::{FINALIZER, RESTARTED_AT};
use agentainer::names::AgentName;
use agentainer::observed::{Container, ContainerId};
use agentainer::plan::EndpointState;
use agentainer::probe::{Outcome, Prober, Target};
use agentainer::reconcile::{self, Board, Handle, Injection, Parts, Settings};
use agentainer::runtime::RuntimeSettings;
use agentainer::store::{AgentStore, Write};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::checker::{Checker, Look};
use crate::clients;
use crate::fake_runtime::{Call, Caller, FakeEngine, FakeRuntime, Fault, Program};
use crate::fake_store::FakeStore;
use crate::programs::{Health, Programs};
use crate::trouble::{Made, Script, Strike, Trouble};

/// Every agent is looked at this often.
pub const RESYNC: Duration = s(60);
/// From the death of a server to the next one's start.
const DOWN: Duration = Duration::from_millis(500);
/// For how long a server stands still.
const STANDS_STILL: Duration = s(30);

pub const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub fn name(text: &str) -> AgentName {
    AgentName::new(text).unwrap()
}

/// What everybody in the simulation shares.
pub struct Shared {
    pub engine: FakeEngine,
    pub port: FakeRuntime,
    pub programs: Mutex<Programs>,
    pub script: Mutex<Script>,
    pub checker: Mutex<Checker>,
    /// What the live server publishes.
    pub table: Mutex<Option<Arc<Endpoints>>>,
    /// A lie told to the checker's victims: see mutations.rs.
    pub lie: Mutex<Option<Lie>>,
    /// The server died or stands still.
    struck: Notify,
    /// So much happens that nobody can be blamed for an old view.
    pub adrift: AtomicBool,
    died: AtomicBool,
    still: AtomicBool,
}

/// Changes what the server hears of the engine, to see whether the checker would see it.
pub type Lie = Box<dyn Fn(&Call) -> Option<Fault> + Send>;

impl Shared {
    /// Looks whether all that must hold does. `ours`: the call whose effect this is.
    pub fn step(&self, ours: Option<&Call>) {
        let table = self.table.lock().clone();
        let horizon = self.horizon();
        let mut programs = self.programs.lock();
        let mut look = Look {
            port: &self.port,
            programs: &mut programs,
            table: table.as_deref(),
            horizon,
        };
        self.checker.lock().step(&mut look, ours);
    }

    /// How old the product's knowledge may be by no fault of its own.
    fn horizon(&self) -> Duration {
        let script = self.script.lock();
        let blind = script.blinded_at.is_some_and(|at| at.elapsed() < s(240));
        let all_over = script.chance.is_some() || script.store_away || script.deaf;
        match script.struck_at {
            _ if blind || all_over || self.adrift.load(Ordering::Relaxed) => s(200),
            Some(at) if at.elapsed() < s(240) => s(10),
            _ => s(4),
        }
    }
}

/// One server's life, as engine and store see it.
struct Life {
    shared: Arc<Shared>,
    dead: AtomicBool,
}

impl Life {
    fn suffers(&self, trouble: Option<Trouble>) {
        match trouble {
            Some(Trouble::DiesBefore | Trouble::DiesAfter) => {
                self.dead.store(true, Ordering::Relaxed);
                self.shared.died.store(true, Ordering::Relaxed);
                self.shared.struck.notify_one();
            }
            Some(Trouble::Pause) => {
                self.shared.still.store(true, Ordering::Relaxed);
                self.shared.struck.notify_one();
            }
            _ => {}
        }
    }
}

impl Caller for Life {
    fn judge(&self, call: &Call) -> Option<Fault> {
        if self.dead.load(Ordering::Relaxed) {
            return Some(Fault::Hang);
        }
        if let Some(fault) = self.shared.lie.lock().as_ref().and_then(|lie| lie(call)) {
            return Some(fault);
        }
        let mut script = self.shared.script.lock();
        let trouble = script.engine(call);
        let fault = script.engine_fault(call.name, trouble);
        drop(script);
        self.suffers(trouble);
        Some(fault)
    }

    fn about(&self, call: &Call) {
        if call.writes() {
            self.shared.step(None);
            let id = ContainerId(call.target.clone());
            let strangers = self.shared.engine.is_there(&id)
                && !self.shared.port.look().iter().any(|ours| ours.id == id);
            if strangers {
                let what = format!("law 7: {} of {}, which is not ours", call.name, call.target);
                self.shared.checker.lock().violations.push(what);
            }
        }
    }

    fn done(&self, call: &Call, well: bool) {
        if call.writes() {
            self.shared.step(Some(call).filter(|_| well));
        }
    }

    // As good as somebody else's hand.
    fn late(&self, _: &Call) {
        self.shared.step(None);
    }
}

struct Server {
    life: Arc<Life>,
    handle: Handle,
    task: JoinHandle<()>,
    /// What the prober wakes; emptied at the end, so that nothing of this life stays.
    woken: Arc<Mutex<Option<Handle>>>,
    _watching: tokio_util::task::AbortOnDropHandle<()>,
}

pub struct World {
    pub engine: FakeEngine,
    /// Our cluster's port on the engine, as everybody but the server sees it.
    pub port: FakeRuntime,
    /// The store as everybody but the server sees it.
    pub store: FakeStore,
    pub shared: Arc<Shared>,
    pub cluster: ClusterId,
    /// What becomes of the clients, which end with the world.
    _clients: Vec<tokio_util::task::AbortOnDropHandle<()>>,
    server: Option<Server>,
    seed: u64,
    lives: u64,
    uids: u64,
    /// What somebody's hand does while the server stands still.
    pub meanwhile: Option<fn(&Self)>,
}

impl World {
    /// A host with a few images, strangers' containers, a store of ours and a server.
    pub async fn new(seed: u64, strikes: Vec<Strike>) -> Self {
        if let Ok(filter) = tracing_subscriber::EnvFilter::try_from_default_env() {
            let _ = tracing_subscriber::fmt()
                .with_env_filter(filter)
                .without_time()
                .with_test_writer()
                .try_init();
        }
        let engine = FakeEngine::new();
        let mut programs = Programs::default();
        for image in [
            "users", "auth", "orders", "crash", "sick", "stuck", "stubborn",
        ] {
            let id = engine.add_image(image);
            match image {
                "crash" => engine.set_program(
                    &id,
                    Program::Ends {
                        after: s(1),
                        code: 1,
                    },
                ),
                "stuck" => engine.set_program(&id, Program::CannotStart),
                "stubborn" => engine.set_program(&id, Program::IgnoresTerm),
                "sick" => programs.image(&id, Health::Sick),
                _ => {}
            }
        }
        let cluster = ClusterId("ours".to_owned());
        let port = engine.runtime(RuntimeSettings {
            cluster: cluster.clone(),
            network: "agentainer-network".to_owned(),
            allowed_host_paths: Vec::new(),
            denied_host_paths: Vec::new(),
        });
        let store = FakeStore::default();
        store.found(&cluster, 1).await.unwrap();
        let shared = Arc::new(Shared {
            engine: engine.clone(),
            port: port.clone(),
            programs: Mutex::new(programs),
            script: Mutex::new(Script::new(strikes)),
            checker: Mutex::default(),
            table: Mutex::default(),
            lie: Mutex::default(),
            struck: Notify::new(),
            adrift: AtomicBool::default(),
            died: AtomicBool::default(),
            still: AtomicBool::default(),
        });
        let agents = ["users", "auth", "orders"].into_iter().zip(1..);
        let clients = agents.map(|(agent, nth)| {
            let shared = Arc::clone(&shared);
            tokio_util::task::AbortOnDropHandle::new(tokio::spawn(clients::requests(
                shared,
                name(agent),
                seed.wrapping_mul(31).wrapping_add(nth),
            )))
        });
        let mut world = Self {
            engine,
            port,
            store,
            _clients: clients.collect(),
            shared,
            cluster,
            server: None,
            seed,
            lives: 0,
            uids: 0,
            meanwhile: None,
        };
        world.serve();
        world
    }

    /// Starts a server.
    pub fn serve(&mut self) {
        assert!(self.server.is_none(), "one server at a time");
        self.lives += 1;
        self.shared.died.store(false, Ordering::Relaxed);
        let life = Arc::new(Life {
            shared: Arc::clone(&self.shared),
            dead: AtomicBool::default(),
        });
        let store = self.store.caller();
        let of = Arc::clone(&life);
        store.on_call(move |call| {
            use crate::fake_store::Fault;
            if of.dead.load(Ordering::Relaxed) {
                return Some(Fault::Hang);
            }
            let mut script = of.shared.script.lock();
            let trouble = script.store(call);
            let fault = script.store_fault(call, trouble);
            drop(script);
            of.suffers(trouble);
            Some(fault)
        });
        let woken: Arc<Mutex<Option<Handle>>> = Arc::default();
        let wake = {
            let woken = Arc::clone(&woken);
            move |agent: &AgentName| {
                if let Some(handle) = woken.lock().as_ref() {
                    handle.wake(agent);
                }
            }
        };
        let shared = Arc::clone(&self.shared);
        // Whoever has the address answers, as in the world.
        let ask = move |target: Target, _ready: bool| {
            let shared = Arc::clone(&shared);
            Box::pin(async move {
                sleep(Duration::from_millis(2)).await;
                match shared.port.look_behind(target.address.ip()) {
                    Some(container) => shared.programs.lock().answer(&container),
                    None => Outcome::Unanswered("no route to host".to_owned()),
                }
            }) as futures::future::BoxFuture<'static, Outcome>
        };
        let endpoints = Arc::new(Endpoints::default());
        let table = Arc::clone(&endpoints);
        *self.shared.table.lock() = Some(Arc::clone(&endpoints));
        let subnet = "10.90.0.0/20".parse().unwrap();
        let parts = Parts {
            store: Arc::new(store),
            runtime: Arc::new(self.port.called_by(Arc::clone(&life) as Arc<dyn Caller>)),
            endpoints,
            prober: Arc::new(Prober::with(Arc::new(wake), Arc::new(ask))),
            board: Board::default(),
        };
        let settings = Settings {
            cluster: self.cluster.clone(),
            member: agentainer::store::MemberId {
                server: "server".to_owned(),
                run: format!("run-{}", self.lives),
            },
            succeeds: false,
            epoch: 1,
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
        // Every publication is looked at.
        let mut changes = table.changes();
        let shared = Arc::clone(&self.shared);
        let watching = tokio::spawn(async move {
            while changes.changed().await.is_ok() {
                shared.step(None);
            }
        });
        let (handle, work) = reconcile::run(parts, settings, CancellationToken::new());
        *woken.lock() = Some(handle.clone());
        let task = tokio::spawn(async move { work.await.unwrap() });
        self.server = Some(Server {
            life,
            handle,
            task,
            woken,
            _watching: tokio_util::task::AbortOnDropHandle::new(watching),
        });
    }

    pub fn serves(&self) -> bool {
        self.server.is_some()
    }

    /// Ends the server as `kill -9` does: nothing is finished, nothing is told.
    pub async fn kill(&mut self) {
        let Some(server) = self.server.take() else {
            return;
        };
        server.life.dead.store(true, Ordering::Relaxed);
        server.task.abort();
        let _ = server.task.await;
        server.woken.lock().take();
        drop(server.handle);
        self.shared.table.lock().take();
        self.shared.checker.lock().reborn();
        // What was aborted is dropped when it is next scheduled.
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    /// Somebody else does something to the engine.
    pub fn hand(&self, deed: impl FnOnce(&FakeEngine)) {
        self.shared.step(None);
        deed(&self.engine);
        self.shared.step(None);
    }

    /// The server, as the engine sees it.
    pub fn life(&self) -> &dyn Caller {
        &*self.server.as_ref().expect("a server runs").life
    }

    /// What our hand must never do: another container in the place of one that runs.
    pub async fn twin(&self, of: &Container, identity: agentainer::observed::Identity) {
        use agentainer::runtime::ContainerRuntime as _;
        let port = self.port.called_by(Arc::new(Life {
            shared: Arc::clone(&self.shared),
            dead: AtomicBool::default(),
        }));
        let place = of.attachment.clone().unwrap();
        let request = agentainer::runtime::CreateContainer {
            name: identity
                .agent
                .container(identity.ordinal, identity.incarnation),
            identity,
            spec: AgentSpec::default(),
            image: of.image.clone(),
            injected_env: Vec::new(),
            origin: Default::default(),
            network: place.network,
            address: None,
            aliases: place.aliases,
            host_gateway: None,
        };
        let id = port.create(&request).await.unwrap();
        port.start(&id).await.unwrap();
    }

    /// Lets time pass. A server that died meanwhile is started again, one that stands still is left behind by the world.
    pub async fn rest(&mut self, time: Duration) {
        let until = Instant::now() + time;
        loop {
            tokio::select! {
                biased;
                () = self.shared.struck.notified() => self.strike().await,
                () = tokio::time::sleep_until(until) => break,
            }
        }
        self.shared.step(None);
        self.assert_unviolated();
    }

    async fn strike(&mut self) {
        if self.shared.still.swap(false, Ordering::Relaxed) {
            if let Some(meanwhile) = self.meanwhile.take() {
                meanwhile(self);
            }
            tokio::time::advance(STANDS_STILL).await;
        }
        if self.shared.died.load(Ordering::Relaxed) && self.serves() {
            self.kill().await;
            sleep(DOWN).await;
            self.serve();
        }
    }

    pub fn assert_unviolated(&self) {
        let violations = self.shared.checker.lock().violations.clone();
        assert!(
            violations.is_empty(),
            "{}\n{}",
            violations.join("\n"),
            self.trace(60)
        );
    }

    /// Applies a spec as the API does; an agent that the store forgot becomes the same one again.
    pub async fn apply(&mut self, agent: &str, spec: Value) -> Agent {
        let spec: AgentSpec = serde_json::from_value(spec).unwrap();
        self.write(agent, |agent| agent.spec = spec.clone()).await
    }

    /// What `agentainer restart` does.
    pub async fn roll(&mut self, agent: &str) -> Agent {
        let now = clock::now().to_string();
        self.write(agent, |agent| {
            let key = RESTARTED_AT.to_owned();
            agent.metadata.annotations.insert(key, now.clone());
            agent.metadata.generation += 1;
        })
        .await
    }

    /// Changes an agent, or makes it.
    pub async fn write(&mut self, agent: &str, change: impl Fn(&mut Agent)) -> Agent {
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
                self.uids += 1;
                let former = self.server.as_ref();
                let former = former.and_then(|server| server.handle.former_life(&name));
                let (uid, generation) = former.map_or_else(
                    || (Uid(format!("life-{}", self.uids)), 1),
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
        let written = written.unwrap();
        let deleted = written.metadata.deletion_timestamp.is_some();
        self.shared.checker.lock().asks(
            agent,
            &written.metadata.uid,
            Some(written.spec.clone()).filter(|_| !deleted),
        );
        written
    }

    /// Asks for an agent's deletion.
    pub async fn delete(&mut self, agent: &str) {
        if let Some(there) = self.agent(agent).await {
            let uid = there.metadata.uid;
            self.shared.checker.lock().asks(agent, &uid, None);
        }
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

    /// An agent's containers.
    pub fn containers(&self, agent: &str) -> Vec<Container> {
        let mut all = self.port.look();
        all.retain(|container| container.identity.agent.as_str() == agent);
        all
    }

    /// What the proxy would do with requests for an agent's containers.
    pub fn routed(&self, agent: &str) -> Vec<(ContainerId, EndpointState)> {
        let table = self.shared.table.lock().clone();
        let Some(table) = table else {
            return Vec::new();
        };
        let table = table.table();
        let Some(route) = table.routes.get(&name(agent)) else {
            return Vec::new();
        };
        let endpoints = route.endpoints.iter();
        endpoints
            .map(|(endpoint, state)| (endpoint.container.clone(), *state))
            .collect()
    }

    /// How many containers of an agent get requests.
    pub fn ready(&self, agent: &str) -> usize {
        let all = self.routed(agent);
        all.iter()
            .filter(|(_, state)| *state == EndpointState::Ready)
            .count()
    }

    /// Whether anything may have changed since this was asked last.
    fn mark(&self) -> (usize, u64) {
        let table = self.shared.table.lock().clone();
        let version = table.map_or(0, |table| table.table().version);
        (self.shared.script.lock().made.len(), version)
    }

    /// Lets time pass until world and specs match.
    pub async fn matched(&mut self, limit: Duration) {
        let began = Instant::now();
        let mut looked = None;
        loop {
            let mark = self.mark();
            if looked != Some(mark) {
                looked = Some(mark);
                if self.mismatch().await.is_none() {
                    return;
                }
            }
            let passed = began.elapsed();
            if passed >= limit {
                let why = self.mismatch().await;
                panic!("no match within {limit:?}: {why:?}\n{}", self.told().await);
            }
            self.rest(Duration::from_millis(match passed.as_millis() {
                0..3000 => 100,
                3000..20_000 => 500,
                _ => 2000,
            }))
            .await;
        }
    }

    /// The faults have ended: world and specs come to match, and then nothing is written.
    pub async fn settled(&mut self, limit: Duration, quiet: Duration) {
        self.shared.script.lock().heal();
        self.matched(limit).await;
        // A run that was ready for 10 s ends a row of failures, and the status says so; a call that hangs ends
        // too, and what a late write left is mended by the resync.
        let struck = self.shared.script.lock().struck_at.is_some();
        self.rest(if struck { s(70) } else { s(12) }).await;
        self.matched(limit).await;
        let from = self.shared.script.lock().made.len();
        self.rest(quiet).await;
        let writes = self.writes_since(from);
        assert!(
            writes.is_empty(),
            "settled, and yet: {writes:#?}\n{}",
            self.told().await
        );
        assert_eq!(self.mismatch().await, None);
    }

    pub fn writes_since(&self, from: usize) -> Vec<Made> {
        let script = self.shared.script.lock();
        let made = script.made[from..].iter();
        made.filter(|call| call.writes).cloned().collect()
    }

    /// The last calls.
    fn trace(&self, last: usize) -> String {
        let script = self.shared.script.lock();
        let made = &script.made[script.made.len().saturating_sub(last)..];
        let lines = made
            .iter()
            .filter(|call| call.writes || call.trouble.is_some());
        let lines = lines.map(|call| {
            let side = if call.engine { "engine" } else { "store" };
            let target = call.target.trim_start_matches('0').trim_end_matches('0');
            let trouble = call
                .trouble
                .map(|t| format!(" ! {t:?}"))
                .unwrap_or_default();
            format!("{:?} {side} {} {target}{trouble}\n", call.at, call.name)
        });
        lines.collect()
    }

    /// Everything, for a failing run.
    async fn told(&self) -> String {
        let mut text = self.trace(200);
        for agent in self.store.list().await.unwrap().agents {
            text += &format!("{} {:#?}\n", agent.metadata.name, agent.status);
        }
        for container in self.port.look() {
            text += &format!("{container:?}\n");
        }
        text
    }
}
