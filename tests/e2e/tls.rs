//! TLS on the real thing: the command line over it, and a takeover that fails nothing.

use std::fs;

use crate::server::{Server, free_port};

#[test]
fn the_command_line_speaks_tls_and_a_successor_takes_the_listener_over() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (
        folder.path().join("cert.pem"),
        folder.path().join("key.pem"),
    );
    fs::write(&cert, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let port = free_port();
    let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
    let listen = format!("127.0.0.1:{port}");
    let url = format!("https://localhost:{port}");
    let flags = [
        "--tls-cert",
        cert,
        "--tls-key",
        key,
        "--tls-listen",
        &listen,
    ];
    let mut server = Server::with(&flags);
    let over_tls = ["--server", &url, "--ca-cert", cert];
    let get = [&["get", "agents"], &over_tls[..]].concat();
    server.ok(&get);
    let untrusted = server.cli(&["get", "agents", "--server", &url]);
    assert_eq!(untrusted.status.code(), Some(5));
    let words = String::from_utf8_lossy(&untrusted.stderr).into_owned();
    assert!(words.contains("--ca-cert FILE"), "{words}");
    // The plain one beside it is no TLS.
    let plain = server.url("/").replace("http://", "https://");
    let plain = server.cli(&["get", "agents", "--server", plain.trim_end_matches('/')]);
    assert_eq!(plain.status.code(), Some(5));
    let mut former = server.take_over();
    server.ok(&get);
    assert!(former.wait().unwrap().success());
    server.ok(&get);
}
