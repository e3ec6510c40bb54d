//! One container of an agent that shall run, or be frozen: started, started again, thawed, frozen, restarted when it
//! no longer answers.

use super::action::Action;
use super::agent::MOST_REPLICAS;
use super::course::Course;
use super::draft::{Draft, Rank, ahead, later, shown};
use super::instances::{Instance, on_network};
use super::{START_CONFLICT, START_FAILED, STOP_GRACE, backoff, drift, endpoints};
use crate::agent::spec::{AgentSpec, DesiredState, Restart, RestartPolicy};
use crate::agent::{Agent, Revision};
use crate::observed::{ContainerState, Failure};

/// How often the start of one that never ran is tried before it is made again.
const TRIES: u32 = 3;

/// What a pass over one agent knows throughout.
pub(super) struct Frame<'a, 'b> {
    pub(super) agent: &'b Agent,
    /// Where the containers are brought to.
    pub(super) course: &'b Course,
    /// The spec with the fields of the revision that containers are brought to, without its short forms.
    pub(super) spec: &'b AgentSpec,
    /// The revision that containers are brought to: the one that the spec asks for, unless it was rolled back.
    pub(super) asked: &'b Revision,
    /// The containers of the present life.
    pub(super) instances: &'b [Instance<'a>],
}

impl Frame<'_, '_> {
    /// How many ordinals there shall be.
    pub(super) fn replicas(&self) -> u32 {
        self.spec.replicas.0.min(MOST_REPLICAS)
    }
}

/// Keeps one container as the spec wants it. `may_start`: it may run beside what runs already. Answers whether it is
/// started.
pub(super) fn keep(
    draft: &mut Draft<'_>,
    frame: &Frame<'_, '_>,
    instance: &Instance<'_>,
    may_start: bool,
) -> bool {
    let paused = frame.spec.state == DesiredState::Paused;
    let mut started = false;
    match instance.container.state {
        ContainerState::Running if paused => pause(draft, instance),
        ContainerState::Running => {
            if !restart_unanswering(draft, frame, instance) {
                drift::network(draft, frame.instances, instance, frame.spec);
                await_ready(draft, instance);
            }
        }
        ContainerState::Paused if paused => {}
        ContainerState::Paused => {
            let thaw = Action::Unpause {
                container: instance.container.id.clone(),
            };
            let reason = format!("{} is paused and shall run", instance.name());
            draft.act(Rank::Start, thaw, reason.clone());
            draft.wait("Resuming", reason);
        }
        ContainerState::Created | ContainerState::Exited => {
            started = may_start && start(draft, frame, instance);
            if started && paused {
                pause(draft, instance);
            }
        }
        ContainerState::Restarting => {
            draft.wait(
                "Restarting",
                format!("waiting for {} to start", instance.name()),
            );
        }
        ContainerState::Unknown if !instance.serving => draft.wait(
            "StateUnknown",
            format!(
                "waiting for the engine to tell the state of {}",
                instance.name()
            ),
        ),
        ContainerState::Unknown | ContainerState::Removing | ContainerState::Dead => {}
    }
    if frame.spec.state != DesiredState::Stopped {
        drift::limits(draft, instance, frame.spec);
    }
    started
}

fn pause(draft: &mut Draft<'_>, instance: &Instance<'_>) {
    let freeze = Action::Pause {
        container: instance.container.id.clone(),
    };
    draft.act(
        Rank::Pause,
        freeze,
        format!("{} shall be paused", instance.name()),
    );
}

