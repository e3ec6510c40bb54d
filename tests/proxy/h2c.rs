//! HTTP/2 to agents: what passes, what is safe to send again, and how gRPC is told of a refusal.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use agentainer::agent::spec::{Protocol, Proxy};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Version};
use http_body::Frame;
use http_body_util::{BodyExt as _, Channel, Full, StreamBody};
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;

use crate::agents::{self, Agent};
use crate::rig::{Rig, bounded, until, whole};

fn h2c() -> Proxy {
    Proxy {
        protocol: Some(Protocol::H2c),
        ..Proxy::default()
    }
}

fn ready(rig: &Rig, agents: &[(&str, &Agent)]) {
    let containers: Vec<_> = agents.iter().map(|(id, one)| (*id, one.address)).collect();
    rig.publish("users", &containers, |publication| {
        publication.proxy = h2c();
    });
}

fn post(path: &str, body: &'static str) -> Request<Full<Bytes>> {
    Request::post(format!("http://box:8081/agent/users{path}"))
        .header("te", "trailers")
        .body(Full::from(body))
        .unwrap()
}

/// Says back what it got, with a trailer behind it.
async fn echo() -> Agent {
    agents::http2(|request: Request<Incoming>| async move {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap();
        let sum = body.trailers().and_then(|all| all.get("x-sum")).cloned();
        let te = parts.headers.get("te").cloned();
        let text = format!(
            "{:?} {} te={te:?} host={:?} cl={:?} sum={sum:?} {}",
            parts.version,
            parts.uri,
            parts.headers.get("host"),
            parts.headers.get("content-length"),
            String::from_utf8_lossy(&body.to_bytes())
        );
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        let frames = [Frame::data(Bytes::from(text)), Frame::trailers(trailers)];
        let frames = frames.map(Ok::<_, std::convert::Infallible>);
        Response::new(StreamBody::new(futures::stream::iter(frames)))
    })
    .await
}

#[tokio::test]
async fn head_body_and_trailers_pass_both_ways() {
    let rig = Rig::new();
    let agent = echo().await;
    ready(&rig, &[("c", &agent)]);
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "7".parse().unwrap());
    let frames = [Frame::data(Bytes::from("ping")), Frame::trailers(trailers)];
    let frames = frames.map(Ok::<_, std::convert::Infallible>);
    let request = Request::post("http://box:8081/agent/users//a/../%2e?q=%20")
        .header("te", "trailers")
        .body(StreamBody::new(futures::stream::iter(frames)))
        .unwrap();
    let answer = whole(rig.begin_h2(request).await).await;
    assert_eq!(
        answer.text,
        "HTTP/2.0 http://box:8081//a/../%2e?q=%20 te=Some(\"trailers\") host=None cl=None sum=Some(\"7\") ping"
    );
    assert_eq!(answer.trailers.unwrap()["grpc-status"], "0");
    // And from a client of HTTP/1.1.
    let request = Request::put("/agent/users/x")
        .header("host", "box:8081")
        .header("connection", "keep-alive, x-mine")
        .header("x-mine", "1")
        .body(Full::from("pong"))
        .unwrap();
    let answer = rig.ask(request).await;
    assert_eq!(
        answer.text,
        "HTTP/2.0 http://box:8081/x te=None host=None cl=Some(\"4\") sum=None pong"
    );
    rig.until_in_flight("c", 0).await;
}

#[tokio::test]
async fn both_directions_flow_at_once() {
    let rig = Rig::new();
    let echo =
        agents::http2(
            |request: Request<Incoming>| async move { Response::new(request.into_body()) },
        )
        .await;
    ready(&rig, &[("c", &echo)]);
    let (mut sender, body) = Channel::<Bytes>::new(1);
    let request = Request::post("http://b/agent/users/").body(body).unwrap();
    let mut response = rig.begin_h2(request).await;
    for piece in ["one", "two", "three"] {
        bounded(sender.send(Frame::data(Bytes::from(piece))))
            .await
            .unwrap();
        let frame = bounded(response.body_mut().frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), piece);
    }
    assert_eq!(rig.in_flight("c"), 1);
    drop(sender);
    let rest = bounded(response.into_body().collect()).await.unwrap();
    assert!(rest.to_bytes().is_empty());
    rig.until_in_flight("c", 0).await;
}

/// Answers once it may.
async fn gated(may: watch::Receiver<bool>) -> Agent {
    agents::http2(move |_| {
        let mut may = may.clone();
        async move {
            may.wait_for(|may| *may).await.unwrap();
            Response::new(Full::<Bytes>::from("done"))
        }
    })
    .await
}

