//! A run's events for whoever has its address: from any server, cut and taken up again wherever, and what a client is told of what it
//! cannot have.

use std::sync::Arc;
use std::time::Duration;

use agentainer::event_stream::Place;
use agentainer::journal::policy::Verdict;
use agentainer::journal::redis::{RedisJournal, RedisJournalOptions};
use agentainer::journal::{
    Addition, Admission, Begin, Bounds, Capability, Claim, EventJournal, Head, News, RecordId,
    RequestJournal, Settlement, State, Take,
};
use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderValue, StatusCode};

use crate::harness::{Api, request};
use crate::redis_child::RedisChild;

/// An event as a client has it: type, data and id.
type Got = (String, String, String);

struct Streamed {
    /// Two servers; the first has the run.
    servers: [Api; 2],
    journal: Arc<RedisJournal>,
    news: Arc<News>,
    id: RecordId,
    path: String,
    _redis: RedisChild,
}

impl Streamed {
    async fn new() -> Self {
        let redis = RedisChild::start(&["--appendonly", "yes", "--appendfsync", "always"]);
        let journal =
            || Arc::new(RedisJournal::new(&redis.url(), RedisJournalOptions::default()).unwrap());
        let ours = journal();
        let news = Arc::new(News::default());
        let server = |journal: Arc<RedisJournal>, news: &Arc<News>| {
            Api::with(|state| {
                state.requests = Some((Arc::clone(&journal) as _, Arc::clone(news)));
                state.events = Some(journal);
            })
        };
        let servers = [
            server(Arc::clone(&ours), &news),
            server(journal(), &Arc::default()),
        ];
        let (id, capability) = (RecordId::random(), Capability::random());
        let admission = Admission {
            id: id.clone(),
            uid: agentainer::agent::Uid("life".to_owned()),
            agent: "users".to_owned(),
            head: Head {
                method: "POST".to_owned(),
                target: "/run".to_owned(),
                fields: Vec::new(),
                repeatable: true,
            },
            body: Bytes::new(),
            capability: capability.hash(),
            key: None,
            ttl: Duration::from_secs(60),
            bounds: Bounds {
                max_queue: 10,
                max_bytes: 1 << 20,
            },
            begin: Begin::Pending,
            callback: None,
        };
        ours.admit(admission).await.unwrap();
        Self {
            servers,
            journal: ours,
            news,
            path: format!("/results/{id}.{}/events", capability.reveal()),
            id,
            _redis: redis,
        }
    }

    async fn claim(&self) -> Claim {
        let take = Take {
            uid: agentainer::agent::Uid("life".to_owned()),
            most: 1,
            concurrency: 1,
            strict: false,
            lease: Duration::from_secs(60),
        };
        loop {
            if let Some(one) = self.journal.take(&take).await.unwrap().claimed.pop() {
                return one.claim();
            }
        }
    }

    /// An event of the run; `None`: one that cannot be kept.
    async fn event(&self, claim: &Claim, number: u64, data: Option<&str>) {
        self.named(claim, number, data, &format!("own:{number}"))
            .await;
    }

    /// The same with this id of the agent's.
    async fn named(&self, claim: &Claim, number: u64, data: Option<&str>, own: &str) {
        let lines = data.map(|data| Bytes::from(format!("event: n\ndata: {data}\n")));
        let own = Bytes::copy_from_slice(own.as_bytes());
        let addition = Addition {
            events: lines
                .map(|lines| (number, lines, own))
                .into_iter()
                .collect(),
            last: number,
            most: 1 << 20,
        };
        assert!(self.journal.append(claim, &addition).await.unwrap());
        self.news.streamed(&self.id);
    }

    async fn settle(&self, claim: &Claim, verdict: Verdict) {
        let settlement = Settlement {
            verdict,
            reason: "a test".to_owned(),
            answer: None,
        };
        assert!(self.journal.settle(claim, settlement).await.unwrap());
        self.news.settled(&self.id);
    }

