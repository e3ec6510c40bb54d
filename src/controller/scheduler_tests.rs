#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proptest::prelude::*;
use tokio::time::Instant;

use super::Scheduler;

fn s(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// The keys due at `now`, in order; all of them run afterwards.
fn take_all(scheduler: &mut Scheduler<char>, now: Instant) -> Vec<char> {
    std::iter::from_fn(|| scheduler.take_due(now))
        .map(|(key, _)| key)
        .collect()
}

#[test]
fn keys_are_handed_out_when_they_are_due_and_not_before() {
    let (mut scheduler, t) = (Scheduler::new(), Instant::now());
    scheduler.schedule('a', t + s(1));
    scheduler.schedule('b', t + s(3));
    assert_eq!(scheduler.next_due(), Some(t + s(1)));
    assert_eq!(take_all(&mut scheduler, t), Vec::<char>::new());
    assert_eq!(scheduler.take_due(t + s(2)), Some(('a', t + s(1))));
    assert_eq!(scheduler.next_due(), Some(t + s(3)));
    assert_eq!(take_all(&mut scheduler, t + s(2)), Vec::<char>::new());
    assert_eq!(take_all(&mut scheduler, t + s(4)), ['b']);
    assert_eq!(scheduler.next_due(), None);
}

#[test]
fn the_earlier_of_two_times_wins_whichever_came_first() {
    for times in [[1, 3], [3, 1]] {
        let (mut scheduler, t) = (Scheduler::new(), Instant::now());
        times
            .iter()
            .for_each(|at| scheduler.schedule('a', t + s(*at)));
        assert_eq!(take_all(&mut scheduler, t + s(2)), ['a']);
        scheduler.finish(&'a', None, None);
        assert_eq!(take_all(&mut scheduler, t + s(9)), Vec::<char>::new());
    }
}

#[test]
fn a_key_can_be_scheduled_again_after_its_run() {
    let (mut scheduler, t) = (Scheduler::new(), Instant::now());
    for round in 1..4 {
        scheduler.schedule('a', t + s(round));
        assert_eq!(take_all(&mut scheduler, t + s(round)), ['a']);
        scheduler.finish(&'a', None, None);
        assert_eq!(scheduler.next_due(), None);
    }
}

#[test]
fn keys_due_at_the_same_time_come_in_the_order_of_asking() {
    let (mut scheduler, t) = (Scheduler::new(), Instant::now());
    "zax".chars().for_each(|key| scheduler.schedule(key, t));
    scheduler.schedule('z', t);
    assert_eq!(take_all(&mut scheduler, t), ['z', 'a', 'x']);
}

#[test]
fn a_running_key_is_held_and_handed_out_after_it_finished() {
    let (mut scheduler, t) = (Scheduler::new(), Instant::now());
    scheduler.schedule('a', t);
    assert_eq!(take_all(&mut scheduler, t), ['a']);
    scheduler.schedule('a', t);
    assert_eq!(
        (take_all(&mut scheduler, t + s(9)), scheduler.next_due()),
        (vec![], None)
    );
    scheduler.finish(&'a', None, None);
    assert_eq!(take_all(&mut scheduler, t + s(9)), ['a']);
    scheduler.finish(&'a', None, None);
    assert_eq!(take_all(&mut scheduler, t + s(9)), Vec::<char>::new());
}

#[test]
fn a_held_key_does_not_block_the_one_behind_it() {
    let (mut scheduler, t) = (Scheduler::new(), Instant::now());
    scheduler.schedule('a', t);
    assert_eq!(take_all(&mut scheduler, t), ['a']);
    scheduler.schedule('a', t);
    scheduler.schedule('b', t + s(1));
    assert_eq!(take_all(&mut scheduler, t + s(1)), ['b']);
}

#[test]
fn a_held_key_keeps_a_time_that_is_still_to_come() {
    let (mut scheduler, t) = (Scheduler::new(), Instant::now());
    scheduler.schedule('a', t);
    assert_eq!(take_all(&mut scheduler, t), ['a']);
    scheduler.schedule('a', t + s(5));
    scheduler.finish(&'a', Some(t + s(8)), None);
    assert_eq!(take_all(&mut scheduler, t + s(4)), Vec::<char>::new());
    assert_eq!(take_all(&mut scheduler, t + s(5)), ['a']);
}

#[test]
fn a_floor_holds_back_an_earlier_wish_until_the_next_run() {
    let (mut scheduler, t) = (Scheduler::new(), Instant::now());
    scheduler.schedule('a', t);
    assert_eq!(take_all(&mut scheduler, t), ['a']);
    scheduler.finish(&'a', Some(t + s(9)), Some(t + s(2)));
    scheduler.schedule('a', t);
    assert_eq!(take_all(&mut scheduler, t + s(1)), Vec::<char>::new());
    assert_eq!(take_all(&mut scheduler, t + s(2)), ['a']);
    scheduler.finish(&'a', None, None);
    scheduler.schedule('a', t);
    assert_eq!(take_all(&mut scheduler, t + s(2)), ['a']);
}

#[test]
fn a_key_that_nobody_wants_leaves_nothing_behind() {
    let (mut scheduler, t) = (Scheduler::new(), Instant::now());
    scheduler.schedule('a', t);
    assert_eq!(take_all(&mut scheduler, t), ['a']);
    scheduler.finish(&'a', None, Some(t + s(9)));
    scheduler.finish(&'b', Some(t), None);
    assert!(scheduler.slots.is_empty() && scheduler.waiting.is_empty());
}

/// One step of a generated history. Times are milliseconds from its start.
#[derive(Debug, Clone)]
enum Step {
    Schedule(u8, u64),
    Advance(u64),
    Take,
    Finish {
        which: usize,
        again: Option<u64>,
        floor: Option<u64>,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..6_u8, 0..100_u64).prop_map(|(key, at)| Step::Schedule(key, at)),
        1 => (0..20_u64).prop_map(Step::Advance),
        3 => Just(Step::Take),
        2 => (any::<usize>(), prop::option::of(0..120_u64), prop::option::of(0..120_u64))
            .prop_map(|(which, again, floor)| Step::Finish { which, again, floor }),
    ]
}

