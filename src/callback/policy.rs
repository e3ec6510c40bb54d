//! What the end of a call means. Pure.

use std::time::Duration;

use super::CallError;

/// Between the first call and the second; doubled each time.
const FIRST: Duration = Duration::from_secs(2);
/// The longest between two.
const LONGEST: Duration = Duration::from_secs(3600);
/// So many calls are made, over about ten hours.
pub(super) const MOST: u32 = 20;

/// What becomes of a callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Who was called took it.
    Done,
    /// Once more, after so long.
    Again(Duration),
    /// It is given up.
    GivenUp,
}

/// What becomes of a callback after so many calls, the last of which ended so.
pub fn judge(ended: &Result<u16, CallError>, calls: u32) -> Verdict {
    match ended {
        Ok(200..=299) => Verdict::Done,
        // 410: it does not want to be called any more (RFC 9110 §15.5.11). An address that is not allowed never becomes so by itself.
        Ok(410) | Err(CallError::Refused { .. }) => Verdict::GivenUp,
        _ if calls >= MOST => Verdict::GivenUp,
        _ => {
            let doubled = 1_u32.checked_shl(calls.saturating_sub(1));
            let wait = FIRST.saturating_mul(doubled.unwrap_or(u32::MAX).max(1));
            Verdict::Again(wait.min(LONGEST))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_made_again_until_it_is_taken_or_was_made_often_enough() {
        assert_eq!(judge(&Ok(204), 1), Verdict::Done);
        assert_eq!(judge(&Ok(410), 1), Verdict::GivenUp);
        let refused = || {
            Err(CallError::Refused {
                kind: "a private one",
            })
        };
        assert_eq!(judge(&refused(), 1), Verdict::GivenUp);
        for status in [302, 404, 429, 500, 503] {
            let again = |calls, seconds| {
                let wait = Duration::from_secs(seconds);
                assert_eq!(judge(&Ok(status), calls), Verdict::Again(wait));
            };
            again(1, 2);
            again(2, 4);
            again(11, 2048);
            again(12, 3600);
            again(MOST - 1, 3600);
            assert_eq!(judge(&Ok(status), MOST), Verdict::GivenUp);
        }
        assert_eq!(
            judge(&Err(CallError::TimedOut), 1),
            Verdict::Again(Duration::from_secs(2))
        );
    }
}
