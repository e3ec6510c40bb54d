//! What happens when an agent cannot answer: who is tried again, and what the client is told.

use std::time::Duration;

use agentainer::agent::quantity::Span;
use agentainer::agent::spec::{Proxy, Timeouts};
use agentainer::front::Limits;
use agentainer::plan::EndpointState;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use tokio::io::AsyncWriteExt as _;

use crate::agents;
use crate::rig::{Rig, bounded, read_until, until};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn post(target: &str) -> Request<Full<Bytes>> {
    Request::post(target)
        .header("host", "b")
        .body(Full::from("x"))
        .unwrap()
}

/// An agent that reads each head and closes.
async fn rude() -> agents::Agent {
    agents::raw(|mut stream, agent| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        agent.count();
    })
    .await
}

#[tokio::test]
async fn an_unknown_agent_is_404_and_gives_no_name_away() {
    let rig = Rig::new();
    rig.ready("users", &[]);
    let answer = rig.get("/agent/usrs/x").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    let problem = answer.problem();
    assert_eq!(problem["type"], "urn:agentainer:problem:agent-not-found");
    assert_eq!(problem["agent"], "usrs");
    assert_eq!(problem["instance"].as_str(), answer.header("x-request-id"));
    let detail = answer.detail();
    assert!(
        detail.contains("`agentainer get agents`") && !detail.contains("users"),
        "{detail}"
    );
    let long = rig.get(&format!("/agent/{}/", "x".repeat(10_000))).await;
    assert!(long.text.len() < 500, "{}", long.text);
    for target in [
        "/agent",
        "/agent/",
        "/agent//x",
        "/agent/%75sers/",
        "/agent/USERS/",
    ] {
        assert_eq!(
            rig.get(target).await.status,
            StatusCode::NOT_FOUND,
            "{target}"
        );
    }
}

#[tokio::test]
async fn an_agent_that_is_not_ready_is_503_with_its_reason() {
    let rig = Rig::new();
    rig.publish("users", &[("c", agents::nobody().await)], |publication| {
        publication.endpoints[0].state = EndpointState::Draining;
        publication.explanation = "stopped by its spec; `agentainer start users`".to_owned();
    });
    let answer = rig.get("/agent/users/").await;
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (StatusCode::SERVICE_UNAVAILABLE, Some("5"))
    );
    let detail = answer.detail();
    assert!(
        detail.contains("stopped by its spec; `agentainer start users`")
            && detail.contains("`agentainer logs users`"),
        "{detail}"
    );
}

#[tokio::test]
async fn a_refused_connection_is_502_and_says_where_to_listen() {
    let rig = Rig::new();
    let address = agents::nobody().await;
    rig.ready("users", &[("c", address)]);
    let answer = rig.get("/agent/users/").await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    let detail = answer.detail();
    let port = address.port();
    for part in [
        "'users'",
        &format!("listen on 0.0.0.0:{port}, not 127.0.0.1:{port}"),
        "`agentainer logs users`",
    ] {
        assert!(detail.contains(part), "{part}: {detail}");
    }
    assert_eq!(rig.in_flight("c"), 0);
}

