#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use super::*;
use crate::agent::quantity::Span;

fn name(text: &str) -> AgentName {
    AgentName::new(text).unwrap()
}

fn id(text: &str) -> ContainerId {
    ContainerId(text.to_owned())
}

fn target(container: &str, check: Option<HealthCheck>) -> Target {
    Target {
        container: id(container),
        address: SocketAddr::from(([127, 0, 0, 1], 1)),
        check,
        trial: false,
        protocol: Protocol::Http1,
        started_at: None,
    }
}

fn check(interval: u64) -> HealthCheck {
    HealthCheck {
        interval: Span::seconds(interval),
        ..HealthCheck::default()
    }
}

fn refused() -> Outcome {
    Outcome::Unanswered("refused".to_owned())
}

fn unwell() -> Outcome {
    Outcome::NotReady("GET /health answered 503".to_owned())
}

/// A prober whose probes are answered from a script, the last answer for ever; with when each was asked.
struct Scripted {
    prober: Prober,
    asked: Arc<Mutex<Vec<Instant>>>,
    script: Arc<Mutex<VecDeque<Outcome>>>,
    woken: Arc<AtomicUsize>,
}

fn scripted(outcomes: impl IntoIterator<Item = Outcome>) -> Scripted {
    let script = Arc::new(Mutex::new(VecDeque::from_iter(outcomes)));
    let asked: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let woken = Arc::new(AtomicUsize::new(0));
    let ask = {
        let (script, asked) = (Arc::clone(&script), Arc::clone(&asked));
        move |_, _| -> BoxFuture<'static, Outcome> {
            asked.lock().push(Instant::now());
            let mut script = script.lock();
            let outcome = if script.len() > 1 {
                script.pop_front()
            } else {
                script.front().cloned()
            };
            Box::pin(std::future::ready(outcome.unwrap()))
        }
    };
    let wake = {
        let woken = Arc::clone(&woken);
        move |_: &AgentName| {
            woken.fetch_add(1, Ordering::SeqCst);
        }
    };
    Scripted {
        prober: Prober::with(Arc::new(wake), Arc::new(ask)),
        asked,
        script,
        woken,
    }
}

impl Scripted {
    fn probe(&self) -> Probe {
        self.prober.get(&id("c"), None).unwrap()
    }
    fn woken(&self) -> usize {
        self.woken.load(Ordering::SeqCst)
    }
    fn then(&self, outcomes: impl IntoIterator<Item = Outcome>) {
        *self.script.lock() = VecDeque::from_iter(outcomes);
    }
    /// How many are asked in so long.
    async fn asked_in(&self, time: Duration) -> usize {
        let before = self.asked.lock().len();
        tokio::time::sleep(time).await;
        self.asked.lock().len() - before
    }
}

