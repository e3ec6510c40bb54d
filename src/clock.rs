//! The one place that asks what time it is.
//!
//! Time is measured on tokio's monotonic clock and shown as wall time, so a jump of the machine's clock moves no
//! deadline, and a test with paused time moves ours with it. Layer 0: called by everybody, calls nobody.

use std::sync::OnceLock;

use jiff::{SignedDuration, Timestamp};
use parking_lot::RwLock;
use tokio::time::Instant;

/// Where the monotonic clock was when the wall clock was last read.
#[derive(Clone, Copy)]
struct Anchor {
    wall: Timestamp,
    monotonic: std::time::Instant,
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the machine's clocks"
)]
fn read_machine() -> Anchor {
    Anchor {
        wall: Timestamp::now(),
        monotonic: std::time::Instant::now(),
    }
}

fn anchor() -> &'static RwLock<Anchor> {
    static ANCHOR: OnceLock<RwLock<Anchor>> = OnceLock::new();
    ANCHOR.get_or_init(|| RwLock::new(read_machine()))
}

/// The present as wall time, driven by tokio's clock (virtual in tests with paused time).
///
/// It never runs backwards between two calls of [`resync`].
pub fn now() -> Timestamp {
    let anchor = *anchor().read();
    let tokio_now = Instant::now().into_std();
    let passed = match tokio_now.checked_duration_since(anchor.monotonic) {
        Some(forward) => SignedDuration::try_from(forward).unwrap_or(SignedDuration::MAX),
        None => SignedDuration::ZERO,
    };
    anchor.wall.checked_add(passed).unwrap_or(Timestamp::MAX)
}

/// Reads the machine's wall clock again, so that timestamps follow NTP and a suspended laptop.
///
/// Called by the composition root once a minute; never by tests, whose time may be virtual.
pub fn resync() {
    *anchor().write() = read_machine();
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn virtual_time_moves_the_present() {
        let before = super::now();
        tokio::time::advance(Duration::from_secs(3600)).await;
        // The clock may have been read for the first time a moment after this test froze its own.
        assert!(super::now().duration_since(before).as_secs() >= 3599);
    }
}
