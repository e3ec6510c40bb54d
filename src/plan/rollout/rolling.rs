//! Rolling: the new one is ready before the old one goes.

use std::collections::BTreeMap;

use super::create::{create, good, makeable, rested};
use super::{Budget, Place, at_rest, retire_for_good};
use crate::agent::spec::DesiredState;
use crate::plan::course::Recipe;
use crate::plan::draft::Draft;
use crate::plan::lifecycle::{Frame, keep};

/// How many containers may run beside another of their ordinal.
struct Surge {
    most: usize,
    /// Running, or about to.
    live: usize,
    /// Places that hold two that may run at any time.
    held: usize,
}
impl Surge {
    /// Whether a container may be made beside what is in its place; if so, it is counted.
    fn beside(&mut self) -> bool {
        let may = self.held < self.most && self.live < self.most;
        if may {
            self.held = self.held.saturating_add(1);
            self.live = self.live.saturating_add(1);
        }
        may
    }

    /// Whether a container may be started beside what is live in its place.
    fn start(&mut self, alone: bool) -> bool {
        let may = alone || self.live < self.most;
        if may && !alone {
            self.live = self.live.saturating_add(1);
        }
        may
    }
}
/// Takes the next steps towards one container of the asked revision for each ordinal. `doubled`: how many run beside another
/// in places that are scaled away, and go.
pub(super) fn replace<'b>(
    draft: &mut Draft<'_>,
    frame: &Frame<'_, '_>,
    places: &BTreeMap<u32, Place<'b, '_>>,
    budget: &mut Budget,
    doubled: usize,
) {
    let unavailable = frame.spec.strategy.max_unavailable.unwrap_or(0);
    let asked_surge = frame.spec.strategy.max_surge.unwrap_or(1);
    // With neither room beside nor room below nothing could ever be replaced.
    let most = if unavailable == 0 {
        asked_surge.max(1)
    } else {
        asked_surge
    };
    let holds_two = |place: &Place<'_, '_>| {
        place.current.is_some() && place.old.is_some_and(|old| old.live() || !old.meant)
    };
    let mut surge = Surge {
        most: usize::try_from(most).unwrap_or(usize::MAX),
        live: places
            .values()
            .map(|place| place.live().saturating_sub(1))
            .fold(doubled, usize::saturating_add),
        held: places.values().filter(|place| holds_two(place)).count(),
    };
    // A container of the new revision that serves anywhere shows that the revision is good.
    let proven = places
        .values()
        .any(|place| place.current.is_some_and(|current| current.serving));
    let paused = frame.spec.state == DesiredState::Paused;
    let (held, failed) = (frame.course.held, frame.course.verdict.failed.is_some());
    // While it is not, a place that has lost its container gets one of the last good revision.
    let good = good(draft, frame).filter(|_| !proven);
    let (mut outdated, mut missing, mut bad) = (Vec::new(), Vec::new(), Vec::new());
    for (ordinal, place) in places {
        let spare_live = place.spare_runs();
        match (place.current, place.old) {
            (Some(current), None)
                if failed && !current.serving && good.is_some() && !held && !paused =>
            {
                bad.push((*ordinal, current, spare_live));
            }
            (Some(current), None) => {
                let may = current.live() || surge.start(!spare_live);
                keep(draft, frame, current, may);
            }
            (Some(current), Some(old)) => {
                let done = current.serving || (proven && !old.serving);
                let mut old_live = old.live();
                if !held && (done || (surge.most == 0 && !failed)) {
                    if budget.take(old) {
                        let reason = format!("{} has taken its place", current.name());
                        retire_for_good(draft, frame, old, &reason);
                    } else {
                        let message = format!("{} goes when enough others are ready", old.name());
                        draft.wait("RollingOut", message);
                    }
                } else if !at_rest(frame, old) {
                    let may = old_live || surge.start(!current.live() && !spare_live);
                    old_live |= keep(draft, frame, old, may);
                }
                let may = current.live() || surge.start(!old_live && !spare_live);
                keep(draft, frame, current, may);
            }
            (None, Some(old)) => outdated.push((old.serving, *ordinal, old)),
            (None, None) => missing.push(*ordinal),
        }
    }
    if paused {
        for (_, _, old) in outdated.drain(..) {
            keep(draft, frame, old, true);
        }
    }
    for (ordinal, current, spare_live) in bad {
        let recipe = good.filter(|good| rested(draft, frame, ordinal, &good.revision));
        match recipe {
            Some(recipe) if surge.beside() => create(draft, frame, ordinal, recipe),
            Some(_) if budget.ready < budget.floor => {
                let reason = "it makes room for the last good revision";
                retire_for_good(draft, frame, current, reason);
                continue;
            }
            _ => {}
        }
        let may = current.live() || surge.start(!spare_live);
        keep(draft, frame, current, may);
    }
    if outdated.is_empty() && missing.is_empty() {
        return;
    }
    let recipe = if held && !proven {
        None
    } else {
        makeable(draft, frame)
    };
    // What does not serve is replaced first.
    outdated.sort_by_key(|(serving, ordinal, _)| (*serving, *ordinal));
    for (_, ordinal, old) in outdated {
        let recipe = recipe.as_ref().filter(|_| !held);
        let recipe = recipe.filter(|_| rested(draft, frame, ordinal, frame.asked));
        match recipe {
            Some(recipe) if at_rest(frame, old) || (proven && !old.live()) => {
                create(draft, frame, ordinal, recipe);
            }
            Some(recipe) if surge.beside() => {
                create(draft, frame, ordinal, recipe);
                keep(draft, frame, old, true);
            }
            Some(recipe) if surge.most == 0 && !old.live() => {
                create(draft, frame, ordinal, recipe);
            }
            Some(_) if (surge.most == 0 || (proven && !old.serving)) && budget.take(old) => {
                retire_for_good(draft, frame, old, "it makes room for the asked revision");
            }
            _ => {
                if recipe.is_some() {
                    draft.wait(
                        "RollingOut",
                        format!("{} waits for its turn to be replaced", old.name()),
                    );
                }
                if !at_rest(frame, old) {
                    keep(draft, frame, old, true);
                }
            }
        }
    }
    for ordinal in missing {
        let stands = held || failed || recipe.is_none();
        let instead = good.filter(|good| stands || was_of(frame, ordinal, good));
        // Without surge a place is empty because we made room there, unless too few are left.
        let made_room = surge.most == 0 && !held && recipe.is_some();
        let instead = instead.filter(|_| !made_room || budget.ready < budget.floor);
        if let Some(recipe) = instead.or(recipe.as_ref())
            && rested(draft, frame, ordinal, &recipe.revision)
        {
            budget.ready = budget.ready.saturating_add(1);
            create(draft, frame, ordinal, recipe);
        }
    }
}

/// Whether the last container that is remembered of an ordinal was of this revision.
fn was_of(frame: &Frame<'_, '_>, ordinal: u32, recipe: &Recipe) -> bool {
    let remembered = frame.agent.status.instances.iter();
    let of_it = remembered.filter(|instance| instance.ordinal == ordinal);
    of_it
        .max_by_key(|instance| instance.incarnation)
        .is_some_and(|last| last.revision == recipe.revision)
}