#[tokio::test(start_paused = true)]
async fn a_starting_container_is_found_ready_within_a_moment() {
    let outcomes = std::iter::repeat_n(refused(), 12).chain([Outcome::Ready]);
    let scripted = scripted(outcomes);
    let begun = Instant::now();
    scripted
        .prober
        .set(&name("users"), vec![target("c", Some(check(30)))]);
    assert_eq!(scripted.probe(), Probe::default());
    while scripted.probe().ready != Some(true) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(
        begun.elapsed() < Duration::from_millis(400),
        "{:?}",
        begun.elapsed()
    );
    // Once for "not ready", once for "ready".
    assert_eq!(scripted.woken(), 2);
    let probe = scripted.probe();
    assert_eq!((probe.unanswered, probe.message.as_str()), (0, ""));
    assert!(probe.since.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_container_that_stays_unready_is_asked_ever_more_seldom_but_each_second() {
    let scripted = scripted([unwell()]);
    scripted
        .prober
        .set(&name("users"), vec![target("c", Some(check(30)))]);
    let second = Duration::from_secs(1);
    assert!((30..=50).contains(&scripted.asked_in(second).await));
    tokio::time::sleep(10 * second).await;
    assert!((9..=11).contains(&scripted.asked_in(10 * second).await));
    assert_eq!(scripted.woken(), 1);
    assert_eq!(scripted.probe().message, "GET /health answered 503");
}

#[tokio::test(start_paused = true)]
async fn a_settled_container_is_asked_at_its_interval() {
    for (check, expected) in [(Some(check(30)), 20), (None, 60), (Some(check(2)), 300)] {
        let scripted = scripted([Outcome::Ready]);
        scripted
            .prober
            .set(&name("users"), vec![target("c", check)]);
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(scripted.asked_in(Duration::from_secs(600)).await, expected);
        assert_eq!(scripted.woken(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_ready_container_is_unready_only_after_its_retries_and_soon_asked_again() {
    let scripted = scripted([Outcome::Ready]);
    scripted
        .prober
        .set(&name("users"), vec![target("c", Some(check(30)))]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    scripted.then([unwell(), unwell(), Outcome::Ready]);
    tokio::time::sleep(Duration::from_secs(35)).await;
    assert_eq!(
        (scripted.probe().ready, scripted.woken()),
        (Some(true), 1),
        "two failures of three"
    );
    scripted.then([unwell()]);
    let before = Instant::now();
    while scripted.probe().ready == Some(true) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(
        before.elapsed() <= Duration::from_secs(33),
        "{:?}",
        before.elapsed()
    );
    assert_eq!((scripted.woken(), scripted.probe().unanswered), (2, 0));
    scripted.then([Outcome::Ready]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(scripted.probe().ready, Some(true));
}

#[tokio::test(start_paused = true)]
async fn no_answer_counts_against_a_container_that_was_ready() {
    let scripted = scripted([Outcome::Ready]);
    scripted
        .prober
        .set(&name("users"), vec![target("c", Some(check(5)))]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    scripted.then([refused()]);
    tokio::time::sleep(Duration::from_secs(8)).await;
    let probe = scripted.probe();
    assert!(
        probe.unanswered >= 3 && probe.ready == Some(false),
        "{probe:?}"
    );
    // Unready and lifeless in the same moment: one call.
    assert_eq!(scripted.woken(), 2);
    scripted.then([unwell()]);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(
        scripted.probe().unanswered,
        0,
        "any answer is a sign of life"
    );
    assert_eq!(scripted.woken(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_starting_container_is_given_its_intervals_before_silence_counts() {
    let mut slow = check(30);
    slow.start_period = Span::seconds(60);
    for (check, silent_for) in [(check(30), 90), (slow, 120)] {
        let scripted = scripted([refused()]);
        scripted
            .prober
            .set(&name("users"), vec![target("c", Some(check))]);
        tokio::time::sleep(Duration::from_secs(silent_for - 5)).await;
        assert_eq!(scripted.probe().unanswered, 2, "{silent_for}");
        assert_eq!(scripted.woken(), 1);
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(
            (scripted.probe().unanswered, scripted.woken()),
            (3, 2),
            "{silent_for}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_bad_answer_counts_against_its_life_only_where_the_check_asks_for_that() {
    let on_status = HealthCheck {
        restart_on_status: true,
        ..check(5)
    };
    for (check, counted) in [(check(5), 0), (on_status, 3)] {
        let scripted = scripted([Outcome::Ready]);
        scripted
            .prober
            .set(&name("users"), vec![target("c", Some(check))]);
        tokio::time::sleep(Duration::from_secs(1)).await;
        scripted.then([unwell(), unwell(), unwell(), Outcome::Ready]);
        let mut most = 0;
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            most = most.max(scripted.probe().unanswered);
        }
        assert_eq!((most, scripted.probe().unanswered), (counted, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn law_6_what_cannot_be_asked_is_unknown_and_not_dead() {
    let unknown = || Outcome::Unknown("no file descriptor is left".to_owned());
    let scripted = scripted([Outcome::Ready]);
    let once = HealthCheck {
        retries: 1,
        restart_on_status: true,
        ..check(5)
    };
    scripted
        .prober
        .set(&name("users"), vec![target("c", Some(once))]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    scripted.then([unknown()]);
    tokio::time::sleep(Duration::from_secs(600)).await;
    let probe = scripted.probe();
    assert_eq!((probe.ready, probe.unanswered), (Some(true), 0));
    assert_eq!(scripted.woken(), 1);
    scripted.then([refused()]);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(scripted.probe().unanswered >= 1, "now it was asked");
}

#[tokio::test(start_paused = true)]
async fn law_6_what_was_never_asked_is_neither_ready_nor_unready() {
    let scripted = scripted([Outcome::Unknown("no route".to_owned())]);
    scripted
        .prober
        .set(&name("users"), vec![target("c", Some(check(5)))]);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let probe = scripted.probe();
    assert_eq!((probe.ready, probe.message.as_str()), (None, "no route"));
    assert_eq!(scripted.woken(), 0);
}

#[tokio::test(start_paused = true)]
async fn silence_never_counts_without_a_check() {
    let scripted = scripted([refused()]);
    scripted.prober.set(&name("users"), vec![target("c", None)]);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(
        (scripted.probe().unanswered, scripted.probe().ready),
        (0, Some(false))
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_named_no_more_is_forgotten_and_what_stays_is_kept() {
    let scripted = scripted([Outcome::Ready]);
    let (users, auth) = (name("users"), name("auth"));
    scripted
        .prober
        .set(&users, vec![target("c", None), target("d", None)]);
    scripted.prober.set(&auth, vec![target("e", None)]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    scripted.prober.set(&users, vec![target("c", None)]);
    assert_eq!(scripted.probe().ready, Some(true));
    assert_eq!(scripted.prober.get(&id("d"), None), None);
    assert!(scripted.prober.get(&id("e"), None).is_some());
    scripted.prober.set(&auth, Vec::new());
    assert_eq!(
        scripted.asked_in(Duration::from_secs(100)).await,
        10,
        "only c is asked"
    );
    drop(scripted.prober);
    let before = scripted.asked.lock().len();
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(
        scripted.asked.lock().len(),
        before,
        "nobody is asked any more"
    );
}

#[tokio::test(start_paused = true)]
async fn another_start_or_address_is_another_life_and_another_check_is_not() {
    let scripted = scripted([Outcome::Ready]);
    let users = name("users");
    scripted.prober.set(&users, vec![target("c", None)]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    scripted
        .prober
        .set(&users, vec![target("c", Some(check(7)))]);
    assert_eq!(scripted.probe().ready, Some(true));
    let mut restarted = target("c", Some(check(7)));
    restarted.started_at = Some(crate::clock::now());
    let start = restarted.started_at;
    let probe = || scripted.prober.get(&id("c"), start).unwrap();
    scripted.prober.set(&users, vec![restarted.clone()]);
    assert_eq!(probe().ready, None);
    tokio::time::sleep(Duration::from_secs(1)).await;
    restarted.address = SocketAddr::from(([127, 0, 0, 1], 2));
    scripted.prober.set(&users, vec![restarted]);
    assert_eq!(probe().ready, None);
}

#[tokio::test(start_paused = true)]
async fn a_great_many_are_asked_a_few_at_a_time() {
    let now = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let ask = {
        let (now, most) = (Arc::clone(&now), Arc::clone(&most));
        move |_, _| -> BoxFuture<'static, Outcome> {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            Box::pin(async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(100)).await;
                now.fetch_sub(1, Ordering::SeqCst);
                Outcome::Ready
            })
        }
    };
    let prober = Prober::with(Arc::new(|_: &AgentName| {}), Arc::new(ask));
    prober.set(
        &name("users"),
        (0..500).map(|n| target(&n.to_string(), None)).collect(),
    );
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(most.load(Ordering::SeqCst), AT_ONCE);
    assert!((0..500).all(|n| prober.get(&id(&n.to_string()), None).unwrap().ready == Some(true)));
}

/// A server that reads a head and answers with these bytes; gives its address.
async fn server(answer: &'static str) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = vec![0; 4096];
                let count = stream.read(&mut head).await.unwrap_or(0);
                let head = String::from_utf8_lossy(&head[..count]).into_owned();
                if head.starts_with("GET /health HTTP/1.1\r\n") {
                    let _ = stream.write_all(answer.as_bytes()).await;
                    return;
                }
                std::future::pending::<()>().await;
            });
        }
    });
    address
}

#[tokio::test]
async fn a_real_server_is_judged_by_its_answer() {
    let mut impatient = check(1);
    impatient.timeout = Span { millis: 100 };
    let health = HealthCheck {
        endpoint: "health".to_owned(),
        ..impatient.clone()
    };
    let lost = HealthCheck {
        endpoint: "/hangs".to_owned(),
        ..impatient.clone()
    };
    let ok = server("HTTP/1.1 204 No Content\r\n\r\n").await;
    let unwell = server("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\nno").await;
    let moved = server("HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n").await;
    let rude = server("").await;
    let odd = server("220 smtp.example.org\r\n").await;
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let asked = |address, check| {
        attempt::ask(
            Target {
                container: id("c"),
                address,
                check,
                trial: false,
                protocol: Protocol::Http1,
                started_at: None,
            },
            false,
        )
    };
    assert_eq!(asked(ok, None).await, Outcome::Ready);
    assert_eq!(asked(ok, Some(impatient.clone())).await, Outcome::Ready);
    assert_eq!(asked(ok, Some(health)).await, Outcome::Ready);
    for (address, check, part) in [
        (unwell, Some(impatient.clone()), "GET /health answered 503"),
        (moved, Some(impatient.clone()), "GET /health answered 302"),
    ] {
        let Outcome::NotReady(message) = asked(address, check).await else {
            panic!("{part}")
        };
        assert!(message.contains(part), "{message}");
    }
    for (address, check, part) in [
        (ok, Some(lost), "no answer to GET /hangs within 100ms"),
        (rude, Some(impatient.clone()), "no answer to GET /health"),
        (odd, Some(impatient.clone()), "no answer to GET /health"),
        (nobody, Some(impatient), "instead of 0.0.0.0"),
        (nobody, None, "instead of 0.0.0.0"),
    ] {
        let Outcome::Unanswered(message) = asked(address, check).await else {
            panic!("{part}")
        };
        assert!(message.contains(part), "{message}");
    }
}

#[tokio::test(start_paused = true)]
async fn law_5_what_an_earlier_process_answered_says_nothing_of_the_next() {
    let scripted = scripted([Outcome::Ready]);
    scripted.prober.set(&name("users"), vec![target("c", None)]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(scripted.probe().ready, Some(true));
    // It ended and started again, and nobody has named the new target yet.
    let started = Some(crate::clock::now());
    assert_eq!(scripted.prober.get(&id("c"), started), None);
}

#[tokio::test]
async fn an_agent_of_http_2_is_asked_in_http_2() {
    use hyper_util::rt::{TokioExecutor, TokioIo};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = hyper::service::service_fn(|request: http::Request<_>| async move {
                let _: &hyper::body::Incoming = request.body();
                let well = request.uri().path() == "/health";
                let status = if well { 204 } else { 503 };
                http::Response::builder()
                    .status(status)
                    .body(http_body_util::Empty::<bytes::Bytes>::new())
            });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(server.serve_connection(TokioIo::new(stream), answer));
        }
    });
    let ask = |endpoint: &str, protocol| {
        let target = Target {
            address,
            protocol,
            ..target(
                "c",
                Some(HealthCheck {
                    endpoint: endpoint.to_owned(),
                    ..check(30)
                }),
            )
        };
        attempt::ask(target, false)
    };
    assert_eq!(ask("/health", Protocol::H2c).await, Outcome::Ready);
    assert!(
        matches!(ask("/x", Protocol::H2c).await, Outcome::NotReady(why) if why.contains("503"))
    );
    assert!(matches!(
        ask("/health", Protocol::Http1).await,
        Outcome::Unanswered(_)
    ));
}

/// A prober whose containers answer each check in their own way, and how often its agent was woken.
fn by_check(
    answer: impl Fn(&Target) -> Outcome + Send + Sync + 'static,
) -> (Prober, Arc<AtomicUsize>) {
    let woken = Arc::new(AtomicUsize::new(0));
    let wake = {
        let woken = Arc::clone(&woken);
        move |_: &AgentName| {
            woken.fetch_add(1, Ordering::SeqCst);
        }
    };
    let ask = move |target: Target, _| -> BoxFuture<'static, Outcome> {
        Box::pin(std::future::ready(answer(&target)))
    };
    (Prober::with(Arc::new(wake), Arc::new(ask)), woken)
}

fn tried(container: &str, check: Option<HealthCheck>) -> Target {
    Target {
        trial: true,
        ..target(container, check)
    }
}

fn at_path(endpoint: &str) -> Option<HealthCheck> {
    Some(HealthCheck {
        endpoint: endpoint.to_owned(),
        retries: 1,
        ..check(1)
    })
}

#[tokio::test(start_paused = true)]
async fn law_8_a_check_on_trial_that_does_not_pass_counts_for_nothing() {
    let (prober, woken) = by_check(|target| match target.trial {
        true => Outcome::Unanswered("no answer to GET /wrong".to_owned()),
        false => Outcome::Ready,
    });
    let users = name("users");
    let both = || vec![target("c", at_path("/ok")), tried("c", at_path("/wrong"))];
    prober.set(&users, both());
    tokio::time::sleep(Duration::from_secs(60)).await;
    let probe = prober.get(&id("c"), None).unwrap();
    assert_eq!((probe.ready, probe.unanswered), (Some(true), 0));
    assert_eq!(probe.tried, "no answer to GET /wrong");
    let former = at_path("/ok");
    assert_eq!(probe.passed.map(|check| check.health_check), Some(former));
    // Named again as before nothing begins anew; without the trial nothing is left of it.
    let before = woken.load(Ordering::SeqCst);
    prober.set(&users, both());
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(woken.load(Ordering::SeqCst), before);
    prober.set(&users, vec![target("c", at_path("/ok"))]);
    let probe = prober.get(&id("c"), None).unwrap();
    assert_eq!((probe.ready, probe.tried.as_str()), (Some(true), ""));
}

#[tokio::test(start_paused = true)]
async fn law_8_a_check_that_passes_on_trial_wakes_and_has_passed_when_it_judges() {
    let (prober, woken) = by_check(|_| Outcome::Ready);
    let users = name("users");
    let passed = || prober.get(&id("c"), None).unwrap().passed;
    prober.set(&users, vec![target("c", at_path("/old"))]);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(woken.load(Ordering::SeqCst), 1);
    let (old, new) = (at_path("/old"), at_path("/new"));
    assert_eq!(passed().unwrap().health_check, old);
    prober.set(&users, vec![target("c", old), tried("c", new.clone())]);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(woken.load(Ordering::SeqCst), 2);
    assert_eq!(passed().unwrap().health_check, new);
    prober.set(&users, vec![target("c", new.clone())]);
    let probe = prober.get(&id("c"), None).unwrap();
    assert_eq!(
        (probe.ready, passed().unwrap().health_check),
        (Some(true), new)
    );
    // Of one that was not tried on it nothing is known, and it is as ready as it was.
    prober.set(&users, vec![target("c", at_path("/third"))]);
    assert_eq!(passed(), None);
    assert_eq!(prober.get(&id("c"), None).unwrap().ready, Some(true));
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(passed().unwrap().health_check, at_path("/third"));
    assert_eq!(woken.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn a_check_on_trial_is_tried_a_few_times_and_then_once_an_interval() {
    let asked: Arc<AtomicUsize> = Arc::default();
    let count = Arc::clone(&asked);
    let (prober, _) = by_check(move |target| match target.trial {
        true => {
            count.fetch_add(1, Ordering::SeqCst);
            unwell()
        }
        false => Outcome::Ready,
    });
    let judged = target("c", Some(check(30)));
    prober.set(&name("users"), vec![judged, tried("c", Some(check(30)))]);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let soon = asked.load(Ordering::SeqCst);
    assert!((3..=4).contains(&soon), "{soon}");
    tokio::time::sleep(Duration::from_secs(7)).await;
    let first = asked.swap(0, Ordering::SeqCst);
    assert!((5..=6).contains(&first), "{first}");
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(asked.load(Ordering::SeqCst), 10);
}

#[tokio::test(start_paused = true)]
async fn another_check_on_trial_begins_anew() {
    let (prober, _) = by_check(|target| match &target.check {
        Some(check) if check.endpoint == "/ok" => Outcome::Ready,
        Some(check) => Outcome::NotReady(format!("GET {} answered 404", check.endpoint)),
        None => Outcome::Ready,
    });
    let users = name("users");
    let probe = || prober.get(&id("c"), None).unwrap();
    for endpoint in ["/a", "/b"] {
        let judged = target("c", at_path("/ok"));
        prober.set(&users, vec![judged, tried("c", at_path(endpoint))]);
        assert_eq!(probe().tried, "");
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(probe().tried, format!("GET {endpoint} answered 404"));
    }
}
