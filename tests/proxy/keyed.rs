//! `Idempotency-Key`, on a real Redis: one request, however often it is sent.

use std::sync::Arc;

use agentainer::agent::spec::{Persistence, PersistenceMode};
use agentainer::journal::{Capability, RequestJournal, State};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tokio::sync::Notify;

use crate::agents::http;
use crate::kept::{Kept, accepted, closing, remembering};
use crate::rig::until;

const KEY: (&str, &str) = ("idempotency-key", "\"k-1\"");

#[tokio::test]
async fn law_3_the_same_key_and_request_gives_the_stored_answer() {
    let kept = Kept::new();
    let (agent, got) = remembering(201).await;
    kept.up("users", &agent);
    let first = kept.post("/agent/users/pay?a=1", &[KEY], b"5").await;
    assert_eq!(first.status, 201);
    assert_eq!(first.header("idempotency-replayed"), None);
    kept.settle_all().await;
    for _ in 0..3 {
        let again = kept.post("/agent/users/pay?a=1", &[KEY], b"5").await;
        assert_eq!((again.status, &again.text), (first.status, &first.text));
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
    }
    assert_eq!(got.lock().len(), 1);
    assert_eq!(got.lock()[0].0.headers["idempotency-key"], KEY.1);

    for (target, body) in [("pay?a=1", &b"6"[..]), ("pay?a=2", b"5")] {
        let target = format!("/agent/users/{target}");
        let other = kept.post(&target, &[KEY], body).await;
        assert_eq!(other.status, 422, "{other:?}");
        assert!(other.text.contains("problem:key-reused"), "{other:?}");
    }
    assert_eq!(got.lock().len(), 1);

    // A key is its caller's own, for one path, method and agent.
    kept.up("auth", &agent);
    for (method, target, header) in [
        (
            "POST",
            "/agent/users/pay?a=1",
            ("authorization", "Bearer b"),
        ),
        ("POST", "/agent/users/pay?a=1", ("cookie", "s=1")),
        ("POST", "/agent/users/pay?a=1", ("x-api-key", "1")),
        ("POST", "/agent/users/other?a=1", ("accept", "*/*")),
        ("PUT", "/agent/users/pay?a=1", ("accept", "*/*")),
    ] {
        let answer = kept.send(method, target, &[KEY, header], b"5").await;
        assert_eq!(answer.header("idempotency-replayed"), None, "{header:?}");
        assert_eq!(answer.status, 201);
    }
    assert_eq!(got.lock().len(), 6);
}

#[tokio::test]
async fn while_it_runs_its_twins_are_told_so_and_its_agent_sees_one() {
    let kept = Kept::new();
    let go = Arc::new(Notify::new());
    let told = Arc::clone(&go);
    let agent = http(move |_: Request<hyper::body::Incoming>| {
        let go = Arc::clone(&told);
        async move {
            go.notified().await;
            Response::new(Full::new(Bytes::from_static(b"done")))
        }
    })
    .await;
    kept.up("users", &agent);
    let ask = || kept.post("/agent/users/", &[KEY], b"x");
    let (first, ()) = tokio::join!(ask(), async {
        until(|| agent.requests() == 1).await;
        let twins = futures::future::join_all((0..20).map(|_| ask())).await;
        for twin in twins {
            assert_eq!(twin.status, 409, "{twin:?}");
            assert_eq!(twin.header("retry-after"), Some("1"));
            assert!(twin.text.contains("problem:request-running"));
        }
        go.notify_one();
    });
    assert_eq!(first.text, "done");
    kept.settle_all().await;
    assert_eq!(ask().await.text, "done");
    assert_eq!(agent.requests(), 1);
}

#[tokio::test]
async fn while_it_waits_the_same_202_is_given_with_the_same_address() {
    let kept = Kept::new();
    kept.down("users", |_| {});
    let first = kept.post("/agent/users/", &[KEY], b"x").await;
    let id = accepted(&first);
    let again = kept.post("/agent/users/", &[KEY], b"x").await;
    assert_eq!(accepted(&again), id);
    assert_eq!(again.header("location"), first.header("location"));
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    let record = kept.journal.get(&id).await.unwrap().unwrap();
    let secret = first.header("location").unwrap().rsplit('.').next();
    let shown = Capability::shown(secret.unwrap());
    assert!(shown.opens(&record.capability));
    let stranger = kept
        .post("/agent/users/", &[KEY, ("authorization", "b")], b"x")
        .await;
    assert_ne!(accepted(&stranger), id);
    assert_eq!(kept.records().await.len(), 2);

    let (agent, got) = remembering(200).await;
    kept.up("users", &agent);
    kept.settle_all().await;
    let answer = kept.post("/agent/users/", &[KEY], b"x").await;
    assert_eq!((answer.status.as_u16(), &answer.text[..]), (200, "done"));
    assert_eq!(got.lock().len(), 2);
}

