//! How many requests an agent has at once, and what becomes of one whose client goes.

use std::sync::Arc;
use std::time::Duration;

use agentainer::agent::spec::OnDisconnect;
use agentainer::front::Limits;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{Full, StreamBody};
use hyper::body::Frame;
use tokio::sync::{Semaphore, mpsc};

use crate::agents::{self, Agent};
use crate::rig::{Rig, until};

/// An agent that answers when it is told to.
async fn held() -> (Agent, Arc<Semaphore>) {
    let told = Arc::new(Semaphore::new(0));
    let waits = Arc::clone(&told);
    let agent = agents::http(move |_| {
        let waits = Arc::clone(&waits);
        async move {
            waits.acquire().await.unwrap().forget();
            Response::new(Full::new(Bytes::from("done")))
        }
    })
    .await;
    (agent, told)
}

fn limited(rig: &Rig, agent: &Agent, limit: u32) {
    rig.publish("users", &[("c", agent.address)], |publication| {
        publication.proxy.max_in_flight = Some(limit);
    });
}

#[tokio::test]
async fn beyond_its_limit_as_many_wait_and_more_are_429() {
    let rig = Arc::new(Rig::new());
    let (agent, told) = held().await;
    limited(&rig, &agent, 2);
    let asks: Vec<_> = (0..4)
        .map(|_| {
            let rig = Arc::clone(&rig);
            tokio::spawn(async move { rig.get("/agent/users/").await })
        })
        .collect();
    until(|| agent.requests() == 2).await;
    // Two are with the agent and two in line, as soon as a fifth is refused.
    let deadline = tokio::time::Instant::now() + crate::rig::PATIENCE;
    let refused = loop {
        let ask = tokio::time::timeout(Duration::from_millis(200), rig.get("/agent/users/"));
        if let Ok(answer) = ask.await {
            break answer;
        }
        assert!(tokio::time::Instant::now() < deadline);
    };
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(refused.detail().contains("proxy.maxInFlight"));
    assert_eq!(agent.requests(), 2);
    told.add_permits(4);
    for ask in asks {
        assert_eq!(ask.await.unwrap().text, "done", "who waited is answered");
    }
}

#[tokio::test]
async fn who_waits_in_line_too_long_is_429_and_a_client_that_goes_frees_its_place() {
    let rig = Arc::new(Rig::with(Duration::from_millis(300), Limits::default()));
    let (agent, told) = held().await;
    limited(&rig, &agent, 1);
    let mut first = rig.raw().await;
    first
        .send("GET /agent/users/ HTTP/1.1\r\nhost: b\r\n\r\n")
        .await;
    until(|| agent.requests() == 1).await;
    let late = rig.get("/agent/users/").await;
    assert_eq!(late.status, StatusCode::TOO_MANY_REQUESTS);
    drop(first);
    rig.until_in_flight("c", 0).await;
    told.add_permits(1);
    assert_eq!(rig.get("/agent/users/").await.text, "done");
}

/// An agent that streams what it is given, and tells when a stream was dropped before its end.
async fn streaming() -> (Agent, mpsc::UnboundedReceiver<mpsc::Sender<Bytes>>) {
    let (tell, streams) = mpsc::unbounded_channel();
    let agent = agents::http(move |_: Request<_>| {
        let (sender, receiver) = mpsc::channel::<Bytes>(1);
        tell.send(sender).unwrap();
        async move {
            let pieces = futures::stream::unfold(receiver, |mut receiver| async move {
                let piece = receiver.recv().await?;
                Some((
                    Ok::<_, std::convert::Infallible>(Frame::data(piece)),
                    receiver,
                ))
            });
            Response::new(StreamBody::new(pieces))
        }
    })
    .await;
    (agent, streams)
}

fn lasting(rig: &Rig, agent: &Agent, on: Option<OnDisconnect>) {
    rig.publish("users", &[("c", agent.address)], |publication| {
        publication.proxy.on_disconnect = on;
    });
}

const ASK: &str = "POST /agent/users/ HTTP/1.1\r\nhost: b\r\ncontent-length: 2\r\n\r\ngo";

#[tokio::test]
async fn a_client_that_goes_cancels_the_run_unless_it_is_to_finish() {
    for (on, finishes) in [
        (None, false),
        (Some(OnDisconnect::Cancel), false),
        (Some(OnDisconnect::Continue), true),
    ] {
        let rig = Rig::new();
        let (agent, mut streams) = streaming().await;
        lasting(&rig, &agent, on);
        let mut client = rig.raw().await;
        client.send(ASK).await;
        let stream = streams.recv().await.unwrap();
        stream.send(Bytes::from("first")).await.unwrap();
        client.until("first").await;
        drop(client);
        if finishes {
            for _ in 0..200 {
                stream.send(Bytes::from("more")).await.unwrap();
            }
            assert_eq!(rig.in_flight("c"), 1, "it counts for as long");
            drop(stream);
        } else {
            stream.closed().await;
        }
        rig.until_in_flight("c", 0).await;
    }
}

#[tokio::test]
async fn a_client_that_goes_before_the_head_cancels_the_run_unless_it_is_to_finish() {
    for (on, finishes) in [(None, false), (Some(OnDisconnect::Continue), true)] {
        let rig = Rig::new();
        let (agent, told) = held().await;
        rig.publish("users", &[("c", agent.address)], |publication| {
            publication.proxy.on_disconnect = on;
            publication.proxy.max_in_flight = Some(1);
        });
        let mut client = rig.raw().await;
        client.send(ASK).await;
        until(|| agent.requests() == 1).await;
        drop(client);
        if finishes {
            let beside = tokio::time::timeout(Duration::from_millis(100), rig.get("/agent/users/"));
            assert!(beside.await.is_err(), "it keeps its place");
            assert_eq!(rig.in_flight("c"), 1);
            told.add_permits(1);
        }
        rig.until_in_flight("c", 0).await;
        assert_eq!(told.available_permits(), 0);
    }
}

#[tokio::test]
async fn with_a_client_that_stays_a_lasting_run_is_like_any_other() {
    let rig = Rig::new();
    let (agent, mut streams) = streaming().await;
    lasting(&rig, &agent, Some(OnDisconnect::Continue));
    let ask = tokio::spawn(async move {
        let answer = rig.get("/agent/users/").await;
        (answer.text, rig)
    });
    let stream = streams.recv().await.unwrap();
    for piece in ["a", "b", "c"] {
        stream.send(Bytes::from(piece)).await.unwrap();
    }
    drop(stream);
    let (text, rig) = ask.await.unwrap();
    assert_eq!(text, "abc");
    rig.until_in_flight("c", 0).await;
}

#[tokio::test]
async fn a_shutdown_waits_for_runs_and_cuts_what_is_left() {
    let rig = Rig::new();
    let (agent, mut streams) = streaming().await;
    lasting(&rig, &agent, Some(OnDisconnect::Continue));
    let mut client = rig.raw().await;
    client.send(ASK).await;
    let stream = streams.recv().await.unwrap();
    stream.send(Bytes::from("first")).await.unwrap();
    client.until("first").await;
    drop(client);
    // Only who reads on for nobody takes these.
    for _ in 0..200 {
        stream.send(Bytes::from("more")).await.unwrap();
    }
    rig.proxy.drain(Duration::from_millis(50)).await;
    stream.closed().await;
    rig.until_in_flight("c", 0).await;
}
