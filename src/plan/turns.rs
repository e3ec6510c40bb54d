//! What people are told when an agent's state turns: its status as it was and as it is, compared.
//!
//! The only rule for such events, so that each turn is told where and when the status that shows it is written. No text
//! in them changes with time or with the number of a try: what comes again is the same event once more.

use super::course::called;
use crate::agent::status::{InstanceStatus, RolloutState, condition};
use crate::agent::{AgentStatus, EventKind};
use crate::names::AgentName;
use crate::observed::{ContainerId, Observed};

/// An event to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Whether somebody should look.
    pub kind: EventKind,
    /// One CamelCase word.
    pub reason: &'static str,
    /// A sentence.
    pub message: String,
}

/// Why an agent is not Ready when somebody asked for that.
const MEANT: [&str; 4] = ["Stopped", "Paused", "ScaledToZero", "Terminating"];

/// The turns from one status of an agent to a later one; none where they are the same. What probes say is told of an
/// instance that is no longer ready.
pub fn turns(
    name: &AgentName,
    before: &AgentStatus,
    after: &AgentStatus,
    observed: &Observed,
) -> Vec<Turn> {
    let all = [
        failed(before, after),
        rolled_back(before, after),
        readiness(before, after, observed),
        given_rest(name, before, after),
        complete(before, after),
    ];
    all.into_iter().flatten().collect()
}

fn normal(reason: &'static str, message: String) -> Turn {
    Turn {
        kind: EventKind::Normal,
        reason,
        message,
    }
}

fn warning(reason: &'static str, message: String) -> Turn {
    Turn {
        kind: EventKind::Warning,
        reason,
        message,
    }
}

/// It was Ready and has lost some of what served, or it is again. A rollout, while all serve on, is no loss.
fn readiness(before: &AgentStatus, after: &AgentStatus, observed: &Observed) -> Option<Turn> {
    let now = after.condition(condition::READY)?;
    match (before.is_ready(), after.is_ready()) {
        (false, true) => Some(normal("Ready", now.message.clone())),
        (true, false) if !MEANT.contains(&now.reason.as_str()) => {
            let served = before.instances.iter().filter(|one| one.ready);
            let lost: Vec<String> = served
                .filter_map(|was| lost(was, after, observed))
                .collect();
            if after.ready_replicas >= before.ready_replicas || lost.is_empty() {
                return None;
            }
            let (ready, wanted) = (after.ready_replicas, after.replicas);
            let message = format!("{ready} of {wanted} ready: {}", lost.join("; "));
            Some(warning("NotReady", message))
        }
        _ => None,
    }
}

/// What became of an instance that was ready; `None`: it still is.
fn lost(was: &InstanceStatus, after: &AgentStatus, observed: &Observed) -> Option<String> {
    let name = &was.name;
    let Some(is) = after.instance(&was.container_id) else {
        return Some(format!("{name} is gone"));
    };
    let probe = observed.probes.get(&ContainerId(is.container_id.clone()));
    let said = probe.map_or("", |probe| probe.message.as_str());
    match (is.state.as_str(), &is.last_exit) {
        _ if is.ready => None,
        ("exited", Some(exit)) => Some(format!("{name} ended with {exit}")),
        ("missing", _) => Some(format!("{name} is gone")),
        ("running", _) if said.is_empty() => Some(format!("{name} is not ready")),
        ("running", _) => Some(format!("{name} is not ready: {said}")),
        (state, _) => Some(format!("{name} is {state}")),
    }
}

/// An instance that keeps failing is not started again for the moment, or at all.
fn given_rest(name: &AgentName, before: &AgentStatus, after: &AgentStatus) -> Option<Turn> {
    let reason = |status: &AgentStatus| {
        let ready = status.condition(condition::READY);
        ready.map(|ready| ready.reason.clone())
    };
    let now = reason(after)?;
    if reason(before).as_ref() == Some(&now) {
        return None;
    }
    let failing = after.instances.iter().filter(|one| one.failures > 1);
    let ended = failing.clone().find(|one| one.state == "exited");
    let one = ended.or_else(|| failing.max_by_key(|one| one.failures))?;
    let instance = &one.name;
    match now.as_str() {
        "CrashLoopBackOff" => {
            let exit = one.last_exit.as_ref();
            let with = exit.map_or_else(String::new, |exit| format!(" with {exit}"));
            let message =
                format!("{instance} keeps ending{with}; `agentainer logs {name}` may say why");
            Some(warning("CrashLoopBackOff", message))
        }
        "RestartsExhausted" => {
            let message = format!(
                "{instance} failed more often in a row than restart.maxRetries allows; \
                 `agentainer restart {name}` tries again"
            );
            Some(warning("RestartsExhausted", message))
        }
        _ => None,
    }
}

/// The rollout of the revision that is asked for failed, or failed for another reason.
fn failed(before: &AgentStatus, after: &AgentStatus) -> Option<Turn> {
    let now = after.rollout.failed.as_ref()?;
    let known = before.rollout.failed.as_ref();
    let same = known.is_some_and(|was| was.revision == now.revision && was.reason == now.reason);
    (!same).then(|| warning("RolloutFailed", now.message.clone()))
}

/// The last good revision is brought back.
fn rolled_back(before: &AgentStatus, after: &AgentStatus) -> Option<Turn> {
    let now = after.condition(condition::ROLLED_BACK)?;
    let known = before.condition(condition::ROLLED_BACK).is_some();
    (!known).then(|| warning("RolledBack", now.message.clone()))
}

/// The revision that is asked for is good, and there are no others any more. What happens to it after that is none of a
/// rollout's.
fn complete(before: &AgentStatus, after: &AgentStatus) -> Option<Turn> {
    let asked = after.revision.as_ref()?;
    let done = |status: &AgentStatus| {
        let rollout = &status.rollout;
        rollout.state == RolloutState::Complete && rollout.last_good.as_ref() == Some(asked)
    };
    let others = |status: &AgentStatus| status.instances.iter().any(|one| one.revision != *asked);
    // One of them may cease to be ready just when the last of the others goes.
    let rollout = &after.rollout;
    let over = rollout.state == RolloutState::Progressing
        && rollout.last_good.as_ref() == Some(asked)
        && !others(after);
    let rolled = before.revision.as_ref() != Some(asked)
        || before.rollout.last_good.as_ref() != Some(asked)
        || others(before);
    let told = (done(after) || over) && !done(before) && rolled;
    told.then(|| {
        let which = called(after.rollout.number, asked);
        let message = format!("{which} is good, and all instances are of it");
        normal("RolloutComplete", message)
    })
}
