//! Runs that stream and are kept while they do.

use std::sync::Arc;

use agentainer::agent::spec::Persistence;
use agentainer::event_stream::Place;
use agentainer::journal::{EventJournal as _, EventPage, RecordId, RequestJournal as _, State};
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Semaphore;

use crate::agents::{Agent, raw};
use crate::kept::{Kept, accepted};
use crate::rig::{bounded, read_until};

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
