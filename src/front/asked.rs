//! What a client asks on one connection: whether anything of late or just now, and whether it takes most of it back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// So many requests may be taken back on a connection of HTTP/2, however few there were in all. A client that opens and resets
/// streams as fast as it can (CVE-2023-44487) never has many at once, and has agents work for nothing.
const TAKEN_BACK: u64 = 200;

/// What was asked on one connection.
#[derive(Debug, Default)]
pub(super) struct Asked {
    count: AtomicU64,
    taken_back: AtomicU64,
    /// Requests whose answers are not over.
    open: AtomicU64,
    /// Whether bytes came that belong to no request yet.
    heard: AtomicBool,
    /// Whether bytes of ours wait for the client.
    write_waits: AtomicBool,
    /// Cancelled when most of it is taken back.
    pub(super) abused: CancellationToken,
}

impl Asked {
    /// A request came.
    pub(super) fn begin(self: &Arc<Self>, is_http2: bool) -> Asking {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.heard.store(false, Ordering::Relaxed);
        Asking(is_http2.then(|| Arc::clone(self)))
    }

    /// Whether no request ever came.
    pub(super) fn nothing(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// Ends when no request came for so long; the first has a time of its own.
    pub(super) async fn quiet(&self, first: Duration, further: Duration) {
        let mut before = 0;
        let mut within = first;
        loop {
            tokio::time::sleep(within).await;
            let now = self.count.load(Ordering::Relaxed);
            if now == before {
                return;
            }
            (before, within) = (now, further);
        }
    }
}

/// How long a connection without a request is left as it is.
pub(super) const REST: Duration = Duration::from_secs(1);

impl Asked {
    /// Counts a request until its answer is over.
    pub(super) fn open(self: &Arc<Self>) -> Open {
        self.open.fetch_add(1, Ordering::Relaxed);
        Open(Arc::clone(self))
    }

    /// Bytes came.
    pub(super) fn heard(&self) {
        self.heard.store(true, Ordering::Relaxed);
    }

    /// Bytes of ours went, or wait.
    pub(super) fn write_waits(&self, waits: bool) {
        self.write_waits.store(waits, Ordering::Relaxed);
    }

    /// Ends when there was no request for [`REST`], and nothing of one nor of an answer is under way.
    pub(super) async fn rests(&self) {
        let mut before = self.count.load(Ordering::Relaxed);
        loop {
            tokio::time::sleep(REST).await;
            let now = self.count.load(Ordering::Relaxed);
            let still = [&self.heard, &self.write_waits]
                .iter()
                .all(|moves| !moves.load(Ordering::Relaxed));
            if now == before && still && self.open.load(Ordering::Relaxed) == 0 {
                return;
            }
            before = now;
        }
    }
}

/// A request until its answer is over.
#[derive(Debug)]
pub(super) struct Open(Arc<Asked>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        // What came meanwhile was its body.
        self.0.heard.store(false, Ordering::Relaxed);
    }
}

/// A request until its answer begins; dropped before, it was taken back.
#[derive(Debug)]
pub(super) struct Asking(Option<Arc<Asked>>);

impl Asking {
    /// Its answer begins.
    pub(super) fn answered(mut self) {
        self.0 = None;
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let Some(asked) = self.0.take() else { return };
        let taken_back = asked.taken_back.fetch_add(1, Ordering::Relaxed) + 1;
        if taken_back > TAKEN_BACK && taken_back * 2 > asked.count.load(Ordering::Relaxed) {
            asked.abused.cancel();
        }
    }
}