/// Starts a container that does not run, when its policy and back-off allow it. Answers whether it does.
fn start(draft: &mut Draft<'_>, frame: &Frame<'_, '_>, instance: &Instance<'_>) -> bool {
    let Some(reason) = start_reason(draft, frame, instance) else {
        return false;
    };
    let input = draft.input;
    let Some(network) = input.observed.network.as_ref() else {
        draft.wait("NetworkMissing", "waiting for the agents' network");
        return false;
    };
    let failure = input.observed.failures.get(&instance.ordinal());
    let failure = failure.filter(|failure| {
        let revision = &instance.container.identity.revision;
        [START_FAILED, START_CONFLICT].contains(&failure.reason.as_str())
            && failure.of.as_ref().is_none_or(|of| of == revision)
    });
    if !draft.rested(failure, |failure| {
        backoff::effort(&frame.spec.restart, failure)
    }) {
        return false;
    }
    if failure.is_some_and(|failure| unstartable(instance, failure)) && input.frozen.is_none() {
        let reason = format!(
            "{} never started and cannot; it is made again",
            instance.name()
        );
        let remove = Action::Remove {
            container: instance.container.id.clone(),
        };
        draft.act(Rank::Retire, remove, reason.clone());
        draft.wait("Creating", reason);
        return false;
    }
    let stray = match &instance.container.attachment {
        Some(attachment) => !on_network(input, &attachment.network),
        None => true,
    };
    let taken = failure.is_some_and(|failure| failure.reason == START_CONFLICT)
        || drift::address_is_anothers(network, instance);
    let idle = instance.container.state;
    if taken || (stray && idle == ContainerState::Exited) {
        draft.act(
            Rank::Start,
            drift::connect(instance, network, !taken),
            reason.clone(),
        );
    }
    let start = Action::Start {
        container: instance.container.id.clone(),
    };
    draft.act(Rank::Start, start, reason.clone());
    draft.wait("Starting", reason);
    true
}

/// Whether a container is better made again than started again: it never ran, so nothing is lost, and the engine refused
/// it several times. An engine that was killed while it started one refuses it for ever ("task already exists",
/// moby #41015).
fn unstartable(instance: &Instance<'_>, failure: &Failure) -> bool {
    instance.container.state == ContainerState::Created
        && failure.retryable
        && failure.attempts >= TRIES
}

/// Why a container is to be started now; `None`: it is not, and why was said.
fn start_reason(
    draft: &mut Draft<'_>,
    frame: &Frame<'_, '_>,
    instance: &Instance<'_>,
) -> Option<String> {
    let name = instance.name();
    if instance.container.state == ContainerState::Created {
        return Some(format!("{name} was made and never started"));
    }
    if instance.meant {
        return Some(format!("{name} was stopped and shall run"));
    }
    let exit = instance.last_exit.as_ref();
    let ended = match exit {
        Some(exit) => format!("{name} ended with {exit}"),
        None => format!("{name} ended"),
    };
    let restart = &frame.spec.restart;
    let succeeded = exit.is_some_and(|exit| exit.code == 0 && !exit.oom_killed);
    let agent = &frame.agent.metadata.name;
    let stays = match restart.policy {
        RestartPolicy::Always => None,
        RestartPolicy::OnFailure if !succeeded => None,
        RestartPolicy::OnFailure => Some("on-failure"),
        RestartPolicy::No => Some("no"),
    };
    if let Some(policy) = stays {
        let message = format!(
            "{ended} and its restart policy is {policy}; `agentainer restart {agent}` starts it again"
        );
        at_an_end(draft, frame, instance);
        draft.blocked("Ended", message);
        return None;
    }
    if exhausted(restart, instance.failures) {
        let message = format!(
            "{ended}, more than {} times in a row (restart.maxRetries); `agentainer logs {agent}` may say why, \
             `agentainer restart {agent}` tries again",
            restart.max_retries
        );
        at_an_end(draft, frame, instance);
        draft.blocked("RestartsExhausted", message);
        return None;
    }
    let rest = backoff::restart(restart, instance.failures);
    let Some(exit) = exit else { return Some(ended) };
    let next = later(exit.at, rest);
    if next > draft.input.now && !rest.is_zero() && !ahead(exit.at, draft.input.now) {
        let message = format!(
            "{ended}, {} times in a row; next try at {}; `agentainer logs {agent}` may say why",
            instance.failures,
            shown(next)
        );
        at_an_end(draft, frame, instance);
        draft.blocked("CrashLoopBackOff", message);
        draft.look_at(next);
        return None;
    }
    Some(ended)
}

/// Whether so many failures in a row are more than are borne.
fn exhausted(restart: &Restart, failures: u32) -> bool {
    restart.max_retries > 0 && failures > restart.max_retries
}

