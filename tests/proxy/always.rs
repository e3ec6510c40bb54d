//! `persistence.mode: always`, on a real Redis: written before it is forwarded, answered as usual, and told the truth of afterwards.

use std::sync::Arc;

use agentainer::agent::spec::{OnDisconnect, Persistence, PersistenceMode};
use agentainer::journal::{RecordId, RequestJournal, State};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, Channel, Full};
use tokio::sync::Notify;

use crate::agents::{self, Agent, http};
use crate::kept::{Kept, accepted, closing, remembering};
use crate::redis_child::RedisChild;
use crate::rig::{Whole, bounded, until};

fn always(persistence: &mut Persistence) {
    persistence.mode = PersistenceMode::Always;
}

fn up(kept: &Kept, agent: &Agent) {
    kept.up_with("users", agent.address, always);
}

fn id_of(headers: &HeaderMap) -> RecordId {
    RecordId::parse(headers["x-agentainer-request-id"].to_str().unwrap()).unwrap()
}

/// An agent that begins an event stream, and goes on when it is told to.
async fn streaming() -> (Agent, Arc<Notify>) {
    let go = Arc::new(Notify::new());
    let told = Arc::clone(&go);
    let agent = http(move |_| {
        let go = Arc::clone(&told);
        async move {
            let (mut sender, body) = Channel::<Bytes>::new(1);
            tokio::spawn(async move {
                for n in 0..2 {
                    go.notified().await;
                    let event = Bytes::from(format!("data: {n}\n\n"));
                    if sender.send(Frame::data(event)).await.is_err() {
                        return;
                    }
                }
                let mut trailers = HeaderMap::new();
                trailers.insert("x-cost", "3".parse().unwrap());
                let _ = sender.send(Frame::trailers(trailers)).await;
            });
            Response::builder()
                .header("content-type", "text/event-stream")
                .header("trailer", "x-cost")
                .body(body)
                .unwrap()
        }
    })
    .await;
    (agent, go)
}

fn post(target: &str) -> Request<Full<Bytes>> {
    Request::post(target)
        .header("host", "box:8081")
        .header("te", "trailers")
        .body(Full::from("x"))
        .unwrap()
}

#[tokio::test]
async fn law_2_it_is_on_disk_before_its_agent_sees_it_and_its_answer_comes_as_usual() {
    let kept = Kept::new();
    let journal = Arc::clone(&kept.journal);
    let agent = http(move |request: Request<hyper::body::Incoming>| {
        let journal = Arc::clone(&journal);
        async move {
            let headers = request.headers();
            assert_eq!(headers["x-agentainer-attempt"], "1");
            let record = journal.get(&id_of(headers)).await.unwrap().unwrap();
            assert!(record.live, "{record:?}");
            assert_eq!(record.standing.state, State::Claimed);
            let stored = journal.body(&record.id).await.unwrap().unwrap();
            let body = request.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, stored);
            let mut response = Response::new(Full::new(body));
            let cookie = "a=1".parse().unwrap();
            response.headers_mut().insert("set-cookie", cookie);
            *response.status_mut() = http::StatusCode::CREATED;
            response
        }
    })
    .await;
    up(&kept, &agent);
    let answer = kept.post("/agent/users/pay?a=1", &[], b"5").await;
    assert_eq!((answer.status.as_u16(), &answer.text[..]), (201, "5"));
    assert_eq!(answer.header("location"), None);
    let record = kept.ends(&id_of(&answer.headers)).await;
    assert_eq!(record.standing.state, State::Completed, "{record:?}");
    assert_eq!(record.head.target, "/pay?a=1");
    let head = record.answer.unwrap();
    assert_eq!((head.status, head.whole), (201, true));
    let cookie = head.fields.iter().find(|field| field.0 == "set-cookie");
    let given = answer.header("set-cookie").unwrap();
    assert_eq!(cookie.unwrap().1, given, "as its client got it");
    let stored = kept.journal.answer_body(&record.id).await.unwrap();
    assert_eq!(stored.unwrap(), "5");
    assert_eq!(agent.requests(), 1);

    // What only reads is as ever.
    let answer = kept.send("GET", "/agent/users/", &[], b"").await;
    assert_eq!(answer.header("x-agentainer-request-id"), None);
    assert_eq!(kept.records().await.len(), 1);
}

