//! Several servers on one store and one engine: one acts, all observe and serve, and what is drained is drained on all.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use agentainer::endpoints::Endpoints;
use agentainer::observed::ContainerId;
use agentainer::plan::EndpointState;
use agentainer::store::{AgentStore as _, Beat, MemberId};
use serde_json::json;
use tokio::time::sleep;

use crate::calls::{Call, Trouble};
use crate::fake_store::Fault;
use crate::world::{Server, World, name, s};

/// Two servers, the first of which leads, and one agent with two instances.
async fn two(seed: u64) -> (World, Server) {
    let mut world = World::new(seed).await;
    world
        .apply("users", json!({"replicas": 2, "drain": {"timeout": "30s"}}))
        .await;
    world.settle_within(s(10)).await;
    let second = world.beside("server-2").await;
    let limit = s(3);
    world
        .until(limit, "the second one routes", async |_| {
            ready(&second) == 2
        })
        .await;
    // The first one has heard of it.
    sleep(s(2)).await;
    assert!(world.server().handle.leads() && !second.handle.leads());
    (world, second)
}

pub fn ready(server: &Server) -> usize {
    let all = server.routed("users");
    let ready = |(_, state): &&(ContainerId, EndpointState)| *state == EndpointState::Ready;
    all.iter().filter(ready).count()
}

/// The store is away for the first server alone.
fn cut_off(world: &World) {
    let store = |call: &Call| (!call.engine).then_some(Trouble::Fails);
    world.calls.judge(store);
}

