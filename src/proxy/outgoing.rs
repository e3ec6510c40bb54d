//! A request on its way out on a connection of HTTP/1.1: its head, and its body as it comes.

use std::fmt;
use std::io::{self, IoSlice, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    HOST, HeaderMap, HeaderName, HeaderValue, MAX_FORWARDS, SET_COOKIE, TE, TRAILER,
    TRANSFER_ENCODING,
};
use http::{Method, Request};
use http_body::{Body as _, Frame};
use tokio::io::AsyncWrite;

use super::body::RequestBody;
use super::broke::Broke;
use super::patience::BodyError;
use super::{heads, hop};

/// Pieces of a body are gathered up to so many bytes, so that they go out in one; a larger one goes as it is.
const GATHERED: usize = 8 * 1024;

/// Fields that no trailer may be: they say what a message is, or whom it is for (RFC 9110 §6.5.1).
static NO_TRAILERS: [HeaderName; 12] = [
    AUTHORIZATION,
    CACHE_CONTROL,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    CONTENT_TYPE,
    HOST,
    MAX_FORWARDS,
    SET_COOKIE,
    TRAILER,
    TRANSFER_ENCODING,
    TE,
];

/// See the module.
pub(super) struct Outgoing {
    /// Heads, sizes of chunks and small pieces, and how much of it is gone.
    bytes: Vec<u8>,
    gone: usize,
    /// What comes behind it,
    piece: Bytes,
    /// and behind that.
    behind: &'static [u8],
    /// What is still to come.
    body: RequestBody,
    framing: Framing,
}

// What a client sent is nobody's to print.
impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("framing", &self.framing)
            .finish_non_exhaustive()
    }
}

/// How the body's end is told.
#[derive(Debug)]
enum Framing {
    /// So many bytes are to come.
    Length(u64),
    /// In chunks, and then these fields.
    Chunked(Vec<HeaderName>),
}

impl Outgoing {
    pub(super) const fn new() -> Self {
        Self {
            bytes: Vec::new(),
            gone: 0,
            piece: Bytes::new(),
            behind: b"",
            body: RequestBody::empty(),
            framing: Framing::Length(0),
        }
    }

    /// Has this request go out. Its body is taken from it.
    pub(super) fn begin(&mut self, request: &mut Request<RequestBody>) {
        self.bytes.clear();
        self.gone = 0;
        let (method, body) = (request.method().clone(), request.body());
        let known = body.size_hint().exact();
        let is_empty = body.is_end_stream();
        let headers = request.headers_mut();
        self.framing = match is_empty {
            true => {
                headers.remove(TRANSFER_ENCODING);
                Framing::Length(0)
            }
            false => Framing::of(headers, &method, known),
        };
        heads::write(request, &mut self.bytes);
        self.body = std::mem::replace(request.body_mut(), RequestBody::empty());
        if matches!(self.framing, Framing::Length(0)) {
            self.body = RequestBody::empty();
        }
    }

    /// Whether all of it went.
    pub(super) fn is_over(&self) -> bool {
        self.body.is_empty() && self.is_flushed()
    }

    fn is_flushed(&self) -> bool {
        self.gone == self.bytes.len() && self.piece.is_empty() && self.behind.is_empty()
    }

    /// Lets go of what did not go yet.
    pub(super) fn drop_rest(&mut self) {
        *self = Self::new();
    }

    /// Writes until all went.
    ///
    /// # Errors
    /// The connection's, or the body's own.
    pub(super) fn poll<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Broke>> {
        loop {
            let waits = self.gather(cx)?;
            while !self.is_flushed() {
                ready!(self.write(stream, cx))?;
            }
            self.bytes.clear();
            self.gone = 0;
            if self.body.is_empty() {
                return Poll::Ready(Ok(()));
            }
            if waits {
                return Poll::Pending;
            }
        }
    }

