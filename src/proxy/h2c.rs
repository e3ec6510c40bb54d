//! HTTP/2 connections to agents (`proxy.protocol: h2c`, RFC 9113 §3.3 prior knowledge): one for many requests at once.
//!
//! As those of HTTP/1.1 they hang on their endpoint, in its [`Pool`](super::pool::Pool). A further one is made only when those
//! there are full. Whether anybody is there still is for the kernel to find out (`pool`), and not for HTTP/2's PING: an agent
//! whose one thread computes for a minute, or that is paused, answers no PING and is well.

use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http::{HeaderMap, Method, Request, Response, Uri, Version};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::body::RequestBody;
use super::line::Line;
use super::pool::IDLE;
use super::rescue::Rescue;

/// Requests at once on one connection, or fewer when the agent says so. Servers allow 100 or more (RFC 9113 §6.5.2).
const STREAMS: usize = 100;

/// How much of an answer's head is read.
const HEAD: u32 = 128 * 1024;

/// The connections of one container.
#[derive(Debug, Default)]
pub(super) struct Shared {
    all: Mutex<Vec<Arc<Multiplexed>>>,
    /// Held by who makes one: those who come meanwhile share it.
    pub(super) making: Arc<tokio::sync::Mutex<()>>,
}

/// One connection.
#[derive(Debug)]
struct Multiplexed {
    sender: SendRequest<RequestBody>,
    /// How many the agent lets be at once.
    most: Arc<AtomicUsize>,
    /// The agent said that it takes nothing more here.
    spent: AtomicBool,
    used: Mutex<Use>,
}

#[derive(Debug)]
struct Use {
    streams: usize,
    /// Since when that is so.
    since: Instant,
}

impl Multiplexed {
    /// Whether it is of no use any more: closed, or idle for so long that the agent may be about to close it.
    fn over(&self) -> bool {
        let used = self.used.lock();
        self.spent.load(Ordering::Relaxed)
            || self.sender.is_closed()
            || (used.streams == 0 && used.since.elapsed() > IDLE)
    }

    /// A place on it.
    fn enter(self: &Arc<Self>) -> Option<Stream> {
        let most = self.most.load(Ordering::Relaxed).min(STREAMS);
        let mut used = self.used.lock();
        if used.streams >= most {
            return None;
        }
        used.streams += 1;
        Some(Stream(Arc::clone(self)))
    }
}

/// A place for one request on a connection; free again when it is dropped.
#[derive(Debug)]
pub(super) struct Stream(Arc<Multiplexed>);

impl Drop for Stream {
    fn drop(&mut self) {
        let mut used = self.0.used.lock();
        used.streams = used.streams.saturating_sub(1);
        used.since = Instant::now();
    }
}

impl Shared {
    /// A place on a connection that stands.
    pub(super) fn enter(&self) -> Option<Stream> {
        let mut all = self.all.lock();
        all.retain(|one| !one.over());
        all.iter().find_map(Multiplexed::enter)
    }

    /// Lets go of all: what is in flight on them finishes.
    pub(super) fn clear(&self) {
        self.all.lock().clear();
    }

    /// Lets go of what is over. Says whether any is left.
    pub(super) fn sweep(&self) -> bool {
        let mut all = self.all.lock();
        all.retain(|one| !one.over());
        !all.is_empty()
    }

    /// Keeps a new connection for others too, until it ends.
    pub(super) fn keep(&self, stream: &Stream) {
        self.all.lock().push(Arc::clone(&stream.0));
    }
}

