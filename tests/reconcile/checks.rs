//! Law 8 of health checks: one that does not pass takes nothing out of service that was well by a former one, says why, and
//! reverting it recovers; one that passes takes over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agentainer::agent::spec::HealthCheck;
use agentainer::agent::status::{RolloutState, condition};
use agentainer::observed::Container;
use agentainer::probe::Outcome;
use agentainer::store::AgentStore;
use agentainer::wire::RecoverOutcome;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::calls::away;
use crate::fake_store::Fault;
use crate::leaders::ready;
use crate::recover::Snapshot;
use crate::rollouts::state;
use crate::world::{World, name, s};

fn spec(image: &str, endpoint: &str) -> Value {
    let check = json!({"endpoint": endpoint, "interval": "2s", "retries": 2});
    json!({"image": image, "replicas": 2, "healthCheck": check})
}

/// Two settled instances of `users` that answer well where their image's name begins the path, and without a path.
async fn settled(seed: u64) -> World {
    let mut world = World::new(seed).await;
    let images = ["users", "orders"].map(|image| (world.engine.image_id(image).unwrap(), image));
    world.answer_checks(move |container, check| {
        let image = images.iter().find(|(id, _)| *id == container.image);
        let known =
            |path: &str| image.is_some_and(|(_, image)| path.starts_with(&format!("/{image}")));
        match check.map(|check| check.endpoint.as_str()) {
            Some(path) if !known(path) => Outcome::NotReady(format!("GET {path} answered 404")),
            _ => Outcome::Ready,
        }
    });
    world.apply("users", spec("users", "/users")).await;
    world.settle_within(s(15)).await;
    world
}

/// At each moment of this time at least so many serve.
async fn serving_for(world: &mut World, time: Duration, least: usize) {
    let moment = Duration::from_millis(20);
    for _ in 0..time.as_millis() / moment.as_millis() {
        world.pass(moment).await;
        assert!(world.ready("users") >= least, "{:?}", world.routed("users"));
    }
}

async fn failed(world: &mut World) {
    let failed = async |world: &World| state(world).await == RolloutState::Failed;
    world.until(s(130), "the check has failed", failed).await;
    let status = world.status("users").await;
    assert_eq!(
        status.rollout.failed.unwrap().reason,
        "HealthCheckNotPassed"
    );
}

async fn told(world: &World, reason: &str) -> usize {
    let events = world
        .store
        .events(Some(&name("users")), 1000)
        .await
        .unwrap();
    let of_it = events.iter().filter(|event| event.reason == reason);
    of_it.map(|event| event.count as usize).sum()
}

#[tokio::test(start_paused = true)]
async fn law_8_a_wrong_check_alone_takes_nothing_out_of_service_and_reverting_it_recovers() {
    let mut world = settled(400).await;
    let before = world.untouched("users");
    world.apply("users", spec("users", "/wrong")).await;
    serving_for(&mut world, s(30), 2).await;
    let (reason, message) = world.said("users", "Progressing").await.unwrap();
    assert_eq!(reason, "HealthCheckNotPassed");
    assert!(message.contains("GET /wrong answered 404"), "{message}");
    assert_eq!(state(&world).await, RolloutState::Progressing);
    failed(&mut world).await;
    serving_for(&mut world, s(200), 2).await;
    assert_eq!(world.untouched("users"), before);
    assert_eq!(told(&world, "RolloutFailed").await, 1);
    assert_eq!(told(&world, "NotReady").await, 0);
    let from = world.calls.len();
    world.apply("users", spec("users", "/users")).await;
    world.pass(s(1)).await;
    assert_eq!(state(&world).await, RolloutState::Complete);
    assert_eq!(world.said("users", "Ready").await.unwrap().0, "Ready");
    world.settle_within(s(5)).await;
    let writes = world.calls.writes_since(from);
    assert!(writes.iter().all(|call| !call.engine), "{writes:?}");
    assert_eq!(world.untouched("users"), before);
}

