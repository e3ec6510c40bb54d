//! Which containers there shall be: one of the asked revision for each ordinal, and how one gets there.
//!
//! Rolling: a container of the new revision is made beside the old one (at most `maxSurge` of them at once) and the old
//! one is retired when the new one is ready, so that a revision that never becomes ready leaves the last good one
//! serving (law 8). With `maxSurge: 0` the old one goes first, as far as `maxUnavailable` lets it. Never does our own
//! hand take a ready container when that would leave fewer than `replicas − maxUnavailable`.
//!
//! Recreate: all old ones go once the new image is there, then the new ones come.
//!
//! While the new revision is not known to be good, or somebody holds the rollout, a place that has lost its container gets
//! one of the last good revision, made from what is recorded of that.

mod create;
mod recreate;
mod rolling;

use std::collections::BTreeMap;

use super::draft::Draft;
use super::drain::{Then, retire};
use super::instances::Instance;
use super::lifecycle::Frame;
use super::naming;
use crate::agent::spec::{DesiredState, StrategyKind};
use crate::observed::ContainerState;

/// The containers of one ordinal, as far as they are to be reckoned with.
#[derive(Default)]
struct Place<'b, 'a> {
    /// The best of the asked revision.
    current: Option<&'b Instance<'a>>,
    /// The best of earlier revisions.
    old: Option<&'b Instance<'a>>,
    /// All others, but for those that go.
    spare: Vec<&'b Instance<'a>>,
    /// How many of those that go may run still: they drain.
    going: usize,
}

impl Place<'_, '_> {
    fn live(&self) -> usize {
        let kept = self.current.iter().chain(&self.old);
        let live = kept.chain(&self.spare).filter(|instance| instance.live());
        live.count().saturating_add(self.going)
    }

    /// Whether one runs that is neither of the two.
    fn spare_runs(&self) -> bool {
        self.going > 0 || self.spare.iter().any(|spare| spare.live())
    }
}

/// How many ready containers our own hand may take.
struct Budget {
    ready: usize,
    floor: usize,
}

impl Budget {
    fn take(&mut self, instance: &Instance<'_>) -> bool {
        if !instance.serving {
            return true;
        }
        if self.ready <= self.floor {
            return false;
        }
        self.ready = self.ready.saturating_sub(1);
        true
    }
}

/// Brings the containers of an agent that shall run, or be frozen where it is, to the spec.
pub(super) fn converge(draft: &mut Draft<'_>, frame: &Frame<'_, '_>) {
    let replicas = frame.replicas();
    let mut places = places(frame, replicas);
    let recreate = frame.spec.strategy_kind() == StrategyKind::Recreate;
    let unavailable = frame.spec.strategy.max_unavailable.unwrap_or(0);
    let mut budget = Budget {
        ready: frame
            .instances
            .iter()
            .filter(|instance| instance.serving)
            .count(),
        // What is to be frozen serves nobody.
        floor: match frame.spec.state {
            DesiredState::Paused => 0,
            _ => usize::try_from(replicas.saturating_sub(unavailable)).unwrap_or(usize::MAX),
        },
    };
    let doubled = scale_down(draft, frame, replicas, &mut budget);
    for place in places.values_mut() {
        let Place { spare, going, .. } = place;
        spare.retain(|instance| {
            let goes = (recreate && !instance.current) || budget.take(instance);
            if goes {
                let reason = "another container has its place";
                retire_for_good(draft, frame, instance, reason);
                *going = going.saturating_add(usize::from(instance.live()));
            }
            !goes
        });
    }
    let keeper = places.get(&0).and_then(|place| keeper(place));
    if recreate {
        recreate::replace(draft, frame, &places);
    } else {
        rolling::replace(draft, frame, &places, &mut budget, doubled);
    }
    naming::mend(draft, frame.instances, keeper);
}

fn places<'b, 'a>(frame: &'b Frame<'a, '_>, replicas: u32) -> BTreeMap<u32, Place<'b, 'a>> {
    let mut places: BTreeMap<u32, Place<'b, 'a>> =
        (0..replicas).map(|k| (k, Place::default())).collect();
    let mut ranked: Vec<&Instance<'a>> = frame
        .instances
        .iter()
        .filter(|instance| !instance.gone())
        .collect();
    ranked.sort_by_key(|instance| instance.rank());
    for instance in ranked {
        let Some(place) = places.get_mut(&instance.ordinal()) else {
            continue;
        };
        let never_started = instance.container.state == ContainerState::Created;
        if instance.current && place.current.is_none() {
            place.current = Some(instance);
        } else if !instance.current && !never_started && place.old.is_none() {
            place.old = Some(instance);
        } else {
            place.spare.push(instance);
        }
    }
    places
}

/// Which container of ordinal 0 answers to the agent's name.
fn keeper<'b, 'a>(place: &Place<'b, 'a>) -> Option<&'b Instance<'a>> {
    match (place.current, place.old) {
        (Some(current), Some(old)) if !current.serving && (old.serving || old.live()) => Some(old),
        (Some(current), _) => Some(current),
        (None, old) => old,
    }
}

fn retire_for_good(
    draft: &mut Draft<'_>,
    frame: &Frame<'_, '_>,
    instance: &Instance<'_>,
    reason: &str,
) {
    let timeout = frame.spec.drain.timeout.duration();
    retire(
        draft,
        instance.container,
        instance.serving,
        timeout,
        Then::Remove,
        reason,
    );
}

/// The highest ordinals go first. Answers how many of those that go may run still beside another of their place: they are
/// doubles until they have gone. One that has to wait for others to be ready is none: they might wait for it.
fn scale_down(
    draft: &mut Draft<'_>,
    frame: &Frame<'_, '_>,
    replicas: u32,
    budget: &mut Budget,
) -> usize {
    let surplus = |instance: &&Instance<'_>| instance.ordinal() >= replicas && !instance.gone();
    // Of each place: how many run, and how many of those go.
    let mut places: BTreeMap<u32, (usize, usize)> = BTreeMap::new();
    for instance in frame.instances.iter().rev().filter(surplus) {
        let live = usize::from(instance.live());
        let (all, going) = places.entry(instance.ordinal()).or_default();
        *all = all.saturating_add(live);
        if budget.take(instance) {
            *going = going.saturating_add(live);
            retire_for_good(draft, frame, instance, "the agent was scaled down");
        } else {
            let message = format!("{} goes when enough others are ready", instance.name());
            draft.wait("ScalingDown", message);
        }
    }
    let doubles = places.values();
    doubles
        .map(|(all, going)| all.saturating_sub(1).min(*going))
        .sum()
}

/// Whether an old container stopped with its agent: it is not started again, its successor is made instead, unless that
/// is known to be bad or shall not come yet.
fn at_rest(frame: &Frame<'_, '_>, instance: &Instance<'_>) -> bool {
    let stands = frame.course.held || frame.course.verdict.failed.is_some();
    instance.meant && instance.container.state == ContainerState::Exited && !stands
}