    async fn ask(&self, server: usize, last: Option<&str>) -> http::Response<axum::body::Body> {
        let mut asked = request("GET", &self.path, None, None);
        if let Some(last) = last {
            let last = HeaderValue::from_bytes(last.as_bytes()).unwrap();
            asked.headers_mut().insert("last-event-id", last);
        }
        self.servers[server].raw(asked).await
    }

    /// Reads until the stream's end, or until so many bytes came, when the connection is cut. `true`: the end of the stream.
    async fn read(&self, server: usize, client: &mut Client, most: usize) -> bool {
        let last = client.last.clone();
        let answer = self.ask(server, last.as_deref()).await;
        if answer.status() == StatusCode::NO_CONTENT {
            return true;
        }
        assert_eq!(answer.status(), StatusCode::OK);
        let mut text = Vec::new();
        let mut pieces = answer.into_body().into_data_stream();
        let ended = loop {
            let next = tokio::time::timeout(Duration::from_secs(20), pieces.next());
            match next.await.expect("more of the stream, or its end") {
                Some(piece) => text.extend_from_slice(&piece.unwrap()),
                None => break true,
            }
            if text.len() >= most {
                // A cut falls anywhere, within an event too.
                text.truncate(most);
                break false;
            }
        };
        client.hears(&text);
        ended
    }
}

/// What an `EventSource` does: an event counts when its empty line came, and its id is what is sent next.
#[derive(Default)]
struct Client {
    last: Option<String>,
    got: Vec<Got>,
}

impl Client {
    fn hears(&mut self, text: &[u8]) {
        let text = String::from_utf8_lossy(text);
        let whole = text.rfind("\n\n").map_or("", |end| &text[..end + 2]);
        for block in whole.split_terminator("\n\n") {
            let of = |name: &str| {
                let values = block.lines().filter_map(|line| line.strip_prefix(name));
                let values: Vec<&str> = values.collect();
                values.join("\n")
            };
            let id = of("id: ");
            if !id.is_empty() {
                self.last = Some(id.clone());
                self.got.push((of("event: "), of("data: "), id));
            }
        }
    }

    fn kinds(&self) -> Vec<(&str, &str)> {
        let all = self.got.iter();
        all.map(|(kind, data, _)| (kind.as_str(), data.as_str()))
            .collect()
    }
}

/// A generator that is the same each time (Knuth's, of 64 bits).
fn chance(state: &mut u64, below: u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % below
}

#[tokio::test]
async fn law_2_a_client_that_is_cut_off_fifty_times_misses_nothing_and_gets_nothing_twice() {
    let streamed = Streamed::new().await;
    let claim = streamed.claim().await;
    let count = 400_u64;
    let writes = async {
        for number in 1..=count {
            streamed
                .event(&claim, number, Some(&number.to_string()))
                .await;
        }
        streamed
            .settle(&claim, Verdict::Settle(State::Completed))
            .await;
    };
    let reads = async {
        let mut client = Client::default();
        let mut seed = 7;
        for cut in 0..50 {
            let (server, most) = (
                chance(&mut seed, 2) as usize,
                3 + chance(&mut seed, 400) as usize,
            );
            assert!(!streamed.read(server, &mut client, most).await, "cut {cut}");
        }
        while !streamed
            .read(chance(&mut seed, 2) as usize, &mut client, usize::MAX)
            .await
        {}
        client
    };
    let ((), client) = tokio::join!(writes, reads);
    let numbers: Vec<u64> = client
        .got
        .iter()
        .filter(|(kind, ..)| kind == "n")
        .map(|(_, data, _)| data.parse().unwrap())
        .collect();
    assert_eq!(numbers, (1..=count).collect::<Vec<_>>());
    let (kind, data, id) = client.got.last().unwrap();
    let end: serde_json::Value = serde_json::from_str(data).unwrap();
    assert_eq!(
        (kind.as_str(), &end["status"]),
        ("agentainer.end", &"completed".into())
    );
    assert_eq!(*id, format!("{0}-{count}.end{0}", claim.token));
    assert_eq!(client.got.len() as u64, count + 1, "and nothing else");
    assert_eq!(
        client.got[0].2,
        format!("{}-1:own:1", claim.token),
        "the agent's id is seen"
    );
    for server in [0, 1] {
        let again = streamed.ask(server, Some(id)).await;
        assert_eq!(
            again.status(),
            StatusCode::NO_CONTENT,
            "an EventSource stays away"
        );
    }
}

