//! What people are told: each turn once, in words that do not change, whatever the server and the store do meanwhile.

use std::time::Duration;

use agentainer::agent::status::RolloutState;
use agentainer::agent::{EventKind, EventRecord};
use agentainer::probe::Outcome;
use agentainer::store::AgentStore;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::calls::Trouble;
use crate::fake_runtime::Program;
use crate::world::{World, name, s};

/// What is on record of an agent, or of the host, for a reason.
async fn events(world: &World, agent: Option<&str>, reason: &str) -> Vec<EventRecord> {
    let mut all = world.store.events(None, 1000).await.unwrap();
    let agent = agent.map(name);
    all.retain(|event| event.agent == agent && event.reason == reason);
    all
}

/// How often it was told, all as one event.
async fn count(world: &World, reason: &str) -> u32 {
    let found = events(world, Some("users"), reason).await;
    assert!(found.len() <= 1, "{found:#?}");
    found.first().map_or(0, |event| event.count)
}

async fn message(world: &World, reason: &str, kind: EventKind) -> String {
    let found = events(world, Some("users"), reason).await;
    assert_eq!(found[0].kind, kind, "{reason}");
    found[0].message.clone()
}

fn sick() -> Outcome {
    Outcome::NotReady("GET /health answered 503".to_owned())
}

/// What has `COLOUR=bad` never gets ready.
fn colour_blind(world: &World) {
    let engine = world.engine.clone();
    world.answer(move |container| {
        let mut environment = engine.environment(&container.id).into_iter();
        match environment.any(|(_, value)| value == "bad") {
            true => sick(),
            false => Outcome::Ready,
        }
    });
}

fn spec(colour: &str, rollback: bool) -> Value {
    json!({
        "replicas": 2,
        "env": {"COLOUR": colour, "API_KEY": "hush-hush"},
        "strategy": {"progressDeadline": "30s", "rollback": rollback},
    })
}

async fn reaches(world: &mut World, state: RolloutState) {
    let so = async |world: &World| world.status("users").await.rollout.state == state;
    world.until(s(90), "the rollout ends", so).await;
    sleep(s(15)).await;
}

#[tokio::test(start_paused = true)]
async fn a_rollouts_turns_are_told_once_each_over_restarts_of_the_server() {
    let mut world = World::new(400).await;
    colour_blind(&world);
    world.apply("users", spec("good", false)).await;
    world.settle_within(s(20)).await;
    assert_eq!(count(&world, "Ready").await, 1);
    assert_eq!(count(&world, "RolloutComplete").await, 1);
    world.restart().await;
    world.apply("users", spec("bad", false)).await;
    reaches(&mut world, RolloutState::Failed).await;
    world.restart().await;
    sleep(s(300)).await;
    assert_eq!(count(&world, "RolloutFailed").await, 1);
    let failed = message(&world, "RolloutFailed", EventKind::Warning).await;
    assert!(failed.contains("revision 2 ("), "{failed}");
    assert!(failed.contains("GET /health answered 503"), "{failed}");
    world.apply("users", spec("good", false)).await;
    world.settle_within(s(60)).await;
    assert_eq!(count(&world, "RolloutComplete").await, 2);
    world.apply("users", spec("bad", true)).await;
    reaches(&mut world, RolloutState::RolledBack).await;
    world.restart().await;
    sleep(s(300)).await;
    assert_eq!(count(&world, "RolloutFailed").await, 2);
    assert_eq!(count(&world, "RolledBack").await, 1);
    message(&world, "RolledBack", EventKind::Warning).await;
    let done = message(&world, "RolloutComplete", EventKind::Normal).await;
    assert!(done.contains("revision 3 ("), "{done}");
    assert_eq!(count(&world, "NotReady").await, 0, "the good one served on");
    let all = world.store.events(None, 1000).await.unwrap();
    assert!(!format!("{all:?}").contains("hush"), "{all:#?}");
}

