//! The bodies on the data path: a request's on its way to the agent, an answer's on its way to the client.
//!
//! Both stream frame by frame with back-pressure, trailers included. An answer's body holds the connection and the count of
//! requests in flight until its last byte is through, then gives the connection back; dropped earlier (the client went), it
//! closes the connection, which cancels the agent's request.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::account::Account;
use super::capture::Copy;
use super::coming::{AgentBody, Coming};
use super::live::Live;
use super::patience::{BodyError, Limits, Patience};
use super::pool::Lease;
use super::rescue::{self, Again, Loan, Rescue};
use super::runs::Runs;
use super::upload::Upload;

/// When the last piece of a request went out; for the time-out of the answer's first byte.
pub(super) type Progress = Arc<Mutex<Instant>>;

/// A request's body on its way to the agent. Most requests have none, and each is moved many times: what there is of one stands
/// elsewhere.
#[derive(Debug)]
pub struct RequestBody(Option<Box<Sending>>);

#[derive(Debug)]
struct Sending {
    source: Source,
    patience: Patience,
    progress: Option<Progress>,
    /// What passes, in case that no answer comes.
    copy: Option<Copy>,
}

#[derive(Debug)]
enum Source {
    Client(Upload),
    Kept(Full<Bytes>),
    Lent(Loan),
    Again(Box<Again>),
}

impl Source {
    fn is_end_stream(&self) -> bool {
        match self {
            Self::Client(Upload(incoming)) => incoming.as_ref().is_none_or(Incoming::is_end_stream),
            Self::Kept(full) => full.is_end_stream(),
            Self::Lent(loan) => loan.is_end_stream(),
            Self::Again(again) => again.is_end_stream(),
        }
    }
}

impl RequestBody {
    /// No body: the request can be sent again.
    pub const fn empty() -> Self {
        Self(None)
    }

    /// A body that is all there, as a record's of the journal.
    pub fn kept(bytes: Bytes) -> Self {
        Self::of(Source::Kept(Full::new(bytes)), Limits::default())
    }

    /// A client's body as it comes.
    pub(super) fn client(incoming: Incoming, limits: Limits, progress: Option<Progress>) -> Self {
        if incoming.is_end_stream() {
            return Self::empty();
        }
        let mut body = Self::of(Source::Client(Upload(Some(incoming))), limits);
        if let Some(sending) = &mut body.0 {
            sending.progress = progress;
        }
        body
    }

    /// Copies what passes; to be asked before any of it did.
    pub(super) fn copied(&mut self, copy: Copy) {
        match &mut self.0 {
            Some(sending) if !sending.source.is_end_stream() => sending.copy = Some(copy),
            // There is nothing to wait for.
            _ => copy.ended(),
        }
    }

    /// Lends it, so that it can be had back.
    pub(super) fn lent(self) -> (Self, Rescue) {
        let (loan, rescue) = rescue::lend(self);
        (Self::of(Source::Lent(loan), Limits::default()), rescue)
    }

    /// One that was had back.
    pub(super) fn again(again: Again) -> Self {
        Self::of(Source::Again(Box::new(again)), Limits::default())
    }

    /// One that was read in part.
    pub(super) fn resumed(pieces: Vec<Bytes>, trailers: Option<HeaderMap>, rest: Self) -> Self {
        Self::again(Again::of(pieces, trailers, rest))
    }

