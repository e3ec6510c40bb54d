#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::{FutureExt as _, StreamExt as _, stream};
use proptest::prelude::*;
use tokio::{sync::mpsc, time::timeout};

use super::{Cache, CacheWriter, WriterGone, cache, reflect};
use crate::watch::WatchEvent::{self, Apply, Delete, Init, InitApply, InitDone};

#[path = "cache_waits_tests.rs"]
mod waits;

/// A name and what is known of it.
type Object = (&'static str, u8);

fn objects() -> (
    CacheWriter<&'static str, Object>,
    Cache<&'static str, Object>,
) {
    cache(|object: &Object| object.0)
}

/// Applies all events and returns the changed keys of the last.
fn apply(
    writer: &mut CacheWriter<&'static str, Object>,
    events: &[WatchEvent<Object, &'static str>],
) -> Vec<&'static str> {
    let mut changed = BTreeSet::new();
    for event in events {
        changed = writer.apply(event.clone());
    }
    changed.into_iter().collect()
}

fn content(cache: &Cache<&'static str, Object>) -> Vec<Object> {
    cache.snapshot().values().map(|object| **object).collect()
}

#[test]
fn an_applied_object_is_added() {
    let (mut writer, cache) = objects();
    assert_eq!(apply(&mut writer, &[Apply(("a", 1))]), ["a"]);
    assert_eq!(cache.get(&"a").as_deref(), Some(&("a", 1)));
    assert_eq!(cache.get(&"b"), None);
}

#[test]
fn an_object_applied_again_is_replaced() {
    let (mut writer, cache) = objects();
    assert_eq!(
        apply(&mut writer, &[Apply(("a", 1)), Apply(("a", 2))]),
        ["a"]
    );
    assert_eq!(content(&cache), [("a", 2)]);
}

#[test]
fn an_object_that_did_not_change_wakes_nobody() {
    let (mut writer, cache) = objects();
    apply(&mut writer, &[Apply(("a", 1))]);
    let before = cache.get(&"a").unwrap();
    assert_eq!(apply(&mut writer, &[Apply(("a", 1))]), [""; 0]);
    assert!(Arc::ptr_eq(&before, &cache.get(&"a").unwrap()));
}

#[test]
fn a_deleted_object_is_removed_once() {
    let (mut writer, cache) = objects();
    assert_eq!(apply(&mut writer, &[Apply(("a", 1)), Delete("a")]), ["a"]);
    assert_eq!(content(&cache), []);
    assert_eq!(apply(&mut writer, &[Delete("a")]), [""; 0]);
}

#[test]
fn a_list_replaces_all_at_its_end_and_names_what_changed() {
    let (mut writer, cache) = objects();
    apply(
        &mut writer,
        &[Apply(("gone", 1)), Apply(("same", 1)), Apply(("other", 1))],
    );
    let list = [
        Init,
        InitApply(("same", 1)),
        InitApply(("other", 2)),
        InitApply(("new", 1)),
    ];
    assert_eq!(apply(&mut writer, &list), [""; 0]);
    assert_eq!(
        content(&cache),
        [("gone", 1), ("other", 1), ("same", 1)],
        "a list under way shows nothing"
    );
    assert_eq!(apply(&mut writer, &[InitDone]), ["gone", "new", "other"]);
    assert_eq!(content(&cache), [("new", 1), ("other", 2), ("same", 1)]);
}

#[test]
fn an_empty_list_empties_the_cache() {
    let (mut writer, cache) = objects();
    assert_eq!(
        apply(&mut writer, &[Apply(("a", 1)), Init, InitDone]),
        ["a"]
    );
    assert_eq!(content(&cache), []);
}

#[test]
fn law_6_a_list_that_was_cut_off_takes_nothing_away() {
    let (mut writer, cache) = objects();
    apply(
        &mut writer,
        &[Init, InitApply(("a", 1)), InitApply(("b", 1)), InitDone],
    );
    apply(&mut writer, &[Init, InitApply(("a", 1))]);
    assert_eq!(content(&cache), [("a", 1), ("b", 1)]);
    apply(
        &mut writer,
        &[Init, InitApply(("b", 1)), InitApply(("c", 1)), InitDone],
    );
    assert_eq!(
        content(&cache),
        [("b", 1), ("c", 1)],
        "what the cut-off list said is void"
    );
}

#[test]
fn law_6_the_end_of_a_list_that_never_began_takes_nothing_away() {
    let (mut writer, cache) = objects();
    assert_eq!(apply(&mut writer, &[Apply(("a", 1)), InitDone]), [""; 0]);
    assert_eq!(content(&cache), [("a", 1)]);
    assert!(!cache.is_ready());
}

#[test]
fn an_object_of_a_list_that_never_began_is_only_added() {
    let (mut writer, cache) = objects();
    assert_eq!(
        apply(&mut writer, &[Apply(("a", 1)), InitApply(("b", 1))]),
        ["b"]
    );
    assert_eq!(content(&cache), [("a", 1), ("b", 1)]);
}

#[test]
fn changes_amid_a_list_are_seen_at_once_and_survive_its_end() {
    let (mut writer, cache) = objects();
    apply(
        &mut writer,
        &[
            Init,
            InitApply(("old", 1)),
            Apply(("new", 1)),
            Delete("old"),
        ],
    );
    assert_eq!(content(&cache), [("new", 1)]);
    apply(&mut writer, &[InitDone]);
    assert_eq!(content(&cache), [("new", 1)]);
}

#[test]
fn a_snapshot_never_changes() {
    let (mut writer, cache) = objects();
    apply(&mut writer, &[Apply(("a", 1))]);
    let before = cache.snapshot();
    apply(&mut writer, &[Apply(("b", 1)), Delete("a")]);
    assert_eq!(before.keys().copied().collect::<Vec<_>>(), ["a"]);
    assert_eq!(content(&cache), [("b", 1)]);
}

#[tokio::test]
async fn reflecting_yields_the_keys_that_changed_after_the_cache_shows_it() {
    let (writer, cache) = objects();
    let (events, source) = mpsc::unbounded_channel();
    let mut keys = Box::pin(reflect(writer, tokio_stream_of(source)));
    for event in [
        Init,
        InitApply(("a", 1)),
        InitApply(("b", 1)),
        InitDone,
        Apply(("a", 1)),
        Apply(("a", 2)),
    ] {
        events.send(event).unwrap();
    }
    assert_eq!(keys.next().await, Some("a"));
    assert_eq!(content(&cache), [("a", 1), ("b", 1)]);
    assert_eq!(keys.next().await, Some("b"));
    assert_eq!(keys.next().await, Some("a"));
    assert_eq!(content(&cache), [("a", 2), ("b", 1)]);
    drop(events);
    assert_eq!(keys.next().await, None);
}

fn tokio_stream_of<T>(source: mpsc::UnboundedReceiver<T>) -> impl futures::Stream<Item = T> {
    stream::unfold(source, |mut source| async move {
        source.recv().await.map(|item| (item, source))
    })
}

fn event() -> impl Strategy<Value = WatchEvent<(u8, u8), u8>> {
    let object = || (0..5_u8, 0..3_u8);
    prop_oneof![
        1 => Just(Init),
        3 => object().prop_map(InitApply),
        1 => Just(InitDone),
        3 => object().prop_map(Apply),
        2 => (0..5_u8).prop_map(Delete),
    ]
}

proptest! {
    /// Whoever keeps a copy and looks again only at the keys named has the same copy as the cache.
    #[test]
    fn the_keys_named_are_exactly_those_that_changed(events in prop::collection::vec(event(), 0..100)) {
        let (mut writer, cache) = cache(|object: &(u8, u8)| object.0);
        let mut copy: BTreeMap<u8, (u8, u8)> = BTreeMap::new();
        for event in events {
            for key in writer.apply(event) {
                let seen = cache.get(&key).map(|object| *object);
                prop_assert_ne!(copy.get(&key).copied(), seen, "named, and yet the same");
                match seen {
                    Some(object) => copy.insert(key, object),
                    None => copy.remove(&key),
                };
            }
            let known: BTreeMap<_, _> = cache.snapshot().iter().map(|(key, object)| (*key, **object)).collect();
            prop_assert_eq!(&copy, &known);
        }
    }
}
