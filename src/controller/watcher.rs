//! Makes a list and a stream of changes from a position into one watch that never ends.
//!
//! Knows when to list and when to resume; the [`ListWatch`] it is given knows how. The glue implements that over a port and
//! feeds the result to a cache.

use std::{error::Error, future::Future, sync::Arc, time::Duration};

use futures::{
    Stream, StreamExt as _,
    stream::{self, BoxStream},
};
use parking_lot::Mutex;
use rand::Rng;
use tokio::time;

use super::{Backoff, resubscribe};
use crate::watch::WatchEvent;

/// One change of a watched source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change<K, V, P> {
    /// Of which object.
    pub key: K,
    /// The object after the change; none when it is gone.
    pub object: Option<V>,
    /// Watching from here yields what comes after this change.
    pub position: P,
}

/// All objects at one position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing<V, P> {
    /// The objects, in no order that matters.
    pub objects: Vec<V>,
    /// Watching from here yields every change that the list does not show. May yield some that it does.
    pub position: P,
}

/// Changes until an error, or an end.
pub type Changes<W> = BoxStream<
    'static,
    Result<
        Change<<W as ListWatch>::Key, <W as ListWatch>::Object, <W as ListWatch>::Position>,
        <W as ListWatch>::Error,
    >,
>;

/// A source that can be listed, and watched from a position.
pub trait ListWatch: Sized + Send + Sync + 'static {
    /// Tells the objects apart.
    type Key: Send + 'static;
    /// What is watched.
    type Object: Send + 'static;
    /// A place in the source's history.
    type Position: Clone + Send + 'static;
    /// Why it failed. Is logged with its sources.
    type Error: Error + Send + 'static;

    /// All objects, and the position to watch from.
    ///
    /// # Errors
    ///
    /// Any error means another try after a back-off.
    fn list(
        &self,
    ) -> impl Future<Output = Result<Listing<Self::Object, Self::Position>, Self::Error>> + Send;

    /// The changes after a position, in order.
    ///
    /// # Errors
    ///
    /// Any error, here or in the stream, means another try after a back-off: from the position of the last change, or with a
    /// list if the error [says so](Self::must_list).
    fn watch(
        &self,
        after: Self::Position,
    ) -> impl Future<Output = Result<Changes<Self>, Self::Error>> + Send;

    /// Whether the history no longer reaches back to the position, so that only a new list helps.
    fn must_list(&self, error: &Self::Error) -> bool;
}

/// Watches `source` for ever. `name` is for the log.
///
/// # Guarantees
///
/// - Begins with a list. A list is said whole and only once it can be followed: from `Init` to `InitDone` without a pause.
/// - After an error it resumes from the last change it told, without a list; if the history does not reach back that far, it
///   lists anew. Either way nothing stays unknown.
/// - An outage is a silence: no object is deleted because the source could not be asked.
/// - Every `relist` it lists once more, so that even a change that the source failed to tell is known in the end.
pub fn watcher<W: ListWatch>(
    name: &'static str,
    source: W,
    backoff: Backoff,
    relist: Duration,
    rng: impl Rng + Send + 'static,
) -> impl Stream<Item = WatchEvent<W::Object, W::Key>> + Send {
    let source = Arc::new(source);
    // The position of the last event that was told; none: a list is due.
    let told: Arc<Mutex<Option<W::Position>>> = Arc::new(Mutex::new(None));
    resubscribe(name, backoff, rng, move || {
        subscribe(Arc::clone(&source), Arc::clone(&told), relist)
    })
}

/// What to tell, and the position to remember with it.
type Told<W> = (
    WatchEvent<<W as ListWatch>::Object, <W as ListWatch>::Key>,
    Option<<W as ListWatch>::Position>,
);

async fn subscribe<W: ListWatch>(
    source: Arc<W>,
    told: Arc<Mutex<Option<W::Position>>>,
    relist: Duration,
) -> Result<impl Stream<Item = Result<WatchEvent<W::Object, W::Key>, W::Error>> + Send, W::Error> {
    let resume_from = told.lock().clone();
    let (objects, position) = match resume_from {
        Some(position) => (None, position),
        None => {
            let Listing { objects, position } = source.list().await?;
            (Some(objects), position)
        }
    };
    let changes = source.watch(position.clone()).await.inspect_err(|error| {
        if source.must_list(error) {
            *told.lock() = None;
        }
    })?;
    let list =
        stream::iter(objects).flat_map(move |objects| initial::<W>(objects, position.clone()));
    let changes = changes.map(|change| {
        let Change {
            key,
            object,
            position,
        } = change?;
        let event = object.map_or_else(|| WatchEvent::Delete(key), WatchEvent::Apply);
        Ok((event, Some(position)))
    });
    let changes = changes.map(|change| Some(vec![change]));
    let lists = lists(Arc::clone(&source), relist).map(Some);
    // Over with the changes.
    let both = stream::select(changes.chain(stream::iter([None])), lists)
        .take_while(|told| std::future::ready(told.is_some()))
        .flat_map(|told| stream::iter(told.into_iter().flatten()));
    Ok(list
        .map(Ok)
        .chain(both)
        .map(move |item: Result<Told<W>, W::Error>| match item {
            Ok((event, position)) => {
                if position.is_some() {
                    *told.lock() = position;
                }
                Ok(event)
            }
            Err(error) => {
                if source.must_list(&error) {
                    *told.lock() = None;
                }
                Err(error)
            }
        }))
}

/// A list every so often, each whole. One that fails is left out: the changes go on, and the next one comes.
fn lists<W: ListWatch>(
    source: Arc<W>,
    every: Duration,
) -> impl Stream<Item = Vec<Result<Told<W>, W::Error>>> + Send {
    stream::unfold(source, move |source| async move {
        time::sleep(every).await;
        let events = match source.list().await {
            Ok(Listing { objects, position }) => {
                let list: Vec<_> = initial::<W>(objects, position).map(Ok).collect().await;
                list
            }
            Err(_) => Vec::new(),
        };
        Some((events, source))
    })
}

/// A list as events; its position counts once all of it was told.
fn initial<W: ListWatch>(
    objects: Vec<W::Object>,
    position: W::Position,
) -> impl Stream<Item = Told<W>> + Send {
    let begin = stream::iter([(WatchEvent::Init, None)]);
    let objects = stream::iter(objects).map(|object| (WatchEvent::InitApply(object), None));
    begin
        .chain(objects)
        .chain(stream::iter([(WatchEvent::InitDone, Some(position))]))
}

#[cfg(test)]
#[path = "watcher_tests.rs"]
mod tests;
