//! A corner of the real engine for one test: a cluster, a network and a subnet of its own, gone when it is dropped,
//! however the test ended. Beside it, the engine's API by hand, as "somebody else" would use it.
#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use agentainer::agent::ClusterId;
use agentainer::observed::{ImageId, Network};
use agentainer::runtime::docker::subnet;
use agentainer::runtime::{ContainerRuntime, DockerRuntime, RuntimeClass, RuntimeSettings};
use serde_json::Value;

use super::image;

/// The label of what a test makes by hand, so that it is cleaned up too; its value is the cluster.
pub const STRANGER: &str = "agentainer-test";

/// A corner of the engine.
pub struct Corner {
    pub runtime: DockerRuntime,
    pub settings: RuntimeSettings,
    pub image: ImageId,
}

impl Corner {
    pub async fn new() -> Self {
        Self::open(Vec::new()).await
    }

    /// With host folders opened.
    pub async fn open(allowed_host_paths: Vec<PathBuf>) -> Self {
        let cluster = ClusterId::random();
        let short: String = cluster.as_str().chars().take(8).collect();
        let settings = RuntimeSettings {
            network: format!("agentainer-test-{short}"),
            cluster,
            allowed_host_paths,
            denied_host_paths: Vec::new(),
        };
        Self::with(settings).await
    }

    pub async fn with(settings: RuntimeSettings) -> Self {
        let runtime = DockerRuntime::connect(None, settings.clone()).unwrap();
        let image = image::tiny(&runtime).await;
        Self {
            runtime,
            settings,
            image,
        }
    }

    /// The network, made with the first subnet that is free.
    pub async fn network(&self) -> Network {
        // From the far end, so that tests at the same time seldom want the same.
        let mut candidates: Vec<_> = subnet::free_subnets(&subnet::host_routes()).collect();
        let start = usize::from_str_radix(&self.settings.cluster.as_str()[..4], 16).unwrap();
        let count = candidates.len();
        candidates.rotate_left(start % count);
        for candidate in candidates {
            match self.runtime.create_network(candidate).await {
                Ok(network) => return network,
                Err(cause) if cause.class() == RuntimeClass::Conflict => {}
                Err(cause) => panic!("{cause}"),
            }
        }
        panic!("no subnet is free");
    }
}

impl Drop for Corner {
    fn drop(&mut self) {
        for label in ["agentainer.dev/cluster", STRANGER] {
            self.clear(&format!("{label}={}", self.settings.cluster));
        }
    }
}

impl Corner {
    fn clear(&self, label: &str) {
        let filter = format!("%7B%22label%22%3A%5B%22{label}%22%5D%7D");
        let list = |what: &str| {
            let (_, found) = by_hand("GET", &format!("/{what}all=true&filters={filter}"), None);
            found
        };
        for container in list("containers/json?").as_array().into_iter().flatten() {
            let id = container["Id"].as_str().unwrap_or_default();
            by_hand(
                "DELETE",
                &format!("/containers/{id}?force=true&v=true"),
                None,
            );
        }
        for network in list("networks?").as_array().into_iter().flatten() {
            let id = network["Id"].as_str().unwrap_or_default();
            by_hand("DELETE", &format!("/networks/{id}"), None);
        }
        for volume in list("volumes?")["Volumes"].as_array().into_iter().flatten() {
            let name = volume["Name"].as_str().unwrap_or_default();
            by_hand("DELETE", &format!("/volumes/{name}?force=true"), None);
        }
    }
}

/// One request to the engine, as anybody may make it: the status and the answer.
pub fn by_hand(method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
    let mut stream =
        UnixStream::connect("/var/run/docker.sock").expect("Docker is needed by this test");
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    write!(
        stream,
        "{method} /v1.41{path} HTTP/1.0\r\nhost: docker\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or(0);
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}
