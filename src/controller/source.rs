//! Where wake-ups come from: streams of keys, and the slow resync.
//!
//! Each source is a task of its own that only touches a [`Trigger`], so that a source which floods, ends or panics takes
//! nothing from the passes or the other sources. The controller starts them and ends them with itself.

use std::{future::Future, panic::AssertUnwindSafe, pin::pin, time::Duration};

use futures::{FutureExt as _, Stream, StreamExt as _, future::BoxFuture};
use tokio::time::{self, Instant, MissedTickBehavior};
use tokio_util::task::AbortOnDropHandle;

use super::trigger::{Trigger, later};

/// A source that does not run yet.
pub(super) struct Source {
    name: &'static str,
    work: BoxFuture<'static, ()>,
}

impl Source {
    /// Wakes each key of `keys`. `name` is for the log.
    pub(super) fn stream<K, S>(name: &'static str, keys: S, trigger: Trigger<K>) -> Self
    where
        K: Ord + Send + 'static,
        S: Stream<Item = K> + Send + 'static,
    {
        let work = async move {
            let mut keys = pin!(keys);
            while let Some(key) = keys.next().await {
                trigger.wake(key);
                tokio::task::consume_budget().await;
            }
        };
        Self {
            name,
            work: work.boxed(),
        }
    }

    /// Every `interval`, wakes all of `keys`, spread evenly over the interval.
    pub(super) fn resync<K, F, I>(interval: Duration, keys: F, trigger: Trigger<K>) -> Self
    where
        K: Ord + Send + 'static,
        F: Fn() -> I + Send + 'static,
        I: IntoIterator<Item = K>,
    {
        let interval = interval.max(Duration::from_millis(1));
        let work = async move {
            let mut ticks = time::interval_at(later(Instant::now(), interval), interval);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                let now = ticks.tick().await;
                let keys: Vec<K> = keys().into_iter().collect();
                let step = interval / u32::try_from(keys.len()).unwrap_or(u32::MAX).max(1);
                let mut at = now;
                for key in keys {
                    trigger.wake_at(key, at);
                    at = later(at, step);
                }
            }
        };
        Self {
            name: "resync",
            work: work.boxed(),
        }
    }

    /// Starts it; dropping the handle ends it.
    pub(super) fn spawn(self) -> AbortOnDropHandle<()> {
        AbortOnDropHandle::new(tokio::spawn(report(self.name, self.work)))
    }
}

async fn report(source: &'static str, work: impl Future<Output = ()>) {
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(()) => tracing::info!(source, "source of wake-ups ended"),
        Err(_) => tracing::error!(
            source,
            "source of wake-ups panicked and is gone; the resync remains"
        ),
    }
}
