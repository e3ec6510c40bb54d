//! Glue: load → observe → plan → execute → status, once per key and pass.
//!
//! Owns the order of a pass and the execution of a plan, and no policy: what to do is `plan`'s, when to look is
//! `controller`'s. No pass knows why it was woken. Called by `app`, which starts [`run`].
//!
//! ```text
//! sources ──keys──► controller ──key──► Reconcile
//!  store's watch                          Key::Agent(name): pass.rs   load ► observe.rs ► plan ► publish.rs ► execute.rs
//!  engine's events                        Key::Host:        host.rs   network, addresses, whose store, orphans
//!  probes, resync                        members.rs:       signs of life, the lease (leadership.rs), common drains
//! ```

mod addresses;
mod board;
mod create;
mod error;
mod events;
mod execute;
mod history;
mod host;
mod inject;
mod last_lines;
mod leadership;
mod members;
mod memo;
mod observe;
mod pass;
mod publish;
mod pulls;
mod repeats;
mod seen;
mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use self::addresses::AddressBook;
pub use self::board::{Board, host_condition};
pub use self::error::PassError;
use self::events::Events;
pub use self::inject::{Injection, TokenMaker};
use self::leadership::Leadership;
use self::memo::Memo;
use self::pulls::Pulls;
use self::seen::Seen;
use crate::agent::{Agent, ClusterId, Uid};
use crate::controller::{self, Cache, Controller, Reconciler, Requeue, RunError, Trigger};
use crate::endpoints::Endpoints;
use crate::names::AgentName;
use crate::observed::Network;
use crate::probe::Prober;
use crate::runtime::ContainerRuntime;
use crate::store::{AgentStore, MemberId};
use crate::telemetry::exposition::PassMetrics;

/// What a pass is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// The host's own things: the network, the addresses, whose store it is, orphans.
    Host,
    /// One agent.
    Agent(AgentName),
}

/// How the reconciler runs; the defaults are for a real host.
#[derive(Clone)]
pub struct Settings {
    /// Our cluster.
    pub cluster: ClusterId,
    /// Who we are among the servers on the store.
    pub member: MemberId,
    /// An earlier run of this server still lives and hands over to us: we ask for the lease only after [`Handle::lead`].
    pub succeeds: bool,
    /// The store's epoch at start.
    pub epoch: u64,
    /// Passes at once. The engine starts about five containers a second however many are asked for.
    pub concurrency: usize,
    /// Every agent is looked at this often, whatever was heard.
    pub resync: Duration,
    /// The host is looked at this often.
    pub host_resync: Duration,
    /// Where agents' subnets are looked for when the network must be made.
    pub subnets: Subnets,
    /// What we tell agents in their environment.
    pub injection: Injection,
    /// Seeds the jitter, so that a run can be repeated.
    pub seed: u64,
}

/// Candidates for the agents' subnet, best first; asked when the network must be made, since routes come and go.
pub type Subnets = Arc<dyn Fn() -> Vec<ipnet::Ipv4Net> + Send + Sync>;

/// What the passes work with, shared with the rest of the server.
#[derive(Clone)]
pub struct Parts {
    /// The store.
    pub store: Arc<dyn AgentStore>,
    /// The engine.
    pub runtime: Arc<dyn ContainerRuntime>,
    /// Where routing targets are published.
    pub endpoints: Arc<Endpoints>,
    /// Who probes.
    pub prober: Arc<Prober>,
    /// Where the host's conditions are told.
    pub board: Board,
}

