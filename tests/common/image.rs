//! The tests' own image, made from what the machine has: `tiny.rs`, linked statically, in a `FROM scratch` image.
//!
//! It is built through the adapter's own `build` and kept between runs under a tag that is a hash of its source.
#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use agentainer::observed::ImageId;
use agentainer::runtime::{BuildEvent, BuildRequest, ContainerRuntime};
use bytes::Bytes;
use futures::StreamExt;
use sha2::{Digest, Sha256};

const SOURCE: &str = include_str!("tiny.rs");
const DOCKERFILE: &str = "FROM scratch\nCOPY tiny /tiny\nCOPY nsswitch.conf /etc/nsswitch.conf\nENTRYPOINT [\"/tiny\"]\n";

/// The image, by id; built when it is missing.
pub async fn tiny(runtime: &dyn ContainerRuntime) -> ImageId {
    let reference = reference();
    if let Some(id) = runtime
        .image(&reference)
        .await
        .expect("Docker is needed by this test")
    {
        return id;
    }
    let binary = tokio::task::spawn_blocking(compile).await.unwrap();
    let context = context(&binary);
    let request = BuildRequest {
        context: futures::stream::iter([Ok(Bytes::from(context))]).boxed(),
        dockerfile: "Dockerfile".to_owned(),
        args: Default::default(),
        target: None,
        tag: reference,
    };
    let mut events = runtime.build(request).await.unwrap();
    let mut log = String::new();
    while let Some(event) = events.next().await {
        match event.unwrap_or_else(|cause| panic!("{cause}\n{log}")) {
            BuildEvent::Log(text) => log.push_str(&text),
            BuildEvent::Done(id) => return id,
        }
    }
    panic!("the build ended without an image:\n{log}");
}

/// The image's name: `agentainer-test/tiny:<hash of its source>`.
pub fn reference() -> String {
    let digest = Sha256::digest(format!("{SOURCE}{DOCKERFILE}").as_bytes());
    let hash: String = digest
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("agentainer-test/tiny:{hash}")
}

fn compile() -> PathBuf {
    let folder = tempfile::tempdir().unwrap().keep();
    let source = folder.join("tiny.rs");
    std::fs::write(&source, SOURCE).unwrap();
    let version = Command::new("rustc")
        .arg("-vV")
        .output()
        .expect("rustc")
        .stdout;
    let version = String::from_utf8(version).unwrap();
    let target = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .unwrap();
    let binary = folder.join("tiny");
    let done = Command::new("rustc")
        .args([
            "--edition",
            "2024",
            "-O",
            "-C",
            "target-feature=+crt-static",
            "-C",
            "strip=symbols",
        ])
        .args(["--target", target, "-o"])
        .arg(&binary)
        .arg(&source)
        .output()
        .expect("rustc");
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    binary
}

fn context(binary: &Path) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let program = std::fs::read(binary).unwrap();
    let _ = std::fs::remove_dir_all(binary.parent().unwrap());
    let files: [(&str, u32, &[u8]); 3] = [
        ("Dockerfile", 0o644, DOCKERFILE.as_bytes()),
        ("nsswitch.conf", 0o644, b"hosts: files dns\n"),
        ("tiny", 0o755, &program),
    ];
    for (name, mode, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(mode);
        header.set_cksum();
        tar.append_data(&mut header, name, bytes).unwrap();
    }
    tar.into_inner().unwrap()
}
