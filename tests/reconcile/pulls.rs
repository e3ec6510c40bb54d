//! Image pulls beside the passes: a slow registry holds up nobody, is asked once for many, and not again and again.

use agentainer::agent::Phase;
use serde_json::json;
use tokio::time::sleep;

use crate::calls::Trouble;
use crate::fake_runtime::Pull;
use crate::world::{World, s};

fn pulls(world: &World) -> usize {
    let calls = world.calls.since(0);
    calls.iter().filter(|call| call.name == "pull").count()
}

#[tokio::test(start_paused = true)]
async fn slow_pulls_hold_up_nobody() {
    let mut world = World::new(80).await;
    world
        .calls
        .judge(|call| (call.name == "pull").then_some(Trouble::Slow(s(600))));
    for number in 0..20 {
        let image = format!("slow-{number}");
        world.engine.set_registry(&image, Pull::Given);
        let spec = json!({"image": image});
        world.apply(&format!("agent-{number}"), spec).await;
    }
    sleep(s(1)).await;
    let (reason, message) = world.said("agent-7", "Ready").await.unwrap();
    assert_eq!(reason, "Pulling", "{message}");
    assert!(message.contains("pulling image 'slow-7'"), "{message}");
    assert_eq!(world.status("agent-7").await.phase, Phase::Progressing);
    world.apply("users", json!({})).await;
    let ready = async |world: &World| world.ready("users") == 1;
    let took = world.until(s(10), "users is ready", ready).await;
    assert!(took <= s(1), "{took:?}");
    world.settle_within(s(605)).await;
    assert_eq!(pulls(&world), 20);
}

#[tokio::test(start_paused = true)]
async fn an_image_that_many_want_is_pulled_once() {
    let mut world = World::new(81).await;
    world.engine.set_registry("shared", Pull::Given);
    world
        .calls
        .judge(|call| (call.name == "pull").then_some(Trouble::Slow(s(30))));
    for number in 0..10 {
        let spec = json!({"image": "shared", "pullPolicy": "always"});
        world.apply(&format!("agent-{number}"), spec).await;
        sleep(s(1)).await;
    }
    world.settle_within(s(60)).await;
    assert_eq!(pulls(&world), 1);
    // Asked for anew, it is looked for anew.
    world.roll("agent-3").await;
    world.settle_within(s(60)).await;
    assert_eq!(pulls(&world), 2);
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_refuses_is_asked_ever_more_seldom_however_many_want_the_image() {
    let mut world = World::new(82).await;
    world.engine.set_registry("private", Pull::Denied);
    for number in 0..20 {
        let spec = json!({"image": "private"});
        world.apply(&format!("agent-{number}"), spec).await;
    }
    sleep(s(3600)).await;
    let (reason, _) = world.said("agent-0", "ImageResolved").await.unwrap();
    assert_eq!(reason, "ImageNotFound");
    let asked = pulls(&world);
    assert!(asked <= 40, "{asked} pulls in an hour");
    // It is there at last.
    world.engine.set_registry("private", Pull::Given);
    world.settle_within(s(320)).await;
    assert_eq!(pulls(&world), asked + 1);
}

#[tokio::test(start_paused = true)]
async fn a_pull_that_never_ends_is_given_up_and_tried_again() {
    let mut world = World::new(83).await;
    world.engine.set_registry("stuck", Pull::Given);
    world
        .calls
        .judge(|call| (call.name == "pull").then_some(Trouble::Hangs));
    world.apply("users", json!({"image": "stuck"})).await;
    sleep(s(6 * 3600 - 60)).await;
    assert_eq!(world.said("users", "Ready").await.unwrap().0, "Pulling");
    sleep(s(65)).await;
    let (reason, message) = world.said("users", "ImageResolved").await.unwrap();
    assert_eq!(reason, "ImagePullFailed", "{message}");
    world.calls.heal();
    world.settle_within(s(60)).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_dies_in_the_middle_of_a_pull_begins_it_again() {
    let mut world = World::new(84).await;
    world.engine.set_registry("big", Pull::Given);
    world
        .calls
        .judge(|call| (call.name == "pull").then_some(Trouble::Slow(s(60))));
    world.apply("users", json!({"image": "big"})).await;
    sleep(s(30)).await;
    world.restart().await;
    world.settle_within(s(90)).await;
    assert_eq!(pulls(&world), 2);
    assert_eq!(world.engine.count("create"), 1);
}
