//! Law 8: an agent's first revision fails in time, says why, is tried on, and becomes good when it gets well.

use std::time::Duration;

use agentainer::agent::status::{RolloutState, RolloutStatus, condition};
use agentainer::probe::Outcome;
use serde_json::json;
use tokio::time::sleep;

use crate::calls::Trouble;
use crate::fake_runtime::{Program, Pull};
use crate::world::{World, s};

async fn rollout(world: &World) -> RolloutStatus {
    world.status("users").await.rollout
}

async fn failed(world: &World) -> bool {
    rollout(world).await.state == RolloutState::Failed
}

/// Lets time pass, and sees at every moment that the rollout has not failed.
async fn never_fails_within(world: &mut World, time: Duration) {
    let until = tokio::time::Instant::now() + time;
    while tokio::time::Instant::now() < until {
        sleep(s(1)).await;
        assert!(!failed(world).await, "{:#?}", rollout(world).await);
    }
}

/// It is as if nothing had been.
async fn becomes_good(world: &mut World) {
    world.settle_within(s(310)).await;
    let now = rollout(world).await;
    assert_eq!(now.state, RolloutState::Complete);
    assert_eq!((now.failed, now.progressed_at), (None, None));
    let agent = world.agent("users").await.unwrap();
    assert_eq!(now.last_good, Some(agent.revision()));
}

#[tokio::test(start_paused = true)]
async fn law_8_a_first_revision_in_a_crash_loop_has_failed_and_is_tried_on() {
    let mut world = World::new(320).await;
    let image = world.engine.image_id("users").unwrap();
    let ends = Program::Ends {
        after: s(1),
        code: 3,
    };
    world.engine.set_program(&image, ends);
    world.answer(|_| Outcome::Unanswered("nothing listens".to_owned()));
    world.apply("users", json!({})).await;
    let took = world.until(s(60), "it failed", failed).await;
    assert!(took >= s(5), "{took:?}");
    let (reason, message) = world.said("users", condition::PROGRESSING).await.unwrap();
    assert_eq!(reason, "CrashLoopBackOff");
    assert!(
        message.contains("code 3") && !message.contains("undo"),
        "{message}"
    );
    // A server that dies knows it again, and the back-off is what it was.
    world.restart().await;
    let starts = world.engine.count("start");
    sleep(s(600)).await;
    assert!(failed(&world).await);
    let starts = world.engine.count("start") - starts;
    assert!((3..=7).contains(&starts), "{starts} starts");
    world.engine.set_program(&image, Program::Runs);
    world.answer(|_| Outcome::Ready);
    becomes_good(&mut world).await;
    assert_eq!(world.engine.count("create"), 1);
}

#[tokio::test(start_paused = true)]
async fn law_8_a_first_revision_that_is_never_ready_fails_by_its_deadline() {
    let mut world = World::new(321).await;
    world.answer(|_| Outcome::NotReady("GET /health answered 500".to_owned()));
    let strategy = json!({"progressDeadline": "30s", "rollback": true});
    let spec = json!({"replicas": 2, "strategy": strategy});
    world.apply("users", spec).await;
    let took = world.until(s(60), "it failed", failed).await;
    assert!(took >= s(29) && took <= s(35), "{took:?}");
    let (reason, message) = world.said("users", condition::PROGRESSING).await.unwrap();
    assert_eq!(reason, "ProgressDeadlineExceeded");
    assert!(message.contains("GET /health answered 500"), "{message}");
    // One that writes nothing and does nothing more for it.
    sleep(s(100)).await;
    let writes = world.writes_in(s(300)).await;
    assert!(writes.is_empty(), "{writes:#?}");
    world.answer(|_| Outcome::Ready);
    becomes_good(&mut world).await;
    assert_eq!(world.engine.count("create"), 2);
    // It was good once: what comes now is healed, and no rollout.
    world.answer(|_| Outcome::NotReady("GET /health answered 503".to_owned()));
    never_fails_within(&mut world, s(300)).await;
    let (reason, _) = world.said("users", "Ready").await.unwrap();
    assert_eq!(reason, "NotReady");
}

