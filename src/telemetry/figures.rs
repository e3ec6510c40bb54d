//! What is counted while it happens: atomics alone, so that counting costs a request next to nothing and never waits.
//!
//! Names of metrics are [`exposition`](super::exposition)'s. A figure only ever goes up, but for how many wait.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

/// Upper ends of a histogram's buckets, in seconds: an agent answers in a millisecond or takes minutes.
pub const BUCKETS: [f64; 18] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
    120.0, 300.0, 600.0,
];

/// How a callback's call may end.
pub const CALL_ENDS: [&str; 3] = ["done", "again", "given-up"];

/// What calls of callbacks came to.
#[derive(Debug, Default)]
pub struct CallFigures([AtomicU64; CALL_ENDS.len()]);

impl CallFigures {
    /// One ended; `end` is the place among [`CALL_ENDS`].
    pub fn count(&self, end: usize) {
        if let Some(ended) = self.0.get(end) {
            ended.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// In the order of [`CALL_ENDS`].
    pub fn read(&self) -> [u64; CALL_ENDS.len()] {
        self.0.each_ref().map(|ended| ended.load(Ordering::Relaxed))
    }
}

/// The lowest status that HTTP knows (RFC 9110 §15).
const LOWEST: u16 = 100;
/// Statuses of one class.
const CLASS: u16 = 100;

/// How long things took.
#[derive(Debug, Default)]
pub struct Histogram {
    /// One more than there are [`BUCKETS`]: what is above them all.
    buckets: [AtomicU64; BUCKETS.len() + 1],
    micros: AtomicU64,
}

impl Histogram {
    /// Counts one that took so long.
    pub fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let place = BUCKETS.partition_point(|end| *end < seconds);
        if let Some(bucket) = self.buckets.get(place) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// The sum in seconds, and how many there are in each bucket alone, the last above all ends.
    pub fn read(&self) -> (f64, [u64; BUCKETS.len() + 1]) {
        let counts = std::array::from_fn(|place| self.buckets.get(place).map_or(0, read));
        (
            Duration::from_micros(read(&self.micros)).as_secs_f64(),
            counts,
        )
    }
}

fn read(figure: &AtomicU64) -> u64 {
    figure.load(Ordering::Relaxed)
}

/// Answers by their exact status. A class that never occurs takes no room.
#[derive(Debug, Default)]
struct Codes([OnceLock<Box<[AtomicU64; CLASS as usize]>>; 5]);

impl Codes {
    fn count(&self, code: u16) {
        let Some(above) = code.checked_sub(LOWEST) else {
            return;
        };
        let class = self.0.get(usize::from(above / CLASS));
        let made = class.map(|class| {
            class.get_or_init(|| Box::new(std::array::from_fn(|_| AtomicU64::new(0))))
        });
        if let Some(figure) = made.and_then(|made| made.get(usize::from(above % CLASS))) {
            figure.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn read(&self) -> Vec<(u16, u64)> {
        let classes = (LOWEST..).step_by(usize::from(CLASS)).zip(&self.0);
        let made = classes.filter_map(|(first, class)| Some((first..).zip(class.get()?.iter())));
        let all = made.flatten().map(|(code, figure)| (code, read(figure)));
        all.filter(|(_, count)| *count > 0).collect()
    }
}

/// What the proxy counts for one agent. Kept with its route, so that it goes when the agent does.
#[derive(Debug, Default)]
pub struct AgentFigures {
    codes: Codes,
    /// From a request's head to the end of its answer.
    pub duration: Histogram,
    /// From a request's head to its answer's.
    pub first_byte: Histogram,
    sent: AtomicU64,
    retries: AtomicU64,
    ejections: AtomicU64,
    waiting: AtomicU64,
    cut: AtomicU64,
    refused: Mutex<BTreeMap<String, u64>>,
}

impl AgentFigures {
    /// An answer with this status is over.
    pub fn answered(&self, code: u16, took: Duration, sent: u64, whole: bool) {
        self.codes.count(code);
        self.duration.observe(took);
        self.sent.fetch_add(sent, Ordering::Relaxed);
        if !whole {
            self.cut.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A request was tried once more.
    pub fn retried(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// An instance is left alone for a while.
    pub fn ejected(&self) {
        self.ejections.fetch_add(1, Ordering::Relaxed);
    }

    /// The proxy answered itself, for this reason (a problem's word).
    pub fn refused(&self, reason: &str) {
        let mut refused = self.refused.lock();
        match refused.get_mut(reason) {
            Some(count) => *count += 1,
            None => {
                refused.insert(reason.to_owned(), 1);
            }
        }
    }

    /// A request waits for the agent to start or to have a place, until the guard is dropped.
    pub fn waits(&self) -> Waits<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waits(self)
    }

    /// All of it at one moment.
    pub fn read(&self) -> AgentSample {
        AgentSample {
            codes: self.codes.read(),
            duration: self.duration.read(),
            first_byte: self.first_byte.read(),
            sent: read(&self.sent),
            retries: read(&self.retries),
            ejections: read(&self.ejections),
            waiting: read(&self.waiting),
            cut: read(&self.cut),
            refused: self.refused.lock().clone(),
        }
    }
}

/// A request that waits.
#[derive(Debug)]
pub struct Waits<'a>(&'a AgentFigures);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Sum in seconds and counts by bucket.
pub type Spread = (f64, [u64; BUCKETS.len() + 1]);

/// [`AgentFigures`] at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AgentSample {
    /// Answers by status, those that occurred.
    pub codes: Vec<(u16, u64)>,
    /// See [`AgentFigures::duration`].
    pub duration: Spread,
    /// See [`AgentFigures::first_byte`].
    pub first_byte: Spread,
    /// Bytes of answers' bodies.
    pub sent: u64,
    /// Further tries.
    pub retries: u64,
    /// Times that an instance was left alone.
    pub ejections: u64,
    /// Requests that wait now.
    pub waiting: u64,
    /// Answers that did not reach their end: the client went, or the agent.
    pub cut: u64,
    /// Answers of the proxy's own, by reason.
    pub refused: BTreeMap<String, u64>,
}

/// What the reconciler's passes of one kind came to.
#[derive(Debug, Default)]
pub struct PassFigures {
    /// By how they ended, in the order of [`PASS_ENDS`].
    pub ended: [AtomicU64; PASS_ENDS.len()],
    /// How long they took.
    pub took: Histogram,
    /// How long they waited for a place.
    pub late: Histogram,
}

/// How a pass can end.
pub const PASS_ENDS: [&str; 3] = ["ok", "failed", "panicked"];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn a_duration_is_in_the_first_bucket_that_it_fits_and_the_longest_above_all() {
        let histogram = Histogram::default();
        for millis in [0, 1, 2, 600_000, 600_001] {
            histogram.observe(Duration::from_millis(millis));
        }
        let (sum, counts) = histogram.read();
        assert_eq!((counts[0], counts[1], counts[17], counts[18]), (2, 1, 1, 1));
        assert!((sum - 1200.004).abs() < 1e-6, "{sum}");
    }

    #[test]
    fn statuses_are_told_exactly_and_what_is_none_is_left_out() {
        let codes = Codes::default();
        for code in [200, 200, 404, 599, 100, 99, 600, 0] {
            codes.count(code);
        }
        assert_eq!(codes.read(), [(100, 1), (200, 2), (404, 1), (599, 1)]);
    }

    #[test]
    fn who_waits_no_longer_is_not_counted() {
        let figures = AgentFigures::default();
        let waits = figures.waits();
        assert_eq!(figures.read().waiting, 1);
        drop(waits);
        assert_eq!(figures.read(), AgentSample::default());
    }
}
