//! One client's connection: HTTP/1.1 or HTTP/2, told apart by its first bytes, in clear text or within TLS, and each request's way to the
//! proxy or the router.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Either;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::asked::{Asked, REST};
use super::door::{Broke, Door, service};
use super::hosts::Hosts;
use super::patience::Patience;
use super::rate::Rates;
use super::router::Router;
use super::wire::Wire;
use super::{Certificate, Connected, Limits};
use crate::proxy::{self, Proxy, ProxyBody, Seldom, path};

/// As many header fields as hyper takes when it is told nothing. It then needs no memory of its own to find them.
pub(super) const HYPERS_HEADERS: usize = 100;

/// How connections are told to end, one step after the other.
#[derive(Clone, Debug, Default)]
pub(super) struct End {
    /// What is in flight may finish, and the client is told to come again by another connection.
    pub(super) closing: CancellationToken,
    /// Those on which nothing is in flight are closed.
    pub(super) idle: CancellationToken,
    /// All are closed.
    pub(super) cut: CancellationToken,
}

impl End {
    /// For one connection.
    pub(super) fn child(&self) -> Self {
        Self {
            closing: self.closing.child_token(),
            idle: self.idle.child_token(),
            cut: self.cut.child_token(),
        }
    }
}

/// What all connections share.
pub(super) struct Serve<R> {
    proxy: Arc<Proxy>,
    router: R,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    handshake: Duration,
    first: Duration,
    quiet: Duration,
    /// How long a connection rests.
    rest: Duration,
    pub(super) hosts: Hosts,
    rates: Option<Rates>,
}

impl<R> std::fmt::Debug for Serve<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Serve").finish_non_exhaustive()
    }
}

impl<R> Serve<R> {
    pub(super) fn new(proxy: Arc<Proxy>, router: R, limits: &Limits) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .header_read_timeout(limits.head_timeout)
            // hyper refuses to go below 8 KiB.
            .max_buf_size(limits.head_size.max(8192));
        if limits.headers != HYPERS_HEADERS {
            http1.max_headers(limits.headers);
        }
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams)
            .max_header_list_size(u32::try_from(limits.head_size).unwrap_or(u32::MAX))
            .keep_alive_interval(Duration::from_secs(30));
        Self {
            proxy,
            router,
            http1,
            http2,
            handshake: limits.handshake_timeout,
            // hyper's own limit of a head goes first, and says 408.
            first: limits.head_timeout + limits.head_timeout / 4,
            quiet: limits.quiet,
            // From the end of the last answer, as when it did not rest.
            rest: limits.head_timeout.min(limits.quiet).saturating_sub(REST),
            hosts: Hosts::default(),
            rates: limits.client_rate.map(Rates::new),
        }
    }
}

/// What may become of a connection while its client wants no end of it.
enum Turn {
    Abused,
    Closing,
    Quiet,
    /// No request came for a while.
    Rest,
}

impl<R: Router> Serve<R> {
    /// Serves a connection after its handshake.
    pub(super) async fn encrypted(
        self: Arc<Self>,
        certificate: &Certificate,
        stream: TcpStream,
        connected: Connected,
        end: End,
    ) {
        let shaken = tokio::select! {
            biased;
            () = end.idle.cancelled() => return,
            shaken = certificate.accept(stream, self.handshake) => shaken,
        };
        match shaken {
            Ok(stream) => self.connection(stream, connected, end).await,
            Err(error) => tracing::debug!(%error, peer = %connected.peer, "no TLS came about"),
        }
    }

