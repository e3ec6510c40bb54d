//! The data path's randomness: one seeded source without a lock (SplitMix64, Steele et al. 2014), good for choosing an
//! endpoint and naming a request, not for secrets.

use std::sync::atomic::{AtomicU64, Ordering};

/// A source of numbers; the same seed gives the same sequence.
#[derive(Debug)]
pub(super) struct Chance(AtomicU64);

impl Chance {
    pub(super) const fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// The next number.
    pub(super) fn next(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 when `bound` is 0.
    pub(super) fn below(&self, bound: usize) -> usize {
        let wide = u128::from(self.next()) * bound as u128;
        usize::try_from(wide >> 64).unwrap_or(0)
    }

    /// Sixteen bytes.
    pub(super) fn wide(&self) -> u128 {
        u128::from(self.next()) << 64 | u128::from(self.next())
    }
}