/// A container is not started again for the moment: people are told what it last wrote. Of one that an earlier spec
/// shaped the environment is not known, so its lines cannot be masked.
fn at_an_end(draft: &mut Draft<'_>, frame: &Frame<'_, '_>, instance: &Instance<'_>) {
    let (container, observed) = (instance.container, draft.input.observed);
    draft.at_an_end.insert(container.id.clone());
    let ended = container.exit.and_then(|exit| exit.at);
    let read = observed.last_lines.get(&container.id);
    let known = read.is_some_and(|read| read.ended == ended)
        || instance
            .last_exit
            .as_ref()
            .is_some_and(|exit| !exit.last_lines.is_empty());
    let known_env = container.identity.revision == frame.course.asked;
    if known_env && !known && container.state == ContainerState::Exited {
        draft.silent_ends.push(container.id.clone());
    }
}

/// Restarts a container that has not answered its probe for too long. An answer of any status is an answer (design,
/// "Health"), unless `restartOnStatus` says otherwise: a dependency that is down must not restart the whole mesh.
fn restart_unanswering(
    draft: &mut Draft<'_>,
    frame: &Frame<'_, '_>,
    instance: &Instance<'_>,
) -> bool {
    let check = draft.checks.judging(&instance.container.identity.revision);
    let Some(check) = check.cloned() else {
        return false;
    };
    let probe = draft.input.observed.probes.get(&instance.container.id);
    let unanswered = probe.map_or(0, |probe| probe.unanswered);
    if unanswered < check.retries.max(1)
        || frame.spec.restart.policy == RestartPolicy::No
        || draft.input.frozen.is_some()
        || draft.input.observed.network.is_none()
        || super::instances::address(draft.input, instance.container).is_none()
    {
        return false;
    }
    if let Some(started) = instance.container.started_at {
        let rest = backoff::restart(&frame.spec.restart, instance.failures.saturating_add(1));
        let from = later(started, check.start_period.duration().max(rest));
        if from > draft.input.now && !ahead(started, draft.input.now) {
            draft.look_at(from);
            return false;
        }
    }
    let said = probe.map_or("", |probe| probe.message.as_str());
    let name = instance.name();
    let reason = match check.restart_on_status {
        true => format!("{name} failed {unanswered} probes in a row: {said}"),
        false => format!("{name} did not answer {unanswered} probes in a row"),
    };
    if exhausted(&frame.spec.restart, instance.failures.saturating_add(1)) {
        let message = format!(
            "{reason}, and was restarted {} times in a row (restart.maxRetries); `agentainer restart {}` tries again",
            frame.spec.restart.max_retries, frame.agent.metadata.name
        );
        draft.blocked("RestartsExhausted", message);
        return false;
    }
    let container = instance.container.id.clone();
    draft.suspended.insert(container.clone());
    draft.silent.insert(container.clone());
    let stop = Action::Stop {
        container: container.clone(),
        grace: STOP_GRACE,
    };
    draft.act(Rank::Retire, stop, reason.clone());
    draft.act(Rank::Retire, Action::Start { container }, reason.clone());
    draft.wait("NotAnswering", reason);
    true
}

/// Says what a running container that is not ready is waited for.
fn await_ready(draft: &mut Draft<'_>, instance: &Instance<'_>) {
    if instance.serving {
        return;
    }
    let probe = draft.input.observed.probes.get(&instance.container.id);
    let why = match super::instances::address(draft.input, instance.container) {
        None => Some("it has no address on the agents' network"),
        Some(_) => probe
            .map(|probe| probe.message.as_str())
            .filter(|message| !message.is_empty()),
    };
    let message = match why {
        Some(why) => format!("waiting for {} to be ready: {why}", instance.name()),
        None => format!("waiting for {} to be ready", instance.name()),
    };
    let now = draft.input.now;
    match endpoints::starts_until(draft, instance.container) {
        Some(until) if until <= now => draft.blocked("NotReady", message),
        Some(until) => {
            draft.look_at(until);
            draft.wait("Starting", message);
        }
        None => draft.wait("Starting", message),
    }
}
