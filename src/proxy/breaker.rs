//! Whether an instance is left alone for a while, since exchanges with it failed in a row (Envoy calls it outlier detection).
//!
//! A failure is what leaves no answer: no connection, one that ends, nothing in time. An answer of any status is none: agents
//! answer 503 for a dependency of theirs, and leaving them alone would not help. *Closed*: all goes through. *Open*: nothing
//! does, for the cool-down. Then it is *on probation*: one request at a time goes through, and its outcome decides.
//! A container that was started again begins anew.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::agent::spec;

/// The cool-down doubles with each failure on probation, up to so many times itself.
const MOST_COOLDOWNS: u32 = 16;

/// What a spec says of breakers, ready for use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// Failures in a row that open it; zero: never.
    failures: u32,
    cooldown: Duration,
    /// The share of an agent's instances that may be left alone at once, in percent.
    most: u32,
}

impl Rule {
    /// The spec's; the schema's default where it says nothing.
    pub(super) fn of(breaker: Option<&spec::Breaker>) -> Self {
        let default;
        let breaker = match breaker {
            Some(breaker) => breaker,
            None => {
                default = spec::Breaker::default();
                &default
            }
        };
        Self {
            failures: breaker.failures,
            cooldown: breaker.cooldown.duration(),
            most: breaker.share().unwrap_or(spec::Breaker::SHARE),
        }
    }

    /// How many of so many instances may be left alone at once: the share of them, and always one.
    fn allows(self, instances: usize) -> usize {
        (instances * self.most as usize / 100).max(1)
    }
}

/// How an instance stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Requests go through.
    Closed,
    /// None does, for so long yet.
    Open(Duration),
    /// One at a time does.
    Probation,
}

/// The breaker of one instance. Closed and without a failure it costs two loads.
#[derive(Debug)]
pub(super) struct Breaker {
    base: Instant,
    failures: AtomicU32,
    /// In milliseconds since `base`, and one: until then it is open; zero: it is closed.
    until: AtomicU64,
    /// How often in a row it opened.
    opened: AtomicU32,
    trying: AtomicBool,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            base: Instant::now(),
            failures: AtomicU32::new(0),
            until: AtomicU64::new(0),
            opened: AtomicU32::new(0),
            trying: AtomicBool::new(false),
        }
    }
}

impl Breaker {
    /// How it stands.
    pub(super) fn standing(&self) -> Standing {
        let until = self.until.load(Ordering::Acquire);
        if until == 0 {
            return Standing::Closed;
        }
        match (until - 1).saturating_sub(self.now()) {
            0 => Standing::Probation,
            left => Standing::Open(Duration::from_millis(left)),
        }
    }

    /// Takes the one place there is on probation, until the trial is dropped.
    pub(super) fn try_once(&self) -> Option<Trial<'_>> {
        let taken = self.trying.swap(true, Ordering::AcqRel);
        (!taken).then_some(Trial(self))
    }

    /// It answered.
    pub(super) fn answered(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 || self.until.load(Ordering::Relaxed) != 0 {
            self.reset();
        }
    }

    /// It did not. `ejected` counts those of the agent's `instances` that are left alone already. Whether it is left alone from now on.
    pub(super) fn failed(
        &self,
        rule: Rule,
        instances: usize,
        ejected: impl FnOnce() -> usize,
    ) -> bool {
        if rule.failures == 0 || matches!(self.standing(), Standing::Open(_)) {
            return false;
        }
        let failures = self.failures.fetch_add(1, Ordering::AcqRel) + 1;
        let on_probation = self.until.load(Ordering::Acquire) != 0;
        if !on_probation && (failures < rule.failures || ejected() >= rule.allows(instances)) {
            return false;
        }
        let times = self.opened.fetch_add(1, Ordering::AcqRel).min(31);
        let cooldown = rule.cooldown * (1_u32 << times).min(MOST_COOLDOWNS);
        let until = self.now() + u64::try_from(cooldown.as_millis()).unwrap_or(u64::MAX >> 1);
        self.until.store(until + 1, Ordering::Release);
        true
    }

    /// Begins anew: the container was started again.
    pub(super) fn reset(&self) {
        self.failures.store(0, Ordering::Relaxed);
        self.opened.store(0, Ordering::Relaxed);
        self.until.store(0, Ordering::Release);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.base.elapsed().as_millis()).unwrap_or(u64::MAX >> 1)
    }
}

/// The one request that goes through on probation.
#[derive(Debug)]
pub(super) struct Trial<'a>(&'a Breaker);

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        self.0.trying.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const RULE: Rule = Rule {
        failures: 3,
        cooldown: Duration::from_secs(10),
        most: 50,
    };

    fn fail(breaker: &Breaker, times: usize) {
        for _ in 0..times {
            breaker.failed(RULE, 4, || 0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_open_it_and_an_answer_between_them_does_not() {
        let breaker = Breaker::default();
        fail(&breaker, 2);
        breaker.answered();
        fail(&breaker, 2);
        assert_eq!(breaker.standing(), Standing::Closed);
        fail(&breaker, 1);
        assert_eq!(breaker.standing(), Standing::Open(RULE.cooldown));
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_cooldown_one_at_a_time_is_tried_and_decides() {
        let breaker = Breaker::default();
        fail(&breaker, 3);
        tokio::time::advance(RULE.cooldown).await;
        assert_eq!(breaker.standing(), Standing::Probation);
        let trial = breaker.try_once().unwrap();
        assert!(breaker.try_once().is_none());
        fail(&breaker, 1);
        drop(trial);
        assert_eq!(
            breaker.standing(),
            Standing::Open(RULE.cooldown * 2),
            "one failure is enough there, and it waits longer"
        );
        tokio::time::advance(RULE.cooldown * 2).await;
        let trial = breaker.try_once().unwrap();
        drop(trial);
        assert_eq!(
            breaker.standing(),
            Standing::Probation,
            "no outcome decides nothing"
        );
        breaker.answered();
        assert_eq!(breaker.standing(), Standing::Closed);
        fail(&breaker, 2);
        assert_eq!(breaker.standing(), Standing::Closed, "it begins anew");
    }

    #[tokio::test(start_paused = true)]
    async fn the_cooldown_grows_no_further_than_its_cap() {
        let breaker = Breaker::default();
        fail(&breaker, 3);
        for _ in 0..40 {
            let Standing::Open(left) = breaker.standing() else {
                unreachable!("it is open")
            };
            assert!(left <= RULE.cooldown * MOST_COOLDOWNS);
            tokio::time::advance(left).await;
            fail(&breaker, 1);
        }
        assert_eq!(
            breaker.standing(),
            Standing::Open(RULE.cooldown * MOST_COOLDOWNS)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_the_share_of_the_instances_is_left_alone_and_always_one_may() {
        let opens = |instances: usize, ejected: usize| {
            let breaker = Breaker::default();
            for _ in 0..3 {
                breaker.failed(RULE, instances, || ejected);
            }
            breaker.standing() != Standing::Closed
        };
        assert!(opens(4, 0) && opens(4, 1) && !opens(4, 2));
        assert!(opens(3, 0) && !opens(3, 1));
        assert!(opens(1, 0), "the only one: the circuit is open for all");
    }

    #[tokio::test(start_paused = true)]
    async fn a_rule_of_no_failures_never_opens() {
        let breaker = Breaker::default();
        let rule = Rule {
            failures: 0,
            ..RULE
        };
        for _ in 0..100 {
            breaker.failed(rule, 4, || 0);
        }
        assert_eq!(breaker.standing(), Standing::Closed);
    }
}
