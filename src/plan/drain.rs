//! Taking an instance out of service: it gets nothing new, what it has may finish, then it is stopped and, if it shall
//! go, removed. The design's law 5: SIGTERM comes after the drain.

use std::time::Duration;

use super::action::Action;
use super::draft::{Draft, Rank, ahead, later};
use super::instances;
use super::{SETTLE, STOP_GRACE};
use crate::observed::{Container, ContainerState};

/// How often a draining endpoint with requests in flight is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// What becomes of a container that is out of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// It is kept, stopped.
    Keep,
    /// It is removed.
    Remove,
    /// It is removed even if the engine already failed to.
    RemoveByAllMeans,
}

/// Takes one step to retire a container: drains, stops, removes. While frozen nothing is retired (law 6).
pub(super) fn retire(
    draft: &mut Draft<'_>,
    container: &Container,
    serving: bool,
    timeout: Duration,
    then: Then,
    reason: &str,
) {
    if draft.input.frozen.is_some() || !draft.retired.insert(container.id.clone()) {
        return;
    }
    let id = container.id.clone();
    let remove = Action::Remove {
        container: id.clone(),
    };
    match container.state {
        ContainerState::Created | ContainerState::Exited => {
            if then != Then::Keep {
                draft.act(Rank::Retire, remove, reason);
            }
        }
        ContainerState::Dead if then == Then::RemoveByAllMeans => {
            draft.act(Rank::Retire, remove, reason);
        }
        ContainerState::Dead | ContainerState::Removing => {
            draft.wait(
                "Removing",
                format!("waiting for {} to be removed by the engine", container.name),
            );
        }
        ContainerState::Unknown => {
            draft.draining.insert(id);
            draft.wait(
                "StateUnknown",
                format!(
                    "waiting for the engine to tell the state of {}",
                    container.name
                ),
            );
        }
        ContainerState::Running | ContainerState::Paused | ContainerState::Restarting => {
            draft.draining.insert(id.clone());
            if !drained(draft, container, serving, timeout) {
                draft.wait(
                    "Draining",
                    format!("waiting for the requests of {} to finish", container.name),
                );
                return;
            }
            let stop = Action::Stop {
                container: id,
                grace: STOP_GRACE,
            };
            draft.act(Rank::Retire, stop, reason);
            if then != Then::Keep {
                draft.act(Rank::Retire, remove, reason);
            }
        }
    }
}

/// Whether nothing is in flight on a container any more, or its time is up; if not, looks again in time.
fn drained(draft: &mut Draft<'_>, container: &Container, serving: bool, timeout: Duration) -> bool {
    // A frozen process finishes nothing.
    if container.state != ContainerState::Running
        || instances::address(draft.input, container).is_none()
    {
        return true;
    }
    let traffic = draft.input.observed.traffic.get(&container.id);
    let traffic = traffic.copied().unwrap_or_default();
    let idle = traffic.in_flight == 0 && !traffic.busy_elsewhere;
    if idle && !serving {
        return true;
    }
    let now = draft.input.now;
    let Some(since) = traffic.draining_since else {
        draft.look_in(SETTLE.min(timeout));
        return timeout.is_zero();
    };
    if later(since, timeout) <= now || ahead(since, now) {
        return true;
    }
    let settled = later(since, SETTLE);
    if settled > now {
        draft.look_at(settled.min(later(since, timeout)));
        return false;
    }
    if idle {
        return true;
    }
    draft.look_at(later(since, timeout));
    draft.look_in(LOOK);
    false
}
