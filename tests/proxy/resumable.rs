//! Runs that stream and are kept while they do.

use std::sync::Arc;

use agentainer::agent::spec::{OnDisconnect, Persistence, PersistenceMode};
use agentainer::event_stream::Place;
use agentainer::journal::policy::Verdict;
use agentainer::journal::{
    EventJournal as _, EventPage, Record, RecordId, RequestJournal as _, Settlement, State,
    claim_of,
};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Semaphore;

use crate::agents::{Agent, raw};
use crate::kept::{self, Kept, accepted};
use crate::rig::{PATIENCE, Whole, bounded, read_until};

const ASYNC: [(&str, &str); 2] = [("prefer", "respond-async"), ("accept-encoding", "gzip")];

/// An agent that sends these pieces behind a head, each when it is told to; then it ends the connection. What it was asked is kept.
async fn streaming(
    media: &'static str,
    pieces: Vec<Vec<u8>>,
    go: Arc<Semaphore>,
) -> (Agent, Arc<Mutex<String>>) {
    let asked: Arc<Mutex<String>> = Arc::default();
    let kept = Arc::clone(&asked);
    let agent = raw(move |mut stream, _| {
        let (pieces, go, asked) = (pieces.clone(), Arc::clone(&go), Arc::clone(&kept));
        async move {
            *asked.lock() = read_until(&mut stream, "\r\n\r\n").await;
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-type: {media}\r\nconnection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            for piece in pieces {
                go.acquire().await.unwrap().forget();
                stream.write_all(&piece).await.unwrap();
            }
            go.acquire().await.unwrap().forget();
        }
    })
    .await;
    (agent, asked)
}

fn resumable(kept: &Kept, agent: &Agent, resumable: bool) {
    kept.rig
        .publish("users", &[("c", agent.address)], |publication| {
            publication.persistence = Some(Persistence {
                resumable,
                ..Persistence::default()
            });
        });
}

async fn page(kept: &Kept, id: &RecordId) -> EventPage {
    kept.journal
        .events(id, Place::default(), 100)
        .await
        .unwrap()
}

fn told(page: &EventPage) -> Vec<(u64, String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let all = page.events.iter();
    all.map(|event| (event.place.number, text(&event.lines), text(&event.id)))
        .collect()
}

