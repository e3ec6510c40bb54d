//! How the rollout of the revision that a spec asks for fares: it gets on, has failed, or has proved the revision good
//! (design, law 8).
//!
//! A revision is good when all its instances were ready for a while. It has failed when its rollout does not get on for
//! `strategy.progressDeadline`, or when an instance of it keeps ending. So is an agent's first revision judged, until it
//! was good once; what fails after that is healed and judged by nobody, but for a new health check that does not pass
//! on it within that time. Time in which something else holds a rollout up is none of its own.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::agent::MOST_REPLICAS;
use super::checks::{NOT_PASSED, Trial};
use super::course::{called, record};
use super::draft::{Draft, ahead, later};
use super::instances::Instance;
use super::{backoff, dependencies, orphans};
use crate::agent::quantity::Span;
use crate::agent::spec::{AgentSpec, DesiredState, RestartPolicy, StrategyKind};
use crate::agent::status::{FailedRollout, condition};
use crate::agent::{Agent, Check, Revision};
use crate::observed::{ContainerState, ImageState};

/// A rollout that does not get on for so long has failed, beside the time that a start may take by its own spec.
const PROGRESS_DEADLINE: Duration = Duration::from_secs(120);
/// An instance that ended so often in a row keeps ending.
const CRASHES: u32 = 5;
/// How long all instances of a revision must have been ready to show that it is good.
const GOOD_AFTER: Duration = Duration::from_secs(10);

/// How it stands.
#[derive(Clone, Debug, Default)]
pub(super) struct Verdict {
    /// The asked revision has failed.
    pub(super) failed: Option<FailedRollout>,
    /// When the rollout last got on, while its deadline counts.
    pub(super) since: Option<Timestamp>,
    /// How far it had got at best: its image found, instances made, instances ready.
    pub(super) reached: u32,
    /// The health check on trial that the failure and the deadline are of, if they are of one.
    pub(super) tried: Option<Check>,
    /// Whether it is good.
    pub(super) proof: Proof,
}

/// Whether the asked revision has shown that it is good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Proof {
    /// Not all that shall run are ready.
    #[default]
    Open,
    /// All are, and it will have shown it then.
    From(Timestamp),
    /// It has.
    Given,
}

/// What is looked at.
pub(super) struct Case<'a, 'b> {
    pub(super) agent: &'b Agent,
    /// Its spec without short forms.
    pub(super) spec: &'b AgentSpec,
    pub(super) asked: &'b Revision,
    /// The containers, seen in the light of the asked revision.
    pub(super) seen: &'b [Instance<'a>],
    /// The spec's health check, if it is on trial.
    pub(super) trial: Option<&'b Trial>,
    /// There is something to judge: the asked revision was never good, or others are to go.
    pub(super) rolls: bool,
    /// Somebody holds rollouts.
    pub(super) held: bool,
}

impl Case<'_, '_> {
    /// The verdict; looks again when it may be another one.
    pub(super) fn verdict(&self, draft: &mut Draft<'_>) -> Verdict {
        let last = &self.agent.status.rollout;
        let proof = self.proof(draft);
        let proven = Verdict {
            proof,
            ..Verdict::default()
        };
        if self.agent.metadata.deletion_timestamp.is_some() {
            return proven;
        }
        if let Some(trial) = self.trial
            && last.last_good.as_ref() == Some(self.asked)
            && (!self.rolls || proof == Proof::Given)
        {
            return self.tried(draft, trial, proven);
        }
        if !self.rolls {
            return proven;
        }
        let undone = self.undone();
        let earlier = last.failed.as_ref();
        let earlier = earlier.filter(|failed| failed.revision == *self.asked && !undone);
        let same = self.agent.status.revision.as_ref() == Some(self.asked) && !undone;
        let reached = if same { last.progress } else { 0 };
        let rests = |since, reached| Verdict {
            failed: earlier.cloned(),
            since,
            reached,
            proof,
            tried: None,
        };
        if self.held || !self.runs() {
            return rests(None, 0);
        }
        if earlier.is_some() && self.spec.strategy.rollback && last.last_good.is_some() {
            return rests(None, 0);
        }
        if proof == Proof::Given {
            return proven;
        }
        let image = draft.input.observed.images.get(self.asked);
        if matches!(image, Some(ImageState::Pulling(_))) {
            // However long it takes; that it has come is progress.
            return rests(last.progressed_at.filter(|_| same), reached);
        }
        if self.waits(draft) {
            return rests(None, reached);
        }
        let found = u32::from(matches!(image, Some(ImageState::Resolved(_))));
        let made = self.count(|instance| !instance.gone());
        let well = self.count(|instance| instance.serving && instance.failures == 0);
        let progress = found.saturating_add(made).saturating_add(well);
        let since = match last.progressed_at {
            Some(at) if same && progress <= reached => at,
            // Nobody noted when it began.
            None if self.agent.status.revision.is_none() => self.made(draft),
            _ => draft.input.now,
        };
        let got_on = well > 0 || progress > reached;
        let failure = self.crashes(draft).or_else(|| match proof {
            // Nothing but time is wanting.
            Proof::From(_) => None,
            _ => self.late(draft, since),
        });
        let failed = match (earlier, failure) {
            (Some(earlier), Some(now)) if earlier.reason == now.reason => Some(earlier.clone()),
            (_, Some(now)) => Some(now),
            (earlier, None) => earlier.filter(|_| !got_on).cloned(),
        };
        Verdict {
            failed,
            since: Some(since),
            reached: progress.max(reached),
            proof,
            tried: None,
        }
    }

