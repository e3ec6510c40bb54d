//! The servers beside us: our signs of life to the store, the lease that they ask for, what is drained together.
//!
//! Who leads says in the agents' statuses what it drains. The others send nothing new there, from the moment when their watch
//! tells them, and report with each sign of life what is left in flight. No engine is asked on this way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::board::host_condition;
use super::leadership::{Drains, LEASE, Role};
use super::{Key, Reconcile};
use crate::agent::Agent;
use crate::clock;
use crate::names::AgentName;
use crate::observed::{ContainerId, Traffic};
use crate::plan::SETTLE;
use crate::store::{Beat, Drained, Report};

/// How long a sign of life counts: a server that is silent for longer is not waited for any more.
const LIFE: Duration = Duration::from_secs(5);
/// Between two signs of life.
const PACE: Duration = Duration::from_millis(1000);
/// The same after one that was not answered.
const RETRY: Duration = Duration::from_millis(300);
/// The same while something drains and others have a say in it.
const DRAINING: Duration = Duration::from_millis(100);
/// The longest that one may take: a lease must not be lost for one answer.
const PATIENCE: Duration = Duration::from_millis(1000);
/// After the moment when another's lease ends.
const AFTER_LEASE: Duration = Duration::from_millis(10);

impl Reconcile {
    /// Gives signs of life for ever.
    pub(super) async fn beat_for_ever(&self) {
        let mut changes = self.parts.endpoints.changes();
        let mut before = None;
        loop {
            let answered = self.beat().await;
            let role = self.leadership.role();
            if before.replace(role) != Some(role) {
                self.changed_role(role);
            }
            self.beaten.send_replace(true);
            let pause = sleep(self.pace(answered));
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    biased;
                    () = &mut pause => break,
                    () = self.beat_now.notified() => break,
                    // A drain began, perhaps: others must know that we have heard of it, and we whether there are others.
                    Ok(()) = changes.changed() => {
                        let latest = self.parts.endpoints.latest_drain();
                        if answered && latest.is_some_and(|at| !self.leadership.heard_since(at)) {
                            break;
                        }
                    }
                }
            }
        }
    }

    /// One sign of life. Whether the store answered.
    pub(super) async fn beat(&self) -> bool {
        let (asked, heard) = (Instant::now(), clock::now());
        let candidate = self.candidate.load(Ordering::Relaxed);
        let beat = Beat {
            member: self.leadership.me().clone(),
            report: self.report(),
            candidate,
            // Said once: later another run may stand beside us, to which we hand over.
            only_run: candidate && self.first_run.load(Ordering::Relaxed),
            lease: LEASE,
            life: LIFE,
        };
        let muster = match timeout(PATIENCE, self.parts.store.beat(&beat)).await {
            Ok(Ok(muster)) => muster,
            failed => {
                let error = failed.map(|failed| failed.err());
                tracing::debug!(?error, "no answer to a sign of life");
                self.leadership.miss(asked);
                return false;
            }
        };
        self.first_run.store(false, Ordering::Relaxed);
        // It may have resigned meanwhile.
        let resigned = beat.candidate && !self.candidate.load(Ordering::Relaxed);
        if resigned {
            self.beat_now.notify_one();
            return true;
        }
        if self.leadership.hear(muster, asked, heard) {
            self.wake_draining();
        }
        true
    }

    /// Asks once more who lives when something has drained here and may be stopped: a server that came meanwhile may have sent
    /// something to it. False: it could not be asked.
    pub(super) async fn muster(&self, traffic: &BTreeMap<ContainerId, Traffic>) -> bool {
        let settled = clock::now().checked_sub(SETTLE).ok();
        let over = |one: &Traffic| {
            one.in_flight == 0
                && one
                    .draining_since
                    .is_some_and(|since| Some(since) <= settled)
        };
        if !traffic.values().any(over) || self.leadership.role() != Role::Leads {
            return true;
        }
        self.beat().await
    }

    /// Gives up the lease and our place among the servers.
    pub(super) async fn leave(&self) {
        self.leadership.resign();
        let me = self.leadership.me();
        if let Ok(Err(error)) = timeout(PATIENCE, self.parts.store.leave(me)).await {
            tracing::debug!(%error, "the store was not told that this server ends");
        }
    }

    fn pace(&self, answered: bool) -> Duration {
        if !answered {
            return RETRY;
        }
        if self.leadership.has_company() && self.parts.endpoints.latest_drain().is_some() {
            return DRAINING;
        }
        match self.leadership.leader() {
            Some(lease) if lease.holder != *self.leadership.me() => {
                PACE.min(lease.remaining + AFTER_LEASE)
            }
            _ => PACE,
        }
    }

    fn changed_role(&self, role: Role) {
        tracing::info!(?role, "what this server may do has changed");
        let (known, reason, message) = match role {
            Role::Leads => (true, "Leads", "this server acts"),
            Role::Heals => (
                false,
                "StoreAway",
                "the store cannot be reached: nothing but what only adds is done",
            ),
            Role::Follows => (
                true,
                "Follows",
                "another server acts; this one observes and serves",
            ),
        };
        let board = &self.parts.board;
        match (role, self.leadership.leader()) {
            (Role::Follows, None) => board.set(
                host_condition::LEADER,
                false,
                "NobodyLeads",
                "no server holds the lease yet",
            ),
            _ => board.set(host_condition::LEADER, known, reason, message),
        }
        for agent in self.agents.snapshot().keys() {
            self.follow_drains(agent);
        }
        self.wake(Key::Host);
        self.wake_known();
    }

    /// Takes over what the leader's status says of an agent's drains, unless we lead ourselves.
    pub(super) fn follow_drains(&self, name: &AgentName) {
        let _one_at_a_time = self.drains.lock();
        let ordered: BTreeSet<ContainerId> = match self.leadership.role() {
            Role::Leads => BTreeSet::new(),
            Role::Heals | Role::Follows => {
                let agent = self.agents.get(name);
                agent.map_or_else(BTreeSet::new, |agent| drains(&agent).into_keys().collect())
            }
        };
        self.parts.endpoints.order(name, ordered, clock::now());
    }

    /// What is left of the drains that another server decided. One that leads has nothing to report.
    fn report(&self) -> Report {
        let mut report = Report::default();
        if self.leadership.role() == Role::Leads || !self.leadership.has_company() {
            return report;
        }
        let _one_at_a_time = self.drains.lock();
        let now = clock::now();
        let settled = now.checked_sub(SETTLE).unwrap_or(now);
        for agent in self.agents.snapshot().values() {
            for (container, since) in drains(agent) {
                if let Some(in_flight) = self.parts.endpoints.left(&container, settled) {
                    report.0.insert(container, Drained { since, in_flight });
                }
            }
        }
        report
    }

    /// Others said something new of what drains.
    fn wake_draining(&self) {
        for agent in self.agents.snapshot().values() {
            if !drains(agent).is_empty() {
                self.wake(Key::Agent(agent.metadata.name.clone()));
            }
        }
    }
}

fn drains(agent: &Agent) -> Drains {
    let instances = agent.status.instances.iter();
    instances
        .filter_map(|instance| {
            let since = instance.draining_since?;
            Some((ContainerId(instance.container_id.clone()), since))
        })
        .collect()
}