/// The reconciler: one for a server.
pub struct Reconcile {
    parts: Parts,
    settings: Settings,
    agents: Cache<AgentName, Agent>,
    memo: Mutex<Memo>,
    pulls: Pulls,
    events: Events,
    addresses: Mutex<AddressBook>,
    network: watch::Sender<Option<Network>>,
    /// Why nothing may be removed now (law 6), once the host pass has found a reason.
    frozen: Mutex<Option<String>>,
    /// The store's epoch, as last read.
    epoch: AtomicU64,
    /// Whether the host was looked at, well or not: before that nothing is known of store and network.
    host_known: AtomicBool,
    /// Whether the store was another cluster's when last asked: nothing is written to it, nothing in it is ours.
    foreign: AtomicBool,
    /// When the host was last looked at.
    host_looked: Mutex<Option<tokio::time::Instant>>,
    /// Agents that had containers in the last full list: some may have no object.
    seen: Mutex<BTreeSet<AgentName>>,
    /// Agents of which a pass was made.
    looked: Mutex<BTreeSet<AgentName>>,
    /// Agents that run and that the store does not know: what they were called before it forgot them.
    strays: Mutex<BTreeMap<AgentName, FormerLife>>,
    leadership: Leadership,
    /// Whether we ask for the lease.
    candidate: AtomicBool,
    /// Whether the store is yet to hear that earlier runs of this server are over.
    first_run: AtomicBool,
    /// Whether the store was asked for it at all.
    beaten: watch::Sender<bool>,
    beat_now: Notify,
    /// Held while drains of another server are taken over or reported.
    drains: Mutex<()>,
    trigger: OnceLock<Trigger<Key>>,
}

/// Who an agent was before the store forgot it, read from its containers. An agent of the same name that is applied
/// again becomes the same one, and its containers are its own again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormerLife {
    /// Its uid.
    pub uid: Uid,
    /// The latest generation that made a container.
    pub generation: u64,
}

/// What the rest of the server may ask and tell a running reconciler.
#[derive(Clone)]
pub struct Handle {
    trigger: Trigger<Key>,
    network: watch::Receiver<Option<Network>>,
    agents: Cache<AgentName, Agent>,
    reconcile: Arc<Reconcile>,
    seen: Seen,
}

impl Handle {
    /// What the passes came to so far, by kind.
    pub fn passes(&self) -> Vec<PassMetrics> {
        self.seen.read()
    }

    /// Who an agent was before the store forgot it, if it runs on in quarantine.
    pub fn former_life(&self, name: &AgentName) -> Option<FormerLife> {
        self.reconcile.strays.lock().get(name).cloned()
    }

    /// Whether a pass over an agent was made since this server began.
    pub fn looked_at(&self, name: &AgentName) -> bool {
        self.reconcile.looked.lock().contains(name)
    }

    /// Wants a pass over an agent now.
    pub fn wake(&self, name: &AgentName) {
        self.trigger.wake(Key::Agent(name.clone()));
    }

    /// Wants a pass over the host now.
    pub fn wake_host(&self) {
        self.trigger.wake(Key::Host);
    }

    /// The agents' network, as last seen.
    pub fn network(&self) -> watch::Receiver<Option<Network>> {
        self.network.clone()
    }

    /// Asks for the lease from now on: the run before us has handed over.
    pub fn lead(&self) {
        self.reconcile.candidate.store(true, Ordering::Relaxed);
        self.reconcile.beat_now.notify_one();
    }

    /// Gives up the lease and asks for it no more: from now on this server observes and serves. Whoever else is there may
    /// lead when this returns, if the store could be told.
    pub async fn resign(&self) {
        self.reconcile.candidate.store(false, Ordering::Relaxed);
        self.reconcile.leadership.resign();
        self.reconcile.beat().await;
    }

    /// Whether this server acts.
    pub fn leads(&self) -> bool {
        self.reconcile.leadership.role() == leadership::Role::Leads
    }

    /// The agents, as last heard from the store.
    pub fn agents(&self) -> &Cache<AgentName, Agent> {
        &self.agents
    }
}