    /// Takes what there is of the body, up to a measure. Says whether more is to come, and is waited for.
    fn gather(&mut self, cx: &mut Context<'_>) -> Result<bool, Broke> {
        // A piece may be gone, and what comes behind it not yet.
        let room = |this: &Self| this.bytes.len() < GATHERED && this.behind.is_empty();
        while !self.body.is_empty() && self.piece.is_empty() && room(self) {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Pending => return Ok(true),
                Poll::Ready(Some(Ok(frame))) => {
                    self.frame(frame);
                    if matches!(self.framing, Framing::Length(0)) {
                        // Who knows its length reads no further.
                        self.body = RequestBody::empty();
                    } else if self.body.is_end_stream() {
                        self.end()?;
                    }
                }
                Poll::Ready(Some(Err(error))) => return Err(Broke::Upload(Box::new(error))),
                Poll::Ready(None) => self.end()?,
            }
        }
        Ok(false)
    }

    fn frame(&mut self, frame: Frame<Bytes>) {
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(other) => {
                if let Ok(trailers) = other.into_trailers() {
                    self.trailers(&trailers);
                }
                return;
            }
        };
        if data.is_empty() {
            return;
        }
        match &mut self.framing {
            Framing::Length(left) => {
                let count = usize::try_from(*left).map_or(data.len(), |left| left.min(data.len()));
                *left -= count as u64;
                self.put(data.slice(..count), b"");
            }
            Framing::Chunked(_) => {
                let _ = write!(self.bytes, "{:X}\r\n", data.len());
                self.put(data, b"\r\n");
            }
        }
    }

    fn put(&mut self, data: Bytes, behind: &'static [u8]) {
        if self.bytes.len() + data.len() <= GATHERED {
            self.bytes.extend_from_slice(&data);
            self.bytes.extend_from_slice(behind);
        } else {
            self.piece = data;
            self.behind = behind;
        }
    }

    fn trailers(&mut self, trailers: &HeaderMap) {
        let Framing::Chunked(named) = &self.framing else {
            return;
        };
        let mut passing = HeaderMap::new();
        for (name, value) in trailers {
            if named.contains(name) && !NO_TRAILERS.contains(name) {
                passing.append(name, value.clone());
            }
        }
        self.body = RequestBody::empty();
        let mut text = b"0\r\n".to_vec();
        heads::write_fields(&passing, &mut text);
        text.extend_from_slice(b"\r\n");
        self.put(text.into(), b"");
    }

    /// The body is over.
    fn end(&mut self) -> Result<(), Broke> {
        if self.body.is_empty() {
            return Ok(());
        }
        self.body = RequestBody::empty();
        match self.framing {
            Framing::Length(0) => Ok(()),
            Framing::Length(_) => Err(Broke::Upload(Box::new(BodyError::Short))),
            Framing::Chunked(_) => {
                match self.piece.is_empty() {
                    true => self.bytes.extend_from_slice(b"0\r\n\r\n"),
                    false => self.behind = b"\r\n0\r\n\r\n",
                }
                Ok(())
            }
        }
    }

    fn write<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let bytes = self.bytes.get(self.gone..).unwrap_or_default();
        let stream = Pin::new(stream);
        let mut count = ready!(if self.piece.is_empty() && self.behind.is_empty() {
            stream.poll_write(cx, bytes)
        } else {
            let pieces = [bytes, &self.piece, self.behind].map(IoSlice::new);
            stream.poll_write_vectored(cx, &pieces)
        })?;
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        let first = count.min(bytes.len());
        self.gone += first;
        count -= first;
        let second = count.min(self.piece.len());
        self.piece.advance(second);
        self.behind = self.behind.get(count - second..).unwrap_or_default();
        if self.piece.is_empty() {
            // Its memory, too.
            self.piece = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl Framing {
    /// How the end of a request's body is told, which its head says: as its fields have it, else as its length is known.
    fn of(headers: &mut HeaderMap, method: &Method, known: Option<u64>) -> Self {
        let said = heads::content_length(headers).ok().flatten();
        if headers.contains_key(TRANSFER_ENCODING) {
            if !heads::is_chunked(headers) {
                headers.append(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
            }
        } else if let Some(length) = said {
            return Self::Length(length);
        } else if let Some(length) = known {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
            return Self::Length(length);
        } else if [Method::GET, Method::HEAD, Method::CONNECT].contains(method) {
            // None has a body unless its head says so.
            return Self::Length(0);
        } else {
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        headers.remove(CONTENT_LENGTH);
        let named = hop::tokens(headers, &TRAILER);
        Self::Chunked(
            named
                .filter_map(|name| HeaderName::from_bytes(name).ok())
                .collect(),
        )
    }
}
