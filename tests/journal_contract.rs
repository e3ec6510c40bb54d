//! One contract suite for every `RequestJournal`: the fake that simulations use, and the real thing in Redis.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs
)]

#[path = "common/journal.rs"]
mod contract;
#[path = "common/fake_journal.rs"]
mod fake_journal;
#[path = "common/redis_child.rs"]
mod redis_child;

use std::slice::from_ref;
use std::time::Duration;

use agentainer::event_stream::Place;
use agentainer::journal::policy::Verdict;
use agentainer::journal::redis::{RedisJournal, RedisJournalOptions};
use agentainer::journal::{
    Addition, Admission, Admitted, Begin, Bound, Bounds, CallEnd, CallbackJournal, CallbackState,
    Claim, EventJournal, EventPage, JournalError, RecordId, RequestJournal, State, Take,
};
use agentainer::keys::Keys;
use agentainer::redis_link::LinkError;
use bytes::Bytes;
use contract::{Fixture, LEASE, answered, ends, request, state, take, uid};
use fake_journal::FakeJournal;
use futures::FutureExt as _;
use redis_child::RedisChild;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};

const DURABLE: [&str; 6] = [
    "--appendonly",
    "yes",
    "--appendfsync",
    "always",
    "--no-appendfsync-on-rewrite",
    "no",
];

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

/// The bytes that it takes, by its own count.
fn held(redis: &RedisChild) -> u64 {
    let sums: String = redis.run(&["HGET", "test:journal-2:agents", ""]);
    sums.split('\t').next().unwrap().parse().unwrap()
}

struct InRedis(RedisChild);

impl Fixture for InRedis {
    type Journal = RedisJournal;
    fn journal(&self, memory: u64) -> RedisJournal {
        with_memory(&self.0, memory)
    }
    fn is_empty(&self) {
        let mut left: Vec<String> = self.0.run(&["KEYS", "*"]);
        left.sort_unstable();
        assert_eq!(left, ["test:journal-2:agents"]);
        let fields: Vec<String> = self.0.run(&["HKEYS", "test:journal-2:agents"]);
        assert_eq!(fields, [""], "what is counted of all");
        assert_eq!(held(&self.0), 0);
    }
}

struct Fake(parking_lot::Mutex<Option<FakeJournal>>);

impl Fixture for Fake {
    type Journal = FakeJournal;
    fn journal(&self, memory: u64) -> FakeJournal {
        let journal = FakeJournal::new(memory);
        *self.0.lock() = Some(journal.clone());
        journal
    }
    fn is_empty(&self) {
        let journal = self.0.lock();
        assert!(journal.as_ref().unwrap().records().is_empty());
    }
}

macro_rules! contract {
    ($($case:ident)*) => {
        mod fake {
            $(#[tokio::test] async fn $case() {
                super::contract::$case(&super::Fake(Default::default())).await;
            })*
        }
        mod redis {
            $(#[tokio::test] async fn $case() {
                let redis = super::RedisChild::start(&super::DURABLE);
                super::contract::$case(&super::InRedis(redis)).await;
            })*
        }
    };
}

