//! A request's way in on one connection: counted, answered, and counted as open until the last byte of its answer.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response, StatusCode, Version};
use http_body::{Frame, SizeHint};
use http_body_util::Either;
use hyper::body::Incoming;
use hyper::service::HttpService;
use tokio_util::sync::CancellationToken;

use super::Connected;
use super::asked::{Asked, Open};
use super::connection::Serve;
use super::router::Router;
use crate::proxy::ProxyBody;

/// What the requests of one connection share.
pub(super) struct Door<R> {
    pub(super) serve: Arc<Serve<R>>,
    pub(super) asked: Arc<Asked>,
    pub(super) closing: CancellationToken,
    pub(super) connected: Connected,
}

/// Why a connection broke off.
pub(super) type Broke = Box<dyn std::error::Error + Send + Sync>;

/// What hyper asks for answers.
pub(super) fn service<R: Router>(
    door: &Arc<Door<R>>,
) -> impl HttpService<
    Incoming,
    ResBody = Held<Either<ProxyBody, R::Body>>,
    Error = Infallible,
    Future: Send + 'static,
> + use<R> {
    let door = Arc::clone(door);
    hyper::service::service_fn(move |request: Request<Incoming>| {
        let door = Arc::clone(&door);
        // It goes through many hands, each of which would have room for it.
        let request = Box::new(request);
        // Boxed: hyper would move it, and keep its room for as long as the connection stands.
        Box::pin(async move { Ok::<_, Infallible>(door.answer(request).await) })
    })
}

/// An answer's body, with its place among those that are not over.
pub(super) struct Held<B> {
    body: B,
    _open: Open,
}

impl<B: http_body::Body + Unpin> http_body::Body for Held<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<R: Router> Door<R> {
    pub(super) fn abused(&self) -> Result<(), Broke> {
        tracing::debug!(peer = %self.connected.peer, "a client that takes back most of what it asks was cut off");
        Ok(())
    }

    async fn answer(
        &self,
        request: Box<Request<Incoming>>,
    ) -> Response<Held<Either<ProxyBody, R::Body>>> {
        let open = self.asked.open();
        let is_http2 = request.version() == Version::HTTP_2;
        let asking = self.asked.begin(is_http2);
        let mut response = self.serve.answer(request, self.connected).await;
        asking.answered();
        let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if self.closing.is_cancelled() && !is_http2 && !switches {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        response.map(|body| Held { body, _open: open })
    }
}
