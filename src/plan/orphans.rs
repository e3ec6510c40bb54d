//! Containers that are not of the agent's present life: removed on positive proof, else left alone.
//!
//! The proof is a tombstone of their uid (design, section 3, "Identity"). Absence alone means quarantine: a wiped store
//! never deletes a container (law 6).

use std::time::Duration;

use super::draft::Draft;
use super::drain::{Then, retire};
use super::instances::{address, gone};
use crate::agent::Uid;
use crate::agent::spec::Drain;
use crate::observed::{Container, ContainerState};

/// There is no object of this name: each container goes on proof or stays as it is, routed to if it answers.
pub(super) fn without_object(draft: &mut Draft<'_>) {
    sweep(draft, None, Drain::default().timeout.duration());
}

/// Retires what is proven dead among the containers of other lives than `present`, and names the rest.
pub(super) fn sweep(draft: &mut Draft<'_>, present: Option<&Uid>, timeout: Duration) {
    let strangers: Vec<&Container> = others(draft, present).collect();
    for container in strangers {
        let uid = &container.identity.uid;
        if draft.input.frozen.is_none() && draft.input.tombstones.contains(uid) {
            let serving = address(draft.input, container).is_some();
            let reason = "its agent was deleted";
            retire(draft, container, serving, timeout, Then::Remove, reason);
        } else {
            draft
                .quarantined
                .insert(container.name.clone(), uid.clone());
        }
    }
}

/// Containers of other lives that run or may, and so could write where the present life writes.
pub(super) fn running_strangers<'a>(draft: &Draft<'a>, present: &Uid) -> Vec<&'a Container> {
    let running = |container: &&Container| {
        !gone(container)
            && !matches!(
                container.state,
                ContainerState::Exited | ContainerState::Created
            )
    };
    others(draft, Some(present)).filter(running).collect()
}

fn others<'a>(
    draft: &Draft<'a>,
    present: Option<&Uid>,
) -> impl Iterator<Item = &'a Container> + use<'a> {
    let present = present.cloned();
    draft
        .containers()
        .filter(move |container| Some(&container.identity.uid) != present.as_ref())
}
