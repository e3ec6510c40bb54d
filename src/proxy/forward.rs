//! One request to one of an agent's ready endpoints, tried again where that is safe.
//!
//! Whether it is safe is decided by phase (law 3): *nothing sent*: on another endpoint or a new connection. *Sent, no
//! answer*: once more, only when the method is idempotent (RFC 9110 §9.2.2) and there is no body. *Answer begun*: never; an
//! answer of any status is an outcome.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use tokio::time::Instant;

use super::beside::Beside;
use super::body::{Progress, RequestBody};
use super::breaker::Rule;
use super::broke::Broke;
use super::chance::Chance;
use super::coming::Coming;
use super::patience::BodyError;
use super::pick::{Pick, Wish, ejected, pick, ready};
use super::pool::{self, ConnectError, Connection, Lease, Sent};
use super::spans::{Attempt, Trace};
use super::spare::Spare;
use crate::agent::spec::Protocol;
use crate::endpoints::{Endpoint, Route};

/// Further tries when the spec does not say.
const RETRIES: u32 = 2;

/// The most further tries, whatever the spec says.
const MOST_RETRIES: u32 = 10;

/// The limits of one exchange.
#[derive(Debug, Default)]
pub(super) struct Bounds {
    /// Until the connection stands; zero: the system's own.
    pub(super) connect: Duration,
    /// Until the answer's head, from the last piece of the request that was sent; zero: none.
    pub(super) first_byte: Duration,
    /// The whole exchange.
    pub(super) deadline: Option<Instant>,
    /// When the last piece of the request was sent.
    pub(super) progress: Option<Progress>,
    /// How long another instance is waited for when nothing could be sent to this one.
    pub(super) patience: Duration,
    /// Where each attempt is told, if the request is.
    pub(super) trace: Option<Arc<Trace>>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    /// No endpoint is ready.
    #[error("no instance is ready")]
    NoEndpoint,
    /// Those that are ready failed too often, and are left alone for so long yet.
    #[error("its instances failed too often")]
    Open(Duration),
    /// Nothing was sent: no connection could be made.
    #[error("cannot connect to {address}")]
    Connect {
        address: std::net::SocketAddr,
        #[source]
        source: ConnectError,
    },
    /// Nothing was sent: each connection was closed before a byte of the request was written.
    #[error("every connection to {address} was closed at once")]
    Closed { address: std::net::SocketAddr },
    /// Seen by the agent, which says that it did nothing with it.
    #[error("{address} refused the request (REFUSED_STREAM)")]
    Refused { address: std::net::SocketAddr },
    /// Sent in part, and the client's own body broke off.
    #[error("the request's body did not arrive whole")]
    Upload(#[source] BodyError),
    /// Sent, and no answer came.
    #[error("the connection ended before an answer")]
    NoAnswer {
        #[source]
        source: Broke,
    },
    /// Sent, and the answer took too long.
    #[error("no answer within {0:?}")]
    FirstByte(Duration),
    /// The exchange took too long.
    #[error("no answer within proxy.timeouts.total")]
    Total,
}

impl Failed {
    /// Whether all of the request was sent, or some of it, and the agent may be at it.
    pub(super) fn may_have_arrived(&self) -> bool {
        match self {
            Self::NoAnswer { source } => source.upload().is_none(),
            Self::FirstByte(_) => true,
            _ => false,
        }
    }
}

/// Sends a request whose target and header fields are the agent's already.
///
/// # Errors
/// [`Failed`] tells the phase; when nothing was sent, the request comes back.
pub(super) async fn forward(
    route: &Route,
    mut request: Box<Request<RequestBody>>,
    bounds: &Bounds,
    wish: &Wish,
    chance: &Chance,
) -> Result<(Response<Coming>, Lease), (Failed, Option<Box<Request<RequestBody>>>)> {
    let protocol = route.proxy.protocol.unwrap_or_default();
    let mut left = route.proxy.retries.unwrap_or(RETRIES).min(MOST_RETRIES);
    let mut once_more = left > 0 && request.body().is_empty() && request.method().is_idempotent();
    // One that went on HTTP/2 is gone.
    let mut spare = match protocol {
        Protocol::H2c if once_more => Spare::of(&request),
        _ => None,
    };
    let mut tried: Vec<Arc<Endpoint>> = Vec::new();
    let mut fresh = false;
    let mut failed = Failed::NoEndpoint;
    loop {
        let mut picked = pick(&route.endpoints, &tried, wish, chance);
        let there = matches!(failed, Failed::NoAnswer { .. } | Failed::Refused { .. });
        if matches!(picked, Pick::None) && there {
            // All were tried. One whose *answer* was lost may be tried again on a new connection, one that refused too.
            picked = pick(&route.endpoints, &[], wish, chance);
        }
        let (endpoint, _trial) = match picked {
            Pick::One(endpoint, trial) => (Arc::clone(endpoint), trial),
            Pick::Open(left) if tried.is_empty() => {
                return Err((Failed::Open(left), Some(request)));
            }
            Pick::Open(_) | Pick::None => return Err((failed, Some(request))),
        };
        let attempt = bounds
            .trace
            .as_ref()
            .map(|trace| trace.attempt(&endpoint, request.headers_mut(), chance));
        let connection = match connection(&endpoint, protocol, fresh, bounds).await {
            Ok(connection) => connection,
            Err(source) => {
                over(attempt, &source);
                if !matches!(source, ConnectError::Retired) {
                    blame(route, &endpoint);
                }
                failed = Failed::Connect {
                    address: endpoint.address,
                    source,
                };
                tried.push(endpoint);
                if left == 0 {
                    return Err((failed, Some(request)));
                }
                left -= 1;
                route.figures.retried();
                continue;
            }
        };
        let beside = Beside::of(&endpoint);
        if let Some(beside) = beside {
            beside.budget.sent();
        }
        let sent = bounded(pin!(connection.send(&mut request)), bounds).await;
        match sent.map_err(|failed| {
            if matches!(failed, Failed::FirstByte(_)) {
                blame(route, &endpoint);
            }
            (failed, None)
        })? {
            Sent::Answered(response, lease) => {
                if let Some(beside) = beside {
                    beside.breaker.answered();
                }
                if let Some(attempt) = attempt {
                    attempt.answered(response.status().as_u16());
                }
                return Ok((response, lease));
            }
            Sent::Unsent => {
                over(
                    attempt,
                    &"the connection was closed before anything was sent",
                );
                if fresh {
                    blame(route, &endpoint);
                    if left == 0 {
                        let address = endpoint.address;
                        return Err((Failed::Closed { address }, Some(request)));
                    }
                    left -= 1;
                    route.figures.retried();
                }
                fresh = true;
            }
            Sent::Refused => {
                over(attempt, &"refused (REFUSED_STREAM)");
                let address = endpoint.address;
                failed = Failed::Refused { address };
                if left == 0 {
                    return Err((failed, Some(request)));
                }
                left -= 1;
                route.figures.retried();
                tried.push(endpoint);
            }
            Sent::Broken(broke) => {
                over(attempt, &broke);
                return Err((Failed::Upload(broke), None));
            }
            Sent::Lost(source) => {
                if source.upload().is_none() {
                    blame(route, &endpoint);
                }
                over(attempt, &source);
                failed = Failed::NoAnswer { source };
                let again = std::mem::take(&mut once_more)
                    && left > 0
                    && beside.is_some_and(|it| it.budget.take());
                match (protocol, spare.take().and_then(Spare::request)) {
                    (Protocol::Http1, _) if again => {}
                    (Protocol::H2c, Some(spare)) if again => *request = spare,
                    _ => return Err((failed, None)),
                }
                left -= 1;
                route.figures.retried();
                fresh = true;
                tried.push(endpoint);
            }
        }
    }
}

/// Tells that an attempt failed.
fn over(attempt: Option<Attempt>, why: &dyn std::fmt::Display) {
    if let Some(attempt) = attempt {
        attempt.failed(&why.to_string());
    }
}

/// Counts a failure of an endpoint, which may leave it alone for a while.
fn blame(route: &Route, endpoint: &Endpoint) {
    if let Some(beside) = Beside::of(endpoint) {
        let rule = Rule::of(route.proxy.breaker.as_ref());
        let instances = ready(&route.endpoints).count();
        let ejected = || ejected(&route.endpoints);
        if beside.breaker.failed(rule, instances, ejected) {
            route.figures.ejected();
        }
    }
}

async fn connection(
    endpoint: &Arc<Endpoint>,
    protocol: Protocol,
    fresh: bool,
    bounds: &Bounds,
) -> Result<Connection, ConnectError> {
    if !fresh && let Some(connection) = pool::reuse(endpoint, protocol) {
        return Ok(connection);
    }
    let left = bounds
        .deadline
        .map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let within = match left {
        Some(left) if bounds.connect.is_zero() || left < bounds.connect => {
            left.max(Duration::from_millis(1))
        }
        _ => bounds.connect,
    };
    // Seldom needed, and large: it must not make every request's own state as large.
    Box::pin(pool::connect(endpoint, protocol, within)).await
}

/// Waits for an answer's head within the bounds.
async fn bounded(
    mut sending: Pin<&mut impl Future<Output = Sent>>,
    bounds: &Bounds,
) -> Result<Sent, Failed> {
    if bounds.first_byte.is_zero() && bounds.deadline.is_none() {
        return Ok(sending.await);
    }
    let begun = Instant::now();
    loop {
        let moved = bounds
            .progress
            .as_ref()
            .map_or(begun, |progress| (*progress.lock()).max(begun));
        let first = (!bounds.first_byte.is_zero()).then(|| moved + bounds.first_byte);
        let Some(until) = [first, bounds.deadline].into_iter().flatten().min() else {
            return Ok(sending.await);
        };
        if let Ok(sent) = tokio::time::timeout_at(until, sending.as_mut()).await {
            return Ok(sent);
        }
        if bounds.deadline.is_some_and(|deadline| deadline <= until) {
            return Err(Failed::Total);
        }
        let still = bounds
            .progress
            .as_ref()
            .is_none_or(|progress| (*progress.lock()).max(begun) == moved);
        if still {
            return Err(Failed::FirstByte(bounds.first_byte));
        }
    }
}
