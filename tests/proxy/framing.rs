//! Messages with two readings, from raw sockets: refused, or passed on with one reading alone (RFC 9110, 9112).

use crate::agents;
use crate::rig::Rig;

/// What the front end answers to these bytes: the status line's code, "" when it just closes.
async fn status(rig: &Rig, bytes: &[u8]) -> String {
    let mut raw = rig.raw().await;
    raw.send(bytes).await;
    let line = raw.until("\r\n").await;
    line.split(' ').nth(1).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn messages_with_two_readings_are_refused_and_never_reach_the_agent() {
    let rig = Rig::new();
    let agent = agents::mirror().await;
    rig.ready("users", &[("c", agent.address)]);
    let long = format!(
        "GET /agent/users/ HTTP/1.1\r\nHost: b\r\nX: {}\r\n\r\n",
        "x".repeat(1 << 20)
    );
    let many = format!(
        "GET /agent/users/ HTTP/1.1\r\nHost: b\r\n{}\r\n",
        "X: 1\r\n".repeat(500)
    );
    let uri = format!(
        "GET /agent/users/{} HTTP/1.1\r\nHost: b\r\n\r\n",
        "x".repeat(70_000)
    );
    for (what, bytes, expected) in [
        (
            "unequal lengths",
            "POST /agent/users/ HTTP/1.1\r\nHost: b\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            "400",
        ),
        (
            "a list of lengths",
            "POST /agent/users/ HTTP/1.1\r\nHost: b\r\nContent-Length: 1, 2\r\n\r\nab",
            "400",
        ),
        (
            "a signed length",
            "POST /agent/users/ HTTP/1.1\r\nHost: b\r\nContent-Length: +1\r\n\r\na",
            "400",
        ),
        (
            "a negative length",
            "POST /agent/users/ HTTP/1.1\r\nHost: b\r\nContent-Length: -1\r\n\r\n",
            "400",
        ),
        (
            "a length in hex",
            "POST /agent/users/ HTTP/1.1\r\nHost: b\r\nContent-Length: 0x1\r\n\r\na",
            "400",
        ),
        (
            "a length that overflows",
            "POST /agent/users/ HTTP/1.1\r\nHost: b\r\nContent-Length: 18446744073709551616\r\n\r\n",
            "400",
        ),
        (
            "chunked that is not last",
            "POST /agent/users/ HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
            "400",
        ),
        (
            "a coding before chunked",
            "POST /agent/users/ HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            "501",
        ),
        (
            "chunked twice",
            "POST /agent/users/ HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "501",
        ),
        (
            "identity",
            "POST /agent/users/ HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: identity\r\n\r\n",
            "400",
        ),
        (
            "a coding that only looks like chunked",
            "POST /agent/users/ HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
            "400",
        ),
        (
            "chunks in HTTP/1.0",
            "POST /agent/users/ HTTP/1.0\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "400",
        ),
        (
            "a folded line",
            "GET /agent/users/ HTTP/1.1\r\nHost: b\r\nX: a\r\n b\r\n\r\n",
            "400",
        ),
        (
            "a space before the colon",
            "GET /agent/users/ HTTP/1.1\r\nHost: b\r\nContent-Length : 3\r\n\r\nabc",
            "400",
        ),
        (
            "a NUL in a value",
            "GET /agent/users/ HTTP/1.1\r\nHost: b\r\nX: a\0b\r\n\r\n",
            "400",
        ),
        (
            "a CR in a value",
            "GET /agent/users/ HTTP/1.1\r\nHost: b\r\nX: a\rb\r\n\r\n",
            "400",
        ),
        (
            "a line without a colon",
            "GET /agent/users/ HTTP/1.1\r\nHost: b\r\nnonsense\r\n\r\n",
            "400",
        ),
        ("no host", "GET /agent/users/ HTTP/1.1\r\n\r\n", "400"),
        (
            "two hosts",
            "GET /agent/users/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "400",
        ),
        (
            "a host with a path",
            "GET /agent/users/ HTTP/1.1\r\nHost: a/b\r\n\r\n",
            "400",
        ),
        (
            "a host with a user",
            "GET /agent/users/ HTTP/1.1\r\nHost: u@a\r\n\r\n",
            "400",
        ),
        (
            "another version",
            "GET /agent/users/ HTTP/1.2\r\nHost: b\r\n\r\n",
            "400",
        ),
        (
            "a space in the target",
            "GET /agent/users/ x HTTP/1.1\r\nHost: b\r\n\r\n",
            "400",
        ),
        (
            "CONNECT",
            "CONNECT /agent/users/ HTTP/1.1\r\nHost: b\r\n\r\n",
            "4",
        ),
        ("a huge field", &long, "431"),
        ("many fields", &many, "431"),
        ("a huge target", &uri, "414"),
    ] {
        let status = status(&rig, bytes.as_bytes()).await;
        assert!(
            !status.is_empty() && status.starts_with(expected),
            "{what}: {status}, not {expected}"
        );
    }
    assert_eq!(agent.requests(), 0);
}

#[tokio::test]
async fn what_follows_a_message_with_both_lengths_is_not_read_as_a_request() {
    let rig = Rig::new();
    let agent = agents::http(|request: http::Request<hyper::body::Incoming>| async move {
        assert!(!request.headers().contains_key("content-length"));
        http::Response::new(request.into_body())
    })
    .await;
    rig.ready("users", &[("c", agent.address)]);
    for lengths in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 4",
    ] {
        let before = agent.requests();
        let mut raw = rig.raw().await;
        // One reader sees an empty body and then a second request.
        raw.send(format!("POST /agent/users/ HTTP/1.1\r\nHost: b\r\n{lengths}\r\n\r\n0\r\n\r\nGET /agent/users/smuggled HTTP/1.1\r\nHost: b\r\n\r\n")).await;
        let all = raw.rest().await;
        assert_eq!(all.matches("HTTP/1.1").count(), 1, "{all}");
        assert!(agent.requests() <= before + 1);
    }
}

