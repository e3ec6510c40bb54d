//! What is left of an exchange whose answer began before its request was all sent: both go on side by side.
//!
//! Whoever reads the answer reads no faster than its client does, and the request must not wait for that: a client may send all
//! of it before it reads anything. So a task moves both. Its connection is not used again.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::Stream as _;
use futures::channel::mpsc::{Receiver, Sender, channel};
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::AbortHandle;

use super::broke::Broke;
use super::http1::Exchange;

type Piece = Result<Frame<Bytes>, Broke>;

/// The answer's body, as the task passes it on.
#[derive(Debug)]
pub(super) struct Pumped {
    pieces: Receiver<Option<Piece>>,
    /// What was known of its length when it began.
    left: Option<u64>,
    over: bool,
    task: Option<AbortHandle>,
}

/// Whoever goes before the answer is over cancels the exchange; after that the rest of the request may go on.
impl Drop for Pumped {
    fn drop(&mut self) {
        if let Some(task) = self.task.take()
            && !self.over
        {
            task.abort();
        }
    }
}

impl Pumped {
    /// One that is over.
    pub(super) fn none() -> Self {
        Self {
            pieces: channel(0).1,
            left: Some(0),
            over: true,
            task: None,
        }
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Piece>> {
        if self.over {
            return Poll::Ready(None);
        }
        Pin::new(&mut self.pieces).poll_next(cx).map(|next| {
            let piece = match next {
                Some(Some(piece)) => piece,
                Some(None) => {
                    self.over = true;
                    return None;
                }
                // The task is gone.
                None => Err(Broke::Ended),
            };
            if let Ok(frame) = &piece {
                let length = frame.data_ref().map_or(0, Bytes::len) as u64;
                self.left = self.left.map(|left| left.saturating_sub(length));
                self.over = self.left == Some(0) || frame.is_trailers();
            }
            Some(piece)
        })
    }

    pub(super) const fn is_end_stream(&self) -> bool {
        self.over
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.left
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// Has a task see to the rest of an exchange.
pub(super) fn start<S>(exchange: Box<Exchange<S>>) -> Pumped
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (tell, pieces) = channel(0);
    let mut pumped = Pumped {
        pieces,
        left: exchange.size_hint().exact(),
        over: exchange.is_answered(),
        task: None,
    };
    let mut pump = Pump {
        exchange,
        tell: (!pumped.over).then_some(tell),
    };
    let task = tokio::spawn(std::future::poll_fn(move |cx| pump.poll(cx)));
    pumped.task = Some(task.abort_handle());
    pumped
}

struct Pump<S> {
    exchange: Box<Exchange<S>>,
    /// Until the answer is over.
    tell: Option<Sender<Option<Piece>>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Pump<S> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let sent = match self.exchange.poll_send(cx) {
            // The answer may go on all the same.
            Poll::Ready(Ok(()) | Err(Broke::Io(_))) => true,
            Poll::Ready(Err(error)) => {
                if let Some(tell) = &mut self.tell {
                    let _ = tell.try_send(Some(Err(error)));
                }
                return Poll::Ready(());
            }
            Poll::Pending => false,
        };
        while let Some(tell) = &mut self.tell {
            match tell.poll_ready(cx) {
                Poll::Ready(Ok(())) => {}
                // Nobody reads it.
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
            let Poll::Ready(next) = self.exchange.poll_frame(cx) else {
                return Poll::Pending;
            };
            let broke = matches!(next, Some(Err(_)));
            let over = next.is_none() || self.exchange.is_answered();
            let _ = tell.start_send(next);
            if broke {
                return Poll::Ready(());
            }
            if over {
                self.tell = None;
            }
        }
        match sent {
            true => Poll::Ready(()),
            false => self.exchange.poll_closed(cx),
        }
    }
}