#[tokio::test]
async fn events_are_not_held_up_and_trailers_pass() {
    let kept = Kept::new();
    let (agent, go) = streaming().await;
    up(&kept, &agent);
    let mut response = kept.rig.begin(post("/agent/users/run")).await;
    let id = id_of(response.headers());
    for n in 0..2 {
        go.notify_one();
        let frame = bounded(response.body_mut().frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), format!("data: {n}\n\n"));
    }
    let record = kept.journal.get(&id).await.unwrap().unwrap();
    assert!(record.live, "until its end");
    let rest = bounded(response.into_body().collect()).await.unwrap();
    assert_eq!(rest.trailers().unwrap()["x-cost"], "3");
    let record = kept.ends(&id).await;
    assert_eq!(record.standing.state, State::Completed);
    let stored = kept.journal.answer_body(&id).await.unwrap().unwrap();
    assert_eq!(stored, "data: 0\n\ndata: 1\n\n");
}

#[tokio::test]
async fn law_2_without_the_journal_nothing_is_forwarded() {
    let redis = RedisChild::start(&["--appendonly", "yes", "--appendfsync", "everysec"]);
    let mut kept = Kept::on(redis, |_| Vec::new());
    let (agent, _) = remembering(200).await;
    up(&kept, &agent);
    let answer = kept.post("/agent/users/", &[], b"x").await;
    assert_eq!(answer.status, 503);
    assert!(answer.detail().contains("appendfsync always"), "{answer:?}");
    kept.kill_redis();
    let answer = kept.post("/agent/users/", &[], b"x").await;
    assert_eq!(answer.status, 503, "{answer:?}");
    let answer = kept.send("GET", "/agent/users/", &[], b"").await;
    assert_eq!(answer.status, 200, "what is not written needs no journal");
    assert_eq!(agent.requests(), 1);
}

#[tokio::test]
async fn what_cannot_be_written_whole_is_refused() {
    let kept = Kept::new();
    let (agent, _) = remembering(200).await;
    kept.up_with("users", agent.address, |persistence| {
        always(persistence);
        persistence.max_body.bytes = 3;
        persistence.max_bytes.bytes = 1000;
    });
    let answer = kept.post("/agent/users/", &[], b"four").await;
    assert_eq!(answer.status, 413, "{answer:?}");
    assert!(answer.detail().contains("persistence.maxBody"));
    let answer = kept.post("/agent/users/", &[], b"x").await;
    assert_eq!(answer.status, 429, "{answer:?}");
    assert!(answer.detail().contains("persistence.maxBytes"));
    assert_eq!(agent.requests(), 0);
}

#[tokio::test]
async fn what_could_not_be_sent_waits_in_its_place() {
    let kept = Kept::new();
    kept.up_with("users", agents::nobody().await, always);
    let answer = kept.post("/agent/users/", &[], b"x").await;
    let id = accepted(&answer);
    let record = kept.journal.get(&id).await.unwrap().unwrap();
    assert!(!record.live, "it is one like the others: {record:?}");
    let (agent, got) = remembering(200).await;
    kept.up_with("users", agent.address, always);
    assert_eq!(kept.settled(&answer).await.standing.state, State::Completed);
    let got = got.lock();
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].0.headers["x-agentainer-request-id"], id.as_str());
}

#[tokio::test]
async fn law_3_what_was_sent_and_not_answered_is_unknown_or_sent_again_if_that_is_safe() {
    let kept = Kept::new();
    let agent = closing().await;
    up(&kept, &agent);
    let answer = kept.post("/agent/users/pay", &[], b"1 end").await;
    assert_eq!(answer.status, 502, "{answer:?}");
    let record = kept.settled(&answer).await;
    assert_eq!(record.standing.state, State::Unknown);
    assert_eq!(record.standing.attempts, 1);
    assert_eq!(agent.requests(), 1);

    let answer = kept.send("PUT", "/agent/users/pay", &[], b"2 end").await;
    accepted(&answer);
    let (better, got) = remembering(200).await;
    kept.up_with("users", better.address, always);
    let record = kept.settled(&answer).await;
    assert_eq!(record.standing.state, State::Completed, "{record:?}");
    assert_eq!(got.lock()[0].1, "2 end");
}

#[tokio::test]
async fn law_3_a_servers_error_that_its_client_has_is_never_repeated() {
    let kept = Kept::new();
    let (agent, _) = remembering(500).await;
    up(&kept, &agent);
    for method in ["POST", "PUT"] {
        let answer = kept.send(method, "/agent/users/", &[], b"x").await;
        assert_eq!((answer.status.as_u16(), &answer.text[..]), (500, "done"));
        let record = kept.ends(&id_of(&answer.headers)).await;
        assert_eq!(record.standing.state, State::Failed, "{record:?}");
    }
    assert_eq!(agent.requests(), 2);
}

