//! The wait after a failure: exponential, capped, with jitter from a source of randomness that the caller owns.
//!
//! A value and its arithmetic; keeps no count and reads no clock. The runner uses it between failed passes of one key, a
//! resubscribed source between failed subscriptions.

use std::time::Duration;

use rand::{Rng, RngExt as _};

/// How long to wait after the n-th failure in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    base: Duration,
    max: Duration,
}

impl Backoff {
    /// A wait of about `base` after the first failure, doubled by each further one up to `max`. A `max` below `base` counts as
    /// `base`.
    pub const fn new(base: Duration, max: Duration) -> Self {
        let max = if max.as_nanos() < base.as_nanos() {
            base
        } else {
            max
        };
        Self { base, max }
    }

    /// The longest wait after the first failure.
    pub const fn base(&self) -> Duration {
        self.base
    }

    /// The longest wait after any number of failures.
    pub const fn max(&self) -> Duration {
        self.max
    }

    /// The longest wait after `failures` failures in a row; none after none.
    pub fn ceiling(&self, failures: u32) -> Duration {
        match failures.checked_sub(1) {
            None => Duration::ZERO,
            Some(doublings) => {
                let factor = 2_u32.saturating_pow(doublings);
                self.base.saturating_mul(factor).min(self.max)
            }
        }
    }

    /// The wait after `failures` failures in a row: between half the [ceiling](Self::ceiling) and all of it, evenly
    /// distributed, so that keys which failed together do not come back together.
    pub fn delay<R: Rng + ?Sized>(&self, failures: u32, rng: &mut R) -> Duration {
        let ceiling = self.ceiling(failures);
        let half = ceiling / 2;
        let spread = u64::try_from(ceiling.saturating_sub(half).as_nanos()).unwrap_or(u64::MAX);
        half.saturating_add(Duration::from_nanos(rng.random_range(0..=spread)))
    }
}

impl Default for Backoff {
    /// A quarter of a second, doubled up to one minute.
    fn default() -> Self {
        Self::new(Duration::from_millis(250), Duration::from_secs(60))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rand::{SeedableRng as _, rngs::StdRng};

    use super::Backoff;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn the_ceiling_doubles_up_to_the_maximum() {
        let backoff = Backoff::new(ms(100), ms(1000));
        let ceilings: Vec<_> = (0..7).map(|n| backoff.ceiling(n)).collect();
        assert_eq!(
            ceilings,
            [
                ms(0),
                ms(100),
                ms(200),
                ms(400),
                ms(800),
                ms(1000),
                ms(1000)
            ]
        );
    }

    #[test]
    fn any_number_of_failures_stays_at_the_maximum() {
        assert_eq!(
            Backoff::default().ceiling(u32::MAX),
            Duration::from_secs(60)
        );
        let endless = Backoff::new(Duration::from_secs(1), Duration::MAX);
        let mut rng = StdRng::seed_from_u64(1);
        assert!(endless.delay(u32::MAX, &mut rng) >= Duration::from_secs(1));
    }

    #[test]
    fn a_maximum_below_the_base_is_the_base() {
        assert_eq!(Backoff::new(ms(500), ms(1)).ceiling(9), ms(500));
    }

    #[test]
    fn jitter_takes_away_at_most_half() {
        let backoff = Backoff::new(ms(100), ms(1000));
        let mut rng = StdRng::seed_from_u64(7);
        let delays: Vec<_> = (0..200).map(|_| backoff.delay(3, &mut rng)).collect();
        assert!(delays.iter().all(|d| (ms(200)..=ms(400)).contains(d)));
        assert!(delays.iter().any(|d| *d < ms(250)) && delays.iter().any(|d| *d > ms(350)));
    }

    #[test]
    fn one_seed_gives_one_sequence() {
        let draw = |seed| {
            let mut rng = StdRng::seed_from_u64(seed);
            (1..20)
                .map(|n| Backoff::default().delay(n, &mut rng))
                .collect::<Vec<_>>()
        };
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
    }
}
