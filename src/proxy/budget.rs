//! How much of what an instance lost may be sent again: a fifth of what was sent to it, so that repeats never become the load
//! that keeps it down (Finagle's retry budget; a share of what is in flight at one moment, as Envoy has it, would fail half of the
//! requests that one crash takes along). What was never sent costs nobody anything and does not count.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

/// What one repeat costs; each request brings one.
const COST: u64 = 5;

/// The most that is saved up: a thousand repeats at once.
const MOST: u64 = 1000 * COST;

/// What there is from the start, and comes back each second however little is asked: so that a rarely asked one is repeated, too.
const EACH_SECOND: u64 = 10 * COST;

/// The budget of one instance.
#[derive(Debug)]
pub(super) struct Budget {
    saved: AtomicU64,
    base: Instant,
    /// The second, since `base`, up to which what comes back each second has been added.
    second: AtomicU64,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            saved: AtomicU64::new(EACH_SECOND),
            base: Instant::now(),
            second: AtomicU64::new(0),
        }
    }
}

impl Budget {
    /// A request is sent.
    pub(super) fn sent(&self) {
        if self.saved.load(Ordering::Relaxed) < MOST {
            self.saved.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether one more may be repeated; it is taken then.
    pub(super) fn take(&self) -> bool {
        let second = self.base.elapsed().as_secs();
        let before = self.second.fetch_max(second, Ordering::Relaxed);
        let back = second.saturating_sub(before).saturating_mul(EACH_SECOND);
        let taken = self
            .saved
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |saved| {
                // Never more than MOST by coming back, and what traffic saved is kept.
                let saved = saved.max(saved.saturating_add(back).min(MOST));
                saved.checked_sub(COST)
            });
        taken.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn taken(budget: &Budget) -> u64 {
        (0..2000).filter(|_| budget.take()).count() as u64
    }

    #[tokio::test(start_paused = true)]
    async fn a_fifth_of_what_was_sent_may_be_repeated_and_a_few_each_second() {
        let budget = Budget::default();
        assert_eq!(taken(&budget), 10);
        for _ in 0..100 {
            budget.sent();
        }
        assert_eq!(taken(&budget), 20);
        tokio::time::advance(Duration::from_millis(2500)).await;
        assert_eq!(taken(&budget), 20);
        assert_eq!(taken(&budget), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_is_saved_than_a_burst() {
        let budget = Budget::default();
        for _ in 0..100_000 {
            budget.sent();
        }
        tokio::time::advance(Duration::from_secs(86_400)).await;
        assert_eq!(taken(&budget), 1000);
    }
}
