//! One agent that has an object: deleted, stopped, frozen where it is, or running.

use super::action::Action;
use super::draft::{Draft, Rank};
use super::drain::{Then, retire};
use super::instances::Instance;
use super::lifecycle::Frame;
use super::{checks, course, history, orphans, rollout, status};
use crate::agent::spec::DesiredState;
use crate::agent::{Agent, AgentStatus, Revision};
use crate::observed::Container;

/// More replicas than this are not made, whatever the spec says: the schema's own limit.
pub(super) const MOST_REPLICAS: u32 = 100;

/// Decides what is done about one agent, and what is true of it.
pub(super) fn decide<'a>(draft: &mut Draft<'a>, agent: &'a Agent) -> AgentStatus {
    let (course, instances) = course::set(draft, agent);
    let spec = &course.spec;
    for instance in instances.iter().filter(|instance| instance.gone()) {
        let container = instance.container;
        draft
            .stuck
            .insert(container.name.clone(), container.id.0.clone());
    }
    let timeout = spec.drain.timeout.duration();
    orphans::sweep(draft, Some(&agent.metadata.uid), timeout);

    let frame = Frame {
        agent,
        course: &course,
        spec,
        asked: &course.target,
        instances: &instances,
    };
    if agent.metadata.deletion_timestamp.is_some() {
        delete(draft, &frame);
    } else if spec.state == DesiredState::Stopped {
        stop(draft, &frame);
    } else {
        rollout::converge(draft, &frame);
        if let Some(trial) = &course.trial {
            draft.wait(checks::NOT_PASSED, trial.message(agent));
        }
    }
    if agent.metadata.deletion_timestamp.is_none() {
        history::keep(draft, agent, &course);
    }
    if draft.input.frozen.is_some() {
        let agreed = agreed(draft, &frame);
        let settled = |container: &Container| container.identity.revision == course.target;
        let (settled, known) = (
            draft.containers().all(settled),
            draft.input.observed.records.is_some(),
        );
        // What is there is healed; no rollout begins, and no image is looked up for a revision that may have one.
        draft.only_add(|action| match action {
            Action::ResolveImage { .. } => agreed && settled && known,
            Action::Create(made) => agreed && (settled || made.revision != course.target),
            other => agreed && other.only_adds(),
        });
    }
    status::of(draft, &frame)
}

/// Whether store and containers agree about the agent, so that healing cannot be a mistake of an older store's.
fn agreed(draft: &Draft<'_>, frame: &Frame<'_, '_>) -> bool {
    let metadata = &frame.agent.metadata;
    let last_good = frame.agent.status.rollout.last_good.as_ref();
    let known = |revision: &Revision| {
        *revision == frame.course.asked || *revision == *frame.asked || last_good == Some(revision)
    };
    metadata.deletion_timestamp.is_none()
        && draft.containers().all(|container| {
            container.identity.uid == metadata.uid
                && known(&container.identity.revision)
                && container.identity.generation <= metadata.generation
        })
}

/// Everything of this life goes: its containers, its names for images, the object last.
fn delete(draft: &mut Draft<'_>, frame: &Frame<'_, '_>) {
    let timeout = frame.spec.drain.timeout.duration();
    for instance in frame.instances {
        let reason = "the agent is being deleted";
        retire(
            draft,
            instance.container,
            instance.serving,
            timeout,
            Then::RemoveByAllMeans,
            reason,
        );
    }
    if frame.instances.is_empty() {
        history::let_go(draft);
        let uid = frame.agent.metadata.uid.clone();
        draft.act(
            Rank::Finalize,
            Action::Finalize { uid },
            "all its containers are gone",
        );
    }
}

/// What runs is drained and stopped, and kept; what is above the replicas goes.
fn stop(draft: &mut Draft<'_>, frame: &Frame<'_, '_>) {
    let timeout = frame.spec.drain.timeout.duration();
    let running = |instance: &&Instance<'_>| !instance.gone();
    for instance in frame.instances.iter().filter(running) {
        let (then, reason) = if instance.ordinal() < frame.replicas() {
            (Then::Keep, "the agent is stopped by its spec")
        } else {
            (Then::Remove, "the agent was scaled down")
        };
        retire(
            draft,
            instance.container,
            instance.serving,
            timeout,
            then,
            reason,
        );
    }
}
