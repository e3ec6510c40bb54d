//! What every `RequestJournal` promises.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::time::Duration;

use agentainer::agent::Uid;
use agentainer::journal::policy::Verdict;
use agentainer::journal::{
    Admission, Admitted, Answer, AnswerHead, Begin, Bound, Bounds, Capability, Claim, Field, Head,
    JournalError, Key, RecordId, RequestJournal, Settlement, State, Take, Taken,
};
use bytes::Bytes;

pub const LEASE: Duration = Duration::from_secs(60);
/// Room in the journal that no case fills by chance.
const ROOM: u64 = 1 << 20;

/// A journal under test.
pub trait Fixture {
    type Journal: RequestJournal;
    /// The journal, with so much room.
    fn journal(&self, memory: u64) -> Self::Journal;
    /// Nothing is left in it.
    fn is_empty(&self);
}

pub fn uid() -> Uid {
    Uid("life".to_owned())
}

pub fn request(body: impl Into<Bytes>) -> Admission {
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
        key: None,
        ttl: Duration::from_secs(3600),
        bounds: Bounds {
            max_queue: 100,
            max_bytes: 1 << 20,
        },
        begin: Begin::Pending,
        callback: None,
    }
}

pub async fn take(journal: &impl RequestJournal, most: u64, strict: bool) -> Taken {
    let take = Take {
        uid: uid(),
        most,
        concurrency: 4,
        strict,
        lease: LEASE,
    };
    journal.take(&take).await.unwrap()
}

pub fn ends(verdict: Verdict) -> Settlement {
    Settlement {
        verdict,
        reason: "a test".to_owned(),
        answer: None,
    }
}

