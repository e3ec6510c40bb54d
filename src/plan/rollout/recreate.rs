//! Recreate: the old ones go before the new ones come, so that two revisions never write to the same volumes.

use std::collections::BTreeMap;

use super::create::{create, good, makeable, rested};
use super::{Place, at_rest, retire_for_good};
use crate::agent::spec::DesiredState;
use crate::observed::ContainerState;
use crate::plan::draft::Draft;
use crate::plan::instances::Instance;
use crate::plan::lifecycle::{Frame, keep};
use crate::plan::orphans;

/// Takes the next steps towards containers of the asked revision alone.
///
/// The old ones go as soon as the new image is there; until then they are kept. Once a container of the asked revision
/// was made they go in any case. No new one starts while an old one, or one of an earlier life, runs.
pub(super) fn replace(
    draft: &mut Draft<'_>,
    frame: &Frame<'_, '_>,
    places: &BTreeMap<u32, Place<'_, '_>>,
) {
    let made = |instance: &&Instance<'_>| instance.container.state != ContainerState::Created;
    let old = |instance: &&Instance<'_>| !instance.current && !instance.gone();
    let olds: Vec<&Instance<'_>> = frame.instances.iter().filter(old).filter(made).collect();
    let currents = || places.values().filter_map(|place| place.current);
    let missing: Vec<u32> = places
        .iter()
        .filter(|(_, place)| place.current.is_none())
        .map(|(ordinal, _)| *ordinal)
        .collect();
    let (held, paused) = (frame.course.held, frame.spec.state == DesiredState::Paused);
    let begun = currents().next().is_some();
    let replaces = !paused && !held && !olds.is_empty();
    let recipe = if (replaces || !missing.is_empty()) && (begun || !held) {
        makeable(draft, frame)
    } else {
        None
    };
    if replaces && (recipe.is_some() || begun) {
        for old in &olds {
            retire_for_good(draft, frame, old, "it makes room for the asked revision");
        }
        for current in currents().filter(|current| current.live()) {
            keep(draft, frame, current, false);
        }
        draft.wait("RollingOut", "waiting for the earlier revision to go");
        return;
    }
    let alone = alone(draft, frame);
    let current_runs = currents().any(Instance::live);
    let mut old_runs = olds.iter().any(|old| old.live());
    for old in places.values().filter_map(|place| place.old) {
        if !at_rest(frame, old) {
            old_runs |= keep(draft, frame, old, alone && !current_runs);
        }
    }
    for place in places.values() {
        if let Some(current) = place.current {
            keep(
                draft,
                frame,
                current,
                alone && !old_runs && !place.spare_runs(),
            );
        }
    }
    // Two revisions never run at once: beside old ones come more of the same alone.
    let stays = held || recipe.is_none() || (paused && !olds.is_empty());
    let instead = good(draft, frame).filter(|good| {
        let same = |old: &&Instance<'_>| old.container.identity.revision == good.revision;
        stays && !begun && olds.iter().all(same)
    });
    let recipe = instead.or(recipe.as_ref().filter(|_| !old_runs));
    let Some(recipe) = recipe.filter(|_| alone) else {
        if paused && alone && !missing.is_empty() {
            let message = "an earlier revision is paused and holds the agent's volumes; what is missing is made when it resumes";
            draft.wait("EarlierRevisionPaused", message);
        }
        return;
    };
    for ordinal in missing {
        let free = places.get(&ordinal).is_none_or(|place| place.old.is_none());
        if free && rested(draft, frame, ordinal, &recipe.revision) {
            create(draft, frame, ordinal, recipe);
        }
    }
}

/// Whether no container of an earlier life runs that may write where this one writes; says so if one does.
fn alone(draft: &mut Draft<'_>, frame: &Frame<'_, '_>) -> bool {
    let strangers = orphans::running_strangers(draft, &frame.agent.metadata.uid);
    let Some(stranger) = strangers.first() else {
        return true;
    };
    let message = format!(
        "waiting for {}, of an earlier life of this agent, which may write to the same volumes; \
         `docker rm -f {}` removes it",
        stranger.name, stranger.name
    );
    draft.wait("EarlierLifeRuns", message);
    false
}
