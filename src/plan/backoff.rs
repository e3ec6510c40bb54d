//! How long to wait before trying again.
//!
//! Restarts: the first in a row comes at once (a container that somebody killed is back within a second), the second
//! after `restart.delay`, and each further one after twice that, up to `restart.maxDelay`. A run that was Ready and
//! lasted ten times the delay (10 s at least, as in Docker), or any run of 10 minutes (as in Kubernetes), ends the row.

use std::time::Duration;

use jiff::Timestamp;

use super::draft::since;
use crate::agent::spec::Restart;
use crate::observed::Failure;

/// The longest rest of an image that cannot be had, and the rest of what another try does not help.
const LONGEST: Duration = Duration::from_secs(300);
/// Before the second try to get an image.
const IMAGE_FIRST: Duration = Duration::from_secs(10);
/// A run this long ends a row of failures, ready or not.
const SURELY_WELL: Duration = Duration::from_secs(600);
/// A ready run shorter than this never ends one.
const SHORTEST_WELL: Duration = Duration::from_secs(10);

/// `first · 2^doublings`, at most `longest`.
fn doubled(first: Duration, doublings: u32, longest: Duration) -> Duration {
    let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
    first.saturating_mul(factor).min(longest)
}

/// Between an instance's end and its restart, after so many failures in a row.
pub(super) fn restart(restart: &Restart, failures: u32) -> Duration {
    match failures {
        0 | 1 => Duration::ZERO,
        _ => doubled(
            restart.delay.duration(),
            failures.saturating_sub(2),
            restart.max_delay.duration(),
        ),
    }
}

/// How long a run must last to end a row of failures.
pub(super) fn well_after(restart: &Restart, ready: bool) -> Duration {
    if !ready {
        return SURELY_WELL;
    }
    let ten_delays = restart.delay.duration().saturating_mul(10);
    ten_delays.clamp(SHORTEST_WELL, SURELY_WELL)
}

/// After a creation or start that failed.
pub(super) fn effort(restart: &Restart, failure: &Failure) -> Duration {
    if !failure.retryable {
        return LONGEST;
    }
    let first = restart.delay.duration().max(Duration::from_millis(100));
    let longest = restart.max_delay.duration().max(first);
    doubled(first, failure.attempts.saturating_sub(1), longest)
}

/// After a failed resolution of an image: its own, slower row, so that a crash loop never gets us barred from a
/// registry.
pub(super) fn image(failure: &Failure) -> Duration {
    if !failure.retryable {
        return LONGEST;
    }
    doubled(IMAGE_FIRST, failure.attempts.saturating_sub(1), LONGEST)
}

/// Since when an image could not be had, were it not for the time that the tries themselves took.
pub(super) fn image_rests(failure: &Failure, now: Timestamp) -> Timestamp {
    // The rests double seven times at most.
    let earlier = 1..failure.attempts.min(8);
    let row = earlier.map(|attempts| {
        image(&Failure {
            attempts,
            ..failure.clone()
        })
    });
    let long = LONGEST.saturating_mul(failure.attempts.saturating_sub(8));
    let last = since(failure.at, now).min(image(failure));
    let rested = row
        .sum::<Duration>()
        .saturating_add(long)
        .saturating_add(last);
    now.checked_sub(rested).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn failure(attempts: u32, retryable: bool) -> Failure {
        Failure {
            reason: "X".to_owned(),
            message: String::new(),
            attempts,
            at: jiff::Timestamp::UNIX_EPOCH,
            retryable,
            of: None,
        }
    }

    #[test]
    fn the_first_restart_is_immediate_and_the_next_ones_double_up_to_the_cap() {
        let spec = Restart::default();
        let seconds: Vec<u64> = [0, 1, 2, 3, 4, 10, 11, 500, u32::MAX]
            .map(|failures| restart(&spec, failures).as_secs())
            .to_vec();
        assert_eq!(seconds, [0, 0, 1, 2, 4, 256, 300, 300, 300]);
    }

    #[test]
    fn images_wait_from_ten_seconds_to_five_minutes() {
        let seconds: Vec<u64> = [0, 1, 2, 3, 6, 40, u32::MAX]
            .map(|attempts| image(&failure(attempts, true)).as_secs())
            .to_vec();
        assert_eq!(seconds, [10, 10, 20, 40, 300, 300, 300]);
        assert_eq!(image(&failure(1, false)).as_secs(), 300);
    }

    #[test]
    fn what_a_try_for_an_image_takes_is_no_rest() {
        let now = Timestamp::from_second(100_000).unwrap();
        let rested = |attempts, ago| {
            let mut one = failure(attempts, true);
            one.at = now - Duration::from_secs(ago);
            since(image_rests(&one, now), now).as_secs()
        };
        assert_eq!([rested(1, 0), rested(1, 7), rested(1, 700)], [0, 7, 10]);
        assert_eq!([rested(3, 0), rested(3, 39), rested(3, 700)], [30, 69, 70]);
        let long = 10 + 20 + 40 + 80 + 160;
        assert_eq!([rested(6, 0), rested(9, 5)], [long, long + 300 * 3 + 5]);
        assert!(rested(u32::MAX, 0) > 1_000_000_000);
    }

    #[test]
    fn absurd_numbers_saturate() {
        let spec = Restart {
            delay: crate::agent::quantity::Span { millis: u64::MAX },
            max_delay: crate::agent::quantity::Span { millis: u64::MAX },
            ..Restart::default()
        };
        assert!(restart(&spec, u32::MAX) >= Duration::from_secs(1));
        assert_eq!(well_after(&spec, true).as_secs(), 600);
        assert!(effort(&spec, &failure(u32::MAX, true)) > Duration::ZERO);
    }
}