/// The scheduler as a plain reading of its guarantees: what is owed, from when, and what runs.
#[derive(Default)]
struct Model {
    owed: BTreeMap<u8, u64>,
    floors: BTreeMap<u8, u64>,
    running: BTreeSet<u8>,
}

impl Model {
    fn due(&self) -> BTreeMap<u8, u64> {
        let waiting = self
            .owed
            .iter()
            .filter(|(key, _)| !self.running.contains(key));
        waiting
            .map(|(key, at)| (*key, (*at).max(self.floors.get(key).copied().unwrap_or(0))))
            .collect()
    }

    fn owe(&mut self, key: u8, at: u64) {
        self.owed
            .entry(key)
            .and_modify(|held| *held = at.min(*held))
            .or_insert(at);
    }
}

proptest! {
    #[test]
    fn any_history_hands_out_what_is_owed_and_nothing_else(steps in prop::collection::vec(step(), 0..200)) {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let (mut scheduler, mut model, mut now) = (Scheduler::new(), Model::default(), 0);
        let take = |scheduler: &mut Scheduler<u8>, model: &mut Model, now: u64| -> Result<bool, TestCaseError> {
            let due = model.due();
            let earliest = due.values().min().copied();
            prop_assert_eq!(scheduler.next_due(), earliest.map(at));
            let taken = scheduler.take_due(at(now));
            prop_assert_eq!(taken.is_some(), earliest.is_some_and(|ms| ms <= now));
            let Some((key, when)) = taken else { return Ok(false) };
            prop_assert!(!model.running.contains(&key), "handed out while it runs");
            prop_assert_eq!(due.get(&key).map(|ms| at(*ms)), Some(when));
            prop_assert_eq!(Some(when), earliest.map(at), "the earliest comes first");
            model.owed.remove(&key);
            model.floors.remove(&key);
            model.running.insert(key);
            Ok(true)
        };
        for step in steps {
            match step {
                Step::Schedule(key, ms) => {
                    scheduler.schedule(key, at(ms));
                    model.owe(key, ms);
                }
                Step::Advance(ms) => now += ms,
                Step::Take => {
                    take(&mut scheduler, &mut model, now)?;
                }
                Step::Finish { which, again, floor } => {
                    let Some(key) = model.running.iter().nth(which % model.running.len().max(1)).copied() else { continue };
                    scheduler.finish(&key, again.map(at), floor.map(at));
                    model.running.remove(&key);
                    again.into_iter().for_each(|ms| model.owe(key, ms));
                    if let Some(floor) = floor.filter(|_| model.owed.contains_key(&key)) {
                        model.floors.insert(key, floor);
                    }
                }
            }
        }
        // Let all that runs end and all that is owed run: then nothing is left.
        for key in std::mem::take(&mut model.running) {
            scheduler.finish(&key, None, None);
        }
        while take(&mut scheduler, &mut model, 1_000_000)? {}
        prop_assert!(model.owed.is_empty(), "lost: {:?}", model.owed);
        for key in model.running {
            scheduler.finish(&key, None, None);
        }
        prop_assert!(scheduler.slots.is_empty() && scheduler.waiting.is_empty());
    }
}
