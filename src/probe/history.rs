//! What the outcomes of a container's probes add up to, and when to ask again. Pure; told the time.

use std::time::Duration;

use jiff::Timestamp;

use super::attempt::Outcome;
use crate::agent::spec::HealthCheck;
use crate::observed::Probe;

/// The distance of the first probes of a container that is not ready yet, and for how many of them.
const QUICK: Duration = Duration::from_millis(25);
const QUICK_PROBES: u32 = 40;

/// The longest distance while it is not ready, or is ready and the last probe failed.
const WORRIED: Duration = Duration::from_secs(1);

/// So many are that far apart of a check on trial, which then waits its interval: nothing waits for it.
const TRIES: u32 = 5;

/// Between two probes of a settled container that has no check of its own.
const SETTLED: Duration = Duration::from_secs(10);

/// Failures in a row before a ready container without a check is not ready.
const RETRIES: u32 = 3;

/// One container's probes so far.
#[derive(Clone, Debug)]
pub(super) struct History {
    probe: Probe,
    /// Probes since it was last ready, or since the beginning.
    probes: u32,
    /// Failures in a row.
    failures: u32,
    /// Whether it was ever ready.
    was_ready: bool,
    /// Whether the present check has passed.
    passed: bool,
    begun: Option<Timestamp>,
    counted: Option<Timestamp>,
    rules: Rules,
    /// Whether its check is on trial: the container is well by another one.
    trial: bool,
}

#[derive(Clone, Copy, Debug)]
struct Rules {
    interval: Duration,
    retries: u32,
    start_period: Duration,
    /// Whether no answer counts against its life: only somebody who asked for a check asked for that.
    liveness: bool,
    /// Whether an answer other than 2xx counts against it too.
    on_status: bool,
}

impl Rules {
    fn of(check: Option<&HealthCheck>) -> Self {
        match check {
            Some(check) => Self {
                interval: check.interval.duration().max(QUICK),
                retries: check.retries.max(1),
                start_period: check.start_period.duration(),
                liveness: true,
                on_status: check.restart_on_status,
            },
            None => Self {
                interval: SETTLED,
                retries: RETRIES,
                start_period: Duration::ZERO,
                liveness: false,
                on_status: false,
            },
        }
    }
}

impl History {
    pub(super) fn new(check: Option<&HealthCheck>, trial: bool) -> Self {
        Self {
            probe: Probe::default(),
            probes: 0,
            failures: 0,
            was_ready: false,
            passed: false,
            begun: None,
            counted: None,
            rules: Rules::of(check),
            trial,
        }
    }

    /// The same history under another check, which has passed on trial or not.
    pub(super) fn with(&self, check: Option<&HealthCheck>, passed: bool) -> Self {
        let mut other = self.clone();
        other.passed = passed;
        other.rules = Rules::of(check);
        other.failures = 0;
        other.probe.unanswered = 0;
        other
    }

    pub(super) const fn probe(&self) -> &Probe {
        &self.probe
    }

    /// Whether the check has passed.
    pub(super) const fn passed(&self) -> bool {
        self.passed
    }

    /// Adds an outcome; says whether something turned that the agent's key should wake for.
    pub(super) fn record(&mut self, outcome: Outcome, now: Timestamp) -> bool {
        self.begun.get_or_insert(now);
        self.probes = self.probes.saturating_add(1);
        let before = self.probe.ready;
        let passed_before = self.passed;
        let alive_before = self.probe.unanswered < self.rules.retries;
        match outcome {
            Outcome::Ready => {
                self.failures = 0;
                self.probe.unanswered = 0;
                self.was_ready = true;
                self.passed = true;
                self.turn(true, String::new(), now);
                self.probes = 0;
            }
            // Nothing was learned: what is known stays true.
            Outcome::Unknown(message) => {
                if self.probe.ready != Some(true) {
                    self.probe.message = message;
                }
            }
            Outcome::NotReady(message) if !self.rules.on_status => {
                self.probe.unanswered = 0;
                self.fail(message, now);
            }
            Outcome::NotReady(message) | Outcome::Unanswered(message) => {
                if self.counts(now) {
                    self.probe.unanswered = self.probe.unanswered.saturating_add(1);
                    self.counted = Some(now);
                }
                self.fail(message, now);
            }
        }
        let alive = self.probe.unanswered < self.rules.retries;
        before != self.probe.ready || passed_before != self.passed || alive != alive_before
    }

    /// When to ask again, counted from the last answer.
    pub(super) fn pause(&self) -> Duration {
        if self.probe.ready == Some(true) {
            return if self.failures == 0 {
                self.rules.interval
            } else {
                self.rules.interval.min(WORRIED)
            };
        }
        if self.trial && self.probes >= TRIES {
            return self.rules.interval;
        }
        if self.trial || self.was_ready {
            return self.rules.interval.min(WORRIED);
        }
        // Quick at first, then 1.5 times as long each time.
        let slower = self.probes.saturating_sub(QUICK_PROBES).min(16);
        let factor = 1.5_f64.powi(i32::try_from(slower).unwrap_or(16));
        QUICK.mul_f64(factor).min(WORRIED)
    }

    fn fail(&mut self, message: String, now: Timestamp) {
        self.failures = self.failures.saturating_add(1);
        if self.probe.ready != Some(true) || self.failures >= self.rules.retries {
            self.turn(false, message, now);
        } else {
            self.probe.message = message;
        }
    }

    fn turn(&mut self, ready: bool, message: String, now: Timestamp) {
        if self.probe.ready != Some(ready) {
            self.probe.since = Some(now);
            self.probe.ready = Some(ready);
            self.probes = 0;
        }
        self.probe.message = message;
    }

    /// Whether no answer counts now. A container that was ready: each time. One that is starting is asked many times a
    /// second, so there one is counted an interval, and none within the start period.
    fn counts(&self, now: Timestamp) -> bool {
        if !self.rules.liveness {
            return false;
        }
        if self.was_ready {
            return true;
        }
        let passed = |since: Option<Timestamp>| {
            since.map_or(Duration::ZERO, |since| {
                Duration::try_from(now.duration_since(since)).unwrap_or_default()
            })
        };
        passed(self.begun) >= self.rules.start_period
            && passed(self.counted.or(self.begun)) >= self.rules.interval
    }
}
