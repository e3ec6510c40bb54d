//! The API's client: one connection a request, over TCP, TLS or a Unix socket.
//!
//! Refusals become [`Failure`]s with the server's own words. Never logs a token or a body.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::Failure;
use super::address::Address;
use super::args::Global;
use super::failure::Refused;
use super::lines::Lines;
use super::tls::Tls;
use super::token::Token;
use crate::problem::Problem;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an answer may take to begin.
const ANSWER: Duration = Duration::from_secs(60);
/// The largest answer that is read as a whole.
const LARGEST: usize = 256 << 20;

/// What a request carries.
pub(super) type RequestBody = BoxBody<Bytes, std::io::Error>;

/// A client of one server.
#[derive(Clone, Debug)]
pub(super) struct Client {
    address: Address,
    tls: Option<Tls>,
    token: Option<Token>,
    verbose: bool,
}

impl Client {
    /// A client of the server that all commands' flags name.
    ///
    /// # Errors
    /// When TLS is to be spoken and cannot be.
    pub(super) fn new(global: &Global, token: Option<Token>) -> Result<Self, Failure> {
        let tls = match &global.server {
            Address::Tcp {
                host, tls: true, ..
            } => Some(Tls::new(host, global.ca_cert.as_deref())?),
            Address::Tcp { .. } | Address::Unix(_) => None,
        };
        Ok(Self {
            address: global.server.clone(),
            tls,
            token,
            verbose: global.verbose,
        })
    }

    /// Where it calls.
    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// `GET`, the answer as a value.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let response = self
            .send(Method::GET, path, HeaderMap::new(), empty(), Some(ANSWER))
            .await?;
        self.value(response).await
    }

    /// A request without a body, the answer as a value.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
    ) -> Result<T, Failure> {
        let response = self
            .send(method, path, HeaderMap::new(), empty(), Some(ANSWER))
            .await?;
        self.value(response).await
    }

    /// A request without a body, whatever the answer is.
    pub(super) async fn call_plain(&self, method: Method, path: &str) -> Result<(), Failure> {
        self.send(method, path, HeaderMap::new(), empty(), Some(ANSWER))
            .await?;
        Ok(())
    }

    /// A request with a JSON body, the answer as a value.
    pub(super) async fn send_json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        let bytes = serde_json::to_vec(body)?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let body = Full::new(Bytes::from(bytes)).map_err(never).boxed();
        let response = self.send(method, path, headers, body, Some(ANSWER)).await?;
        self.value(response).await
    }

    /// `GET`, the answer as a stream of lines.
    pub(super) async fn lines(&self, path: &str) -> Result<Lines, Failure> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/x-ndjson"));
        let response = self
            .send(Method::GET, path, headers, empty(), Some(ANSWER))
            .await?;
        Ok(Lines::new(response.into_body(), self.address.to_string()))
    }

    /// `GET`, the answer's body as it comes.
    pub(super) async fn stream(&self, path: &str) -> Result<Incoming, Failure> {
        let response = self
            .send(Method::GET, path, HeaderMap::new(), empty(), Some(ANSWER))
            .await?;
        Ok(response.into_body())
    }

    /// `POST` of a stream, the answer as a stream of lines; the answer may begin late.
    pub(super) async fn upload(
        &self,
        path: &str,
        headers: HeaderMap,
        body: RequestBody,
    ) -> Result<Lines, Failure> {
        let response = self.send(Method::POST, path, headers, body, None).await?;
        Ok(Lines::new(response.into_body(), self.address.to_string()))
    }

    /// Any request, with its answer whatever that is; it may begin late.
    pub(super) async fn invoke(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Incoming>, Failure> {
        let body = Full::new(body).map_err(never).boxed();
        self.exchange(method, path, headers, body, None).await
    }

    /// A status and a body for whatever the status is: for `GET /ready`, whose 503 says what is wrong.
    pub(super) async fn probe<T: DeserializeOwned>(&self, path: &str) -> Result<(u16, T), Failure> {
        let response = self
            .exchange(Method::GET, path, HeaderMap::new(), empty(), Some(ANSWER))
            .await?;
        let status = response.status().as_u16();
        Ok((status, self.value(response).await?))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: RequestBody,
        patience: Option<Duration>,
    ) -> Result<Response<Incoming>, Failure> {
        let response = self.exchange(method, path, headers, body, patience).await?;
        if response.status().is_success() {
            Ok(response)
        } else {
            Err(self.refusal(response).await)
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: RequestBody,
        patience: Option<Duration>,
    ) -> Result<Response<Incoming>, Failure> {
        let mut request = Request::builder()
            .method(method.clone())
            .uri(path)
            .header(HOST, self.address.authority())
            .header(
                USER_AGENT,
                concat!("agentainer/", env!("CARGO_PKG_VERSION")),
            )
            .body(body)
            .map_err(|error| Failure::error(format!("the request cannot be made: {error}")))?;
        let mut given: Option<HeaderName> = None;
        for (name, value) in headers {
            given = name.or(given);
            if let Some(name) = &given {
                request.headers_mut().append(name, value);
            }
        }
        if !request.headers().contains_key(ACCEPT) {
            let json = HeaderValue::from_static("application/json, */*;q=0.5");
            request.headers_mut().insert(ACCEPT, json);
        }
        if let Some(token) = &self.token {
            request.headers_mut().insert(AUTHORIZATION, token.header()?);
        }
        let answer = match &self.address {
            Address::Tcp { host, port, .. } => {
                let stream = self.within(CONNECT, TcpStream::connect((host.as_str(), *port)));
                let stream = stream.await?;
                match &self.tls {
                    None => exchange_over(stream, request, patience).await,
                    Some(tls) => {
                        let stream = self.within(CONNECT, tls.begin(stream)).await?;
                        exchange_over(stream, request, patience).await
                    }
                }
            }
            Address::Unix(path) => {
                let stream = self.within(CONNECT, UnixStream::connect(path));
                exchange_over(stream.await?, request, patience).await
            }
        };
        let response = answer.map_err(|cause| self.unreachable(cause))?;
        if self.verbose {
            super::Console::new().note(&format!("{method} {path} -> {}", response.status()));
        }
        Ok(response)
    }

    async fn within<S>(
        &self,
        patience: Duration,
        connect: impl Future<Output = std::io::Result<S>>,
    ) -> Result<S, Failure> {
        match tokio::time::timeout(patience, connect).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(self.unreachable(io_words(&error))),
            Err(_) => Err(self.unreachable(format!("no connection within {patience:?}"))),
        }
    }

    fn unreachable(&self, cause: String) -> Failure {
        Failure::Unreachable {
            server: self.address.to_string(),
            cause,
        }
    }

    async fn value<T: DeserializeOwned>(&self, response: Response<Incoming>) -> Result<T, Failure> {
        let body = http_body_util::Limited::new(response.into_body(), LARGEST);
        let bytes = match tokio::time::timeout(ANSWER, body.collect()).await {
            Ok(Ok(collected)) => collected.to_bytes(),
            Ok(Err(error)) => {
                return Err(self.unreachable(format!("its answer broke off: {error}")));
            }
            Err(_) => return Err(self.unreachable("its answer does not end".to_owned())),
        };
        serde_json::from_slice(&bytes).map_err(|error| {
            Failure::error(format!(
                "what answers at {} is no agentainer server, or one of another version: {error}",
                self.address
            ))
        })
    }

    async fn refusal(&self, response: Response<Incoming>) -> Failure {
        let status = response.status();
        let body = http_body_util::Limited::new(response.into_body(), 1 << 20);
        let bytes = match tokio::time::timeout(ANSWER, body.collect()).await {
            Ok(Ok(collected)) => collected.to_bytes(),
            Ok(Err(_)) | Err(_) => Bytes::new(),
        };
        let problem = serde_json::from_slice::<Problem>(&bytes).unwrap_or_else(|_| {
            let text = String::from_utf8_lossy(&bytes);
            let first: String = text
                .lines()
                .next()
                .unwrap_or_default()
                .chars()
                .take(200)
                .collect();
            Problem::new(
                status.as_u16(),
                "unknown",
                "",
                format!("{} answered {status} {first}", self.address)
                    .trim()
                    .to_owned(),
            )
        });
        let missing = || {
            match &self.token {
            Some(token) => token.missing.clone(),
            None => Some(
                "no token was sent: this machine's own goes to this machine alone; give one with --token-file FILE or \
                 AGENTAINER_TOKEN"
                    .to_owned(),
            ),
        }
        };
        let hint = matches!(status.as_u16(), 401 | 403).then(missing).flatten();
        Failure::Refused(Box::new(Refused {
            status: status.as_u16(),
            problem,
            hint,
        }))
    }
}

