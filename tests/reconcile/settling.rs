//! Law 1 without faults: the world comes to match the specs, and then nothing is written any more.

use std::collections::BTreeMap;

use agentainer::probe::Outcome;
use serde_json::json;
use tokio::time::Instant;

use crate::calls::Trouble;
use crate::world::{World, s};

#[tokio::test(start_paused = true)]
async fn law_1_applied_agents_settle_and_then_nothing_is_written() {
    let mut world = World::new(1).await;
    world.apply("users", json!({"replicas": 3})).await;
    world.apply("auth", json!({})).await;
    world.apply("orders", json!({"state": "stopped"})).await;
    world.settle_within(s(10)).await;
    let writes = world.writes_in(s(600)).await;
    assert_eq!(writes, []);
    for agent in ["users", "auth", "orders"] {
        assert!(world.names_are_right(agent));
    }
    assert_eq!(world.engine.count("create"), 4, "one each");
}

#[tokio::test(start_paused = true)]
async fn scaling_touches_no_container_that_stays() {
    let mut world = World::new(2).await;
    world.apply("users", json!({"replicas": 1})).await;
    world.settle_within(s(10)).await;
    let first = world.untouched("users");
    world.apply("users", json!({"replicas": 3})).await;
    world.settle_within(s(10)).await;
    let three = world.untouched("users");
    assert_eq!(three[..1], first);
    world.apply("users", json!({"replicas": 2})).await;
    world.settle_within(s(60)).await;
    assert_eq!(world.untouched("users"), three[..2]);
    world.apply("users", json!({"replicas": 0})).await;
    world.settle_within(s(60)).await;
    assert_eq!(world.untouched("users"), []);
    assert_eq!(world.engine.count("create"), 3);
}

#[tokio::test(start_paused = true)]
async fn law_5_an_update_rolls_and_as_many_as_before_are_routed_to_all_the_while() {
    let mut world = World::new(3).await;
    world.apply("users", json!({"replicas": 2})).await;
    world.settle_within(s(10)).await;
    let spec = json!({"replicas": 2, "env": {"COLOUR": "blue"}});
    world.apply("users", spec).await;
    let limit = s(60);
    world
        .until(limit, "the update is done", async |world| {
            assert!(world.ready("users") >= 2, "{:?}", world.routed("users"));
            world.mismatch().await.is_none()
        })
        .await;
    world.settle_within(s(10)).await;
    assert_eq!(world.engine.count("create"), 4);
    assert_eq!(world.engine.count("remove"), 2);
    assert!(
        world.names_are_right("users"),
        "{:?}",
        world.untouched("users")
    );
}

#[tokio::test(start_paused = true)]
async fn with_a_writable_volume_the_old_one_ends_before_the_new_one_starts() {
    let mut world = World::new(4).await;
    let spec = |colour: &str| json!({"env": {"COLOUR": colour}, "volumes": [{"name": "data", "container": "/data"}]});
    world.apply("users", spec("red")).await;
    world.settle_within(s(10)).await;
    world.apply("users", spec("blue")).await;
    let limit = s(60);
    world
        .until(limit, "the update is done", async |world| {
            let all = world.containers("users");
            assert!(
                all.iter().filter(|c| c.started_at.is_some()).count() <= 1,
                "{all:?}"
            );
            world.mismatch().await.is_none()
        })
        .await;
    world.settle_within(s(10)).await;
    assert!(world.names_are_right("users"));
}

