//! Which revision an agent's containers are brought to, and how the way there fares (design, law 8).
//!
//! That is the one that its spec asks for, unless this one failed and `strategy.rollback` is on: then it is the last good
//! one, until the spec asks for another or somebody restarts. The spec stays as its user wrote it, so that whoever applies
//! the same manifest again and again does not roll a bad revision out again and again.
//!
//! A revision is good when all its instances were ready for a while, and has failed when its rollout does not get on for
//! `strategy.progressDeadline`, or when an instance of it keeps ending.

use jiff::Timestamp;

use super::draft::{Draft, ahead, later, shown};
use super::instances::{self, Instance};
use crate::agent::quantity::Span;
use crate::agent::spec::{DesiredState, RestartPolicy, Strategy};
use crate::agent::status::{FailedRollout, RolloutStatus};
use crate::agent::{Agent, AgentSpec, Revision, RevisionRecord};
use crate::keys::ROLLOUT_PAUSED;
use crate::observed::{ContainerState, ImageId, ImageState};

/// A rollout that does not get on for so long has failed.
const PROGRESS_DEADLINE: Span = Span::seconds(120);
/// An instance that ended so often in a row keeps ending.
const CRASHES: u32 = 5;

/// Where an agent's containers are brought to.
pub(super) struct Course {
    /// The revision that the spec asks for.
    pub(super) asked: Revision,
    /// The revision that containers are brought to.
    pub(super) target: Revision,
    /// The spec with the container-shaping fields of the target, without short forms.
    pub(super) spec: AgentSpec,
    /// The last good revision, while the target is another one and its containers can be made.
    pub(super) good: Option<Recipe>,
    /// Somebody holds the rollout: nothing is replaced.
    pub(super) held: bool,
    /// The asked revision has failed.
    pub(super) failed: Option<FailedRollout>,
    /// When the rollout last got on, while its deadline counts, and how far it had got by then.
    pub(super) progress: Option<(Timestamp, u32)>,
}

/// All that a container of a revision is made from.
#[derive(Clone, Debug)]
pub(super) struct Recipe {
    pub(super) revision: Revision,
    pub(super) spec: AgentSpec,
    pub(super) image: ImageId,
}

impl Course {
    /// Whether the containers are brought to another revision than the spec asks for.
    pub(super) fn rolled_back(&self) -> bool {
        self.target != self.asked
    }
}

/// The record of a revision.
pub(super) fn record<'a>(draft: &Draft<'a>, revision: &Revision) -> Option<&'a RevisionRecord> {
    let records = draft.input.observed.records.as_ref()?;
    records.iter().find(|record| record.revision == *revision)
}

/// Sets the course, and sees the agent's containers in its light.
pub(super) fn set<'a>(draft: &mut Draft<'a>, agent: &'a Agent) -> (Course, Vec<Instance<'a>>) {
    let own = agent.spec.clone().normalized();
    let asked = agent.revision();
    let last = &agent.status.rollout;
    let last_good = last.last_good.clone().filter(|good| *good != asked);
    let good_spec = last_good.as_ref().and_then(|good| {
        let shape = record(draft, good)?.shape.as_ref()?;
        shape.onto(&agent.spec).map(AgentSpec::normalized)
    });
    let image = last_good
        .as_ref()
        .and_then(|good| draft.input.observed.images.get(good));
    let seen = instances::of(draft, agent, &asked, &own.restart);
    let outdated = |instance: &Instance<'_>| !instance.current && !instance.gone();
    let rolls = last_good.is_some() || seen.iter().any(outdated);
    let annotation = agent.metadata.annotations.get(ROLLOUT_PAUSED);
    let held = rolls && annotation.is_some_and(|held| held == "true");
    let judged = Judged {
        agent,
        strategy: &own.strategy,
        asked: &asked,
        seen: &seen,
    };
    let (failed, progress) = judged.of(draft, rolls, held);
    let mut course = Course {
        target: asked.clone(),
        asked,
        spec: own,
        good: None,
        held,
        failed,
        progress,
    };
    if let (Some(revision), Some(spec)) = (last_good, good_spec) {
        if course.failed.is_some() && course.spec.strategy.rollback {
            (course.target, course.spec) = (revision, spec);
            (course.progress, course.held) = (None, false);
            let seen = instances::of(draft, agent, &course.target, &course.spec.restart);
            return (course, seen);
        }
        if let Some(ImageState::Resolved(image)) = image {
            let image = image.clone();
            course.good = Some(Recipe {
                revision,
                spec,
                image,
            });
        }
    }
    tell(draft, &course);
    (course, seen)
}

/// What stands still says so.
fn tell(draft: &mut Draft<'_>, course: &Course) {
    let name = draft.input.name;
    if course.held {
        let message = format!("the rollout is paused; `agentainer rollout resume {name}` goes on");
        draft.wait("RolloutPaused", message);
    } else if let Some(failed) = &course.failed {
        draft.blocked(&failed.reason, failed.message.clone());
    }
}

/// What is looked at to tell how a rollout fares.
struct Judged<'a, 'b> {
    agent: &'b Agent,
    strategy: &'b Strategy,
    asked: &'b Revision,
    seen: &'b [Instance<'a>],
}

type Verdict = (Option<FailedRollout>, Option<(Timestamp, u32)>);

