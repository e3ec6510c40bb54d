//! What the controller tells whoever counts: when passes begin, how they end, how long they took.
//!
//! A trait with nothing to implement by force. Names no metric: the composition root turns these calls into them.

use std::time::Duration;

/// How a pass ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It succeeded and wants no further pass of its own accord.
    Done,
    /// It succeeded and wants another pass after this long.
    Requeued {
        /// From the end of the pass.
        after: Duration,
    },
    /// It returned an error.
    Failed {
        /// Failures of this key in a row, this one included.
        failures: u32,
        /// When it is tried again, if no hint comes first; from the end of the pass.
        retry_in: Duration,
    },
    /// It panicked.
    Panicked {
        /// Failures of this key in a row, this one included.
        failures: u32,
        /// When it is tried again, if no hint comes first; from the end of the pass.
        retry_in: Duration,
    },
}

/// Sees each pass begin and end.
///
/// # Assumptions
///
/// Called between the steps of the controller's loop: an implementation must neither block nor panic.
pub trait Observer<K>: Send + Sync + 'static {
    /// A pass for `key` begins. It was due `late` ago: what it waited for was another pass of its key or the limit on
    /// concurrent passes.
    fn started(&self, key: &K, late: Duration) {
        let _ = (key, late);
    }

    /// The pass for `key` ended with `outcome` and `took` this long.
    fn finished(&self, key: &K, outcome: Outcome, took: Duration) {
        let _ = (key, outcome, took);
    }
}

/// Looks away.
impl<K> Observer<K> for () {}
