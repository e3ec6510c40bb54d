//! What every `RequestJournal` promises, asked of the one in Redis.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs
)]

#[path = "common/redis_child.rs"]
mod redis_child;

use std::time::Duration;

use agentainer::agent::Uid;
use agentainer::journal::policy::Verdict;
use agentainer::journal::redis::{RedisJournal, RedisJournalOptions};
use agentainer::journal::{
    Admission, Answer, AnswerHead, Begin, Bound, Bounds, Capability, Claim, Field, Head,
    JournalError, RecordId, RequestJournal, Settlement, State, Take, Taken,
};
use agentainer::keys::Keys;
use bytes::Bytes;
use redis_child::RedisChild;

const DURABLE: [&str; 6] = [
    "--appendonly",
    "yes",
    "--appendfsync",
    "always",
    "--no-appendfsync-on-rewrite",
    "no",
];
const LEASE: Duration = Duration::from_secs(60);

fn journal(redis: &RedisChild) -> RedisJournal {
    with_memory(redis, 1 << 20)
}

fn with_memory(redis: &RedisChild, memory: u64) -> RedisJournal {
    let options = RedisJournalOptions {
        keys: Keys::new("test:"),
        memory,
        deadline: Duration::from_secs(10),
        ..RedisJournalOptions::default()
    };
    RedisJournal::new(&redis.url(), options).unwrap()
}

fn uid() -> Uid {
    Uid("life".to_owned())
}

fn request(body: impl Into<Bytes>) -> Admission {
    Admission {
        id: RecordId::random(),
        uid: uid(),
        agent: "users".to_owned(),
        head: Head {
            method: "POST".to_owned(),
            target: "/a?b=%20&b=c".to_owned(),
            fields: vec![
                Field::new("x-odd", b"caf\xe9 \xff"),
                Field::new("accept", b"a"),
                Field::new("accept", b"b"),
            ],
            repeatable: false,
        },
        body: body.into(),
        capability: Capability::shown("secret").hash(),
        ttl: Duration::from_secs(3600),
        bounds: Bounds {
            max_queue: 100,
            max_bytes: 1 << 20,
        },
        begin: Begin::Pending,
    }
}

async fn take(journal: &RedisJournal, most: u64, strict: bool) -> Taken {
    let take = Take {
        uid: uid(),
        most,
        concurrency: 4,
        strict,
        lease: LEASE,
    };
    journal.take(&take).await.unwrap()
}

fn ends(verdict: Verdict) -> Settlement {
    Settlement {
        verdict,
        reason: "a test".to_owned(),
        answer: None,
    }
}

fn answered(verdict: Verdict, body: Vec<u8>) -> Settlement {
    let head = AnswerHead {
        status: 201,
        fields: vec![
            Field::new("set-cookie", b"a=1"),
            Field::new("set-cookie", b"b=2"),
        ],
        whole: true,
    };
    let body = Bytes::from(body);
    Settlement {
        answer: Some(Answer { head, body }),
        ..ends(verdict)
    }
}

async fn state(journal: &RedisJournal, id: &RecordId) -> State {
    journal.get(id).await.unwrap().unwrap().standing.state
}

#[tokio::test]
async fn a_request_comes_back_byte_for_byte_whether_short_or_long() {
    let redis = RedisChild::start(&DURABLE);
    let journal = journal(&redis);
    for length in [0, 1, 16_384, 16_385, 200_000] {
        let body: Vec<u8> = (0..length).map(|n: usize| (n % 256) as u8).collect();
        let admission = request(body.clone());
        journal.admit(admission.clone()).await.unwrap();
        assert_eq!(journal.body(&admission.id).await.unwrap().unwrap(), body);
        let taken = take(&journal, 1, false).await.claimed.remove(0);
        assert_eq!(taken.body, body);
        assert_eq!(taken.record.head, admission.head);
        assert_eq!(taken.record.head.fields[0].value(), b"caf\xe9 \xff");
        assert_eq!(taken.record.standing.attempts, 1);
        let end = answered(Verdict::Settle(State::Completed), body.clone());
        assert!(journal.settle(&taken.claim(), end.clone()).await.unwrap());
        let record = journal.get(&admission.id).await.unwrap().unwrap();
        assert_eq!(record.standing.state, State::Completed);
        assert_eq!(record.answer, end.answer.map(|answer| answer.head));
        assert!(record.settled.is_some());
        let kept = journal.answer_body(&admission.id).await.unwrap();
        assert_eq!(kept.unwrap(), body);
        assert_eq!(
            journal.body(&admission.id).await.unwrap(),
            None,
            "of no use"
        );
    }
}

