//! Connections to agents, kept for the next request.
//!
//! They hang on their [`Endpoint`], so a connection belongs to a container and never to an address (law 4), and dies with the
//! container's place in the table. The last one given back is the first taken; one that was idle for longer than
//! [`IDLE`] is closed, since an agent that closes idle connections itself could do so while our request is on its way. Those of
//! HTTP/1.1 are here, one request's at a time; those of HTTP/2, for many at once, in `h2c`.

use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use parking_lot::Mutex;
use rustix::net::sockopt;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::beside::Beside;
use super::body::RequestBody;
use super::broke::Broke;
use super::coming::Coming;
use super::gate::Place;
use super::h2c::{self, Shared, Stream};
use super::http1::{Http1, NotAnswered};
use super::line::Line;
use super::patience::BodyError;
use crate::agent::spec::Protocol;
use crate::endpoints::{Endpoint, InFlight};

/// How long a connection is kept without use. Below the shortest keep-alive that is common among agents' servers
/// (gunicorn 2 s, uvicorn 5 s, Node 5 s, Go none).
pub(super) const IDLE: Duration = Duration::from_millis(1500);

/// How many are kept for one container.
const KEPT: usize = 1024;

/// After so long without a byte the container's kernel is asked whether it is there still, then every [`ASKED_EVERY`].
const ASKED_AFTER: Duration = Duration::from_secs(30);
const ASKED_EVERY: Duration = Duration::from_secs(10);
/// So often in a row without an answer, and the connection is given up. A kernel answers however long its agent takes, and
/// for a frozen one too, so this is a network that is gone for a minute; a firewall that is loaded anew takes less.
const ASKED_TIMES: u32 = 6;

/// The connections of one container that may be used again.
#[derive(Debug, Default)]
pub(super) struct Pool {
    pooled: Mutex<Pooled>,
    shared: Shared,
}

/// Those of HTTP/1.1.
#[derive(Debug, Default)]
struct Pooled {
    idle: Vec<(Http1, Instant)>,
    swept: bool,
}

impl Pool {
    /// Lets go of all that is idle, and gives nothing more to those that are shared.
    pub(super) fn clear(&self) {
        self.pooled.lock().idle.clear();
        self.shared.clear();
    }

    /// Has what is idle for too long closed from now on.
    fn sweep(&self, endpoint: &Arc<Endpoint>) {
        if let Ok(runtime) = tokio::runtime::Handle::try_current()
            && !std::mem::replace(&mut self.pooled.lock().swept, true)
        {
            runtime.spawn(sweep(Arc::downgrade(endpoint)));
        }
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("nothing listens there")]
    Refused,
    #[error("no answer to the connection within {0:?}")]
    TimedOut(Duration),
    #[error("the connection failed")]
    Failed(#[source] std::io::Error),
    #[error("the connection failed")]
    Handshake(#[source] hyper::Error),
    #[error("the container was taken out of service")]
    Retired,
}

/// A connection that is ready for one request.
#[derive(Debug)]
pub(super) struct Connection {
    sender: Sender,
    in_flight: InFlight,
}

#[derive(Debug)]
enum Sender {
    Http1(Http1),
    H2c(Stream),
}

/// Takes a connection that stands; `None` when there is none that is alive and has room.
pub(super) fn reuse(endpoint: &Arc<Endpoint>, protocol: Protocol) -> Option<Connection> {
    let pool = &Beside::of(endpoint)?.pool;
    let found = match protocol {
        Protocol::Http1 => pool.take().map(Sender::Http1),
        Protocol::H2c => pool.shared.enter().map(Sender::H2c),
    };
    let in_flight = endpoint.enter();
    found
        .filter(|_| endpoint.open())
        .map(|sender| Connection { sender, in_flight })
}

impl Pool {
    fn take(&self) -> Option<Http1> {
        let mut pooled = self.pooled.lock();
        let (http1, since) = pooled.idle.pop()?;
        if since.elapsed() > IDLE {
            // Those below it have been idle for even longer.
            pooled.idle.clear();
            return None;
        }
        Some(http1)
    }
}

/// Makes a new connection; of HTTP/2, where one makes one already, has a place on that.
///
/// # Errors
/// [`ConnectError`]; nothing of a request was sent.
pub(super) async fn connect(
    endpoint: &Arc<Endpoint>,
    protocol: Protocol,
    within: Duration,
) -> Result<Connection, ConnectError> {
    let connecting = make(endpoint, protocol);
    if within.is_zero() {
        return connecting.await;
    }
    tokio::time::timeout(within, connecting)
        .await
        .map_err(|_| ConnectError::TimedOut(within))?
}

async fn make(endpoint: &Arc<Endpoint>, protocol: Protocol) -> Result<Connection, ConnectError> {
    let making = match (protocol, Beside::of(endpoint)) {
        (Protocol::H2c, Some(beside)) => Some(beside.pool.shared.making.lock().await),
        _ => None,
    };
    if making.is_some()
        && let Some(connection) = reuse(endpoint, protocol)
    {
        return Ok(connection);
    }
    let in_flight = endpoint.enter();
    if !endpoint.open() || endpoint.retired() {
        return Err(ConnectError::Retired);
    }
    let stream = TcpStream::connect(endpoint.address)
        .await
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::ConnectionRefused => ConnectError::Refused,
            _ => ConnectError::Failed(error),
        })?;
    // Fail only on a connection that is broken already, which its first use will say.
    let _ = stream.set_nodelay(true);
    let _ = keep_asking(&stream);
    let line = Line::new(stream, Arc::clone(endpoint.departure()));
    let sender = match protocol {
        Protocol::Http1 => Sender::Http1(Http1::new(line)),
        Protocol::H2c => {
            let stream = h2c::handshake(line).await;
            Sender::H2c(stream.map_err(ConnectError::Handshake)?)
        }
    };
    // The address may be another container's by now (law 4). Nothing was sent yet.
    if !endpoint.has_its_address().await || endpoint.retired() {
        return Err(ConnectError::Retired);
    }
    if let (Sender::H2c(stream), Some(Beside { pool, .. })) = (&sender, Beside::of(endpoint)) {
        pool.shared.keep(stream);
        pool.sweep(endpoint);
        if endpoint.retired() {
            // It was retired between the check and the push.
            pool.clear();
        }
    }
    Ok(Connection { sender, in_flight })
}

