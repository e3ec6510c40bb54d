//! The end of agents: drained, stopped, removed, and only then forgotten; orphans go on proof alone.

use std::time::Duration;

use agentainer::agent::spec::DesiredState;
use agentainer::clock;
use agentainer::plan::EndpointState;
use agentainer::store::{AgentStore, Write};
use serde_json::json;

use crate::world::{World, name, s};

#[tokio::test(start_paused = true)]
async fn a_deleted_agent_is_removed_then_forgotten_and_no_longer_routed_to() {
    let mut world = World::new(20).await;
    world.apply("users", json!({"replicas": 2})).await;
    world.apply("auth", json!({})).await;
    world.settle_within(s(10)).await;
    let other = world.untouched("auth");
    let uid = world.agent("users").await.unwrap().metadata.uid;
    world.delete("users").await;
    let limit = s(10);
    world
        .until(limit, "it is gone", async |world| {
            let object = world.agent("users").await.is_some();
            assert!(
                object || world.untouched("users").is_empty(),
                "forgotten first"
            );
            !object
        })
        .await;
    world.settle_within(s(1)).await;
    assert_eq!(world.routed("users"), []);
    let proof = std::slice::from_ref(&uid);
    assert_eq!(world.store.tombstones(proof).await.unwrap(), proof);
    assert_eq!(world.untouched("auth"), other);
    // The same name is another agent.
    let again = world.apply("users", json!({})).await;
    assert_ne!(again.metadata.uid, uid);
    world.settle_within(s(10)).await;
    assert!(world.names_are_right("users"));
}

#[tokio::test(start_paused = true)]
async fn law_5_what_is_in_flight_may_finish_before_the_stop_as_long_as_the_drain_lasts() {
    for finishes in [true, false] {
        let mut world = World::new(21).await;
        world
            .apply("users", json!({"drain": {"timeout": "20s"}}))
            .await;
        world.settle_within(s(10)).await;
        let endpoint = world.endpoint(&world.only("users"));
        let request = endpoint.enter();
        world.delete("users").await;
        let limit = s(1);
        world
            .until(limit, "it drains", async |world| {
                world
                    .routed("users")
                    .iter()
                    .all(|(_, state)| *state == EndpointState::Draining)
            })
            .await;
        tokio::time::sleep(s(15)).await;
        assert_eq!(
            world.engine.count("stop"),
            0,
            "SIGTERM comes after the drain"
        );
        if finishes {
            drop(request);
        }
        let limit = s(10);
        let took = world
            .until(limit, "it is gone", async |world| {
                world.agent("users").await.is_none()
            })
            .await;
        let most = if finishes { 1 } else { 6 };
        assert!(took <= s(most), "{finishes}: {took:?}");
        world.settle_within(s(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_orphan_goes_when_its_tombstone_proves_that_it_may() {
    let mut world = World::new(22).await;
    world.apply("users", json!({"replicas": 2})).await;
    world.apply("auth", json!({})).await;
    world.settle_within(s(10)).await;
    world.kill().await;
    let uid = world.agent("users").await.unwrap().metadata.uid;
    world.delete("users").await;
    let finalize = Write::Finalize {
        name: name("users"),
        uid,
        at: clock::now(),
    };
    world.store.commit(&[finalize]).await.unwrap();
    world.serve().await;
    world.settle_within(s(10)).await;
    assert_eq!(world.untouched("users"), []);
    assert_eq!(world.routed("users"), []);
}

#[tokio::test(start_paused = true)]
async fn one_deleted_and_made_again_while_no_server_ran_starts_a_new_life() {
    let mut world = World::new(23).await;
    world.apply("users", json!({"replicas": 2})).await;
    world.settle_within(s(10)).await;
    let old = world.untouched("users");
    world.kill().await;
    let uid = world.agent("users").await.unwrap().metadata.uid;
    world.delete("users").await;
    let finalize = Write::Finalize {
        name: name("users"),
        uid,
        at: clock::now(),
    };
    world.store.commit(&[finalize]).await.unwrap();
    world.apply("users", json!({"replicas": 2})).await;
    world.serve().await;
    world.settle_within(s(60)).await;
    let new = world.untouched("users");
    assert!(new.iter().all(|one| !old.contains(one)), "{new:?}");
    assert!(world.names_are_right("users"), "{new:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stopped_or_paused_agent_can_be_deleted() {
    for state in [DesiredState::Stopped, DesiredState::Paused] {
        let mut world = World::new(24).await;
        world.apply("users", json!({"replicas": 2})).await;
        world.settle_within(s(10)).await;
        world.write("users", |agent| agent.spec.state = state).await;
        world.settle_within(s(60)).await;
        world.delete("users").await;
        let limit = Duration::from_secs(10);
        world
            .until(limit, "it is gone", async |world| {
                world.agent("users").await.is_none()
            })
            .await;
        world.settle_within(s(1)).await;
    }
}
