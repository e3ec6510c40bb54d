//! Kept requests by the API, over a real Redis: for operators, and for whoever has a result's address.

use std::sync::Arc;
use std::time::Duration;

use agentainer::journal::policy::Verdict;
use agentainer::journal::redis::{RedisJournal, RedisJournalOptions};
use agentainer::journal::{
    Admission, Answer, AnswerHead, Begin, Bounds, Capability, Field, Head, News, RecordId,
    RequestJournal, Settlement, State, Take,
};
use http::HeaderValue;
use serde_json::json;

use crate::harness::{ADMIN, Answered, Api, request};
use crate::redis_child::RedisChild;

struct Kept {
    api: Api,
    journal: Arc<RedisJournal>,
    news: Arc<News>,
    _redis: RedisChild,
}

impl Kept {
    async fn new() -> Self {
        let redis = RedisChild::start(&["--appendonly", "yes", "--appendfsync", "always"]);
        let options = RedisJournalOptions::default();
        let journal = Arc::new(RedisJournal::new(&redis.url(), options).unwrap());
        let news = Arc::new(News::default());
        let given = (
            Arc::clone(&journal) as Arc<dyn RequestJournal>,
            Arc::clone(&news),
        );
        let api = Api::with(|state| state.requests = Some(given));
        let agents = json!([{"name": "users", "spec": {}}, {"name": "auth", "spec": {}}]);
        api.applied("shop", agents).await;
        Self {
            api,
            journal,
            news,
            _redis: redis,
        }
    }

    /// The record's id and the last part of its address.
    async fn admit(&self, agent: &str, begin: Begin) -> (RecordId, String) {
        let capability = Capability::random();
        let id = RecordId::random();
        let admission = Admission {
            id: id.clone(),
            uid: self.api.agent(agent).await.metadata.uid,
            agent: agent.to_owned(),
            head: Head {
                method: "POST".to_owned(),
                target: "/pay?a=1".to_owned(),
                fields: vec![
                    Field::new("authorization", b"Bearer s3cret"),
                    Field::new("x-plain", b"shown"),
                ],
                repeatable: false,
            },
            body: "body".into(),
            capability: capability.hash(),
            key: None,
            ttl: Duration::from_secs(60),
            bounds: Bounds {
                max_queue: 10,
                max_bytes: 1 << 20,
            },
            begin,
            callback: None,
        };
        self.journal.admit(admission).await.unwrap();
        let address = format!("{id}.{}", capability.reveal());
        (id, address)
    }

    async fn complete(&self, agent: &str) {
        let uid = self.api.agent(agent).await.metadata.uid;
        let take = Take {
            uid,
            most: 1,
            concurrency: 1,
            strict: false,
            lease: Duration::from_secs(60),
        };
        let taken = self.journal.take(&take).await.unwrap().claimed.remove(0);
        let head = AnswerHead {
            status: 201,
            fields: vec![
                Field::new("content-type", b"text/plain"),
                Field::new("set-cookie", b"session=s3cret"),
            ],
            whole: true,
        };
        let settlement = Settlement {
            verdict: Verdict::Settle(State::Completed),
            reason: "the agent answered with 201".to_owned(),
            answer: Some(Answer {
                head,
                body: "paid".into(),
            }),
        };
        let held = self.journal.settle(&taken.claim(), settlement).await;
        assert!(held.unwrap());
        self.news.settled(&taken.record.id);
    }

    async fn admin(&self, method: &str, path: &str) -> Answered {
        self.api
            .send(request(method, path, Some(ADMIN), None))
            .await
    }

    /// As anybody from anywhere, under any name.
    async fn anybody(&self, method: &str, path: &str) -> Answered {
        let mut request = request(method, path, None, None);
        let host = HeaderValue::from_static("agents.example.org");
        request.headers_mut().insert("host", host);
        self.api.send(request).await
    }
}

#[tokio::test]
async fn a_results_address_is_all_that_it_takes_and_nothing_else_opens_it() {
    let kept = Kept::new().await;
    let (id, address) = kept.admit("users", Begin::Pending).await;
    let path = format!("/results/{address}");
    let pending = kept.anybody("GET", &path).await;
    assert_eq!(pending.status, 200);
    assert_eq!(pending.json()["status"], "pending");
    assert_eq!(pending.header("cache-control"), "no-store");
    assert_eq!(pending.header("referrer-policy"), "no-referrer");
    let early = kept.anybody("GET", &format!("{path}/answer")).await;
    assert_eq!(early.word(), "no-answer-yet");

    let waiting = format!("{path}?wait=20");
    let (waited, ()) = tokio::join!(kept.anybody("GET", &waiting), kept.complete("users"));
    let body = waited.json();
    assert_eq!(body["status"], "completed", "{body}");
    assert_eq!(body["answer"]["status"], 201);
    assert_eq!(body["answer"]["body"], "paid");
    assert!(!waited.text.contains("Bearer"), "its request is not shown");
    let answer = kept.anybody("GET", &format!("{path}/answer")).await;
    assert_eq!(
        (answer.status.as_u16(), answer.text.as_str()),
        (201, "paid")
    );
    assert_eq!(answer.header("content-type"), "text/plain");
    assert_eq!(answer.header("set-cookie"), "", "meant for another path");
    assert!(answer.header("content-security-policy").contains("sandbox"));

    let (other, _) = kept.admit("users", Begin::Pending).await;
    let secret = address.split_once('.').unwrap().1;
    for wrong in [
        format!("{id}"),
        format!("{id}."),
        format!("{id}.{}", "0".repeat(32)),
        format!("{other}.{secret}"),
        format!("x.{secret}"),
    ] {
        for method in ["GET", "DELETE"] {
            let answer = kept.anybody(method, &format!("/results/{wrong}")).await;
            assert_eq!(answer.word(), "request-not-found", "{method} {wrong}");
        }
    }
    let again = kept.anybody("DELETE", &path).await;
    assert_eq!(again.word(), "request-settled");
}

