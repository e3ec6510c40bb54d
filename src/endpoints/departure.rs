//! Whether a container left its address, told to those who wait for bytes from there.
//!
//! A container that is taken off its network, or whose network went before its last bytes, ends no connection: no packet
//! ever comes again, and nobody says so. A container that merely left the table has its address still, and what is in
//! flight on it may finish (law 5); that is no departure.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// Whether a container left its address. Shared by its endpoint and the endpoint's connections; cheap to ask.
#[derive(Debug, Default)]
pub struct Departure {
    /// How often it left or came back: odd while it is gone.
    turns: AtomicU64,
    told: Arc<Notify>,
}

impl Departure {
    /// How often it left or came back; who sees the same number twice has missed nothing.
    pub fn turns(&self) -> u64 {
        self.turns.load(Ordering::Acquire)
    }

    /// Whether it is gone at this many [turns](Self::turns).
    pub const fn gone(turns: u64) -> bool {
        turns % 2 == 1
    }

    /// Ends at the first turn after this call.
    pub fn turned(&self) -> OwnedNotified {
        Arc::clone(&self.told).notified_owned()
    }

    /// Says whether it is gone. Called by one at a time.
    pub(super) fn set(&self, gone: bool) {
        if Self::gone(self.turns()) != gone {
            self.turns.fetch_add(1, Ordering::AcqRel);
            self.told.notify_waiters();
        }
    }
}