#[tokio::test(start_paused = true)]
async fn an_agent_is_first_made_when_what_it_depends_on_is_ready() {
    let mut world = World::new(5).await;
    world.answer(|_| Outcome::NotReady("GET /health answered 503".to_owned()));
    world.apply("users", json!({"dependsOn": ["auth"]})).await;
    tokio::time::sleep(s(5)).await;
    let (reason, message) = world.said("users", "Ready").await.unwrap();
    assert_eq!(reason, "DependencyMissing", "{message}");
    world.apply("auth", json!({})).await;
    tokio::time::sleep(s(5)).await;
    assert_eq!(world.containers("auth").len(), 1);
    assert_eq!(world.untouched("users"), []);
    let (reason, message) = world.said("users", "Ready").await.unwrap();
    assert_eq!(reason, "WaitingOnDependency", "{message}");
    world.answer(|_| Outcome::Ready);
    let took = world.match_within(s(5)).await;
    assert!(took <= s(2), "{took:?}");
    // Later it stands on its own.
    world.answer(|container| match container.identity.agent.as_str() {
        "auth" => Outcome::NotReady("GET /health answered 503".to_owned()),
        _ => Outcome::Ready,
    });
    tokio::time::sleep(s(60)).await;
    assert_eq!(world.ready("auth"), 0);
    world.engine.remove_by_hand(&world.only("users").id);
    let limit = s(1);
    world
        .until(limit, "it is made again", async |world| {
            world.ready("users") == 1
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_stopped_agent_keeps_its_containers_and_a_paused_one_is_frozen() {
    let mut world = World::new(6).await;
    world.apply("users", json!({"replicas": 2})).await;
    world.settle_within(s(10)).await;
    for state in [
        "stopped", "paused", "running", "paused", "stopped", "running",
    ] {
        world
            .apply("users", json!({"replicas": 2, "state": state}))
            .await;
        world.settle_within(s(60)).await;
        assert!(world.names_are_right("users"), "{state}");
    }
    assert_eq!(world.engine.count("create"), 2);
    assert_eq!(world.engine.count("remove"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_restarted_server_adopts_what_it_finds_and_writes_nothing() {
    let mut world = World::new(7).await;
    world.apply("users", json!({"replicas": 2})).await;
    world.apply("auth", json!({"state": "paused"})).await;
    world.settle_within(s(10)).await;
    let before = (world.untouched("users"), world.untouched("auth"));
    for _ in 0..5 {
        world.kill().await;
        let from = world.calls.len();
        // What the host is like is known late, and nothing is said of it before.
        let mut slow = true;
        world.calls.judge(move |call| {
            let first = call.name == "list" && call.engine && std::mem::take(&mut slow);
            first.then_some(Trouble::Slow(s(3)))
        });
        world.serve().await;
        let limit = s(4);
        world
            .until(limit, "it routes", async |world| world.ready("users") == 2)
            .await;
        tokio::time::sleep(s(130)).await;
        assert_eq!(world.calls.writes_since(from), []);
        assert_eq!((world.untouched("users"), world.untouched("auth")), before);
    }
}

#[tokio::test(start_paused = true)]
async fn law_4_no_address_is_given_twice_and_each_rests_for_a_minute() {
    let mut world = World::without_server(8).await;
    // So few addresses that each is soon wanted again.
    world.subnet = "10.90.0.0/28".parse().unwrap();
    world.serve().await;
    world.apply("users", json!({"replicas": 2})).await;
    world.settle_within(s(10)).await;
    let mut last = BTreeMap::new();
    let mut given = 0;
    for round in 0..12_u32 {
        match round % 3 {
            2 => world
                .engine
                .remove_by_hand(&world.containers("users")[0].id),
            _ => {
                world.roll("users").await;
            }
        }
        let until = Instant::now() + s(25);
        while Instant::now() < until {
            for container in world.containers("users") {
                let Some(address) = container.attachment.and_then(|place| place.asked_ip) else {
                    panic!("{} has no address of ours", container.name);
                };
                let now = Instant::now();
                let before = last.insert(address, (container.id.clone(), now));
                match before {
                    Some((id, at)) if id != container.id => {
                        given += 1;
                        let rest = now - at;
                        assert!(rest >= s(60), "{address} was given again after {rest:?}");
                    }
                    _ => {}
                }
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
    world.settle_within(s(60)).await;
    assert!(given > 0, "no address was ever wanted again");
}
