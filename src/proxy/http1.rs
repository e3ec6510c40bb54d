//! An HTTP/1.1 connection to an agent, driven by the request that has it: nothing of it is a task, so nothing wakes another one.
//!
//! A codec of our own on httparse. Between us and an agent there is one exchange at a time, requests are such as we made, and an
//! answer's body is read by who holds the connection: so there are no channels, and buffers and maps are used again. What is an answer,
//! where it ends, and when a connection may be used again is decided as strictly as hyper does it, beside which it is tested.
//!
//! One case gets a task, since there something has to move that nobody waits for: an answer that begins while its request is still
//! being sent (`pump`).

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::coop::has_budget_remaining;
use tokio_util::io::poll_read_buf;

use super::body::RequestBody;
use super::broke::Broke;
use super::chunks::{Chunks, Step};
use super::heads::{self, Length};
use super::line::Line;
use super::outgoing::Outgoing;
use super::pump::{self, Pumped};

/// How much is read at once at first, and at most when there always is as much. Most answers are small, and with many connections it
/// matters how close together in memory they are.
const FIRST: usize = 2 * 1024;
const MOST: usize = 256 * 1024;

/// A connection.
#[derive(Debug)]
pub(super) struct Http1<S = Line<TcpStream>>(Way<S>);

#[derive(Debug)]
enum Way<S> {
    Own(Box<Exchange<S>>),
    /// A task has it.
    Pumped(Box<Pumped>),
}

/// A connection and the exchange on it.
pub(super) struct Exchange<S> {
    stream: S,
    /// What came and nobody took yet.
    read: BytesMut,
    /// How much is read next.
    room: usize,
    /// Whether less came the last time.
    less: bool,
    outgoing: Outgoing,
    reading: Reading,
    /// Why no more of the request could be written.
    unsent: Option<io::Error>,
    /// A map to be used again.
    fields: HeaderMap,
    /// Whether the connection can have another exchange after this one.
    stays: bool,
}

// What passes is nobody's to print.
impl<S> fmt::Debug for Exchange<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange")
            .field("reading", &self.reading)
            .field("stays", &self.stays)
            .finish_non_exhaustive()
    }
}

/// Where in an answer the next byte is.
#[derive(Debug)]
enum Reading {
    /// In its head, of which so much was looked at and is not all.
    Head(usize),
    Length(u64),
    Chunks(Chunks),
    /// In a body that ends with the connection.
    Close,
    /// Behind it.
    Over,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum NotAnswered {
    /// The connection was closed before; the request is as it was.
    Unsent,
    /// Some of the request may have been read. One without a body is as it was.
    Lost(Broke),
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Http1<S> {
    pub(super) fn new(stream: S) -> Self {
        Self(Way::Own(Box::new(Exchange {
            stream,
            read: BytesMut::new(),
            room: FIRST,
            less: false,
            outgoing: Outgoing::new(),
            reading: Reading::Over,
            unsent: None,
            fields: HeaderMap::new(),
            stays: true,
        })))
    }

    /// Sends a request and waits for the answer's head. Dropping the future, and the connection, cancels the request.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn send(
        &mut self,
        request: &mut Request<RequestBody>,
    ) -> Result<Response<()>, NotAnswered> {
        let Way::Own(exchange) = &mut self.0 else {
            return Err(NotAnswered::Unsent);
        };
        let mut begun = false;
        let answered = poll_fn(|cx| {
            if !begun {
                if !exchange.is_idle(cx) {
                    return Poll::Ready(Err(NotAnswered::Unsent));
                }
                exchange.begin(request);
                begun = true;
            }
            exchange.poll_answer(request, cx).map_err(NotAnswered::Lost)
        });
        let answer = answered.await?;
        if !exchange.outgoing.is_over() {
            self.pump();
        }
        Ok(answer)
    }

    /// Has a task see to the rest of the exchange.
    fn pump(&mut self) {
        // Its place is taken by one without an end until then.
        let pumped = Way::Pumped(Box::new(Pumped::none()));
        match std::mem::replace(&mut self.0, pumped) {
            Way::Own(exchange) => self.0 = Way::Pumped(Box::new(pump::start(exchange))),
            pumped @ Way::Pumped(_) => self.0 = pumped,
        }
    }

    /// The answer's body, piece by piece.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broke>>> {
        match &mut self.0 {
            Way::Own(exchange) => exchange.poll_frame(cx),
            Way::Pumped(pumped) => pumped.poll_frame(cx),
        }
    }

    /// Whether the answer's body is over.
    pub(super) fn is_end_stream(&self) -> bool {
        match &self.0 {
            Way::Own(exchange) => exchange.is_answered(),
            Way::Pumped(pumped) => pumped.is_end_stream(),
        }
    }

