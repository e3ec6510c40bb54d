//! Agents on loopback: ones that speak HTTP properly, and ones whose every byte the test chooses.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::HttpService;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::rig::read_until;

/// An agent, with what it saw so far.
#[derive(Clone)]
pub struct Agent {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
}

impl Agent {
    /// Connections it accepted.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
    /// Requests it read.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
    pub fn count(&self) {
        self.requests.fetch_add(1, Ordering::SeqCst);
    }
}

/// An agent that does `handle` with each connection.
pub async fn raw<F, Fut>(handle: F) -> Agent
where
    F: Fn(TcpStream, Agent) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let agent = Agent {
        address: listener.local_addr().unwrap(),
        connections: Arc::default(),
        requests: Arc::default(),
    };
    let seen = agent.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            seen.connections.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(handle(stream, seen.clone()));
        }
    });
    agent
}

/// What hyper asks for answers: `handle`, and each request is counted.
fn counted<F, Fut, B>(
    agent: Agent,
    handle: F,
) -> impl HttpService<Incoming, ResBody = B, Error = Infallible, Future: Send + 'static> + Send
where
    F: Fn(Request<Incoming>) -> Fut + Send,
    Fut: Future<Output = Response<B>> + Send + 'static,
    B: http_body::Body,
{
    hyper::service::service_fn(move |request| {
        agent.count();
        let answer = handle(request);
        async move { Ok(answer.await) }
    })
}

/// An agent that answers `done` to each request once it is told to.
pub async fn patient() -> (Agent, watch::Sender<bool>) {
    let (go, told) = watch::channel(false);
    let agent = http(move |_| {
        let mut told = told.clone();
        async move {
            told.wait_for(|go| *go).await.unwrap();
            Response::new(Full::<Bytes>::from("done"))
        }
    })
    .await;
    (agent, go)
}

/// An agent on hyper's server.
pub async fn http<F, Fut, B>(handle: F) -> Agent
where
    F: Fn(Request<Incoming>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Response<B>> + Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    raw(move |stream, agent| {
        let handle = handle.clone();
        async move {
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), counted(agent, handle))
                .with_upgrades()
                .await;
        }
    })
    .await
}

/// An agent on hyper's server that speaks HTTP/2 alone.
pub async fn http2<F, Fut, B>(handle: F) -> Agent
where
    F: Fn(Request<Incoming>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Response<B>> + Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    raw(move |stream, agent| {
        let handle = handle.clone();
        async move {
            let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), counted(agent, handle))
                .await;
        }
    })
    .await
}

/// An agent that speaks HTTP/2 frame by frame: `handle` gets each connection.
pub async fn frames<F, Fut>(handle: F) -> Agent
where
    F: Fn(h2::server::Connection<TcpStream, Bytes>, Agent) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    raw(move |stream, agent| {
        let handle = handle.clone();
        async move {
            if let Ok(connection) = h2::server::handshake(stream).await {
                handle(connection, agent).await;
            }
        }
    })
    .await
}

/// An agent that answers each head (it takes no bodies) with these bytes, on one connection for all.
pub async fn scripted(answer: &'static str) -> Agent {
    raw(move |mut stream, agent| async move {
        loop {
            let head = read_until(&mut stream, "\r\n\r\n").await;
            if head.is_empty() {
                return;
            }
            agent.count();
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    })
    .await
}

/// An agent that answers each request with the head that it got, byte for byte, as its body.
pub async fn mirror() -> Agent {
    raw(|mut stream, agent| async move {
        loop {
            let head = read_until(&mut stream, "\r\n\r\n").await;
            if head.is_empty() {
                return;
            }
            agent.count();
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{head}",
                head.len()
            );
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    })
    .await
}

/// An address where nothing listens.
pub async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
}
