//! One client's connection: HTTP/1.1 or HTTP/2, told apart by its first bytes, in clear text or within TLS, and each request's way to the
//! proxy or the router.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response, StatusCode, Version};
use http_body_util::Either;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt as _};

use super::asked::Asked;
use super::hosts::Hosts;
use super::patience::Patience;
use super::rate::Rates;
use super::{Certificate, Connected, Limits};
use crate::proxy::{self, Proxy, ProxyBody, path};

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
    http: Builder<TokioExecutor>,
    handshake: Duration,
    first: Duration,
    quiet: Duration,
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
        let mut http = Builder::new(TokioExecutor::new());
        http.http1()
            .header_read_timeout(limits.head_timeout)
            // hyper refuses to go below 8 KiB.
            .max_buf_size(limits.head_size.max(8192));
        if limits.headers != HYPERS_HEADERS {
            http.http1().max_headers(limits.headers);
        }
        http.http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams)
            .max_header_list_size(u32::try_from(limits.head_size).unwrap_or(u32::MAX))
            .keep_alive_interval(Duration::from_secs(30));
        Self {
            proxy,
            router,
            http,
            handshake: limits.handshake_timeout,
            // hyper's own limit of a head goes first, and says 408.
            first: limits.head_timeout + limits.head_timeout / 4,
            quiet: limits.quiet,
            hosts: Hosts::default(),
            rates: limits.client_rate.map(Rates::new),
        }
    }
}

impl<R, B> Serve<R>
where
    R: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    R::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
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
        let service = hyper::service::service_fn(|request: Request<Incoming>| {
            let (this, asked, closing) =
                (Arc::clone(&self), Arc::clone(&asked), end.closing.clone());
            async move {
                let is_http2 = request.version() == Version::HTTP_2;
                let asking = asked.begin(is_http2);
                let mut response = this.answer(request, connected).await;
                asking.answered();
                let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
                if closing.is_cancelled() && !is_http2 && !switches {
                    let close = HeaderValue::from_static("close");
                    response.headers_mut().insert(CONNECTION, close);
                }
                Ok::<_, Infallible>(response)
            }
        });
        let mut http = self.http.clone();
        http.http1().timer(Patience::default());
        let serving = http.serve_connection_with_upgrades(TokioIo::new(stream), service);
        tokio::pin!(serving);
        let ended = |served: Result<(), _>| {
            if let Err(error) = served {
                tracing::trace!(error, peer = %connected.peer, "connection broke off");
            }
        };
        let quiet = asked.quiet(self.first, self.quiet);
        let closing = tokio::select! {
            biased;
            served = serving.as_mut() => return ended(served),
            () = asked.abused.cancelled() => return tracing::debug!(peer = %connected.peer, "a client that takes back most of what it asks was cut off"),
            () = end.closing.cancelled() => true,
            () = quiet => false,
        };
        if !closing && asked.nothing() {
            // Its GOAWAY would wait for an answer that never comes.
            return;
        }
        if closing {
            tokio::select! {
                biased;
                served = serving.as_mut() => return ended(served),
                () = asked.http2.cancelled() => {}
                () = end.idle.cancelled() => {}
            }
        }
        serving.as_mut().graceful_shutdown();
        tokio::select! {
            biased;
            served = serving => ended(served),
            () = asked.abused.cancelled() => {}
            () = end.cut.cancelled() => {}
        }
    }

    async fn answer(
        &self,
        mut request: Request<Incoming>,
        connected: Connected,
    ) -> Response<Either<ProxyBody, B>> {
        if let Some(rates) = &self.rates
            && let Err(wait) = rates.count(connected.peer, request.headers())
        {
            return proxy::too_many(&request, wait).map(Either::Left);
        }
        if let Some(agent) = self.hosts.agent(&request) {
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
        match Box::pin(self.router.clone().oneshot(request)).await {
            Ok(response) => response.map(Either::Right),
            Err(never) => match never {},
        }
    }
}
