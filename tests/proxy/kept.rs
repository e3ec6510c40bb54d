//! Requests that their agent cannot answer now, on a real Redis: which are kept, what their clients are told, what the agent gets
//! in the end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use agentainer::agent::Uid;
use agentainer::agent::spec::{Persistence, PersistenceMode};
use agentainer::callback::Rules;
use agentainer::front::Limits;
use agentainer::journal::redis::{RedisJournal, RedisJournalOptions};
use agentainer::journal::{
    Admission, Begin, Bounds, News, Record, RecordId, RequestJournal, State,
};
use agentainer::proxy::{Ended, Keeping, Proxy};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::agents::{self, Agent, http};
use crate::redis_child::RedisChild;
use crate::rig::{Rig, Whole, bounded, read_until};

pub const DURABLE: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];
const BINARY: &[u8] = b"\x00\xff\r\n\r\nbinary\x80";

pub struct Kept {
    pub rig: Rig,
    pub journal: Arc<RedisJournal>,
    pub news: Arc<News>,
    shutdown: CancellationToken,
    delivers: tokio::task::JoinHandle<()>,
    pub redis: RedisChild,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Kept {
    pub fn new() -> Self {
        Self::on(RedisChild::start(&DURABLE), |_| Vec::new())
    }

    pub fn on(redis: RedisChild, dead: fn(Vec<Uid>) -> Vec<Uid>) -> Self {
        Self::within(Duration::from_secs(10), redis, dead)
    }

    /// With a Redis that is waited for so long.
    pub fn within(deadline: Duration, redis: RedisChild, dead: fn(Vec<Uid>) -> Vec<Uid>) -> Self {
        Self::built(deadline, redis, dead, |proxy| proxy)
    }

    /// With more done to its proxy.
    pub fn built(
        deadline: Duration,
        redis: RedisChild,
        dead: fn(Vec<Uid>) -> Vec<Uid>,
        more: impl FnOnce(Proxy) -> Proxy,
    ) -> Self {
        let options = RedisJournalOptions {
            deadline,
            ..RedisJournalOptions::default()
        };
        let journal = Arc::new(RedisJournal::new(&redis.url(), options).unwrap());
        let news = Arc::new(News::default());
        let keeping = Keeping {
            journal: Arc::clone(&journal) as _,
            news: Arc::clone(&news),
            in_memory: false,
            events: Some(Arc::clone(&journal) as _),
            callable: Rules::default(),
        };
        let hold = Duration::from_millis(100);
        let rig = Rig::built(hold, Limits::default(), |proxy| {
            more(proxy.keeping(keeping))
        });
        let shutdown = CancellationToken::new();
        let ended: Arc<Ended> = Arc::new(move |uids| Box::pin(std::future::ready(dead(uids))));
        let delivers = tokio::spawn(Arc::clone(&rig.proxy).deliver(ended, shutdown.clone()));
        Self {
            rig,
            journal,
            news,
            shutdown,
            delivers,
            redis,
        }
    }

    /// The server ends, and waits for nothing that is in flight.
    pub async fn end(&mut self) {
        self.shutdown.cancel();
        bounded(&mut self.delivers).await.unwrap();
        self.rig.front.shutdown(Duration::ZERO).await;
        bounded(self.rig.proxy.drain(Duration::ZERO)).await;
    }

    /// The agent is there and nothing of it is.
    pub fn down(&self, agent: &str, change: impl FnOnce(&mut Persistence)) {
        let mut persistence = Persistence::default();
        change(&mut persistence);
        self.rig.publish(agent, &[], |publication| {
            publication.persistence = Some(persistence);
            publication.explanation = "stopped by its spec".to_owned();
        });
    }

    pub fn up(&self, name: &str, agent: &Agent) {
        self.rig.ready(name, &[("c", agent.address)]);
    }

    pub fn up_with(&self, agent: &str, at: SocketAddr, change: impl FnOnce(&mut Persistence)) {
        let mut persistence = Persistence::default();
        change(&mut persistence);
        self.rig.publish(agent, &[("c", at)], |publication| {
            publication.persistence = Some(persistence);
        });
    }

    pub fn kill_redis(&mut self) {
        self.redis.kill();
    }

    pub async fn post(&self, target: &str, headers: &[(&str, &str)], body: &'static [u8]) -> Whole {
        self.send("POST", target, headers, body).await
    }

    pub async fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &'static [u8],
    ) -> Whole {
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .header("host", "box:8081");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = Full::new(Bytes::from_static(body));
        self.rig.ask(request.body(body).unwrap()).await
    }