#[tokio::test]
async fn when_its_client_goes_the_spec_says_what_becomes_of_it() {
    for (goes_on, state) in [(false, State::Cancelled), (true, State::Completed)] {
        let kept = Kept::new();
        let (agent, go) = streaming().await;
        let policy = goes_on.then_some(OnDisconnect::Continue);
        kept.rig
            .publish("users", &[("c", agent.address)], |publication| {
                publication.proxy.on_disconnect = policy;
                let persistence = publication.persistence.insert(Persistence::default());
                always(persistence);
            });
        let mut client = kept.rig.raw().await;
        client
            .send("POST /agent/users/ HTTP/1.1\r\nhost: b\r\ncontent-length: 1\r\n\r\nx")
            .await;
        go.notify_one();
        client.until("data: 0").await;
        drop(client);
        go.notify_one();
        let id = kept.records().await[0].id.clone();
        let record = kept.ends(&id).await;
        assert_eq!(record.standing.state, state, "{record:?}");
        let stored = kept.journal.answer_body(&id).await.unwrap().unwrap();
        assert!(stored.starts_with(b"data: 0"), "{stored:?}");
        assert_eq!(record.answer.unwrap().whole, goes_on);
        kept.rig.until_in_flight("c", 0).await;
    }
}

#[tokio::test]
async fn a_client_that_goes_before_the_answer_leaves_a_record_that_says_so() {
    let kept = Kept::new();
    let never = http(|_| std::future::pending::<Response<Full<Bytes>>>()).await;
    up(&kept, &never);
    let mut client = kept.rig.raw().await;
    client
        .send("POST /agent/users/ HTTP/1.1\r\nhost: b\r\ncontent-length: 1\r\n\r\nx")
        .await;
    until(|| never.requests() == 1).await;
    let id = kept.records().await[0].id.clone();
    drop(client);
    let record = kept.ends(&id).await;
    assert_eq!(record.standing.state, State::Cancelled, "{record:?}");
    assert!(record.reason.contains("may have handled it"));
}

#[tokio::test]
async fn cancelling_it_cuts_it_off() {
    let kept = Kept::new();
    let never = http(|_| std::future::pending::<Response<Full<Bytes>>>()).await;
    up(&kept, &never);
    let answer: Whole = {
        let asking = kept.post("/agent/users/", &[], b"x");
        let cancelling = async {
            until(|| never.requests() == 1).await;
            let id = kept.records().await[0].id.clone();
            kept.journal.cancel(&id, "a test").await.unwrap();
        };
        tokio::join!(asking, cancelling).0
    };
    assert_eq!(answer.status, 409, "{answer:?}");
    kept.rig.until_in_flight("c", 0).await;
    let record = &kept.records().await[0];
    assert_eq!(record.reason, "a test");
}

#[tokio::test]
async fn a_server_that_waits_no_longer_says_what_became_of_what_it_cut_off() {
    // Its answer had begun.
    let mut kept = Kept::new();
    let (agent, go) = streaming().await;
    up(&kept, &agent);
    let mut response = kept.rig.begin(post("/agent/users/run")).await;
    let id = id_of(response.headers());
    go.notify_one();
    bounded(response.body_mut().frame()).await.unwrap().unwrap();
    kept.end().await;
    let record = kept.journal.get(&id).await.unwrap().unwrap();
    assert_eq!(record.standing.state, State::Completed, "{record:?}");
    assert!(record.reason.contains("broke off"), "{record:?}");
    assert!(!record.answer.unwrap().whole);

    // It had not.
    for (method, state) in [("POST", State::Unknown), ("PUT", State::Retrying)] {
        let mut kept = Kept::new();
        let never = http(|_| std::future::pending::<Response<Full<Bytes>>>()).await;
        up(&kept, &never);
        let mut client = kept.rig.raw().await;
        client
            .send(format!(
                "{method} /agent/users/ HTTP/1.1\r\nhost: b\r\ncontent-length: 1\r\n\r\nx"
            ))
            .await;
        until(|| never.requests() == 1).await;
        kept.end().await;
        let record = &kept.records().await[0];
        assert_eq!(record.standing.state, state, "{record:?}");
        assert!(record.reason.contains("the server ended"), "{record:?}");
    }
}
