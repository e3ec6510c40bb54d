//! The front end with clients that are not ours: curl, and the Python libraries of `requirements.txt`, in clear text and over TLS.
//!
//! `scripts/clients.sh` installs those under `target/`; without them these tests fail and say so.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code,
    unreachable_pub,
    missing_docs
)]

#[path = "../proxy/agents.rs"]
mod agents;
mod curl;
#[path = "../proxy/rig.rs"]
mod rig;
mod web;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use agentainer::agent::spec::{Protocol, Proxy};
use agentainer::front::Certificate;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::rig::{Rig, bounded};

/// The longest that a client may take for all it does.
const PATIENCE: Duration = Duration::from_secs(120);

/// A front end in clear text and over TLS, with an authority that clients are told of.
struct Site {
    rig: Rig,
    folder: tempfile::TempDir,
    clear: String,
    tls: String,
}

impl Site {
    fn new() -> Self {
        let rig = Rig::new();
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (cert, key) = (
            folder.path().join("cert.pem"),
            folder.path().join("key.pem"),
        );
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let certificate = Arc::new(Certificate::load(cert, key).unwrap());
        let tls = rig
            .front
            .listen_tls(([127, 0, 0, 1], 0).into(), &certificate);
        Self {
            clear: format!("http://localhost:{}", rig.address.port()),
            tls: format!("https://localhost:{}", tls.unwrap().port()),
            rig,
            folder,
        }
    }

    fn authority(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    /// Runs a part of `client.py` to its end.
    async fn client(&self, which: &str) {
        let mut command = python("client.py");
        command
            .args([which, &self.clear, &self.tls])
            .arg(self.authority());
        let ended = tokio::time::timeout(PATIENCE, command.output()).await;
        let output = ended.expect("the client took too long").unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{which}:\n{said}");
    }
}

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Python with the libraries, about to run one of our scripts.
fn python(script: &str) -> Command {
    let python = here().join("target/clients/bin/python");
    assert!(
        python.exists(),
        "{} is missing: scripts/clients.sh installs it",
        python.display()
    );
    let mut command = Command::new(python);
    command.arg(here().join("tests/clients").join(script));
    command.env("NO_PROXY", "*").kill_on_drop(true);
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Starts a part of `agent.py`; ends with what is given back.
async fn agent(which: &str) -> (Child, SocketAddr) {
    let mut command = python("agent.py");
    let mut child = command.arg(which).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let port = bounded(lines.next_line()).await.unwrap();
    let port: u16 = port.expect("the agent did not start").parse().unwrap();
    (child, ([127, 0, 0, 1], port).into())
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_is_content() {
    let site = Site::new();
    site.rig.ready("web", &[("c", web::agent().await.address)]);
    site.client("requests").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn httpx_is_content_in_both_protocols() {
    let site = Site::new();
    site.rig.ready("web", &[("c", web::agent().await.address)]);
    site.client("httpx").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn websockets_is_content() {
    let site = Site::new();
    let (_agent, address) = agent("websockets").await;
    site.rig.ready("socket", &[("c", address)]);
    site.client("websockets").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grpcio_is_content_on_both_sides() {
    let site = Site::new();
    let (_agent, address) = agent("grpc").await;
    let h2c = |publication: &mut agentainer::endpoints::Publication| {
        publication.proxy = Proxy {
            protocol: Some(Protocol::H2c),
            ..Proxy::default()
        };
    };
    site.rig.publish("calls", &[("c", address)], h2c);
    site.rig
        .publish("down", &[("d", agents::nobody().await)], h2c);
    site.client("grpc").await;
    site.rig.until_in_flight("c", 0).await;
}
