//! The cache: the last known state of a watched source, for many readers.
//!
//! One writer applies the watch's events, any number of readers take snapshots. Holds only what was said: it asks nobody,
//! and whether what it holds is still true is its readers' question. The glue feeds it from a port's watch and reads it
//! in passes; the API may wait on it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, mem,
    sync::Arc,
};

use futures::{Stream, StreamExt as _, stream};
use tokio::sync::watch;

use crate::watch::WatchEvent;

/// All objects of one moment, by key. Never changes; a later moment is another snapshot.
pub type Snapshot<K, V> = Arc<BTreeMap<K, Arc<V>>>;

/// The writing half is gone: what was waited for can no longer come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the source that feeds this cache has ended")]
pub struct WriterGone;

/// The reading half. Cheap to clone.
///
/// # Guarantees
///
/// - A snapshot is one moment: a relist shows itself whole or not at all.
/// - What was known stays readable while the source is away, and after it has ended.
///
/// # Assumptions
///
/// It may be behind the truth. Who must not act on a stale view checks at the act (by id, by version).
pub struct Cache<K, V> {
    state: watch::Receiver<State<K, V>>,
}

struct State<K, V> {
    objects: Snapshot<K, V>,
    ready: bool,
}

impl<K: Ord, V> Cache<K, V> {
    /// The object of `key`, if it was known when asked.
    pub fn get(&self, key: &K) -> Option<Arc<V>> {
        self.state.borrow().objects.get(key).cloned()
    }

    /// All objects of this moment.
    pub fn snapshot(&self) -> Snapshot<K, V> {
        Arc::clone(&self.state.borrow().objects)
    }

    /// Whether a list was ever completed. Before that, an object that is not here may well exist.
    pub fn is_ready(&self) -> bool {
        self.state.borrow().ready
    }

    /// Waits until a first list is complete.
    ///
    /// # Errors
    ///
    /// [`WriterGone`] if the writer was dropped before.
    pub async fn wait_until_ready(&self) -> Result<(), WriterGone> {
        let mut state = self.state.clone();
        state
            .wait_for(|state| state.ready)
            .await
            .map(|_| ())
            .map_err(|_| WriterGone)
    }

    /// Waits until the cache is ready and `holds` of its objects; returns the snapshot of which it does.
    ///
    /// States may be skipped when they follow each other fast; the last one is always looked at.
    ///
    /// # Errors
    ///
    /// [`WriterGone`] if the writer was dropped before.
    pub async fn wait_until(
        &self,
        mut holds: impl FnMut(&BTreeMap<K, Arc<V>>) -> bool,
    ) -> Result<Snapshot<K, V>, WriterGone> {
        let mut state = self.state.clone();
        let found = state
            .wait_for(|state| state.ready && holds(&state.objects))
            .await;
        found
            .map(|state| Arc::clone(&state.objects))
            .map_err(|_| WriterGone)
    }
}

impl<K, V> Clone for Cache<K, V> {
    fn clone(&self) -> Self {
        Self {
            state: self.state.clone(),
        }
    }
}

impl<K, V> fmt::Debug for Cache<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").finish_non_exhaustive()
    }
}

/// The writing half. There is one, since a relist replaces all.
pub struct CacheWriter<K, V> {
    state: watch::Sender<State<K, V>>,
    key: Box<dyn Fn(&V) -> K + Send>,
    /// What the list under way has said so far.
    list: Option<BTreeMap<K, Arc<V>>>,
}

/// An empty cache whose objects are told apart by `key`.
pub fn cache<K: Ord + Clone, V>(
    key: impl Fn(&V) -> K + Send + 'static,
) -> (CacheWriter<K, V>, Cache<K, V>) {
    let state = State {
        objects: Arc::new(BTreeMap::new()),
        ready: false,
    };
    let (sender, receiver) = watch::channel(state);
    (
        CacheWriter {
            state: sender,
            key: Box::new(key),
            list: None,
        },
        Cache { state: receiver },
    )
}

impl<K: Ord + Clone, V: PartialEq> CacheWriter<K, V> {
    /// Applies one event and returns the keys whose object appeared, changed or went.
    ///
    /// A list takes effect at its `InitDone`; until then readers see what was known before. An `InitDone` without its `Init` is
    /// no list and takes nothing away.
    pub fn apply(&mut self, event: WatchEvent<V, K>) -> BTreeSet<K> {
        match event {
            WatchEvent::Init => {
                self.list = Some(BTreeMap::new());
                BTreeSet::new()
            }
            WatchEvent::InitApply(object) => match &mut self.list {
                Some(list) => {
                    list.insert((self.key)(&object), Arc::new(object));
                    BTreeSet::new()
                }
                None => self.put(object),
            },
            WatchEvent::InitDone => match self.list.take() {
                Some(list) => self.replace(list),
                None => BTreeSet::new(),
            },
            WatchEvent::Apply(object) => self.put(object),
            WatchEvent::Delete(key) => self.remove(key),
        }
    }

    fn put(&mut self, object: V) -> BTreeSet<K> {
        let (key, object) = ((self.key)(&object), Arc::new(object));
        if let Some(list) = &mut self.list {
            list.insert(key.clone(), Arc::clone(&object));
        }
        let changed = self.state.send_if_modified(|state| {
            if state.objects.get(&key) == Some(&object) {
                return false;
            }
            Arc::make_mut(&mut state.objects).insert(key.clone(), object);
            true
        });
        changed.then_some(key).into_iter().collect()
    }

    fn remove(&mut self, key: K) -> BTreeSet<K> {
        if let Some(list) = &mut self.list {
            list.remove(&key);
        }
        let changed = self.state.send_if_modified(|state| {
            state.objects.contains_key(&key)
                && Arc::make_mut(&mut state.objects).remove(&key).is_some()
        });
        changed.then_some(key).into_iter().collect()
    }

    fn replace(&mut self, list: BTreeMap<K, Arc<V>>) -> BTreeSet<K> {
        let mut changed = BTreeSet::new();
        self.state.send_if_modified(|state| {
            let gone = state.objects.keys().filter(|key| !list.contains_key(key));
            let new = list
                .iter()
                .filter(|(key, object)| state.objects.get(key) != Some(object));
            changed = gone.chain(new.map(|(key, _)| key)).cloned().collect();
            if !changed.is_empty() {
                state.objects = Arc::new(list);
            }
            !mem::replace(&mut state.ready, true) || !changed.is_empty()
        });
        changed
    }
}

impl<K, V> fmt::Debug for CacheWriter<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheWriter").finish_non_exhaustive()
    }
}

/// Feeds `events` to a cache and yields the keys that changed, after the cache shows the change. Polling it drives the cache;
/// it is a source of wake-ups for a [`Controller`](super::Controller). Ends with `events`, and the writer with it.
pub fn reflect<K, V, S>(writer: CacheWriter<K, V>, events: S) -> impl Stream<Item = K>
where
    K: Ord + Clone,
    V: PartialEq,
    S: Stream<Item = WatchEvent<V, K>>,
{
    let changes = events.scan(writer, |writer, event| {
        std::future::ready(Some(writer.apply(event)))
    });
    changes.flat_map(stream::iter)
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