#[tokio::test(start_paused = true)]
async fn readiness_that_flaps_is_one_event_that_counts() {
    let mut world = World::new(401).await;
    world.apply("users", json!({})).await;
    world.settle_within(s(20)).await;
    for round in 1..=20 {
        world.answer(|_| sick());
        let lost = async |world: &World| !world.status("users").await.is_ready();
        world.until(s(60), "it is lost", lost).await;
        sleep(s(1)).await;
        assert_eq!(count(&world, "NotReady").await, round);
        world.answer(|_| Outcome::Ready);
        let well = async |world: &World| world.status("users").await.is_ready();
        world.until(s(60), "it is back", well).await;
        sleep(s(1)).await;
        assert_eq!(count(&world, "Ready").await, round + 1);
    }
    let lost = message(&world, "NotReady", EventKind::Warning).await;
    assert_eq!(
        lost,
        "0 of 1 ready: users is not ready: GET /health answered 503"
    );
    assert_eq!(count(&world, "RolloutComplete").await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_crash_loop_is_one_event_that_counts_until_it_is_given_up() {
    let world = World::new(402).await;
    let image = world.engine.image_id("users").unwrap();
    let ends = Program::Ends {
        after: Duration::from_millis(300),
        code: 139,
    };
    world.engine.set_program(&image, ends);
    world.answer(|_| Outcome::Unanswered("nothing listens".to_owned()));
    let restart = json!({"maxRetries": 7});
    world.apply("users", json!({"restart": restart})).await;
    sleep(s(900)).await;
    assert_eq!(count(&world, "CrashLoopBackOff").await, 6);
    let said = message(&world, "CrashLoopBackOff", EventKind::Warning).await;
    assert!(said.contains("code 139 (SIGSEGV)"), "{said}");
    assert_eq!(count(&world, "RestartsExhausted").await, 1);
    assert_eq!(count(&world, "RolloutFailed").await, 1);
    assert_eq!(count(&world, "NotReady").await, 0, "it never was");
}

#[tokio::test(start_paused = true)]
async fn no_turn_is_told_twice_by_a_server_that_dies_or_a_store_that_takes_no_status() {
    for trouble in [Trouble::DiesBefore, Trouble::DiesAfter, Trouble::Fails] {
        let mut world = World::new(403).await;
        world.apply("users", json!({})).await;
        world.settle_within(s(20)).await;
        let (dies, mut left) = (trouble, 3);
        let fails = matches!(trouble, Trouble::Fails);
        world.calls.judge(move |call| {
            let hit = call.name == "put_status" && left > 0;
            left -= u32::from(hit && !fails);
            hit.then_some(dies)
        });
        // What comes and goes while nothing can be written is told of at its end.
        for _ in 0..3 {
            world.answer(|_| sick());
            world.pass(s(40)).await;
            world.answer(|_| Outcome::Ready);
            world.pass(s(40)).await;
        }
        world.answer(|_| sick());
        world.pass(s(60)).await;
        world.calls.heal();
        world.pass(s(60)).await;
        let told = count(&world, "NotReady").await;
        match trouble {
            Trouble::Fails => assert_eq!(told, 1),
            // At most once each, and not all are lost.
            _ => assert!((1..=4).contains(&told), "{trouble:?}: {told}"),
        }
        world.answer(|_| Outcome::Ready);
        world.pass(s(60)).await;
        let back = count(&world, "Ready").await;
        assert!((2..=5).contains(&back), "{trouble:?}: {back}");
        assert_eq!(count(&world, "RolloutComplete").await, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_network_that_is_made_again_is_told_of_the_host() {
    let mut world = World::new(404).await;
    world.apply("users", json!({})).await;
    world.settle_within(s(20)).await;
    let made = async |world: &World| {
        let made = events(world, None, "NetworkCreated").await;
        made.first().map_or(0, |event| event.count)
    };
    assert_eq!(made(&world).await, 1);
    let network = world.port.look_at_network().unwrap();
    world.engine.remove_network_by_hand(&network.id);
    world.settle_within(s(60)).await;
    assert_eq!(made(&world).await, 2);
    let told = events(&world, None, "NetworkCreated").await;
    assert_eq!(
        told[0].message,
        format!(
            "network '{}' was not there and was made",
            crate::world::NETWORK
        )
    );
    assert_eq!(count(&world, "NotReady").await, 1);
    assert_eq!(count(&world, "Ready").await, 2);
}
