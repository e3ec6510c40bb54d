//! Which revision an agent's containers are brought to, and how the way there fares (design, law 8).
//!
//! That is the one that its spec asks for, unless this one failed and `strategy.rollback` is on: then it is the last good
//! one, until the spec asks for another or somebody restarts. The spec stays as its user wrote it, so that whoever applies
//! the same manifest again and again does not roll a bad revision out again and again.
//!
//! How the way there fares is for [`verdict`](super::verdict) to say.

use super::checks::Trial;
use super::draft::Draft;
use super::instances::{self, Instance};
use super::verdict::{Case, Verdict};
use crate::agent::status::FailedRollout;
use crate::agent::{Agent, AgentSpec, Revision, RevisionRecord};
use crate::keys::{RESTARTED_AT, ROLLOUT_PAUSED};
use crate::observed::{ImageId, ImageState};

/// Where an agent's containers are brought to.
pub(super) struct Course {
    /// The revision that the spec asks for.
    pub(super) asked: Revision,
    /// The revision that containers are brought to.
    pub(super) target: Revision,
    /// The spec with the container-shaping fields of the target, without short forms.
    pub(super) spec: AgentSpec,
    /// The moment of the restart that brought the target.
    pub(super) restarted_at: Option<String>,
    /// The last good revision, while the target is another one and its containers can be made.
    pub(super) good: Option<Recipe>,
    /// There is an earlier revision, good or still there: it is no first creation.
    pub(super) replaces: bool,
    /// Somebody holds the rollout: nothing is replaced.
    pub(super) held: bool,
    /// How the rollout of the asked revision fares.
    pub(super) verdict: Verdict,
    /// The spec's health check, while it has not passed on an instance that is judged by a former one.
    pub(super) trial: Option<Trial>,
}

/// All that a container of a revision is made from.
#[derive(Clone, Debug)]
pub(super) struct Recipe {
    pub(super) revision: Revision,
    pub(super) spec: AgentSpec,
    pub(super) restarted_at: Option<String>,
    pub(super) image: ImageId,
}

impl Course {
    /// Whether the containers are brought to another revision than the spec asks for.
    pub(super) fn rolled_back(&self) -> bool {
        self.target != self.asked
    }

    /// The failure of a rollout that stands where it failed: nobody holds it, and it was not brought back.
    pub(super) fn failed(&self) -> Option<&FailedRollout> {
        let failed = self.verdict.failed.as_ref();
        failed.filter(|_| !self.held && !self.rolled_back())
    }
}

/// The record of a revision.
pub(super) fn record<'a>(draft: &Draft<'a>, revision: &Revision) -> Option<&'a RevisionRecord> {
    let records = draft.input.observed.records.as_ref()?;
    records.iter().find(|record| record.revision == *revision)
}

/// Whether somebody holds the agent's rollouts.
pub(super) fn rollouts_paused(agent: &Agent) -> bool {
    let annotation = agent.metadata.annotations.get(ROLLOUT_PAUSED);
    annotation.is_some_and(|held| held == "true")
}

/// Sets the course, and sees the agent's containers in its light.
pub(super) fn set<'a>(draft: &mut Draft<'a>, agent: &'a Agent) -> (Course, Vec<Instance<'a>>) {
    let own = agent.spec.clone().normalized();
    let asked = agent.revision();
    let last = &agent.status.rollout;
    let last_good = last.last_good.clone().filter(|good| *good != asked);
    let good_made = last_good.as_ref().and_then(|good| {
        let shape = record(draft, good)?.shape.as_ref()?;
        let spec = shape.onto(&agent.spec)?.normalized();
        Some((spec, shape.restarted_at.clone()))
    });
    let image = last_good
        .as_ref()
        .and_then(|good| draft.input.observed.images.get(good));
    let seen = instances::of(draft, agent, &asked, &own.restart);
    let outdated = |instance: &Instance<'_>| !instance.current && !instance.gone();
    let replaces = last_good.is_some() || seen.iter().any(outdated);
    let paused = rollouts_paused(agent);
    let trial = Trial::of(&draft.checks, agent, &own, &seen, draft.input.observed);
    let case = Case {
        agent,
        spec: &own,
        asked: &asked,
        seen: &seen,
        trial: trial.as_ref(),
        rolls: replaces || last.last_good.is_none(),
        held: paused,
    };
    let verdict = case.verdict(draft);
    let mut course = Course {
        target: asked.clone(),
        asked,
        spec: own,
        restarted_at: agent.metadata.annotations.get(RESTARTED_AT).cloned(),
        good: None,
        replaces,
        // A first creation is not held.
        held: paused && replaces,
        verdict,
        trial,
    };
    if let (Some(revision), Some((spec, restarted_at))) = (last_good, good_made) {
        if course.verdict.failed.is_some() && course.spec.strategy.rollback {
            (course.target, course.spec, course.restarted_at) = (revision, spec, restarted_at);
            course.verdict = Verdict {
                failed: course.verdict.failed,
                ..Verdict::default()
            };
            (course.held, course.trial) = (false, None);
            let seen = instances::of(draft, agent, &course.target, &course.spec.restart);
            return (course, seen);
        }
        if let Some(ImageState::Resolved(image)) = image {
            let image = image.clone();
            course.good = Some(Recipe {
                revision,
                spec,
                restarted_at,
                image,
            });
        }
    }
    if course.held {
        let name = draft.input.name;
        let message = format!("the rollout is paused; `agentainer rollout resume {name}` goes on");
        draft.wait("RolloutPaused", message);
    }
    (course, seen)
}

/// A revision as people call it.
pub(super) fn called(number: u64, revision: &Revision) -> String {
    if number > 0 {
        format!("revision {number} ({})", revision.short())
    } else {
        format!("revision {}", revision.short())
    }
}