/// Begins HTTP/2 on a connection, with one place taken.
///
/// # Errors
/// When nothing can be written. An agent that does not speak HTTP/2 is found out by its first answer.
pub(super) async fn handshake(line: Line<TcpStream>) -> hyper::Result<Stream> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.max_header_list_size(HEAD);
    let (sender, connection) = builder.handshake(TokioIo::new(line)).await?;
    let most = Arc::new(AtomicUsize::new(STREAMS));
    let told = Arc::clone(&most);
    let mut connection = Box::pin(connection);
    tokio::spawn(async move {
        let driving = std::future::poll_fn(|cx| {
            let driven = connection.as_mut().poll(cx);
            told.store(connection.current_max_send_streams(), Ordering::Relaxed);
            driven
        });
        if let Err(error) = driving.await {
            tracing::trace!(%error, "connection to an agent ended");
        }
    });
    let used = Use {
        streams: 1,
        since: Instant::now(),
    };
    Ok(Stream(Arc::new(Multiplexed {
        sender,
        most,
        spent: AtomicBool::new(false),
        used: Mutex::new(used),
    })))
}

/// What became of a request that was given to a connection.
pub(super) enum Sent {
    /// The answer's head is here.
    Answered(Response<Incoming>, Stream),
    /// The connection takes no more; the agent saw nothing of it.
    Unsent(Request<RequestBody>),
    /// The agent saw it and says that it did nothing with it.
    Refused(Request<RequestBody>),
    /// Some of it may have been handled.
    Lost(hyper::Error, Rescue),
}

impl Stream {
    /// Sends a request and waits for the answer's head. Dropping the future cancels the request, and it alone.
    pub(super) async fn send(self, request: Request<RequestBody>) -> Sent {
        let (parts, body) = request.into_parts();
        let head = Head::of(&parts);
        let (body, rescue) = body.lent();
        let mut sender = self.0.sender.clone();
        let sending = sender.try_send_request(Request::from_parts(parts, body));
        let mut error = match sending.await {
            Ok(response) => {
                rescue.give_up();
                return Sent::Answered(response, self);
            }
            Err(error) => error,
        };
        let unsent = error.take_message().map(|_| Unhandled::ByConnection);
        let error = error.into_error();
        let Some(unhandled) = unsent.or_else(|| unhandled(&error)) else {
            return Sent::Lost(error, rescue);
        };
        if unhandled == Unhandled::ByConnection {
            self.0.spent.store(true, Ordering::Relaxed);
        }
        match (rescue.take_back(), unhandled) {
            (Some(body), Unhandled::ByConnection) => Sent::Unsent(head.with(body)),
            (Some(body), Unhandled::Refused) => Sent::Refused(head.with(body)),
            (None, _) => Sent::Lost(error, rescue),
        }
    }
}

/// How an agent did nothing with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unhandled {
    /// The connection takes no more requests, and this is one of those.
    ByConnection,
    /// It was refused by itself.
    Refused,
}

/// Whether the agent says that it did nothing with the request (RFC 9113 §8.7): it refused it, or gave up the connection before
/// it. What was there at a GOAWAY, and whose answer is lost with the connection, is told apart by h2.
fn unhandled(error: &hyper::Error) -> Option<Unhandled> {
    let error = reason(error)?;
    if !error.is_remote() {
        return None;
    }
    if error.is_go_away() {
        return Some(Unhandled::ByConnection);
    }
    (error.reason() == Some(h2::Reason::REFUSED_STREAM)).then_some(Unhandled::Refused)
}

/// Whether what came from the agent was no HTTP/2.
pub(super) fn is_foreign(error: &hyper::Error) -> bool {
    reason(error).is_some_and(|error| error.is_go_away() && error.is_library())
}

fn reason(error: &hyper::Error) -> Option<&h2::Error> {
    error.source()?.downcast_ref()
}

/// A request without its body.
struct Head {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl Head {
    fn of(parts: &http::request::Parts) -> Self {
        Self {
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            headers: parts.headers.clone(),
        }
    }

    fn with(self, body: RequestBody) -> Request<RequestBody> {
        let mut request = Request::new(body);
        *request.version_mut() = Version::HTTP_2;
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.headers_mut() = self.headers;
        request
    }
}
