//! The wire to the engine: a Unix socket or TCP, kept alive, with the API's version in every path.
//!
//! bollard's stock transports send paths without a version and close each connection; ours prefixes the lowest version
//! that both sides speak (1.41, or the engine's own minimum where that is higher) and keeps idle connections. It also
//! carries the few requests whose answers we read ourselves, because bollard's closed enums turn one unknown word of
//! a newer engine into a failed list or a dead event stream. Called by the rest of `docker` alone.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bollard::errors::Error;
use bytes::Bytes;
use http::{Method, Request, Response, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::net::{TcpStream, UnixStream};
use tower::util::BoxCloneSyncService;

/// The API version that this adapter is written for; older engines are refused.
pub(super) const MINOR: u32 = 41;
/// Where the engine listens when nobody says otherwise.
pub(super) const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";
/// Idle connections kept.
const IDLE: usize = 8;
/// How long opening a connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// The body of a request to the engine.
pub(super) type Body = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// Where the engine listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// A Unix socket.
    Unix(PathBuf),
    /// Plain TCP, `host:port`.
    Tcp(String),
}

impl Address {
    /// Reads a `DOCKER_HOST`: `unix:///path`, `tcp://host:port` or `http://host:port`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match text.split_once("://") {
            Some(("unix", path)) if path.starts_with('/') => Ok(Self::Unix(PathBuf::from(path))),
            Some(("tcp" | "http", host)) => {
                let host = host.trim_end_matches('/');
                match host.rsplit_once(':') {
                    Some((name, port)) if !name.is_empty() && port.parse::<u16>().is_ok() => {
                        Ok(Self::Tcp(host.to_owned()))
                    }
                    _ if host.is_empty() => Err(unsupported(text)),
                    _ => Ok(Self::Tcp(format!("{host}:2375"))),
                }
            }
            _ => Err(unsupported(text)),
        }
    }
}

fn unsupported(text: &str) -> String {
    format!(
        "DOCKER_HOST '{text}' is not supported: use unix:///path/to/docker.sock or tcp://host:port"
    )
}

trait Duplex: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send> Duplex for T {}

/// One open connection, of either kind.
pub(super) struct Wire(TokioIo<Pin<Box<dyn Duplex>>>);

impl Connection for Wire {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl Write for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// A pool of connections to one engine.
#[derive(Clone)]
pub(super) struct Transport {
    client: Client<BoxCloneSyncService<Uri, Wire, io::Error>, Body>,
    /// The minor version of API 1 in use; 0: not asked yet.
    minor: Arc<AtomicU32>,
}

impl Transport {
    pub(super) fn new(address: Address) -> Self {
        let connector = tower::service_fn(move |_: Uri| {
            let address = address.clone();
            async move {
                let open = async {
                    let duplex: Pin<Box<dyn Duplex>> = match &address {
                        Address::Unix(path) => Box::pin(UnixStream::connect(path).await?),
                        Address::Tcp(host) => Box::pin(TcpStream::connect(host.as_str()).await?),
                    };
                    Ok(Wire(TokioIo::new(duplex)))
                };
                match tokio::time::timeout(CONNECT, open).await {
                    Ok(result) => result,
                    Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut)),
                }
            }
        });
        Self {
            client: Client::builder(TokioExecutor::new())
                .pool_max_idle_per_host(IDLE)
                .build(BoxCloneSyncService::new(connector)),
            minor: Arc::new(AtomicU32::new(0)),
        }
    }

    /// Sends a request whose path has no version yet.
    ///
    /// # Errors
    /// Those of the connection; an answer of any status is `Ok`.
    pub(super) async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, Error> {
        let minor = self.minor().await?;
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        parts.uri = format!("http://docker/v1.{minor}{path}").parse()?;
        let response = self
            .client
            .request(Request::from_parts(parts, body))
            .await?;
        if response.status() == http::StatusCode::BAD_REQUEST {
            // Among other things what a replaced engine says to a version that it does not speak: ask again.
            self.minor.store(0, Ordering::Relaxed);
        }
        Ok(response)
    }

    /// Sends a request and reads the whole answer as JSON (`Null` when it is empty).
    ///
    /// # Errors
    /// As bollard's own calls: [`Error::DockerResponseServerError`] for a status above 299 but 304.
    pub(super) async fn json(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl serde::Serialize>,
    ) -> Result<Value, Error> {
        let response = self.open(method, path, body).await?;
        let bytes = response.into_body().collect().await?.to_bytes();
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Value::Null);
        }
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// Sends a request and hands over the answer with its body still to be read.
    ///
    /// # Errors
    /// As [`Transport::json`].
    pub(super) async fn open(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl serde::Serialize>,
    ) -> Result<Response<Incoming>, Error> {
        let bytes = match body {
            Some(body) => Bytes::from(serde_json::to_vec(body)?),
            None => Bytes::new(),
        };
        let request = Request::builder()
            .method(method)
            .uri(format!("http://docker{path}"))
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(full(bytes))?;
        self.opened(request).await
    }

    /// Sends a request and hands over the answer if it is a good one.
    ///
    /// # Errors
    /// As [`Transport::json`].
    pub(super) async fn opened(&self, request: Request<Body>) -> Result<Response<Incoming>, Error> {
        checked(self.send(request).await?).await
    }

    async fn minor(&self) -> Result<u32, Error> {
        let known = self.minor.load(Ordering::Relaxed);
        if known != 0 {
            return Ok(known);
        }
        let request = Request::builder()
            .uri("http://docker/version")
            .body(full(Bytes::new()))?;
        let response = checked(self.client.request(request).await?).await?;
        let bytes = response.into_body().collect().await?.to_bytes();
        let version: Value = serde_json::from_slice(&bytes)?;
        let minor = choose_minor(&version).map_err(|message| Error::DockerResponseServerError {
            status_code: 400,
            message,
        })?;
        self.minor.store(minor, Ordering::Relaxed);
        Ok(minor)
    }
}