#[tokio::test]
async fn many_requests_share_few_connections() {
    let rig = Rig::new();
    let (go, may) = watch::channel(false);
    let agent = gated(may).await;
    ready(&rig, &[("c", &agent)]);
    let all: Vec<_> = (0..250)
        .map(|_| {
            let asked = rig.begin_h2(post("/", ""));
            Box::pin(async { whole(asked.await).await })
        })
        .collect();
    let (answers, ()) = tokio::join!(futures::future::join_all(all), async {
        rig.until_in_flight("c", 250).await;
        until(|| agent.requests() == 250).await;
        go.send_replace(true);
    });
    assert!(answers.iter().all(|answer| answer.text == "done"));
    assert_eq!(agent.connections(), 3, "a hundred on each");
    // One that has room is used again.
    whole(rig.begin_h2(post("/", "")).await).await;
    assert_eq!(agent.connections(), 3);
    rig.until_in_flight("c", 0).await;
}

#[tokio::test]
async fn a_client_that_goes_cancels_its_own_request_alone() {
    let rig = Rig::new();
    let (reset, mut told) = watch::channel(0);
    let agent = agents::frames(move |mut connection, agent| {
        let reset = reset.clone();
        async move {
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                agent.count();
                if request.uri().path() == "/stays" {
                    let mut body = respond.send_response(Response::new(()), false).unwrap();
                    body.send_data(Bytes::from("ok"), true).unwrap();
                    continue;
                }
                let reset = reset.clone();
                tokio::spawn(async move {
                    let why = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
                    assert_eq!(why.unwrap(), h2::Reason::CANCEL);
                    reset.send_modify(|count| *count += 1);
                });
            }
        }
    })
    .await;
    ready(&rig, &[("c", &agent)]);
    let mut raw = rig.raw().await;
    raw.send("GET /agent/users/goes HTTP/1.1\r\nHost: b\r\n\r\n")
        .await;
    until(|| agent.requests() == 1).await;
    drop(raw);
    bounded(told.wait_for(|count| *count == 1)).await.unwrap();
    assert_eq!(rig.get("/agent/users/stays").await.text, "ok");
    assert_eq!(agent.connections(), 1, "the connection stays");
    rig.until_in_flight("c", 0).await;
}

#[tokio::test]
async fn law_3_what_an_agent_refused_by_frame_is_sent_again_with_its_body() {
    let rig = Rig::new();
    let refusals = Arc::new(AtomicUsize::new(0));
    let agent = {
        let refusals = Arc::clone(&refusals);
        agents::frames(move |mut connection, agent| {
            let refusals = Arc::clone(&refusals);
            async move {
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    agent.count();
                    if refusals.fetch_add(1, Ordering::SeqCst) < 2 {
                        respond.send_reset(h2::Reason::REFUSED_STREAM);
                        continue;
                    }
                    tokio::spawn(async move {
                        let mut body = request.into_body();
                        let mut all = Vec::new();
                        while let Some(Ok(data)) = body.data().await {
                            let _ = body.flow_control().release_capacity(data.len());
                            all.extend_from_slice(&data);
                        }
                        let mut answer = respond.send_response(Response::new(()), false).unwrap();
                        answer.send_data(all.into(), true).unwrap();
                    });
                }
            }
        })
        .await
    };
    ready(&rig, &[("c", &agent)]);
    let answer = whole(rig.begin_h2(post("/", "paid for")).await).await;
    assert_eq!(
        (answer.status, answer.text.as_str()),
        (StatusCode::OK, "paid for")
    );
    assert_eq!((agent.requests(), agent.connections()), (3, 1));
    // No more often than `proxy.retries` says.
    refusals.store(0, Ordering::SeqCst);
    rig.publish("users", &[("c", agent.address)], |publication| {
        publication.proxy = Proxy {
            retries: Some(1),
            ..h2c()
        };
    });
    let answer = whole(rig.begin_h2(post("/", "x")).await).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert!(
        answer.detail().contains("refused the request"),
        "{answer:?}"
    );
    rig.until_in_flight("c", 0).await;
}

#[tokio::test]
async fn law_3_what_a_goaway_does_not_reach_is_sent_again_and_what_it_does_is_not() {
    let rig = Rig::new();
    let first = Arc::new(AtomicUsize::new(0));
    let agent = agents::raw(move |mut stream, agent| {
        let first = first.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            if !first {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    agent.count();
                    let mut body = respond.send_response(Response::new(()), false).unwrap();
                    body.send_data(Bytes::from("second connection"), true)
                        .unwrap();
                }
                return;
            }
            // Frame by frame (RFC 9113 §4.1): two requests are read; the GOAWAY says that of the first alone something was done.
            const SETTINGS: u8 = 4;
            const HEADERS: u8 = 1;
            let mut preface = [0; 24];
            stream.read_exact(&mut preface).await.unwrap();
            stream
                .write_all(&[0, 0, 0, SETTINGS, 0, 0, 0, 0, 0])
                .await
                .unwrap();
            let mut heads = 0;
            while heads < 2 {
                let mut frame = [0; 9];
                stream.read_exact(&mut frame).await.unwrap();
                let length = u32::from_be_bytes([0, frame[0], frame[1], frame[2]]);
                let mut payload = vec![0; length as usize];
                stream.read_exact(&mut payload).await.unwrap();
                if frame[3] == HEADERS {
                    heads += 1;
                    agent.count();
                }
            }
            let goaway = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
            stream.write_all(&goaway).await.unwrap();
            // All is read, so that this is no reset, which would overtake it.
            stream.shutdown().await.unwrap();
            let _ = stream.read_to_end(&mut preface.to_vec()).await;
        }
    })
    .await;
    ready(&rig, &[("c", &agent)]);
    let (lost, other) = tokio::join!(
        async { whole(rig.begin_h2(post("/", "taken")).await).await },
        async {
            until(|| agent.requests() == 1).await;
            whole(rig.begin_h2(post("/", "not taken")).await).await
        },
    );
    assert_eq!(lost.status, StatusCode::BAD_GATEWAY, "{lost:?}");
    assert!(lost.detail().contains("may have handled"), "{lost:?}");
    assert_eq!(
        (other.status, other.text.as_str()),
        (StatusCode::OK, "second connection")
    );
    assert_eq!((agent.requests(), agent.connections()), (3, 2));
    rig.until_in_flight("c", 0).await;
}

