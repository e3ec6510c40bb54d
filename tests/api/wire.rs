//! The router behind a real connection: what only HTTP itself shows.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{ADMIN, Api};

async fn served(api: &Api) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = api.router();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// Sends bytes and reads until the text is there.
async fn talk(stream: &mut TcpStream, sent: &str, until: &str) -> String {
    stream.write_all(sent.as_bytes()).await.unwrap();
    let mut read = Vec::new();
    let reading = async {
        let mut piece = [0; 4096];
        while !String::from_utf8_lossy(&read).contains(until) {
            let count = stream.read(&mut piece).await.unwrap();
            assert!(
                count > 0,
                "closed after: {}",
                String::from_utf8_lossy(&read)
            );
            read.extend_from_slice(&piece[..count]);
        }
    };
    tokio::time::timeout(Duration::from_secs(10), reading)
        .await
        .expect("no such answer");
    String::from_utf8(read).unwrap()
}

fn head(method: &str, path: &str, more: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {ADMIN}\r\n{more}\r\n"
    )
}

#[tokio::test]
async fn head_leaves_the_connection_clean_for_the_next_request() {
    let api = Api::new();
    api.applied("o", json!([{"name": "a", "spec": {}}])).await;
    let mut stream = TcpStream::connect(served(&api).await).await.unwrap();
    for path in [
        "/agents/a",
        "/agents/none",
        "/nothing",
        "/agents?watch=true",
    ] {
        let answer = talk(&mut stream, &head("HEAD", path, ""), "\r\n\r\n").await;
        assert!(answer.ends_with("\r\n\r\n"), "a body came: {answer}");
    }
    let answer = talk(&mut stream, &head("GET", "/health", ""), "healthy").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_it_is_sent() {
    let api = Api::new();
    let address = served(&api).await;
    for (path, media, expect) in [
        ("/apply", "application/json", ""),
        ("/apply", "application/json", "Expect: 100-continue\r\n"),
        (
            "/builds?tag=x",
            "application/x-tar",
            "Expect: 100-continue\r\n",
        ),
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let more = format!("Content-Type: {media}\r\nContent-Length: 99999999\r\n{expect}");
        let answer = talk(&mut stream, &head("POST", path, &more), "too-large").await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    }
}

#[tokio::test]
async fn a_watch_is_told_as_it_happens() {
    let api = Api::new();
    api.applied("o", json!([{"name": "a", "spec": {}}])).await;
    let mut stream = TcpStream::connect(served(&api).await).await.unwrap();
    talk(
        &mut stream,
        &head("GET", "/agents?watch=true", ""),
        "BOOKMARK",
    )
    .await;
    api.admin("POST", "/agents/a/stop", None).await;
    let told = talk(&mut stream, "", "MODIFIED").await;
    assert!(told.contains("stopped"), "{told}");
}

#[tokio::test]
async fn law_7_http_1_0_without_a_host_is_misdirected() {
    let api = Api::new();
    let mut stream = TcpStream::connect(served(&api).await).await.unwrap();
    let request = format!("GET /agents HTTP/1.0\r\nAuthorization: Bearer {ADMIN}\r\n\r\n");
    let answer = talk(&mut stream, &request, "misdirected").await;
    assert!(answer.starts_with("HTTP/1.0 421"), "{answer}");
}
