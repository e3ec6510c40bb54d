//! Law 6: engine or store away, empty, older or another's: running agents run on and are routed to, and nothing is
//! removed.

use agentainer::agent::ClusterId;
use agentainer::reconcile::host_condition;
use agentainer::store::AgentStore;
use serde_json::json;
use tokio::time::sleep;

use crate::calls::Trouble;
use crate::world::{RESYNC, World, s};

/// Two agents, settled.
async fn settled(seed: u64) -> World {
    let mut world = World::new(seed).await;
    world.apply("users", json!({"replicas": 2})).await;
    world.apply("auth", json!({})).await;
    world.settle_within(s(10)).await;
    world
}

fn away(world: &World) {
    let store = |call: &crate::calls::Call| (!call.engine).then_some(Trouble::Fails);
    world.calls.judge(store);
}

#[tokio::test(start_paused = true)]
async fn law_6_while_the_store_is_away_what_ends_is_started_again() {
    let mut world = settled(30).await;
    let (users, auth) = (world.untouched("users"), world.untouched("auth"));
    away(&world);
    sleep(s(20)).await;
    assert_eq!(world.ready("users"), 2);
    world.engine.kill_by_hand(&users[0].0);
    let limit = s(1);
    world
        .until(limit, "it runs again", async |world| {
            world.ready("users") == 2
        })
        .await;
    sleep(s(40)).await;
    assert_eq!((world.ready("users"), world.ready("auth")), (2, 1));
    assert!(!world.told_well(host_condition::STORE));
    world.calls.heal();
    world.settle_within(RESYNC * 2).await;
    assert_eq!(world.untouched("auth"), auth);
    let ids = |all: &[(_, _, String)]| all.iter().map(|one| one.2.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&world.untouched("users")), ids(&users));
    assert_eq!(world.engine.count("remove"), 0);
    assert!(world.told_well(host_condition::STORE));
}

#[tokio::test(start_paused = true)]
async fn law_6_one_removed_while_the_store_is_away_is_made_again_after_it() {
    let mut world = settled(31).await;
    away(&world);
    sleep(s(5)).await;
    world
        .engine
        .remove_by_hand(&world.containers("users")[0].id);
    sleep(s(60)).await;
    assert_eq!((world.ready("users"), world.ready("auth")), (1, 1));
    world.calls.heal();
    let took = world.match_within(RESYNC * 2).await;
    assert!(took <= s(16), "the host is looked at every 15 s: {took:?}");
    world.settle_within(s(1)).await;
}

#[tokio::test(start_paused = true)]
async fn law_6_while_the_engine_is_away_routing_goes_on_and_then_nothing_is_done_twice() {
    let mut world = settled(32).await;
    let before = (world.untouched("users"), world.untouched("auth"));
    world.engine.set_down(true);
    sleep(s(180)).await;
    assert_eq!((world.ready("users"), world.ready("auth")), (2, 1));
    assert!(!world.told_well(host_condition::DOCKER));
    world.engine.set_down(false);
    world.settle_within(s(70)).await;
    assert_eq!((world.untouched("users"), world.untouched("auth")), before);
    assert!(world.told_well(host_condition::DOCKER));
}

#[tokio::test(start_paused = true)]
async fn what_died_while_the_engine_was_away_is_back_soon_after_it() {
    let mut world = settled(33).await;
    world.engine.set_down(true);
    sleep(s(60)).await;
    world.engine.kill_by_hand(&world.containers("users")[1].id);
    world.engine.set_down(false);
    // The events are subscribed to again within 5 s, and then everything is looked at.
    let took = world.match_within(s(70)).await;
    assert!(took <= s(8), "{took:?}");
    world.settle_within(s(1)).await;
}

#[tokio::test(start_paused = true)]
async fn law_6_a_wiped_store_removes_nothing_and_applied_again_the_agents_are_the_same() {
    let mut world = settled(34).await;
    let before = (world.untouched("users"), world.untouched("auth"));
    for restarted in [false, true] {
        world.store.wipe();
        if restarted {
            world.restart().await;
        }
        sleep(s(200)).await;
        assert_eq!((world.untouched("users"), world.untouched("auth")), before);
        assert_eq!((world.ready("users"), world.ready("auth")), (2, 1));
        assert!(world.told_well(host_condition::QUARANTINE));
        let record = world.store.cluster().await.unwrap().unwrap();
        assert!(record.id == world.cluster && record.epoch > 1);
        world.apply("users", json!({"replicas": 2})).await;
        world.apply("auth", json!({})).await;
        world.settle_within(s(70)).await;
        assert_eq!((world.untouched("users"), world.untouched("auth")), before);
        assert!(!world.told_well(host_condition::QUARANTINE));
    }
    assert_eq!(world.engine.count("create"), 3);
}