impl Judged<'_, '_> {
    fn of(&self, draft: &mut Draft<'_>, rolls: bool, held: bool) -> Verdict {
        let status = &self.agent.status;
        let last: &RolloutStatus = &status.rollout;
        // The word of the last look, unless it was acted on and nobody wants that any more.
        let undone = status
            .condition(crate::agent::status::condition::ROLLED_BACK)
            .is_some()
            && !self.strategy.rollback;
        let earlier = last.failed.as_ref();
        let earlier = earlier.filter(|failed| failed.revision == *self.asked && !undone);
        if !rolls || self.agent.metadata.deletion_timestamp.is_some() {
            return (None, None);
        }
        let spec = &self.agent.spec;
        let runs = spec.state == DesiredState::Running && spec.replicas.0 > 0;
        if held || !runs || draft.input.frozen.is_some() || draft.input.observed.network.is_none() {
            return (earlier.cloned(), None);
        }
        let image = draft.input.observed.images.get(self.asked);
        if matches!(image, Some(ImageState::Pulling(_))) {
            // It gets on, however long that takes.
            return (earlier.cloned(), None);
        }
        if earlier.is_some() && self.strategy.rollback && last.last_good.is_some() {
            return (earlier.cloned(), None);
        }
        let made = self.count(|instance| !instance.gone());
        let well = self.count(|instance| instance.serving && instance.failures == 0);
        let progress = made.saturating_add(well);
        let same = status.revision.as_ref() == Some(self.asked) && !undone;
        let since = match last.progressed_at {
            Some(at) if same && progress <= last.progress => (at, last.progress),
            // Nobody noted when it began.
            None if status.revision.is_none() => (self.made(draft), progress),
            _ => (draft.input.now, progress),
        };
        let got_on = earlier.is_some() && (well > 0 || since.1 > last.progress);
        let found = self.crashes(draft).or_else(|| self.late(draft, since.0));
        let failed = match (earlier, found) {
            (Some(earlier), Some(found)) if earlier.reason == found.reason => Some(earlier.clone()),
            (_, Some(found)) => Some(found),
            (Some(earlier), None) if !got_on => Some(earlier.clone()),
            (_, None) => None,
        };
        (failed, Some(since))
    }

    /// Ordinals with a container of the asked revision that is so.
    fn count(&self, fits: impl Fn(&Instance<'_>) -> bool) -> u32 {
        let fitting = self.seen.iter().filter(|one| one.current && fits(one));
        let ordinals: std::collections::BTreeSet<u32> = fitting.map(Instance::ordinal).collect();
        u32::try_from(ordinals.len()).unwrap_or(u32::MAX)
    }

    /// When the latest container of the asked revision was made.
    fn made(&self, draft: &Draft<'_>) -> Timestamp {
        let currents = self.seen.iter().filter(|one| one.current);
        let made = currents.filter_map(|one| one.container.created_at).max();
        let now = draft.input.now;
        made.filter(|made| *made <= now).unwrap_or(now)
    }

    /// An instance of the asked revision that keeps ending.
    fn crashes(&self, draft: &Draft<'_>) -> Option<FailedRollout> {
        let restart = &self.agent.spec.restart;
        let hopeless = |one: &&Instance<'_>| {
            let ended = one.container.state == ContainerState::Exited && !one.meant;
            let exhausted = restart.max_retries > 0 && one.failures > restart.max_retries;
            let stays = restart.policy == RestartPolicy::No;
            one.current
                && !one.serving
                && (one.failures >= CRASHES || (ended && (exhausted || stays)))
        };
        let one = self.seen.iter().find(hopeless)?;
        let exit = one.last_exit.as_ref();
        let with = exit.map_or_else(String::new, |exit| format!(" with {exit}"));
        let message = format!("{} of it keeps ending{with}", one.name());
        Some(self.failed(draft, "CrashLoopBackOff", &message))
    }

    /// A rollout that did not get on for too long. Time that nobody saw does not count.
    fn late(&self, draft: &mut Draft<'_>, since: Timestamp) -> Option<FailedRollout> {
        let deadline = self.strategy.progress_deadline.unwrap_or(PROGRESS_DEADLINE);
        if deadline.millis == 0 {
            return None;
        }
        let now = draft.input.now;
        let since = if ahead(since, now) { now } else { since };
        let attended = draft.input.observed.attended.unwrap_or(since);
        let until = later(since.max(attended), deadline.duration());
        if until > now {
            draft.look_at(until);
            return None;
        }
        let message = format!("it got no further until {}", shown(until));
        Some(self.failed(draft, "ProgressDeadlineExceeded", &message))
    }

    fn failed(&self, draft: &Draft<'_>, reason: &str, why: &str) -> FailedRollout {
        let name = &self.agent.metadata.name;
        let number = record(draft, self.asked).map_or(0, |record| record.number);
        let which = called(number, self.asked);
        let serves = self.seen.iter().any(|one| !one.current && one.live());
        let rest = if serves {
            "; the earlier revision goes on serving"
        } else {
            ""
        };
        FailedRollout {
            revision: self.asked.clone(),
            reason: reason.to_owned(),
            message: format!(
                "the rollout of {which} failed: {why}{rest}; mend the spec, or `agentainer rollout undo {name}`"
            ),
            at: draft.input.now,
        }
    }
}

/// A revision as people call it.
pub(super) fn called(number: u64, revision: &Revision) -> String {
    if number > 0 {
        format!("revision {number} ({})", revision.short())
    } else {
        format!("revision {}", revision.short())
    }
}