    /// That of a revision which is good by a former health check, while the spec's is tried on it. Nothing that happens
    /// to its instances meanwhile takes a failure back; another check does, which is another trial. The deadline counts
    /// while there is an answer: without one nobody knows whether it would pass.
    fn tried(&self, draft: &mut Draft<'_>, trial: &Trial, proven: Verdict) -> Verdict {
        let status = &self.agent.status;
        let last = &status.rollout;
        let same = status.revision.as_ref() == Some(self.asked)
            && last
                .tried
                .as_ref()
                .is_some_and(|one| one.asks_like(&trial.check));
        let earlier = last
            .failed
            .as_ref()
            .filter(|failed| same && failed.revision == *self.asked && failed.reason == NOT_PASSED);
        if self.waits(draft) || !trial.answered() {
            return Verdict {
                failed: earlier.cloned(),
                tried: earlier.map(|_| trial.check.clone()),
                ..proven
            };
        }
        let since = last.progressed_at.filter(|_| same);
        let since = since.unwrap_or(draft.input.now);
        let at = match earlier {
            Some(earlier) => Some(earlier.at),
            None => self.overdue(draft, since).map(|_| draft.input.now),
        };
        Verdict {
            failed: at.map(|at| FailedRollout {
                revision: self.asked.clone(),
                reason: NOT_PASSED.to_owned(),
                message: trial.message(self.agent),
                at,
            }),
            since: Some(since),
            reached: last.progress,
            tried: Some(trial.check.clone()),
            ..proven
        }
    }

    /// Whether all that shall run are ready, and have been for a while.
    fn proof(&self, draft: &Draft<'_>) -> Proof {
        let wanted = self.spec.replicas.0.min(MOST_REPLICAS);
        let serves = |one: &&Instance<'_>| one.current && one.serving && !one.gone();
        let serving = || self.seen.iter().filter(serves);
        let places: BTreeSet<u32> = serving()
            .map(Instance::ordinal)
            .filter(|ordinal| *ordinal < wanted)
            .collect();
        if !self.runs() || !u32::try_from(places.len()).is_ok_and(|ready| ready == wanted) {
            return Proof::Open;
        }
        if self.agent.status.rollout.last_good.as_ref() == Some(self.asked) {
            return Proof::Given;
        }
        let now = draft.input.now;
        let started = serving().filter_map(|one| one.container.started_at).max();
        let until = started.map(|started| later(started, GOOD_AFTER));
        match until.filter(|until| *until > now && !ahead(*until, now)) {
            Some(until) => Proof::From(until),
            None => Proof::Given,
        }
    }

    fn runs(&self) -> bool {
        self.spec.state == DesiredState::Running && self.spec.replicas.0 > 0
    }

    /// Whether it was brought back, and nobody wants that any more: what failed then is tried anew.
    fn undone(&self) -> bool {
        let back = self.agent.status.condition(condition::ROLLED_BACK);
        back.is_some() && !self.spec.strategy.rollback
    }