/// Has our kernel find out whether anybody is there: what the engine cannot tell of (a container that was removed while it was
/// off the network, a link that somebody took down) would else be waited for without end.
fn keep_asking(stream: &TcpStream) -> rustix::io::Result<()> {
    sockopt::set_tcp_keepidle(stream, ASKED_AFTER)?;
    sockopt::set_tcp_keepintvl(stream, ASKED_EVERY)?;
    sockopt::set_tcp_keepcnt(stream, ASKED_TIMES)?;
    sockopt::set_socket_keepalive(stream, true)
}

/// What became of a request that was given to a connection.
pub(super) enum Sent {
    /// The answer's head is here.
    Answered(Response<Coming>, Lease),
    /// The connection was closed before any of it was written, or before the agent did anything with it. It is as it was.
    Unsent,
    /// The agent says that it did nothing with it, and takes others on this connection (HTTP/2 alone). It is as it was.
    Refused,
    /// Some of it may have been read by the agent. On HTTP/1.1 one without a body is as it was.
    Lost(Broke),
    /// It was the client's own body that broke the exchange.
    Broken(BodyError),
}

impl Connection {
    /// Sends a request and waits for the answer's head. Dropping the future cancels the request.
    pub(super) async fn send(self, request: &mut Request<RequestBody>) -> Sent {
        let begun = Instant::now();
        let lease = |sender| Lease {
            sender,
            in_flight: self.in_flight,
            place: None,
            waited: begun.elapsed(),
        };
        match self.sender {
            Sender::Http1(mut http1) => match http1.send(request).await {
                Ok(response) => {
                    let response = response.map(|()| Coming::Http1);
                    Sent::Answered(response, lease(Sender::Http1(http1)))
                }
                Err(NotAnswered::Unsent) => Sent::Unsent,
                Err(NotAnswered::Lost(error)) => Sent::Lost(error),
            },
            Sender::H2c(stream) => {
                let none = Request::new(RequestBody::empty());
                // Seldom needed, and large.
                let sending = Box::pin(stream.send(std::mem::replace(request, none)));
                match sending.await {
                    h2c::Sent::Answered(response, stream) => {
                        let response = response.map(Coming::H2c);
                        Sent::Answered(response, lease(Sender::H2c(stream)))
                    }
                    h2c::Sent::Unsent(unsent) => {
                        *request = unsent;
                        Sent::Unsent
                    }
                    h2c::Sent::Refused(unsent) => {
                        *request = unsent;
                        Sent::Refused
                    }
                    h2c::Sent::Lost(error, rescue) => match rescue.broke() {
                        Some(broke) => Sent::Broken(broke),
                        None => Sent::Lost(error.into()),
                    },
                }
            }
        }
    }
}

