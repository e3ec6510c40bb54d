#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures::{Stream, StreamExt as _, stream};
use parking_lot::Mutex;
use proptest::prelude::*;
use rand::{SeedableRng as _, rngs::StdRng};
use tokio::time;

use super::{Backoff, Change, Changes, ListWatch, Listing, watcher};
use crate::{
    controller::{cache, reflect},
    watch::WatchEvent::{self, Apply, Delete, Init, InitApply, InitDone},
};

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("the source is away")]
    Away,
    #[error("the history does not reach back that far")]
    Trimmed,
}

/// A source with a whole history, of which `watch` reaches back to `kept`, and faults to come.
#[derive(Default)]
struct History {
    changes: Vec<(u8, Option<u32>)>,
    kept: usize,
    list_faults: usize,
    watch_faults: usize,
    /// After how many changes each coming stream breaks.
    breaks: VecDeque<usize>,
    lists: usize,
    watches: Vec<usize>,
}

impl History {
    fn objects(&self) -> BTreeMap<u8, (u8, u32)> {
        let mut objects = BTreeMap::new();
        for (key, value) in &self.changes {
            match value {
                Some(value) => objects.insert(*key, (*key, *value)),
                None => objects.remove(key),
            };
        }
        objects
    }
}

#[derive(Clone, Default)]
struct Source(Arc<Mutex<History>>);

impl ListWatch for Source {
    type Key = u8;
    type Object = (u8, u32);
    type Position = usize;
    type Error = Fault;

    async fn list(&self) -> Result<Listing<(u8, u32), usize>, Fault> {
        let mut history = self.0.lock();
        if history.list_faults > 0 {
            history.list_faults -= 1;
            return Err(Fault::Away);
        }
        history.lists += 1;
        let objects = history.objects().into_values().collect();
        Ok(Listing {
            objects,
            position: history.changes.len(),
        })
    }

    async fn watch(&self, after: usize) -> Result<Changes<Self>, Fault> {
        let mut history = self.0.lock();
        history.watches.push(after);
        if history.watch_faults > 0 {
            history.watch_faults -= 1;
            return Err(Fault::Away);
        }
        if after < history.kept {
            return Err(Fault::Trimmed);
        }
        let broken_after = history.breaks.pop_front();
        let state = (self.clone(), after, broken_after);
        Ok(stream::unfold(state, |(source, at, left)| async move {
            if left == Some(0) {
                return Some((Err(Fault::Away), (source, at, left)));
            }
            loop {
                let change = source.0.lock().changes.get(at).copied();
                let Some((key, value)) = change else {
                    time::sleep(Duration::from_millis(1)).await;
                    continue;
                };
                let change = Change {
                    key,
                    object: value.map(|value| (key, value)),
                    position: at + 1,
                };
                return Some((Ok(change), (source, at + 1, left.map(|left| left - 1))));
            }
        })
        .boxed())
    }

    fn must_list(&self, error: &Fault) -> bool {
        matches!(error, Fault::Trimmed)
    }
}

type Event = WatchEvent<(u8, u32), u8>;

fn watch(source: &Source) -> impl Stream<Item = Event> + Send + use<> {
    relisting(source, Duration::from_secs(3600))
}

fn relisting(source: &Source, relist: Duration) -> impl Stream<Item = Event> + Send + use<> {
    let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
    watcher(
        "test",
        source.clone(),
        backoff,
        relist,
        StdRng::seed_from_u64(1),
    )
}

async fn take(events: &mut (impl Stream<Item = Event> + Unpin), n: usize) -> Vec<Event> {
    time::timeout(Duration::from_secs(60), events.take(n).collect())
        .await
        .expect("as many events as asked for")
}

#[tokio::test(start_paused = true)]
async fn a_watch_is_a_list_and_then_the_changes_after_it() {
    let source = Source::default();
    source.0.lock().changes = vec![(1, Some(10)), (2, Some(20)), (2, None), (3, Some(30))];
    let mut events = Box::pin(watch(&source));
    assert_eq!(
        take(&mut events, 4).await,
        [Init, InitApply((1, 10)), InitApply((3, 30)), InitDone]
    );
    source.0.lock().changes.extend([(1, Some(11)), (3, None)]);
    assert_eq!(take(&mut events, 2).await, [Apply((1, 11)), Delete(3)]);
    assert_eq!(source.0.lock().lists, 1);
}

