//! The generic controller: wakes keys, runs one pass per key at a time, tries again what failed.
//!
//! Knows no agent, Docker or Redis; `reconcile` is its user. The parts, each in its file:
//!
//! ```text
//! list and watch ─► watcher ─► cache ──changed──┐
//! any stream of keys ───────────────────────────┤
//! resync (slow, all keys) ──────────────────────┼─► trigger ─► scheduler ─► runner ─► Reconciler
//! anybody with a Trigger ───────────────────────┘      ▲  requeue, back-off  │
//!                                                      └─────────────────────┘
//! ```
//!
//! Events are hints and the list is the truth: a wake-up carries a key and no reason, many wake-ups of a key are one, and a
//! pass looks at the world afresh.

mod backoff;
mod cache;
mod observer;
mod resubscribe;
mod runner;
mod scheduler;
mod source;
mod trigger;
mod watcher;

use std::{error::Error, fmt::Debug, future::Future, sync::Arc, time::Duration};

use futures::{FutureExt as _, Stream, future::BoxFuture};
use rand::Rng;
use tokio::time::{self, Instant};
use tokio_util::sync::CancellationToken;

pub use self::{
    backoff::Backoff,
    cache::{Cache, CacheWriter, Snapshot, WriterGone, cache, reflect},
    observer::{Observer, Outcome},
    resubscribe::resubscribe,
    trigger::Trigger,
    watcher::{Change, Changes, ListWatch, Listing, watcher},
};
use self::{
    runner::{Runner, Settings},
    source::Source,
};

/// What a successful pass wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requeue {
    /// Nothing, until the key is woken.
    Done,
    /// Another pass this long after the end of this one, or earlier if the key is woken.
    After(Duration),
}

/// Makes the world match for one key.
pub trait Reconciler: Send + Sync + 'static {
    /// Names what a pass is about. Appears in logs, so it holds no secret.
    type Key: Ord + Clone + Debug + Send + Sync + 'static;
    /// Why a pass failed. Is logged with its sources.
    type Error: Error + Send + 'static;

    /// One pass for `key`. Not told why it was woken: it looks at the world and does what is to be done.
    ///
    /// # Assumptions
    ///
    /// No other pass for `key` runs in this process. Others keys' passes do. May be called for a key that no longer exists. Ends
    /// by itself: each call it makes has a deadline. May be aborted at any await, when the controller is dropped.
    ///
    /// # Errors
    ///
    /// Any error, and a panic, means another pass after a back-off of this key's own.
    fn reconcile(
        &self,
        key: Self::Key,
    ) -> impl Future<Output = Result<Requeue, Self::Error>> + Send;
}

/// The controller could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// What [`Controller::ready_when`] waits for failed, so no pass was ever made.
    #[error("the controller never became ready")]
    NeverReady(#[source] Box<dyn Error + Send + Sync>),
}

/// Wakes a [`Reconciler`] with keys. Built, given its sources, then [run](Self::run).
///
/// # Guarantees
///
/// - Passes of one key never overlap; at most [`concurrency`](Self::concurrency) passes run at once.
/// - After a wake-up of a key, a pass for it begins. One that runs already does not count.
/// - A key that waits, however long, does not hold up another. Keys that are due are served in the order of their times.
/// - A failing or panicking pass is tried again with back-off, and harms no other key.
/// - Memory is bounded by the number of keys that wait, run or have failed last.
///
/// # Example
///
/// ```
/// use std::{convert::Infallible, time::Duration};
///
/// use agentainer::controller::{Controller, Reconciler, Requeue, cache, reflect};
/// use agentainer::watch::WatchEvent::{Apply, Init, InitDone};
/// use futures::stream;
/// use rand::{SeedableRng as _, rngs::StdRng};
/// use tokio_util::sync::CancellationToken;
///
/// struct Stop(CancellationToken);
///
/// impl Reconciler for Stop {
///     type Key = String;
///     type Error = Infallible;
///
///     async fn reconcile(&self, key: String) -> Result<Requeue, Infallible> {
///         assert_eq!(key, "gateway");
///         self.0.cancel();
///         Ok(Requeue::After(Duration::from_secs(30)))
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let (writer, objects) = cache(|name: &String| name.clone());
/// let events = stream::iter([Init, InitDone, Apply("gateway".to_owned())]);
/// let (known, ready) = (objects.clone(), objects.clone());
/// let shutdown = CancellationToken::new();
/// Controller::new(Stop(shutdown.clone()), StdRng::seed_from_u64(7))
///     .concurrency(8)
///     .trigger("store", reflect(writer, events))
///     .resync(Duration::from_secs(60), move || known.snapshot().keys().cloned().collect::<Vec<_>>())
///     .ready_when(async move { ready.wait_until_ready().await })
///     .run(shutdown)
///     .await
///     .unwrap();
/// assert!(objects.get(&"gateway".to_owned()).is_some());
/// # });
/// ```
///
/// # Assumptions
///
/// Runs on a tokio runtime with time. Given the seed, on a single thread and with paused time, a run can be repeated exactly.
pub struct Controller<R: Reconciler> {
    reconciler: Arc<R>,
    trigger: Trigger<R::Key>,
    sources: Vec<Source>,
    settings: Settings<R::Key>,
    ready: BoxFuture<'static, Result<(), Box<dyn Error + Send + Sync>>>,
}

