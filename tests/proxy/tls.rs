//! TLS for clients: both protocols, the certificate that changes, and all that holds in clear text.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agentainer::front::{Certificate, Front, Limits};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::agents;
use crate::rig::{Rig, bounded, read_until, until, whole};

/// A front end with a listener for TLS, and the files of its certificate.
struct Tls {
    rig: Rig,
    folder: tempfile::TempDir,
    certificate: Arc<Certificate>,
    authority: CertificateDer<'static>,
    address: SocketAddr,
}

/// A new certificate for `localhost` in a folder; it is its own authority.
fn write_pair(folder: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

impl Tls {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        let rig = Rig::with(Duration::from_secs(5), limits);
        let folder = tempfile::tempdir().unwrap();
        let authority = write_pair(folder.path());
        let at = |name| folder.path().join(name);
        let loaded = Certificate::load(at("cert.pem"), at("key.pem")).unwrap();
        let certificate = Arc::new(loaded);
        let address = ([127, 0, 0, 1], 0).into();
        let address = rig.front.listen_tls(address, &certificate).unwrap();
        Self {
            rig,
            folder,
            certificate,
            authority,
            address,
        }
    }

    /// A connection of a client that knows these protocols.
    async fn connect(&self, protocols: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols
            .iter()
            .map(|one| one.as_bytes().to_vec())
            .collect();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TcpStream::connect(self.address).await.unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        bounded(connector.connect(name, stream)).await
    }

    fn agreed(stream: &TlsStream<TcpStream>) -> Option<String> {
        let protocol = stream.get_ref().1.alpn_protocol();
        protocol.map(|name| String::from_utf8(name.to_vec()).unwrap())
    }
}

async fn http2(
    stream: TlsStream<TcpStream>,
) -> hyper::client::conn::http2::SendRequest<Full<Bytes>> {
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    sender
}

fn get(target: &str) -> Request<Full<Bytes>> {
    Request::get(target).body(Full::default()).unwrap()
}

#[tokio::test]
async fn both_protocols_are_spoken_and_the_agent_is_told_of_https() {
    let tls = Tls::new();
    tls.rig
        .ready("users", &[("c", agents::mirror().await.address)]);
    let stream = tls.connect(&["h2", "http/1.1"]).await.unwrap();
    assert_eq!(Tls::agreed(&stream).as_deref(), Some("h2"));
    let mut sender = http2(stream).await;
    let answer = bounded(sender.send_request(get("https://localhost/agent/users/x"))).await;
    let two = whole(answer.unwrap()).await.text;
    for protocols in [&["http/1.1"][..], &[]] {
        let mut stream = tls.connect(protocols).await.unwrap();
        let ask = "GET /agent/users/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(ask.as_bytes()).await.unwrap();
        let mut one = String::new();
        bounded(stream.read_to_string(&mut one)).await.unwrap();
        assert!(one.contains("x-forwarded-proto: https\r\n"), "{one}");
    }
    assert!(two.contains("x-forwarded-proto: https\r\n"), "{two}");
    assert!(two.contains("proto=https"), "{two}");
    // What the proxy does not answer is told so too.
    let answer = bounded(sender.send_request(get("https://localhost/health"))).await;
    let answer = whole(answer.unwrap()).await.text;
    assert!(answer.contains("tls: true"), "{answer}");
    // In clear text nothing has changed.
    let answer = tls.rig.get("/agent/users/x").await.text;
    assert!(answer.contains("x-forwarded-proto: http\r\n"), "{answer}");
}

