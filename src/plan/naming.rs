//! Container names: ordinal 0 of a settled agent carries the agent's own name, all others their deterministic ones.
//!
//! A lone live container is never renamed: that was measured to drop its DNS records for a moment. So names change at
//! creation, while a container does not run, or while another instance holds the agent's alias.

use super::action::Action;
use super::draft::{Draft, Rank};
use super::instances::{Instance, address, gone};
use crate::observed::{Container, ContainerState};

/// The deterministic name of a container.
pub(super) fn own(container: &Container) -> String {
    let identity = &container.identity;
    identity
        .agent
        .container(identity.ordinal, identity.incarnation)
}

/// Mends names: `keeper` is the instance of ordinal 0 that shall carry the agent's name.
pub(super) fn mend(
    draft: &mut Draft<'_>,
    instances: &[Instance<'_>],
    keeper: Option<&Instance<'_>>,
) {
    let agent = draft.input.name.to_string();
    let keeper_id = keeper.map(|keeper| &keeper.container.id);
    let input = draft.input;
    let safe = |instance: &Instance<'_>| {
        let holds_alias = |other: &Instance<'_>| {
            other.container.state == ContainerState::Running
                && address(input, other.container).is_some()
        };
        let others = || {
            let mut others = instances
                .iter()
                .filter(|other| other.container.id != instance.container.id);
            others.any(holds_alias)
        };
        match instance.container.state {
            ContainerState::Created | ContainerState::Exited => true,
            ContainerState::Running => others(),
            _ => false,
        }
    };
    let mut agent_name_free = free(draft, &agent);
    // First give up what is not due, then take what is free.
    let (keepers, others): (Vec<_>, Vec<_>) = instances
        .iter()
        .partition(|instance| Some(&instance.container.id) == keeper_id);
    for instance in others {
        let held = instance.container.name == agent;
        // The agent's name is given up only for somebody to take it.
        let wanted = keeper.is_some_and(|keeper| keeper.current && safe(keeper));
        let stays = !draft.retired.contains(&instance.container.id);
        if (if held { wanted } else { stays }) && safe(instance) {
            agent_name_free |= give_own(draft, instance.container) && held;
        }
    }
    for keeper in keepers {
        let container = keeper.container;
        if container.name == agent || !safe(keeper) {
            continue;
        }
        if keeper.current && agent_name_free {
            let rename = Action::Rename {
                container: container.id.clone(),
                name: agent.clone(),
            };
            draft.act(Rank::Name, rename, "ordinal 0 carries the agent's own name");
        } else {
            give_own(draft, container);
        }
    }
}

/// Gives a container its deterministic name, if it has another and that one is free. Answers whether it does.
fn give_own(draft: &mut Draft<'_>, container: &Container) -> bool {
    let proper = own(container);
    let gives = container.name != proper && free(draft, &proper);
    if gives {
        let rename = Action::Rename {
            container: container.id.clone(),
            name: proper,
        };
        draft.act(Rank::Name, rename, "its name is not its own");
    }
    gives
}

/// Before a creation for ordinal 0: whether the new container may take the agent's name. One that holds it and does
/// not run, or whose life is over, gives it up first.
pub(super) fn take_for_new(draft: &mut Draft<'_>, instances: &[Instance<'_>]) -> bool {
    let agent = draft.input.name.to_string();
    if draft.input.observed.foreign_names.contains(&agent) {
        return false;
    }
    let holder = draft.containers().find(|container| container.name == agent);
    let Some(holder) = holder else {
        return free(draft, &agent);
    };
    let present = instances
        .iter()
        .any(|instance| instance.container.id == holder.id);
    let dead_life = !present && draft.input.tombstones.contains(&holder.identity.uid);
    let idle = matches!(
        holder.state,
        ContainerState::Created | ContainerState::Exited
    );
    let proper = own(holder);
    let gives_up = draft.input.frozen.is_none()
        && !gone(holder)
        && ((present && idle) || dead_life)
        && proper != agent
        && free(draft, &proper);
    if gives_up {
        let rename = Action::Rename {
            container: holder.id.clone(),
            name: proper,
        };
        draft.act(
            Rank::Name,
            rename,
            "a new container takes the agent's own name",
        );
    }
    gives_up
}

fn free(draft: &Draft<'_>, name: &str) -> bool {
    let observed = &draft.input.observed;
    let mut names = observed.containers.iter().map(|container| &container.name);
    !observed.foreign_names.contains(name) && !names.any(|held| held == name)
}