/// A connection in use by an answer, and the answer's place in the count of what is in flight.
#[derive(Debug)]
pub(super) struct Lease {
    sender: Sender,
    in_flight: InFlight,
    place: Option<Place>,
    waited: Duration,
}

/// What an exchange holds beside its connection.
#[derive(Debug)]
pub(super) struct Held {
    _in_flight: InFlight,
    _place: Option<Place>,
}

impl Lease {
    /// How long the answer's head was waited for.
    pub(super) const fn waited(&self) -> Duration {
        self.waited
    }

    /// Who answers.
    pub(super) fn endpoint(&self) -> &Arc<Endpoint> {
        self.in_flight.endpoint()
    }

    /// Keeps the exchange's place among those that its agent has at once.
    pub(super) fn keep(&mut self, place: Option<Place>) {
        self.place = place;
    }

    /// The exchange is complete: keeps the connection for the next one.
    pub(super) fn give_back(self) {
        let Self {
            sender,
            in_flight,
            place: _place,
            waited: _,
        } = self;
        let endpoint = in_flight.endpoint();
        // A shared one is in the pool for as long as it lives.
        let (Sender::Http1(http1), Some(Beside { pool, .. })) = (sender, Beside::of(endpoint))
        else {
            return;
        };
        if endpoint.retired() || !http1.is_reusable() {
            return;
        }
        let mut pooled = pool.pooled.lock();
        if pooled.idle.len() < KEPT {
            pooled.idle.push((http1, Instant::now()));
        }
        let swept = pooled.swept;
        drop(pooled);
        if !swept {
            pool.sweep(endpoint);
        }
        if endpoint.retired() {
            // It was retired between the check and the push.
            pool.clear();
        }
    }

    /// The answer's body, piece by piece.
    pub(super) fn poll_frame(
        &mut self,
        coming: &mut Coming,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broke>>> {
        match (coming, &mut self.sender) {
            (Coming::H2c(incoming), _) => Pin::new(incoming).poll_frame(cx).map_err(Broke::Http2),
            (Coming::Http1, Sender::Http1(http1)) => http1.poll_frame(cx),
            (Coming::Http1, Sender::H2c(_)) => Poll::Ready(None),
        }
    }

    /// Whether the answer's body is over.
    pub(super) fn is_end_stream(&self, coming: &Coming) -> bool {
        match (coming, &self.sender) {
            (Coming::H2c(incoming), _) => incoming.is_end_stream(),
            (Coming::Http1, Sender::Http1(http1)) => http1.is_end_stream(),
            (Coming::Http1, Sender::H2c(_)) => true,
        }
    }

    /// How much of the answer's body is still to come.
    pub(super) fn size_hint(&self, coming: &Coming) -> SizeHint {
        match (coming, &self.sender) {
            (Coming::H2c(incoming), _) => incoming.size_hint(),
            (Coming::Http1, Sender::Http1(http1)) => http1.size_hint(),
            (Coming::Http1, Sender::H2c(_)) => SizeHint::with_exact(0),
        }
    }

    /// The exchange became a tunnel, which has the connection and what was read of it already.
    pub(super) fn into_tunnel(self) -> Option<(Line<TcpStream>, Bytes, Held)> {
        let Sender::Http1(http1) = self.sender else {
            return None;
        };
        let (line, read) = http1.into_changed()?;
        let held = Held {
            _in_flight: self.in_flight,
            _place: self.place,
        };
        Some((line, read, held))
    }
}

/// Closes what is idle for too long, until nothing is idle.
async fn sweep(endpoint: Weak<Endpoint>) {
    loop {
        tokio::time::sleep(IDLE).await;
        let Some(endpoint) = endpoint.upgrade() else {
            return;
        };
        let Some(Beside { pool, .. }) = Beside::of(&endpoint) else {
            return;
        };
        let shared = pool.shared.sweep();
        let mut pooled = pool.pooled.lock();
        if let Some(oldest) = Instant::now().checked_sub(IDLE) {
            pooled.idle.retain(|(_, since)| *since >= oldest);
        }
        if pooled.idle.is_empty() && !shared {
            pooled.swept = false;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn the_kernel_asks_whether_anybody_is_there() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap());
        let stream = stream.await.unwrap();
        keep_asking(&stream).unwrap();
        assert!(sockopt::socket_keepalive(&stream).unwrap());
        let asked = (
            sockopt::tcp_keepidle(&stream).unwrap(),
            sockopt::tcp_keepintvl(&stream).unwrap(),
            sockopt::tcp_keepcnt(&stream).unwrap(),
        );
        assert_eq!(asked, (ASKED_AFTER, ASKED_EVERY, ASKED_TIMES));
    }
}
