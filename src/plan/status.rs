//! What is true of an agent. The same world gives the same status: no text in it changes with time alone, and a
//! condition keeps its time of transition while its status stays.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::course::record;
use super::draft::Draft;
use super::instances::{Instance, address};
use super::lifecycle::Frame;
use super::verdict::Proof;
use super::{conditions, upstreams};
use crate::agent::spec::DesiredState;
use crate::agent::status::{ConditionStatus, InstanceStatus, RolloutState, RolloutStatus};
use crate::agent::{AgentStatus, Condition, Phase, Revision};
use crate::observed::ContainerId;

/// The status of an agent after its plan was made.
pub(super) fn of(draft: &mut Draft<'_>, frame: &Frame<'_, '_>) -> AgentStatus {
    let count = Count::of(frame);
    let ready = conditions::ready(draft, frame, &count);
    let phase = phase(draft, frame, &count, ready.status);
    let rollout = rollout(draft, frame, &count);
    let (upstreams, upstreams_known) = upstreams::of(draft.input, frame.spec);
    let found = [
        Some(ready),
        Some(conditions::progressing(draft, frame)),
        conditions::rolled_back(frame),
        Some(conditions::image_resolved(draft, frame)),
        upstreams_known,
        conditions::addresses_owned(draft),
        conditions::quarantined(draft),
        conditions::stuck(draft),
    ];
    let mut conditions: Vec<Condition> = found
        .into_iter()
        .flatten()
        .map(|finding| finding.since(&frame.agent.status, draft.input.now))
        .collect();
    conditions.sort_by(|a, b| a.kind.cmp(&b.kind));
    AgentStatus {
        observed_generation: frame.agent.metadata.generation,
        phase,
        conditions,
        instances: instances(draft, frame),
        revision: Some(frame.course.asked.clone()),
        rollout,
        replicas: count.wanted,
        ready_replicas: count.available,
        updated_replicas: count.updated,
        upstreams,
        queue: None,
    }
}

/// Ordinals, not containers: during a rollout one ordinal may have two.
pub(super) struct Count {
    pub(super) wanted: u32,
    /// With a ready container of any revision.
    pub(super) available: u32,
    /// With a ready container of the asked revision.
    pub(super) current: u32,
    /// With a container of the asked revision.
    pub(super) updated: u32,
    /// With a container of any revision: a paused agent is frozen where it is.
    pub(super) present: u32,
}

impl Count {
    fn of(frame: &Frame<'_, '_>) -> Self {
        let wanted = frame.replicas();
        let count = |fits: &dyn Fn(&Instance<'_>) -> bool| {
            let fitting = frame.instances.iter().filter(|instance| fits(instance));
            let ordinals: BTreeSet<u32> = fitting
                .map(Instance::ordinal)
                .filter(|k| *k < wanted)
                .collect();
            u32::try_from(ordinals.len()).unwrap_or(u32::MAX)
        };
        Self {
            wanted,
            available: count(&|instance| instance.serving),
            current: count(&|instance| instance.serving && instance.current),
            updated: count(&|instance| {
                instance.container.identity.revision == frame.course.asked && !instance.gone()
            }),
            present: count(&|instance| !instance.gone()),
        }
    }
}

fn phase(draft: &Draft<'_>, frame: &Frame<'_, '_>, count: &Count, ready: ConditionStatus) -> Phase {
    if frame.agent.metadata.deletion_timestamp.is_some() {
        return Phase::Terminating;
    }
    let present = || frame.instances.iter().filter(|instance| !instance.gone());
    let stuck = draft.waits().iter().any(|wait| wait.stuck) || frame.course.failed().is_some();
    let settled = match frame.spec.state {
        DesiredState::Stopped => {
            let running = present().any(Instance::live);
            (!running).then_some(Phase::Stopped)
        }
        DesiredState::Paused => {
            let frozen = present().all(|instance| instance.container.state.as_str() == "paused");
            (frozen && count.present == count.wanted).then_some(Phase::Paused)
        }
        DesiredState::Running if count.wanted == 0 => {
            present().next().is_none().then_some(Phase::Stopped)
        }
        DesiredState::Running if frame.course.rolled_back() => {
            (ready == ConditionStatus::True).then_some(Phase::Degraded)
        }
        DesiredState::Running => (ready == ConditionStatus::True).then_some(Phase::Running),
    };
    match settled {
        Some(phase) => phase,
        None if stuck && count.available == 0 && hopeless(draft) => Phase::Failed,
        None if stuck => Phase::Degraded,
        None => Phase::Progressing,
    }
}