#[tokio::test]
async fn a_tunnel_goes_through() {
    let tls = Tls::new();
    let agent = agents::raw(|mut stream, _| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        let switch =
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
        stream.write_all(switch).await.unwrap();
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    })
    .await;
    tls.rig.ready("users", &[("c", agent.address)]);
    let mut stream = tls.connect(&["http/1.1"]).await.unwrap();
    stream
        .write_all(b"GET /agent/users/ HTTP/1.1\r\nHost: b\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        .await
        .unwrap();
    let head = read_until(&mut stream, "\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    stream.write_all(b"hello").await.unwrap();
    assert_eq!(read_until(&mut stream, "hello").await, "hello");
}

#[tokio::test]
async fn a_changed_certificate_is_shown_to_new_connections_and_a_broken_one_never() {
    let mut tls = Tls::new();
    let kept = tls.connect(&["h2"]).await.unwrap();
    let before = tls.certificate.clone();
    // Half a renewal: a key that is not the certificate's.
    let at = |name: &str| tls.folder.path().join(name);
    let old_cert = std::fs::read(at("cert.pem")).unwrap();
    let new = write_pair(tls.folder.path());
    let (new_cert, new_key) = (
        std::fs::read(at("cert.pem")).unwrap(),
        std::fs::read(at("key.pem")).unwrap(),
    );
    for (cert, key, words) in [
        (&old_cert, &new_key, "cannot be used together"),
        (
            &new_cert[..new_cert.len() / 2].to_vec(),
            &new_key,
            "holds no certificate",
        ),
        (&new_cert, &Vec::new(), "holds no private key"),
        (&b"\x00\xff".to_vec(), &new_key, "holds no certificate"),
    ] {
        std::fs::write(at("cert.pem"), cert).unwrap();
        std::fs::write(at("key.pem"), key).unwrap();
        let error = before.reload().unwrap_err();
        assert!(error.to_string().contains(words), "{words}: {error}");
        tls.connect(&["h2"]).await.unwrap();
    }
    std::fs::write(at("cert.pem"), &new_cert).unwrap();
    std::fs::remove_file(at("key.pem")).unwrap();
    let error = before.reload().unwrap_err().to_string();
    assert!(error.contains("key.pem cannot be read"), "{error}");
    std::fs::write(at("key.pem"), new_key).unwrap();
    before.reload().unwrap();
    assert!(
        tls.connect(&["h2"]).await.is_err(),
        "the old authority is of no use"
    );
    tls.authority = new;
    tls.connect(&["h2"]).await.unwrap();
    // Who was there before goes on.
    let answer = bounded(
        http2(kept)
            .await
            .send_request(get("https://localhost/health")),
    )
    .await;
    assert!(whole(answer.unwrap()).await.status.is_success());
}

#[tokio::test]
async fn who_does_not_shake_hands_is_let_go_of() {
    let tls = Tls::with(Limits {
        handshake_timeout: Duration::from_millis(50),
        ..Limits::default()
    });
    let mut silent = TcpStream::connect(tls.address).await.unwrap();
    let mut rest = Vec::new();
    bounded(silent.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.is_empty());
    let mut clear = TcpStream::connect(tls.address).await.unwrap();
    clear
        .write_all(b"GET / HTTP/1.1\r\nHost: b\r\n\r\n")
        .await
        .unwrap();
    let _ = bounded(clear.read_to_end(&mut rest)).await;
    assert!(!rest.starts_with(b"HTTP"), "an alert at most");
}

#[tokio::test]
async fn law_5_a_shutdown_lets_what_is_in_flight_finish() {
    let tls = Tls::new();
    let (agent, go) = agents::patient().await;
    tls.rig.ready("users", &[("c", agent.address)]);
    let mut busy = tls.connect(&["http/1.1"]).await.unwrap();
    busy.write_all(b"GET /agent/users/ HTTP/1.1\r\nHost: b\r\n\r\n")
        .await
        .unwrap();
    let mut sender = http2(tls.connect(&["h2"]).await.unwrap()).await;
    let mut other = sender.clone();
    let stream = tokio::spawn(sender.send_request(get("https://b/agent/users/")));
    // Not through its handshake yet: nothing is owed to it.
    let _silent = TcpStream::connect(tls.address).await.unwrap();
    tls.rig.until_in_flight("c", 2).await;
    let (clean, one, two) = bounded(async {
        tokio::join!(
            tls.rig.front.shutdown(Duration::from_secs(15)),
            async {
                until(|| tls.rig.front.listening().is_empty()).await;
                // GOAWAY: what comes now is for another connection.
                let mut more = async || other.send_request(get("https://b/health")).await;
                while more().await.is_ok() {}
                go.send_replace(true);
                read_until(&mut busy, "done").await
            },
            stream
        )
    })
    .await;
    assert!(clean);
    assert!(
        one.contains("connection: close\r\n") && one.ends_with("done"),
        "{one}"
    );
    assert_eq!(whole(two.unwrap().unwrap()).await.text, "done");
}

#[tokio::test]
async fn law_5_its_socket_is_handed_over_too() {
    let tls = Tls::new();
    let sockets = tls.rig.front.sockets().unwrap().into_iter();
    let next = Front::new(
        tls.rig.proxy.clone(),
        axum::Router::new(),
        Limits::default(),
    )
    .inherit(sockets.map(Into::into).collect());
    next.listen(tls.rig.address).unwrap();
    next.listen_tls(tls.address, &tls.certificate).unwrap();
    assert_eq!(next.unclaimed(), 0);
    next.open_doors();
    tls.rig.front.let_go();
    let stream = tls.connect(&["h2"]).await.unwrap();
    assert_eq!(Tls::agreed(&stream).as_deref(), Some("h2"));
}

#[tokio::test]
async fn an_address_speaks_one_of_the_two() {
    let tls = Tls::new();
    let front = &tls.rig.front;
    assert_eq!(
        front.listen_tls(tls.address, &tls.certificate).unwrap(),
        tls.address
    );
    assert!(front.listen(tls.address).is_err());
    assert!(front.listen_tls(tls.rig.address, &tls.certificate).is_err());
}