#[tokio::test]
async fn a_stream_is_live_from_its_beginning_to_its_end_on_every_server() {
    let streamed = Streamed::new().await;
    let answer = streamed.ask(1, None).await;
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    assert_eq!(answer.headers()["cache-control"], "no-store");
    assert_eq!(answer.headers()["referrer-policy"], "no-referrer");
    let mut pieces = answer.into_body().into_data_stream();
    let mut next = async || {
        let next = tokio::time::timeout(Duration::from_secs(20), pieces.next());
        let piece = next.await.expect("in time")?;
        Some(String::from_utf8(piece.unwrap().to_vec()).unwrap())
    };
    assert_eq!(next().await.unwrap(), ":\n\n", "at once");
    let claim = streamed.claim().await;
    streamed.event(&claim, 1, Some("a")).await;
    assert_eq!(
        next().await.unwrap(),
        "event: n\ndata: a\nid: 1-1:own:1\n\n"
    );
    streamed.event(&claim, 2, Some("b")).await;
    assert!(next().await.unwrap().contains("data: b"));
    streamed
        .settle(&claim, Verdict::Settle(State::Failed))
        .await;
    let end = next().await.unwrap();
    assert!(
        end.contains("agentainer.end") && end.contains("\"failed\""),
        "{end}"
    );
    assert_eq!(next().await, None);
}