impl<R: Reconciler> Controller<R> {
    /// A controller with no source but its [`handle`](Self::handle), one pass at a time and the default back-off. `rng` gives
    /// the jitter.
    pub fn new(reconciler: R, rng: impl Rng + Send + 'static) -> Self {
        Self {
            reconciler: Arc::new(reconciler),
            trigger: Trigger::new(),
            sources: Vec::new(),
            settings: Settings {
                concurrency: 1,
                backoff: Backoff::default(),
                rng: Box::new(rng),
                observer: Arc::new(()),
            },
            ready: std::future::ready(Ok(())).boxed(),
        }
    }

    /// Wakes every key that `keys` yields, from the start of the run on; any number of times. The stream is polled in a task of
    /// its own. When it ends or panics, that is logged under `name` and the controller goes on without it.
    #[must_use]
    pub fn trigger(
        mut self,
        name: &'static str,
        keys: impl Stream<Item = R::Key> + Send + 'static,
    ) -> Self {
        self.sources
            .push(Source::stream(name, keys, self.trigger.clone()));
        self
    }

    /// Wakes all of `keys` every `interval`, the first time after one interval. They are spread over the interval, so that a
    /// resync never stands in front of a hint; each key has its pass within two intervals.
    #[must_use]
    pub fn resync<I>(mut self, interval: Duration, keys: impl Fn() -> I + Send + 'static) -> Self
    where
        I: IntoIterator<Item = R::Key>,
    {
        self.sources
            .push(Source::resync(interval, keys, self.trigger.clone()));
        self
    }

    /// How many passes may run at once; none counts as one.
    #[must_use]
    pub fn concurrency(mut self, passes: usize) -> Self {
        self.settings.concurrency = passes.max(1);
        self
    }

    /// The wait after failures in a row of one key.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.settings.backoff = backoff;
        self
    }

    /// Lets a key that is woken for *now* wait this long, so that a burst of hints is one pass. The first of a burst sets the
    /// time, so that a steady flow delays no pass further. Zero unless set.
    #[must_use]
    pub fn gather(self, window: Duration) -> Self {
        self.trigger.set_gather(window);
        self
    }

    /// Is told of each pass.
    #[must_use]
    pub fn observer(mut self, observer: impl Observer<R::Key>) -> Self {
        self.settings.observer = Arc::new(observer);
        self
    }

    /// Starts no pass before `ready` is, so that none looks at a cache that was never filled. Sources run meanwhile, and what
    /// they wake is kept. Given twice, both are waited for.
    #[must_use]
    pub fn ready_when<E>(
        mut self,
        ready: impl Future<Output = Result<(), E>> + Send + 'static,
    ) -> Self
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let before = self.ready;
        let both = async move {
            before.await?;
            ready.await.map_err(Into::into)
        };
        self.ready = both.boxed();
        self
    }

    /// A handle that wakes keys. May be used before the run; what is woken then is kept.
    pub fn handle(&self) -> Trigger<R::Key> {
        self.trigger.clone()
    }

    /// Runs until `shutdown` is cancelled, then starts no more passes, ends the sources, waits for the passes that run and
    /// returns. The caller bounds that wait: dropping this future aborts them.
    ///
    /// # Errors
    ///
    /// [`RunError::NeverReady`] as soon as what it should wait for has failed.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), RunError> {
        let Self {
            reconciler,
            trigger,
            sources,
            settings,
            ready,
        } = self;
        let sources: Vec<_> = sources.into_iter().map(Source::spawn).collect();
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            readiness = ready => readiness.map_err(RunError::NeverReady)?,
        }
        let mut runner = Runner::new(reconciler, settings);
        while !shutdown.is_cancelled() {
            for (key, at) in trigger.take() {
                runner.schedule(key, at);
            }
            runner.start_due();
            let next_start = runner.next_start();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => {}
                () = runner.settle_one() => {}
                () = trigger.arrived() => {}
                () = sleep_until(next_start) => {}
            }
        }
        drop(sources);
        runner.settle_all().await;
        Ok(())
    }
}

/// Sleeps until `at`, for ever if there is no such time. May return early, after a day, which keeps far times within the timer's
/// range; the caller looks again.
async fn sleep_until(at: Option<Instant>) {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    match at {
        Some(at) => time::sleep(at.saturating_duration_since(Instant::now()).min(DAY)).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
#[path = "controller_tests.rs"]
mod tests;