    /// Whether it waits for something that is none of its own doing: an outage, another agent, the end of what was there
    /// before.
    fn waits(&self, draft: &Draft<'_>) -> bool {
        let observed = draft.input.observed;
        let drains = |one: &Instance<'_>| {
            let traffic = observed.traffic.get(&one.container.id);
            let now = traffic.is_some_and(|traffic| traffic.draining_since.is_some());
            !one.current && one.live() && now
        };
        let alone = self.spec.strategy_kind() == StrategyKind::Recreate;
        draft.input.frozen.is_some()
            || observed.network.is_none()
            || self.seen.iter().any(drains)
            || (alone && !orphans::running_strangers(draft, &self.agent.metadata.uid).is_empty())
            || (!dependencies::ever_made(self.agent, self.seen)
                && dependencies::open(draft, self.agent, self.spec))
    }

    /// Ordinals with a container of the asked revision that is so.
    fn count(&self, fits: impl Fn(&Instance<'_>) -> bool) -> u32 {
        let fitting = self.seen.iter().filter(|one| one.current && fits(one));
        let ordinals: BTreeSet<u32> = fitting.map(Instance::ordinal).collect();
        u32::try_from(ordinals.len()).unwrap_or(u32::MAX)
    }

    /// When the latest container of the asked revision was made.
    fn made(&self, draft: &Draft<'_>) -> Timestamp {
        let currents = self.seen.iter().filter(|one| one.current);
        let made = currents.filter_map(|one| one.container.created_at).max();
        let now = draft.input.now;
        made.filter(|made| *made <= now).unwrap_or(now)
    }

    /// An instance of the asked revision that keeps ending, or stays ended.
    fn crashes(&self, draft: &Draft<'_>) -> Option<FailedRollout> {
        let restart = &self.spec.restart;
        let why = |one: &Instance<'_>| {
            if !one.current || one.serving {
                return None;
            }
            let name = one.name();
            let exit = one.last_exit.as_ref();
            let with = exit.map_or_else(String::new, |exit| format!(" with {exit}"));
            let ended = one.container.state == ContainerState::Exited && !one.meant;
            let exhausted = restart.max_retries > 0 && one.failures > restart.max_retries;
            if one.failures >= CRASHES || (ended && exhausted) {
                return Some(format!("{name} of it keeps ending{with}"));
            }
            let stays = ended && restart.policy == RestartPolicy::No;
            stays.then(|| format!("{name} of it ended{with}, and its restart policy is no"))
        };
        let why = self.seen.iter().find_map(why)?;
        Some(self.failed(draft, "CrashLoopBackOff", &why))
    }

    /// A rollout that did not get on for too long.
    fn late(&self, draft: &mut Draft<'_>, since: Timestamp) -> Option<FailedRollout> {
        let deadline = self.overdue(draft, since)?;
        let millis = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
        let mut why = format!("it got no further for {}", Span { millis });
        if let Some(cause) = self.cause(draft) {
            why.push_str(": ");
            why.push_str(&cause);
        }
        Some(self.failed(draft, "ProgressDeadlineExceeded", &why))
    }

    /// The deadline, when it is over; looks again when it will be. Time that nobody saw does not count.
    fn overdue(&self, draft: &mut Draft<'_>, since: Timestamp) -> Option<Duration> {
        let check = draft.checks.judging(self.asked);
        let starts = check.map_or(Duration::ZERO, |check| check.start_period.duration());
        let usual = || PROGRESS_DEADLINE.saturating_add(starts);
        let own = self.spec.strategy.progress_deadline;
        let deadline = own.map_or_else(usual, Span::duration);
        if deadline.is_zero() {
            return None;
        }
        let now = draft.input.now;
        let since = if ahead(since, now) { now } else { since };
        let since = match draft.input.observed.images.get(self.asked) {
            // How long it was pulled does not count, how long a registry that refused it was left alone does.
            Some(ImageState::Failed(failure)) => since.max(backoff::image_rests(failure, now)),
            _ => since,
        };
        let attended = draft.input.observed.attended.unwrap_or(since);
        let until = later(since.max(attended), deadline);
        if until > now {
            draft.look_at(until);
            return None;
        }
        Some(deadline)
    }

    /// What stands in its way, as far as that is known. No text that changes with time alone.
    fn cause(&self, draft: &Draft<'_>) -> Option<String> {
        let observed = draft.input.observed;
        if let Some(ImageState::Failed(failure)) = observed.images.get(self.asked) {
            return Some(failure.message.clone());
        }
        let mut failures = observed.failures.values();
        let of_it = failures.find(|one| one.of.as_ref().is_none_or(|of| of == self.asked));
        if let Some(failure) = of_it {
            return Some(failure.message.clone());
        }
        let sick = |one: &&Instance<'_>| one.current && !one.serving && !one.gone();
        let one = self.seen.iter().find(sick)?;
        let (name, container) = (one.name(), one.container);
        if container.state == ContainerState::Exited {
            return Some(format!("{name} ended with {}", one.last_exit.as_ref()?));
        }
        let probe = observed.probes.get(&container.id);
        let said = probe.map_or("", |probe| probe.message.as_str());
        Some(match said {
            "" => format!("{name} is not ready"),
            said => format!("{name} is not ready: {said}"),
        })
    }

    fn failed(&self, draft: &Draft<'_>, reason: &str, why: &str) -> FailedRollout {
        let name = &self.agent.metadata.name;
        let number = record(draft, self.asked).map_or(0, |record| record.number);
        let which = called(number, self.asked);
        let earlier = |one: &&Instance<'_>| !one.current && one.live();
        let serves = self.seen.iter().filter(earlier).any(|one| one.serving);
        let serves_on = if serves {
            "; the earlier revision goes on serving"
        } else {
            ""
        };
        let mut message = format!("the rollout of {which} failed: {why}{serves_on}; mend the spec");
        let last_good = self.agent.status.rollout.last_good.as_ref();
        if self.seen.iter().any(|one| earlier(&one))
            || last_good.is_some_and(|good| good != self.asked)
        {
            message.push_str(&format!(", or `agentainer rollout undo {name}`"));
        }
        FailedRollout {
            revision: self.asked.clone(),
            reason: reason.to_owned(),
            message,
            at: draft.input.now,
        }
    }
}