#[tokio::test]
async fn the_earliest_is_taken_first_and_no_more_than_may_be_in_delivery() {
    let redis = RedisChild::start(&DURABLE);
    let journal = journal(&redis);
    let mut ids = Vec::new();
    for _ in 0..6 {
        let admission = request("x");
        ids.push(admission.id.clone());
        journal.admit(admission.clone()).await.unwrap();
        journal
            .admit(admission)
            .await
            .expect("the same once more is the same");
    }
    let first = take(&journal, 10, false).await;
    let got: Vec<_> = first
        .claimed
        .iter()
        .map(|one| one.record.id.clone())
        .collect();
    assert_eq!(got, ids[..4], "concurrency is 4");
    assert!(first.more);
    assert!(take(&journal, 10, false).await.claimed.is_empty());
    let done = ends(Verdict::Settle(State::Completed));
    journal
        .settle(&first.claimed[2].claim(), done)
        .await
        .unwrap();
    let next = take(&journal, 10, false).await.claimed;
    assert_eq!(next[0].record.id, ids[4]);
    let listed = journal.list(&uid(), &[], None, 3).await.unwrap();
    let names: Vec<_> = listed.iter().map(|record| &record.id).collect();
    assert_eq!(names, [&ids[5], &ids[4], &ids[3]], "the latest first");
    let older = journal
        .list(&uid(), &[State::Claimed], Some(listed[2].sequence), 9)
        .await
        .unwrap();
    let names: Vec<_> = older.iter().map(|record| &record.id).collect();
    assert_eq!(names, [&ids[1], &ids[0]]);
    let backlogs = journal.backlogs().await.unwrap();
    assert_eq!(backlogs.len(), 1);
    assert_eq!(backlogs[0].agent, "users");
    assert_eq!(backlogs[0].count(&[State::Pending]), 1);
    assert_eq!(backlogs[0].count(&[State::Claimed]), 4);
    assert!(backlogs[0].oldest.is_some());
}