#[tokio::test(start_paused = true)]
async fn law_5_an_image_and_its_check_changed_at_once_roll_out_without_an_unready_moment() {
    let mut world = settled(401).await;
    world.apply("users", spec("orders", "/orders")).await;
    serving_for(&mut world, s(60), 2).await;
    world.settle_within(s(1)).await;
    assert_eq!(state(&world).await, RolloutState::Complete);
    assert_eq!(told(&world, "NotReady").await, 0);
    // Neither does one whose new check is wrong, and the old ones are never asked by it.
    let before = world.untouched("users");
    let mut bad = spec("orders", "/wrong");
    bad["args"] = json!(["new"]);
    world.apply("users", bad).await;
    serving_for(&mut world, s(200), 2).await;
    let (reason, message) = world.said("users", "Progressing").await.unwrap();
    assert_eq!(reason, "ProgressDeadlineExceeded");
    assert!(
        message.contains("the earlier revision goes on serving"),
        "{message}"
    );
    world.apply("users", spec("orders", "/orders")).await;
    world.settle_within(s(30)).await;
    assert_eq!(world.untouched("users"), before);
}

#[tokio::test(start_paused = true)]
async fn law_8_a_check_that_passes_takes_over() {
    let mut world = settled(402).await;
    let before = world.untouched("users");
    world.apply("users", spec("users", "/users/new")).await;
    serving_for(&mut world, s(1), 2).await;
    assert_eq!(state(&world).await, RolloutState::Complete);
    world.settle_within(s(1)).await;
    // By the new one they are judged from now on, by each server.
    world.answer_checks(|_, check| match check {
        Some(HealthCheck { endpoint, .. }) if endpoint == "/users/new" => {
            Outcome::NotReady("GET /users/new answered 503".to_owned())
        }
        _ => Outcome::Ready,
    });
    let none = async |world: &World| world.ready("users") == 0;
    world.until(s(10), "they are unready", none).await;
    world.restart().await;
    world.pass(s(10)).await;
    assert_eq!(world.ready("users"), 0);
    // Then the former one is one that has to pass, and does.
    world.apply("users", spec("users", "/users")).await;
    world.settle_within(s(10)).await;
    assert_eq!(world.untouched("users"), before);
    // No check is a check too.
    world
        .apply("users", json!({"image": "users", "replicas": 2}))
        .await;
    world.settle_within(s(10)).await;
    world.apply("users", spec("users", "/users/new")).await;
    serving_for(&mut world, s(30), 2).await;
    assert_eq!(state(&world).await, RolloutState::Progressing);
}

#[tokio::test(start_paused = true)]
async fn law_8_a_trial_outlives_the_server() {
    let mut world = settled(403).await;
    world.apply("users", spec("users", "/wrong")).await;
    failed(&mut world).await;
    for _ in 0..2 {
        world.restart().await;
        let back = async |world: &World| world.ready("users") == 2;
        world.until(s(5), "the new server serves", back).await;
        serving_for(&mut world, s(60), 2).await;
        assert_eq!(state(&world).await, RolloutState::Failed);
    }
    assert_eq!(told(&world, "RolloutFailed").await, 1);
    assert_eq!(told(&world, "NotReady").await, 0);
}

#[tokio::test(start_paused = true)]
async fn law_8_a_trial_outlives_the_store() {
    let mut world = settled(404).await;
    let snapshot = Snapshot::of(&world);
    world.apply("users", spec("users", "/wrong")).await;
    failed(&mut world).await;
    world.pass(s(30)).await;
    world.kill().await;
    world.store.wipe();
    world.store.found(&world.cluster, 2).await.unwrap();
    snapshot.recover(&world, RecoverOutcome::Created).await;
    world.serve().await;
    let back = async |world: &World| world.ready("users") == 2;
    world.until(s(5), "the new server serves", back).await;
    serving_for(&mut world, s(60), 2).await;
    assert_eq!(state(&world).await, RolloutState::Failed);
}

