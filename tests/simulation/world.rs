//! The simulated host: engine, store, one server or two, an operator, and somebody else's hand.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agentainer::agent::{Agent, AgentSpec, ClusterId, Metadata, ResourceVersion, Uid};
use agentainer::clock;
use agentainer::keys::{FINALIZER, RESTARTED_AT};
use agentainer::names::AgentName;
use agentainer::observed::{Container, ContainerId};
use agentainer::plan::EndpointState;
use agentainer::runtime::RuntimeSettings;
use agentainer::store::{AgentStore, Write};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::checker::{Checker, Look, Ours};
use crate::clients;
use crate::fake_runtime::{Call, Caller, FakeEngine, FakeRuntime, Fault, Program};
use crate::fake_store::FakeStore;
use crate::programs::{Health, Programs};
use crate::server::{Life, STANDS_STILL, Server};
use crate::trouble::{Made, Script, Strike, Trouble};

/// Every agent is looked at this often.
pub const RESYNC: Duration = s(60);
/// From the death of a server to the next one's start.
const DOWN: Duration = Duration::from_millis(500);
/// The same where another one goes on: within its lease, within its life, and long after both.
const AWAY: [Duration; 4] = [Duration::from_millis(300), s(1), s(4), s(8)];
/// How often it is looked who leads.
const GLANCE: Duration = Duration::from_millis(500);
/// For how long a lease holds.
const LEASE: Duration = s(3);
/// Within which time one of two servers takes over.
const TAKEOVER: Duration = s(5);

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
    /// The store, as everybody but the servers sees it.
    pub store: FakeStore,
    /// How many servers there are when all run.
    pub servers: usize,
    /// Several faults may come together, and the takeover then takes longer.
    patient: bool,
    /// Those that run.
    lives: Mutex<Vec<Arc<Life>>>,
    /// A lie told to the checker's victims: see mutations.rs.
    pub lie: Mutex<Option<Lie>>,
    /// What is to happen to servers.
    deeds: Mutex<Vec<Deed>>,
    struck: Notify,
    /// Until when signs of life that went wrong keep anybody from leading.
    hindered: Mutex<Instant>,
    /// So much happens that nobody can be blamed for an old view.
    adrift: AtomicBool,
}

/// Changes what the server hears of the engine, to see whether the checker would see it.
pub type Lie = Box<dyn Fn(&Call) -> Option<Fault> + Send>;

impl Shared {
    /// Looks whether all that must hold does. `ours`: the call whose effect this is.
    pub fn step(&self, ours: Option<Ours<'_>>) {
        let lives = self.lives();
        let seats: Vec<_> = lives.iter().map(|life| life.seat()).collect();
        let horizon = self.horizon();
        let leaders = lives.iter().filter(|life| life.leads()).count();
        if leaders > 1 {
            let what = "two servers lead".to_owned();
            self.checker.lock().violated("law 1", what);
        }
        let mut programs = self.programs.lock();
        let mut look = Look {
            port: &self.port,
            programs: &mut programs,
            seats: &seats,
            horizon,
        };
        self.checker.lock().step(&mut look, ours);
    }

    /// The servers that run.
    pub fn lives(&self) -> Vec<Arc<Life>> {
        self.lives.lock().clone()
    }

    /// The server of a number, if it runs and does not stand still.
    pub fn awake(&self, server: usize) -> Option<Arc<Life>> {
        let lives = self.lives.lock();
        let mut found = lives.iter().filter(|life| life.server == server);
        found.next().filter(|life| !life.stands_still()).cloned()
    }

    pub fn does(&self, deed: Deed) {
        self.deeds.lock().push(deed);
        self.struck.notify_one();
    }

    /// A sign of life goes wrong. One such is borne; of several, or beside other faults, each may hold up the next leader
    /// for as long as it holds the lease.
    pub fn hinders(&self, now: Instant) {
        if self.patient || self.adrift.load(Ordering::Relaxed) {
            *self.hindered.lock() = now + LEASE;
        }
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

/// What happens to servers at a call of one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    Dies(usize),
    BothDie,
    /// All of the host stands still, but for the time.
    AllStandStill,
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
    servers: Vec<Server>,
    pub seed: u64,
    /// Whether servers may be given old answers.
    pub remembers: bool,
    /// How many runs of servers there were.
    runs: u64,
    uids: u64,
    /// How long one of two servers that died stays away.
    pub away: Duration,
    /// When which server is started again.
    returns: Vec<(Instant, usize)>,
    /// When a server was last seen to lead.
    led: Instant,
}

impl World {
    /// A host with a few images, strangers' containers, a store of ours and a server.
    pub async fn new(seed: u64, strikes: Vec<Strike>) -> Self {
        Self::with(1, seed, strikes).await
    }