#[tokio::test]
async fn the_events_of_a_run_in_the_background_are_kept_as_they_come() {
    let kept = Kept::new();
    let pieces: [&[u8]; 5] = [
        b": hello\n\nid: 7\ndata: a\r",
        b"\n\r\ndata: b\ndata:",
        b" \xc3",
        b"\xa9\n\n",
        b"event: x\ndata: never ended",
    ];
    let go = Arc::new(Semaphore::new(0));
    let pieces = pieces.map(<[u8]>::to_vec).to_vec();
    let (agent, asked) =
        streaming("text/event-stream; charset=utf-8", pieces, Arc::clone(&go)).await;
    resumable(&kept, &agent, true);
    let answer = kept.post("/agent/users/run", &ASYNC, b"").await;
    let id = accepted(&answer);
    let expected = [
        (1, "data: a\n".to_owned(), "7".to_owned()),
        (2, "data: b\ndata: \u{e9}\n".to_owned(), "7".to_owned()),
    ];
    for count in [0, 1, 1, 2, 2] {
        go.add_permits(1);
        bounded(async {
            while page(&kept, &id).await.events.len() < count {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let now = told(&page(&kept, &id).await);
        assert_eq!(now, expected[..now.len()]);
        let record = kept.journal.get(&id).await.unwrap().unwrap();
        assert!(!record.standing.state.is_settled(), "while it runs");
    }
    go.add_permits(1);
    let record = kept.settled(&answer).await;
    assert_eq!(record.standing.state, State::Completed);
    assert_eq!(told(&page(&kept, &id).await), expected);
    assert!(
        asked.lock().contains("accept-encoding: identity\r\n"),
        "packed events cannot be told apart"
    );
    let whole = kept.journal.answer_body(&id).await.unwrap().unwrap();
    assert!(
        whole.starts_with(b": hello\n\nid: 7"),
        "the answer itself is byte for byte"
    );
}

#[tokio::test]
async fn a_gap_stands_for_an_event_that_is_too_long_and_for_those_beyond_the_bound() {
    let kept = Kept::new();
    let go = Arc::new(Semaphore::new(0));
    let long = |length: usize| format!("data: {}\n\n", "x".repeat(length)).into_bytes();
    let mut pieces = vec![
        b"data: a\n\n".to_vec(),
        long(300 << 10),
        b"data: c\n\n".to_vec(),
    ];
    pieces.extend((0..30).map(|_| long(200 << 10)));
    let count = pieces.len();
    let (agent, _) = streaming("text/event-stream", pieces, Arc::clone(&go)).await;
    resumable(&kept, &agent, true);
    let answer = kept.post("/agent/users/run", &ASYNC, b"").await;
    let id = accepted(&answer);
    for number in 1..=count as u64 {
        go.add_permits(1);
        bounded(async {
            while page(&kept, &id).await.last.number < number {
                tokio::task::yield_now().await;
            }
        })
        .await;
        if number == 3 {
            let numbers: Vec<u64> = page(&kept, &id)
                .await
                .events
                .iter()
                .map(|one| one.place.number)
                .collect();
            assert_eq!(numbers, [1, 3]);
        }
    }
    go.add_permits(1);
    kept.settled(&answer).await;
    let page = page(&kept, &id).await;
    let bytes: usize = page.events.iter().map(|event| event.lines.len()).sum();
    assert!((3 << 20..=4 << 20).contains(&bytes), "{bytes}");
    assert_eq!(
        page.events.last().unwrap().place,
        page.last,
        "the latest are there"
    );
    assert_eq!(page.last.number, count as u64);
}

#[tokio::test]
async fn events_are_kept_only_where_that_is_wanted_and_of_a_stream_of_events() {
    for (media, wanted) in [("text/event-stream", false), ("text/plain", true)] {
        let kept = Kept::new();
        let go = Arc::new(Semaphore::new(0));
        let pieces = vec![b"data: a\n\n".to_vec()];
        let (agent, asked) = streaming(media, pieces, Arc::clone(&go)).await;
        resumable(&kept, &agent, wanted);
        let answer = kept.post("/agent/users/run", &ASYNC, b"").await;
        let id = accepted(&answer);
        go.add_permits(2);
        let record = kept.settled(&answer).await;
        assert_eq!(record.standing.state, State::Completed);
        assert_eq!(page(&kept, &id).await, EventPage::default(), "{media}");
        assert_eq!(asked.lock().contains("accept-encoding: gzip"), !wanted);
    }
}

/// The same agent, whose requests are written first and answered at once.
fn at_once(kept: &Kept, agent: &Agent, policy: Option<OnDisconnect>) {
    kept.rig
        .publish("users", &[("c", agent.address)], |publication| {
            publication.proxy.on_disconnect = policy;
            publication.persistence = Some(Persistence {
                resumable: true,
                mode: PersistenceMode::Always,
                ..Persistence::default()
            });
        });
}

/// A run whose events pass to its client and are kept.
struct Run {
    kept: Kept,
    go: Arc<Semaphore>,
    asked: Arc<Mutex<String>>,
    id: RecordId,
}

impl Run {
    /// Its first piece is there.
    async fn begin(pieces: &[&str], policy: Option<OnDisconnect>) -> (Self, Response<Incoming>) {
        let kept = Kept::new();
        let go = Arc::new(Semaphore::new(1));
        let pieces = pieces.iter().map(|piece| piece.as_bytes().to_vec());
        let (agent, asked) =
            streaming("text/event-stream", pieces.collect(), Arc::clone(&go)).await;
        at_once(&kept, &agent, policy);
        let request = Request::post("/agent/users/run")
            .header("host", "box:8081")
            .header("accept-encoding", "gzip")
            .body(Full::<Bytes>::default())
            .unwrap();
        let response = kept.rig.begin(request).await;
        let head = Whole {
            status: response.status(),
            headers: response.headers().clone(),
            text: String::new(),
            trailers: None,
        };
        assert_eq!(head.status, 200);
        let id = kept::id(&head);
        assert_eq!(head.header("x-agentainer-request-id"), Some(id.as_str()));
        let run = Self {
            kept,
            go,
            asked,
            id,
        };
        run.keeps(1).await;
        (run, response)
    }

    /// Waits for so many events to be kept.
    async fn keeps(&self, count: usize) {
        bounded(async {
            while page(&self.kept, &self.id).await.events.len() < count {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    async fn record(&self) -> Record {
        self.kept.journal.get(&self.id).await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn the_events_of_an_answer_are_kept_as_they_pass_and_its_client_is_told_where() {
    let first = ": hi\n\nid: 7\ndata: a\r\n\r\n";
    let (run, mut response) = Run::begin(&[first, "data: b\n\ndata"], None).await;
    let frame = bounded(response.body_mut().frame()).await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), first, "as it was made");
    assert!(run.record().await.live, "while it runs");
    run.go.add_permits(2);
    let rest = bounded(response.into_body().collect()).await.unwrap();
    assert_eq!(rest.to_bytes(), "data: b\n\ndata");
    let record = run.kept.ends(&run.id).await;
    assert_eq!(record.standing.state, State::Completed, "{record:?}");
    let all = [
        (1, "data: a\n".to_owned(), "7".to_owned()),
        (2, "data: b\n".to_owned(), "7".to_owned()),
    ];
    let told = told(&page(&run.kept, &run.id).await);
    assert_eq!(told, all, "once it is settled they are all there");
    let fields = &record.answer.unwrap().fields;
    assert!(
        fields.iter().all(|field| field.0 != "location"),
        "the address is no part of what is kept: {fields:?}"
    );
    let asked = run.asked.lock().to_lowercase();
    assert!(asked.contains("accept-encoding: identity\r\n"), "{asked}");
}

#[tokio::test]
async fn a_client_that_goes_may_come_back_unless_the_spec_says_otherwise() {
    for (policy, state) in [
        (None, State::Completed),
        (Some(OnDisconnect::Continue), State::Completed),
        (Some(OnDisconnect::Cancel), State::Cancelled),
    ] {
        let (run, response) = Run::begin(&["data: a\n\n", "data: b\n\n"], policy).await;
        drop(response);
        if state == State::Completed {
            run.go.add_permits(1);
            run.keeps(2).await;
            run.go.add_permits(1);
        }
        let record = run.kept.ends(&run.id).await;
        assert_eq!(record.standing.state, state, "{record:?}");
        run.kept.rig.until_in_flight("c", 0).await;
    }
}

#[tokio::test]
async fn what_goes_on_for_nobody_ends_when_it_is_cancelled() {
    let (run, response) = Run::begin(&["data: a\n\n", "data: b\n\n"], None).await;
    drop(response);
    run.kept.journal.cancel(&run.id, "a test").await.unwrap();
    run.kept.rig.until_in_flight("c", 0).await;
}

#[tokio::test]
async fn a_run_that_lost_its_claim_goes_on_for_its_client_and_changes_no_record() {
    let (run, response) = Run::begin(&["data: a\n\n", "data: b\n\n"], None).await;
    // As another server does that takes this one for dead.
    let settlement = Settlement {
        verdict: Verdict::Settle(State::Unknown),
        reason: "another one's".to_owned(),
        answer: None,
    };
    let claim = claim_of(&run.record().await);
    assert!(run.kept.journal.settle(&claim, settlement).await.unwrap());
    run.go.add_permits(2);
    let all = bounded(response.into_body().collect()).await.unwrap();
    assert_eq!(all.to_bytes(), "data: a\n\ndata: b\n\n");
    run.kept.rig.until_in_flight("c", 0).await;
    // All that was to be told is.
    bounded(run.kept.rig.proxy.drain(PATIENCE)).await;
    let record = run.record().await;
    assert_eq!(
        (record.standing.state, record.reason.as_str()),
        (State::Unknown, "another one's")
    );
    assert_eq!(page(&run.kept, &run.id).await.events.len(), 1);
}

#[tokio::test]
async fn an_answer_that_is_none_of_events_has_no_address() {
    let kept = Kept::new();
    let go = Arc::new(Semaphore::new(2));
    let (agent, _) = streaming("application/json", vec![b"{}".to_vec()], go).await;
    at_once(&kept, &agent, None);
    let answer = kept.post("/agent/users/run", &[], b"").await;
    assert_eq!((answer.status.as_u16(), &answer.text[..]), (200, "{}"));
    assert_eq!(answer.header("location"), None);
    assert_eq!(answer.header("cache-control"), None);
    kept.settle_all().await;
    let id = kept.records().await[0].id.clone();
    assert_eq!(page(&kept, &id).await, EventPage::default());
}
