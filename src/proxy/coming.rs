//! An agent's answer's body as it comes from the connection that the answer has.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::SET_COOKIE;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;

use super::broke::Broke;
use super::hop;
use super::patience::{BodyError, Limits, Patience};
use super::pool::Lease;
use super::runs::Runs;

/// Where it comes from.
#[derive(Debug)]
pub(super) enum Coming {
    /// The connection itself.
    Http1,
    H2c(Incoming),
}

/// See the module.
#[derive(Debug)]
pub(super) struct AgentBody {
    coming: Coming,
    patience: Patience,
    ended: bool,
    /// Why it breaks off, when that was not said yet.
    broke: Option<Broke>,
    lease: Option<Lease>,
    /// Where it is read to its end when the client goes.
    pub(super) runs: Option<Runs>,
}

impl AgentBody {
    pub(super) fn new(coming: Coming, limits: Limits, lease: Lease) -> Self {
        Self {
            ended: lease.is_end_stream(&coming),
            coming,
            patience: Patience::new(limits),
            broke: None,
            lease: Some(lease),
            runs: None,
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        let over = |lease: &Lease| lease.is_end_stream(&self.coming);
        self.ended || self.lease.as_ref().is_some_and(over)
    }

    /// Whether more may come.
    pub(super) fn is_coming(&self) -> bool {
        self.lease.is_some() && !self.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let lease = self.lease.as_ref();
        lease.map_or_else(SizeHint::default, |lease| lease.size_hint(&self.coming))
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(error) = self.broke.take() {
            return Poll::Ready(Some(Err(BodyError::Cut(error))));
        }
        let Some(lease) = &mut self.lease else {
            return Poll::Ready(None);
        };
        let Poll::Ready(next) = lease.poll_frame(&mut self.coming, cx) else {
            return self.patience.lost(cx).map(|lost| {
                self.lease = None;
                Some(Err(lost))
            });
        };
        self.patience.moved();
        match next {
            Some(Ok(mut frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    hop::strip(trailers);
                    trailers.remove(SET_COOKIE);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                self.lease = None;
                // What came before may have come in this very moment. It goes out first: after an error hyper sends nothing more.
                self.broke = Some(error);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            None => {
                self.ended = true;
                self.give_back();
                Poll::Ready(None)
            }
        }
    }

    fn give_back(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.give_back();
        }
    }
}

impl Drop for AgentBody {
    fn drop(&mut self) {
        // A reader that knows the length never asks for the end.
        if self.is_end_stream() {
            self.give_back();
        }
    }
}