#[tokio::test]
async fn an_error_for_head_has_no_body_and_the_connection_stays_usable() {
    let rig = Rig::new();
    let mut raw = rig.raw().await;
    for _ in 0..2 {
        raw.send("HEAD /agent/nobody/ HTTP/1.1\r\nHost: b\r\n\r\n")
            .await;
        let head = raw.until("\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
    }
}

#[tokio::test]
async fn a_connection_that_cannot_be_made_is_tried_on_another_instance() {
    let rig = Rig::new();
    let alive = agents::scripted(OK).await;
    let dead = [agents::nobody().await, agents::nobody().await];
    rig.ready(
        "users",
        &[("a", dead[0]), ("b", dead[1]), ("c", alive.address)],
    );
    for _ in 0..20 {
        // Nothing was sent to the dead ones, so this holds for every method.
        assert_eq!(rig.ask(post("/agent/users/")).await.text, "ok");
    }
}

#[tokio::test]
async fn the_tries_are_bounded() {
    let rig = Rig::new();
    let mut dead = Vec::new();
    for id in ["a", "b", "c", "d"] {
        dead.push((id, agents::nobody().await));
    }
    rig.publish("users", &dead, |publication| {
        publication.proxy = Proxy {
            retries: Some(0),
            ..Proxy::default()
        }
    });
    assert_eq!(
        rig.get("/agent/users/").await.status,
        StatusCode::BAD_GATEWAY
    );
}

#[tokio::test]
async fn law_3_what_was_sent_is_sent_again_only_when_it_is_idempotent_and_has_no_body() {
    for (method, body, expected) in [
        ("GET", "", 2),
        ("DELETE", "", 2),
        ("OPTIONS", "", 2),
        ("PUT", "x", 1),
        ("GET", "x", 1),
        ("POST", "", 1),
        ("POST", "x", 1),
        ("PATCH", "", 1),
    ] {
        let rig = Rig::new();
        let agent = rude().await;
        rig.ready("users", &[("c", agent.address)]);
        let request = Request::builder()
            .method(method)
            .uri("/agent/users/")
            .header("host", "b")
            .body(Full::<Bytes>::from(body))
            .unwrap();
        let answer = rig.ask(request).await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
        assert!(answer.detail().contains("it may have handled the request"));
        assert_eq!(agent.requests(), expected, "{method} {body:?}");
        assert_eq!(rig.in_flight("c"), 0);
    }
}

#[tokio::test]
async fn an_idempotent_request_finds_an_instance_that_answers() {
    let rig = Rig::new();
    let (rude, polite) = (rude().await, agents::scripted(OK).await);
    rig.ready("users", &[("a", rude.address), ("b", polite.address)]);
    for _ in 0..20 {
        assert_eq!(rig.get("/agent/users/").await.text, "ok");
    }
    assert!(rude.requests() > 0);
}

#[tokio::test]
async fn law_3_an_answer_that_began_is_never_asked_for_again() {
    let rig = Rig::new();
    let agent = agents::raw(|mut stream, agent| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        agent.count();
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
            .await;
    })
    .await;
    rig.ready("users", &[("c", agent.address)]);
    let mut raw = rig.raw().await;
    raw.send("GET /agent/users/ HTTP/1.1\r\nHost: b\r\n\r\n")
        .await;
    assert!(raw.rest().await.ends_with("half"));
    assert_eq!(agent.requests(), 1);
}

#[tokio::test]
async fn an_error_status_is_an_outcome() {
    let rig = Rig::new();
    let agent =
        agents::scripted("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\nno").await;
    rig.ready("users", &[("c", agent.address)]);
    let answer = rig.get("/agent/users/").await;
    assert_eq!(
        (answer.status, answer.text.as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "no")
    );
    assert_eq!(agent.requests(), 1);
}

#[tokio::test]
async fn connections_are_used_again_and_let_go_when_idle() {
    let rig = Rig::new();
    let (closed, seen) = tokio::sync::watch::channel(false);
    let agent = agents::raw(move |mut stream, agent| {
        let closed = closed.clone();
        async move {
            while !read_until(&mut stream, "\r\n\r\n").await.is_empty() {
                agent.count();
                stream.write_all(OK.as_bytes()).await.unwrap();
            }
            closed.send_replace(true);
        }
    })
    .await;
    rig.ready("users", &[("c", agent.address)]);
    let mut raw = rig.raw().await;
    for _ in 0..10 {
        raw.send("GET /agent/users/ HTTP/1.1\r\nHost: b\r\n\r\n")
            .await;
        raw.until("\r\n\r\nok").await;
    }
    assert_eq!((agent.requests(), agent.connections()), (10, 1));
    until(|| *seen.borrow()).await;
}

