//! One call: the name is resolved once, the connection goes to an address of that answer, TLS is for the name, and no redirect is
//! followed.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{CONNECTION, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::address::Rules;
use super::here;
use super::target::Target;

/// For the name to be resolved, and for one connection.
const CONNECT: Duration = Duration::from_secs(5);
/// For all of a call.
const WHOLE: Duration = Duration::from_secs(30);
/// How much of an answer is read, so that whoever is called can finish writing it.
const READ: usize = 64 * 1024;
/// How many addresses of a name are tried.
const TRIED: usize = 4;

/// Why a call came to no answer. Names no more of the URL than its host.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Its address is none that may be called.
    #[error("its address is {kind}, which is not called (serve --callback-allow)")]
    Refused {
        /// What kind.
        kind: &'static str,
    },
    /// Its name leads nowhere.
    #[error("its name cannot be resolved")]
    NoAddress(#[source] Option<std::io::Error>),
    /// No connection came about.
    #[error("cannot connect to it")]
    Connect(#[source] std::io::Error),
    /// It is not who it should be, or speaks no TLS.
    #[error("no TLS came about")]
    Tls(#[source] std::io::Error),
    /// The exchange broke.
    #[error("it gave no answer")]
    NoAnswer(#[source] hyper::Error),
    /// It took too long.
    #[error("it took longer than 30 s")]
    TimedOut,
    /// The URL cannot be sent.
    #[error("its URL cannot be used")]
    Url,
}

/// Finds the addresses of a name.
pub type Resolve =
    dyn Fn(String, u16) -> BoxFuture<'static, std::io::Result<Vec<SocketAddr>>> + Send + Sync;

/// Networks of containers, beside this machine's bridges.
pub type Networks = dyn Fn() -> Vec<IpNet> + Send + Sync;

/// The system's resolver.
pub fn resolver() -> Arc<Resolve> {
    Arc::new(|host, port| {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host.as_str(), port)).await?;
            Ok(found.collect())
        })
    })
}

/// Makes calls.
#[derive(Clone)]
pub struct Caller {
    /// What may be called.
    pub rules: Rules,
    /// See [`Networks`].
    pub networks: Arc<Networks>,
    /// Whom it trusts.
    pub tls: Arc<ClientConfig>,
    /// See [`Resolve`].
    pub resolve: Arc<Resolve>,
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Caller")
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

impl Caller {
    /// Posts a body with these header fields, and gives the status of the answer.
    ///
    /// # Errors
    /// [`CallError`]; after [`CallError::Refused`] nothing was sent to anybody.
    pub async fn post(
        &self,
        target: &Target,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<u16, CallError> {
        let posted = timeout(WHOLE, self.posted(target, headers, body));
        posted.await.unwrap_or(Err(CallError::TimedOut))
    }

    async fn posted(
        &self,
        target: &Target,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<u16, CallError> {
        let host = HeaderValue::from_str(target.authority()).map_err(|_| CallError::Url)?;
        headers.insert(HOST, host);
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        headers.insert(USER_AGENT, HeaderValue::from_static("agentainer-callback"));
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::try_from(target.path()).map_err(|_| CallError::Url)?;
        *request.headers_mut() = headers;

        let addresses = self.addresses(target).await?;
        let stream = connect(&addresses).await?;
        let name = ServerName::try_from(target.host().to_owned()).map_err(|_| CallError::Url)?;
        let tls = TlsConnector::from(Arc::clone(&self.tls));
        let stream = tls.connect(name, stream).await.map_err(CallError::Tls)?;
        let begun = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = begun.map_err(CallError::NoAnswer)?;
        let exchange = async {
            let response = sender.send_request(request).await?;
            let status = response.status().as_u16();
            // What it says is of no matter.
            let _ = Limited::new(response.into_body(), READ).collect().await;
            Ok(status)
        };
        tokio::pin!(connection, exchange);
        let ended = tokio::select! {
            biased;
            answered = &mut exchange => answered,
            ended = &mut connection => match ended {
                // What it delivered is still there to be read.
                Ok(()) => exchange.await,
                Err(error) => Err(error),
            },
        };
        ended.map_err(CallError::NoAnswer)
    }

    /// Where it is, by one look; all of it must be what may be called.
    async fn addresses(&self, target: &Target) -> Result<Vec<SocketAddr>, CallError> {
        let found = match target.host().parse::<IpAddr>() {
            Ok(ip) => vec![SocketAddr::new(ip, target.port())],
            Err(_) => {
                let looked = (self.resolve)(target.host().to_owned(), target.port());
                let looked = timeout(CONNECT, looked).await;
                looked
                    .map_err(|_| CallError::NoAddress(None))?
                    .map_err(|error| CallError::NoAddress(Some(error)))?
            }
        };
        if found.is_empty() {
            return Err(CallError::NoAddress(None));
        }
        let mut networks = (self.networks)();
        networks.extend(here::bridges());
        for address in &found {
            let ip = address.ip();
            let checked = self.rules.check(ip, &networks);
            checked.map_err(|kind| CallError::Refused { kind })?;
            let allowed = self.rules.allowed.iter().any(|net| net.contains(&ip));
            if !allowed && here::is_own(ip.to_canonical()) {
                return Err(CallError::Refused {
                    kind: "this machine's own",
                });
            }
        }
        Ok(found)
    }
}

async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, CallError> {
    let mut failed = std::io::Error::from(std::io::ErrorKind::TimedOut);
    for address in addresses.iter().take(TRIED) {
        match timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failed = error,
            Err(_) => failed = std::io::Error::from(std::io::ErrorKind::TimedOut),
        }
    }
    Err(CallError::Connect(failed))
}
