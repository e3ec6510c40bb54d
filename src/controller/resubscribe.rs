//! Makes a subscription that breaks now and then into one that goes on for ever.
//!
//! The glue wraps a port's events in it, so that an outage is a silence and not an end (law 6). Decides only when to
//! subscribe again; what was missed meanwhile is its reader's question.

use std::{error::Error, future::Future, pin::Pin, time::Duration};

use futures::{Stream, StreamExt as _, stream};
use rand::Rng;
use tokio::time::{self, Instant};

use super::Backoff;

/// Yields what the streams that `open` makes yield, one after the other, without their errors and without an end.
/// `name` is for the log.
///
/// # Guarantees
///
/// - After an error, and after a stream's end, the stream is dropped and `open` is called again, after a back-off.
/// - Failures count as in a row until things have gone well for twice the back-off's maximum.
///
/// # Assumptions
///
/// What happens between two subscriptions is missed. Where that matters, what `open` makes begins by saying so: with a
/// list, or with a wake-up of all keys.
pub fn resubscribe<T, E, S, F, Fut, R>(
    name: &'static str,
    backoff: Backoff,
    rng: R,
    open: F,
) -> impl Stream<Item = T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<S, E>>,
    S: Stream<Item = Result<T, E>>,
    E: Error + 'static,
    R: Rng,
{
    let start = Subscription {
        name,
        backoff,
        rng,
        open,
        stream: None,
        failures: 0,
        failed_at: None,
    };
    stream::unfold(start, |mut subscription| async move {
        let item = subscription.next().await;
        Some((item, subscription))
    })
}

struct Subscription<S, F, R> {
    name: &'static str,
    backoff: Backoff,
    rng: R,
    open: F,
    stream: Option<Pin<Box<S>>>,
    failures: u32,
    failed_at: Option<Instant>,
}

impl<T, E, S, F, Fut, R> Subscription<S, F, R>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<S, E>>,
    S: Stream<Item = Result<T, E>>,
    E: Error + 'static,
    R: Rng,
{
    async fn next(&mut self) -> T {
        loop {
            let failed = match &mut self.stream {
                None => match (self.open)().await {
                    Ok(stream) => {
                        self.stream = Some(Box::pin(stream));
                        continue;
                    }
                    Err(error) => Some(error),
                },
                Some(stream) => match stream.next().await {
                    Some(Ok(item)) => return item,
                    Some(Err(error)) => Some(error),
                    None => None,
                },
            };
            self.stream = None;
            let retry_in = self.fail();
            let (source, failures) = (self.name, self.failures);
            match &failed {
                Some(error) => {
                    let error: &(dyn Error + 'static) = error;
                    tracing::warn!(source, error, failures, ?retry_in, "subscription failed");
                }
                None => tracing::warn!(source, failures, ?retry_in, "subscription ended"),
            }
            time::sleep(retry_in).await;
        }
    }

    /// Counts a failure; returns the wait.
    fn fail(&mut self) -> Duration {
        let now = Instant::now();
        let calm = self.backoff.max().saturating_mul(2);
        if self
            .failed_at
            .is_some_and(|at| now.saturating_duration_since(at) > calm)
        {
            self.failures = 0;
        }
        self.failed_at = Some(now);
        self.failures = self.failures.saturating_add(1);
        self.backoff.delay(self.failures, &mut self.rng)
    }
}

#[cfg(test)]
#[path = "resubscribe_tests.rs"]
mod tests;
