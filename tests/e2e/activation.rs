//! Law 5 where somebody else keeps the listening sockets (systemd's socket activation): a server ends and another one starts, and
//! nobody who connects meanwhile is turned away.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::server::{PATIENCE, Server};

fn socket() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

/// Connects and asks; the answer is to be read yet.
fn ask(port: u16) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
        .write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .unwrap();
    stream
}

fn answered(mut stream: TcpStream) {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn law_5_whoever_connects_while_no_server_runs_waits_for_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (cert, key) = (path("cert.pem"), path("key.pem"));
    fs::write(&cert, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let encrypted = socket();
    let url = format!(
        "https://localhost:{}",
        encrypted.local_addr().unwrap().port()
    );
    let over_tls = ["get", "agents", "--server", &url, "--ca-cert", &cert];
    let mut server = Server::activated(
        &["--tls-cert", &cert, "--tls-key", &key],
        vec![("http", socket()), ("https", encrypted)],
    );
    let port = server.port;
    // Before the very first.
    let early = ask(port);
    server.launch();
    answered(early);
    server.ok(&over_tls);

    let (over, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                answered(ask(port));
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        // Whatever fails, the other thread ends.
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let more = |server: &Server| {
                let from = count.load(Ordering::Relaxed);
                server.eventually("it is asked", |_| count.load(Ordering::Relaxed) > from + 20);
            };
            more(&server);
            server.terminate();
            let waits = ask(port);
            server.launch();
            answered(waits);
            more(&server);
            // A server that was started by hand takes over, and has no more right to shut them.
            assert!(server.take_over().wait().unwrap().success());
            more(&server);
            server.ok(&over_tls);
            server.terminate();
            let waits = ask(port);
            server.launch();
            answered(waits);
            server.ok(&over_tls);
        }));
        over.store(true, Ordering::Relaxed);
        ended.unwrap();
    });
}

#[test]
fn a_socket_that_is_none_of_ours_is_named() {
    for (name, why) in [
        ("ftp", "name 'ftp'"),
        ("https", "passed as 'https', which takes --tls-cert"),
    ] {
        let mut server = Server::activated(&[], vec![(name, socket())]);
        server.begin();
        assert!(!server.ended().success());
        assert!(server.log_tail().contains(why), "{}", server.log_tail());
    }
}

#[test]
fn a_socket_for_the_gateway_that_is_not_there_is_named() {
    let elsewhere = socket();
    let address = elsewhere.local_addr().unwrap();
    let mut server = Server::activated(&[], vec![("http", socket()), ("gateway", elsewhere)]);
    server.launch();
    let why = format!("nobody accepts from {address}, passed as 'gateway'");
    server.eventually("it is named", |server| server.log_tail().contains(&why));
}
