//! Every container as a routing target.

use std::net::SocketAddr;
use std::time::Duration;

use super::action::{EndpointPlan, EndpointState};
use super::draft::{Draft, later};
use super::instances::{address, remembered, serving};
use crate::agent::spec::DesiredState;
use crate::agent::{Agent, AgentStatus};
use crate::observed::{Container, ContainerState};

/// A container that is not ready this long after its start is not expected to be soon.
pub(super) const START_WINDOW: Duration = Duration::from_secs(60);

/// One for each container of the agent, of whatever life.
pub(super) fn of(draft: &mut Draft<'_>) -> Vec<EndpointPlan> {
    let nothing = AgentStatus::default();
    let input = draft.input;
    let agent = input.agent;
    let status = agent.map_or(&nothing, |agent| &agent.status);
    let containers: Vec<&Container> = draft.containers().collect();
    let mut endpoints = Vec::with_capacity(containers.len());
    for container in containers {
        let serves = serving(input, container, remembered(status, container));
        let port = container.port.unwrap_or_else(|| {
            agent.map_or_else(
                || crate::agent::spec::Port::default().0,
                |agent| agent.spec.port.0,
            )
        });
        let place = address(input, container).map(|ip| SocketAddr::new(ip, port));
        endpoints.push(EndpointPlan {
            container: container.id.clone(),
            address: place,
            departed: place.is_none() && departed(container),
            state: state(draft, agent, container, serves),
            check: draft.checks.judging(&container.identity.revision).cloned(),
            tried: draft.checks.tried(&container.identity.revision).cloned(),
        });
    }
    endpoints
}

/// Whether a container without an address surely left the one it had. What an engine says that contradicts itself, or
/// has not looked at, is no proof, nor is another network: what is in flight there may still be answered (law 6).
fn departed(container: &Container) -> bool {
    match container.state {
        ContainerState::Unknown => false,
        ContainerState::Running | ContainerState::Paused => container.attachment.is_none(),
        ContainerState::Created
        | ContainerState::Exited
        | ContainerState::Restarting
        | ContainerState::Removing
        | ContainerState::Dead => {
            let attachment = container.attachment.as_ref();
            attachment.is_none_or(|attachment| attachment.ip.is_none())
        }
    }
}

fn state(
    draft: &mut Draft<'_>,
    agent: Option<&Agent>,
    container: &Container,
    serves: bool,
) -> EndpointState {
    if draft.draining.contains(&container.id) {
        return EndpointState::Draining;
    }
    let frozen = draft.input.frozen.is_some();
    if let Some(agent) = agent {
        // Another life of the agent is another agent: its requests are not this one's (law 4).
        if container.identity.uid != agent.metadata.uid {
            return EndpointState::Down;
        }
        if !frozen && agent.spec.state != DesiredState::Running {
            return EndpointState::Down;
        }
    }
    if draft.suspended.contains(&container.id) {
        return EndpointState::Starting;
    }
    match (serves, container.state) {
        (true, _) => EndpointState::Ready,
        (false, ContainerState::Created | ContainerState::Restarting) => EndpointState::Starting,
        (false, ContainerState::Running) if starting(draft, container) => EndpointState::Starting,
        _ => EndpointState::Down,
    }
}

/// Whether a running container that is not ready may be expected to be soon; looks again when that is over.
fn starting(draft: &mut Draft<'_>, container: &Container) -> bool {
    match starts_until(draft, container) {
        Some(until) if until > draft.input.now => {
            draft.look_at(until);
            true
        }
        Some(_) => false,
        None => true,
    }
}

/// Until when a container counts as starting; `None`: its start is not known.
pub(super) fn starts_until(draft: &Draft<'_>, container: &Container) -> Option<jiff::Timestamp> {
    let check = draft.checks.judging(&container.identity.revision);
    let period = check.map_or(Duration::ZERO, |check| check.start_period.duration());
    container
        .started_at
        .map(|started| later(started, period.max(START_WINDOW)))
}
