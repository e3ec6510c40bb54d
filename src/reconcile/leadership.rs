//! Whether this server may change the world: the lease, as it stands on our own monotonic clock, and the servers beside us.
//!
//! The store gives the lease for a time, counted here from before it was asked for. Whoever holds it acts; the others observe
//! and serve. A lease can pass on by way of the store alone, but that may be away for us and not for others: so once the
//! lease has run out, a server goes on healing only if no other one lived when the store last answered, and then by what
//! only adds and asks the store for nothing: another one may have come since. Pure but for the time it is told.

use std::collections::BTreeMap;
use std::future::Future;
use std::task::Poll;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

use crate::observed::ContainerId;
use crate::plan::SETTLE;
use crate::store::{Lease, MemberId, Muster, Report};

/// How long a lease holds unless it is renewed.
pub(super) const LEASE: Duration = Duration::from_secs(3);
/// A lease ends for us this much before it does for the store, whose clock may run faster.
const MARGIN: Duration = Duration::from_millis(200);

/// What a server may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It holds the lease: everything.
    Leads,
    /// It held the lease, was alone, and the store is away: what only adds, and needs no store.
    Heals,
    /// Observe and serve.
    Follows,
}

/// What a pass begins with: it acts by the lease of that moment or not at all, since under a later one the world that it
/// looked at may be another leader's past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) role: Role,
    /// The term of the lease, if it is ours or was ours last.
    term: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Leadership {
    me: MemberId,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Until when the lease is ours.
    until: Option<Instant>,
    /// What the store said when it last answered.
    last: Muster,
    /// When that was asked for.
    heard: Option<Timestamp>,
    asked: Option<Instant>,
    /// It has not answered since, although it was asked when the lease was over.
    away: bool,
}

impl Leadership {
    pub(super) fn new(me: MemberId) -> Self {
        Self {
            me,
            state: Mutex::default(),
        }
    }

    pub(super) fn me(&self) -> &MemberId {
        &self.me
    }

    /// What this server may do at this moment.
    pub(super) fn role(&self) -> Role {
        self.standing().role
    }

    /// What this server may do at this moment, and by which lease.
    pub(super) fn standing(&self) -> Standing {
        let state = self.state.lock();
        let held = state.last.lease.as_ref();
        let held = held.filter(|lease| lease.holder == self.me);
        let alone = state.away && state.last.others.is_empty();
        let role = match state.until {
            Some(until) if until > Instant::now() => Role::Leads,
            _ if held.is_some() && alone => Role::Heals,
            _ => Role::Follows,
        };
        Standing {
            role,
            term: held.map(|lease| lease.term),
        }
    }

    /// The store answered a sign of life that was sent at `asked`. Says whether other servers said something new.
    /// What was asked for before the last answer was says nothing any more.
    pub(super) fn hear(&self, muster: Muster, asked: Instant, heard: Timestamp) -> bool {
        let mut state = self.state.lock();
        if state.asked.is_some_and(|last| asked < last) {
            return false;
        }
        state.asked = Some(asked);
        let ours = muster
            .lease
            .as_ref()
            .filter(|lease| lease.holder == self.me);
        state.until = ours.map(|lease| asked + lease.remaining.saturating_sub(MARGIN));
        let news = state.last.others != muster.others;
        (state.last, state.heard, state.away) = (muster, Some(heard), false);
        news
    }

    /// The store did not answer a sign of life that was sent at `asked`. One that was on its way when the lease ran out shows
    /// nothing: it may be we who stood still, while another one took over.
    pub(super) fn miss(&self, asked: Instant) {
        let mut state = self.state.lock();
        state.away |= state.until.is_none_or(|until| asked >= until);
    }

    /// The lease is given up.
    pub(super) fn resign(&self) {
        let mut state = self.state.lock();
        (state.until, state.last.lease) = (None, None);
    }

    /// Who leads, as far as is known.
    pub(super) fn leader(&self) -> Option<Lease> {
        self.state.lock().last.lease.clone()
    }

    /// Whether another server led when the store last answered.
    pub(super) fn another_leads(&self) -> bool {
        let state = self.state.lock();
        let lease = state.last.lease.as_ref();
        lease.is_some_and(|lease| lease.holder != self.me)
    }

    /// Whether the store was asked at that moment or later, and answered.
    pub(super) fn heard_since(&self, at: Timestamp) -> bool {
        self.state.lock().heard.is_some_and(|heard| heard >= at)
    }

    /// Whether any other server lived when the store last answered.
    pub(super) fn has_company(&self) -> bool {
        !self.state.lock().last.others.is_empty()
    }

    /// Whether another server may still send something to a container that we drain since then, or has something in flight
    /// on it. One that says nothing of it has not seen that it drains.
    pub(super) fn busy_elsewhere(&self, container: &ContainerId, since: Option<Timestamp>) -> bool {
        let state = self.state.lock();
        // Another server may have come while the drain settled.
        let settled = since.and_then(|since| since.checked_add(SETTLE).ok());
        if settled
            .zip(state.heard)
            .is_none_or(|(settled, heard)| heard < settled)
        {
            return true;
        }
        let done = |report: &Report| {
            let drained = report.0.get(container);
            drained.is_some_and(|it| Some(it.since) == since && it.in_flight == 0)
        };
        !state.last.others.values().all(done)
    }

    /// Does some work of a pass that began so, while this server may, by the same lease; `None` when it may not, or not any
    /// more: the work is then dropped where it stands. `heals`: it only adds, and needs no store. The lease is looked at on
    /// the monotonic clock before each step.
    pub(super) async fn during<T>(
        &self,
        began: Standing,
        heals: bool,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let mut work = std::pin::pin!(work);
        let allowed = || {
            let now = self.standing();
            let may = match now.role {
                Role::Leads => true,
                Role::Heals => heals,
                Role::Follows => false,
            };
            may && now.term == began.term
        };
        loop {
            // It ends at this moment unless it is renewed until then.
            let end = self.state.lock().until;
            let end = end.filter(|end| *end > Instant::now());
            let mut alarm = std::pin::pin!(async {
                match end {
                    Some(end) => sleep_until(end).await,
                    None => std::future::pending().await,
                }
            });
            let step = std::future::poll_fn(|context| {
                if !allowed() {
                    return Poll::Ready(Some(None));
                }
                if let Poll::Ready(done) = work.as_mut().poll(context) {
                    return Poll::Ready(Some(Some(done)));
                }
                alarm.as_mut().poll(context).map(|()| None)
            });
            if let Some(end) = step.await {
                return end;
            }
        }
    }
}

/// What other servers are told of: the containers of each agent that drain, and since when.
pub(super) type Drains = BTreeMap<ContainerId, Timestamp>;

#[cfg(test)]
#[path = "leadership_tests.rs"]
mod tests;