    fn of(source: Source, limits: Limits) -> Self {
        Self(Some(Box::new(Sending {
            source,
            patience: Patience::new(limits),
            progress: None,
            copy: None,
        })))
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(this) = self.0.as_deref_mut() else {
            return Poll::Ready(None);
        };
        let polled = match &mut this.source {
            Source::Client(Upload(None)) => return Poll::Ready(None),
            Source::Client(Upload(Some(incoming))) => {
                let polled = Pin::new(incoming).poll_frame(cx);
                if polled.is_pending() {
                    return this.patience.lost(cx).map(|lost| Some(Err(lost)));
                }
                this.patience.moved();
                if let Some(progress) = &this.progress {
                    *progress.lock() = Instant::now();
                }
                polled.map_err(BodyError::Broken)
            }
            Source::Kept(full) => Pin::new(full)
                .poll_frame(cx)
                .map_err(|never| match never {}),
            // Those within have a patience of their own.
            Source::Lent(loan) => return loan.poll_frame(cx),
            Source::Again(again) => again.poll_frame(cx),
        };
        if let (Some(copy), Poll::Ready(frame)) = (&this.copy, &polled) {
            match frame {
                Some(Ok(frame)) => {
                    if let Some(piece) = frame.data_ref() {
                        copy.add(piece);
                    }
                    if this.source.is_end_stream() {
                        copy.ended();
                    }
                }
                None => copy.ended(),
                Some(Err(_)) => {}
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        let sending = self.0.as_ref();
        sending.is_none_or(|sending| sending.source.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let Some(sending) = &self.0 else {
            return SizeHint::with_exact(0);
        };
        match &sending.source {
            Source::Client(Upload(incoming)) => incoming
                .as_ref()
                .map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint),
            Source::Kept(full) => full.size_hint(),
            Source::Lent(loan) => loan.size_hint(),
            Source::Again(again) => again.size_hint(),
        }
    }
}

/// What the proxy answers with: an agent's body, or a problem of ours.
#[derive(Debug)]
pub struct ProxyBody {
    inner: Inner,
    /// Settled with the body's end.
    account: Option<Account>,
    /// Of a request that was written first; told of the body's end.
    live: Option<Box<Live>>,
}

#[derive(Debug)]
enum Inner {
    Ours(Full<Bytes>),
    Agent(Box<AgentBody>),
}

impl ProxyBody {
    /// A body of our own; may be empty.
    pub(super) fn ours(bytes: impl Into<Bytes>) -> Self {
        Self {
            inner: Inner::Ours(Full::new(bytes.into())),
            account: None,
            live: None,
        }
    }

    /// An agent's; `lease` is given back at its end.
    pub(super) fn agent(coming: Coming, limits: Limits, lease: Lease) -> Self {
        Self {
            inner: Inner::Agent(Box::new(AgentBody::new(coming, limits, lease))),
            account: None,
            live: None,
        }
    }

    /// The same, and it is read to its end when the client goes.
    pub(super) fn lasting(coming: Coming, limits: Limits, lease: Lease, runs: Runs) -> Self {
        let mut body = Self::agent(coming, limits, lease);
        if let Inner::Agent(body) = &mut body.inner {
            body.runs = Some(runs);
        }
        body
    }

    /// Has this account settled with the body's end.
    pub(super) fn settle(&mut self, account: Account) {
        self.account = Some(account);
    }

    /// The same of a request that was written first.
    pub(super) fn of_live(mut self, live: Option<Box<Live>>) -> Self {
        self.live = live;
        self
    }

    /// Reads it to its end and throws it away.
    pub(super) async fn finish(mut self) {
        while let Some(Ok(_)) = std::future::poll_fn(|cx| Pin::new(&mut self).poll_frame(cx)).await
        {
        }
    }
}

impl Drop for ProxyBody {
    fn drop(&mut self) {
        // A reader that knows the length never asks for the end.
        if self.is_end_stream() {
            if let Some(account) = &mut self.account {
                account.whole();
            }
            if let Some(live) = &mut self.live {
                live.ends(true);
            }
        }
        let Inner::Agent(body) = &mut self.inner else {
            return;
        };
        if let Some(runs) = body.runs.take().filter(|_| body.is_coming()) {
            let rest = Self {
                inner: std::mem::replace(&mut self.inner, Inner::Ours(Full::default())),
                account: None,
                live: self.live.take(),
            };
            runs.spawn(rest.finish());
        }
    }
}

impl Body for ProxyBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if this
            .live
            .as_mut()
            .is_some_and(|it| it.poll_cut(cx).is_ready())
        {
            this.inner = Inner::Ours(Full::default());
            this.live = None;
            return Poll::Ready(Some(Err(BodyError::Cancelled)));
        }
        if let Some(live) = &mut this.live {
            std::task::ready!(live.poll_room(cx));
        }
        let polled = match &mut this.inner {
            Inner::Ours(full) => Pin::new(full)
                .poll_frame(cx)
                .map_err(|never| match never {}),
            Inner::Agent(body) => body.poll_frame(cx),
        };
        if let Some(account) = &mut this.account {
            match &polled {
                Poll::Ready(Some(Ok(frame))) => {
                    let data = frame.data_ref().map_or(0, Bytes::len);
                    account.sent(data as u64);
                    // Nothing comes after trailers, and hyper asks for nothing more.
                    if frame.is_trailers() {
                        account.whole();
                    }
                }
                Poll::Ready(None) => account.whole(),
                Poll::Ready(Some(Err(_))) | Poll::Pending => {}
            }
        }
        if let Some(live) = &mut this.live {
            match &polled {
                Poll::Ready(Some(Ok(frame))) => {
                    if let Some(piece) = frame.data_ref() {
                        live.passes(piece);
                    } else {
                        live.ends(true);
                    }
                }
                Poll::Ready(None) => live.ends(true),
                Poll::Ready(Some(Err(_))) => live.ends(false),
                Poll::Pending => {}
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Ours(full) => full.is_end_stream(),
            Inner::Agent(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Ours(full) => full.size_hint(),
            Inner::Agent(body) => body.size_hint(),
        }
    }
}