/// The version to speak to an engine that described itself with `version`.
fn choose_minor(version: &Value) -> Result<u32, String> {
    let minor = |field: &str| {
        let text = version.get(field)?.as_str()?;
        text.strip_prefix("1.")?.parse::<u32>().ok()
    };
    // Podman's compatible API tells both too; an engine that tells neither is taken at our own version.
    match minor("ApiVersion") {
        Some(theirs) if theirs < MINOR => Err(format!(
            "the engine speaks API 1.{theirs}, and 1.{MINOR} (Docker 20.10) is needed: upgrade Docker"
        )),
        _ => Ok(minor("MinAPIVersion").unwrap_or(MINOR).max(MINOR)),
    }
}

/// A body of known bytes.
pub(super) fn full(bytes: Bytes) -> Body {
    Full::new(bytes)
        .map_err(|never| match never {})
        .boxed_unsync()
}

async fn checked(response: Response<Incoming>) -> Result<Response<Incoming>, Error> {
    let status = response.status();
    if status.is_success() || status == http::StatusCode::NOT_MODIFIED {
        return Ok(response);
    }
    let bytes = response.into_body().collect().await?.to_bytes();
    let message = serde_json::from_slice::<Value>(&bytes)
        .ok()
        .and_then(|value| Some(value.get("message")?.as_str()?.to_owned()))
        .unwrap_or_else(|| String::from_utf8_lossy(&bytes).chars().take(500).collect());
    Err(Error::DockerResponseServerError {
        status_code: status.as_u16(),
        message,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn docker_host_is_a_socket_or_plain_tcp() {
        assert_eq!(
            Address::parse(DEFAULT_HOST),
            Ok(Address::Unix(PathBuf::from("/var/run/docker.sock")))
        );
        assert_eq!(
            Address::parse("tcp://10.0.0.1:2376/"),
            Ok(Address::Tcp("10.0.0.1:2376".to_owned()))
        );
        assert_eq!(
            Address::parse("tcp://box"),
            Ok(Address::Tcp("box:2375".to_owned()))
        );
        for wrong in [
            "",
            "ssh://box",
            "unix://relative",
            "tcp://",
            "/var/run/docker.sock",
        ] {
            assert!(Address::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_lowest_common_version_is_spoken() {
        let engine = |api: &str, min: &str| json!({"ApiVersion": api, "MinAPIVersion": min});
        assert_eq!(choose_minor(&engine("1.41", "1.12")), Ok(41));
        assert_eq!(choose_minor(&engine("1.52", "1.44")), Ok(44));
        assert_eq!(choose_minor(&json!({})), Ok(41));
        assert!(choose_minor(&engine("1.40", "1.12")).is_err());
    }
}
