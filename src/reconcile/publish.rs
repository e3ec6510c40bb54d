//! Publishes what a plan found true: routing targets and probe targets.

use jiff::Timestamp;

use super::Reconcile;
use crate::agent::spec::Protocol;
use crate::agent::status::condition;
use crate::agent::{Agent, AgentStatus};
use crate::endpoints::{Publication, PublishedEndpoint};
use crate::names::AgentName;
use crate::observed::{ContainerState, Observed};
use crate::plan::{EndpointState, Plan};
use crate::probe::Target;

impl Reconcile {
    /// Routing and probing, before any action: what is about to be stopped gets nothing new from here on.
    pub(super) fn publish(
        &self,
        name: &AgentName,
        agent: Option<&Agent>,
        observed: &Observed,
        plan: &Plan,
        now: Timestamp,
    ) {
        let proxy = agent.map(|agent| agent.spec.proxy.clone());
        let proxy = proxy.unwrap_or_default();
        let protocol = proxy.protocol.unwrap_or_default();
        let mut targets = probe_targets(protocol, observed, plan);
        if let Some(agent) = agent.filter(|_| observed.records.is_none()) {
            // By which check an instance is well is not known yet, so that it was stands until it is.
            targets.retain(|target| !well(&agent.status, target));
        }
        self.parts.prober.set(name, targets);
        let first = observed.containers.first();
        let uid = agent
            .map(|agent| &agent.metadata.uid)
            .or_else(|| first.map(|container| &container.identity.uid));
        let Some(uid) = uid else {
            self.parts.endpoints.withdraw(name);
            return;
        };
        let endpoints: Vec<_> = plan
            .endpoints
            .iter()
            .filter_map(|endpoint| {
                Some(PublishedEndpoint {
                    container: endpoint.container.clone(),
                    address: endpoint.address?,
                    state: endpoint.state,
                })
            })
            .collect();
        let departed = plan.endpoints.iter().filter(|endpoint| endpoint.departed);
        let departed = departed.map(|endpoint| endpoint.container.clone());
        let ready = plan
            .status
            .as_ref()
            .and_then(|status| status.condition(condition::READY));
        let progressing = plan.status.as_ref().is_some_and(|status| {
            use crate::agent::Phase::{Degraded, Pending, Progressing, Running};
            matches!(status.phase, Pending | Progressing | Degraded | Running)
        });
        let publication = Publication {
            uid: uid.clone(),
            starting: progressing
                || endpoints
                    .iter()
                    .any(|endpoint| endpoint.state == EndpointState::Starting),
            endpoints,
            departed: departed.collect(),
            explanation: ready.map_or_else(String::new, |ready| ready.message.clone()),
            proxy,
            persistence: agent.and_then(|agent| agent.spec.persistence.clone()),
        };
        self.parts.endpoints.publish(name, publication, now);
    }
}

/// Whether a container was ready on this run of it, as far as is remembered.
fn well(status: &AgentStatus, target: &Target) -> bool {
    let of_it = status.instance(&target.container.0);
    of_it.is_some_and(|one| one.ready && one.started_at == target.started_at)
}

/// Every running container with an address is probed, drained ones too: unknown is not dead.
fn probe_targets(protocol: Protocol, observed: &Observed, plan: &Plan) -> Vec<Target> {
    let running = observed
        .containers
        .iter()
        .filter(|container| container.state == ContainerState::Running);
    let targets = running.filter_map(|container| {
        let mut endpoints = plan.endpoints.iter();
        let endpoint = endpoints.find(|endpoint| endpoint.container == container.id)?;
        let judged = Target {
            container: container.id.clone(),
            address: endpoint.address?,
            check: endpoint.check.clone(),
            trial: false,
            protocol,
            started_at: container.started_at,
        };
        let tried = endpoint.tried.as_ref().map(|tried| Target {
            check: tried.health_check.clone(),
            trial: true,
            ..judged.clone()
        });
        Some(std::iter::once(judged).chain(tried))
    });
    targets.flatten().collect()
}
