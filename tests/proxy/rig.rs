//! A front end with its proxy over a table that the test fills, and clients for it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use agentainer::agent::{Uid, spec};
use agentainer::endpoints::{Endpoints, Publication, PublishedEndpoint};
use agentainer::front::{Connected, Front, Limits};
use agentainer::names::AgentName;
use agentainer::observed::ContainerId;
use agentainer::plan::EndpointState;
use agentainer::proxy::{Proxy, Settings};
use agentainer::telemetry::access::AccessLog;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Every wait of a test ends by then.
pub const PATIENCE: Duration = Duration::from_secs(20);

type Answer = std::future::Ready<Result<Response<Full<Bytes>>, Infallible>>;
pub type Router = tower::util::ServiceFn<fn(Request<Incoming>) -> Answer>;

/// Says who asked, as the router was told.
fn router(request: Request<Incoming>) -> Answer {
    let connected = request.extensions().get::<Connected>().copied();
    let text = format!("router {} {connected:?}", request.uri());
    std::future::ready(Ok(Response::new(Full::from(text))))
}

pub struct Rig {
    pub endpoints: Arc<Endpoints>,
    pub proxy: Arc<Proxy>,
    pub front: Front<Router>,
    pub address: SocketAddr,
}

impl Rig {
    pub fn new() -> Self {
        Self::with(Duration::from_secs(5), Limits::default())
    }

    pub fn with(hold: Duration, limits: Limits) -> Self {
        Self::of(hold, limits, None, |proxy| proxy)
    }

    /// One that tells of each request.
    pub fn logged(hold: Duration, limits: Limits, log: &Arc<AccessLog>) -> Self {
        Self::of(hold, limits, Some(Arc::clone(log)), |proxy| proxy)
    }

    /// One with more done to its proxy.
    pub fn built(hold: Duration, limits: Limits, more: impl FnOnce(Proxy) -> Proxy) -> Self {
        Self::of(hold, limits, None, more)
    }

    fn of(
        hold: Duration,
        limits: Limits,
        access_log: Option<Arc<AccessLog>>,
        more: impl FnOnce(Proxy) -> Proxy,
    ) -> Self {
        let endpoints = Arc::new(Endpoints::default());
        let ours = |value: &HeaderValue| value == "Bearer ours";
        let settings = Settings {
            hold,
            seed: 7,
            access_log,
            ..Settings::default()
        };
        let proxy = Proxy::new(Arc::clone(&endpoints), Arc::new(ours), settings);
        let proxy = Arc::new(more(proxy));
        let front = Front::new(
            Arc::clone(&proxy),
            tower::service_fn(router as fn(_) -> _),
            limits,
        );
        let address = front.listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        Self {
            endpoints,
            proxy,
            front,
            address,
        }
    }

    /// What answers that the proxy does not.
    pub fn router(&self) -> Router {
        tower::service_fn(router as fn(_) -> _)
    }

    /// Publishes an agent with these ready containers.
    pub fn ready(&self, agent: &str, containers: &[(&str, SocketAddr)]) {
        self.publish(agent, containers, |_| {});
    }

    pub fn publish(
        &self,
        agent: &str,
        containers: &[(&str, SocketAddr)],
        change: impl FnOnce(&mut Publication),
    ) {
        let endpoint = |(id, address): &(&str, SocketAddr)| PublishedEndpoint {
            container: ContainerId((*id).to_owned()),
            address: *address,
            state: EndpointState::Ready,
        };
        let mut publication = Publication {
            uid: Uid("life".to_owned()),
            endpoints: containers.iter().map(endpoint).collect(),
            departed: [].into(),
            explanation: String::new(),
            starting: false,
            proxy: spec::Proxy::default(),
            persistence: None,
        };
        change(&mut publication);
        let name = AgentName::new(agent).unwrap();
        self.endpoints
            .publish(&name, publication, agentainer::clock::now());
    }

    /// Requests in flight on a container.
    pub fn in_flight(&self, container: &str) -> u64 {
        let id = ContainerId(container.to_owned());
        self.endpoints
            .traffic([&id])
            .get(&id)
            .map_or(0, |traffic| traffic.in_flight)
    }

    /// Waits until so many are in flight on a container.
    pub async fn until_in_flight(&self, container: &str, count: u64) {
        until(|| self.in_flight(container) == count).await;
    }

    pub async fn raw(&self) -> Raw {
        Raw(TcpStream::connect(self.address).await.unwrap())
    }

    /// One request over HTTP/1.1 on a connection of its own, the answer whole.
    pub async fn ask(&self, request: Request<Full<Bytes>>) -> Whole {
        whole(self.begin(request).await).await
    }

    pub async fn get(&self, target: &str) -> Whole {
        self.ask(
            Request::get(target)
                .header("host", "box:8081")
                .body(Full::default())
                .unwrap(),
        )
        .await
    }

    /// One request over HTTP/1.1, the answer as it comes.
    pub async fn begin<B>(&self, request: Request<B>) -> Response<Incoming>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection.with_upgrades());
        let response = bounded(sender.send_request(request)).await.unwrap();
        // The connection must outlive the answer's body.
        tokio::spawn(async move {
            let _ = sender.ready().await;
        });
        response
    }

    /// One request over HTTP/2 with prior knowledge.
    pub async fn begin_h2<B>(&self, request: Request<B>) -> Response<Incoming>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        tokio::spawn(connection);
        bounded(sender.send_request(request)).await.unwrap()
    }
}

/// An answer that was read to its end.
#[derive(Debug)]
pub struct Whole {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
    pub trailers: Option<HeaderMap>,
}

impl Whole {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
    /// The answer as a problem of ours.
    pub fn problem(&self) -> serde_json::Value {
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{self:?}"
        );
        assert_eq!(self.header("cache-control"), Some("no-store"));
        serde_json::from_str(&self.text).unwrap()
    }
    pub fn detail(&self) -> String {
        self.problem()["detail"].as_str().unwrap().to_owned()
    }
}

pub async fn whole(response: Response<Incoming>) -> Whole {
    let (parts, body) = response.into_parts();
    let body = bounded(body.collect()).await.unwrap();
    let trailers = body.trailers().cloned();
    let text = String::from_utf8(body.to_bytes().to_vec()).unwrap();
    Whole {
        status: parts.status,
        headers: parts.headers,
        text,
        trailers,
    }
}

pub async fn bounded<T>(waiting: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .expect("took too long")
}

/// Waits until something is so.
pub async fn until(so: impl Fn() -> bool) {
    bounded(async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// A client's socket without any HTTP of its own.
pub struct Raw(pub TcpStream);

impl Raw {
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        bounded(self.0.write_all(bytes.as_ref())).await.unwrap();
    }
    /// What came until the text does, at the latest until the end.
    pub async fn until(&mut self, text: &str) -> String {
        read_until(&mut self.0, text).await
    }
    /// What came until the other side closed.
    pub async fn rest(&mut self) -> String {
        let mut all = Vec::new();
        // A reset after the answer is an end too.
        let _ = bounded(self.0.read_to_end(&mut all)).await;
        String::from_utf8_lossy(&all).into_owned()
    }
}

pub async fn read_until(stream: &mut (impl tokio::io::AsyncRead + Unpin), text: &str) -> String {
    let mut all = Vec::new();
    while !String::from_utf8_lossy(&all).contains(text) {
        match bounded(stream.read_u8()).await {
            Ok(byte) => all.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&all).into_owned()
}