    /// Serves a connection to its end; once it is closing, to the end of what is in flight.
    ///
    /// HTTP/2 has a word for that (GOAWAY). A connection of HTTP/1.1 that is closed while nothing is in flight on it may meet
    /// the client's next request on its way: so the next answer says `Connection: close`, and only one that stays without a
    /// request is closed at last.
    pub(super) async fn connection<S>(self: Arc<Self>, stream: S, connected: Connected, end: End)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let asked = Arc::new(Asked::default());
        let door = Arc::new(Door {
            serve: Arc::clone(&self),
            asked: Arc::clone(&asked),
            closing: end.closing.clone(),
            connected,
        });
        let mut wire = Wire::new(stream, asked);
        let is_http2 = tokio::select! {
            biased;
            () = end.idle.cancelled() => return,
            is_http2 = wire.is_http2() => is_http2,
            () = tokio::time::sleep(self.first) => return,
        };
        let served = match is_http2 {
            Ok(true) => Box::pin(self.http2(wire, door, &end)).await,
            Ok(false) => self.http1(wire, door, &end).await,
            Err(error) => Err(error.into()),
        };
        if let Err(error) = served {
            tracing::trace!(error, peer = %connected.peer, "connection broke off");
        }
    }

    async fn http2<S>(&self, wire: Wire<S>, door: Arc<Door<R>>, end: &End) -> Result<(), Broke>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let asked = Arc::clone(&door.asked);
        let mut serving = pin!(
            self.http2
                .serve_connection(TokioIo::new(wire), service(&door))
        );
        let turn = Seldom::new(Box::pin(async {
            tokio::select! {
                biased;
                () = asked.abused.cancelled() => Turn::Abused,
                () = end.closing.cancelled() => Turn::Closing,
                () = asked.quiet(self.first, self.quiet) => Turn::Quiet,
            }
        }));
        let turn = tokio::select! {
            biased;
            served = serving.as_mut() => return Ok(served?),
            turn = turn => turn,
        };
        match turn {
            Turn::Abused => return door.abused(),
            // Its GOAWAY would wait for an answer that never comes.
            Turn::Quiet if asked.nothing() => return Ok(()),
            Turn::Quiet | Turn::Closing | Turn::Rest => serving.as_mut().graceful_shutdown(),
        }
        tokio::select! {
            biased;
            served = serving => Ok(served?),
            () = asked.abused.cancelled() => door.abused(),
            () = end.cut.cancelled() => Ok(()),
        }
    }

    /// Between requests it holds next to nothing: hyper's part of the connection, with its buffers, is let go of when no request
    /// came for a while, and made anew for the next one.
    async fn http1<S>(&self, mut wire: Wire<S>, door: Arc<Door<R>>, end: &End) -> Result<(), Broke>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        loop {
            match Box::pin(self.awake(wire, &door, end)).await? {
                Some(resting) => wire = resting,
                None => return Ok(()),
            }
            let comes = tokio::select! {
                biased;
                () = end.idle.cancelled() => return Ok(()),
                comes = wire.comes() => comes?,
                () = tokio::time::sleep(self.rest) => return Ok(()),
            };
            if !comes {
                return Ok(());
            }
        }
    }

    /// Serves requests until none comes for a while; `None` at the connection's end.
    async fn awake<S>(
        &self,
        wire: Wire<S>,
        door: &Arc<Door<R>>,
        end: &End,
    ) -> Result<Option<Wire<S>>, Broke>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let asked = &door.asked;
        let mut http1 = self.http1.clone();
        http1.timer(Patience::default());
        let mut serving = http1
            .serve_connection(TokioIo::new(wire), service(door))
            .with_upgrades();
        let turn = Seldom::new(Box::pin(async {
            tokio::select! {
                biased;
                () = end.closing.cancelled() => Turn::Closing,
                () = asked.rests() => Turn::Rest,
                () = asked.quiet(self.first, self.quiet) => Turn::Quiet,
            }
        }));
        let turn = tokio::select! {
            biased;
            served = &mut serving => return Ok(served.map(|()| None)?),
            turn = turn => turn,
        };
        match turn {
            Turn::Rest => {
                let Some(parts) = serving.into_parts() else {
                    return Ok(None);
                };
                let mut wire = parts.io.into_inner();
                // A copy: empty as it commonly is, it would keep all of hyper's buffer.
                wire.rewind(Bytes::copy_from_slice(&parts.read_buf));
                return Ok(Some(wire));
            }
            Turn::Quiet if asked.nothing() => return Ok(None),
            Turn::Quiet | Turn::Abused => {}
            Turn::Closing => {
                tokio::select! {
                    biased;
                    served = &mut serving => return Ok(served.map(|()| None)?),
                    () = end.idle.cancelled() => {}
                }
            }
        }
        Pin::new(&mut serving).graceful_shutdown();
        tokio::select! {
            biased;
            served = serving => Ok(served.map(|()| None)?),
            () = end.cut.cancelled() => Ok(None),
        }
    }

    pub(super) async fn answer(
        &self,
        mut request: Box<Request<Incoming>>,
        connected: Connected,
    ) -> Response<Either<ProxyBody, R::Body>> {
        let agent = self.hosts.agent(&request);
        if let Some(rates) = &self.rates
            && let Err(wait) = rates.count(connected.peer, request.headers())
        {
            let refused = match agent.is_some() || path::is_proxied(request.uri().path()) {
                true => {
                    let (agent, peer) = (agent.as_deref(), connected.peer);
                    self.proxy.too_many(agent, &request, peer, wait)
                }
                false => proxy::too_many(&request, wait),
            };
            return refused.map(Either::Left);
        }
        if let Some(agent) = agent
            && !path::is_result(request.uri().path())
        {
            return self
                .proxy
                .call_agent(&agent, request, connected.peer, connected.tls)
                .await
                .map(Either::Left);
        }
        if path::is_proxied(request.uri().path()) {
            return self
                .proxy
                .call(request, connected.peer, connected.tls)
                .await
                .map(Either::Left);
        }
        request.extensions_mut().insert(connected);
        // Boxed: it would make the state of every request as large.
        match Box::pin(self.router.clone().oneshot(*request)).await {
            Ok(response) => response.map(Either::Right),
            Err(never) => match never {},
        }
    }
}

#[cfg(test)]
#[path = "rest_tests.rs"]
mod tests;