#[tokio::test]
async fn in_strict_order_a_retry_holds_up_all_behind_it_and_an_unknown_end_does_not() {
    let redis = RedisChild::start(&DURABLE);
    let journal = journal(&redis);
    let (first, second) = (request("1"), request("2"));
    journal.admit(first.clone()).await.unwrap();
    journal.admit(second.clone()).await.unwrap();
    let taken = take(&journal, 10, true).await.claimed;
    assert_eq!(taken.len(), 1);
    assert!(take(&journal, 10, true).await.claimed.is_empty());
    let later = Verdict::Retry(Duration::from_millis(300));
    assert!(
        journal
            .settle(&taken[0].claim(), ends(later))
            .await
            .unwrap()
    );
    let held = take(&journal, 10, true).await;
    assert!(held.claimed.is_empty());
    assert!(held.next.unwrap() <= Duration::from_millis(300));
    let again = loop {
        let taken = take(&journal, 10, true).await;
        if let Some(again) = taken.claimed.into_iter().next() {
            break again;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(again.record.id, first.id);
    assert_eq!(again.record.standing.attempts, 2);
    let unknown = ends(Verdict::Settle(State::Unknown));
    journal.settle(&again.claim(), unknown).await.unwrap();
    assert_eq!(
        take(&journal, 10, true).await.claimed[0].record.id,
        second.id
    );
}

#[tokio::test]
async fn law_3_who_lost_a_claim_settles_nothing() {
    let redis = RedisChild::start(&DURABLE);
    let journal = journal(&redis);
    let admission = request("x");
    journal.admit(admission.clone()).await.unwrap();
    let first = take(&journal, 1, false).await.claimed.remove(0);
    assert!(journal.renew(&first.claim(), LEASE).await.unwrap());
    assert!(
        journal
            .settle(&first.claim(), ends(Verdict::Release))
            .await
            .unwrap()
    );
    assert!(!journal.renew(&first.claim(), LEASE).await.unwrap());
    let second = take(&journal, 1, false).await.claimed.remove(0);
    assert_eq!(
        second.record.standing.attempts, 1,
        "given back: it was none"
    );
    let done = || ends(Verdict::Settle(State::Completed));
    assert!(!journal.settle(&first.claim(), done()).await.unwrap());
    assert_eq!(state(&journal, &admission.id).await, State::Claimed);
    assert!(journal.settle(&second.claim(), done()).await.unwrap());
    assert!(
        journal.settle(&second.claim(), done()).await.unwrap(),
        "said twice"
    );
    let other = ends(Verdict::Settle(State::Failed));
    assert!(!journal.settle(&second.claim(), other).await.unwrap());
    let stranger = Claim {
        id: RecordId::random(),
        token: 1,
    };
    assert!(!journal.settle(&stranger, done()).await.unwrap());
}

#[tokio::test]
async fn a_claim_that_is_not_renewed_lapses_and_is_settled_once() {
    let redis = RedisChild::start(&DURABLE);
    let journal = journal(&redis);
    let admission = request("x");
    journal.admit(admission.clone()).await.unwrap();
    let take = Take {
        uid: uid(),
        most: 1,
        concurrency: 1,
        strict: false,
        lease: Duration::from_millis(1),
    };
    let taken = journal.take(&take).await.unwrap().claimed.remove(0);
    let lapsed = loop {
        let lapsed = journal.lapsed().await.unwrap();
        if !lapsed.is_empty() {
            break lapsed;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(lapsed[0].id, admission.id);
    let unknown = || ends(Verdict::Settle(State::Unknown));
    assert!(journal.settle(&taken.claim(), unknown()).await.unwrap());
    let late = ends(Verdict::Settle(State::Completed));
    assert!(!journal.settle(&taken.claim(), late).await.unwrap());
    assert!(journal.lapsed().await.unwrap().is_empty());
    assert!(
        journal.body(&admission.id).await.unwrap().is_some(),
        "kept, to be sent by hand"
    );

    journal.requeue(&admission.id).await.unwrap();
    assert!(matches!(
        journal.requeue(&admission.id).await,
        Err(JournalError::Conflict(State::Pending))
    ));
    let again = journal.take(&take).await.unwrap().claimed.remove(0);
    assert_eq!(again.record.standing.attempts, 2);
    assert_eq!(
        again.record.standing.tries(),
        1,
        "what was before is forgiven"
    );
    assert_eq!(again.body, "x");
}

#[tokio::test]
async fn cancelling_cuts_off_and_forgetting_leaves_nothing() {
    let redis = RedisChild::start(&DURABLE);
    let journal = journal(&redis);
    let (waits, runs) = (request("1"), request(vec![7; 40_000]));
    journal.admit(runs.clone()).await.unwrap();
    let taken = take(&journal, 1, false).await.claimed.remove(0);
    journal.admit(waits.clone()).await.unwrap();
    assert!(matches!(
        journal.forget(&waits.id).await,
        Err(JournalError::Conflict(State::Pending))
    ));
    for id in [&waits.id, &runs.id] {
        journal.cancel(id, "not wanted any more").await.unwrap();
        assert_eq!(state(&journal, id).await, State::Cancelled);
        assert!(matches!(
            journal.cancel(id, "").await,
            Err(JournalError::Conflict(State::Cancelled))
        ));
    }
    assert!(!journal.renew(&taken.claim(), LEASE).await.unwrap());
    let done = ends(Verdict::Settle(State::Completed));
    assert!(!journal.settle(&taken.claim(), done).await.unwrap());
    for id in [&waits.id, &runs.id] {
        journal.forget(id).await.unwrap();
        assert!(matches!(journal.forget(id).await, Err(JournalError::Gone)));
    }
    let left: Vec<String> = redis.run(&["KEYS", "*"]);
    let mut left: Vec<&str> = left.iter().map(String::as_str).collect();
    left.sort_unstable();
    assert_eq!(left, ["test:journal:sequence", "test:journal:totals"]);
    let bytes: String = redis.run(&["HGET", "test:journal:totals", "bytes"]);
    assert_eq!(bytes, "0");
}

#[tokio::test]
async fn what_waited_for_too_long_expires_and_is_forgotten_later() {
    let redis = RedisChild::start(&DURABLE);
    let journal = journal(&redis);
    let short = Admission {
        ttl: Duration::from_millis(1),
        ..request("x")
    };
    journal.admit(short.clone()).await.unwrap();
    let kept = request("y");
    journal.admit(kept.clone()).await.unwrap();
    let mut seen = Vec::new();
    while let Some(record) = journal.get(&short.id).await.unwrap() {
        seen.push(record.standing.state);
        journal.sweep().await.unwrap();
    }
    seen.dedup();
    assert_eq!(seen, [State::Pending, State::Expired], "both are seen");
    assert_eq!(state(&journal, &kept.id).await, State::Pending);
}

#[tokio::test]
async fn each_bound_refuses_and_what_is_settled_makes_room() {
    let redis = RedisChild::start(&DURABLE);
    let journal = with_memory(&redis, 10_000);
    let full = |result: Result<(), JournalError>| match result {
        Err(JournalError::Full(bound)) => bound,
        other => panic!("{other:?}"),
    };
    let bounds = |max_queue, max_bytes| Bounds {
        max_queue,
        max_bytes,
    };
    let within = |bounds, body: usize| Admission {
        bounds,
        ..request(vec![1; body])
    };
    journal.admit(within(bounds(1, 9000), 10)).await.unwrap();
    assert_eq!(
        full(journal.admit(within(bounds(1, 9000), 10)).await),
        Bound::Queue
    );
    assert_eq!(
        full(journal.admit(within(bounds(9, 9000), 8000)).await),
        Bound::Bytes
    );
    assert_eq!(
        full(journal.admit(within(bounds(9, 90_000), 9500)).await),
        Bound::Memory
    );

    let taken = take(&journal, 1, false).await.claimed.remove(0);
    let end = answered(Verdict::Settle(State::Completed), vec![1; 6000]);
    journal.settle(&taken.claim(), end).await.unwrap();
    let big = within(bounds(1, 9000), 6000);
    journal.admit(big.clone()).await.unwrap();
    assert_eq!(
        journal.get(&taken.record.id).await.unwrap(),
        None,
        "it made room"
    );

    // One that somebody should look at makes none, nor does one that waits.
    let taken = take(&journal, 1, false).await.claimed.remove(0);
    let unknown = ends(Verdict::Settle(State::Unknown));
    journal.settle(&taken.claim(), unknown).await.unwrap();
    assert_eq!(
        full(journal.admit(within(bounds(9, 9000), 6000)).await),
        Bound::Memory
    );
    assert_eq!(state(&journal, &big.id).await, State::Unknown);
}

#[tokio::test]
async fn law_2_a_redis_that_does_not_keep_what_it_takes_is_refused_with_the_lines_to_change() {
    let redis = RedisChild::start(&["--appendonly", "yes", "--appendfsync", "everysec"]);
    let lax = journal(&redis);
    match lax.admit(request("x")).await {
        Err(JournalError::NotDurable(lines)) => assert_eq!(lines, ["appendfsync always"]),
        other => panic!("{other:?}"),
    }
    assert!(lax.list(&uid(), &[], None, 9).await.unwrap().is_empty());
    let options = RedisJournalOptions {
        in_memory: true,
        ..RedisJournalOptions::default()
    };
    let willing = RedisJournal::new(&redis.url(), options).unwrap();
    willing.admit(request("x")).await.unwrap();
}

#[tokio::test]
async fn law_2_what_was_admitted_survives_a_killed_redis() {
    let mut redis = RedisChild::start(&DURABLE);
    let journal = journal(&redis);
    let mut ids = Vec::new();
    for n in 0..50_u8 {
        let admission = request(vec![n; 20_000 * usize::from(n % 2)]);
        ids.push(admission.id.clone());
        journal.admit(admission).await.unwrap();
    }
    let taken = take(&journal, 1, false).await.claimed.remove(0);
    redis.kill();
    assert!(
        journal.admit(request("x")).await.is_err(),
        "never a false promise"
    );
    redis.start_again();
    for id in &ids[1..] {
        assert_eq!(state(&journal, id).await, State::Pending);
    }
    assert_eq!(state(&journal, &taken.record.id).await, State::Claimed);
    let done = ends(Verdict::Settle(State::Completed));
    assert!(journal.settle(&taken.claim(), done).await.unwrap());
}
