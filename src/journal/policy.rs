//! What a delivery's outcome means for its record. Law 3 lives here: a request is delivered again by itself only when nothing of it
//! was sent, when it is idempotent by its method (RFC 9110 §9.2.2) or carries a key, or when its owner opted in.

use std::time::Duration;

use super::record::State;

/// How far a delivery came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was not begun: no instance is ready any more, or the agent has as many requests as it may.
    NotBegun,
    /// Nothing was sent: no connection could be made.
    Unsent,
    /// It was sent, at least in part, and no answer came.
    NoAnswer,
    /// Who delivered it is gone, and nobody knows how far it came.
    Lapsed,
    /// The agent answered.
    Answered {
        /// With this status.
        status: u16,
        /// And asks to come again after so long (`Retry-After`).
        retry_after: Option<Duration>,
    },
    /// The agent answered, and its client waited for that and has it: nothing is repeated behind its back.
    Passed {
        /// With this status.
        status: u16,
    },
}

/// What a record's request and its agent's spec say of repeating it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// It is idempotent by its method, or carries an `Idempotency-Key`.
    pub repeatable: bool,
    /// `persistence.replayUnsafe`.
    pub replay_unsafe: bool,
    /// `persistence.retryRefusals`.
    pub retry_refusals: bool,
    /// `persistence.maxRetries`: further deliveries after the first.
    pub max_retries: u32,
}

/// What becomes of the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Back to those that wait; it does not count as a delivery.
    Release,
    /// Once more, after so long.
    Retry(Duration),
    /// This is its end.
    Settle(State),
}

/// Between the first delivery and the second; doubled each time.
const FIRST: Duration = Duration::from_secs(1);
/// The longest between two.
const LONGEST: Duration = Duration::from_secs(60);
/// The longest that an agent's own `Retry-After` is believed.
const LONGEST_WISH: Duration = Duration::from_secs(3600);

/// What becomes of a record after this many deliveries, the last of which came so far.
pub fn judge(outcome: Outcome, terms: Terms, tries: u32) -> Verdict {
    let again = terms.repeatable || terms.replay_unsafe;
    let retry = |at_least: Duration| {
        if tries > terms.max_retries {
            Verdict::Settle(State::Dead)
        } else {
            Verdict::Retry(backoff(tries).max(at_least.min(LONGEST_WISH)))
        }
    };
    match outcome {
        Outcome::NotBegun => Verdict::Release,
        Outcome::Unsent => retry(Duration::ZERO),
        Outcome::NoAnswer | Outcome::Lapsed if again => retry(Duration::ZERO),
        Outcome::NoAnswer | Outcome::Lapsed => Verdict::Settle(State::Unknown),
        Outcome::Answered {
            status: 429 | 503,
            retry_after: Some(after),
        } if terms.retry_refusals => retry(after),
        Outcome::Answered {
            status,
            retry_after,
        } if status >= 500 => {
            if again {
                retry(retry_after.unwrap_or_default())
            } else {
                Verdict::Settle(State::Failed)
            }
        }
        Outcome::Passed { status } if status >= 500 => Verdict::Settle(State::Failed),
        Outcome::Answered { .. } | Outcome::Passed { .. } => Verdict::Settle(State::Completed),
    }
}

fn backoff(tries: u32) -> Duration {
    let doubled = 1_u32
        .checked_shl(tries.saturating_sub(1))
        .unwrap_or(u32::MAX);
    FIRST.saturating_mul(doubled.max(1)).min(LONGEST)
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
