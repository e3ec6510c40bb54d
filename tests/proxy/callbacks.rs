//! Callbacks: who may be called and who not, what is sent and how it is signed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use agentainer::agent::spec::{Persistence, PersistenceMode};
use agentainer::callback::{CallError, Caller, Resolve, Rules, Target, resolver};
use agentainer::journal::{Callback, CallbackState, Record, RequestJournal as _};
use agentainer::proxy::Calling;
use agentainer::trust;
use bytes::Bytes;
use http::HeaderMap;
use tokio_util::sync::CancellationToken;

use crate::kept::{Kept, accepted, closing, remembering};
use crate::receiver::{Call, Receiver};
use crate::rig::bounded;

/// A caller that trusts this receiver; `allowed` is what an operator allows.
fn caller(receiver: &Receiver, allowed: &[&str]) -> Caller {
    let roots = trust::of_file(&receiver.authority()).unwrap();
    Caller {
        rules: Rules {
            allowed: allowed.iter().map(|net| net.parse().unwrap()).collect(),
        },
        networks: Arc::new(Vec::new),
        tls: trust::config(roots).unwrap(),
        resolve: resolver(),
    }
}

/// Names that lead to these addresses, one after the other with each look.
fn resolves(to: Vec<Vec<SocketAddr>>) -> (Arc<Resolve>, Arc<AtomicUsize>) {
    let looks = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&looks);
    let resolve: Arc<Resolve> = Arc::new(move |_host, _port| {
        let look = counted.fetch_add(1, Ordering::SeqCst);
        let found = to[look.min(to.len() - 1)].clone();
        Box::pin(std::future::ready(Ok(found)))
    });
    (resolve, looks)
}

async fn post(caller: &Caller, url: &str) -> Result<u16, CallError> {
    let target = Target::read(url).unwrap();
    bounded(caller.post(&target, HeaderMap::new(), Bytes::from_static(b"{}"))).await
}

#[tokio::test]
async fn a_call_goes_to_the_address_that_was_looked_at_with_tls_to_the_name() {
    let receiver = Receiver::start(&["hooks.example.org"]).await;
    let (resolve, looks) = resolves(vec![
        vec![receiver.address],
        // A second look would lead elsewhere.
        vec!["192.0.2.1:1".parse().unwrap()],
    ]);
    let caller = Caller {
        resolve,
        ..caller(&receiver, &["127.0.0.0/8"])
    };
    let url = receiver.url("hooks.example.org", "/a?b=c");
    assert_eq!(post(&caller, &url).await.unwrap(), 204);
    assert_eq!(looks.load(Ordering::SeqCst), 1);
    let calls = receiver.calls();
    assert_eq!(calls[0].path, "/a?b=c");
    let host = format!("hooks.example.org:{}", receiver.address.port());
    assert_eq!(calls[0].headers["host"], host.as_str());
    assert_eq!(calls[0].body, "{}");

    // Another name than its certificate's, and an authority that nobody trusts.
    let (resolve, _) = resolves(vec![vec![receiver.address]]);
    let other = Caller {
        resolve: Arc::clone(&resolve),
        ..caller.clone()
    };
    let answer = post(&other, &receiver.url("other.example.org", "/")).await;
    assert!(matches!(answer, Err(CallError::Tls(_))), "{answer:?}");
    let stranger = Caller {
        resolve,
        tls: trust::config(trust::of_system()).unwrap(),
        ..caller
    };
    let answer = post(&stranger, &receiver.url("hooks.example.org", "/")).await;
    assert!(matches!(answer, Err(CallError::Tls(_))), "{answer:?}");
    assert_eq!(receiver.calls().len(), 1);
}

