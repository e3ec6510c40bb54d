//! When each key is due: one slot per key, the earliest time wins.
//!
//! Synchronous, told the time, runs nothing itself; only the runner uses it. A slot exists for as long as its key waits or
//! runs, so memory is bounded by the number of such keys, however often they are scheduled.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

/// Holds for each key the time it is due, and which keys are running.
///
/// # Guarantees
///
/// - A key is due at the earliest time it was scheduled for since it last began to run, but never before its floor.
/// - A key that runs is not handed out; what is scheduled meanwhile is kept and handed out after it finished.
/// - A key that was scheduled is handed out at least once afterwards; keys due at once come in the order of the asking.
#[derive(Debug)]
pub(super) struct Scheduler<K> {
    slots: BTreeMap<K, Slot>,
    /// The keys that wait and do not run, by due time, then by the order in which that time was asked for.
    waiting: BTreeSet<(Instant, u64, K)>,
    asked: u64,
}

#[derive(Debug, Default)]
struct Slot {
    /// The earliest time asked for since the key last began to run.
    at: Option<Instant>,
    /// Not handed out before this, whatever was asked for.
    floor: Option<Instant>,
    /// This slot's entry in `waiting`.
    entry: Option<(Instant, u64)>,
    running: bool,
}

impl<K: Ord + Clone> Scheduler<K> {
    pub(super) fn new() -> Self {
        Self {
            slots: BTreeMap::new(),
            waiting: BTreeSet::new(),
            asked: 0,
        }
    }

    /// Asks for `key` to be handed out at `at`. Asking for a later time than the slot holds changes nothing.
    pub(super) fn schedule(&mut self, key: K, at: Instant) {
        let slot = self.slots.entry(key.clone()).or_default();
        if slot.at.is_some_and(|held| held <= at) {
            return;
        }
        slot.at = Some(at);
        self.enter(key);
    }

    /// Takes the key that has been due longest at `now` and marks it as running; says when it was due.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<(K, Instant)> {
        if self.next_due()? > now {
            return None;
        }
        let (due, _, key) = self.waiting.pop_first()?;
        let slot = self.slots.entry(key.clone()).or_default();
        *slot = Slot {
            running: true,
            ..Slot::default()
        };
        Some((key, due))
    }

    /// Ends the run of `key`: `again` asks for another, `floor` holds it back until then even if it is asked for earlier.
    /// A slot that nobody wants is forgotten, its floor with it.
    pub(super) fn finish(&mut self, key: &K, again: Option<Instant>, floor: Option<Instant>) {
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        slot.running = false;
        slot.floor = floor;
        slot.at = match (slot.at, again) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        if slot.at.is_some() {
            self.enter(key.clone());
        } else {
            self.slots.remove(key);
        }
    }

    /// When the next key that does not run is due; none if none waits.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.waiting.first().map(|(due, _, _)| *due)
    }

    /// Brings the entry of `key` in `waiting` up to date with its slot.
    fn enter(&mut self, key: K) {
        let Some(slot) = self.slots.get_mut(&key) else {
            return;
        };
        let Some(at) = slot.at.filter(|_| !slot.running) else {
            return;
        };
        let due = slot.floor.map_or(at, |floor| floor.max(at));
        if let Some((held, order)) = slot.entry {
            if held == due {
                return;
            }
            self.waiting.remove(&(held, order, key.clone()));
        }
        self.asked += 1;
        slot.entry = Some((due, self.asked));
        self.waiting.insert((due, self.asked, key));
    }
}

#[cfg(test)]
#[path = "scheduler_tests.rs"]
mod tests;
