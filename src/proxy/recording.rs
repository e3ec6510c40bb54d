//! The way of a live answer's pieces to who keeps its events. Its client gets them without waiting for that, unless too many wait.

use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::PollSender;

use super::recorder::Recorder;
use super::runs::Runs;

/// Pieces that wait to be kept. With more, no more is read of the agent.
const WAIT: usize = 16;

/// Events that are kept while their stream passes.
#[derive(Debug)]
pub(super) struct Recording {
    pieces: PollSender<Bytes>,
    done: oneshot::Receiver<()>,
}

impl Recording {
    /// Of an answer that begins now.
    pub(super) fn begin(mut recorder: Recorder, runs: &Runs) -> Self {
        let (pieces, mut waiting) = mpsc::channel(WAIT);
        let (tell, done) = oneshot::channel();
        runs.spawn_last(async move {
            let mut some = Vec::with_capacity(WAIT);
            while waiting.recv_many(&mut some, WAIT).await > 0 {
                let piece: Vec<u8> = some.concat();
                recorder.take(&piece).await;
                some.clear();
            }
            drop(tell);
        });
        Self {
            pieces: PollSender::new(pieces),
            done,
        }
    }

    /// Ready once the next piece may pass.
    pub(super) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // An error: nobody keeps anything any more.
        self.pieces.poll_reserve(cx).map(|_| ())
    }

    /// A piece passes.
    pub(super) fn take(&mut self, piece: Bytes) {
        // As above, and there was room.
        let _ = self.pieces.send_item(piece);
    }

    /// No more comes; ends when all is kept.
    pub(super) fn end(self) -> oneshot::Receiver<()> {
        self.done
    }
}
