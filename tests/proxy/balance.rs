//! Which of an agent's instances gets a request, and which is left alone.

use std::collections::BTreeMap;

use agentainer::agent::quantity::Span;
use agentainer::agent::spec::{Balance, Breaker, Proxy, Session};
use agentainer::plan::EndpointState;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;

use crate::agents::{self, Agent};
use crate::rig::{Rig, until};

/// An agent that answers with its own name.
async fn named(name: &'static str) -> Agent {
    agents::http(move |_| async move { Response::new(Full::new(Bytes::from(name))) }).await
}

/// One that closes each connection without an answer.
async fn rude() -> Agent {
    agents::raw(|mut stream, agent| async move {
        crate::rig::read_until(&mut stream, "\r\n\r\n").await;
        agent.count();
    })
    .await
}

fn breaker(failures: u32, cooldown: u64) -> Option<Breaker> {
    Some(Breaker {
        failures,
        cooldown: Span { millis: cooldown },
        ..Breaker::default()
    })
}

async fn session(rig: &Rig, field: (&'static str, String)) -> String {
    let request = Request::get("/agent/users/")
        .header("host", "b")
        .header(field.0, field.1);
    rig.ask(request.body(Full::default()).unwrap()).await.text
}

#[tokio::test]
async fn by_turns_each_instance_gets_the_same() {
    let rig = Rig::new();
    let (a, b, c) = (named("a").await, named("b").await, named("c").await);
    let all = [("a", a.address), ("b", b.address), ("c", c.address)];
    rig.publish("users", &all, |publication| {
        publication.proxy.balance = Some(Balance::RoundRobin);
    });
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..30 {
        *counts
            .entry(rig.get("/agent/users/").await.text)
            .or_default() += 1;
    }
    assert!(counts.values().all(|count| *count == 10), "{counts:?}");
}

#[tokio::test]
async fn a_session_stays_on_its_instance_while_others_come_and_go() {
    let rig = Rig::new();
    let agents = [named("a").await, named("b").await, named("c").await];
    let all: Vec<_> = ["a", "b", "c"]
        .into_iter()
        .zip(agents.iter().map(|agent| agent.address))
        .collect();
    for (header, cookie) in [(Some("Mcp-Session-Id"), None), (None, Some("sid"))] {
        let by = Session {
            header: header.map(str::to_owned),
            cookie: cookie.map(str::to_owned),
        };
        let hashed = |proxy: &mut Proxy| {
            (proxy.balance, proxy.session) = (Some(Balance::Hash), Some(by.clone()));
        };
        let field = |n: usize| match header {
            Some(_) => ("mcp-session-id", format!("s{n}")),
            None => ("cookie", format!("other=1; sid=s{n}")),
        };
        rig.publish("users", &all, |publication| hashed(&mut publication.proxy));
        let mut before = Vec::new();
        for n in 0..40 {
            before.push(session(&rig, field(n)).await);
        }
        let used: std::collections::BTreeSet<_> = before.iter().collect();
        assert_eq!(used.len(), 3, "sessions are spread");
        rig.publish("users", &all[..2], |publication| {
            hashed(&mut publication.proxy)
        });
        for (n, before) in before.iter().enumerate() {
            let now = session(&rig, field(n)).await;
            assert!(
                now == *before || before == "c",
                "{n}: from {before} to {now}"
            );
        }
        rig.publish("users", &all, |publication| hashed(&mut publication.proxy));
        for (n, before) in before.iter().enumerate() {
            assert_eq!(session(&rig, field(n)).await, *before, "it comes back");
        }
    }
}

#[tokio::test]
async fn an_instance_that_fails_in_a_row_is_left_alone() {
    let rig = Rig::new();
    let (well, bad) = (named("well").await, rude().await);
    rig.publish(
        "users",
        &[("well", well.address), ("bad", bad.address)],
        |publication| {
            publication.proxy.breaker = breaker(3, 60_000);
        },
    );
    for _ in 0..60 {
        assert_eq!(
            rig.get("/agent/users/").await.text,
            "well",
            "asked again elsewhere"
        );
    }
    assert_eq!(bad.requests(), 3, "then it was left alone");
}

#[tokio::test]
async fn with_all_left_alone_it_is_503_and_a_trial_brings_it_back() {
    let rig = Rig::new();
    let bad = rude().await;
    let rule = |proxy: &mut Proxy| {
        (proxy.breaker, proxy.retries) = (breaker(2, 300), Some(0));
    };
    rig.publish("users", &[("c", bad.address)], |publication| {
        rule(&mut publication.proxy)
    });
    for _ in 0..2 {
        let answer = rig.get("/agent/users/").await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    }
    let answer = rig.get("/agent/users/").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(
        answer.problem()["type"],
        "urn:agentainer:problem:circuit-open"
    );
    assert_eq!(bad.requests(), 2);

    // After the cool-down it is asked again; until it fails once more.
    let asked = std::sync::Arc::new(rig);
    let deadline = tokio::time::Instant::now() + crate::rig::PATIENCE;
    while bad.requests() < 3 {
        assert!(tokio::time::Instant::now() < deadline);
        asked.get("/agent/users/").await;
        tokio::task::yield_now().await;
    }
    assert_eq!(
        asked.get("/agent/users/").await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
}

#[tokio::test]
async fn one_that_was_started_again_is_asked_at_once() {
    let rig = Rig::new();
    let bad = agents::nobody().await;
    let rule = |proxy: &mut Proxy| {
        (proxy.breaker, proxy.retries) = (breaker(1, 600_000), Some(0));
    };
    rig.publish("users", &[("c", bad)], |publication| {
        rule(&mut publication.proxy)
    });
    assert_eq!(
        rig.get("/agent/users/").await.status,
        StatusCode::BAD_GATEWAY
    );
    assert_eq!(
        rig.get("/agent/users/").await.problem()["type"],
        "urn:agentainer:problem:circuit-open"
    );
    for state in [EndpointState::Down, EndpointState::Ready] {
        rig.publish("users", &[("c", bad)], |publication| {
            rule(&mut publication.proxy);
            publication.endpoints[0].state = state;
        });
    }
    assert_eq!(
        rig.get("/agent/users/").await.status,
        StatusCode::BAD_GATEWAY,
        "it was asked"
    );
}

#[tokio::test]
async fn an_answer_of_any_status_and_a_client_that_breaks_off_are_no_failures() {
    let rig = Rig::new();
    let unwell = agents::scripted("HTTP/1.1 503 -\r\nContent-Length: 2\r\n\r\nno").await;
    rig.publish("users", &[("c", unwell.address)], |publication| {
        publication.proxy.breaker = breaker(1, 600_000);
    });
    for _ in 0..5 {
        assert_eq!(rig.get("/agent/users/").await.text, "no");
    }
    let mut raw = rig.raw().await;
    raw.send("POST /agent/users/ HTTP/1.1\r\nhost: b\r\ncontent-length: 9\r\n\r\nhalf")
        .await;
    until(|| unwell.requests() >= 6).await;
    drop(raw);
    rig.until_in_flight("c", 0).await;
    assert_eq!(rig.get("/agent/users/").await.text, "no");
}

#[tokio::test]
async fn a_breaker_of_no_failures_never_opens() {
    let rig = Rig::new();
    let bad = rude().await;
    rig.publish("users", &[("c", bad.address)], |publication| {
        (publication.proxy.breaker, publication.proxy.retries) = (breaker(0, 60_000), Some(0));
    });
    for _ in 0..20 {
        assert_eq!(
            rig.get("/agent/users/").await.status,
            StatusCode::BAD_GATEWAY
        );
    }
    assert_eq!(bad.requests(), 20);
}