#[tokio::test]
async fn a_refused_message_ends_its_connection() {
    let rig = Rig::new();
    rig.ready("users", &[("c", agents::mirror().await.address)]);
    let mut raw = rig.raw().await;
    raw.send("POST /agent/users/ HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\nGET /agent/users/ HTTP/1.1\r\nHost: b\r\n\r\n").await;
    let all = raw.rest().await;
    assert!(
        all.starts_with("HTTP/1.1 501 ") && all.matches("HTTP/1.1").count() == 1,
        "{all}"
    );
}

#[tokio::test]
async fn an_absolute_target_decides_over_the_host() {
    let rig = Rig::new();
    rig.ready("users", &[("c", agents::mirror().await.address)]);
    let mut raw = rig.raw().await;
    raw.send(
        "GET http://real:1/agent/users/a//b?c HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n",
    )
    .await;
    let all = raw.rest().await;
    assert!(
        all.contains("GET /a//b?c HTTP/1.1\r\n")
            && all.contains("host: real:1\r\n")
            && !all.contains("other"),
        "{all}"
    );
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let rig = Rig::new();
    rig.ready("users", &[("c", agents::mirror().await.address)]);
    let mut raw = rig.raw().await;
    let all: String = (0..5)
        .map(|n| {
            format!(
                "GET /agent/users/{n} HTTP/1.1\r\nHost: b\r\n{}\r\n",
                if n == 4 { "Connection: close\r\n" } else { "" }
            )
        })
        .collect();
    raw.send(all).await;
    let all = raw.rest().await;
    let places: Vec<_> = (0..5)
        .map(|n| all.find(&format!("GET /{n} ")).unwrap())
        .collect();
    assert!(places.is_sorted(), "{all}");
}

#[tokio::test]
async fn an_agents_answer_with_two_readings_is_502() {
    for answer in [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
        "nonsense\r\n\r\n",
        "HTTP/1.1 1000 OK\r\n\r\n",
    ] {
        let rig = Rig::new();
        let agent = agents::scripted(answer).await;
        rig.ready("users", &[("c", agent.address)]);
        let found = rig.get("/agent/users/").await;
        assert_eq!(found.status.as_u16(), 502, "{answer}: {found:?}");
        rig.until_in_flight("c", 0).await;
    }
}

#[tokio::test]
async fn bytes_behind_an_answer_are_not_the_next_clients_answer() {
    let rig = Rig::new();
    let agent = agents::scripted("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil").await;
    rig.ready("users", &[("c", agent.address)]);
    for _ in 0..10 {
        let answer = rig.get("/agent/users/").await;
        assert!(
            answer.text == "ok" || answer.status.as_u16() == 502,
            "{answer:?}"
        );
    }
}
