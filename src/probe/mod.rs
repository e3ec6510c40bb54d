//! Probes: is an instance ready, and does it answer at all.
//!
//! [`Prober`] is told by `reconcile` which containers of an agent to look at, looks at each in a task of its own, keeps what it
//! found as [`Probe`] values and wakes the agent's key when one turned. A container may be named twice: with the check that judges
//! it, and with one on trial, of which only whether it passes and what it was answered is told. It decides nothing: that a
//! container that does not answer is restarted, and which check judges, `plan` says. Layer 2; knows no Docker and no Redis.

mod attempt;
mod history;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use futures::future::BoxFuture;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

pub use self::attempt::Outcome;
use self::history::History;
use crate::agent::Check;
use crate::agent::spec::{HealthCheck, Protocol};
use crate::names::AgentName;
use crate::observed::{ContainerId, Probe};

/// Probes at once, over all agents.
const AT_ONCE: usize = 64;

/// A container to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Which.
    pub container: ContainerId,
    /// Where it listens.
    pub address: SocketAddr,
    /// How to ask it; `None`: it is ready when the port accepts.
    pub check: Option<HealthCheck>,
    /// Whether that is on trial, beside the one that judges.
    pub trial: bool,
    /// What it is spoken to in.
    pub protocol: Protocol,
    /// When its process started: another start is another life, of which nothing is known yet.
    pub started_at: Option<Timestamp>,
}

impl Target {
    fn key(&self) -> Key {
        (self.container.clone(), self.trial)
    }
}

/// A container, and whether the check that it is asked by is on trial.
type Key = (ContainerId, bool);

/// Called with the agent of which something turned. Must not block.
pub type Wake = dyn Fn(&AgentName) + Send + Sync;

/// Asks a container once; told whether it was ready until now.
pub type Ask = dyn Fn(Target, bool) -> BoxFuture<'static, Outcome> + Send + Sync;

/// Looks at containers. Cheap to clone; all clones are one. Dropped with its last clone, it stops looking.
#[derive(Clone)]
pub struct Prober {
    inner: Arc<Inner>,
}

struct Inner {
    watched: Mutex<Watches>,
    wake: Arc<Wake>,
    ask: Arc<Ask>,
    places: Arc<Semaphore>,
}

/// Every container that is looked at, and those of each agent.
#[derive(Default)]
struct Watches {
    all: BTreeMap<Key, Watched>,
    of: BTreeMap<AgentName, BTreeSet<Key>>,
}

struct Watched {
    agent: AgentName,
    target: Target,
    history: Arc<Mutex<History>>,
    task: AbortHandle,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl std::fmt::Debug for Prober {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let watched = self.inner.watched.lock().all.len();
        f.debug_struct("Prober")
            .field("watched", &watched)
            .finish_non_exhaustive()
    }
}

impl Prober {
    /// A prober that looks at nothing yet. `wake` is called when a container turned ready or not, or has not answered as often
    /// in a row as its check allows.
    pub fn new(wake: Arc<Wake>) -> Self {
        Self::with(
            wake,
            Arc::new(|target, ready| Box::pin(attempt::ask(target, ready))),
        )
    }

    /// As [`new`](Self::new), but each probe is whatever `ask` answers: a simulation has no sockets to connect to.
    pub fn with(wake: Arc<Wake>, ask: Arc<Ask>) -> Self {
        let inner = Inner {
            watched: Mutex::default(),
            wake,
            ask,
            places: Arc::new(Semaphore::new(AT_ONCE)),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Looks at these containers of an agent from now on, and at no others of it. What is known of one stays when it is
    /// named again with the same address and start. Must be called within tokio.
    pub fn set(&self, agent: &AgentName, targets: Vec<Target>) {
        let mut watches = self.inner.watched.lock();
        let Watches { all: watched, of } = &mut *watches;
        let wanted: BTreeSet<Key> = targets.iter().map(Target::key).collect();
        let before = if wanted.is_empty() {
            of.remove(agent)
        } else {
            of.insert(agent.clone(), wanted.clone())
        };
        for target in targets {
            let same_life = |one: &Watched| {
                one.target.address == target.address && one.target.started_at == target.started_at
            };
            let history = match watched.get(&target.key()) {
                Some(one) if one.target == target && one.agent == *agent => continue,
                Some(one) if same_life(one) && !target.trial => {
                    // Only the check is another one: what is known stays true until the new check says otherwise.
                    let trial = watched.get(&(target.container.clone(), true));
                    let trial =
                        trial.filter(|one| same_life(one) && one.target.check == target.check);
                    let passed = trial.is_some_and(|one| one.history.lock().passed());
                    let known = one.history.lock().with(target.check.as_ref(), passed);
                    Arc::new(Mutex::new(known))
                }
                _ => Arc::new(Mutex::new(History::new(
                    target.check.as_ref(),
                    target.trial,
                ))),
            };
            let looking = look(
                agent.clone(),
                target.clone(),
                Arc::clone(&history),
                Shared::of(&self.inner),
            );
            let task = tokio::spawn(looking).abort_handle();
            watched.insert(
                target.key(),
                Watched {
                    agent: agent.clone(),
                    target,
                    history,
                    task,
                },
            );
        }
        for gone in before.unwrap_or_default().difference(&wanted) {
            if watched.get(gone).is_some_and(|one| one.agent == *agent) {
                watched.remove(gone);
            }
        }
    }

    /// What is known of a container whose process started then; `None` when that is not looked at. What an earlier process
    /// of it answered says nothing of this one: both its end and the start may have been missed.
    pub fn get(&self, container: &ContainerId, started_at: Option<Timestamp>) -> Option<Probe> {
        let watches = self.inner.watched.lock();
        let asked = |trial: bool| {
            let one = watches.all.get(&(container.clone(), trial))?;
            (one.target.started_at == started_at).then_some(one)
        };
        let (judging, trial) = (asked(false)?, asked(true));
        let mut both = trial.into_iter().chain([judging]);
        let passed = both.find(|one| one.history.lock().passed());
        let tried = trial.map(|one| one.history.lock().probe().message.clone());
        let mut probe = judging.history.lock().probe().clone();
        probe.passed = passed.map(|one| Check {
            health_check: one.target.check.clone(),
        });
        probe.tried = tried.unwrap_or_default();
        Some(probe)
    }
}

/// What a task needs of the prober; not the prober itself, so that dropping that ends the tasks.
struct Shared {
    wake: Arc<Wake>,
    ask: Arc<Ask>,
    places: Arc<Semaphore>,
}

impl Shared {
    fn of(inner: &Inner) -> Self {
        Self {
            wake: Arc::clone(&inner.wake),
            ask: Arc::clone(&inner.ask),
            places: Arc::clone(&inner.places),
        }
    }
}

async fn look(agent: AgentName, target: Target, history: Arc<Mutex<History>>, shared: Shared) {
    loop {
        let ready = history.lock().probe().ready == Some(true);
        let outcome = {
            let Ok(_place) = shared.places.acquire().await else {
                return;
            };
            (shared.ask)(target.clone(), ready).await
        };
        let (turned, pause) = {
            let mut history = history.lock();
            let turned = history.record(outcome, crate::clock::now());
            (turned, history.pause())
        };
        if turned {
            (shared.wake)(&agent);
        }
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
#[path = "probe_tests.rs"]
mod tests;
