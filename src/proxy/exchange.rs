//! A client's request made ready for its agent, with the limits that the agent's spec sets.

use std::sync::Arc;

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderValue, TRANSFER_ENCODING};
use http::uri::{self, Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Request, Uri, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::body::RequestBody;
use super::chance::Chance;
use super::forward::Bounds;
use super::patience::Limits;
use super::pick::Wish;
use super::request::{self, IsOurToken, Origin};
use super::session::{self, Stick};
use super::{hop, trace};
use crate::agent::spec::Protocol;
use crate::endpoints::Route;

/// A request that is ready to be sent, and what its answer needs.
pub(super) struct Exchange {
    /// Target, header fields and body as the agent gets them.
    pub(super) request: Request<RequestBody>,
    /// How long it may take.
    pub(super) bounds: Bounds,
    /// How long the answer's body may take.
    pub(super) limits: Limits,
    /// How its endpoint is chosen.
    pub(super) wish: Wish,
    /// What its answer has to say of sessions.
    pub(super) stick: Option<Stick>,
    /// The host that the client named.
    pub(super) host: Option<HeaderValue>,
    /// The client's side of the change of protocol that it asks for.
    pub(super) upgrade: Option<OnUpgrade>,
}

impl Exchange {
    /// Makes a request ready.
    pub(super) fn new(
        mut request: Request<Incoming>,
        route: &Route,
        target: PathAndQuery,
        mut origin: Origin<'_>,
        is_our_token: &IsOurToken,
        chance: &Chance,
    ) -> Self {
        let h2c = route.proxy.protocol == Some(Protocol::H2c);
        // HTTP/2 knows no change of protocol; that a server takes no notice of one is its right (RFC 9110 §7.8).
        let upgrade = match h2c {
            true => None,
            false => upgrade(&mut request, &mut origin),
        };
        let (mut parts, incoming) = request.into_parts();
        request::rewrite(&mut parts.headers, &origin, is_our_token);
        trace::trace_context(&mut parts.headers, chance);

        let (mut bounds, limits) = within(route);
        if !bounds.first_byte.is_zero() && !incoming.is_end_stream() {
            bounds.progress = Some(Arc::new(Mutex::new(Instant::now())));
        }
        let body = RequestBody::client(incoming, limits, bounds.progress.clone());
        if !h2c
            && !body.is_empty()
            && body.size_hint().exact().is_none()
            && !parts.headers.contains_key(CONTENT_LENGTH)
        {
            // A GET of unknown length is taken for one without a body.
            parts
                .headers
                .insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        if origin.host.is_none()
            && let Some((endpoint, _)) = route.endpoints.first()
            && let Ok(host) = HeaderValue::try_from(endpoint.address.to_string())
        {
            // HTTP/1.0 allows none; HTTP/1.1, which the agent is spoken to in, does not.
            parts.headers.insert(HOST, host);
        }
        let repeatable = body.is_empty() && parts.method.is_idempotent();
        let (wish, stick) = wish(route, &mut parts.headers, repeatable);
        let mut request = Request::new(body);
        *request.method_mut() = parts.method;
        *request.headers_mut() = parts.headers;
        match h2c {
            true => http2(&mut request, target),
            false => *request.uri_mut() = Uri::from(target),
        }
        Self {
            request,
            bounds,
            limits,
            wish,
            stick,
            host: origin.host,
            upgrade,
        }
    }
}

/// How long an exchange with an agent may take from now, and its bodies.
pub(super) fn within(route: &Route) -> (Bounds, Limits) {
    let timeouts = route.proxy.timeouts.unwrap_or_default();
    let total = timeouts.total.duration();
    let deadline = (!total.is_zero()).then(|| Instant::now() + total);
    let bounds = Bounds {
        connect: timeouts.connect.duration(),
        first_byte: timeouts.first_byte.duration(),
        deadline,
        ..Bounds::default()
    };
    let limits = Limits {
        idle: timeouts.idle.duration(),
        deadline,
    };
    (bounds, limits)
}

/// How a request's endpoint is chosen, and what its answer has to say of sessions. What is ours in the session's name goes.
pub(super) fn wish(
    route: &Route,
    headers: &mut HeaderMap,
    repeatable: bool,
) -> (Wish, Option<Stick>) {
    let session = session::take(headers, &route.proxy);
    let wish = Wish {
        balance: route.proxy.balance,
        session: session.key,
        home: session.home,
        repeatable,
    };
    (wish, session.stick)
}

/// A request as HTTP/2 has it: the host is part of the target (RFC 9113 §8.3.1), and nothing is said of the connection.
pub(super) fn http2(request: &mut Request<RequestBody>, target: PathAndQuery) {
    let headers = request.headers_mut();
    headers.remove(CONNECTION);
    let host = headers.remove(HOST);
    let authority = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let mut parts = uri::Parts::default();
    if authority.is_some() {
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = authority;
    }
    parts.path_and_query = Some(target);
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    *request.version_mut() = Version::HTTP_2;
}

/// The client's side of a change of protocol, when it asks for one that can be granted: on HTTP/1.1, without a body.
fn upgrade(request: &mut Request<Incoming>, origin: &mut Origin<'_>) -> Option<OnUpgrade> {
    if request.version() != Version::HTTP_11 || !request.body().is_end_stream() {
        return None;
    }
    origin.upgrade = hop::upgrade(request.headers());
    origin
        .upgrade
        .is_some()
        .then(|| hyper::upgrade::on(request))
}
