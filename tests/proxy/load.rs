//! Many clients at once, on several threads: every answer is its own request's, and the counts come out even.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::agents;
use crate::rig::{Rig, bounded};

/// An agent that says who it is, what was asked and what came with it.
async fn witness(who: &'static str) -> agents::Agent {
    agents::http(move |request: Request<Incoming>| async move {
        let target = request.uri().to_string();
        let body = request
            .into_body()
            .collect()
            .await
            .map(|body| body.to_bytes())
            .unwrap_or_default();
        let text = [who.as_bytes(), b" ", target.as_bytes(), b" ", &body].concat();
        Response::new(Full::<Bytes>::from(text))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn law_4_every_answer_is_its_own_requests() {
    const CLIENTS: usize = 32;
    const REQUESTS: usize = 60;
    let rig = Arc::new(Rig::new());
    let (a, b, c) = (witness("a").await, witness("b").await, witness("c").await);
    rig.ready("one", &[("a", a.address), ("b", b.address)]);
    rig.ready("two", &[("c", c.address)]);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let rig = Arc::clone(&rig);
            tokio::spawn(async move {
                let connect = || async {
                    let stream = TcpStream::connect(rig.address).await.unwrap();
                    let (sender, connection) =
                        hyper::client::conn::http1::handshake(TokioIo::new(stream))
                            .await
                            .unwrap();
                    tokio::spawn(connection);
                    sender
                };
                let mut sender = connect().await;
                for n in 0..REQUESTS {
                    let agent = if (client + n) % 2 == 0 { "one" } else { "two" };
                    let body = "x".repeat(n * 997 % 20_000);
                    let request = Request::post(format!("/agent/{agent}/{client}/{n}"))
                        .header("host", "b")
                        .body(Full::<Bytes>::from(body.clone()))
                        .unwrap();
                    if n % 7 == 3 {
                        // Goes away at some moment, perhaps in the middle of it all.
                        let hurried = Duration::from_micros(u64::try_from(client * n).unwrap());
                        let _ = tokio::time::timeout(hurried, sender.send_request(request)).await;
                        sender = connect().await;
                        continue;
                    }
                    let response = sender.send_request(request).await.unwrap();
                    assert_eq!(response.status(), 200);
                    let text = response.into_body().collect().await.unwrap().to_bytes();
                    let (who, rest) = std::str::from_utf8(&text).unwrap().split_once(' ').unwrap();
                    assert!(if agent == "one" {
                        ["a", "b"].contains(&who)
                    } else {
                        who == "c"
                    });
                    assert!(
                        rest == format!("/{client}/{n} {body}"),
                        "another request's answer"
                    );
                    sender.ready().await.unwrap();
                }
            })
        })
        .collect();
    for client in clients {
        bounded(client).await.unwrap();
    }
    for container in ["a", "b", "c"] {
        rig.until_in_flight(container, 0).await;
    }
    // Connections are shared, not made for each request.
    let made = a.connections() + b.connections() + c.connections();
    assert!(made < CLIENTS * REQUESTS / 2, "{made} connections");
    assert!(a.requests() > 0 && b.requests() > 0 && c.requests() > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn law_5_no_request_fails_while_instances_come_and_go() {
    let rig = Arc::new(Rig::new());
    let agents = [witness("a").await, witness("b").await, witness("c").await];
    rig.ready("one", &[("a-0", agents[0].address)]);
    let stop = tokio_util::sync::CancellationToken::new();
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (rig, stop) = (Arc::clone(&rig), stop.clone());
            tokio::spawn(async move {
                let mut answered = 0;
                while !stop.is_cancelled() {
                    let request = Request::post("/agent/one/")
                        .header("host", "b")
                        .body(Full::<Bytes>::from("x"))
                        .unwrap();
                    let answer = rig.ask(request).await;
                    assert_eq!(answer.status, 200, "{answer:?}");
                    answered += 1;
                }
                answered
            })
        })
        .collect();
    for n in 1..60 {
        // The next life of the fleet: another container, perhaps at an address that the last one had.
        let (old, new) = (format!("a-{}", n - 1), format!("a-{n}"));
        let at = |n: usize| agents[n / 2 % 3].address;
        rig.publish("one", &[(&old, at(n - 1)), (&new, at(n))], |publication| {
            publication.endpoints[0].state = agentainer::plan::EndpointState::Draining;
        });
        rig.until_in_flight(&old, 0).await;
        rig.ready("one", &[(&new, at(n))]);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    stop.cancel();
    for client in clients {
        assert!(bounded(client).await.unwrap() > 10);
    }
}

#[tokio::test]
async fn requests_that_come_all_at_once_on_one_connection_are_answered_in_their_order() {
    const REQUESTS: usize = 400;
    let rig = Rig::new();
    let agent = witness("a").await;
    rig.ready("one", &[("a", agent.address)]);
    let mut raw = rig.raw().await;
    let mut all = String::new();
    for n in 0..REQUESTS {
        all += &format!("GET /agent/one/{n}/end HTTP/1.1\r\nhost: b\r\n\r\n");
    }
    raw.send(all).await;
    for n in 0..REQUESTS {
        let answer = raw.until("/end ").await;
        assert!(answer.ends_with(&format!("a /{n}/end ")), "{n}: {answer}");
    }
}