    pub async fn settled(&self, answer: &Whole) -> Record {
        self.reaches(answer, |record| record.standing.state.is_settled())
            .await
    }

    pub async fn reaches(&self, answer: &Whole, so: impl Fn(&Record) -> bool) -> Record {
        self.comes_to(&id(answer), so).await
    }

    /// A record once it is settled.
    pub async fn ends(&self, id: &RecordId) -> Record {
        self.comes_to(id, |record| record.standing.state.is_settled())
            .await
    }

    /// Waits until all records are.
    pub async fn settle_all(&self) {
        for record in self.records().await {
            self.ends(&record.id).await;
        }
    }

    async fn comes_to(&self, id: &RecordId, so: impl Fn(&Record) -> bool) -> Record {
        bounded(async {
            loop {
                let record = self.journal.get(id).await.unwrap().unwrap();
                if so(&record) {
                    return record;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }

    pub async fn records(&self) -> Vec<Record> {
        let uid = Uid("life".to_owned());
        self.journal.list(&uid, &[], None, 100).await.unwrap()
    }
}

/// The id within the address that was given.
pub fn id(answer: &Whole) -> RecordId {
    let location = answer.header("location").expect("an address");
    let below = location
        .strip_prefix("http://box:8081/results/")
        .unwrap_or_else(|| panic!("{location}"));
    let (id, secret) = below.split_once('.').unwrap();
    assert_eq!(secret.len(), 32, "128 bits");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
    RecordId::parse(id).unwrap()
}

pub fn accepted(answer: &Whole) -> RecordId {
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    let id = id(answer);
    let body: serde_json::Value = serde_json::from_str(&answer.text).unwrap();
    assert_eq!(body["id"], id.as_str());
    assert_eq!(body["status"], "pending");
    assert_eq!(body.get("durability"), None, "it is on disk");
    id
}

pub type Got = Arc<Mutex<Vec<(http::request::Parts, Bytes)>>>;

/// An agent that remembers what it got, and answers with this status.
pub async fn remembering(status: u16) -> (Agent, Got) {
    let got = Got::default();
    let agent = http({
        let got = Arc::clone(&got);
        move |request: Request<hyper::body::Incoming>| {
            let got = Arc::clone(&got);
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                got.lock().push((parts, body));
                let mut response = Response::new(Full::new(Bytes::from_static(b"done")));
                *response.status_mut() = StatusCode::from_u16(status).unwrap();
                response
            }
        }
    })
    .await;
    (agent, got)
}

/// An agent that reads a request with a body and closes.
pub async fn closing() -> Agent {
    agents::raw(|mut stream, agent| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        read_until(&mut stream, "end").await;
        agent.count();
    })
    .await
}

#[tokio::test]
async fn a_request_to_a_stopped_agent_is_kept_and_delivered_byte_for_byte() {
    let kept = Kept::new();
    kept.down("users", |_| {});
    let headers = [
        ("x-odd", "a"),
        ("x-odd", "b, c"),
        ("content-type", "application/octet-stream"),
        ("x-agentainer-attempt", "made up"),
    ];
    let answer = kept
        .post("/agent/users/do%20it?a=1&a=%32&b", &headers, BINARY)
        .await;
    let id = accepted(&answer);
    let (agent, got) = remembering(201).await;
    kept.up("users", &agent);
    let record = kept.settled(&answer).await;
    assert_eq!(record.standing.state, State::Completed, "{record:?}");
    let head = record.answer.unwrap();
    assert_eq!((head.status, head.whole), (201, true));
    let stored = kept.journal.answer_body(&id).await.unwrap().unwrap();
    assert_eq!(stored, &b"done"[..]);

    let got = got.lock();
    let [(head, body)] = &got[..] else {
        panic!("once: {got:?}")
    };
    assert_eq!(head.method, "POST");
    assert_eq!(head.uri, "/do%20it?a=1&a=%32&b");
    assert_eq!(body, BINARY);
    let odd: Vec<_> = head.headers.get_all("x-odd").iter().collect();
    assert_eq!(odd, ["a", "b, c"]);
    assert_eq!(head.headers["host"], "box:8081");
    assert_eq!(head.headers["x-forwarded-prefix"], "/agent/users");
    assert_eq!(head.headers["x-agentainer-attempt"], "1");
    assert_eq!(head.headers["x-agentainer-request-id"], id.as_str());
    assert_eq!(head.headers["content-length"], BINARY.len().to_string());
}

#[tokio::test]
async fn what_only_reads_is_not_kept_nor_what_can_only_be_answered_at_once() {
    let kept = Kept::new();
    kept.down("users", |_| {});
    kept.down("off", |persistence| persistence.mode = PersistenceMode::Off);
    for (method, target, header) in [
        ("GET", "/agent/users/", ("accept", "*/*")),
        ("HEAD", "/agent/users/", ("accept", "*/*")),
        ("OPTIONS", "/agent/users/", ("accept", "*/*")),
        ("GET", "/agent/users/", ("prefer", "wait=1")),
        ("POST", "/agent/off/", ("prefer", "respond-async")),
    ] {
        let answer = kept.send(method, target, &[header], b"").await;
        assert_eq!(answer.status, 503, "{method} {header:?}");
        assert!(answer.header("retry-after").is_some(), "{answer:?}");
    }
    let grpc = [("content-type", "application/grpc")];
    let answer = kept.post("/agent/users/s/m", &grpc, b"x").await;
    assert_eq!(answer.header("grpc-status"), Some("14"), "{answer:?}");
    let answer = kept.post("/agent/nobody/", &[], b"x").await;
    assert_eq!(
        answer.status, 404,
        "never 202 for an agent that does not exist"
    );
    assert!(kept.records().await.is_empty());
}

#[tokio::test]
async fn prefer_respond_async_runs_in_the_background_whatever_the_method() {
    let kept = Kept::new();
    let (agent, got) = remembering(200).await;
    kept.up("users", &agent);
    let asked = [("prefer", "respond-async, handling=lenient")];
    let answer = kept.send("GET", "/agent/users/long", &asked, b"").await;
    accepted(&answer);
    assert_eq!(answer.header("preference-applied"), Some("respond-async"));
    assert_eq!(kept.settled(&answer).await.standing.state, State::Completed);
    assert_eq!(got.lock()[0].0.headers["prefer"], "handling=lenient");

    let asked = [("prefer", "respond-async, wait=10")];
    let answer = kept.post("/agent/users/short", &asked, b"x").await;
    assert_eq!(answer.status, 200, "it came in time: {answer:?}");
    assert_eq!(
        answer.header("preference-applied"),
        Some("respond-async, wait=10")
    );
    let asked = [("prefer", "respond-async, wait=0")];
    kept.down("users", |_| {});
    let answer = kept.post("/agent/users/late", &asked, b"x").await;
    accepted(&answer);
    kept.up("users", &agent);
    assert_eq!(kept.settled(&answer).await.standing.state, State::Completed);
    assert_eq!(got.lock().len(), 3);
}

#[tokio::test]
async fn prefer_wait_holds_a_request_while_its_agent_starts() {
    let kept = Kept::new();
    let (agent, got) = remembering(200).await;
    let starts = || {
        kept.rig
            .publish("users", &[], |publication| publication.starting = true);
    };
    starts();
    let wait = [("prefer", "wait=15")];
    let (answer, ()) = tokio::join!(kept.post("/agent/users/", &wait, b"x"), async {
        // Longer than any request is held that does not ask for it.
        tokio::time::sleep(Duration::from_millis(300)).await;
        kept.up("users", &agent);
    });
    assert_eq!(answer.status, 200, "the answer itself: {answer:?}");
    assert!(kept.records().await.is_empty());
    starts();
    let answer = kept
        .post("/agent/users/", &[("prefer", "wait=0")], b"y")
        .await;
    accepted(&answer);
    kept.up("users", &agent);
    kept.settled(&answer).await;
    assert_eq!(got.lock().len(), 2);
}

#[tokio::test]
async fn bounds_are_told_apart_and_name_their_field() {
    let kept = Kept::new();
    kept.down("users", |persistence| {
        persistence.max_body.bytes = 10;
        persistence.max_queue = 1;
    });
    let long = kept.post("/agent/users/", &[], b"12345678901").await;
    assert_eq!(long.status, 413);
    assert!(long.detail().contains("persistence.maxBody"), "{long:?}");
    accepted(&kept.post("/agent/users/", &[], b"1").await);
    let full = kept.post("/agent/users/", &[], b"2").await;
    assert_eq!(full.status, 429);
    assert!(full.detail().contains("persistence.maxQueue"), "{full:?}");
    assert!(full.header("retry-after").is_some());
    kept.down("users", |persistence| persistence.max_bytes.bytes = 1000);
    let full = kept.post("/agent/users/", &[], b"3").await;
    assert_eq!(full.status, 429);
    assert!(full.detail().contains("persistence.maxBytes"), "{full:?}");
    assert_eq!(kept.records().await.len(), 1);
}

#[tokio::test]
async fn law_2_without_durability_there_is_no_202() {
    let redis = RedisChild::start(&["--appendonly", "yes", "--appendfsync", "everysec"]);
    let mut kept = Kept::on(redis, |_| Vec::new());
    kept.down("users", |_| {});
    let answer = kept.post("/agent/users/", &[], b"x").await;
    assert_eq!(answer.status, 503);
    assert!(answer.detail().contains("appendfsync always"), "{answer:?}");
    assert!(
        answer.text.contains("problem:durability-unavailable"),
        "{answer:?}"
    );
    kept.kill_redis();
    let answer = kept.post("/agent/users/", &[], b"x").await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.header("location"), None);
}

#[tokio::test]
async fn law_3_what_was_sent_and_not_answered_is_kept_as_unknown_and_never_sent_again() {
    let kept = Kept::new();
    let agent = closing().await;
    kept.up("users", &agent);
    let answer = kept.post("/agent/users/pay", &[], b"1 end").await;
    assert_eq!(answer.status, 502, "{answer:?}");
    assert!(
        answer.detail().contains("requests replay users"),
        "{answer:?}"
    );
    let record = kept.settled(&answer).await;
    assert_eq!(record.standing.state, State::Unknown);
    assert_eq!(agent.requests(), 1);

    // By hand it is, with all that it had.
    let (better, got) = remembering(200).await;
    kept.rig.ready("users", &[("d", better.address)]);
    kept.journal.requeue(&record.id).await.unwrap();
    let record = kept
        .reaches(&answer, |record| record.standing.state == State::Completed)
        .await;
    assert_eq!(record.standing.attempts, 2);
    let got = got.lock();
    assert_eq!(got[0].1, "1 end");
    assert_eq!(got[0].0.headers["x-agentainer-attempt"], "2");
}

#[tokio::test]
async fn what_was_sent_and_not_answered_and_is_too_long_to_be_kept_says_so() {
    let kept = Kept::new();
    let agent = closing().await;
    kept.rig
        .publish("users", &[("c", agent.address)], |publication| {
            let mut persistence = Persistence::default();
            persistence.max_body.bytes = 3;
            publication.persistence = Some(persistence);
        });
    let answer = kept.post("/agent/users/", &[], b"1 end").await;
    assert_eq!(answer.status, 502);
    assert!(answer.detail().contains("it is not kept"), "{answer:?}");
    assert_eq!(answer.header("location"), None);
    assert!(kept.records().await.is_empty());
}

#[tokio::test]
async fn with_a_key_what_was_sent_and_not_answered_is_sent_again() {
    let kept = Kept::new();
    let agent = closing().await;
    kept.up("users", &agent);
    let key = [("idempotency-key", "\"k-1\"")];
    let answer = kept.post("/agent/users/pay", &key, b"1 end").await;
    accepted(&answer);
    let (better, got) = remembering(200).await;
    kept.rig.ready("users", &[("d", better.address)]);
    assert_eq!(kept.settled(&answer).await.standing.state, State::Completed);
    let got = got.lock();
    assert_eq!(got[0].0.headers["idempotency-key"], "\"k-1\"");
}

#[tokio::test]
async fn a_request_that_could_not_be_sent_at_all_is_kept() {
    let kept = Kept::new();
    kept.rig.ready("users", &[("c", agents::nobody().await)]);
    let answer = kept.post("/agent/users/", &[], b"x").await;
    accepted(&answer);
    let (agent, got) = remembering(200).await;
    kept.rig.ready("users", &[("d", agent.address)]);
    assert_eq!(kept.settled(&answer).await.standing.state, State::Completed);
    assert_eq!(got.lock()[0].1, "x");
}

#[tokio::test]
async fn law_3_a_servers_error_ends_what_may_not_be_repeated_and_is_kept() {
    let kept = Kept::new();
    kept.down("users", |_| {});
    let answer = kept.post("/agent/users/", &[], b"x").await;
    let (agent, got) = remembering(500).await;
    kept.up("users", &agent);
    let record = kept.settled(&answer).await;
    assert_eq!(record.standing.state, State::Failed);
    assert_eq!(record.answer.unwrap().status, 500);
    assert_eq!(got.lock().len(), 1, "once");
    let body = kept.journal.body(&record.id).await.unwrap();
    assert_eq!(body.unwrap(), "x", "to be sent again by hand");
}

#[tokio::test]
async fn in_strict_order_requests_come_as_they_were_admitted() {
    let kept = Kept::new();
    let strict = |persistence: &mut Persistence| {
        persistence.order = agentainer::agent::spec::Order::Strict;
    };
    kept.down("users", strict);
    let mut answers = Vec::new();
    for n in 0..20 {
        let target = format!("/agent/users/{n}");
        answers.push(kept.post(&target, &[], b"x").await);
    }
    let (agent, got) = remembering(200).await;
    kept.rig
        .publish("users", &[("c", agent.address)], |publication| {
            let mut persistence = Persistence::default();
            strict(&mut persistence);
            publication.persistence = Some(persistence);
        });
    for answer in &answers {
        kept.settled(answer).await;
    }
    let paths: Vec<String> = got
        .lock()
        .iter()
        .map(|(head, _)| head.uri.to_string())
        .collect();
    let wanted: Vec<String> = (0..20).map(|n| format!("/{n}")).collect();
    assert_eq!(paths, wanted);
}

#[tokio::test]
async fn the_requests_of_a_deleted_agent_are_cancelled_and_those_of_a_missing_one_wait() {
    let kept = Kept::on(RedisChild::start(&DURABLE), |uids| {
        uids.into_iter()
            .filter(|uid| uid.as_str() == "life")
            .collect()
    });
    kept.down("users", |_| {});
    kept.rig.publish("other", &[], |publication| {
        publication.uid = Uid("other-life".to_owned());
    });
    let gone = kept.post("/agent/users/", &[], b"x").await;
    let missing = kept.post("/agent/other/", &[], b"x").await;
    for name in ["users", "other"] {
        let name = agentainer::names::AgentName::new(name).unwrap();
        kept.rig.endpoints.withdraw(&name);
    }
    let record = kept.settled(&gone).await;
    assert_eq!(record.standing.state, State::Cancelled);
    assert!(record.reason.contains("deleted"), "{}", record.reason);
    let record = kept.journal.get(&id(&missing)).await.unwrap().unwrap();
    assert_eq!(
        record.standing.state,
        State::Pending,
        "law 6: absence proves nothing"
    );
}

#[tokio::test]
async fn the_address_of_a_result_is_absolute_as_its_client_sees_us_and_kept_as_a_hash_alone() {
    let kept = Kept::new();
    kept.down("users", |_| {});
    let mut seen = std::collections::BTreeSet::new();
    for (fields, base) in [
        (&[][..], "http://box:8081"),
        (
            &[
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "agents.example.org"),
            ],
            "https://agents.example.org",
        ),
    ] {
        let answer = kept.post("/agent/users/a", fields, b"x").await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
        let location = answer.header("location").unwrap();
        let below = location
            .strip_prefix(base)
            .and_then(|rest| rest.strip_prefix("/results/"));
        let (id, secret) = below
            .unwrap_or_else(|| panic!("{location}"))
            .split_once('.')
            .unwrap();
        assert!(secret.len() == 32 && secret.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert!(seen.insert(secret.to_owned()), "a new one each");
        assert!(!answer.text.contains(secret), "the address alone has it");
        let record = kept
            .journal
            .get(&RecordId::parse(id).unwrap())
            .await
            .unwrap()
            .unwrap();
        let stored: String = kept
            .redis
            .run(&["GET", &format!("agentainer:journal-2:record:{id}")]);
        assert!(!stored.contains(secret));
        assert!(stored.contains(&record.capability));
        assert!(!format!("{record:?}").contains(secret));
    }
}

#[tokio::test]
async fn however_many_requests_a_deleted_agent_has_all_are_cancelled() {
    let kept = Kept::on(RedisChild::start(&DURABLE), |uids| uids);
    kept.down("users", |_| {});
    let first = kept.post("/agent/users/", &[], b"x").await;
    let like = kept.journal.get(&id(&first)).await.unwrap().unwrap();
    let more = (0..1100).map(|_| {
        kept.journal.admit(Admission {
            id: RecordId::random(),
            uid: like.uid.clone(),
            agent: like.agent.clone(),
            head: like.head.clone(),
            body: Bytes::new(),
            capability: like.capability.clone(),
            key: None,
            callback: None,
            ttl: Duration::from_secs(60),
            bounds: Bounds {
                max_queue: 2000,
                max_bytes: 64 << 20,
            },
            begin: Begin::Pending,
        })
    });
    for admitted in futures::future::join_all(more).await {
        admitted.unwrap();
    }
    let name = agentainer::names::AgentName::new("users").unwrap();
    kept.rig.endpoints.withdraw(&name);
    bounded(async {
        loop {
            let backlogs = kept.journal.backlogs().await.unwrap();
            if backlogs[0].count(&[State::Cancelled]) == 1101 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}