pub fn answered(verdict: Verdict, body: Vec<u8>) -> Settlement {
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

pub async fn state(journal: &impl RequestJournal, id: &RecordId) -> State {
    journal.get(id).await.unwrap().unwrap().standing.state
}

pub async fn a_request_comes_back_byte_for_byte_whether_short_or_long(of: &impl Fixture) {
    let journal = of.journal(ROOM);
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

pub async fn the_earliest_is_taken_first_and_no_more_than_may_be_in_delivery(of: &impl Fixture) {
    let journal = of.journal(ROOM);
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
    assert_eq!(backlogs[0].admitted, 6);
    assert_eq!(backlogs[0].ended, [(State::Completed, 1)]);
}

pub async fn in_strict_order_a_retry_holds_up_all_behind_it_and_an_unknown_end_does_not(
    of: &impl Fixture,
) {
    let journal = of.journal(ROOM);
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

pub async fn law_3_who_lost_a_claim_settles_nothing(of: &impl Fixture) {
    let journal = of.journal(ROOM);
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

pub async fn a_claim_that_is_not_renewed_lapses_and_is_settled_once(of: &impl Fixture) {
    let journal = of.journal(ROOM);
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

fn live(body: &'static str) -> Admission {
    Admission {
        begin: Begin::Live(LEASE),
        ..request(body)
    }
}

/// The claim under which a live request is forwarded.
fn live_claim(admission: &Admission) -> Claim {
    Claim {
        id: admission.id.clone(),
        token: Begin::Live(LEASE).standing().token,
    }
}

pub async fn a_live_request_begins_as_claimed_and_takes_no_place_of_a_delivery(of: &impl Fixture) {
    let journal = of.journal(ROOM);
    let (first, waits) = (live("1"), request("2"));
    journal.admit(first.clone()).await.unwrap();
    journal.admit(waits.clone()).await.unwrap();
    let record = journal.get(&first.id).await.unwrap().unwrap();
    assert!(record.live);
    assert_eq!(record.standing, first.begin.standing());
    let queued = take(&journal, 9, true).await.claimed;
    assert_eq!(queued.len(), 1, "live requests hold nothing up");
    assert_eq!(queued[0].record.id, waits.id);
    let claim = live_claim(&first);
    assert!(journal.renew(&claim, LEASE).await.unwrap());
    assert!(take(&journal, 9, false).await.claimed.is_empty());
    let backlog = &journal.backlogs().await.unwrap()[0];
    assert_eq!(backlog.count(&[State::Claimed]), 2);

    // Nothing could be sent: it waits in its place, and is one like the others from then on.
    let given_back = ends(Verdict::Release);
    assert!(journal.settle(&claim, given_back).await.unwrap());
    let record = journal.get(&first.id).await.unwrap().unwrap();
    assert_eq!((record.live, record.standing.attempts), (false, 0));
    let taken = take(&journal, 1, false).await.claimed.remove(0);
    assert_eq!(
        (taken.record.id.clone(), &taken.body[..]),
        (first.id, &b"1"[..])
    );
    assert!(!taken.record.live);
    assert!(
        !journal
            .settle(&claim, ends(Verdict::Release))
            .await
            .unwrap()
    );
    let busy = Take {
        uid: uid(),
        most: 9,
        concurrency: 2,
        strict: false,
        lease: LEASE,
    };
    journal.admit(request("3")).await.unwrap();
    assert!(journal.take(&busy).await.unwrap().claimed.is_empty());
}

pub async fn a_live_request_is_bounded_as_others_are_and_lapses_as_they_do(of: &impl Fixture) {
    let journal = of.journal(ROOM);
    let bounds = Bounds {
        max_queue: 1,
        max_bytes: 1 << 20,
    };
    let short = Admission {
        begin: Begin::Live(Duration::from_millis(1)),
        bounds,
        ..request("x")
    };
    journal.admit(short.clone()).await.unwrap();
    let second = Admission {
        bounds,
        ..live("y")
    };
    assert!(matches!(
        journal.admit(second).await,
        Err(JournalError::Full(Bound::Queue))
    ));
    let lapsed = loop {
        let lapsed = journal.lapsed().await.unwrap();
        if !lapsed.is_empty() {
            break lapsed;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(lapsed[0].id, short.id);
    let done = answered(Verdict::Settle(State::Completed), b"z".to_vec());
    assert!(journal.settle(&live_claim(&short), done).await.unwrap());
    assert!(journal.lapsed().await.unwrap().is_empty());
}

fn keyed(scope: &str, request: &str) -> Admission {
    let key = Key {
        scope: scope.to_owned(),
        request: request.to_owned(),
        salt: "salt".to_owned(),
        replaces: None,
    };
    Admission {
        key: Some(key),
        ..live("x")
    }
}

pub async fn of_two_requests_with_one_key_one_is_kept_and_the_key_lives_as_long_as_it(
    of: &impl Fixture,
) {
    let journal = of.journal(ROOM);
    let twins: Vec<_> = (0..10).map(|_| keyed("key", "request")).collect();
    let admitted = twins.iter().map(|one| journal.admit(one.clone()));
    let admitted = futures::future::join_all(admitted).await;
    let admitted: Vec<_> = admitted.into_iter().map(Result::unwrap).collect();
    let kept: Vec<_> = (0..10).filter(|n| admitted[*n] == Admitted::Kept).collect();
    let [winner] = kept[..] else {
        panic!("one: {admitted:?}")
    };
    let winner = &twins[winner];
    let known = |id: &RecordId, same| Admitted::Known {
        id: id.clone(),
        same,
    };
    let lost = admitted.iter().filter(|one| **one != Admitted::Kept);
    assert!(lost.clone().all(|one| *one == known(&winner.id, true)));
    let again = journal.admit(winner.clone()).await.unwrap();
    assert_eq!(again, Admitted::Kept, "the same once more is the same");
    let record = journal.get(&winner.id).await.unwrap().unwrap();
    assert_eq!(record.salt.as_deref(), Some("salt"));

    let other = journal.admit(keyed("key", "other")).await.unwrap();
    assert_eq!(other, known(&winner.id, false));
    let elsewhere = journal.admit(keyed("another", "other")).await.unwrap();
    assert_eq!(elsewhere, Admitted::Kept);
    let stranger = Admission {
        uid: Uid("another life".to_owned()),
        ..keyed("key", "other")
    };
    assert_eq!(journal.admit(stranger).await.unwrap(), Admitted::Kept);

    // Whoever names the record that it saw there takes the key from it, once.
    let replacing = || {
        let mut admission = keyed("key", "other");
        admission.key.as_mut().unwrap().replaces = Some(winner.id.clone());
        admission
    };
    let next = replacing();
    assert_eq!(journal.admit(next.clone()).await.unwrap(), Admitted::Kept);
    let late = journal.admit(replacing()).await.unwrap();
    assert_eq!(late, known(&next.id, true));

    // The one without its key goes, and the key stays; then with its record it goes too.
    for one in [winner, &next] {
        let known_still = journal.admit(keyed("key", "other")).await.unwrap();
        assert_eq!(known_still, known(&next.id, true));
        journal.cancel(&one.id, "").await.unwrap();
        journal.forget(&one.id).await.unwrap();
    }
    let anew = journal.admit(keyed("key", "third")).await.unwrap();
    assert_eq!(anew, Admitted::Kept);
}

pub async fn cancelling_cuts_off_and_forgetting_leaves_nothing(of: &impl Fixture) {
    let journal = of.journal(ROOM);
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
    of.is_empty();
}

pub async fn what_waited_for_too_long_expires_and_is_forgotten_later(of: &impl Fixture) {
    let journal = of.journal(ROOM);
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

pub async fn each_bound_refuses_and_what_is_settled_makes_room(of: &impl Fixture) {
    let journal = of.journal(10_000);
    let full = |result: Result<Admitted, JournalError>| match result {
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

pub async fn the_oldest_that_waits_may_be_the_last_that_is_due(of: &impl Fixture) {
    let journal = of.journal(ROOM);
    let first = request("1");
    journal.admit(first.clone()).await.unwrap();
    let first = journal.get(&first.id).await.unwrap().unwrap();
    // One that was admitted later, by the journal's clock.
    let second = loop {
        let next = request("2");
        journal.admit(next.clone()).await.unwrap();
        let next = journal.get(&next.id).await.unwrap().unwrap();
        if next.admitted > first.admitted {
            break next;
        }
        journal.cancel(&next.id, "").await.unwrap();
    };
    for (claimed, due) in take(&journal, 2, false).await.claimed.iter().zip([2, 1]) {
        let later = ends(Verdict::Retry(LEASE * due));
        assert!(journal.settle(&claimed.claim(), later).await.unwrap());
    }
    let backlog = journal.backlogs().await.unwrap().remove(0);
    assert_eq!(backlog.count(&[State::Retrying]), 2);
    assert_eq!(backlog.oldest, Some(first.admitted));
    journal.cancel(&first.id, "").await.unwrap();
    let backlog = journal.backlogs().await.unwrap().remove(0);
    assert_eq!(backlog.oldest, Some(second.admitted));
}