    /// The same with so many servers.
    pub async fn with(servers: usize, seed: u64, strikes: Vec<Strike>) -> Self {
        let old = |strike: &Strike| strike.trouble == Trouble::Old;
        let remembers = strikes.iter().any(old);
        let nth = strikes.first().map_or(0, |strike| strike.nth as usize);
        let mut world = Self::made(servers, seed, strikes, remembers).await;
        world.away = AWAY[nth % AWAY.len()];
        world
    }

    /// The same for a walk, in which anything may go wrong.
    pub async fn adrift(servers: usize, seed: u64) -> Self {
        let world = Self::made(servers, seed, Vec::new(), true).await;
        world.shared.adrift.store(true, Ordering::Relaxed);
        world
    }

    async fn made(servers: usize, seed: u64, strikes: Vec<Strike>, remembers: bool) -> Self {
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
            store: store.clone(),
            servers,
            patient: strikes.len() > 1,
            lives: Mutex::default(),
            script: Mutex::new(Script::new(strikes, servers == 2)),
            checker: Mutex::default(),
            lie: Mutex::default(),
            deeds: Mutex::default(),
            struck: Notify::new(),
            hindered: Mutex::new(Instant::now()),
            adrift: AtomicBool::default(),
        });
        let agents = ["users", "auth", "orders"].into_iter().cycle();
        let agents = agents.take(3 * servers).zip(1..);
        let clients = agents.map(|(agent, nth)| {
            let shared = Arc::clone(&shared);
            tokio_util::task::AbortOnDropHandle::new(tokio::spawn(clients::requests(
                shared,
                (nth as usize - 1) / 3,
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
            servers: Vec::new(),
            seed,
            remembers,
            runs: 0,
            uids: 0,
            away: DOWN,
            returns: Vec::new(),
            led: Instant::now(),
        };
        world.serve();
        world
    }

    /// Starts the servers that do not run.
    pub fn serve(&mut self) {
        for server in 0..self.shared.servers {
            self.serve_one(server);
        }
        self.returns.clear();
    }

    fn serve_one(&mut self, server: usize) {
        if self.servers.iter().any(|one| one.life.server == server) {
            return;
        }
        self.runs += 1;
        let started = Server::start(self, server, self.runs);
        self.shared.lives.lock().push(Arc::clone(&started.life));
        self.servers.push(started);
    }

    /// Starts one again so much later.
    pub fn returns_in(&mut self, seconds: u64, server: usize) {
        self.returns.push((Instant::now() + s(seconds), server));
    }

    /// How long one that died stays away, and how fast the store's clock runs, is decided by the seed.
    pub fn vary(&mut self, seed: u64) {
        let mut rng = StdRng::seed_from_u64(seed ^ 0x5e17);
        self.away = Duration::from_millis(rng.random_range(0..12_000));
        self.store.set_pace(rng.random_range(96..=104));
    }

    /// Ends all servers as `kill -9` does.
    pub async fn kill(&mut self) {
        for server in 0..self.shared.servers {
            self.kill_one(server).await;
        }
    }

    /// Ends one of them.
    pub async fn kill_one(&mut self, server: usize) {
        let of_it = |one: &Server| one.life.server == server;
        let Some(at) = self.servers.iter().position(of_it) else {
            return;
        };
        let killed = self.servers.remove(at);
        let shared = &self.shared;
        let others = |deed: &Deed| *deed != Deed::Dies(server);
        shared.deeds.lock().retain(others);
        killed.kill().await;
        shared.lives.lock().retain(|life| life.server != server);
        shared.checker.lock().ended(server);
        // What was aborted is dropped when it is next scheduled.
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    /// One of them gives up the lease, and asks for it no more.
    pub async fn resign(&self, server: usize) {
        let of_it = |one: &&Server| one.life.server == server;
        if let Some(one) = self.servers.iter().find(of_it) {
            one.handle.resign().await;
        }
    }

    /// Somebody else does something to the engine.
    pub fn hand(&self, deed: impl FnOnce(&FakeEngine)) {
        self.shared.step(None);
        deed(&self.engine);
        self.shared.step(None);
    }

    /// The server, as the engine sees it.
    pub fn life(&self) -> &Arc<Life> {
        &self.servers.first().expect("a server runs").life
    }

    /// What our hand must never do: another container in the place of one that runs.
    pub async fn twin(&self, of: &Container, identity: agentainer::observed::Identity) {
        use agentainer::runtime::ContainerRuntime as _;
        let port = {
            let caller = Arc::clone(self.life()) as Arc<dyn Caller>;
            self.port.called_by(caller, false)
        };
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
            let mut next = until;
            if self.shared.servers > 1 {
                let returns = self.returns.iter().map(|(at, _)| *at);
                next = returns.fold(next.min(Instant::now() + GLANCE), Instant::min);
            }
            tokio::select! {
                biased;
                () = self.shared.struck.notified() => self.strike().await,
                () = tokio::time::sleep_until(next) => {
                    self.start_again();
                    self.see_who_leads();
                    if Instant::now() >= until {
                        break;
                    }
                }
            }
        }
        self.shared.step(None);
        self.assert_unviolated();
    }

    async fn strike(&mut self) {
        let deeds = std::mem::take(&mut *self.shared.deeds.lock());
        for deed in deeds {
            let server = match deed {
                Deed::AllStandStill => {
                    tokio::time::advance(STANDS_STILL).await;
                    continue;
                }
                Deed::Dies(server) => server,
                Deed::BothDie => 0,
            };
            if deed == Deed::BothDie || self.shared.servers == 1 {
                self.kill().await;
                sleep(DOWN).await;
                self.serve();
            } else {
                self.kill_one(server).await;
                self.returns.push((Instant::now() + self.away, server));
            }
        }
    }

    /// Starts those again whose time has come.
    fn start_again(&mut self) {
        let now = Instant::now();
        let returns = std::mem::take(&mut self.returns).into_iter();
        let (due, rest): (Vec<_>, Vec<_>) = returns.partition(|(at, _)| *at <= now);
        self.returns = rest;
        for (_, server) in due {
            self.serve_one(server);
        }
    }

    /// The next one leads within five seconds of the death of the one before it.
    fn see_who_leads(&mut self) {
        if self.shared.servers == 1 {
            return;
        }
        let now = Instant::now();
        let lives = self.shared.lives();
        let script = self.shared.script.lock();
        let away = script.store_away || script.chance.is_some();
        drop(script);
        if away || lives.iter().any(|life| life.leads()) {
            self.led = now;
        }
        let able = lives.iter().map(|life| now - life.able_since()).max();
        let able = able
            .unwrap_or_default()
            .min(now - *self.shared.hindered.lock());
        let leaderless = able.min(now - self.led);
        if leaderless > TAKEOVER {
            let what = format!("nobody leads for {leaderless:?}");
            self.shared.checker.lock().violated("law 1", what);
        }
    }

    pub fn assert_unviolated(&self) {
        let violations = self.shared.checker.lock().violations.clone();
        assert!(
            violations.is_empty(),
            "{}\n{}",
            violations.join("\n"),
            self.trace(300)
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
                let mut former = self.servers.iter();
                let former = former.find_map(|server| server.handle.former_life(&name));
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

    /// What the proxies would do with requests for an agent's containers.
    pub fn routed(&self, agent: &str) -> Vec<(ContainerId, EndpointState)> {
        let lives = self.shared.lives();
        lives.iter().flat_map(|life| routes(life, agent)).collect()
    }

    /// How many containers of an agent get requests, by each server.
    pub fn ready_everywhere(&self, agent: &str) -> BTreeSet<usize> {
        let lives = self.shared.lives();
        let ready = |life: &Arc<Life>| {
            let all = routes(life, agent);
            let ready = all.iter().filter(|(_, s)| *s == EndpointState::Ready);
            ready.count()
        };
        match lives.is_empty() {
            true => BTreeSet::from([0]),
            false => lives.iter().map(ready).collect(),
        }
    }

    /// Whether anything may have changed since this was asked last.
    fn mark(&self) -> (usize, u64) {
        let lives = self.shared.lives();
        let versions = lives.iter().map(|life| life.table.table().version);
        (self.shared.script.lock().made.len(), versions.sum())
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
        self.heal();
        self.matched(limit).await;
        // A run that was ready for 10 s ends a row of failures, and the status says so; a call that hangs ends
        // too, and what a late write left is mended by the resync, which comes to each key within two intervals.
        let struck = self.shared.script.lock().struck_at.is_some();
        self.rest(if struck { RESYNC * 2 + s(10) } else { s(12) })
            .await;
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

    /// Nothing goes wrong any more.
    pub fn heal(&self) {
        self.shared.script.lock().heal();
        for life in self.shared.lives() {
            life.heal();
        }
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
            let by = call.by;
            format!(
                "{:?} {by} {side} {} {target}{trouble}\n",
                call.at, call.name
            )
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

/// Nothing of a world stays when it ends: there are many thousands of them.
impl Drop for World {
    fn drop(&mut self) {
        self.shared.lives.lock().clear();
    }
}

fn routes(life: &Life, agent: &str) -> Vec<(ContainerId, EndpointState)> {
    let table = life.table.table();
    let Some(route) = table.routes.get(&name(agent)) else {
        return Vec::new();
    };
    let endpoints = route.endpoints.iter();
    endpoints
        .map(|(endpoint, state)| (endpoint.container.clone(), *state))
        .collect()
}