async fn exchange_over<S>(
    stream: S,
    request: Request<RequestBody>,
    patience: Option<Duration>,
) -> Result<Response<Incoming>, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    // Ends when the answer was read or its reader is dropped.
    tokio::spawn(connection);
    let answer = sender.send_request(request);
    let answer = match patience {
        Some(patience) => tokio::time::timeout(patience, answer)
            .await
            .map_err(|_| format!("no answer within {} s", patience.as_secs()))?,
        None => answer.await,
    };
    answer.map_err(|error| match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    })
}

fn io_words(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        std::io::ErrorKind::NotFound => "no such socket".to_owned(),
        _ => error.to_string(),
    }
}

fn empty() -> RequestBody {
    Empty::new().map_err(never).boxed()
}

fn never(error: Infallible) -> std::io::Error {
    match error {}
}

/// A path's segment or a query's value (RFC 3986, section 2.3: everything but the unreserved characters is encoded).
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// A path with a query of the pairs that have a value.
pub(super) fn with_query(path: &str, pairs: &[(&str, Option<String>)]) -> String {
    let query: Vec<String> = pairs
        .iter()
        .filter_map(|(name, value)| Some(format!("{name}={}", encoded(value.as_deref()?))))
        .collect();
    if query.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{}", query.join("&"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_url_gives_a_meaning_is_encoded() {
        assert_eq!(encoded("a b/ü?&="), "a%20b%2F%C3%BC%3F%26%3D");
        assert_eq!(
            with_query(
                "/x",
                &[
                    ("a", None),
                    ("b", Some("1 2".into())),
                    ("c", Some("d".into()))
                ]
            ),
            "/x?b=1%202&c=d"
        );
        assert_eq!(with_query("/x", &[("a", None)]), "/x");
    }
}
