//! Drift of a running container: its limits, its network, its DNS names. Found and mended without a gap that others
//! could see.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use super::action::Action;
use super::backoff;
use super::draft::{Draft, Rank};
use super::instances::Instance;
use super::naming;
use crate::agent::spec::AgentSpec;
use crate::observed::{Attachment, Container, ContainerState, Limits, Network};

/// The DNS names of a container: its agent's and its own.
fn names_of(container: &Container) -> BTreeSet<String> {
    [container.identity.agent.to_string(), naming::own(container)].into()
}

/// Mends the limits of a container of the asked revision. An earlier revision's are its own.
pub(super) fn limits(draft: &mut Draft<'_>, instance: &Instance<'_>, spec: &AgentSpec) {
    let wanted = Limits::of(&spec.resources);
    let known = matches!(
        instance.container.state,
        ContainerState::Running | ContainerState::Paused | ContainerState::Exited
    );
    if instance.current && known && instance.container.limits != wanted {
        let update = Action::UpdateLimits {
            container: instance.container.id.clone(),
            limits: wanted,
        };
        draft.act(
            Rank::Limits,
            update,
            format!("the limits of {} are not the spec's", instance.name()),
        );
    }
}

/// Puts a running container back on the agents' network, or under its names there.
pub(super) fn network(
    draft: &mut Draft<'_>,
    instances: &[Instance<'_>],
    instance: &Instance<'_>,
    spec: &AgentSpec,
) {
    let Some(network) = draft.input.observed.network.as_ref() else {
        return;
    };
    let container = instance.container;
    if container.state != ContainerState::Running {
        return;
    }
    let stray = match &container.attachment {
        None => None,
        Some(attachment)
            if attachment.network != network.id && !attachment.network.0.is_empty() =>
        {
            Some(attachment)
        }
        Some(attachment) => {
            aliases(draft, instances, instance, attachment, network);
            return;
        }
    };
    let failure = draft.input.observed.failures.get(&instance.ordinal());
    let failure = failure.filter(|failure| failure.reason == "ConnectFailed");
    if !draft.rested(failure, |failure| backoff::effort(&spec.restart, failure)) {
        return;
    }
    let reason = match stray {
        Some(_) => format!("{} is on another network", instance.name()),
        None => format!("{} was taken off the network", instance.name()),
    };
    if let Some(attachment) = stray {
        if draft.input.frozen.is_some() {
            return;
        }
        let leave = Action::Disconnect {
            container: container.id.clone(),
            network: attachment.network.clone(),
        };
        draft.act(Rank::Attach, leave, reason.clone());
    }
    draft.suspended.insert(container.id.clone());
    let action = connect(instance, network, failure.is_none());
    draft.act(Rank::Attach, action, reason.clone());
    draft.wait("Reconnecting", reason);
}

/// The connection of a container to the present network, with its old address where that is still to be had.
pub(super) fn connect(instance: &Instance<'_>, network: &Network, ask_old: bool) -> Action {
    let address =
        old_address(instance).filter(|address| ask_old && may_have(network, instance, *address));
    Action::Connect {
        container: instance.container.id.clone(),
        network: network.id.clone(),
        aliases: names_of(instance.container),
        address,
        own_address: network.addresses_owned,
    }
}

fn old_address(instance: &Instance<'_>) -> Option<Ipv4Addr> {
    let asked = instance
        .container
        .attachment
        .as_ref()
        .and_then(|attachment| attachment.asked_ip);
    let remembered = instance.before.and_then(|before| match before.ip {
        Some(IpAddr::V4(address)) => Some(address),
        _ => None,
    });
    asked.or(remembered)
}

/// Whether somebody else on the network has the address with which a container would start.
pub(super) fn address_is_anothers(network: &Network, instance: &Instance<'_>) -> bool {
    let attachment = instance.container.attachment.as_ref();
    let asked = attachment.and_then(|attachment| attachment.asked_ip);
    let mut members = network.members.iter();
    asked.is_some_and(|asked| {
        members.any(|(id, member)| *member == Some(asked) && *id != instance.container.id.0)
    })
}

/// Whether an address of ours on this network is free, or this container's already.
fn may_have(network: &Network, instance: &Instance<'_>, address: Ipv4Addr) -> bool {
    let taken = network
        .members
        .iter()
        .any(|(id, member)| *id != instance.container.id.0 && *member == Some(address));
    network.addresses_owned
        && !taken
        && network.gateway != Some(address)
        && network
            .subnet
            .is_some_and(|subnet| subnet.contains(&address))
        && !network
            .strangers
            .is_some_and(|strangers| strangers.contains(&address))
}

/// Missing DNS names: mended by leaving and joining again, when another ready instance answers for the agent in the
/// meantime, or when nobody can reach it by name anyhow and it has nothing in flight. Else left as it is.
fn aliases(
    draft: &mut Draft<'_>,
    instances: &[Instance<'_>],
    instance: &Instance<'_>,
    attachment: &Attachment,
    network: &Network,
) {
    let container = instance.container;
    let wanted = names_of(container);
    if attachment.network.0.is_empty() || draft.input.frozen.is_some() {
        return;
    }
    // The engine resolves a container's own name too; one without an address it resolves by no name.
    let addressed = attachment.ip.is_some();
    let held =
        |name: &String| attachment.aliases.contains(name) || (addressed && container.name == *name);
    if wanted.iter().all(held) {
        return;
    }
    let agent = draft.input.name.as_str();
    let other_answers = instances.iter().any(|other| {
        let attached = other.container.attachment.as_ref();
        other.container.id != container.id
            && other.serving
            && !draft.suspended.contains(&other.container.id)
            && attached.is_some_and(|attached| attached.aliases.contains(agent))
    });
    let unreachable =
        !addressed || (!attachment.aliases.contains(agent) && container.name != agent);
    let traffic = draft.input.observed.traffic.get(&container.id);
    let idle = traffic.is_none_or(|traffic| traffic.in_flight == 0);
    if !(idle && (other_answers || unreachable)) {
        return;
    }
    let reason = format!("{} lacks one of its DNS names", instance.name());
    draft.suspended.insert(container.id.clone());
    let leave = Action::Disconnect {
        container: container.id.clone(),
        network: network.id.clone(),
    };
    draft.act(Rank::Attach, leave, reason.clone());
    draft.act(Rank::Attach, connect(instance, network, true), reason);
}
