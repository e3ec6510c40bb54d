//! What the data path keeps beside an endpoint: its connections, its breaker, its budget, its turn, and since when it is ready. It lives and
//! dies with the endpoint, so that all of it belongs to a container and never to an address (law 4).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::breaker::Breaker;
use super::budget::Budget;
use super::pool::Pool;
use crate::endpoints::{Companion, Endpoint};

/// How long an instance that became ready beside others gets less than its share: caches fill, code is compiled.
const SLOW_START: Duration = Duration::from_secs(10);

/// What it gets at least meanwhile, in percent.
const LEAST: u64 = 10;

/// The whole share.
const WHOLE: u64 = 100;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Beside {
    pub(super) pool: Pool,
    pub(super) breaker: Breaker,
    pub(super) budget: Budget,
    /// When it had its last turn, as a number that goes up.
    pub(super) turn: AtomicU64,
    /// Since when it is ready, while it starts slowly.
    warms: Mutex<Option<Instant>>,
    /// Whether it does, to be asked without the lock.
    warming: std::sync::atomic::AtomicBool,
}

impl Beside {
    /// What is kept beside this endpoint.
    pub(super) fn of(endpoint: &Endpoint) -> Option<&Self> {
        endpoint.companion(Self::default)
    }

    /// Its share of the requests, in percent.
    pub(super) fn share(&self) -> u64 {
        if !self.warming.load(Ordering::Acquire) {
            return WHOLE;
        }
        let since = *self.warms.lock();
        let age = since.map_or(SLOW_START, |since| since.elapsed());
        if age >= SLOW_START {
            self.warming.store(false, Ordering::Release);
            return WHOLE;
        }
        let part = age.as_millis() * u128::from(WHOLE) / SLOW_START.as_millis();
        u64::try_from(part).unwrap_or(WHOLE).max(LEAST)
    }
}

impl Companion for Beside {
    fn retire(&self) {
        self.pool.clear();
        self.breaker.reset();
    }

    fn ready(&self) {
        self.breaker.reset();
        *self.warms.lock() = Some(Instant::now());
        self.warming.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_that_became_ready_gets_its_share_by_and_by() {
        let beside = Beside::default();
        assert_eq!(beside.share(), WHOLE, "known from the start");
        beside.ready();
        assert_eq!(beside.share(), LEAST);
        tokio::time::advance(SLOW_START / 2).await;
        assert_eq!(beside.share(), WHOLE / 2);
        tokio::time::advance(SLOW_START / 2).await;
        assert_eq!(beside.share(), WHOLE);
    }
}