#[tokio::test]
async fn whoever_has_the_address_may_cancel() {
    let kept = Kept::new().await;
    let (id, address) = kept.admit("users", Begin::Pending).await;
    let answer = kept.anybody("DELETE", &format!("/results/{address}")).await;
    assert_eq!(answer.json()["status"], "cancelled", "{answer:?}");
    let record = kept.journal.get(&id).await.unwrap().unwrap();
    assert_eq!(record.standing.state, State::Cancelled);
}

#[tokio::test]
async fn operators_list_show_replay_cancel_and_clear() {
    let kept = Kept::new().await;
    let (unknown, _) = kept.admit("users", Begin::Unknown).await;
    let (pending, _) = kept.admit("users", Begin::Pending).await;
    let (others, _) = kept.admit("auth", Begin::Unknown).await;
    let list = kept.admin("GET", "/agents/users/requests").await.json();
    let ids: Vec<_> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["id"].clone())
        .collect();
    assert_eq!(ids, [pending.as_str(), unknown.as_str()]);
    let first = kept.admin("GET", "/agents/users/requests?limit=1").await;
    let next = first.json()["next"].clone();
    let second = format!("/agents/users/requests?limit=1&before={next}");
    let second = kept.admin("GET", &second).await.json();
    assert_eq!(second["items"][0]["id"], unknown.as_str());
    let wrong = kept.admin("GET", "/agents/users/requests?state=lost").await;
    assert!(wrong.json()["detail"].as_str().unwrap().contains("pending"));

    let one = kept
        .admin("GET", &format!("/agents/users/requests/{unknown}"))
        .await;
    assert!(!one.text.contains("s3cret"), "{}", one.text);
    assert!(one.text.contains("shown"));
    assert_eq!(one.json()["status"], "unknown");
    let astray = format!("/agents/users/requests/{others}");
    assert_eq!(kept.admin("GET", &astray).await.word(), "request-not-found");

    let replay = format!("/agents/users/requests/{unknown}/replay");
    assert_eq!(
        kept.admin("POST", &replay).await.json()["status"],
        "pending"
    );
    assert_eq!(kept.admin("POST", &replay).await.word(), "request-settled");
    assert_eq!(kept.news.taken().len(), 1, "whoever delivers was told");
    let cancel = format!("/agents/users/requests/{pending}/cancel");
    assert_eq!(
        kept.admin("POST", &cancel).await.json()["status"],
        "cancelled"
    );
    let requeue = "/agents/auth/requests/requeue?state=unknown";
    assert_eq!(kept.admin("POST", requeue).await.json()["count"], 1);
    let wrong = kept
        .admin("POST", "/agents/auth/requests/requeue?state=completed")
        .await;
    assert_eq!(wrong.status, 400);
    let clear = kept.admin("DELETE", "/agents/users/requests").await.json();
    assert_eq!(clear["count"], 1, "what is cancelled, not what waits");
    let left = kept.admin("GET", "/agents/users/requests").await.json();
    assert_eq!(left["items"][0]["id"], unknown.as_str());
    let all = kept
        .admin("DELETE", "/agents/users/requests?state=pending")
        .await;
    assert_eq!(all.json()["count"], 1);
}

#[tokio::test]
async fn an_agents_status_says_what_is_kept_for_it() {
    let kept = Kept::new().await;
    let queue = async |agent: &str| {
        let found = kept.admin("GET", &format!("/agents/{agent}")).await;
        found.json()["status"]["queue"].clone()
    };
    assert_eq!(queue("users").await, json!(null), "not looked at yet");
    kept.admit("users", Begin::Pending).await;
    kept.complete("users").await;
    kept.admit("users", Begin::Pending).await;
    kept.admit("users", Begin::Pending).await;
    kept.admit("users", Begin::Live(Duration::from_secs(60)))
        .await;
    kept.admit("users", Begin::Unknown).await;
    kept.news.looked(kept.journal.backlogs().await.unwrap());
    let users = queue("users").await;
    let counts = ["pending", "inFlight", "unknown", "deadLettered"].map(|name| users[name].clone());
    assert_eq!(counts, [json!(2), json!(1), json!(1), json!(0)], "{users}");
    assert!(users["oldest"].is_string(), "{users}");
    assert_eq!(queue("auth").await["pending"], json!(0));
    let list = kept.admin("GET", "/agents").await.json();
    assert_eq!(list["items"][1]["status"]["queue"], users, "{list}");
    let stored = kept.api.agent("users").await;
    assert_eq!(stored.status.queue, None, "it is no part of what is stored");
}