#[tokio::test]
async fn a_connection_that_the_agent_closed_while_idle_is_replaced_for_every_method() {
    let rig = Rig::new();
    let agent = agents::raw(|mut stream, agent| async move {
        let _ = read_until(&mut stream, "\r\n\r\nx").await;
        agent.count();
        // Says nothing of closing, and closes.
        let _ = stream.write_all(OK.as_bytes()).await;
    })
    .await;
    rig.ready("users", &[("c", agent.address)]);
    for count in 1..=20 {
        assert_eq!(rig.ask(post("/agent/users/")).await.text, "ok");
        assert_eq!(agent.connections(), count);
        // The proxy hears of the end before the next request.
        until(|| rig.in_flight("c") == 0).await;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn law_4_a_connection_belongs_to_a_container_and_not_to_an_address() {
    let rig = Rig::new();
    let agent = agents::scripted(OK).await;
    for (count, container) in [(1, "a"), (1, "a"), (2, "b"), (3, "a")] {
        // The same address each time, as if it was given to the next container at once.
        rig.ready("users", &[(container, agent.address)]);
        assert_eq!(rig.get("/agent/users/").await.text, "ok");
        until(|| rig.in_flight(container) == 0).await;
        assert_eq!(agent.connections(), count, "{container}");
    }
}

#[tokio::test]
async fn law_4_idle_connections_are_closed_when_their_container_leaves_the_table() {
    let rig = Rig::new();
    let (closed, seen) = tokio::sync::watch::channel(false);
    let agent = agents::raw(move |mut stream, _| {
        let closed = closed.clone();
        async move {
            while !read_until(&mut stream, "\r\n\r\n").await.is_empty() {
                stream.write_all(OK.as_bytes()).await.unwrap();
            }
            closed.send_replace(true);
        }
    })
    .await;
    rig.ready("users", &[("a", agent.address)]);
    rig.get("/agent/users/").await;
    rig.until_in_flight("a", 0).await;
    let begun = tokio::time::Instant::now();
    rig.ready("users", &[]);
    until(|| *seen.borrow()).await;
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "that was the idle time-out"
    );
}

#[tokio::test]
async fn a_request_for_a_starting_agent_is_held_until_it_is_ready() {
    let rig = Rig::new();
    let agent = agents::scripted(OK).await;
    rig.publish("users", &[("c", agent.address)], |publication| {
        publication.endpoints[0].state = EndpointState::Starting
    });
    rig.publish("auth", &[], |publication| publication.starting = true);
    let mut waiting = Vec::new();
    for name in ["users", "auth"] {
        let mut raw = rig.raw().await;
        raw.send(format!(
            "POST /agent/{name}/ HTTP/1.1\r\nHost: b\r\nContent-Length: 0\r\n\r\n"
        ))
        .await;
        waiting.push(raw);
    }
    // Something else that changes does not end the wait.
    rig.ready("orders", &[]);
    rig.ready("users", &[("c", agent.address)]);
    rig.ready("auth", &[("d", agent.address)]);
    for mut raw in waiting {
        assert!(raw.until("\r\n\r\nok").await.starts_with("HTTP/1.1 200 OK"));
    }
}

#[tokio::test]
async fn the_wait_for_a_starting_agent_ends() {
    let rig = Rig::with(Duration::from_millis(50), Limits::default());
    rig.publish("users", &[], |publication| publication.starting = true);
    let answer = rig.get("/agent/users/").await;
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (StatusCode::SERVICE_UNAVAILABLE, Some("1"))
    );
    assert!(answer.detail().contains("it is starting"));

    let rig = Rig::new();
    rig.publish("users", &[], |publication| publication.starting = true);
    let mut raw = rig.raw().await;
    raw.send("GET /agent/users/ HTTP/1.1\r\nHost: b\r\n\r\n")
        .await;
    // Stopped and deleted while it waits.
    rig.ready("users", &[]);
    assert!(raw.until("\r\n").await.starts_with("HTTP/1.1 503 "));
}

#[tokio::test]
async fn a_draining_instance_gets_nothing_new_and_keeps_what_it_has() {
    let rig = Rig::new();
    let (old, new) = (
        agents::scripted("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf").await,
        agents::scripted(OK).await,
    );
    rig.ready("users", &[("old", old.address)]);
    let mut raw = rig.raw().await;
    raw.send("GET /agent/users/ HTTP/1.1\r\nHost: b\r\n\r\n")
        .await;
    raw.until("half").await;
    rig.publish(
        "users",
        &[("old", old.address), ("new", new.address)],
        |publication| publication.endpoints[0].state = EndpointState::Draining,
    );
    for _ in 0..10 {
        assert_eq!(rig.get("/agent/users/").await.text, "ok");
    }
    assert_eq!((old.requests(), rig.in_flight("old")), (1, 1));
    drop(raw);
    rig.until_in_flight("old", 0).await;
}

