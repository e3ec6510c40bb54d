//! The servers: each of the shipping parts on ports that can fail. One can die, stand still, lose the store, and be started
//! again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agentainer::agent::Uid;
use agentainer::clock;
use agentainer::endpoints::Endpoints;
use agentainer::names::AgentName;
use agentainer::observed::ContainerId;
use agentainer::probe::{Outcome, Prober, Target};
use agentainer::reconcile::{self, Board, Handle, Injection, Parts, Settings};
use agentainer::store::MemberId;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::checker::{Ours, Seat};
use crate::fake_runtime::{Call, Caller, FakeRuntime, Fault};
use crate::fake_store::{self, FakeStore};
use crate::trouble::Trouble;
use crate::world::{Deed, RESYNC, Shared, World, s};

/// For how long a server stands still.
pub const STANDS_STILL: Duration = s(30);
/// The same, less than a lease.
const NAPS: Duration = s(2);
/// For how long the store does not answer a server.
const CUT_OFF: Duration = s(20);
/// Silent for so long, a server is not waited for.
const SILENT: Duration = s(5);
/// One that comes back is known to all with their next sign of life.
const KNOWN: Duration = Duration::from_millis(0);
/// One that stood still has heard of everything by then.
const CAUGHT_UP: Duration = s(10);

/// What a server does that was alone and has lost the store.
const HEALS: [&str; 4] = ["start", "unpause", "connect", "create_network"];

/// One server's life, as engine and store see it.
pub struct Life {
    /// Which of the servers.
    pub server: usize,
    pub member: MemberId,
    /// What it publishes.
    pub table: Arc<Endpoints>,
    shared: Arc<Shared>,
    ports: Mutex<Option<(FakeRuntime, FakeStore)>>,
    handle: Mutex<Option<Handle>>,
    dead: AtomicBool,
    state: Mutex<State>,
}

struct State {
    /// Until when it stands still, and until when the store is away for it.
    still: Instant,
    cut_off: Instant,
    /// Until when it cannot have heard of everything.
    behind: Instant,
    /// When something last kept it from leading.
    hindered: Instant,
    /// Since when its signs of life have come without a gap.
    counts: Instant,
    /// When it was last seen to hold the lease.
    held: Option<Timestamp>,
    /// What a call was about that was on its way when the server came to stand still.
    sent: Option<String>,
}

impl Life {
    pub fn stands_still(&self) -> bool {
        self.state.lock().still > Instant::now()
    }

    pub fn leads(&self) -> bool {
        let handle = self.handle.lock();
        handle.as_ref().is_some_and(Handle::leads)
    }

    /// It stands still for so long from now on.
    pub fn stand_still(&self, time: Duration) {
        // What it published until now is looked at while it is awake.
        self.shared.step(None);
        let mut state = self.state.lock();
        state.still = state.still.max(Instant::now() + time);
        state.hindered = state.hindered.max(state.still);
        state.behind = state.behind.max(state.still + CAUGHT_UP);
    }

    /// The store does not answer it for a while.
    pub fn cut_off(&self) {
        let mut state = self.state.lock();
        state.cut_off = Instant::now() + CUT_OFF;
        state.hindered = state.hindered.max(state.cut_off);
        state.behind = state.behind.max(state.cut_off + CAUGHT_UP);
    }

    pub fn heal(&self) {
        let now = Instant::now();
        let mut state = self.state.lock();
        state.cut_off = state.cut_off.min(now);
        state.hindered = state.still.max(now);
    }

    /// Since when nothing has kept it from leading.
    pub fn able_since(&self) -> Instant {
        self.state.lock().hindered
    }

    /// Until it stands still no more.
    pub async fn wakes(&self) {
        let until = self.state.lock().still;
        if until > Instant::now() {
            sleep_until(until).await;
        }
    }

    /// As the checker sees it.
    pub fn seat(&self) -> Seat {
        let now = Instant::now();
        let sign = self.shared.store.last_sign(&self.member);
        let silent = sign.is_none_or(|at| now.duration_since(at) >= SILENT);
        let state = self.state.lock();
        let counts = !silent && now.duration_since(state.counts) >= KNOWN;
        Seat {
            server: self.server,
            table: Arc::clone(&self.table),
            waited_for: counts || self.shared.servers == 1,
            still: state.still > now,
            behind: now < state.behind,
        }
    }

    /// Whether another server holds the lease. Keeps in mind when this one did. A sign of life of an earlier run of this one that
    /// comes late harms nobody but us: then nobody acts until that lease is over.
    fn superseded(&self) -> bool {
        let holder = self.shared.store.holder();
        if holder.as_ref() == Some(&self.member) {
            self.state.lock().held = Some(clock::now());
        }
        holder.is_some_and(|holder| holder.server != self.member.server)
    }

