//! Runs the passes: one per key at a time, a limited number at once, each in a task of its own.
//!
//! Owns the scheduler, the count of failures and the source of randomness; decides when a key is tried again. Only the
//! controller's loop uses it. Why a key was woken never reaches it.

use std::{any::Any, collections::BTreeMap, error::Error, sync::Arc, time::Duration};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use rand::Rng;
use tokio::{task::JoinError, time::Instant};
use tokio_util::task::AbortOnDropHandle;

use super::{
    Backoff, Observer, Outcome, Reconciler, Requeue, scheduler::Scheduler, trigger::later,
};

/// The passes of one controller: those that wait and those that run.
///
/// # Guarantees
///
/// - No two passes of one key overlap, and never more than the limit run at once.
/// - A pass that panics is a pass that failed; it takes nothing else with it.
/// - A key that failed is tried again after its back-off. A hint cuts that wait short, though not below the back-off's base, so
///   that the events which a failing pass itself causes cannot turn it into a busy loop. Only success forgets the failures.
/// - Dropping the runner aborts what runs.
pub(super) struct Runner<R: Reconciler> {
    reconciler: Arc<R>,
    scheduler: Scheduler<R::Key>,
    passes: FuturesUnordered<BoxFuture<'static, Ended<R>>>,
    /// Failures in a row, for the keys that have any.
    failures: BTreeMap<R::Key, u32>,
    settings: Settings<R::Key>,
}

/// What a controller was built with.
pub(super) struct Settings<K> {
    pub(super) concurrency: usize,
    pub(super) backoff: Backoff,
    pub(super) rng: Box<dyn Rng + Send>,
    pub(super) observer: Arc<dyn Observer<K>>,
}

/// A pass that ended.
struct Ended<R: Reconciler> {
    key: R::Key,
    began: Instant,
    result: Result<Result<Requeue, R::Error>, JoinError>,
}

impl<R: Reconciler> Runner<R> {
    pub(super) fn new(reconciler: Arc<R>, settings: Settings<R::Key>) -> Self {
        Self {
            reconciler,
            scheduler: Scheduler::new(),
            passes: FuturesUnordered::new(),
            failures: BTreeMap::new(),
            settings,
        }
    }

    /// Wants a pass for `key` at `at`.
    pub(super) fn schedule(&mut self, key: R::Key, at: Instant) {
        self.scheduler.schedule(key, at);
    }

    /// Starts what is due, as far as the limit allows.
    pub(super) fn start_due(&mut self) {
        while self.has_room() {
            let now = Instant::now();
            let Some((key, due)) = self.scheduler.take_due(now) else {
                return;
            };
            self.settings
                .observer
                .started(&key, now.saturating_duration_since(due));
            let reconciler = Arc::clone(&self.reconciler);
            let of = key.clone();
            let pass =
                AbortOnDropHandle::new(tokio::spawn(async move { reconciler.reconcile(of).await }));
            self.passes.push(
                pass.map(move |result| Ended {
                    key,
                    began: now,
                    result,
                })
                .boxed(),
            );
        }
    }

    /// When [`start_due`](Self::start_due) next has something to start, as far as that is a matter of time.
    pub(super) fn next_start(&self) -> Option<Instant> {
        self.scheduler.next_due().filter(|_| self.has_room())
    }

    /// Waits for one pass to end and settles it; for ever if none runs. Nothing is lost if the wait is dropped.
    pub(super) async fn settle_one(&mut self) {
        match self.passes.next().await {
            Some(ended) => self.settle(ended),
            None => std::future::pending().await,
        }
    }

    /// Waits for all that runs, and starts nothing.
    pub(super) async fn settle_all(&mut self) {
        while let Some(ended) = self.passes.next().await {
            self.settle(ended);
        }
    }

    fn has_room(&self) -> bool {
        self.passes.len() < self.settings.concurrency
    }

    fn settle(&mut self, ended: Ended<R>) {
        let Ended { key, began, result } = ended;
        let now = Instant::now();
        let outcome = match result {
            Ok(Ok(requeue)) => {
                self.failures.remove(&key);
                match requeue {
                    Requeue::Done => {
                        self.scheduler.finish(&key, None, None);
                        Outcome::Done
                    }
                    Requeue::After(after) => {
                        self.scheduler.finish(&key, Some(later(now, after)), None);
                        Outcome::Requeued { after }
                    }
                }
            }
            Ok(Err(error)) => {
                let (failures, retry_in) = self.back_off(&key, now);
                let error: &(dyn Error + 'static) = &error;
                tracing::warn!(?key, error, failures, ?retry_in, "pass failed");
                Outcome::Failed { failures, retry_in }
            }
            Err(join) => {
                let (failures, retry_in) = self.back_off(&key, now);
                let message = join
                    .try_into_panic()
                    .map_or_else(|_| "aborted".to_owned(), panic_message);
                tracing::error!(?key, message, failures, ?retry_in, "pass panicked");
                Outcome::Panicked { failures, retry_in }
            }
        };
        self.settings
            .observer
            .finished(&key, outcome, now.saturating_duration_since(began));
    }

    /// Counts a failure of `key` and schedules the next try; returns the failures in a row and the wait.
    fn back_off(&mut self, key: &R::Key, now: Instant) -> (u32, Duration) {
        let backoff = self.settings.backoff;
        let failures = self.failures.entry(key.clone()).or_insert(0);
        *failures = failures.saturating_add(1);
        let failures = *failures;
        let retry_in = backoff.delay(failures, &mut *self.settings.rng);
        let floor = later(now, retry_in.min(backoff.base()));
        self.scheduler
            .finish(key, Some(later(now, retry_in)), Some(floor));
        (failures, retry_in)
    }
}

/// What a panic said, where it said it in words.
fn panic_message(payload: Box<dyn Any + Send>) -> String {
    match payload.downcast::<String>() {
        Ok(message) => *message,
        Err(payload) => payload
            .downcast::<&'static str>()
            .map_or_else(|_| "no message".to_owned(), |s| (*s).to_owned()),
    }
}