#[tokio::test(start_paused = true)]
async fn law_8_in_a_trial_what_ends_is_started_what_is_lost_is_made_and_it_is_scaled() {
    let mut world = settled(405).await;
    world.apply("users", spec("users", "/wrong")).await;
    failed(&mut world).await;
    let all = async |world: &World| world.ready("users") == 2;
    world.engine.kill_by_hand(&world.containers("users")[0].id);
    world.until(s(5), "it is started again", all).await;
    world
        .engine
        .remove_by_hand(&world.containers("users")[1].id);
    world.until(s(5), "it is made again", all).await;
    assert_eq!(state(&world).await, RolloutState::Failed);
    assert_eq!(told(&world, "RolloutFailed").await, 1);
    let mut more = spec("users", "/wrong");
    more["replicas"] = json!(4);
    world.apply("users", more).await;
    let all = async |world: &World| world.ready("users") == 4;
    world.until(s(5), "the new ones serve", all).await;
    serving_for(&mut world, s(30), 4).await;
    // What no longer answers the former one is restarted by it.
    world.answer(|_| Outcome::Unanswered("no answer".to_owned()));
    let starts = world.engine.count("start");
    let restarted = async |world: &World| world.engine.count("start") > starts;
    world.until(s(10), "silence restarts", restarted).await;
}

#[tokio::test(start_paused = true)]
async fn law_8_a_follower_judges_by_what_passed_too() {
    let mut world = settled(406).await;
    let other = world.beside("server-2").await;
    world.pass(s(10)).await;
    world.apply("users", spec("users", "/wrong")).await;
    for _ in 0..1000 {
        world.pass(Duration::from_millis(20)).await;
        assert_eq!((world.ready("users"), ready(&other)), (2, 2));
    }
    other.kill().await;
}

#[tokio::test(start_paused = true)]
async fn a_first_check_that_never_passed_is_no_former_one() {
    let mut world = World::new(407).await;
    world.answer_checks(|_: &Container, check| match check {
        Some(HealthCheck { endpoint, .. }) if endpoint == "/wrong" => {
            Outcome::NotReady("GET /wrong answered 404".to_owned())
        }
        _ => Outcome::Ready,
    });
    world.apply("users", spec("users", "/wrong")).await;
    world.pass(s(30)).await;
    assert_eq!(world.ready("users"), 0);
    let (reason, _) = world.said("users", condition::READY).await.unwrap();
    assert_ne!(reason, condition::FORMER_CHECK);
    world.apply("users", spec("users", "/users")).await;
    world.settle_within(s(15)).await;
}

/// Redis goes between a new server's look at the object and that at what is recorded of it.
#[tokio::test(start_paused = true)]
async fn law_6_until_it_is_known_which_check_passed_what_was_well_stays_so() {
    let mut world = settled(408).await;
    world.apply("users", spec("users", "/wrong")).await;
    world.pass(s(5)).await;
    world.kill().await;
    let store = world.store.caller(false);
    let lost = Arc::new(AtomicBool::new(true));
    let fails = Arc::clone(&lost);
    store.on_call(move |call| {
        let fails = call == "revisions" && fails.load(Ordering::Relaxed);
        fails.then(|| Fault::Before(away()))
    });
    let other = world.beside_on("server-2", store).await;
    let moment = Duration::from_millis(20);
    let within = async |want: usize| {
        for _ in 0..1000 {
            if ready(&other) == want {
                return;
            }
            sleep(moment).await;
        }
        panic!("{:?}", other.routed("users"));
    };
    within(2).await;
    for _ in 0..1000 {
        sleep(moment).await;
        assert_eq!(ready(&other), 2, "{:?}", other.routed("users"));
    }
    // Once it is known, it is asked again.
    lost.store(false, Ordering::Relaxed);
    sleep(s(5)).await;
    assert_eq!(ready(&other), 2);
    world.answer(|_| Outcome::NotReady("503".to_owned()));
    within(0).await;
    other.kill().await;
}