    /// Only who leads acts, but for one that was alone and has lost the store, which heals what is there.
    fn permitted(&self, call: &Call) {
        let alone = {
            let ports = self.ports.lock();
            ports
                .as_ref()
                .is_some_and(|(_, store)| !store.has_company())
        };
        if self.superseded() && !(alone && HEALS.contains(&call.name)) {
            self.violates(
                "law 1",
                format!(
                    "{} of {} by server {}, which does not lead",
                    call.name, call.target, self.server
                ),
            );
        }
    }

    fn violates(&self, law: &str, what: String) {
        let holder = self.shared.store.holder();
        let holder = holder.map_or("nobody".to_owned(), |holder| holder.to_string());
        let what = format!("{what} ({}; {holder} does)", self.member);
        self.shared.checker.lock().violated(law, what);
    }

    fn suffers(&self, trouble: Option<Trouble>) {
        let two = self.shared.servers == 2;
        let deed = match trouble {
            Some(Trouble::DiesBefore | Trouble::DiesAfter) => {
                self.dead.store(true, Ordering::Relaxed);
                Deed::Dies(self.server)
            }
            Some(Trouble::OtherDies) => Deed::Dies(1 - self.server),
            Some(Trouble::BothDie) => Deed::BothDie,
            Some(Trouble::Pause) if !two => Deed::AllStandStill,
            Some(Trouble::Pause) => return self.stand_still(STANDS_STILL),
            Some(Trouble::Nap) => return self.stand_still(NAPS),
            Some(Trouble::CutOff) => return self.cut_off(),
            _ => return,
        };
        self.shared.does(deed);
    }

    /// How long a call is held up, when the server stands still, and whether it was already on its way.
    fn holds_up(&self, trouble: Option<Trouble>) -> Option<(Duration, bool)> {
        let until = self.state.lock().still;
        let time = until.checked_duration_since(Instant::now())?;
        let sent = matches!(trouble, Some(Trouble::Pause | Trouble::Nap));
        (!time.is_zero()).then_some((time, sent))
    }

    /// What the store makes of a call.
    fn store_fault(&self, call: &'static str) -> Option<fake_store::Fault> {
        use fake_store::Fault;
        let dead = self.dead.load(Ordering::Relaxed);
        if dead {
            return Some(Fault::Hang);
        }
        if call == "sent" {
            return None;
        }
        const LEADERS: [&str; 5] = [
            "commit",
            "put_status",
            "reserve",
            "put_revision",
            "forget_revision",
        ];
        if LEADERS.contains(&call) && self.superseded() {
            self.violates(
                "law 1",
                format!("{call} by server {}, which does not lead", self.server),
            );
        }
        let mut script = self.shared.script.lock();
        let trouble = script.store(self.server, call);
        let mut fault = script.store_fault(call, trouble);
        drop(script);
        self.suffers(trouble);
        let now = Instant::now();
        if call == "beat" {
            self.gives_a_sign(now);
        }
        if ["beat", "leave"].contains(&call) && trouble.is_some() {
            self.shared.hinders(now);
        }
        if let Some((time, sent)) = self.holds_up(trouble) {
            fault = match sent {
                true => Fault::Sent(time),
                false => Fault::Then(time, Box::new(fault)),
            };
        } else if self.state.lock().cut_off > now && call != "change" {
            fault = Fault::Before(crate::trouble::away());
        }
        Some(fault)
    }