#[tokio::test]
async fn law_4_a_container_that_left_gets_nothing_more_and_finishes_what_it_has() {
    let rig = Rig::new();
    let (go, may) = watch::channel(false);
    let (old, new) = (gated(may).await, echo().await);
    ready(&rig, &[("c", &old)]);
    let (answer, ()) = tokio::join!(
        async { whole(rig.begin_h2(post("/", "")).await).await },
        async {
            until(|| old.requests() == 1).await;
            ready(&rig, &[("d", &new)]);
            let other = whole(rig.begin_h2(post("/other", "")).await).await;
            assert!(other.text.contains("/other"), "{other:?}");
            assert_eq!(old.requests(), 1);
            go.send_replace(true);
        }
    );
    assert_eq!(answer.text, "done");
    rig.until_in_flight("c", 0).await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_before_the_agent_may_do_so() {
    let rig = Rig::new();
    let (closed, mut told) = watch::channel(false);
    let agent = agents::frames(move |mut connection, _| {
        let closed = closed.clone();
        async move {
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                let answer = Response::builder().status(204).body(()).unwrap();
                respond.send_response(answer, true).unwrap();
            }
            closed.send_replace(true);
        }
    })
    .await;
    ready(&rig, &[("c", &agent)]);
    let begun = tokio::time::Instant::now();
    whole(rig.begin_h2(post("/", "")).await).await;
    bounded(told.wait_for(|closed| *closed)).await.unwrap();
    assert!(begun.elapsed() > Duration::from_secs(1), "and not at once");
}

#[tokio::test]
async fn an_agent_that_speaks_the_other_protocol_is_told_of_as_such() {
    let rig = Rig::new();
    let http1 = agents::scripted("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
    ready(&rig, &[("c", &http1)]);
    let answer = rig.get("/agent/users/").await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert!(
        answer.detail().contains("not HTTP/2 (proxy.protocol: h2c)"),
        "{answer:?}"
    );
    rig.ready("users", &[("d", echo().await.address)]);
    let answer = rig.get("/agent/users/").await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert!(
        answer.detail().contains("not HTTP/1.1 (proxy.protocol)"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_change_of_protocol_is_not_asked_of_an_agent_of_http_2() {
    let rig = Rig::new();
    let agent = agents::http2(|request: Request<Incoming>| async move {
        let asked = ["upgrade", "connection", "sec-websocket-key"]
            .map(|name| request.headers().contains_key(name));
        Response::new(Full::<Bytes>::from(format!("{asked:?}")))
    })
    .await;
    ready(&rig, &[("c", &agent)]);
    let request = Request::get("/agent/users/")
        .header("host", "b")
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-key", "x")
        .body(Full::default())
        .unwrap();
    assert_eq!(rig.ask(request).await.text, "[false, false, true]");
}

#[tokio::test]
async fn a_call_of_grpc_is_refused_in_its_own_words() {
    let rig = Rig::new();
    rig.publish("users", &[("c", agents::nobody().await)], |publication| {
        publication.proxy = h2c();
    });
    for (agent, status, words) in [
        ("users", "14", "refused the connection"),
        ("usrs", "12", "no agent is called 'usrs'"),
    ] {
        let request = Request::post(format!("http://b/agent/{agent}/pkg.Service/Call"))
            .header("content-type", "application/grpc+proto")
            .header("te", "trailers")
            .body(Full::<Bytes>::from("\0\0\0\0\0"))
            .unwrap();
        let response = rig.begin_h2(request).await;
        assert_eq!(response.version(), Version::HTTP_2);
        assert!(
            http_body::Body::is_end_stream(response.body()),
            "trailers only"
        );
        let answer = whole(response).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(
            answer.header("content-type"),
            Some("application/grpc+proto")
        );
        assert_eq!(answer.header("grpc-status"), Some(status));
        let message = answer.header("grpc-message").unwrap();
        assert!(message.contains(words), "{message}");
        assert!(answer.header("x-request-id").is_some());
    }
}