#[tokio::test]
async fn what_is_lost_is_a_gap_and_a_run_anew_says_so() {
    let streamed = Streamed::new().await;
    let claim = streamed.claim().await;
    streamed.event(&claim, 1, None).await;
    streamed.event(&claim, 2, Some("b")).await;
    streamed.event(&claim, 4, Some("d")).await;
    streamed
        .settle(&claim, Verdict::Retry(Duration::ZERO))
        .await;
    let again = streamed.claim().await;
    streamed.event(&again, 1, Some("A")).await;
    streamed.event(&again, 3, None).await;
    streamed
        .settle(&again, Verdict::Settle(State::Completed))
        .await;
    let mut client = Client::default();
    assert!(streamed.read(0, &mut client, usize::MAX).await);
    let end = client.got.pop().unwrap();
    assert_eq!(end.0, "agentainer.end");
    assert_eq!(
        client.kinds(),
        [
            ("agentainer.gap", r#"{"lost":1}"#),
            ("n", "b"),
            ("agentainer.gap", r#"{"lost":1}"#),
            ("n", "d"),
            ("agentainer.restart", r#"{"run":2}"#),
            ("n", "A"),
            ("agentainer.gap", r#"{"lost":2}"#),
        ]
    );
    // From each of these places it goes on with the next.
    for (at, (_, _, id)) in client.got.iter().enumerate() {
        let mut later = Client {
            last: Some(id.clone()),
            got: Vec::new(),
        };
        streamed.read(1, &mut later, usize::MAX).await;
        assert_eq!(later.got.pop().unwrap(), end);
        assert_eq!(later.got, client.got[at + 1..], "behind {id}");
    }
}

#[tokio::test]
async fn what_a_client_makes_up_is_refused_and_a_replayed_run_goes_on_behind_its_end() {
    let streamed = Streamed::new().await;
    for wrong in ["x", "1", "1-x", "own", "1764537600000-5"] {
        let answer = streamed.ask(0, Some(wrong)).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{wrong}");
    }
    let stranger = streamed
        .path
        .replace(streamed.id.as_str(), RecordId::random().as_str());
    let answer = streamed.servers[0]
        .raw(request("GET", &stranger, None, None))
        .await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);

    let claim = streamed.claim().await;
    streamed.event(&claim, 1, Some("a")).await;
    streamed.settle(&claim, Verdict::Settle(State::Dead)).await;
    let mut client = Client::default();
    assert!(streamed.read(0, &mut client, usize::MAX).await);
    streamed.journal.requeue(&streamed.id).await.unwrap();
    let again = streamed.claim().await;
    streamed.event(&again, 1, Some("b")).await;
    streamed
        .settle(&again, Verdict::Settle(State::Completed))
        .await;
    client.got.clear();
    assert!(streamed.read(0, &mut client, usize::MAX).await);
    let kinds = client.kinds();
    assert_eq!(
        kinds[..2],
        [("agentainer.restart", r#"{"run":2}"#), ("n", "b")]
    );
    let place = Place { run: 2, number: 1 };
    assert_eq!(client.got[2].2, place.end(2));
}

#[tokio::test]
async fn law_2_whoever_read_the_answer_itself_goes_on_from_the_agents_own_id() {
    let streamed = Streamed::new().await;
    let claim = streamed.claim().await;
    for number in 1..=200 {
        streamed
            .event(&claim, number, Some(&number.to_string()))
            .await;
    }
    // One that looks like ours, as Redis makes them.
    streamed
        .named(&claim, 201, Some("201"), "1764537600000-5")
        .await;
    streamed.event(&claim, 202, Some("202")).await;
    streamed
        .settle(&claim, Verdict::Settle(State::Completed))
        .await;
    for (last, next) in [
        ("own:1", 2),
        ("own:200", 201),
        ("1764537600000-5", 202),
        // Or by counting.
        ("1-3", 4),
    ] {
        let mut client = Client {
            last: Some(last.to_owned()),
            got: Vec::new(),
        };
        assert!(streamed.read(1, &mut client, usize::MAX).await);
        assert_eq!(client.got[0].1, next.to_string(), "behind {last}");
        assert_eq!(client.got.len(), 203 - next + 1);
    }
}

#[tokio::test]
async fn law_2_an_agents_own_ids_are_its_own_even_if_they_look_like_ours() {
    let streamed = Streamed::new().await;
    let claim = streamed.claim().await;
    // Of the first no id is known; then they count by fives, from a place behind their own.
    streamed.named(&claim, 1, Some("1"), "").await;
    for number in 2..=40 {
        let own = format!("{}-{}", number % 2, 5 * number);
        streamed
            .named(&claim, number, Some(&number.to_string()), &own)
            .await;
    }
    streamed
        .settle(&claim, Verdict::Settle(State::Completed))
        .await;
    for (last, next) in [
        ("1-35", 8),
        ("0-20", 5),
        ("1-1", 2),
        ("1-7:1-35", 8),
        ("1-35:1-175", 36),
        ("1-40:0-200", 41),
    ] {
        let mut client = Client {
            last: Some(last.to_owned()),
            got: Vec::new(),
        };
        assert!(streamed.read(1, &mut client, usize::MAX).await);
        assert_eq!(client.got.len(), 41 - next + 1, "behind {last}");
    }
    // What could be a place and is none of its ids.
    for wrong in ["0-5", "1-36", "1-41"] {
        let answer = streamed.ask(0, Some(wrong)).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{wrong}");
    }
}

#[tokio::test]
async fn who_comes_back_before_its_event_is_kept_waits_for_it_while_the_run_lives() {
    let streamed = Streamed::new().await;
    let claim = streamed.claim().await;
    streamed.event(&claim, 1, Some("a")).await;
    for (last, number) in [("own:2", 2), ("1-3", 3)] {
        let (answer, ()) = tokio::join!(streamed.ask(1, Some(last)), async {
            streamed.event(&claim, number, Some("kept late")).await;
        });
        assert_eq!(answer.status(), StatusCode::OK, "{last}");
    }
    // It is lost.
    streamed.event(&claim, 4, None).await;
    let answer = streamed.ask(0, Some("own:4")).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers()["retry-after"], "2");
    let (answer, ()) = tokio::join!(
        streamed.ask(0, Some("own:4")),
        streamed.settle(&claim, Verdict::Settle(State::Completed))
    );
    assert_eq!(
        answer.status(),
        StatusCode::BAD_REQUEST,
        "it will never come"
    );
    let mut client = Client {
        last: Some("1-4".to_owned()),
        got: Vec::new(),
    };
    assert!(streamed.read(1, &mut client, usize::MAX).await);
    assert_eq!(client.got.len(), 1, "the end alone");
}
