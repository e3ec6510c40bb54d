//! Law 8: a bad spec harms nothing, says why, costs little, and reverting it recovers.

use std::time::Duration;

use agentainer::agent::Phase;
use agentainer::probe::Outcome;
use agentainer::store::AgentStore;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::calls::Trouble;
use crate::fake_runtime::Program;
use crate::world::{World, name, s};

/// What of the engine was written in so much time, all told.
async fn engine_writes(world: &World, time: Duration) -> usize {
    let writes = world.writes_in(time).await;
    writes.iter().filter(|call| call.engine).count()
}

#[tokio::test(start_paused = true)]
async fn law_8_an_image_that_cannot_be_had_leaves_the_last_one_serving_and_reverting_does_nothing()
{
    let mut world = World::new(50).await;
    let good = json!({"replicas": 2, "image": "users"});
    world.apply("users", good.clone()).await;
    world.settle_within(s(10)).await;
    let before = world.untouched("users");
    world
        .apply("users", json!({"replicas": 2, "image": "nowhere"}))
        .await;
    sleep(s(2)).await;
    let (reason, message) = world.said("users", "ImageResolved").await.unwrap();
    assert_eq!(reason, "ImagePullFailed");
    assert!(message.contains("'nowhere'"), "{message}");
    assert_eq!(world.untouched("users"), before);
    let from = world.calls.len();
    sleep(s(600)).await;
    let pulls = world.calls.since(from);
    let pulls = pulls.iter().filter(|call| call.name == "pull").count();
    assert!(pulls <= 8, "{pulls} pulls in ten minutes");
    assert_eq!(world.ready("users"), 2);
    let from = world.calls.len();
    world.apply("users", good).await;
    world.settle_within(s(5)).await;
    let writes = world.calls.writes_since(from);
    assert!(writes.iter().all(|call| !call.engine), "{writes:?}");
    assert_eq!(world.untouched("users"), before);
    // One that comes to be is found.
    world
        .apply("users", json!({"replicas": 2, "image": "later"}))
        .await;
    sleep(s(60)).await;
    world.engine.add_image("later");
    world.settle_within(s(310)).await;
}

#[tokio::test(start_paused = true)]
async fn a_denied_host_path_is_told_and_not_tried_again_and_again() {
    let mut world = World::new(51).await;
    let volumes = json!([{"host": "/etc", "container": "/data", "mode": "ro"}]);
    world.apply("users", json!({"volumes": volumes})).await;
    sleep(s(5)).await;
    let status = world.status("users").await;
    assert_eq!(status.phase, Phase::Failed);
    let (reason, message) = world.said("users", "Ready").await.unwrap();
    assert_eq!(reason, "HostPathDenied");
    assert!(message.contains("--allow-host-path /etc"), "{message}");
    let from = world.calls.len();
    sleep(s(600)).await;
    let mut calls = world.calls.since(from);
    // A sign of life a second is no work on this agent.
    calls.retain(|call| call.name != "beat");
    let creates = calls.iter().filter(|call| call.name == "create").count();
    assert!(creates <= 3, "{creates} tries in ten minutes");
    assert!(calls.len() < 600, "{} calls in ten minutes", calls.len());
    let events = world.store.events(Some(&name("users")), 100).await.unwrap();
    assert!(
        events.iter().all(|event| event.reason != "Created"),
        "{events:#?}"
    );
    world.apply("users", json!({})).await;
    world.settle_within(s(5)).await;
}

/// A change of the spec that cannot work beside one that does; answers how many writes ten minutes of it cost.
async fn tried_and_reverted(world: &mut World, bad: Value) -> usize {
    let good = json!({"replicas": 2});
    world.apply("users", good.clone()).await;
    world.settle_within(s(400)).await;
    let before = world.untouched("users");
    world.apply("users", bad).await;
    sleep(s(5)).await;
    let cost = engine_writes(world, s(600)).await;
    let old = world.untouched("users");
    assert!(
        before
            .iter()
            .all(|one| old.iter().any(|o| o.0 == one.0 && o.1 == one.1)),
        "{old:?}"
    );
    assert_eq!(world.ready("users"), 2);
    let (reason, message) = world.said("users", "Ready").await.unwrap();
    assert_ne!(reason, "Ready", "{message}");
    world.apply("users", good).await;
    world.settle_within(s(60)).await;
    let after = world.untouched("users");
    assert!(
        after
            .iter()
            .zip(&before)
            .all(|(a, b)| (&a.0, a.1) == (&b.0, b.1)),
        "{after:?}"
    );
    assert!(world.names_are_right("users"), "{after:?}");
    cost
}

