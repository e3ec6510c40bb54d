//! Readiness gates traffic, liveness restarts, and what is not known does neither; restarts end where the spec says so,
//! and say why.

use std::time::Duration;

use agentainer::clock;
use agentainer::observed::Container;
use agentainer::probe::Outcome;
use serde_json::json;
use tokio::time::sleep;

use crate::fake_runtime::Program;
use crate::world::{World, s};

const MS: Duration = Duration::from_millis(1);

fn silent() -> Outcome {
    Outcome::Unanswered("no answer to GET /health within 5s".to_owned())
}

fn unwell() -> Outcome {
    Outcome::NotReady("GET /health answered 503".to_owned())
}

/// How long the process of a container has run.
fn age(container: &Container) -> Duration {
    let started = container.started_at.unwrap();
    Duration::try_from(clock::now().duration_since(started)).unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_up_in_50_ms_is_in_service_in_100() {
    for check in [json!(null), json!({"interval": "30s"})] {
        let mut world = World::new(70).await;
        world.answer(|container| {
            if age(container) >= 50 * MS {
                Outcome::Ready
            } else {
                silent()
            }
        });
        world.apply("users", json!({"healthCheck": check})).await;
        let first = async |world: &World| {
            world
                .containers("users")
                .iter()
                .any(|c| c.started_at.is_some())
        };
        world.until(s(5), "it is started", first).await;
        world
            .until(s(5), "it is in service", async |world| {
                world.ready("users") == 1
            })
            .await;
        let took = age(&world.only("users"));
        assert!(took <= 100 * MS, "{took:?}");
        // Again after a restart of its own.
        world.engine.kill_by_hand(&world.only("users").id);
        world
            .until(s(5), "it left service", async |world| {
                world.ready("users") == 0
            })
            .await;
        world
            .until(s(5), "it is back", async |world| world.ready("users") == 1)
            .await;
        let took = age(&world.only("users"));
        assert!(took <= 100 * MS, "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn silence_restarts_a_bad_answer_does_not_unless_asked_and_the_unknown_never() {
    let check = json!({"interval": "5s", "retries": 3});
    let strict = json!({"interval": "5s", "retries": 3, "restartOnStatus": true});
    let cannot = || Outcome::Unknown("no file descriptor is left".to_owned());
    type Case<'a> = (&'a str, &'a serde_json::Value, fn() -> Outcome, bool, usize);
    let cases: [Case<'_>; 6] = [
        ("silent", &check, silent, true, 0),
        ("silent, strict", &strict, silent, true, 0),
        ("unwell", &check, unwell, false, 0),
        ("unwell, strict", &strict, unwell, true, 0),
        ("unknown", &check, cannot, false, 1),
        ("unknown, strict", &strict, cannot, false, 1),
    ];
    for (word, check, answer, restarts, serving) in cases {
        let mut world = World::new(71).await;
        world.apply("users", json!({"healthCheck": check})).await;
        world.settle_within(s(10)).await;
        let started = world.engine.count("start");
        world.answer(move |_| answer());
        sleep(s(12)).await;
        let again = world.engine.count("start") - started;
        assert_eq!(again > 0, restarts, "{word}: {again} starts");
        assert_eq!(world.ready("users"), serving, "{word}");
        world.answer(|_| Outcome::Ready);
        world.match_within(s(60)).await;
        assert_eq!(world.engine.count("create"), 1, "{word}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_counts_within_the_start_period() {
    let world = World::new(72).await;
    world.answer(|_| silent());
    let check = json!({"interval": "5s", "retries": 2, "startPeriod": "60s"});
    world.apply("users", json!({"healthCheck": check})).await;
    sleep(s(60)).await;
    assert_eq!(world.engine.count("start"), 1);
    assert_eq!(world.ready("users"), 0);
    sleep(s(20)).await;
    assert_eq!(world.engine.count("start"), 2);
}

#[tokio::test(start_paused = true)]
async fn after_max_retries_it_stays_and_the_condition_tells_all_but_secrets() {
    let mut world = World::new(73).await;
    let image = world.engine.image_id("users").unwrap();
    let ends = Program::Ends {
        after: 300 * MS,
        code: 139,
    };
    world.engine.set_program(&image, ends);
    world.answer(|_| silent());
    world.apply("orders", json!({"state": "stopped"})).await;
    let spec = json!({
        "restart": {"maxRetries": 3, "delay": "1s"},
        "env": {
            "API_KEY": "hush-hush", "DATABASE": "postgres://bob:hunter22@db/main",
            "SELF": "users", "ORDERS": "http://orders:8000",
        },
    });
    world.apply("users", spec.clone()).await;
    let ended = async |world: &World| {
        let ready = world.said("users", "Ready").await;
        ready.is_some_and(|(reason, _)| reason == "CrashLoopBackOff")
    };
    world.until(s(30), "it is in a crash loop", ended).await;
    let id = world.only("users").id;
    world.engine.say(
        &id,
        true,
        "\u{1b}[31mcannot log in as bob with hunter22\u{1b}[0m",
    );
    world
        .engine
        .say(&id, true, "key hush-hush refused, token u");
    world
        .engine
        .say(&id, true, "users-0-1 of users cannot reach orders");
    sleep(s(600)).await;
    assert_eq!(world.engine.count("start"), 4, "once, and three more times");
    let status = world.status("users").await;
    let ready = status.condition("Ready").unwrap();
    assert_eq!(ready.reason, "RestartsExhausted");
    assert!(
        ready.message.contains("code 139 (SIGSEGV)") && !ready.message.contains("refused"),
        "{}",
        ready.message
    );
    let lines = ready.last_lines.join("\n");
    assert!(
        lines.contains("cannot log in as bob with ***") && lines.contains("key *** refused"),
        "{lines}"
    );
    assert!(
        lines.contains("users-0-1 of users cannot reach orders"),
        "names are everybody's: {lines}"
    );
    assert_eq!(
        status.instances[0].last_exit.as_ref().unwrap().last_lines,
        ready.last_lines
    );
    let everything = serde_json::to_string(&status).unwrap();
    for secret in ["hush-hush", "hunter22", "\u{1b}"] {
        assert!(!everything.contains(secret), "{everything}");
    }
    // Read once, and nothing more is done.
    let from = world.calls.len();
    sleep(s(130)).await;
    let calls = world.calls.since(from);
    let written = calls
        .iter()
        .filter(|call| call.writes() || call.name == "logs");
    assert_eq!(written.count(), 0, "{calls:#?}");
    // Somebody who removed the cause starts it again.
    world.engine.set_program(&image, Program::Runs);
    world.answer(|_| Outcome::Ready);
    world.roll("users").await;
    world.settle_within(s(60)).await;
    let status = world.status("users").await;
    assert!(status.condition("Ready").unwrap().last_lines.is_empty());
}

#[tokio::test(start_paused = true)]
async fn restarts_for_want_of_an_answer_end_after_max_retries_too() {
    let mut world = World::new(74).await;
    world.answer(|_| silent());
    let check = json!({"interval": "1s", "retries": 1});
    let spec = json!({"healthCheck": check, "restart": {"maxRetries": 2, "delay": "1s"}});
    world.apply("users", spec).await;
    sleep(s(120)).await;
    assert_eq!(world.engine.count("start"), 3);
    assert_eq!(
        world.said("users", "Ready").await.unwrap().0,
        "RestartsExhausted"
    );
    world.answer(|_| Outcome::Ready);
    world.match_within(s(10)).await;
}

#[tokio::test(start_paused = true)]
async fn a_log_that_hangs_holds_up_no_restart() {
    use crate::calls::Trouble;
    let world = World::new(75).await;
    let image = world.engine.image_id("users").unwrap();
    world
        .calls
        .judge(|call| (call.name == "logs").then_some(Trouble::Hangs));
    let ends = Program::Ends {
        after: 300 * MS,
        code: 1,
    };
    world.engine.set_program(&image, ends);
    world.apply("users", json!({})).await;
    sleep(s(600)).await;
    let starts = world.engine.count("start");
    assert!((8..=12).contains(&starts), "{starts} starts");
}
