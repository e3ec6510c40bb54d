//! What holds of an agent, one finding for each type of condition, with the reason and the remedy.

use jiff::Timestamp;

use super::checks::NOT_PASSED;
use super::course::called;
use super::draft::{Draft, Wait, later, shown};
use super::lifecycle::Frame;
use super::status::Count;
use super::{backoff, images};
use crate::agent::spec::DesiredState;
use crate::agent::status::{ConditionStatus, condition};
use crate::agent::{AgentStatus, Condition};
use crate::observed::ImageState;

/// Waits that a condition tells of.
const TOLD: usize = 3;

/// A condition without its time.
pub(super) struct Finding {
    pub(super) kind: &'static str,
    pub(super) status: ConditionStatus,
    pub(super) reason: String,
    pub(super) message: String,
    /// Of an instance's log.
    pub(super) last_lines: Vec<String>,
}

impl Finding {
    pub(super) fn new(
        kind: &'static str,
        holds: bool,
        reason: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            status: if holds {
                ConditionStatus::True
            } else {
                ConditionStatus::False
            },
            reason: reason.into(),
            message: message.into(),
            last_lines: Vec::new(),
        }
    }

    /// The condition: its time of transition stays while its status does.
    pub(super) fn since(self, last: &AgentStatus, now: Timestamp) -> Condition {
        let same = last
            .condition(self.kind)
            .filter(|last| last.status == self.status);
        Condition {
            kind: self.kind.to_owned(),
            status: self.status,
            reason: self.reason,
            message: self.message,
            last_transition_time: same.map_or(now, |same| same.last_transition_time),
            last_lines: self.last_lines,
        }
    }
}

/// The waits for people, the grave ones first.
fn told(draft: &Draft<'_>) -> Vec<Wait> {
    let mut waits = draft.waits().to_vec();
    waits.sort_by_key(|wait| !wait.stuck);
    waits
}

/// The same with the failure of the rollout: before all else where an earlier revision serves on; of a first one, and of a
/// health check on trial, it comes last, and hides nothing that an instance waits for.
fn told_with_failure(draft: &Draft<'_>, frame: &Frame<'_, '_>) -> Vec<Wait> {
    let mut waits = told(draft);
    if let Some(failed) = frame.course.failed() {
        let failure = Wait {
            reason: failed.reason.clone(),
            message: failed.message.clone(),
            stuck: true,
        };
        let last = waits.len().min(TOLD.saturating_sub(1));
        let first = frame.course.replaces && failure.reason != NOT_PASSED;
        waits.insert(if first { 0 } else { last }, failure);
    }
    waits
}

/// The condition of this name.
pub(super) fn ready(draft: &Draft<'_>, frame: &Frame<'_, '_>, count: &Count) -> Finding {
    let name = &frame.agent.metadata.name;
    let no = |reason: &str, message: String| Finding::new(condition::READY, false, reason, message);
    if frame.agent.metadata.deletion_timestamp.is_some() {
        return no("Terminating", "it is being deleted".to_owned());
    }
    match frame.spec.state {
        DesiredState::Stopped => {
            return no(
                "Stopped",
                format!("stopped by its spec; `agentainer start {name}` starts it"),
            );
        }
        DesiredState::Paused => {
            return no(
                "Paused",
                format!("paused by its spec; `agentainer resume {name}` resumes it"),
            );
        }
        DesiredState::Running => {}
    }
    if count.wanted == 0 {
        return no("ScaledToZero", "its spec asks for 0 replicas".to_owned());
    }
    let (available, wanted) = (count.available, count.wanted);
    if count.current == wanted {
        let mut message = format!("{wanted} of {wanted} ready");
        let reason = match &frame.course.trial {
            _ if frame.course.rolled_back() => {
                message.push_str(" (of the last good revision)");
                "RolledBack"
            }
            Some(trial) => {
                message.push_str(&format!(" by the former healthCheck ({})", trial.stands()));
                condition::FORMER_CHECK
            }
            None => "Ready",
        };
        return Finding::new(condition::READY, true, reason, message);
    }
    let waits = told_with_failure(draft, frame);
    let reason = waits
        .first()
        .map_or("NotReady", |wait| wait.reason.as_str());
    let mut message = format!("{available} of {wanted} ready");
    if count.current < available {
        message.push_str(" (some of an earlier revision)");
    }
    for (place, wait) in waits.iter().take(TOLD).enumerate() {
        message.push_str(if place == 0 { ": " } else { "; " });
        message.push_str(&wait.message);
    }
    let mut finding = no(reason, message);
    finding.last_lines = last_lines(draft, frame);
    finding
}

/// What the first of those wrote that ended and are not started again for the moment.
fn last_lines(draft: &Draft<'_>, frame: &Frame<'_, '_>) -> Vec<String> {
    let exits = frame
        .instances
        .iter()
        .filter(|one| draft.at_an_end.contains(&one.container.id));
    let mut lines = exits.filter_map(|one| Some(&one.last_exit.as_ref()?.last_lines));
    lines
        .find(|lines| !lines.is_empty())
        .cloned()
        .unwrap_or_default()
}