/// Builds the reconciler; it does nothing until the returned future is polled. The future ends after `shutdown` is
/// cancelled, the passes that run have ended, and the lease is given up.
pub fn run(
    parts: Parts,
    settings: Settings,
    shutdown: CancellationToken,
) -> (Handle, impl Future<Output = Result<(), RunError>> + Send) {
    let (writer, agents) = controller::cache(|agent: &Agent| agent.metadata.name.clone());
    let (network, network_seen) = watch::channel(None);
    let mut rng = StdRng::seed_from_u64(settings.seed);
    let store = Arc::clone(&parts.store);
    let runtime = Arc::clone(&parts.runtime);
    let endpoints = Arc::clone(&parts.endpoints);
    let reconcile = Arc::new(Reconcile {
        parts,
        agents: agents.clone(),
        memo: Mutex::default(),
        pulls: Pulls::default(),
        events: Events::default(),
        addresses: Mutex::default(),
        network,
        epoch: AtomicU64::new(settings.epoch),
        frozen: Mutex::new(Some("the store was not looked at yet".to_owned())),
        host_known: AtomicBool::default(),
        foreign: AtomicBool::default(),
        host_looked: Mutex::default(),
        seen: Mutex::default(),
        strays: Mutex::default(),
        leadership: Leadership::new(settings.member.clone()),
        candidate: AtomicBool::new(!settings.succeeds),
        first_run: AtomicBool::new(!settings.succeeds),
        beaten: watch::channel(false).0,
        beat_now: Notify::new(),
        drains: Mutex::default(),
        looked: Mutex::default(),
        trigger: OnceLock::new(),
        settings: settings.clone(),
    });
    let seen = Seen::default();
    let known = {
        let reconcile = Arc::clone(&reconcile);
        move || reconcile.known_keys()
    };
    let controller = Controller::new(Passes(Arc::clone(&reconcile)), StdRng::from_rng(&mut rng))
        .concurrency(settings.concurrency)
        .observer(seen.clone())
        .trigger(
            "store",
            sources::store(
                store,
                writer,
                agents.clone(),
                endpoints,
                {
                    let reconcile = Arc::clone(&reconcile);
                    move |name: &AgentName| reconcile.follow_drains(name)
                },
                StdRng::from_rng(&mut rng),
            ),
        )
        .trigger(
            "engine",
            sources::engine(
                runtime,
                Arc::clone(&reconcile.parts.endpoints),
                known.clone(),
                StdRng::from_rng(&mut rng),
            ),
        )
        .resync(settings.host_resync, || [Key::Host])
        .resync(settings.resync, known)
        .ready_when({
            let agents = agents.clone();
            async move { agents.wait_until_ready().await }
        })
        .ready_when({
            let mut beaten = reconcile.beaten.subscribe();
            async move { beaten.wait_for(|beaten| *beaten).await.map(drop) }
        });
    let trigger = controller.handle();
    trigger.wake(Key::Host);
    // Set once, here, before any pass can run.
    let _ = reconcile.trigger.set(trigger.clone());
    let handle = Handle {
        trigger,
        network: network_seen,
        agents,
        reconcile: Arc::clone(&reconcile),
        seen,
    };
    let work = async move {
        let wake = |agent: &AgentName| reconcile.wake(Key::Agent(agent.clone()));
        let runtime = Arc::clone(&reconcile.parts.runtime);
        let ended = tokio::select! {
            biased;
            ended = controller.run(shutdown) => ended,
            () = reconcile.beat_for_ever() => Ok(()),
            () = reconcile.pulls.run(&*runtime, &wake) => Ok(()),
            () = reconcile.write_events() => Ok(()),
        };
        reconcile.write_last_events().await;
        reconcile.leave().await;
        ended
    };
    (handle, work)
}

/// The reconciler as the controller sees it.
struct Passes(Arc<Reconcile>);

impl Reconciler for Passes {
    type Key = Key;
    type Error = PassError;

    async fn reconcile(&self, key: Key) -> Result<Requeue, PassError> {
        match key {
            Key::Host => {
                let passed = self.0.host_pass().await;
                self.0.know_host();
                passed
            }
            Key::Agent(name) => self.0.agent_pass(&name).await,
        }
    }
}

impl Reconcile {
    fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }

    fn wake(&self, key: Key) {
        if let Some(trigger) = self.trigger.get() {
            trigger.wake(key);
        }
    }

    /// The host was looked at: agents whose pass waits for that may have it.
    fn know_host(&self) {
        if !self.host_known.swap(true, Ordering::Relaxed) {
            self.wake_known();
        }
    }

    fn wake_known(&self) {
        for key in self.known_keys() {
            self.wake(key);
        }
    }

    /// Every agent that has an object or was last seen to have containers.
    fn known_keys(&self) -> Vec<Key> {
        let mut names: BTreeSet<AgentName> = self.agents.snapshot().keys().cloned().collect();
        names.extend(self.seen.lock().iter().cloned());
        names.into_iter().map(Key::Agent).collect()
    }
}