/// Whether it cannot run as specified, rather than running and not being ready.
fn hopeless(draft: &Draft<'_>) -> bool {
    draft
        .waits()
        .iter()
        .any(|wait| wait.stuck && wait.reason != "NotReady")
}

/// How the way to the asked revision stands; looks again when it will have proved good.
fn rollout(draft: &mut Draft<'_>, frame: &Frame<'_, '_>, count: &Count) -> RolloutStatus {
    let (course, last) = (frame.course, &frame.agent.status.rollout);
    let verdict = &course.verdict;
    let present = || frame.instances.iter().filter(|instance| !instance.gone());
    let complete = present().all(|instance| instance.current) && count.current == count.wanted;
    let last_good = match verdict.proof {
        Proof::Given => Some(course.asked.clone()),
        Proof::From(moment) => {
            draft.look_at(moment);
            last.last_good.clone()
        }
        Proof::Open => last.last_good.clone(),
    };
    let numbered = |revision: &Revision, before: u64| match &draft.input.observed.records {
        Some(_) => record(draft, revision).map_or(0, |record| record.number),
        None => before,
    };
    let same = frame.agent.status.revision.as_ref() == Some(&course.asked);
    let number = numbered(&course.asked, if same { last.number } else { 0 });
    let last_good_number = last_good.as_ref();
    let last_good_number = last_good_number.map_or(0, |good| numbered(good, last.last_good_number));
    RolloutStatus {
        state: match () {
            () if course.rolled_back() => RolloutState::RolledBack,
            () if course.held => RolloutState::Paused,
            () if verdict.failed.is_some() => RolloutState::Failed,
            () if complete && course.trial.is_none() => RolloutState::Complete,
            () => RolloutState::Progressing,
        },
        number,
        last_good,
        last_good_number,
        progressed_at: verdict.since,
        progress: verdict.reached,
        failed: verdict.failed.clone(),
        tried: verdict.tried.clone(),
    }
}

fn instances(draft: &Draft<'_>, frame: &Frame<'_, '_>) -> Vec<InstanceStatus> {
    let seen = frame.instances.iter().map(|instance| {
        let container = instance.container;
        let identity = &container.identity;
        let before = instance.before.and_then(|before| before.started_at);
        InstanceStatus {
            name: container.name.clone(),
            container_id: container.id.0.clone(),
            ordinal: identity.ordinal,
            incarnation: identity.incarnation,
            ip: address(draft.input, container),
            revision: identity.revision.clone(),
            image: container.image.0.clone(),
            state: container.state.as_str().to_owned(),
            ready: instance.serving,
            restarts: instance.restarts,
            failures: instance
                .failures
                .saturating_add(u32::from(draft.silent.contains(&container.id))),
            started_at: container.started_at.or(before),
            last_exit: instance.last_exit.clone(),
            draining_since: draining_since(draft, &container.id),
        }
    });
    let mut all: Vec<InstanceStatus> = seen.collect();
    all.extend(missing(frame));
    all.sort_by(|a, b| {
        (a.ordinal, a.incarnation, &a.container_id).cmp(&(
            b.ordinal,
            b.incarnation,
            &b.container_id,
        ))
    });
    all
}

/// Since when a container gets nothing new: other servers on the same store learn it from here.
fn draining_since(draft: &Draft<'_>, container: &ContainerId) -> Option<Timestamp> {
    let traffic = draft.input.observed.traffic.get(container);
    let since = traffic.and_then(|traffic| traffic.draining_since);
    draft
        .draining
        .contains(container)
        .then(|| since.unwrap_or(draft.input.now))
}

/// What is remembered of ordinals whose container is gone, until they have another: how far their history went.
fn missing(frame: &Frame<'_, '_>) -> Vec<InstanceStatus> {
    let gone = |ordinal: &u32| {
        !frame
            .instances
            .iter()
            .any(|instance| instance.ordinal() == *ordinal)
    };
    let last = |ordinal: u32| {
        let remembered = frame.agent.status.instances.iter();
        let of_it = remembered.filter(|instance| instance.ordinal == ordinal);
        of_it.max_by_key(|instance| instance.incarnation).cloned()
    };
    (0..frame.replicas())
        .filter(gone)
        .filter_map(last)
        .map(|mut instance| {
            instance.ready = false;
            instance.ip = None;
            instance.draining_since = None;
            "missing".clone_into(&mut instance.state);
            instance
        })
        .collect()
}
