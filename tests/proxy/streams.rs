//! Bodies as they flow, and tunnels: piece by piece, both ways, with back-pressure, counted to their end.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, Channel, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;

use crate::agents;
use crate::rig::{Rig, bounded, read_until, until};

async fn next(body: &mut Incoming) -> Option<String> {
    let frame = bounded(body.frame()).await?.unwrap();
    Some(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap())
}

#[tokio::test]
async fn server_sent_events_arrive_one_by_one_as_they_are_made() {
    let rig = Rig::new();
    let (go, told) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let agent = {
        let go = Arc::clone(&go);
        agents::http(move |_| {
            let go = Arc::clone(&go);
            async move {
                let (mut sender, body) = Channel::<Bytes>::new(1);
                tokio::spawn(async move {
                    for n in 0..3 {
                        go.notified().await;
                        let _ = sender
                            .send(Frame::data(Bytes::from(format!("data: {n}\n\n"))))
                            .await;
                    }
                });
                Response::builder()
                    .header("content-type", "text/event-stream")
                    .body(body)
                    .unwrap()
            }
        })
        .await
    };
    rig.ready("users", &[("c", agent.address)]);
    let request = Request::get("/agent/users/events")
        .header("host", "b")
        .body(Full::<Bytes>::default())
        .unwrap();
    let mut response = rig.begin(request).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(rig.in_flight("c"), 1);
    for n in 0..3 {
        // The next is made only after the one before has arrived.
        go.notify_one();
        assert_eq!(
            next(response.body_mut()).await,
            Some(format!("data: {n}\n\n"))
        );
    }
    assert_eq!(next(response.body_mut()).await, None);
    rig.until_in_flight("c", 0).await;
    drop(told);
}

#[tokio::test]
async fn both_directions_flow_at_once() {
    let rig = Rig::new();
    let echo =
        agents::http(
            |request: Request<Incoming>| async move { Response::new(request.into_body()) },
        )
        .await;
    rig.ready("users", &[("c", echo.address)]);
    let (mut sender, body) = Channel::<Bytes>::new(1);
    let request = Request::post("/agent/users/")
        .header("host", "b")
        .body(body)
        .unwrap();
    let mut response = rig.begin(request).await;
    for piece in ["one", "two", "three"] {
        bounded(sender.send(Frame::data(Bytes::from(piece))))
            .await
            .unwrap();
        assert_eq!(next(response.body_mut()).await.as_deref(), Some(piece));
    }
    drop(sender);
    assert_eq!(next(response.body_mut()).await, None);
}

#[tokio::test]
async fn an_agent_that_does_not_read_slows_the_client_down() {
    let rig = Rig::new();
    let agent = agents::raw(|mut stream, _| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        std::future::pending::<()>().await;
    })
    .await;
    rig.ready("users", &[("c", agent.address)]);
    let mut raw = rig.raw().await;
    let size: usize = 256 << 20;
    raw.send(format!(
        "POST /agent/users/ HTTP/1.1\r\nHost: b\r\nContent-Length: {size}\r\n\r\n"
    ))
    .await;
    let piece = vec![0; 1 << 16];
    let mut sent = 0;
    while sent < size {
        match tokio::time::timeout(Duration::from_millis(500), raw.0.write(&piece)).await {
            Ok(written) => sent += written.unwrap(),
            Err(_) => break,
        }
    }
    assert!(sent < size / 4, "{sent} bytes went somewhere");
}

#[tokio::test]
async fn a_client_that_does_not_read_slows_the_agent_down() {
    let rig = Rig::new();
    let size: usize = 256 << 20;
    let (stuck, seen) = tokio::sync::watch::channel(None);
    let agent = agents::raw(move |mut stream, _| {
        let stuck = stuck.clone();
        async move {
            read_until(&mut stream, "\r\n\r\n").await;
            stream
                .write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n").as_bytes())
                .await
                .unwrap();
            let piece = vec![0; 1 << 16];
            let mut sent = 0;
            while sent < size {
                match tokio::time::timeout(Duration::from_millis(500), stream.write(&piece)).await {
                    Ok(written) => sent += written.unwrap(),
                    Err(_) => break,
                }
            }
            stuck.send_replace(Some(sent));
            std::future::pending::<()>().await;
        }
    })
    .await;
    rig.ready("users", &[("c", agent.address)]);
    let mut raw = rig.raw().await;
    raw.send("GET /agent/users/ HTTP/1.1\r\nHost: b\r\n\r\n")
        .await;
    until(|| seen.borrow().is_some()).await;
    let sent = seen.borrow().unwrap();
    assert!(sent < size / 4, "{sent} bytes went somewhere");
}