contract! {
    a_request_comes_back_byte_for_byte_whether_short_or_long
    the_earliest_is_taken_first_and_no_more_than_may_be_in_delivery
    in_strict_order_a_retry_holds_up_all_behind_it_and_an_unknown_end_does_not
    law_3_who_lost_a_claim_settles_nothing
    a_claim_that_is_not_renewed_lapses_and_is_settled_once
    a_live_request_begins_as_claimed_and_takes_no_place_of_a_delivery
    a_live_request_is_bounded_as_others_are_and_lapses_as_they_do
    of_two_requests_with_one_key_one_is_kept_and_the_key_lives_as_long_as_it
    cancelling_cuts_off_and_forgetting_leaves_nothing
    what_waited_for_too_long_expires_and_is_forgotten_later
    each_bound_refuses_and_what_is_settled_makes_room
    the_oldest_that_waits_may_be_the_last_that_is_due
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

/// A Redis that is not ours may bring back the first part of a transaction that was torn when its disk was full: all but the record.
#[tokio::test]
async fn law_2_a_record_that_came_to_be_by_half_hides_no_other() {
    let redis = RedisChild::start(&DURABLE);
    let journal = journal(&redis);
    let (whole, half, last) = (request("whole"), request("half"), request("last"));
    let ids = [&whole, &half, &last].map(|admission| admission.id.clone());
    for admission in [whole, half, last] {
        journal.admit(admission).await.unwrap();
    }
    let gone: i64 = redis.run(&["DEL", &format!("test:journal-2:record:{}", ids[1])]);
    assert_eq!(gone, 1);
    let listed = journal.list(&uid(), &[], None, 10).await.unwrap();
    let listed: Vec<&RecordId> = listed.iter().map(|record| &record.id).collect();
    assert_eq!(listed, [&ids[2], &ids[0]], "the newest first");
    assert_eq!(journal.get(&ids[1]).await.unwrap(), None);
    let taken = take(&journal, 10, false).await.claimed;
    let taken: Vec<&RecordId> = taken.iter().map(|taken| &taken.record.id).collect();
    assert_eq!(taken, [&ids[0], &ids[2]]);
}

/// Sends a signal to the Redis.
fn signal(redis: &RedisChild, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(redis.pid()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

#[tokio::test]
async fn who_did_not_hear_what_it_took_has_it_with_the_next_call() {
    let redis = RedisChild::start(&DURABLE);
    let options = RedisJournalOptions {
        keys: Keys::new("test:"),
        deadline: Duration::from_secs(1),
        ..RedisJournalOptions::default()
    };
    let journal = RedisJournal::new(&redis.url(), options).unwrap();
    let (first, second) = (request("1"), request("2"));
    let one = Take {
        uid: uid(),
        most: 1,
        concurrency: 1,
        strict: false,
        lease: LEASE,
    };
    assert!(journal.take(&one).await.unwrap().claimed.is_empty());
    journal.admit(first.clone()).await.unwrap();
    signal(&redis, Signal::STOP);
    assert!(journal.take(&one).await.is_err());
    signal(&redis, Signal::CONT);
    journal.admit(second.clone()).await.unwrap();
    assert_eq!(state(&journal, &first.id).await, State::Claimed);
    let taken = journal.take(&one).await.unwrap().claimed;
    let [taken] = &taken[..] else {
        panic!("{taken:?}")
    };
    assert_eq!(taken.record.id, first.id);
    assert_eq!(taken.record.standing.attempts, 1);
    assert!(journal.take(&one).await.unwrap().claimed.is_empty(), "once");
    let done = ends(Verdict::Settle(State::Completed));
    assert!(journal.settle(&taken.claim(), done).await.unwrap());
    let next = journal.take(&one).await.unwrap().claimed;
    assert_eq!(next[0].record.id, second.id);
}

#[tokio::test]
async fn law_3_a_redis_without_memory_takes_no_claim_away_and_hears_how_it_ended() {
    let redis = RedisChild::start(&DURABLE);
    let journal = journal(&redis);
    let admissions: Vec<_> = (0..4).map(|_| request("x")).collect();
    for admission in &admissions {
        journal.admit(admission.clone()).await.unwrap();
    }
    let taken = take(&journal, 3, false).await.claimed;
    let _: String = redis.run(&["CONFIG", "SET", "maxmemory", "1"]);
    let refused = journal.admit(request("y")).await;
    assert!(matches!(refused, Err(JournalError::Link(_))), "{refused:?}");
    for claimed in &taken {
        assert!(journal.renew(&claimed.claim(), LEASE).await.unwrap());
    }
    let verdicts = [
        Verdict::Settle(State::Completed),
        Verdict::Settle(State::Failed),
        Verdict::Retry(LEASE),
    ];
    for (claimed, verdict) in taken.iter().zip(verdicts) {
        let end = answered(verdict, b"done".to_vec());
        assert!(journal.settle(&claimed.claim(), end).await.unwrap());
    }
    let last = take(&journal, 1, false).await.claimed.remove(0);
    assert_eq!(last.record.id, admissions[3].id);
    journal.cancel(&last.record.id, "").await.unwrap();
    journal.forget(&last.record.id).await.unwrap();
}

#[tokio::test]
async fn of_many_at_once_each_hears_what_came_of_its_own() {
    let redis = RedisChild::start(&DURABLE);
    let journal = with_memory(&redis, 1 << 30);
    let admissions: Vec<_> = (0..300_u32).map(|n| request(n.to_string())).collect();
    let admitted = admissions.iter().map(|one| journal.admit(one.clone()));
    let admitted = futures::future::join_all(admitted).await;
    let (kept, refused): (Vec<_>, Vec<_>) = admissions
        .iter()
        .zip(admitted)
        .partition(|(_, said)| matches!(said, Ok(Admitted::Kept)));
    assert_eq!((kept.len(), refused.len()), (100, 200), "maxQueue is 100");
    for (one, said) in refused {
        assert!(matches!(said, Err(JournalError::Full(Bound::Queue))));
        assert_eq!(journal.get(&one.id).await.unwrap(), None);
    }
    let listed = journal.list(&uid(), &[], None, 1000).await.unwrap();
    assert_eq!(listed.len(), 100);
    assert!(listed.is_sorted_by(|a, b| a.sequence > b.sequence));
    let claims = Take {
        uid: uid(),
        most: 90,
        concurrency: 90,
        strict: false,
        lease: LEASE,
    };
    let taken = journal.take(&claims).await.unwrap().claimed;
    assert_eq!(taken.len(), 90);
    let lost = |n: usize| n.is_multiple_of(3);
    let ended = taken.iter().enumerate().map(|(n, one)| {
        let mut claim = one.claim();
        claim.token += u64::from(lost(n));
        let end = answered(Verdict::Settle(State::Completed), one.body.to_vec());
        let journal = &journal;
        async move { journal.settle(&claim, end).await.unwrap() }
    });
    let ended = futures::future::join_all(ended).await;
    for (n, (one, held)) in taken.iter().zip(ended).enumerate() {
        assert_eq!(held, !lost(n));
        let answer = journal.answer_body(&one.record.id).await.unwrap();
        assert_eq!(answer, held.then(|| one.body.clone()));
    }
    let before = Some(listed[9].sequence);
    let older = journal.list(&uid(), &[], before, 1000).await.unwrap();
    assert_eq!(older.len(), 90, "wherever they stand");
    let backlog = journal.backlogs().await.unwrap().remove(0);
    let count = |state| backlog.count(&[state]);
    let counts = (count(State::Pending), count(State::Claimed));
    assert_eq!((counts, count(State::Completed)), ((10, 30), 60));
}

/// Otherwise its claim might be ended before it is there.
#[tokio::test]
async fn an_admission_that_nobody_waits_for_any_more_is_not_written() {
    let redis = RedisChild::start(&DURABLE);
    let journal = journal(&redis);
    journal.admit(request("first")).await.unwrap();
    let given_up = request("given up");
    assert!(journal.admit(given_up.clone()).now_or_never().is_none());
    journal.admit(request("last")).await.unwrap();
    assert_eq!(journal.get(&given_up.id).await.unwrap(), None);
    let listed = journal.list(&uid(), &[], None, 9).await.unwrap();
    assert_eq!(listed.len(), 2);
}

/// Whoever ended it asks again: while Redis hangs, copies must not pile up.
#[tokio::test]
async fn an_end_that_nobody_waits_for_any_more_is_not_written() {
    let redis = RedisChild::start(&DURABLE);
    let journal = journal(&redis);
    for _ in 0..2 {
        journal.admit(request("x")).await.unwrap();
    }
    let mut claimed = take(&journal, 2, false).await.claimed;
    let (other, taken) = (claimed.remove(0), claimed.remove(0));
    let end = || ends(Verdict::Settle(State::Failed));
    assert!(journal.settle(&other.claim(), end()).await.unwrap());
    let given_up = journal.settle(&taken.claim(), end()).now_or_never();
    assert!(given_up.is_none());
    journal.admit(request("y")).await.unwrap();
    assert_eq!(state(&journal, &taken.record.id).await, State::Claimed);
    assert!(journal.settle(&taken.claim(), end()).await.unwrap());
}

/// How often a command was carried out since this was asked last.
fn runs(redis: &RedisChild, command: &str) -> u64 {
    let told: String = redis.run(&["INFO", "commandstats"]);
    let of = format!("cmdstat_{command}:calls=");
    let line = told.lines().find_map(|line| line.strip_prefix(&of));
    let runs = line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap());
    let _: String = redis.run(&["CONFIG", "RESETSTAT"]);
    runs
}

/// Records that began as unknown.
async fn fill(journal: &RedisJournal, many: usize) {
    let one = Admission {
        begin: Begin::Unknown,
        ..request("x")
    };
    let all = (0..many).map(|_| Admission {
        id: RecordId::random(),
        ..one.clone()
    });
    for said in futures::future::join_all(all.map(|one| journal.admit(one))).await {
        said.unwrap();
    }
}

#[tokio::test]
async fn a_list_of_some_states_reads_no_whole_record_and_holds_nobody_up() {
    let redis = RedisChild::start(&DURABLE);
    let journal = with_memory(&redis, 1 << 30);
    let (first, last) = (request("first"), request("last"));
    journal.admit(first.clone()).await.unwrap();
    journal.cancel(&first.id, "").await.unwrap();
    fill(&journal, 2500).await;
    journal.admit(last.clone()).await.unwrap();
    runs(&redis, "get");
    let list = async |states: &[State], before| {
        let listed = journal.list(&uid(), states, before, 9).await.unwrap();
        let ids: Vec<RecordId> = listed.into_iter().map(|record| record.id).collect();
        ids
    };
    assert_eq!(list(&[State::Cancelled], None).await, from_ref(&first.id));
    assert_eq!(runs(&redis, "get"), 0);
    assert_eq!(list(&[State::Cancelled], None).await, from_ref(&first.id));
    assert!(runs(&redis, "evalsha") > 1, "one script looks at 2000");
    let both = [State::Pending, State::Cancelled];
    assert_eq!(list(&both, None).await, [last.id.clone(), first.id.clone()]);
    assert_eq!(list(&both, Some(2502)).await, [first.id]);
    runs(&redis, "getrange");
    assert_eq!(list(&[State::Pending], None).await, [last.id]);
    assert_eq!(runs(&redis, "getrange"), 1, "where none of it can be");
    assert!(list(&[State::Dead], None).await.is_empty());
    assert_eq!(runs(&redis, "getrange"), 0, "there is none");
}

/// One agent's spec harms no other's requests.
#[tokio::test]
async fn a_time_that_no_calendar_has_is_as_good_as_the_last_that_has_13_digits() {
    let redis = RedisChild::start(&DURABLE);
    let journal = journal(&redis);
    let ages = [1 << 45, 1 << 50, u64::MAX].map(|ms| Admission {
        ttl: Duration::from_millis(ms),
        ..request("x")
    });
    let mut all = ages.to_vec();
    all.push(request("y"));
    let admitted = all.iter().map(|one| journal.admit(one.clone()));
    for said in futures::future::join_all(admitted).await {
        assert!(matches!(said, Ok(Admitted::Kept)), "{said:?}");
    }
    for taken in take(&journal, 9, false).await.claimed {
        let end = ends(Verdict::Settle(State::Completed));
        assert!(journal.settle(&taken.claim(), end).await.unwrap());
    }
    let listed = journal.list(&uid(), &[], None, 9).await.unwrap();
    let untils = listed.into_iter().map(|record| record.until);
    let (old, young): (Vec<_>, Vec<_>) =
        untils.partition(|until| until.as_millisecond() == 9_999_999_999_999);
    assert_eq!((old.len(), young.len()), (3, 1));
}

#[tokio::test]
async fn what_cannot_be_read_holds_up_no_other() {
    let redis = RedisChild::start(&DURABLE);
    let journal = journal(&redis);
    let (torn, whole) = (request("torn"), request("whole"));
    journal.admit(torn.clone()).await.unwrap();
    journal.admit(whole.clone()).await.unwrap();
    let taken = Take {
        lease: Duration::ZERO,
        uid: uid(),
        most: 2,
        concurrency: 2,
        strict: false,
    };
    let taken = journal.take(&taken).await.unwrap().claimed;
    let name = format!("test:journal-2:record:{}", torn.id);
    let text: String = redis.run(&["GET", &name]);
    let two_lines: Vec<&str> = text.split_inclusive('\n').take(2).collect();
    let _: String = redis.run(&["SET", &name, &two_lines.concat()]);
    let lapsed = loop {
        let lapsed = journal.lapsed().await.unwrap();
        if !lapsed.is_empty() {
            break lapsed;
        }
    };
    assert_eq!(lapsed[0].id, whole.id);
    assert!(matches!(
        journal.get(&torn.id).await,
        Err(JournalError::Corrupt(_))
    ));
    let end = || ends(Verdict::Settle(State::Failed));
    let ended = taken.iter().map(|one| one.claim()).collect::<Vec<_>>();
    let ended = ended.iter().map(|claim| journal.settle(claim, end()));
    let held: Vec<bool> = futures::future::join_all(ended)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(held, [false, true]);
}

#[tokio::test]
async fn only_what_is_settled_makes_room_and_as_much_of_it_as_it_takes() {
    let redis = RedisChild::start(&DURABLE);
    let journal = with_memory(&redis, 400_000);
    let waits = request("waits");
    journal.admit(waits.clone()).await.unwrap();
    // As if a transaction had been torn.
    let mark = "09999999999998";
    let _: i64 = redis.run(&["ZADD", "test:journal-2:times", mark, waits.id.as_str()]);
    let all = (0..180).map(|_| Admission {
        begin: Begin::Live(LEASE),
        bounds: Bounds {
            max_queue: 1000,
            max_bytes: 1 << 30,
        },
        ..request("x")
    });
    let all: Vec<_> = all.collect();
    let ends = async |one: &Admission| {
        journal.admit(one.clone()).await.unwrap();
        let claim = Claim {
            id: one.id.clone(),
            token: 1,
        };
        let end = ends(Verdict::Settle(State::Completed));
        journal.settle(&claim, end).await.unwrap()
    };
    let ended = futures::future::join_all(all.iter().map(ends)).await;
    assert!(ended.into_iter().all(|held| held));
    journal.admit(request(vec![1; 380_000])).await.unwrap();
    let oldest = journal.get(&all[0].id).await.unwrap();
    assert_eq!(oldest, None);
    let more = journal.admit(request(vec![1; 380_000])).await;
    assert!(matches!(more, Err(JournalError::Full(Bound::Memory))));
    assert_eq!(state(&journal, &waits.id).await, State::Pending);
    let score: String = redis.run(&["ZSCORE", "test:journal-2:times", waits.id.as_str()]);
    assert!(score.starts_with('1') && score.len() == 14, "{score}");
}

/// The number behind a line's first byte; none at the end.
async fn number(reads: &mut (impl tokio::io::AsyncBufRead + Unpin)) -> Option<usize> {
    let mut line = String::new();
    reads.read_line(&mut line).await.ok()?;
    line.get(1..)?.trim_end().parse().ok()
}

/// A Redis that carries out what it is asked, but loses the connection before its answer, and loads its file when that is asked again.
async fn answers_too_late(listener: tokio::net::TcpListener) {
    let mut lost = false;
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (reads, mut writes) = stream.split();
        let mut reads = tokio::io::BufReader::new(reads);
        while let Some(many) = number(&mut reads).await {
            let mut words = Vec::new();
            for _ in 0..many {
                let mut word = vec![0; number(&mut reads).await.unwrap() + 2];
                reads.read_exact(&mut word).await.unwrap();
                words.push(word);
            }
            let answer = match &words[0][..] {
                b"HELLO\r\n" => "%1\r\n$5\r\nproto\r\n:3\r\n",
                b"CLIENT\r\n" => "+OK\r\n",
                _ if !lost => {
                    lost = true;
                    break;
                }
                _ => "-LOADING Redis is loading the dataset in memory\r\n",
            };
            writes.write_all(answer.as_bytes()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn law_2_what_may_have_been_carried_out_is_never_called_refused() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let redis = tokio::spawn(answers_too_late(listener));
    let options = RedisJournalOptions {
        in_memory: true,
        ..RedisJournalOptions::default()
    };
    let journal = RedisJournal::new(&url, options).unwrap();
    let said = async || match journal.admit(request("x")).await {
        Err(JournalError::Link(error)) => error,
        other => panic!("{other:?}"),
    };
    let first = said().await;
    assert!(
        matches!(first, LinkError::Unreachable { .. }),
        "it may be kept: {first:?}"
    );
    let second = said().await;
    assert!(
        matches!(second, LinkError::Refused { .. }),
        "it is surely not kept: {second:?}"
    );
    redis.abort();
}

fn called_back() -> Admission {
    Admission {
        callback: Some("https://hooks.example.org/s3cret".to_owned()),
        ..request("x")
    }
}

#[tokio::test]
async fn a_callback_is_due_when_its_record_is_settled_and_one_has_it_at_a_time() {
    let redis = RedisChild::start(&DURABLE);
    let journal = journal(&redis);
    let admission = called_back();
    journal.admit(admission.clone()).await.unwrap();
    journal.admit(request("told nobody")).await.unwrap();
    let record = journal.get(&admission.id).await.unwrap().unwrap();
    let callback = record.callback.clone().unwrap();
    assert_eq!(
        (callback.state, callback.calls),
        (CallbackState::Unsettled, 0)
    );
    assert_eq!(callback.url, "https://hooks.example.org/s3cret");
    assert!(
        !format!("{record:?}").contains("s3cret"),
        "it may be a secret"
    );
    assert!(journal.calls(9, LEASE).await.unwrap().calls.is_empty());
    for claimed in take(&journal, 9, false).await.claimed {
        let done = ends(Verdict::Settle(State::Completed));
        assert!(journal.settle(&claimed.claim(), done).await.unwrap());
    }
    let taken = journal.calls(9, LEASE).await.unwrap();
    let [first] = &taken.calls[..] else {
        panic!("{taken:?}")
    };
    assert_eq!(first.record.id, admission.id);
    assert_eq!(first.record.standing.state, State::Completed);
    assert_eq!(first.record.callback.as_ref().unwrap().calls, 1);
    let again = journal.calls(9, LEASE).await.unwrap();
    assert!(again.calls.is_empty());
    assert!(
        again.next.unwrap() <= LEASE,
        "who took it may be gone by then"
    );

    let soon = CallEnd::Again(Duration::ZERO);
    assert!(
        journal
            .called(&admission.id, first.token, soon, "503")
            .await
            .unwrap()
    );
    let second = journal.calls(9, LEASE).await.unwrap().calls.remove(0);
    let callback = second.record.callback.clone().unwrap();
    assert_eq!((callback.calls, callback.reason.as_str()), (2, "503"));
    let late = journal.called(&admission.id, first.token, CallEnd::Done, "late");
    assert!(!late.await.unwrap(), "who lost a call ends none");
    for said in ["once", "twice"] {
        let done = journal.called(&admission.id, second.token, CallEnd::Done, said);
        assert!(done.await.unwrap());
    }
    let record = journal.get(&admission.id).await.unwrap().unwrap();
    assert_eq!(record.callback.unwrap().state, CallbackState::Done);
    let none = journal.calls(9, LEASE).await.unwrap();
    assert!(none.calls.is_empty() && none.next.is_none());
    journal.forget(&admission.id).await.unwrap();
    let stranger = RecordId::random();
    assert!(
        !journal
            .called(&stranger, 1, CallEnd::Done, "")
            .await
            .unwrap()
    );
}

#[tokio::test]
async fn a_call_whose_caller_is_gone_is_due_again_and_a_replay_takes_it_back() {
    let redis = RedisChild::start(&DURABLE);
    let journal = journal(&redis);
    let unknown = Admission {
        begin: Begin::Unknown,
        ..called_back()
    };
    journal.admit(unknown.clone()).await.unwrap();
    let lost = journal.calls(9, Duration::from_millis(1)).await.unwrap();
    assert_eq!(lost.calls.len(), 1);
    let again = loop {
        let taken = journal.calls(9, LEASE).await.unwrap().calls;
        if let Some(again) = taken.into_iter().next() {
            break again;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(again.record.callback.as_ref().unwrap().calls, 2);
    journal.requeue(&unknown.id).await.unwrap();
    let late = journal.called(&unknown.id, again.token, CallEnd::Done, "");
    assert!(!late.await.unwrap());
    let claimed = take(&journal, 1, false).await.claimed.remove(0);
    let done = ends(Verdict::Settle(State::Completed));
    journal.settle(&claimed.claim(), done).await.unwrap();
    let late = journal.called(&unknown.id, again.token, CallEnd::Done, "");
    assert!(!late.await.unwrap(), "nor for the next end");
    let told = journal.calls(9, LEASE).await.unwrap().calls.remove(0);
    assert_eq!(told.record.standing.state, State::Completed);
    assert_eq!(told.record.callback.unwrap().calls, 1);
}

#[tokio::test]
async fn what_somebody_shall_be_told_of_makes_no_room_before() {
    let redis = RedisChild::start(&DURABLE);
    let journal = with_memory(&redis, 10_000);
    let admission = called_back();
    journal.admit(admission.clone()).await.unwrap();
    let taken = take(&journal, 1, false).await.claimed.remove(0);
    let end = answered(Verdict::Settle(State::Completed), vec![1; 6000]);
    journal.settle(&taken.claim(), end).await.unwrap();
    let big = request(vec![1; 6000]);
    assert!(matches!(
        journal.admit(big.clone()).await,
        Err(JournalError::Full(Bound::Memory))
    ));
    let call = journal.calls(9, LEASE).await.unwrap().calls.remove(0);
    journal
        .called(&admission.id, call.token, CallEnd::GivenUp, "")
        .await
        .unwrap();
    journal.admit(big).await.unwrap();
    assert_eq!(journal.get(&admission.id).await.unwrap(), None);
    let left: Vec<String> = redis.run(&["KEYS", "test:*:callback*"]);
    assert!(left.is_empty());
}

fn addition(events: &[(u64, &str)], most: u64) -> Addition {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    Addition {
        events: events
            .iter()
            .map(|(number, lines)| (*number, bytes(lines), bytes("own")))
            .collect(),
        last: events.last().map_or(0, |(number, _)| *number),
        most,
    }
}

async fn numbers(journal: &RedisJournal, id: &RecordId, behind: Place) -> Vec<u64> {
    let page = journal.events(id, behind, 100).await.unwrap();
    page.events.iter().map(|event| event.place.number).collect()
}

#[tokio::test]
async fn events_are_kept_once_under_their_claim_and_gone_with_their_record() {
    let redis = RedisChild::start(&DURABLE);
    let journal = journal(&redis);
    let admission = request("x");
    let id = &admission.id;
    journal.admit(admission.clone()).await.unwrap();
    let begin = Place::default();
    assert_eq!(
        journal.events(id, begin, 9).await.unwrap(),
        EventPage::default()
    );
    let claimed = take(&journal, 1, false).await.claimed.remove(0);
    let claim = claimed.claim();
    let two = addition(&[(1, "data: a\n"), (2, "data: \u{e9}\0\n")], 1 << 20);
    for _ in 0..2 {
        assert!(
            journal.append(&claim, &two).await.unwrap(),
            "said twice is once"
        );
    }
    let page = journal.events(id, begin, 9).await.unwrap();
    assert_eq!(page.events.len(), 2);
    assert_eq!(
        page.last,
        Place {
            run: claim.token,
            number: 2
        }
    );
    assert_eq!(page.events[1].place, page.last);
    assert_eq!(
        (&page.events[1].lines[..], &page.events[1].id[..]),
        ("data: \u{e9}\0\n".as_bytes(), &b"own"[..])
    );
    let more = addition(&[(2, "data: not again\n"), (4, "data: d\n")], 1 << 20);
    assert!(journal.append(&claim, &more).await.unwrap());
    assert_eq!(numbers(&journal, id, page.events[0].place).await, [2, 4]);
    assert_eq!(
        journal.events(id, begin, 2).await.unwrap().events.len(),
        2,
        "a page"
    );
    let stranger = Claim {
        token: claim.token + 1,
        ..claim.clone()
    };
    assert!(
        !journal
            .append(&stranger, &addition(&[(5, "x")], 99))
            .await
            .unwrap()
    );

    assert!(held(&redis) > 1024 + 3 * 64, "they count");
    let retry = ends(Verdict::Retry(Duration::ZERO));
    assert!(journal.settle(&claim, retry).await.unwrap());
    assert!(
        !journal
            .append(&claim, &addition(&[(5, "x")], 99))
            .await
            .unwrap()
    );
    let again = loop {
        if let Some(again) = take(&journal, 1, false).await.claimed.pop() {
            break again.claim();
        }
    };
    assert!(
        journal
            .append(&again, &addition(&[(1, "data: again\n")], 1 << 20))
            .await
            .unwrap()
    );
    let all = journal.events(id, begin, 9).await.unwrap();
    let runs: Vec<u64> = all.events.iter().map(|event| event.place.run).collect();
    assert_eq!(runs, [1, 1, 1, 2], "a run anew is behind the one before");
    let done = ends(Verdict::Settle(State::Completed));
    assert!(journal.settle(&again, done).await.unwrap());
    assert_eq!(
        journal.events(id, begin, 9).await.unwrap(),
        all,
        "its end changes nothing"
    );
    journal.forget(id).await.unwrap();
    let left: Vec<String> = redis.run(&["KEYS", "*"]);
    assert_eq!(left, ["test:journal-2:agents"]);
    assert_eq!(held(&redis), 0);
}

#[tokio::test]
async fn the_oldest_events_make_room_for_the_newest_and_for_nobody_elses_requests() {
    let redis = RedisChild::start(&DURABLE);
    let journal = with_memory(&redis, 20_000);
    let (admission, other) = (request("x"), request(vec![1; 4000]));
    journal.admit(other.clone()).await.unwrap();
    let first = take(&journal, 1, false).await.claimed.remove(0);
    let done = answered(Verdict::Settle(State::Completed), vec![1; 4000]);
    assert!(journal.settle(&first.claim(), done).await.unwrap());
    journal.admit(admission.clone()).await.unwrap();
    let claim = take(&journal, 1, false).await.claimed.remove(0).claim();
    let long = "x".repeat(1000);
    for number in 1..=10 {
        let one = addition(&[(number, &long)], 5000);
        assert!(journal.append(&claim, &one).await.unwrap());
    }
    let begin = Place::default();
    assert_eq!(numbers(&journal, &admission.id, begin).await, [7, 8, 9, 10]);
    assert!(
        journal.get(&other.id).await.unwrap().is_some(),
        "within its own bound"
    );
    // All that the journal may have: what is done makes room first, then it is their own.
    for number in 11..=40 {
        let one = addition(&[(number, &long)], 1 << 20);
        assert!(journal.append(&claim, &one).await.unwrap());
    }
    assert_eq!(journal.get(&other.id).await.unwrap(), None);
    let kept = numbers(&journal, &admission.id, begin).await;
    assert_eq!(kept.last(), Some(&40));
    assert!((10..20).contains(&kept.len()), "{kept:?}");
    assert!(held(&redis) <= 20_000, "{}", held(&redis));
    let lost = Addition {
        last: 45,
        ..addition(&[], 1 << 20)
    };
    assert!(journal.append(&claim, &lost).await.unwrap());
    let page = journal.events(&admission.id, begin, 1).await.unwrap();
    assert_eq!(page.last.number, 45, "what could not be kept is counted");
}