    fn gives_a_sign(&self, now: Instant) {
        if self.shared.servers == 1 {
            return;
        }
        // What is old is as old as the last sign of life.
        if let Some((port, store)) = self.ports.lock().as_ref() {
            port.catch_up();
            store.catch_up();
        }
        let sign = self.shared.store.last_sign(&self.member);
        let mut state = self.state.lock();
        if sign.is_none_or(|at| now.duration_since(at) >= SILENT) {
            state.counts = now;
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
        let trouble = script.engine(self.server, call);
        let fault = script.engine_fault(call.name, trouble);
        drop(script);
        if call.writes() {
            self.permitted(call);
        }
        self.suffers(trouble);
        if call.name == "event" {
            return Some(fault);
        }
        Some(match self.holds_up(trouble) {
            Some((time, true)) => {
                self.state.lock().sent = Some(call.target.clone());
                Fault::Sent(time)
            }
            Some((time, false)) => Fault::Then(time, Box::new(fault)),
            None => fault,
        })
    }

    fn about(&self, call: &Call) {
        if !call.writes() {
            return;
        }
        self.shared.step(None);
        let id = ContainerId(call.target.clone());
        let ours = self.shared.port.look();
        let ours = ours.iter().find(|ours| ours.id == id);
        if self.shared.engine.is_there(&id) && ours.is_none() {
            let (call, target) = (call.name, &call.target);
            self.violates("law 7", format!("{call} of {target}, which is not ours"));
        }
        // What it sent while it led may arrive when it leads no more: it knew of nothing that was made since.
        let superseded = self.superseded();
        let held = self.state.lock().held;
        let heals = HEALS.contains(&call.name);
        if superseded
            && !heals
            && let Some(made) = ours.and_then(|ours| ours.created_at)
            && held.is_none_or(|held| made > held)
        {
            self.violates(
                "law 1",
                format!(
                    "{} by server {} touches {}, which was made after it had led",
                    call.name, self.server, call.target
                ),
            );
        }
    }

    fn done(&self, call: &Call, well: bool) {
        if !call.writes() {
            return;
        }
        let ours = Ours {
            call,
            server: self.server,
            superseded: self.superseded(),
        };
        // What was decided before a long stop was right then, and nobody can take it back.
        let sent = self.state.lock().sent.take_if(|of| *of == call.target);
        self.shared
            .step(Some(ours).filter(|_| well && sent.is_none()));
    }

    // As good as somebody else's hand.
    fn late(&self, _: &Call) {
        self.shared.step(None);
    }

    fn lives(&self) -> bool {
        !self.dead.load(Ordering::Relaxed)
    }
}

/// A server that runs.
pub struct Server {
    pub life: Arc<Life>,
    pub handle: Handle,
    task: JoinHandle<()>,
    /// What the prober wakes; emptied at the end, so that nothing of this life stays.
    woken: Arc<Mutex<Option<Handle>>>,
    _watching: AbortOnDropHandle<()>,
}

impl Server {
    /// Starts one: its `nth` run.
    pub fn start(world: &World, server: usize, nth: u64) -> Self {
        let shared = &world.shared;
        let endpoints = Arc::new(Endpoints::default());
        let run = format!("run-{nth}");
        let id = match server {
            0 => "server".to_owned(),
            other => format!("server-{other}"),
        };
        let now = Instant::now();
        let life = Arc::new(Life {
            server,
            member: MemberId { server: id, run },
            table: Arc::clone(&endpoints),
            shared: Arc::clone(shared),
            ports: Mutex::default(),
            handle: Mutex::default(),
            dead: AtomicBool::default(),
            state: Mutex::new(State {
                still: now,
                cut_off: now,
                behind: now,
                hindered: now,
                counts: now,
                held: None,
                sent: None,
            }),
        });
        let store = world.store.caller(world.remembers);
        let of = Arc::clone(&life);
        store.on_call(move |call| of.store_fault(call));
        let woken: Arc<Mutex<Option<Handle>>> = Arc::default();
        let wake = {
            let woken = Arc::clone(&woken);
            move |agent: &AgentName| {
                if let Some(handle) = woken.lock().as_ref() {
                    handle.wake(agent);
                }
            }
        };
        // Whoever has the address answers, as in the world.
        let of = Arc::clone(&life);
        let ask = move |target: Target, _ready: bool| {
            let of = Arc::clone(&of);
            Box::pin(async move {
                of.wakes().await;
                sleep(Duration::from_millis(2)).await;
                match of.shared.port.look_behind(target.address.ip()) {
                    Some(container) => {
                        let mut programs = of.shared.programs.lock();
                        programs.asked(&container, target.check.as_ref())
                    }
                    None => Outcome::Unanswered("no route to host".to_owned()),
                }
            }) as futures::future::BoxFuture<'static, Outcome>
        };
        let port = {
            let caller = Arc::clone(&life) as Arc<dyn Caller>;
            world.port.called_by(caller, world.remembers)
        };
        *life.ports.lock() = Some((port.clone(), store.clone()));
        let subnet = "10.90.0.0/20".parse().unwrap();
        let mut changes = endpoints.changes();
        let parts = Parts {
            store: Arc::new(store),
            runtime: Arc::new(port),
            endpoints,
            prober: Arc::new(Prober::with(Arc::new(wake), Arc::new(ask))),
            board: Board::default(),
        };
        let settings = Settings {
            cluster: world.cluster.clone(),
            member: life.member.clone(),
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
            seed: world.seed.wrapping_mul(1000).wrapping_add(nth),
        };
        // Every publication is looked at.
        let of = Arc::clone(shared);
        let watching = tokio::spawn(async move {
            while changes.changed().await.is_ok() {
                of.step(None);
            }
        });
        let (handle, work) = reconcile::run(parts, settings, CancellationToken::new());
        *woken.lock() = Some(handle.clone());
        *life.handle.lock() = Some(handle.clone());
        let task = tokio::spawn(async move { work.await.unwrap() });
        Self {
            life,
            handle,
            task,
            woken,
            _watching: AbortOnDropHandle::new(watching),
        }
    }

    /// Ends it as `kill -9` does: nothing is finished, nothing is told.
    pub async fn kill(mut self) {
        self.life.dead.store(true, Ordering::Relaxed);
        self.task.abort();
        let _ = (&mut self.task).await;
        self.forget();
    }

    fn forget(&self) {
        self.life.handle.lock().take();
        self.life.ports.lock().take();
        self.woken.lock().take();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
        self.forget();
    }
}
