//! The way of a live answer's pieces to who keeps its events. Its client gets them without waiting for that, unless too many wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::task::AtomicWaker;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::PollSender;

use super::recorder::Recorder;
use super::runs::Runs;

/// Pieces that wait to be kept, each in memory that may be larger than itself. With more, no more is read of the agent.
const WAIT: usize = 16;
/// The same in bytes, but for the piece that goes beyond.
const BYTES: usize = 256 << 10;

/// Events that are kept while their stream passes.
#[derive(Debug)]
pub(super) struct Recording {
    pieces: PollSender<Bytes>,
    weight: Arc<Weight>,
    done: oneshot::Receiver<()>,
}

/// What the pieces weigh that are not kept yet.
#[derive(Debug, Default)]
struct Weight {
    bytes: AtomicUsize,
    lighter: AtomicWaker,
}

impl Weight {
    fn poll_light(&self, cx: &Context<'_>) -> Poll<()> {
        let light = || self.bytes.load(Ordering::Acquire) < BYTES;
        if light() {
            return Poll::Ready(());
        }
        self.lighter.register(cx.waker());
        match light() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    fn take_off(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        self.lighter.wake();
    }
}

/// The pieces, for who keeps them.
struct Waiting(mpsc::Receiver<Bytes>, Arc<Weight>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.close();
        self.1.lighter.wake();
    }
}

impl Recording {
    /// Of an answer that begins now.
    pub(super) fn begin(mut recorder: Recorder, runs: &Runs) -> Self {
        let (pieces, waiting) = mpsc::channel(WAIT);
        let (tell, done) = oneshot::channel();
        let weight = Arc::<Weight>::default();
        let mut waiting = Waiting(waiting, Arc::clone(&weight));
        runs.spawn_last(async move {
            let mut some = Vec::with_capacity(WAIT);
            while waiting.0.recv_many(&mut some, WAIT).await > 0 {
                let piece: Vec<u8> = some.concat();
                some.clear();
                recorder.take(&piece).await;
                waiting.1.take_off(piece.len());
            }
            recorder.end().await;
            drop(tell);
        });
        Self {
            pieces: PollSender::new(pieces),
            weight,
            done,
        }
    }

    /// Ready once the next piece may pass.
    pub(super) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let light = self.weight.poll_light(cx);
        if !self.pieces.is_closed() {
            ready!(light);
        }
        // An error: nobody keeps anything any more.
        self.pieces.poll_reserve(cx).map(|_| ())
    }

    /// A piece passes.
    pub(super) fn take(&mut self, piece: Bytes) {
        self.weight.bytes.fetch_add(piece.len(), Ordering::AcqRel);
        // As above, and there was room.
        let _ = self.pieces.send_item(piece);
    }

    /// No more comes; ends when all is kept.
    pub(super) fn end(self) -> oneshot::Receiver<()> {
        self.done
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use futures::poll;

    use super::super::recorder::tests::{Numbers, recorder};
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_waits_to_be_kept_is_bounded_in_bytes_and_in_pieces() {
        for (size, count) in [(100 << 10, 3), (10, WAIT)] {
            let journal = Arc::new(Numbers::default());
            *journal.away.lock() = Some(Duration::from_secs(5));
            let mut recording = Recording::begin(recorder(&journal), &Runs::default());
            let piece = Bytes::from([&vec![b'x'; size][..], b"\n\n"].concat());
            let room = async |recording: &mut Recording| {
                poll!(std::future::poll_fn(|cx| recording.poll_room(cx))).is_ready()
            };
            for _ in 0..count {
                assert!(room(&mut recording).await);
                recording.take(piece.clone());
            }
            assert!(!room(&mut recording).await, "{count} of {size}");
            *journal.away.lock() = None;
            std::future::poll_fn(|cx| recording.poll_room(cx)).await;
        }
    }
}