#[tokio::test(start_paused = true)]
async fn a_broken_watch_resumes_after_the_last_change_without_a_list() {
    let source = Source::default();
    source.0.lock().breaks = [2, 0, 1].into();
    let mut events = Box::pin(watch(&source));
    assert_eq!(take(&mut events, 2).await, [Init, InitDone]);
    source.0.lock().changes.extend((0..5).map(|n| (n, Some(0))));
    let all: Vec<_> = (0..5).map(|n| Apply((n, 0))).collect();
    assert_eq!(take(&mut events, 5).await, all);
    let history = source.0.lock();
    assert_eq!(
        (history.lists, &history.watches[..]),
        (1, &[0, 2, 2, 3][..])
    );
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_can_no_longer_resume_lists_again() {
    let source = Source::default();
    source.0.lock().breaks = [1].into();
    let mut events = Box::pin(watch(&source));
    assert_eq!(take(&mut events, 2).await, [Init, InitDone]);
    {
        let mut history = source.0.lock();
        history
            .changes
            .extend([(1, Some(1)), (2, Some(2)), (1, None)]);
        history.kept = 3;
    }
    assert_eq!(
        take(&mut events, 4).await,
        [Apply((1, 1)), Init, InitApply((2, 2)), InitDone]
    );
    source.0.lock().changes.push((4, Some(4)));
    assert_eq!(take(&mut events, 1).await, [Apply((4, 4))]);
}

#[tokio::test(start_paused = true)]
async fn a_failing_list_is_tried_again_and_says_nothing_meanwhile() {
    let source = Source::default();
    source.0.lock().list_faults = 5;
    source.0.lock().changes = vec![(1, Some(1))];
    let mut events = Box::pin(watch(&source));
    assert_eq!(
        take(&mut events, 3).await,
        [Init, InitApply((1, 1)), InitDone]
    );
}

#[tokio::test(start_paused = true)]
async fn a_list_that_could_not_be_followed_is_not_told() {
    let source = Source::default();
    source.0.lock().changes = vec![(1, Some(1))];
    source.0.lock().watch_faults = 2;
    let mut events = Box::pin(watch(&source));
    assert_eq!(
        take(&mut events, 3).await,
        [Init, InitApply((1, 1)), InitDone]
    );
    assert_eq!(source.0.lock().lists, 3, "each try listed, one was told");
}

#[derive(Debug, Clone)]
enum Step {
    Change(u8, Option<u32>),
    Break(usize),
    WatchFault,
    ListFault,
    Trim,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..5_u8, prop::option::weighted(0.7, any::<u32>())).prop_map(|(key, value)| Step::Change(key, value)),
        2 => (0..4_usize).prop_map(Step::Break),
        1 => Just(Step::WatchFault),
        1 => Just(Step::ListFault),
        1 => Just(Step::Trim),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever breaks on the way, the cache comes to hold what the source holds.
    #[test]
    fn law_1_a_cache_that_is_fed_comes_to_match_its_source(steps in prop::collection::vec(step(), 0..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let source = Source::default();
            let (writer, cache) = cache(|object: &(u8, u32)| object.0);
            let feed = tokio::spawn(reflect(writer, watch(&source)).for_each(|_| async {}));
            for step in steps {
                {
                    let mut history = source.0.lock();
                    match step {
                        Step::Change(key, value) => history.changes.push((key, value)),
                        Step::Break(after) => history.breaks.push_back(after),
                        Step::WatchFault => history.watch_faults += 1,
                        Step::ListFault => history.list_faults += 1,
                        Step::Trim => history.kept = history.changes.len(),
                    }
                }
                time::sleep(Duration::from_millis(7)).await;
            }
            let truth = source.0.lock().objects();
            let matches = cache.wait_until(|objects| {
                objects.iter().map(|(key, object)| (*key, **object)).eq(truth.iter().map(|(key, object)| (*key, *object)))
            });
            let found = time::timeout(Duration::from_secs(600), matches).await;
            feed.abort();
            prop_assert!(matches!(found, Ok(Ok(_))), "{:?} is not {truth:?}", cache.snapshot());
            Ok(())
        })?;
    }
}

#[tokio::test(start_paused = true)]
async fn law_1_a_change_that_is_never_told_is_known_by_the_next_list() {
    let source = Source::default();
    source.0.lock().changes = vec![(1, Some(10))];
    let mut events = Box::pin(relisting(&source, Duration::from_secs(2)));
    take(&mut events, 3).await;
    // The object is another one, and no change says so.
    source.0.lock().changes[0] = (1, Some(11));
    assert_eq!(
        take(&mut events, 3).await,
        [Init, InitApply((1, 11)), InitDone]
    );
    assert_eq!(source.0.lock().watches, [1], "the watch goes on meanwhile");
}