#[tokio::test]
async fn an_early_answer_does_not_wait_for_the_upload() {
    let rig = Rig::new();
    let agent = agents::raw(|mut stream, _| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        stream
            .write_all(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\n\r\nbig")
            .await
            .unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    rig.ready("users", &[("c", agent.address)]);
    let mut raw = rig.raw().await;
    raw.send("POST /agent/users/ HTTP/1.1\r\nHost: b\r\nContent-Length: 1000000\r\n\r\nabc")
        .await;
    let answer = raw.until("big").await;
    assert!(
        answer.starts_with("HTTP/1.1 413 ") && answer.ends_with("big"),
        "{answer}"
    );
}

#[tokio::test]
async fn continue_is_said_when_the_agent_takes_the_body_and_not_when_it_is_refused() {
    let rig = Rig::new();
    let echo = agents::http(|request: Request<Incoming>| async move {
        let expect = request.headers().contains_key("expect");
        let body = request.into_body().collect().await.unwrap().to_bytes();
        Response::new(Full::from(format!("{body:?} {expect}")))
    })
    .await;
    rig.ready("users", &[("c", echo.address)]);
    let mut raw = rig.raw().await;
    raw.send("POST /agent/users/ HTTP/1.1\r\nHost: b\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n").await;
    assert_eq!(raw.until("\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    raw.send("hello").await;
    assert!(
        raw.until("hello\" false")
            .await
            .starts_with("HTTP/1.1 200 OK")
    );

    let mut raw = rig.raw().await;
    raw.send("POST /agent/nobody/ HTTP/1.1\r\nHost: b\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n").await;
    assert!(raw.until("\r\n").await.starts_with("HTTP/1.1 404 "));
}

/// An agent that changes to a protocol in which it says everything back, each time with `!`.
async fn echo_tunnel() -> agents::Agent {
    agents::raw(|mut stream, agent| async move {
        let head = read_until(&mut stream, "\r\n\r\n").await;
        assert!(head.contains("upgrade: echo\r\n") && head.contains("connection: upgrade\r\n"), "{head}");
        agent.count();
        // What comes with the answer belongs to the tunnel already.
        stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\nX-Extra: 1\r\n\r\nwelcome").await.unwrap();
        let mut piece = [0; 1024];
        while let Ok(count @ 1..) = stream.read(&mut piece).await {
            stream.write_all(&piece[..count]).await.unwrap();
            stream.write_all(b"!").await.unwrap();
        }
        let _ = stream.write_all(b"bye").await;
    })
    .await
}

const UPGRADE: &str = "GET /agent/users/ws HTTP/1.1\r\nHost: b\r\nConnection: keep-alive, Upgrade\r\nUpgrade: echo\r\n\r\n";

#[tokio::test]
async fn a_tunnel_carries_both_ways_and_counts_until_it_ends() {
    let rig = Rig::new();
    let agent = echo_tunnel().await;
    rig.ready("users", &[("c", agent.address)]);
    let mut raw = rig.raw().await;
    raw.send(UPGRADE).await;
    let head = raw.until("welcome").await;
    assert!(
        head.starts_with("HTTP/1.1 101 ")
            && head.contains("upgrade: echo\r\n")
            && head.contains("connection: upgrade\r\n")
            && head.contains("x-extra: 1\r\n"),
        "{head}"
    );
    for word in ["one", "two"] {
        raw.send(word).await;
        assert_eq!(raw.until("!").await, format!("{word}!"));
    }
    assert_eq!(rig.in_flight("c"), 1);
    raw.0.shutdown().await.unwrap();
    assert_eq!(raw.rest().await, "bye");
    rig.until_in_flight("c", 0).await;
}

#[tokio::test]
async fn what_a_client_sends_before_the_change_is_not_lost() {
    let rig = Rig::new();
    let agent = echo_tunnel().await;
    rig.ready("users", &[("c", agent.address)]);
    let mut raw = rig.raw().await;
    raw.send(format!("{UPGRADE}early")).await;
    let all = raw.until("early!").await;
    assert!(all.ends_with("welcomeearly!"), "{all}");
}

#[tokio::test]
async fn a_tunnel_that_outlives_the_drain_time_is_cut_and_one_that_ends_is_not() {
    let rig = Rig::new();
    rig.ready("users", &[("c", echo_tunnel().await.address)]);
    let mut raw = rig.raw().await;
    raw.send(UPGRADE).await;
    raw.until("welcome").await;
    assert!(
        bounded(rig.front.shutdown(Duration::from_secs(10))).await,
        "a tunnel is no connection of the front end's"
    );
    raw.send("still").await;
    assert_eq!(raw.until("!").await, "still!");
    bounded(rig.proxy.drain(Duration::from_millis(10))).await;
    assert_eq!(raw.rest().await, "");
    rig.until_in_flight("c", 0).await;
}

#[tokio::test]
async fn an_upgrade_that_the_agent_declines_is_an_answer_like_any_other() {
    let rig = Rig::new();
    let agent = agents::scripted(
        "HTTP/1.1 426 Upgrade Required\r\nUpgrade: other\r\nContent-Length: 2\r\n\r\nno",
    )
    .await;
    rig.ready("users", &[("c", agent.address)]);
    let mut raw = rig.raw().await;
    raw.send(UPGRADE).await;
    assert!(raw.until("\r\n\r\nno").await.starts_with("HTTP/1.1 426 "));
    rig.until_in_flight("c", 0).await;
    raw.send("GET /agent/users/ HTTP/1.1\r\nHost: b\r\n\r\n")
        .await;
    assert!(raw.until("\r\n\r\nno").await.starts_with("HTTP/1.1 426 "));
}

#[tokio::test]
async fn http_2_is_not_a_protocol_to_change_to() {
    let rig = Rig::new();
    rig.ready("users", &[("c", agents::mirror().await.address)]);
    let mut raw = rig.raw().await;
    raw.send("GET /agent/users/ HTTP/1.1\r\nHost: b\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n").await;
    let answer = raw.until("\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    let head = raw.until("\r\n\r\n").await;
    assert!(
        !head.contains("upgrade")
            && !head.contains("http2-settings")
            && !head.contains("connection"),
        "{head}"
    );
}

#[tokio::test]
async fn a_change_of_protocol_that_nobody_asked_for_is_refused() {
    let rig = Rig::new();
    let agent = agents::scripted(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n",
    )
    .await;
    rig.ready("users", &[("c", agent.address)]);
    let answer = rig.get("/agent/users/").await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert!(answer.detail().contains("without being asked"));
    rig.until_in_flight("c", 0).await;
}

#[tokio::test]
async fn a_client_that_goes_cancels_the_agents_request() {
    let rig = Rig::new();
    let (gone, seen) = tokio::sync::watch::channel(0);
    let agent = agents::raw(move |mut stream, agent| {
        let gone = gone.clone();
        async move {
            let head = read_until(&mut stream, "\r\n\r\n").await;
            agent.count();
            if head.starts_with("GET /begun") {
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nsome")
                    .await
                    .unwrap();
            }
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            gone.send_modify(|count| *count += 1);
        }
    })
    .await;
    rig.ready("users", &[("c", agent.address)]);
    for (count, target) in [(1, "waiting"), (2, "begun")] {
        let mut raw = rig.raw().await;
        raw.send(format!(
            "GET /agent/users/{target} HTTP/1.1\r\nHost: b\r\n\r\n"
        ))
        .await;
        if target == "begun" {
            raw.until("some").await;
        }
        until(|| agent.requests() == count).await;
        assert_eq!(rig.in_flight("c"), 1);
        drop(raw);
        until(|| *seen.borrow() == count).await;
        rig.until_in_flight("c", 0).await;
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_breaks_off_for_the_client_too() {
    let rig = Rig::new();
    let agent = agents::raw(|mut stream, _| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nsome\r\n")
            .await
            .unwrap();
    })
    .await;
    rig.ready("users", &[("c", agent.address)]);
    let mut raw = rig.raw().await;
    raw.send("GET /agent/users/ HTTP/1.1\r\nHost: b\r\n\r\n")
        .await;
    let answer = raw.rest().await;
    assert!(
        answer.contains("some") && !answer.contains("0\r\n\r\n"),
        "a cut answer must not look whole: {answer}"
    );
    rig.until_in_flight("c", 0).await;
}

#[tokio::test]
async fn an_http_2_client_may_cancel_one_stream_of_many() {
    let rig = Rig::new();
    let (gone, seen) = tokio::sync::watch::channel(false);
    let agent = agents::raw(move |mut stream, _| {
        let gone = gone.clone();
        async move {
            read_until(&mut stream, "\r\n\r\n").await;
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            gone.send_replace(true);
        }
    })
    .await;
    rig.ready("users", &[("c", agent.address)]);
    let stream = tokio::net::TcpStream::connect(rig.address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(
        hyper_util::rt::TokioExecutor::new(),
        TokioIo::new(stream),
    )
    .await
    .unwrap();
    tokio::spawn(connection);
    let request = || {
        Request::get("http://b/agent/users/")
            .body(Full::<Bytes>::default())
            .unwrap()
    };
    let waiting = tokio::spawn(sender.send_request(request()));
    rig.until_in_flight("c", 1).await;
    waiting.abort();
    until(|| *seen.borrow()).await;
    rig.until_in_flight("c", 0).await;
    let answer = bounded(
        sender.send_request(
            Request::get("http://b/agent/nobody/")
                .body(Full::default())
                .unwrap(),
        ),
    )
    .await
    .unwrap();
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
}