#[tokio::test(start_paused = true)]
async fn law_8_an_image_that_nobody_has_fails_a_first_revision_in_time() {
    for denied in [true, false] {
        let mut world = World::new(322).await;
        let image = if denied { "private" } else { "sha256:0" };
        world.engine.set_registry("private", Pull::Denied);
        world
            .calls
            .judge(|call| (call.name == "pull").then_some(Trouble::Slow(s(3))));
        world.apply("users", json!({"image": image})).await;
        let took = world.until(s(300), "it failed", failed).await;
        assert!(took >= s(119) && took <= s(170), "{took:?}");
        let failed = rollout(&world).await.failed.unwrap();
        assert_eq!(failed.reason, "ProgressDeadlineExceeded");
        assert!(failed.message.contains(image), "{}", failed.message);
        let (reason, _) = world.said("users", "Ready").await.unwrap();
        assert!(
            ["ImageNotFound", "Pulling"].contains(&reason.as_str()),
            "the more precise word: {reason}"
        );
        if denied {
            world.engine.set_registry("private", Pull::Given);
            becomes_good(&mut world).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_pull_a_dependency_and_an_outage_are_no_time_of_a_first_revision() {
    let mut world = World::new(323).await;
    world.engine.set_registry("slow", Pull::Given);
    world
        .calls
        .judge(|call| (call.name == "pull").then_some(Trouble::Slow(s(600))));
    world.apply("users", json!({"image": "slow"})).await;
    never_fails_within(&mut world, s(590)).await;
    let is_ready = async |world: &World| world.ready("users") == 1;
    world.until(s(30), "it is ready", is_ready).await;
    never_fails_within(&mut world, s(30)).await;

    let mut world = World::new(324).await;
    world.answer(|container| match container.identity.agent.as_str() {
        "auth" => Outcome::NotReady("GET /health answered 500".to_owned()),
        _ => Outcome::Ready,
    });
    world.apply("auth", json!({})).await;
    world.apply("users", json!({"dependsOn": ["auth"]})).await;
    never_fails_within(&mut world, s(600)).await;
    assert_eq!(
        world.status("auth").await.rollout.state,
        RolloutState::Failed
    );
    world.answer(|_| Outcome::Ready);
    becomes_good(&mut world).await;

    let mut world = World::new(325).await;
    world.answer(|_| Outcome::NotReady("GET /health answered 500".to_owned()));
    world.apply("users", json!({})).await;
    sleep(s(60)).await;
    world
        .calls
        .judge(|call| (!call.engine).then_some(Trouble::Fails));
    sleep(s(600)).await;
    world.calls.heal();
    never_fails_within(&mut world, s(110)).await;
    world.until(s(30), "it failed", failed).await;
}

#[tokio::test(start_paused = true)]
async fn a_deadline_shorter_than_the_proof_harms_no_rollout_that_is_ready() {
    let mut world = World::new(326).await;
    let strategy = json!({"progressDeadline": "2s", "rollback": true});
    for colour in ["red", "blue"] {
        let spec = json!({
            "replicas": 2, "strategy": strategy, "env": {"COLOUR": colour}, "drain": {"timeout": "30s"},
        });
        world.apply("users", spec).await;
        never_fails_within(&mut world, s(20)).await;
        becomes_good(&mut world).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_revision_that_is_scaled_from_nothing_or_started_is_judged_then() {
    for (away, back) in [
        (json!({"replicas": 0}), json!({})),
        (json!({"state": "stopped"}), json!({})),
    ] {
        let mut world = World::new(327).await;
        world.answer(|_| Outcome::NotReady("GET /health answered 500".to_owned()));
        world.apply("users", away).await;
        never_fails_within(&mut world, s(300)).await;
        world.apply("users", back.clone()).await;
        never_fails_within(&mut world, s(115)).await;
        world.until(s(10), "it failed", failed).await;
        world.apply("users", json!({"state": "stopped"})).await;
        sleep(s(300)).await;
        world.apply("users", back).await;
        world
            .until(s(5), "it is tried anew", async |world| !failed(world).await)
            .await;
        never_fails_within(&mut world, s(110)).await;
        world.until(s(15), "it failed again", failed).await;
    }
}
