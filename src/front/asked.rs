//! What a client asks on one connection: whether anything of late, and whether it takes most of it back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
    /// Cancelled at the first request of HTTP/2.
    pub(super) http2: CancellationToken,
    /// Cancelled when most of it is taken back.
    pub(super) abused: CancellationToken,
}

impl Asked {
    /// A request came.
    pub(super) fn begin(self: &Arc<Self>, is_http2: bool) -> Asking {
        self.count.fetch_add(1, Ordering::Relaxed);
        if is_http2 && !self.http2.is_cancelled() {
            self.http2.cancel();
        }
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
