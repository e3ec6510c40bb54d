//! What is waited for, and whether it has come: pure.

use std::fmt;
use std::str::FromStr;

use crate::agent::spec::DesiredState;
use crate::agent::status::ConditionStatus;
use crate::agent::status::condition::{FORMER_CHECK, READY};
use crate::agent::{Agent, Phase, Revision};

/// Reasons for which waiting on is no use: somebody must do something.
const HOPELESS: [&str; 11] = [
    "RolledBack",
    "RolloutPaused",
    "ImagePullFailed",
    "ImageNotFound",
    "ImageLost",
    "HostPathDenied",
    "RestartsExhausted",
    "ProgressDeadlineExceeded",
    "HealthCheckNotPassed",
    "Ended",
    CRASH_LOOP,
];
const CRASH_LOOP: &str = "CrashLoopBackOff";
/// Ends in a row before a crash loop counts as one: a program may well end while what it needs is not there yet.
const PATIENCE: u32 = 3;

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Goal {
    /// It is as its spec says: Ready, or stopped, or paused.
    Settled {
        /// Of this generation or a later one.
        generation: u64,
        /// With another revision than this one, after a restart.
        other_than: Option<Revision>,
    },
    /// It is Ready.
    Ready,
    /// It is gone.
    Deleted,
    /// A condition has a status.
    Condition {
        /// The condition's type.
        kind: String,
        /// The status.
        status: ConditionStatus,
    },
    /// It has a phase.
    Phase(String),
}

impl FromStr for Goal {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            None if text == "ready" => Ok(Self::Ready),
            None if text == "deleted" || text == "delete" => Ok(Self::Deleted),
            Some(("phase", phase)) if !phase.is_empty() => Ok(Self::Phase(phase.to_owned())),
            Some(("condition", rest)) if !rest.is_empty() => {
                let (kind, status) = rest.split_once('=').unwrap_or((rest, "True"));
                let status = match status.to_lowercase().as_str() {
                    "true" => ConditionStatus::True,
                    "false" => ConditionStatus::False,
                    "unknown" => ConditionStatus::Unknown,
                    _ => return Err("a condition is True, False or Unknown".to_owned()),
                };
                Ok(Self::Condition {
                    kind: kind.to_owned(),
                    status,
                })
            }
            _ => Err(
                "expected ready, deleted, condition=TYPE, condition=TYPE=STATUS or phase=PHASE"
                    .to_owned(),
            ),
        }
    }
}

/// Whether what is waited for has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It has.
    Done,
    /// Not yet: what is going on.
    Waiting(String),
    /// It has failed in a way that may pass, unless it stays so.
    Stuck(String),
    /// It will not, unless somebody does something.
    Hopeless(String),
    /// The agent does not exist.
    Gone,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("ready"),
            Self::Waiting(what) | Self::Stuck(what) | Self::Hopeless(what) => f.write_str(what),
            Self::Gone => f.write_str("does not exist"),
        }
    }
}

impl Goal {
    /// Whether it has come, for the agent as it is now.
    pub(super) fn judge(&self, agent: Option<&Agent>) -> Verdict {
        let Some(agent) = agent else {
            return match self {
                Self::Deleted => Verdict::Done,
                _ => Verdict::Gone,
            };
        };
        let observed = agent.status.observed_generation;
        let unseen = || Verdict::Waiting("not acted on yet".to_owned());
        let done = match self {
            Self::Settled {
                generation,
                other_than,
            } => {
                let same = other_than.is_some() && agent.status.revision == *other_than;
                if observed < *generation || observed < agent.metadata.generation || same {
                    return unseen();
                }
                settled(agent)
            }
            Self::Ready if observed < agent.metadata.generation => return unseen(),
            Self::Ready => agent.status.is_ready(),
            Self::Deleted => return Verdict::Waiting(doing(agent)),
            Self::Condition { kind, status } => agent
                .status
                .condition(kind)
                .is_some_and(|found| found.status == *status),
            Self::Phase(phase) => agent.status.phase.to_string().eq_ignore_ascii_case(phase),
        };
        match self {
            _ if done => Verdict::Done,
            Self::Settled { .. } | Self::Ready => trouble(agent),
            _ => Verdict::Waiting(doing(agent)),
        }
    }
}

/// Whether the world is as the spec says.
fn settled(agent: &Agent) -> bool {
    let (spec, status) = (&agent.spec, &agent.status);
    match spec.state {
        DesiredState::Stopped => status.phase == Phase::Stopped,
        DesiredState::Paused => status.phase == Phase::Paused,
        DesiredState::Running if spec.replicas.0 == 0 => {
            status.ready_replicas == 0 && status.instances.iter().all(|one| one.state != "running")
        }
        DesiredState::Running => {
            status.is_ready() && !on_trial(agent) && status.updated_replicas >= spec.replicas.0
        }
    }
}

/// Whether its health check is yet to pass.
fn on_trial(agent: &Agent) -> bool {
    let ready = agent.status.condition(READY);
    ready.is_some_and(|ready| ready.reason == FORMER_CHECK)
}

/// What an agent that is not there yet is held up by.
fn trouble(agent: &Agent) -> Verdict {
    let status = &agent.status;
    let ends = status
        .instances
        .iter()
        .map(|instance| instance.failures)
        .max();
    let early = ends.is_some_and(|ends| ends < PATIENCE);
    let hopeless = status
        .conditions
        .iter()
        .filter(|condition| condition.status == ConditionStatus::False)
        .find(|condition| HOPELESS.contains(&condition.reason.as_str()));
    match hopeless {
        Some(condition) if condition.reason == CRASH_LOOP && early => {
            Verdict::Waiting(doing(agent))
        }
        Some(condition) => Verdict::Hopeless(said(&condition.reason, &condition.message)),
        None if status.phase == Phase::Failed => Verdict::Stuck(doing(agent)),
        None => Verdict::Waiting(doing(agent)),
    }
}

/// What is going on, in one line.
fn doing(agent: &Agent) -> String {
    let status = &agent.status;
    let (phase, wanted) = (status.phase, agent.spec.replicas.0);
    let count = || format!("{phase} ({}/{wanted} ready)", status.ready_replicas);
    let ready = status.condition(READY).filter(|ready| {
        // On its way to what its spec asks for: the reason says no more than the phase.
        (ready.status != ConditionStatus::True || on_trial(agent))
            && !["Stopped", "Paused", "Terminating"].contains(&ready.reason.as_str())
    });
    match ready {
        Some(ready) if ready.message.contains(" ready") => {
            format!("{phase}: {}", said(&ready.reason, &ready.message))
        }
        Some(ready) => format!("{}: {}", count(), said(&ready.reason, &ready.message)),
        None => count(),
    }
}

fn said(reason: &str, message: &str) -> String {
    if message.is_empty() {
        reason.to_owned()
    } else {
        format!("{reason}: {message}")
    }
}

#[cfg(test)]
#[path = "goal_tests.rs"]
mod tests;