    /// How much of the answer's body is still to come.
    pub(super) fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Way::Own(exchange) => exchange.size_hint(),
            Way::Pumped(pumped) => pumped.size_hint(),
        }
    }

    /// Whether the exchange is over, and the connection can have another one.
    pub(super) fn is_reusable(&self) -> bool {
        match &self.0 {
            Way::Own(exchange) => exchange.is_reusable(),
            Way::Pumped(_) => false,
        }
    }

    /// The connection after a change of protocol, and what was read of it already.
    pub(super) fn into_changed(self) -> Option<(S, Bytes)> {
        match self.0 {
            Way::Own(exchange) => Some((exchange.stream, exchange.read.freeze())),
            Way::Pumped(_) => None,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Exchange<S> {
    /// Whether the connection stands, and nothing came that nobody asked for. A task that is out of its budget is told "pending"
    /// unread, and knows nothing.
    fn is_idle(&mut self, cx: &mut Context<'_>) -> bool {
        self.stays && self.read.is_empty() && has_budget_remaining() && self.fill(cx).is_pending()
    }

    fn begin(&mut self, request: &mut Request<RequestBody>) {
        self.outgoing.begin(request);
        self.reading = Reading::Head(0);
    }

    /// Sends what there is to send, and reads the answer's head.
    fn poll_answer(
        &mut self,
        request: &mut Request<RequestBody>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<()>, Broke>> {
        match self.poll_send(cx) {
            // Who closes before it has read all may have said why.
            Poll::Ready(Err(Broke::Io(error))) => self.unsent = Some(error),
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        loop {
            if let Reading::Head(tried) = &mut self.reading
                && !self.read.is_empty()
            {
                let head = heads::read(&mut self.read, tried, request.method(), &mut self.fields)?;
                if let Some(head) = head {
                    return Poll::Ready(Ok(self.answer(head, request)));
                }
            }
            let error = match ready!(self.fill(cx)) {
                Ok(1..) => continue,
                Ok(0) => self.unsent.take().map_or(Broke::Ended, Broke::Io),
                Err(error) => Broke::Io(self.unsent.take().unwrap_or(error)),
            };
            return Poll::Ready(Err(error));
        }
    }

    fn answer(&mut self, head: heads::Head, request: &mut Request<RequestBody>) -> Response<()> {
        self.stays &= head.stays;
        self.reading = match head.length {
            Length::Known(0) => Reading::Over,
            Length::Known(length) => {
                let room = usize::try_from(length).unwrap_or(MOST).min(MOST);
                self.room = self.room.max(room);
                Reading::Length(length)
            }
            Length::Chunked => Reading::Chunks(Chunks::new()),
            Length::Close => Reading::Close,
        };
        let mut answer = Response::new(());
        *answer.status_mut() = head.status;
        *answer.version_mut() = head.version;
        if let Some(reason) = head.reason {
            answer.extensions_mut().insert(reason);
        }
        // Never to be sent again: an answer began.
        let sent = std::mem::take(request.headers_mut());
        *answer.headers_mut() = std::mem::replace(&mut self.fields, sent);
        self.fields.clear();
        answer
    }

    /// Sends what there is to send.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broke>> {
        if self.outgoing.is_over() {
            return Poll::Ready(Ok(()));
        }
        let sent = self.outgoing.poll(&mut self.stream, cx);
        if let Poll::Ready(Err(_)) = &sent {
            self.outgoing.drop_rest();
            self.stays = false;
        }
        sent
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broke>>> {
        loop {
            let step = match &mut self.reading {
                Reading::Over | Reading::Head(_) => return Poll::Ready(None),
                Reading::Chunks(chunks) => chunks.step(&mut self.read).map_err(Broke::Foreign),
                _ if self.read.is_empty() => Ok(Step::More),
                Reading::Close => Ok(Step::Data(self.read.split().freeze())),
                Reading::Length(left) => {
                    let there = self.read.len();
                    let count = usize::try_from(*left).map_or(there, |left| left.min(there));
                    *left -= count as u64;
                    if *left == 0 {
                        self.reading = Reading::Over;
                    }
                    Ok(Step::Data(self.read.split_to(count).freeze()))
                }
            };
            let error = match step {
                Ok(Step::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(Step::Trailers(trailers)) => {
                    self.reading = Reading::Over;
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Ok(Step::End) => {
                    self.reading = Reading::Over;
                    return Poll::Ready(None);
                }
                Ok(Step::More) => match (ready!(self.fill(cx)), &self.reading) {
                    (Ok(0), Reading::Close) => {
                        self.reading = Reading::Over;
                        return Poll::Ready(None);
                    }
                    (Ok(0), _) => Broke::Ended,
                    (Ok(_), _) => continue,
                    (Err(error), _) => Broke::Io(error),
                },
                Err(error) => error,
            };
            self.stays = false;
            return Poll::Ready(Some(Err(error)));
        }
    }

    /// Waits for the connection's end, or for anything else that comes when nothing is to come any more.
    pub(super) fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.read.is_empty() {
            true => self.fill(cx).map(|_| ()),
            false => Poll::Ready(()),
        }
    }

    pub(super) const fn is_answered(&self) -> bool {
        matches!(self.reading, Reading::Over)
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        match self.reading {
            Reading::Over => SizeHint::with_exact(0),
            Reading::Length(left) => SizeHint::with_exact(left),
            _ => SizeHint::default(),
        }
    }

    fn is_reusable(&self) -> bool {
        self.stays && self.is_answered() && self.read.is_empty() && self.outgoing.is_over()
    }

    /// Reads what there is; 0 at the connection's end.
    fn fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.read.capacity() - self.read.len() < self.room / 2 {
            self.read.reserve(self.room);
        }
        let room = self.read.capacity() - self.read.len();
        let count = ready!(poll_read_buf(
            Pin::new(&mut self.stream),
            cx,
            &mut self.read
        ))?;
        if count == room {
            self.room = (self.room * 4).min(MOST);
            self.less = false;
        } else if count < self.room / 2 {
            // Once may be chance.
            if self.less {
                self.room = (self.room / 2).max(FIRST);
            }
            self.less = !self.less;
        }
        Poll::Ready(Ok(count))
    }
}

#[cfg(test)]
#[path = "http1_tests.rs"]
mod tests;
