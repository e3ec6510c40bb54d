//! A delivery whose end the journal does not hear for a long time: nobody takes its server for a dead one meanwhile.

use std::time::Duration;

use agentainer::agent::Uid;
use agentainer::agent::spec::Persistence;
use agentainer::journal::{
    Admission, Begin, Bounds, Capability, Head, RecordId, RequestJournal as _, State,
};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tokio::time::Instant;

use crate::agents::{Agent, Recorder};
use crate::fake_journal::{FakeJournal, Fault};
use crate::rig::Rig;
use crate::world::{delivers, keeps};

/// A server on this journal, at which calls of these names fail until then.
fn server(
    journal: &FakeJournal,
    fails: fn(&str) -> bool,
    within: (Duration, Duration),
    agent: &Agent,
) -> Rig {
    let journal = journal.another();
    let begin = Instant::now();
    journal.on_call(move |name| {
        let now = begin.elapsed();
        (now > within.0 && now < within.1 && fails(name)).then_some(Fault::Before)
    });
    serves(journal, agent)
}

fn serves(journal: FakeJournal, agent: &Agent) -> Rig {
    let rig = keeps(journal);
    let at: Vec<_> = agent.place.iter().collect();
    let at: Vec<_> = at.iter().map(|(name, at)| (name.as_str(), *at)).collect();
    rig.publish("users", &at, |publication| {
        publication.uid = Uid("life".to_owned());
        publication.explanation = "it is down".to_owned();
        publication.persistence = Some(Persistence::default());
    });
    delivers(&rig);
    rig
}

/// What becomes of a request that may not be repeated, and how often its agent got it. The first server can deliver it, the second
/// looks for what lapsed.
fn becomes(fails: fn(&str) -> bool, first: (u64, u64), second: (u64, u64)) -> (State, usize) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let within = |(from, to)| (Duration::from_millis(from), Duration::from_millis(to));
        let journal = FakeJournal::default();
        let recorder = Recorder::new();
        let mut agent = Agent::new("users", &recorder);
        let watching = server(&journal, fails, within(second), &agent);
        let request = Request::post("/agent/users/pay").header("host", "box");
        let request = request
            .header("x-do", "slow")
            .body(Full::new(Bytes::from_static(b"5")));
        let answer = watching.ask(request.unwrap()).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        agent.start().await;
        let _delivering = server(&journal, fails, within(first), &agent);
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let state = journal.records()[0].standing.state;
            if state.is_settled() {
                return (state, recorder.all().len());
            }
            assert!(recorder.now() < 300_000, "{state}");
        }
    })
}

#[test]
fn law_3_a_claim_is_kept_while_the_journal_does_not_hear_how_its_delivery_ended() {
    let end = becomes(|name| name == "settle", (0, 60_000), (0, 0));
    assert_eq!(end, (State::Completed, 1));
}

#[test]
fn law_3_after_an_outage_of_the_journal_who_lives_is_heard_before_what_lapsed_is_given_up() {
    // The one that delivered it comes back two seconds later.
    let end = becomes(|name| name != "take", (100, 42_000), (100, 39_900));
    assert_eq!(end, (State::Completed, 1));
}

/// The first end of each look is refused, as that of a record is which Redis does not understand.
#[tokio::test(start_paused = true)]
async fn what_is_refused_of_one_that_lapsed_holds_up_no_other() {
    let journal = FakeJournal::default();
    for _ in 0..2 {
        let lapses = Admission {
            id: RecordId::random(),
            uid: Uid("life".to_owned()),
            agent: "users".to_owned(),
            head: Head {
                method: "POST".to_owned(),
                target: "/".to_owned(),
                fields: Vec::new(),
                repeatable: false,
            },
            body: Bytes::new(),
            capability: Capability::shown("secret").hash(),
            key: None,
            ttl: Duration::from_secs(3600),
            bounds: Bounds {
                max_queue: 100,
                max_bytes: 1 << 20,
            },
            begin: Begin::Live(Duration::from_millis(1)),
            callback: None,
        };
        journal.admit(lapses).await.unwrap();
    }
    let watching = journal.another();
    let mut refused: Option<Instant> = None;
    watching.on_call(move |name| {
        let of_this_look = refused.is_some_and(|at| at.elapsed() < Duration::from_secs(1));
        let refuses = name == "settle" && !of_this_look;
        refuses.then(|| {
            refused = Some(Instant::now());
            Fault::Refused
        })
    });
    let agent = Agent::new("users", &Recorder::new());
    let _watching = serves(watching, &agent);
    let begun = Instant::now();
    let unknown = |journal: &FakeJournal| {
        let all = journal.records();
        all.iter()
            .any(|record| record.standing.state == State::Unknown)
    };
    while !unknown(&journal) {
        assert!(begun.elapsed() < Duration::from_secs(60), "it is held up");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