#[tokio::test(start_paused = true)]
async fn law_8_an_update_that_crashes_fails_its_probe_or_cannot_start_leaves_the_last_one_serving()
{
    let mut world = World::new(52).await;
    let (crash, stuck) = (
        world.engine.add_image("crash"),
        world.engine.add_image("stuck"),
    );
    let ends = Program::Ends {
        after: s(2),
        code: 1,
    };
    world.engine.set_program(&crash, ends);
    world.engine.set_program(&stuck, Program::CannotStart);
    world.engine.add_image("sick");
    let sick = world.engine.image_id("sick").unwrap();
    let crashing = crash.clone();
    world.answer(move |container| {
        if container.image == sick || container.image == crashing {
            Outcome::NotReady("GET /health answered 500".to_owned())
        } else {
            Outcome::Ready
        }
    });
    for image in ["crash", "stuck", "sick"] {
        let cost = tried_and_reverted(&mut world, json!({"replicas": 2, "image": image})).await;
        assert!(cost <= 25, "{image}: {cost} writes in ten minutes");
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_loop_rests_longer_each_time_and_ends_with_the_cause() {
    let mut world = World::new(53).await;
    let image = world.engine.image_id("users").unwrap();
    let ends = Program::Ends {
        after: Duration::from_millis(300),
        code: 3,
    };
    world.engine.set_program(&image, ends);
    world.answer(|_| Outcome::Unanswered("nothing listens".to_owned()));
    world.apply("users", json!({})).await;
    sleep(s(600)).await;
    let starts = world.engine.count("start");
    assert!((8..=12).contains(&starts), "{starts} starts");
    let (reason, message) = world.said("users", "Ready").await.unwrap();
    assert_eq!(reason, "CrashLoopBackOff");
    assert!(message.contains("code 3"), "{message}");
    world.engine.set_program(&image, Program::Runs);
    world.answer(|_| Outcome::Ready);
    world.match_within(s(310)).await;
    // The row ends after a good run; that is the last write.
    sleep(s(610)).await;
    world.settle_within(s(1)).await;
    assert_eq!(world.engine.count("create"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_crash_loop_rests_though_the_store_takes_no_status_or_is_away() {
    for away in [false, true] {
        let mut world = World::new(55).await;
        world.apply("users", json!({})).await;
        world.settle_within(s(10)).await;
        let image = world.engine.image_id("users").unwrap();
        let ends = Program::Ends {
            after: Duration::from_millis(300),
            code: 3,
        };
        world.engine.set_program(&image, ends);
        world.calls.judge(move |call| {
            let fails = !call.engine && (away || call.name == "put_status");
            fails.then_some(Trouble::Fails)
        });
        world.engine.kill_by_hand(&world.only("users").id);
        sleep(s(600)).await;
        let starts = world.engine.count("start");
        assert!((8..=13).contains(&starts), "away: {away}, {starts} starts");
        world.calls.heal();
        sleep(s(10)).await;
        let instances = world.status("users").await.instances;
        assert!(instances[0].failures >= 7, "what was counted is written");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_image_harms_nothing_that_runs() {
    let mut world = World::new(54).await;
    world.apply("users", json!({"replicas": 2})).await;
    world.settle_within(s(10)).await;
    let before = world.untouched("users");
    let image = world.engine.image_id("users").unwrap();
    world.engine.lose_image(&image);
    sleep(s(130)).await;
    assert_eq!(world.untouched("users"), before);
    let (reason, message) = world.said("users", "ImageResolved").await.unwrap();
    assert_eq!(reason, "ImageLost", "{message}");
    world.engine.kill_by_hand(&before[0].0);
    let limit = s(1);
    world
        .until(limit, "it is started again", async |world| {
            world.ready("users") == 2
        })
        .await;
    world.engine.remove_by_hand(&before[1].0);
    sleep(s(60)).await;
    assert_eq!(world.ready("users"), 1);
    world.engine.add_image("users");
    world.settle_within(s(310)).await;
}