#[tokio::test(start_paused = true)]
async fn a_second_server_takes_over_within_five_seconds_of_the_firsts_death() {
    for orderly in [false, true] {
        let (mut world, second) = two(80).await;
        let first = world.take_server();
        let began = tokio::time::Instant::now();
        match orderly {
            true => first.end().await,
            false => first.kill().await,
        }
        world
            .engine
            .remove_by_hand(&world.containers("users")[0].id);
        let limit = if orderly { s(2) } else { s(5) };
        world
            .until(limit, "it is made again", async |world| {
                world.containers("users").len() == 2 && ready(&second) == 2
            })
            .await;
        assert!(began.elapsed() < limit && second.handle.leads());
        sleep(s(30)).await;
        assert_eq!((world.engine.count("create"), ready(&second)), (3, 2));
        second.kill().await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_follows_touches_nothing_and_beside_a_leader_a_settled_world_stays() {
    let (mut world, second) = two(81).await;
    let before = world.untouched("users");
    world.settle_within(s(1)).await;
    assert_eq!(world.untouched("users"), before);
    world.engine.kill_by_hand(&world.containers("users")[1].id);
    world.settle_within(s(5)).await;
    world.roll("users").await;
    world.settle_within(s(60)).await;
    assert_eq!((ready(&second), world.ready("users")), (2, 2));
    assert_eq!(
        (world.engine.count("create"), world.engine.count("remove")),
        (4, 2),
        "each was done once"
    );
    second.kill().await;
}

#[tokio::test(start_paused = true)]
async fn law_5_an_instance_is_stopped_only_when_no_server_has_anything_on_it() {
    let (mut world, second) = two(82).await;
    let tables = [
        Arc::clone(&world.server().endpoints),
        Arc::clone(&second.endpoints),
    ];
    let stops = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&stops);
    world.calls.judge(move |call| {
        if call.engine && call.name == "stop" {
            counted.fetch_add(1, Ordering::Relaxed);
            for table in &tables {
                idle(table, &ContainerId(call.target.clone()));
            }
        }
        None
    });
    // A long request by way of the second server.
    let old = world.containers("users")[0].clone();
    let request = second.endpoint(&old).enter();
    world.roll("users").await;
    let limit = s(10);
    world
        .until(limit, "the other one is replaced", async |world| {
            let all = world.containers("users");
            all.len() == 3 && ready(&second) == 2
        })
        .await;
    sleep(s(10)).await;
    assert!(world.containers("users").iter().any(|c| c.id == old.id));
    let state = second.routed("users");
    assert!(state.contains(&(old.id.clone(), EndpointState::Draining)));
    drop(request);
    let took = world
        .until(limit, "it is stopped", async |world| {
            world.containers("users").len() == 2
        })
        .await;
    assert!(took < s(2), "{took:?} after the request's end");
    world.settle_within(s(60)).await;
    assert_eq!(stops.load(Ordering::Relaxed), 2);
    second.kill().await;
}

/// A server comes while something drains that seemed to be idle everywhere; the store's watch tells it late.
#[tokio::test(start_paused = true)]
async fn law_5_before_a_drained_instance_is_stopped_it_is_asked_once_more_who_lives() {
    let mut world = World::new(89).await;
    let spec = |replicas: u32| json!({"replicas": replicas, "drain": {"timeout": "30s"}});
    world.apply("users", spec(2)).await;
    world.settle_within(s(10)).await;
    let store = world.store.caller(false);
    let mut first = true;
    store.on_call(move |call| {
        let before = match call {
            "next" => s(2),
            "beat" if std::mem::take(&mut first) => Duration::from_millis(100),
            _ => return None,
        };
        let after = Duration::ZERO;
        Some(Fault::Slow { before, after })
    });
    let second = world.beside_on("server-2", store).await;
    sleep(Duration::from_millis(30)).await;
    world.apply("users", spec(1)).await;
    let limit = Duration::from_millis(150);
    world
        .until(limit, "the second one routes", async |_| {
            ready(&second) == 2
        })
        .await;
    let old = world.containers("users")[1].clone();
    let draining = world.routed("users");
    assert!(draining.contains(&(old.id.clone(), EndpointState::Draining)));
    let request = second.endpoint(&old).enter();
    sleep(s(10)).await;
    let state = second.routed("users");
    assert!(state.contains(&(old.id.clone(), EndpointState::Draining)));
    assert_eq!(world.containers("users").len(), 2, "it is busy");
    drop(request);
    world
        .until(s(2), "it is gone", async |world| {
            world.containers("users").len() == 1
        })
        .await;
    second.kill().await;
}

fn idle(table: &Endpoints, container: &ContainerId) {
    let table = table.table();
    let route = table.routes.get(&name("users")).unwrap();
    for (endpoint, state) in &route.endpoints {
        if endpoint.container == *container {
            assert_ne!(*state, EndpointState::Ready, "{container} is routed to");
            assert_eq!(endpoint.in_flight(), 0, "{container} is busy");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_gone_is_not_waited_for_longer_than_its_life() {
    let (mut world, second) = two(83).await;
    let old = world.containers("users")[0].clone();
    let _never_ends = second.endpoint(&old).enter();
    second.kill().await;
    world.roll("users").await;
    let took = world.match_within(s(20)).await;
    assert!(took < s(12), "{took:?}");
    world.settle_within(s(60)).await;
}

#[tokio::test(start_paused = true)]
async fn with_one_server_a_drain_takes_no_longer_than_its_settling() {
    let mut world = World::new(84).await;
    world.apply("users", json!({"replicas": 2})).await;
    world.settle_within(s(10)).await;
    world.apply("users", json!({"replicas": 1})).await;
    let limit = Duration::from_millis(400);
    world
        .until(limit, "one is gone", async |world| {
            world.containers("users").len() == 1
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn law_5_a_run_that_has_handed_over_leaves_its_successor_its_place_and_its_lease() {
    let mut world = World::new(86).await;
    world.apply("users", json!({"replicas": 2})).await;
    world.settle_within(s(10)).await;
    let next = world.successor().await;
    let observer = Beat {
        member: MemberId {
            server: "observer".to_owned(),
            run: "1".to_owned(),
        },
        report: Default::default(),
        candidate: false,
        only_run: false,
        lease: s(3),
        life: s(5),
    };
    sleep(s(5)).await;
    assert!(world.server().handle.leads() && !next.handle.leads());
    world.server().handle.resign().await;
    next.handle.lead();
    sleep(s(1)).await;
    assert!(next.handle.leads());
    // What is in flight with the first one takes a while; all that time a third server is to know of both.
    for _ in 0..200 {
        sleep(Duration::from_millis(70)).await;
        let muster = world.store.beat(&observer).await.unwrap();
        let others: Vec<String> = muster.others.keys().map(ToString::to_string).collect();
        assert_eq!(others, ["server-1/1", "server-1/2"]);
        let holder = muster.lease.map(|lease| lease.holder.to_string());
        assert_eq!(holder.as_deref(), Some("server-1/2"));
    }
    world.take_server().end().await;
    sleep(s(1)).await;
    assert!(next.handle.leads());
    next.kill().await;
}

#[tokio::test(start_paused = true)]
async fn law_6_a_leader_that_is_cut_off_from_the_store_leaves_all_to_the_next() {
    let (mut world, second) = two(85).await;
    cut_off(&world);
    let limit = s(5);
    world
        .until(limit, "the second one leads", async |_| {
            second.handle.leads()
        })
        .await;
    assert!(!world.server().handle.leads());
    let from = world.calls.len();
    // The first one still believes that two shall run.
    world
        .apply("users", json!({"replicas": 2, "state": "stopped"}))
        .await;
    world
        .until(s(20), "they are stopped", async |world| {
            let all = world.containers("users");
            all.iter().all(|c| c.state.as_str() == "exited")
        })
        .await;
    sleep(s(130)).await;
    let all = world.containers("users");
    assert!(all.iter().all(|c| c.state.as_str() == "exited"), "{all:?}");
    let started = world.calls.since(from);
    assert!(
        started.iter().all(|call| call.name != "start"),
        "{started:?}"
    );
    world.calls.heal();
    sleep(s(20)).await;
    assert!(second.handle.leads() && !world.server().handle.leads());
    world.settle_within(s(5)).await;
    second.kill().await;
}

#[tokio::test(start_paused = true)]
async fn law_1_a_server_that_heals_makes_nothing_by_way_of_a_store_that_is_there_after_all() {
    let mut world = World::new(87).await;
    world
        .apply("users", json!({"replicas": 2, "drain": {"timeout": "5s"}}))
        .await;
    world.settle_within(s(10)).await;
    // Its signs of life are lost, and nothing else is: it was alone, and believes that the store is away.
    world.calls.judge(|call| {
        let sign = !call.engine && call.name == "beat";
        sign.then_some(Trouble::Fails)
    });
    sleep(s(6)).await;
    // Another one may have come, and may lead.
    let all = world.containers("users");
    world.engine.remove_by_hand(&all[1].id);
    world.engine.kill_by_hand(&all[0].id);
    world
        .until(s(10), "what ended is started again", async |world| {
            world.ready("users") == 1
        })
        .await;
    sleep(s(70)).await;
    assert_eq!(world.engine.count("create"), 2);
    world.calls.heal();
    world.settle_within(s(10)).await;
    assert_eq!(world.engine.count("create"), 3);
}

#[tokio::test(start_paused = true)]
async fn law_1_a_pass_that_began_under_one_lease_does_nothing_under_the_next() {
    let mut world = World::new(88).await;
    world.apply("users", json!({"replicas": 2})).await;
    world.settle_within(s(10)).await;
    // The engine takes its time with one answer, and the store is away meanwhile.
    let mut late = Some(s(15));
    world.calls.judge(move |call| match call.engine {
        true if call.name == "list_agent" => late.take().map(Trouble::Old),
        true => None,
        false => (call.name == "beat").then_some(Trouble::Fails),
    });
    world
        .engine
        .remove_by_hand(&world.containers("users")[1].id);
    sleep(s(1)).await;
    let second = world.beside("server-2").await;
    let limit = s(6);
    world
        .until(
            limit,
            "the second one leads and makes it again",
            async |_| second.handle.leads() && ready(&second) == 2,
        )
        .await;
    // It goes, and the first one leads again before its answer comes.
    second.end().await;
    world.calls.heal();
    world
        .until(s(3), "the first one leads", async |world| {
            world.server().handle.leads()
        })
        .await;
    world.settle_within(s(30)).await;
    let (made, gone) = (world.engine.count("create"), world.engine.count("remove"));
    assert_eq!((made, gone), (3, 0), "one was made in the place of one");
}