fn impatient(change: impl FnOnce(&mut Timeouts)) -> Proxy {
    let mut timeouts = Timeouts::default();
    change(&mut timeouts);
    Proxy {
        timeouts: Some(timeouts),
        ..Proxy::default()
    }
}

const SOON: Span = Span { millis: 50 };

#[tokio::test]
async fn an_answer_that_does_not_begin_in_time_is_504() {
    let silent = agents::raw(|mut stream, _| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        read_until(&mut stream, "never").await;
    })
    .await;
    for (what, proxy) in [
        ("firstByte", impatient(|t| t.first_byte = SOON)),
        ("total", impatient(|t| t.total = SOON)),
    ] {
        let rig = Rig::new();
        rig.publish("users", &[("c", silent.address)], |publication| {
            publication.proxy = proxy
        });
        for request in [
            post("/agent/users/"),
            Request::get("/agent/users/")
                .header("host", "b")
                .body(Full::default())
                .unwrap(),
        ] {
            let answer = rig.ask(request).await;
            assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
            assert!(answer.detail().contains(what), "{}", answer.detail());
        }
        rig.until_in_flight("c", 0).await;
    }
}

#[tokio::test]
async fn an_answer_that_stalls_is_cut() {
    let stalling = agents::scripted("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf").await;
    for proxy in [impatient(|t| t.idle = SOON), impatient(|t| t.total = SOON)] {
        let rig = Rig::new();
        rig.publish("users", &[("c", stalling.address)], |publication| {
            publication.proxy = proxy
        });
        let mut raw = rig.raw().await;
        raw.send("GET /agent/users/ HTTP/1.1\r\nHost: b\r\n\r\n")
            .await;
        assert!(raw.rest().await.ends_with("half"));
        rig.until_in_flight("c", 0).await;
    }
}

#[tokio::test]
async fn an_upload_that_stalls_is_given_up() {
    let rig = Rig::new();
    let agent = agents::raw(|mut stream, _| async move {
        read_until(&mut stream, "never").await;
    })
    .await;
    rig.publish("users", &[("c", agent.address)], |publication| {
        publication.proxy = impatient(|t| t.idle = SOON)
    });
    let mut raw = rig.raw().await;
    raw.send("POST /agent/users/ HTTP/1.1\r\nHost: b\r\nContent-Length: 10\r\n\r\nhalf")
        .await;
    let answer = bounded(raw.until("}")).await;
    assert!(
        answer.starts_with("HTTP/1.1 408") && answer.contains("did not arrive whole"),
        "{answer}"
    );
    rig.until_in_flight("c", 0).await;
}

#[tokio::test]
async fn law_5_a_request_that_meets_a_dying_instance_goes_to_the_next_one() {
    let rig = Rig::new();
    let agent = agents::scripted(OK).await;
    rig.ready("users", &[("old", agents::nobody().await)]);
    let mut raw = rig.raw().await;
    raw.send("POST /agent/users/ HTTP/1.1\r\nHost: b\r\nContent-Length: 0\r\n\r\n")
        .await;
    // First the news that it is gone, then the new one.
    rig.publish("users", &[], |publication| publication.starting = true);
    rig.ready("users", &[("new", agent.address)]);
    assert!(raw.until("\r\n\r\nok").await.starts_with("HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn an_answer_without_a_length_ends_with_its_connection() {
    let rig = Rig::new();
    let agent = agents::raw(|mut stream, agent| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        agent.count();
        let _ = stream
            .write_all(b"HTTP/1.0 200 OK\r\nServer: SimpleHTTP\r\n\r\nall of it")
            .await;
    })
    .await;
    rig.ready("users", &[("c", agent.address)]);
    for count in 1..=3 {
        let answer = rig.get("/agent/users/").await;
        assert_eq!(
            (answer.text.as_str(), agent.requests()),
            ("all of it", count)
        );
    }
}