#[tokio::test]
async fn what_was_refused_or_cancelled_may_be_sent_anew_with_its_key() {
    for status in [429, 503] {
        let kept = Kept::new();
        let (busy, _) = remembering(status).await;
        kept.up("users", &busy);
        let answer = kept.post("/agent/users/", &[KEY], b"x").await;
        assert_eq!(answer.status.as_u16(), status);
        kept.settle_all().await;
        let (better, _) = remembering(200).await;
        kept.rig.ready("users", &[("d", better.address)]);
        let answer = kept.post("/agent/users/", &[KEY], b"x").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("idempotency-replayed"), None);
        kept.settle_all().await;
        let answer = kept.post("/agent/users/", &[KEY], b"x").await;
        assert_eq!(answer.header("idempotency-replayed"), Some("true"));
    }
    let kept = Kept::new();
    kept.down("users", |_| {});
    let first = kept.post("/agent/users/", &[KEY], b"x").await;
    kept.journal.cancel(&accepted(&first), "").await.unwrap();
    let second = kept.post("/agent/users/", &[KEY], b"other").await;
    assert_ne!(accepted(&second), accepted(&first));
}

#[tokio::test]
async fn a_servers_error_is_an_answer_too() {
    let kept = Kept::new();
    let (agent, got) = remembering(500).await;
    kept.up("users", &agent);
    for _ in 0..2 {
        let answer = kept.post("/agent/users/", &[KEY], b"x").await;
        assert_eq!((answer.status.as_u16(), &answer.text[..]), (500, "done"));
        kept.settle_all().await;
    }
    assert_eq!(got.lock().len(), 1);
}

#[tokio::test]
async fn an_answer_that_is_longer_than_is_kept_is_not_made_twice() {
    let kept = Kept::new();
    let long = http(|_| {
        let body = Bytes::from(vec![b'x'; (1 << 20) + 1]);
        std::future::ready(Response::new(Full::new(body)))
    })
    .await;
    kept.up("users", &long);
    let answer = kept.post("/agent/users/", &[KEY], b"x").await;
    assert_eq!(answer.text.len(), (1 << 20) + 1, "its client has all of it");
    kept.settle_all().await;
    let again = kept.post("/agent/users/", &[KEY], b"x").await;
    assert_eq!(again.status, 409, "{}", again.text);
    assert!(again.text.contains("problem:answer-not-kept"));
    assert_eq!(long.requests(), 1);
}

#[tokio::test]
async fn a_journal_that_is_away_holds_up_no_healthy_agent() {
    let mut kept = Kept::new();
    let (agent, got) = remembering(200).await;
    kept.up("users", &agent);
    kept.up_with("strict", agent.address, |persistence| {
        persistence.mode = PersistenceMode::Always;
    });
    kept.kill_redis();
    let answer = kept.post("/agent/users/", &[KEY], b"x").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = kept.post("/agent/strict/", &[KEY], b"x").await;
    assert_eq!(answer.status, 503, "{answer:?}");
    let got = got.lock();
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].0.headers["idempotency-key"], KEY.1);
    assert_eq!(got[0].1, "x");
}

#[tokio::test]
async fn what_is_too_long_to_be_kept_passes_whole_and_what_is_off_is_not_kept() {
    let kept = Kept::new();
    let (agent, got) = remembering(200).await;
    kept.up_with("users", agent.address, |persistence| {
        persistence.max_body.bytes = 3;
    });
    kept.up_with("off", agent.address, |persistence: &mut Persistence| {
        persistence.mode = PersistenceMode::Off;
    });
    let mut client = kept.rig.raw().await;
    client
        .send("POST /agent/users/ HTTP/1.1\r\nhost: b\r\nidempotency-key: 1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n")
        .await;
    client.send("3\r\ncde\r\n0\r\n\r\n").await;
    client.until("done").await;
    kept.post("/agent/users/", &[KEY], b"abcde").await;
    kept.post("/agent/off/", &[KEY], b"x").await;
    let bodies: Vec<Bytes> = got.lock().iter().map(|(_, body)| body.clone()).collect();
    assert_eq!(bodies, ["abcde", "abcde", "x"]);
    assert!(kept.records().await.is_empty());
}

#[tokio::test]
async fn law_3_sent_and_not_answered_it_is_sent_again_and_its_twin_is_told_of_that() {
    let kept = Kept::new();
    let agent = closing().await;
    kept.up("users", &agent);
    let first = kept.post("/agent/users/pay", &[KEY], b"1 end").await;
    let id = accepted(&first);
    kept.down("users", |_| {});
    let again = kept.post("/agent/users/pay", &[KEY], b"1 end").await;
    assert_eq!(again.status, 202, "{again:?}");
    assert_eq!(again.header("location"), first.header("location"));
    let (better, got) = remembering(200).await;
    kept.rig.ready("users", &[("d", better.address)]);
    let record = kept.ends(&id).await;
    assert_eq!(record.standing.state, State::Completed);
    assert_eq!(got.lock().len(), 1);
}
