//! Somebody who is called back: an https server on loopback that remembers what it got.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing
)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A call as it came.
#[derive(Clone, Debug)]
pub struct Call {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Call {
    /// Checks a signature by the words of the documentation, with nothing of ours.
    pub fn verified(&self, key: &str) -> serde_json::Value {
        use hmac::{KeyInit as _, Mac as _};
        let field = self.headers["x-agentainer-signature"].to_str().unwrap();
        let (time, mac) = field
            .strip_prefix("t=")
            .and_then(|rest| rest.split_once(",v1="))
            .unwrap();
        let now = agentainer::clock::now().as_second();
        assert!((now - time.parse::<i64>().unwrap()).abs() < 60, "{field}");
        let id = self.headers["x-agentainer-request-id"].to_str().unwrap();
        let mut signed = format!("{time}.{id}.").into_bytes();
        signed.extend_from_slice(&self.body);
        let mut hmac = hmac::Hmac::<sha2::Sha256>::new_from_slice(key.as_bytes()).unwrap();
        hmac.update(&signed);
        let bytes: Vec<u8> = mac
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect();
        hmac.verify_slice(&bytes).expect("it is signed");
        let body: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(body["id"], id);
        body
    }
}

/// The server and what it got. Ends with the runtime.
pub struct Receiver {
    pub address: SocketAddr,
    folder: tempfile::TempDir,
    calls: Arc<Mutex<Vec<Call>>>,
    /// What it answers with; a redirect leads to its own `/elsewhere`.
    pub status: Arc<AtomicU16>,
    /// Connections that came, whether TLS came about or not.
    pub connections: Arc<AtomicUsize>,
}

impl Receiver {
    /// One whose certificate is for these names.
    pub async fn start(names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), made.cert.pem()).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let receiver = Self {
            address: listener.local_addr().unwrap(),
            folder,
            calls: Arc::default(),
            status: Arc::new(AtomicU16::new(204)),
            connections: Arc::default(),
        };
        let (calls, status) = (Arc::clone(&receiver.calls), Arc::clone(&receiver.status));
        let connections = Arc::clone(&receiver.connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let (acceptor, calls, status) =
                    (acceptor.clone(), Arc::clone(&calls), Arc::clone(&status));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let service = service_fn(|request| got(request, &calls, &status));
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        receiver
    }

    /// The file of its authority.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    pub fn url(&self, host: &str, path: &str) -> String {
        format!("https://{host}:{}{path}", self.address.port())
    }

    pub fn answers(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().clone()
    }
}

async fn got(
    request: Request<hyper::body::Incoming>,
    calls: &Mutex<Vec<Call>>,
    status: &AtomicU16,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    calls.lock().push(Call {
        path: parts.uri.to_string(),
        headers: parts.headers,
        body,
    });
    let status = StatusCode::from_u16(status.load(Ordering::SeqCst)).unwrap();
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    if status.is_redirection() {
        let location = http::HeaderValue::from_static("/elsewhere");
        response.headers_mut().insert("location", location);
    }
    Ok(response)
}