/// The condition of this name.
pub(super) fn progressing(draft: &Draft<'_>, frame: &Frame<'_, '_>) -> Finding {
    let finding = |holds, reason: &str, message: &str| {
        Finding::new(condition::PROGRESSING, holds, reason, message)
    };
    if let Some(why) = draft.input.frozen {
        return finding(false, "Frozen", why);
    }
    let waits = told(draft);
    let stuck = waits.iter().find(|wait| wait.stuck);
    // That of a health check on trial stands in nobody's way.
    let failed = frame.course.failed();
    if let Some(failed) = failed.filter(|one| one.reason != NOT_PASSED || stuck.is_none()) {
        return finding(false, &failed.reason, &failed.message);
    }
    if let Some(wait) = stuck {
        return finding(false, &wait.reason, &wait.message);
    }
    if frame.course.rolled_back()
        && let Some(failed) = &frame.course.verdict.failed
    {
        return finding(false, "RolledBack", &failed.message);
    }
    if frame.course.held
        && let Some(wait) = waits.iter().find(|wait| wait.reason == "RolloutPaused")
    {
        return finding(false, &wait.reason, &wait.message);
    }
    let outdated = frame
        .instances
        .iter()
        .any(|instance| !instance.current && !instance.gone());
    let mut reason = if outdated {
        "RollingOut"
    } else {
        "Reconciling"
    };
    if let Some(wait) = waits.first() {
        if wait.reason == NOT_PASSED {
            reason = NOT_PASSED;
        }
        return finding(true, reason, &wait.message);
    }
    match draft.reasons().first() {
        Some(first) => finding(true, reason, first),
        None => finding(false, "Settled", "nothing is left to do"),
    }
}

/// The condition of this name.
pub(super) fn rolled_back(frame: &Frame<'_, '_>) -> Option<Finding> {
    let failed = frame.course.verdict.failed.as_ref();
    let failed = failed.filter(|_| frame.course.rolled_back())?;
    let (name, number) = (
        &frame.agent.metadata.name,
        frame.agent.status.rollout.last_good_number,
    );
    let message = format!(
        "{} serves in place of what the spec asks for ({}); it is tried again when the spec's revision changes, or by \
         `agentainer rollout restart {name}`",
        called(number, frame.asked),
        failed.reason
    );
    Some(Finding::new(
        condition::ROLLED_BACK,
        true,
        "RolloutFailed",
        message,
    ))
}

/// The condition of this name.
pub(super) fn image_resolved(draft: &Draft<'_>, frame: &Frame<'_, '_>) -> Finding {
    let name = &frame.agent.metadata.name;
    let image = frame.spec.image_or(name);
    let finding = |holds, reason: &str, message: String| {
        Finding::new(condition::IMAGE_RESOLVED, holds, reason, message)
    };
    match draft.input.observed.images.get(frame.asked) {
        Some(ImageState::Resolved(id)) => {
            finding(true, "Resolved", format!("image '{image}' is {id}"))
        }
        Some(ImageState::Pulling(progress)) => {
            let mut finding = finding(false, "Pulling", images::pulling(image, progress));
            finding.status = ConditionStatus::Unknown;
            finding
        }
        Some(ImageState::Failed(failure)) => {
            let next = later(failure.at, backoff::image(failure));
            let message = format!(
                "{}; next try when it is needed, from {}",
                failure.message,
                shown(next)
            );
            finding(false, &failure.reason, message)
        }
        Some(ImageState::Lost { image: id, .. }) => {
            let message = format!(
                "{id}, which '{image}' was, is gone from this machine; what runs goes on, but nothing can be made of it: \
                 build or pull the image again, then `agentainer restart {name}`"
            );
            finding(false, "ImageLost", message)
        }
        Some(ImageState::Unresolved) | None => {
            let in_use = frame
                .instances
                .iter()
                .any(|instance| instance.current && !instance.gone());
            let mut finding = finding(
                in_use,
                "InUse",
                format!("containers run on image '{image}'"),
            );
            if !in_use {
                finding.status = ConditionStatus::Unknown;
                "NotLookedUp".clone_into(&mut finding.reason);
                finding.message = format!("image '{image}' was not looked up yet");
            }
            finding
        }
    }
}

/// The condition of this name.
pub(super) fn addresses_owned(draft: &Draft<'_>) -> Option<Finding> {
    let network = draft.input.observed.network.as_ref()?;
    let finding = if network.addresses_owned {
        Finding::new(
            condition::ADDRESSES_OWNED,
            true,
            "AddressesOwned",
            "we choose the agents' addresses",
        )
    } else {
        let message = format!(
            "network '{}' was made without a subnet of its own, so the engine chooses addresses; it is made anew when empty",
            network.name
        );
        Finding::new(
            condition::ADDRESSES_OWNED,
            false,
            "AddressesNotOwned",
            message,
        )
    };
    Some(finding)
}

/// The condition of this name.
pub(super) fn quarantined(draft: &Draft<'_>) -> Option<Finding> {
    if let Some(why) = draft.input.frozen {
        let message = format!("nothing of this agent is stopped or removed: {why}");
        return Some(Finding::new(
            condition::QUARANTINED,
            true,
            "Frozen",
            message,
        ));
    }
    if draft.quarantined.is_empty() {
        return None;
    }
    let names: Vec<&str> = draft.quarantined.keys().map(String::as_str).collect();
    let message = format!(
        "{} belong to another life of this agent whose deletion is not on record, and are left alone; \
         `docker rm -f {}` removes them",
        names.join(", "),
        names.join(" ")
    );
    Some(Finding::new(
        condition::QUARANTINED,
        true,
        "NoTombstone",
        message,
    ))
}

/// The condition of this name.
pub(super) fn stuck(draft: &Draft<'_>) -> Option<Finding> {
    if draft.stuck.is_empty() {
        return None;
    }
    let names: Vec<String> = draft
        .stuck
        .iter()
        .map(|(name, id)| format!("{name} ({id})"))
        .collect();
    let message = format!(
        "the engine has not finished removing {}; the agent goes on beside it. If it stays: `docker rm -f`, or restart the engine",
        names.join(", ")
    );
    Some(Finding::new(
        condition::STUCK,
        true,
        "RemovalUnfinished",
        message,
    ))
}