#[tokio::test]
async fn law_7_a_name_that_leads_to_a_private_address_is_not_called() {
    let receiver = Receiver::start(&["localhost", "hooks.example.org"]).await;
    let plain = caller(&receiver, &[]);
    // The system's own resolver.
    let refused = post(&plain, &receiver.url("localhost", "/")).await;
    assert!(
        matches!(refused, Err(CallError::Refused { .. })),
        "{refused:?}"
    );
    for url in [
        "https://127.0.0.1",
        "https://[::1]",
        "https://0x7f.1",
        "https://169.254.169.254",
    ] {
        let answer = post(&plain, url).await;
        assert!(
            matches!(
                answer,
                Err(CallError::Refused { .. } | CallError::NoAddress(_))
            ),
            "{url}: {answer:?}"
        );
    }
    // One private address among public ones is enough.
    let public: SocketAddr = "1.1.1.1:443".parse().unwrap();
    let (resolve, _) = resolves(vec![vec![public, receiver.address]]);
    let mixed = Caller {
        resolve,
        ..plain.clone()
    };
    let refused = post(&mixed, &receiver.url("hooks.example.org", "/")).await;
    assert!(
        matches!(refused, Err(CallError::Refused { .. })),
        "{refused:?}"
    );
    // A network of containers may have public addresses.
    let (resolve, _) = resolves(vec![vec![public]]);
    let bridged = Caller {
        resolve,
        networks: Arc::new(|| vec!["1.1.1.0/24".parse().unwrap()]),
        ..plain
    };
    let refused = post(&bridged, "https://hooks.example.org/")
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("containers"), "{refused}");
    assert_eq!(receiver.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn law_7_a_redirect_is_not_followed() {
    let receiver = Receiver::start(&["localhost"]).await;
    let caller = caller(&receiver, &["127.0.0.0/8", "::1/128"]);
    let (resolve, _) = resolves(vec![vec![receiver.address]]);
    let caller = Caller { resolve, ..caller };
    for status in [301, 302, 303, 307, 308] {
        receiver.answers(status);
        let url = receiver.url("localhost", "/here");
        assert_eq!(post(&caller, &url).await.unwrap(), status);
    }
    let calls = receiver.calls();
    assert!(calls.iter().all(|call| call.path == "/here"), "{calls:?}");
    assert_eq!(calls.len(), 5);
}

#[tokio::test]
async fn whoever_does_not_answer_is_told_apart() {
    let receiver = Receiver::start(&["localhost"]).await;
    let caller = caller(&receiver, &["127.0.0.0/8", "::1/128"]);
    let nobody = crate::agents::nobody().await;
    let answer = post(&caller, &format!("https://127.0.0.1:{}/", nobody.port())).await;
    assert!(matches!(answer, Err(CallError::Connect(_))), "{answer:?}");
    let failing: Arc<Resolve> = Arc::new(|_, _| {
        Box::pin(std::future::ready(Err(std::io::Error::other(
            "no such name",
        ))))
    });
    let lost = Caller {
        resolve: failing,
        ..caller
    };
    let answer = post(&lost, "https://hooks.example.org/").await;
    assert!(matches!(answer, Err(CallError::NoAddress(_))), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn whoever_says_nothing_is_waited_for_half_a_minute() {
    let roots = trust::config(trust::of_system()).unwrap();
    let silent = crate::agents::raw(|stream, _| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let slow: Arc<Resolve> = Arc::new(|_, _| Box::pin(std::future::pending()));
    let found = vec![silent.address];
    let (quick, _) = resolves(vec![found]);
    for (resolve, most) in [(slow, 5), (quick, 30)] {
        let caller = Caller {
            rules: Rules {
                allowed: vec!["127.0.0.0/8".parse().unwrap()],
            },
            networks: Arc::new(Vec::new),
            tls: Arc::clone(&roots),
            resolve,
        };
        let begun = tokio::time::Instant::now();
        let target = Target::read("https://hooks.example.org/").unwrap();
        let called = caller.post(&target, HeaderMap::new(), Bytes::new());
        let error = called.await.unwrap_err();
        assert!(
            matches!(
                error,
                CallError::TimedOut | CallError::NoAddress(None) | CallError::Connect(_)
            ),
            "{error:?}"
        );
        let took = begun.elapsed();
        let most = std::time::Duration::from_millis(most * 1000 + 100);
        assert!(took <= most, "{took:?}");
    }
}

/// An agent whose callbacks go to `localhost`, kept requests, and who makes the calls.
struct Called {
    kept: Kept,
    receiver: Receiver,
    shutdown: CancellationToken,
}

impl Drop for Called {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Called {
    /// Nobody calls yet.
    async fn new() -> Self {
        let called = Self {
            kept: Kept::new(),
            receiver: Receiver::start(&["localhost"]).await,
            shutdown: CancellationToken::new(),
        };
        called.kept.down("users", to_localhost);
        called
    }

    /// A server that makes calls begins to.
    fn calls(&self) -> tokio::task::JoinHandle<()> {
        let (resolve, _) = resolves(vec![vec![self.receiver.address]]);
        let calling = Calling {
            calls: Arc::clone(&self.kept.journal) as _,
            journal: Arc::clone(&self.kept.journal) as _,
            news: Arc::clone(&self.kept.news),
            caller: Caller {
                resolve,
                ..caller(&self.receiver, &["127.0.0.0/8"])
            },
            key: Arc::new(|agent| format!("key of {agent}")),
            figures: Arc::default(),
        };
        tokio::spawn(calling.run(self.shutdown.clone()))
    }

    async fn post(&self, path: &str) -> crate::rig::Whole {
        let url = self.receiver.url("localhost", path);
        let fields = [("x-callback-url", url.as_str())];
        self.kept.post("/agent/users/run", &fields, b"1 end").await
    }

    async fn reaches(&self, answer: &crate::rig::Whole, state: CallbackState) -> Callback {
        let so = |record: &Record| record.callback.as_ref().is_some_and(|it| it.state == state);
        self.kept.reaches(answer, so).await.callback.unwrap()
    }
}

fn to_localhost(persistence: &mut Persistence) {
    persistence.callbacks.hosts = vec!["localhost".to_owned()];
}

#[tokio::test]
async fn whoever_asked_for_it_is_told_how_a_kept_request_ended_and_the_agent_knows_nothing_of_that()
{
    let called = Called::new().await;
    called.calls();
    let answer = called.post("/hook?a=1").await;
    let id = accepted(&answer);
    let (agent, got) = remembering(201).await;
    called
        .kept
        .rig
        .publish("users", &[("c", agent.address)], |publication| {
            let mut persistence = Persistence::default();
            to_localhost(&mut persistence);
            publication.persistence = Some(persistence);
        });
    let callback = called.reaches(&answer, CallbackState::Done).await;
    assert_eq!(
        (callback.calls, callback.reason.as_str()),
        (1, "it answered with 204")
    );
    let calls = called.receiver.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].path, "/hook?a=1");
    assert_eq!(calls[0].headers["content-type"], "application/json");
    let body = calls[0].verified("key of users");
    assert_eq!(body["id"], id.as_str());
    assert_eq!(
        (&body["agent"], &body["status"]),
        (&"users".into(), &"completed".into())
    );
    assert_eq!(
        (&body["answer"]["status"], &body["answer"]["body"]),
        (&201.into(), &"done".into())
    );
    assert_eq!(body.get("callback"), None);
    let secret = answer
        .header("location")
        .unwrap()
        .rsplit('.')
        .next()
        .unwrap();
    assert!(
        !String::from_utf8_lossy(&calls[0].body).contains(secret),
        "it opens nothing"
    );
    assert!(!got.lock()[0].0.headers.contains_key("x-callback-url"));

    // What is forwarded tells its client itself; the field is no agent's business even so.
    let answer = called.post("/hook").await;
    assert_eq!(answer.status, 201);
    assert!(!got.lock()[1].0.headers.contains_key("x-callback-url"));
    assert_eq!(called.receiver.calls().len(), 1);
}

#[tokio::test]
async fn what_is_written_first_and_answered_at_once_is_told_too() {
    let called = Called::new().await;
    called.calls();
    let publish = |address| {
        called
            .kept
            .rig
            .publish("users", &[("c", address)], |publication| {
                let persistence = publication.persistence.insert(Persistence::default());
                to_localhost(persistence);
                persistence.mode = PersistenceMode::Always;
            });
    };
    let ends = async |number: usize| {
        bounded(async {
            while called.receiver.calls().len() <= number {
                tokio::task::yield_now().await;
            }
        })
        .await;
        called.receiver.calls()[number].verified("key of users")
    };
    let (agent, got) = remembering(201).await;
    publish(agent.address);
    let answer = called.post("/hook").await;
    assert_eq!(answer.status, 201, "its client is answered as usual");
    let told = ends(0).await;
    let id = answer.header("x-agentainer-request-id").unwrap();
    assert_eq!(
        (&told["id"], &told["status"]),
        (&id.into(), &"completed".into())
    );
    assert_eq!(told["answer"]["body"], "done");
    assert!(!got.lock()[0].0.headers.contains_key("x-callback-url"));
    let (failing, _) = remembering(500).await;
    publish(failing.address);
    assert_eq!(called.post("/hook").await.status, 500);
    assert_eq!(ends(1).await["status"], "failed");
    publish(closing().await.address);
    assert_eq!(called.post("/hook").await.status, 502);
    assert_eq!(ends(2).await["status"], "unknown");
    called.kept.settle_all().await;
    assert_eq!(called.receiver.calls().len(), 3);
}

#[tokio::test]
async fn each_end_of_a_request_is_told() {
    let called = Called::new().await;
    called.calls();
    let ends = |number: usize| {
        let calls = called.receiver.calls();
        let body: serde_json::Value = serde_json::from_slice(&calls.get(number)?.body).unwrap();
        Some(body["status"].as_str().unwrap().to_owned())
    };
    let told = async |number| {
        bounded(async {
            loop {
                match ends(number) {
                    Some(end) => return end,
                    None => tokio::task::yield_now().await,
                }
            }
        })
        .await
    };
    let publish = |address| {
        called
            .kept
            .rig
            .publish("users", &[("c", address)], |publication| {
                let mut persistence = Persistence::default();
                to_localhost(&mut persistence);
                persistence.max_retries = 0;
                publication.persistence = Some(persistence);
            });
    };
    // Cancelled.
    let answer = called.post("/").await;
    let id = accepted(&answer);
    called.kept.journal.cancel(&id, "a test").await.unwrap();
    called
        .kept
        .news
        .ended(&called.kept.journal.get(&id).await.unwrap().unwrap());
    assert_eq!(told(0).await, "cancelled");
    // Expired.
    called.kept.down("users", |persistence| {
        to_localhost(persistence);
        persistence.ttl.millis = 1500;
    });
    accepted(&called.post("/").await);
    assert_eq!(told(1).await, "expired");
    // Failed, unknown and dead; the last two of which an agent that closes is enough for.
    called.kept.down("users", to_localhost);
    called.post("/").await;
    let (failing, _) = remembering(500).await;
    publish(failing.address);
    assert_eq!(told(2).await, "failed");
    let closing = closing().await;
    publish(closing.address);
    assert_eq!(called.post("/").await.status, 502);
    assert_eq!(told(3).await, "unknown");
    called.kept.down("users", to_localhost);
    let url = called.receiver.url("localhost", "/");
    let fields = [("x-callback-url", url.as_str()), ("idempotency-key", "k")];
    let answer = called.kept.post("/agent/users/", &fields, b"2 end").await;
    accepted(&answer);
    publish(closing.address);
    assert_eq!(told(4).await, "dead");
    // By hand it is sent once more, and told once more.
    let (better, _) = remembering(200).await;
    called.kept.down("users", to_localhost);
    let record = called.kept.settled(&answer).await;
    called.reaches(&answer, CallbackState::Done).await;
    called.kept.journal.requeue(&record.id).await.unwrap();
    let waits = called.kept.journal.get(&record.id).await.unwrap().unwrap();
    assert_eq!(waits.callback.unwrap().state, CallbackState::Unsettled);
    publish(better.address);
    assert_eq!(told(5).await, "completed");
}

#[tokio::test]
async fn law_7_where_nobody_may_be_called_the_request_is_refused_at_once_and_nothing_is_kept() {
    let called = Called::new().await;
    let (agent, got) = remembering(200).await;
    let cases = [
        ("http://localhost/", "no https:// URL"),
        (
            "https://evil.example.org/s3cret",
            "'evil.example.org' is not listed",
        ),
        ("https://user:s3cret@localhost/", "a user or a password"),
        ("https://localhost/#s3cret", "a fragment"),
        ("https://127.0.0.1/s3cret", "not called"),
        ("nonsense", "no https:// URL"),
    ];
    let listed = |persistence: &mut Persistence| {
        persistence.callbacks.hosts = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    };
    for up in [false, true] {
        called.kept.down("users", listed);
        if up {
            called
                .kept
                .rig
                .publish("users", &[("c", agent.address)], |publication| {
                    let mut persistence = Persistence::default();
                    listed(&mut persistence);
                    publication.persistence = Some(persistence);
                });
        }
        for (url, why) in cases {
            let fields = [("x-callback-url", url)];
            let answer = called.kept.post("/agent/users/", &fields, b"x").await;
            assert_eq!(answer.status, 400, "{url}: {answer:?}");
            assert!(answer.detail().contains(why), "{url}: {answer:?}");
            assert!(!answer.text.contains("s3cret"), "{answer:?}");
        }
        let twice = [
            ("x-callback-url", "https://localhost/"),
            ("x-callback-url", "https://localhost/b"),
        ];
        let answer = called.kept.post("/agent/users/", &twice, b"x").await;
        assert_eq!(answer.status, 400, "{answer:?}");
    }
    // Deny by default.
    called.kept.down("users", |_| {});
    assert_eq!(called.post("/").await.status, 400);
    assert!(called.kept.records().await.is_empty());
    assert!(got.lock().is_empty());
}

#[tokio::test]
async fn law_2_a_call_is_made_by_whichever_server_lives_and_again_until_it_is_heard() {
    let called = Called::new().await;
    let answer = called.post("/").await;
    let id = accepted(&answer);
    // Settled, and the server is gone: nobody calls.
    called.kept.journal.cancel(&id, "a test").await.unwrap();
    called.receiver.answers(503);
    let first = called.calls();
    let heard = async |count: usize| {
        bounded(async {
            while called.receiver.calls().len() < count {
                tokio::task::yield_now().await;
            }
        })
        .await;
    };
    heard(1).await;
    let told = |record: &Record| {
        record
            .callback
            .as_ref()
            .is_some_and(|it| it.reason.contains("503"))
    };
    called.kept.reaches(&answer, told).await;
    // It is killed while the next call is due later; two others live.
    first.abort();
    called.receiver.answers(200);
    called.calls();
    called.calls();
    let callback = called.reaches(&answer, CallbackState::Done).await;
    assert_eq!(callback.calls, 2);
    let calls = called.receiver.calls();
    assert_eq!(calls.len(), 2, "once by both");
    let attempt = |call: &Call| call.headers["x-agentainer-attempt"].clone();
    assert_eq!(
        (attempt(&calls[0]), attempt(&calls[1])),
        ("1".parse().unwrap(), "2".parse().unwrap())
    );
    calls[1].verified("key of users");
}