#[tokio::test(start_paused = true)]
async fn law_6_in_quarantine_an_agent_is_not_healed_and_not_removed_until_it_is_applied() {
    let mut world = settled(35).await;
    world.store.wipe();
    sleep(s(60)).await;
    world.engine.kill_by_hand(&world.containers("users")[0].id);
    sleep(s(120)).await;
    assert_eq!(
        (world.ready("users"), world.containers("users").len()),
        (1, 2)
    );
    world.apply("users", json!({"replicas": 2})).await;
    world.apply("auth", json!({})).await;
    world.settle_within(s(70)).await;
    assert_eq!(world.engine.count("remove"), 0);
}

#[tokio::test(start_paused = true)]
async fn law_6_with_another_clusters_store_nothing_is_touched_and_nothing_written_to_it() {
    let mut world = settled(36).await;
    let before = (world.untouched("users"), world.untouched("auth"));
    let ours = world.store.backup();
    world.store.wipe();
    let theirs = ClusterId("theirs".to_owned());
    world.store.found(&theirs, 1).await.unwrap();
    world.apply("orders", json!({})).await;
    let users = world
        .write("users", |agent| {
            agent.spec.replicas = agentainer::agent::spec::Replicas(1);
            agent.metadata.uid = agentainer::agent::Uid::random();
        })
        .await;
    sleep(s(20)).await;
    let writes = world.writes_in(s(200)).await;
    assert_eq!(writes, []);
    assert_eq!((world.untouched("users"), world.untouched("auth")), before);
    assert_eq!(world.untouched("orders"), []);
    assert_eq!((world.ready("users"), world.ready("auth")), (2, 1));
    assert!(!world.told_well(host_condition::STORE));
    let there = world.agent("users").await.unwrap();
    assert_eq!(
        (there.status, there.metadata.uid),
        (Default::default(), users.metadata.uid)
    );
    world.store.restore(&ours);
    sleep(s(20)).await;
    world.settle_within(RESYNC * 2).await;
    assert_eq!((world.untouched("users"), world.untouched("auth")), before);
}

#[tokio::test(start_paused = true)]
async fn law_6_a_store_older_than_the_containers_freezes_until_the_spec_is_written_again() {
    let mut world = settled(37).await;
    let old = world.store.backup();
    let spec = json!({"replicas": 2, "env": {"COLOUR": "blue"}});
    world.apply("users", spec).await;
    world.settle_within(s(60)).await;
    let before = (world.untouched("users"), world.untouched("auth"));
    world.store.restore(&old);
    sleep(s(200)).await;
    assert_eq!((world.untouched("users"), world.untouched("auth")), before);
    assert_eq!(world.ready("users"), 2);
    let (reason, message) = world.said("users", "Quarantined").await.unwrap();
    assert_eq!(reason, "Frozen");
    assert!(message.contains("agentainer restart users"), "{message}");
    assert_eq!(world.said("auth", "Quarantined").await, None);
    // A server that comes later sees the same.
    world.restart().await;
    sleep(s(130)).await;
    assert_eq!(world.untouched("users"), before.0);
    world.roll("users").await;
    world.settle_within(s(60)).await;
    assert_eq!(world.untouched("auth"), before.1);
}

#[tokio::test(start_paused = true)]
async fn law_6_what_an_older_store_does_not_know_yet_stays_in_quarantine() {
    let mut world = World::new(38).await;
    world.apply("auth", json!({})).await;
    world.settle_within(s(10)).await;
    let old = world.store.backup();
    world.apply("users", json!({"replicas": 2})).await;
    world.settle_within(s(60)).await;
    let before = world.untouched("users");
    world.store.restore(&old);
    sleep(s(130)).await;
    assert_eq!(world.untouched("users"), before);
    assert_eq!(world.ready("users"), 2);
    world.apply("users", json!({"replicas": 2})).await;
    world.settle_within(s(60)).await;
    assert_eq!(world.untouched("users"), before);
}

#[tokio::test(start_paused = true)]
async fn a_server_started_while_the_store_is_slow_to_come_waits_for_it() {
    let mut world = settled(39).await;
    let before = world.untouched("users");
    world.kill().await;
    away(&world);
    world.serve().await;
    sleep(s(60)).await;
    assert_eq!(world.untouched("users"), before);
    world.calls.heal();
    world.settle_within(s(10)).await;
    assert_eq!(world.untouched("users"), before);
}

#[tokio::test(start_paused = true)]
async fn another_clusters_containers_beside_ours_are_not_seen() {
    let mut world = settled(40).await;
    let theirs = agentainer::runtime::RuntimeSettings {
        cluster: ClusterId("theirs".to_owned()),
        ..world.port.settings().clone()
    };
    let ours = std::mem::replace(&mut world.port, world.engine.runtime(theirs));
    // All of ours is another cluster's to this server, and holds the agents' names.
    world.kill().await;
    let before = world.engine.everything();
    world.cluster = ClusterId("theirs".to_owned());
    world.store.wipe();
    world.serve().await;
    world.apply("users", json!({"replicas": 1})).await;
    world.match_within(s(30)).await;
    assert_eq!(world.containers("users").len(), 1);
    let after = world.engine.everything();
    assert!(
        before.iter().all(|one| after.get(one.0) == Some(one.1)),
        "{after:?}"
    );
    assert_eq!(ours.look().len(), 3);
}
