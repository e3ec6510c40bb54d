//! A plan in the making: what the parts of the planner say, gathered and put in order.
//!
//! Owns the order of actions and the one last guard that a frozen plan only adds. Decides nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::action::{Action, EndpointPlan, Plan, Planned};
use super::checks::Checks;
use super::{Input, LONGEST_REST, endpoints};
use crate::agent::{AgentStatus, Uid};
use crate::observed::{Container, ContainerId, Failure};

/// The shortest rest: a moment that has passed already is looked at again soon, and never in a hot loop.
const SHORTEST_REST: Duration = Duration::from_millis(20);

/// What comes first. Healing goes before anything that is slow or may fail, and taking away comes late, so that a
/// failure leaves more running rather than less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    Name,
    Start,
    Attach,
    Resolve,
    Create,
    Pause,
    Retire,
    Limits,
    Record,
    Finalize,
}

/// Something that is waited for or cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    /// One CamelCase word.
    pub(super) reason: String,
    /// A sentence. No text that changes with time alone.
    pub(super) message: String,
    /// Whether it needs somebody's help, rather than a little time.
    pub(super) stuck: bool,
}

pub(super) struct Draft<'a> {
    pub(super) input: &'a Input<'a>,
    /// Which health check judges an instance.
    pub(super) checks: Checks,
    actions: Vec<(Rank, Planned)>,
    waits: Vec<Wait>,
    /// Get nothing new.
    pub(super) draining: BTreeSet<ContainerId>,
    /// Are being taken out of service, by whatever part of the planner saw to it first.
    pub(super) retired: BTreeSet<ContainerId>,
    /// Get nothing for the moment: they are about to be taken off their network and put back.
    pub(super) suspended: BTreeSet<ContainerId>,
    /// Ended, and are not started again for the moment or at all.
    pub(super) at_an_end: BTreeSet<ContainerId>,
    /// Those of them whose last lines are not known.
    pub(super) silent_ends: Vec<ContainerId>,
    /// Are restarted for want of an answer, which counts as a failure.
    pub(super) silent: BTreeSet<ContainerId>,
    /// Containers left alone for want of proof that they may go, with their life.
    pub(super) quarantined: BTreeMap<String, Uid>,
    /// Containers in the way, with why.
    pub(super) stuck: BTreeMap<String, String>,
    deadline: Option<Timestamp>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(input: &'a Input<'a>) -> Self {
        Self {
            input,
            checks: Checks::of(input),
            actions: Vec::new(),
            waits: Vec::new(),
            draining: BTreeSet::new(),
            retired: BTreeSet::new(),
            suspended: BTreeSet::new(),
            at_an_end: BTreeSet::new(),
            silent_ends: Vec::new(),
            silent: BTreeSet::new(),
            quarantined: BTreeMap::new(),
            stuck: BTreeMap::new(),
            deadline: None,
        }
    }

    /// Containers that are this cluster's and this agent's, whatever their life. Others are never touched.
    pub(super) fn containers(&self) -> impl Iterator<Item = &'a Container> + use<'a> {
        let input = self.input;
        input.observed.containers.iter().filter(move |container| {
            container.identity.cluster == *input.cluster && container.identity.agent == *input.name
        })
    }

    pub(super) fn act(&mut self, rank: Rank, action: Action, reason: impl Into<String>) {
        let reason = reason.into();
        self.actions.push((rank, Planned { action, reason }));
    }

    /// Waits for what time or an event will bring.
    pub(super) fn wait(&mut self, reason: &str, message: impl Into<String>) {
        self.note(reason, message.into(), false);
    }

    /// Says what stands in the way until somebody helps, or a long back-off is over.
    pub(super) fn blocked(&mut self, reason: &str, message: impl Into<String>) {
        self.note(reason, message.into(), true);
    }

    fn note(&mut self, reason: &str, message: String, stuck: bool) {
        let wait = Wait {
            reason: reason.to_owned(),
            message,
            stuck,
        };
        if !self.waits.contains(&wait) {
            self.waits.push(wait);
        }
    }

    /// Looks again at that moment, or before.
    pub(super) fn look_at(&mut self, moment: Timestamp) {
        self.deadline = Some(self.deadline.map_or(moment, |earlier| earlier.min(moment)));
    }

    /// Looks again so much later, or before.
    pub(super) fn look_in(&mut self, rest: Duration) {
        self.look_at(later(self.input.now, rest));
    }

    /// Whether a failure has rested long enough for another try; if not, says so and looks again in time.
    pub(super) fn rested(
        &mut self,
        failure: Option<&Failure>,
        rest: impl Fn(&Failure) -> Duration,
    ) -> bool {
        let Some(failure) = failure else { return true };
        let next = later(failure.at, rest(failure));
        if next <= self.input.now || ahead(failure.at, self.input.now) {
            return true;
        }
        let message = format!("{}; next try at {}", failure.message, shown(next));
        self.blocked(&failure.reason, message);
        self.look_at(next);
        false
    }

    pub(super) fn waits(&self) -> &[Wait] {
        &self.waits
    }

    /// The reasons of what is planned so far, the first to be carried out first.
    pub(super) fn reasons(&self) -> Vec<&str> {
        let mut sorted: Vec<_> = self.actions.iter().collect();
        sorted.sort_by_key(|(rank, _)| *rank);
        let reasons = sorted
            .into_iter()
            .map(|(_, planned)| planned.reason.as_str());
        reasons.collect()
    }

    /// Drops all but what may be done, which takes nothing away.
    pub(super) fn only_add(&mut self, may: impl Fn(&Action) -> bool) {
        self.actions.retain(|(_, planned)| may(&planned.action));
        self.draining.clear();
        self.suspended.clear();
    }

    /// Drops all that is decided: another server acts.
    pub(super) fn only_watch(&mut self) {
        self.actions.clear();
        self.draining.clear();
        self.suspended.clear();
    }

    pub(super) fn finish(mut self, status: Option<AgentStatus>) -> Plan {
        let endpoints: Vec<EndpointPlan> = endpoints::of(&mut self);
        self.actions.sort_by_key(|(rank, _)| *rank);
        let now = self.input.now;
        let recheck = self.deadline.map(|moment| {
            let rest = Duration::try_from(moment.duration_since(now)).unwrap_or_default();
            rest.clamp(SHORTEST_REST, LONGEST_REST)
        });
        Plan {
            endpoints,
            actions: self
                .actions
                .into_iter()
                .map(|(_, planned)| planned)
                .collect(),
            status,
            unread: self.silent_ends,
            recheck,
        }
    }
}

/// A moment later, at most the end of time.
pub(super) fn later(moment: Timestamp, by: Duration) -> Timestamp {
    moment.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// How long ago, 0 when it is yet to come.
pub(super) fn since(moment: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(moment)).unwrap_or_default()
}

/// Whether a past moment lies so far ahead that a clock must have jumped: nobody waits for it.
pub(super) fn ahead(moment: Timestamp, now: Timestamp) -> bool {
    moment > later(now, LONGEST_REST)
}

/// A moment for people: to the second, so that a text does not change for less.
pub(super) fn shown(moment: Timestamp) -> String {
    let whole = Timestamp::from_second(moment.as_second()).unwrap_or(moment);
    whole.to_string()
}
