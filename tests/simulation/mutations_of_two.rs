//! Tests of the test with two servers.

use std::sync::Arc;
use std::time::Duration;

use agentainer::clock;
use agentainer::endpoints::{Publication, PublishedEndpoint};
use agentainer::observed::ContainerId;
use agentainer::plan::EndpointState;
use agentainer::store::{AgentStore as _, Beat, MemberId};
use serde_json::json;
use tokio::time::sleep;

use crate::checker::Ours;
use crate::exhaustive::alone;
use crate::fake_runtime::{Call, Caller as _};
use crate::mutations::blinded;
use crate::server::Life;
use crate::trouble::{Moment, Strike, Trouble};
use crate::world::{World, name, s};

/// Two servers, the first of which leads, and an agent with two instances.
async fn settled() -> World {
    let mut world = World::with(2, 1, Vec::new()).await;
    let spec = json!({"image": "users", "replicas": 2, "drain": {"timeout": "5s"}});
    world.apply("users", spec).await;
    world.matched(s(20)).await;
    world.rest(s(10)).await;
    assert!(server(&world, 0).leads() && !server(&world, 1).leads());
    world
}

fn server(world: &World, nth: usize) -> Arc<Life> {
    world.shared.awake(nth).unwrap()
}

fn violations(world: &World) -> String {
    world.shared.checker.lock().violations.join("\n")
}

fn call(name: &'static str, world: &World) -> Call {
    let target = world.containers("users")[0].id.0.clone();
    Call { name, target }
}

/// What the checker says of a stop by the first server, when the container drains in these tables, and the second server has
/// so many requests in flight.
async fn a_stop(drains: &[usize], in_flight: u32) -> String {
    let world = settled().await;
    let stop = call("stop", &world);
    let id = ContainerId(stop.target.clone());
    for nth in drains {
        let table = server(&world, *nth).table.clone();
        table.order(&name("users"), [id.clone()].into(), clock::now());
    }
    let place = (1, id.clone());
    world
        .shared
        .checker
        .lock()
        .in_flight
        .insert(place, in_flight);
    world.shared.step(None);
    sleep(s(1)).await;
    world.shared.step(None);
    world.engine.stop_by_hand(&id);
    let ours = Ours {
        call: &stop,
        server: 0,
        superseded: false,
    };
    world.shared.step(Some(ours));
    let found = violations(&world);
    let about_servers = found.lines().filter(|line| line.contains("by server"));
    about_servers.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_stop_of_what_the_other_server_still_sends_to_is_found() {
    assert_eq!(alone(a_stop(&[0, 1], 0)).unwrap(), "");
    let found = alone(a_stop(&[0], 0)).unwrap();
    let wanted = "still given requests by server 1";
    assert!(found.contains(wanted), "{found}");
}

#[test]
fn a_stop_with_a_request_in_flight_on_the_other_server_is_found() {
    let found = alone(a_stop(&[0, 1], 1)).unwrap();
    assert!(found.contains("1 in flight by server 1"), "{found}");
}

#[test]
fn what_a_server_does_that_does_not_lead_is_found() {
    let found = alone(async {
        let world = settled().await;
        let stop = call("stop", &world);
        let _ = server(&world, 0).judge(&stop);
        assert_eq!(violations(&world), "");
        let _ = server(&world, 1).judge(&stop);
        violations(&world)
    });
    let found = found.unwrap();
    assert!(
        found.contains("by server 1, which does not lead"),
        "{found}"
    );
}

#[test]
fn a_removal_of_what_another_leader_made_is_found() {
    let found = alone(async {
        let mut world = settled().await;
        server(&world, 0).stand_still(s(60));
        world.rest(s(10)).await;
        world.roll("users").await;
        world.rest(s(30)).await;
        assert_eq!(violations(&world), "");
        let lives = world.shared.lives();
        let first = lives.iter().find(|life| life.server == 0).unwrap();
        first.about(&call("remove", &world));
        violations(&world)
    });
    let found = found.unwrap();
    assert!(found.contains("remove by server 0 touches"), "{found}");
}

#[test]
fn two_leaders_are_found() {
    let found = alone(async {
        let world = settled().await;
        world.store.delete_lease();
        server(&world, 0).cut_off();
        world.store.delete_lease();
        for _ in 0..15 {
            sleep(Duration::from_millis(100)).await;
            world.shared.step(None);
        }
        violations(&world)
    });
    assert!(found.unwrap().contains("two servers lead"));
}

#[test]
fn a_lease_that_nobody_takes_over_is_found() {
    let found = alone(async {
        let mut world = settled().await;
        world.store.delete_lease();
        let ghost = Beat {
            member: MemberId {
                server: "ghost".to_owned(),
                run: "1".to_owned(),
            },
            report: Default::default(),
            candidate: true,
            only_run: false,
            lease: s(60),
            life: s(1),
        };
        world.store.beat(&ghost).await.unwrap();
        world.rest(s(20)).await;
    });
    let found = found.unwrap_err();
    assert!(found.contains("nobody leads for"), "{found}");
}

#[test]
fn two_for_one_place_that_serve_beyond_the_surge_are_found() {
    let found = alone(async {
        let world = settled().await;
        *world.shared.lie.lock() = Some(Box::new(blinded));
        let first = world.containers("users")[0].clone();
        for incarnation in 7..9 {
            let mut identity = first.identity.clone();
            identity.incarnation = incarnation;
            world.twin(&first, identity).await;
        }
        sleep(s(1)).await;
        world.shared.checker.lock().violations.clear();
        let all = world.containers("users").into_iter();
        let endpoints = all.map(|one| PublishedEndpoint {
            container: one.id,
            address: (one.attachment.unwrap().ip.unwrap(), 8000).into(),
            state: EndpointState::Ready,
        });
        let publication = Publication {
            uid: first.identity.uid,
            departed: Default::default(),
            endpoints: endpoints.collect(),
            explanation: String::new(),
            starting: false,
            proxy: Default::default(),
            persistence: None,
        };
        let table = server(&world, 1).table.clone();
        table.publish(&name("users"), publication, clock::now());
        world.shared.step(None);
        violations(&world)
    });
    let found = found.unwrap();
    assert!(found.contains("of users 2 serve beside others"), "{found}");
}

/// A call of one that stands still goes out when it wakes, when another one has long led.
#[test]
fn what_was_on_its_way_when_a_server_stood_still_arrives() {
    let play = async |strikes: Vec<Strike>, time: Duration| {
        let mut world = World::with(2, 1, strikes).await;
        let spec = json!({"image": "users", "replicas": 2});
        world.apply("users", spec).await;
        world.rest(time).await;
        world
    };
    let (before, after) = alone(async {
        let world = play(Vec::new(), s(20)).await;
        let nth = {
            let script = world.shared.script.lock();
            let mut writes = script.made.iter().filter(|made| made.writes);
            writes.position(|made| made.name == "create").unwrap()
        };
        drop(world);
        let strike = Strike {
            moment: Moment::Write,
            nth: nth as u64,
            trouble: Trouble::Pause,
        };
        let mut world = play(vec![strike], s(25)).await;
        assert!(server(&world, 1).leads());
        let before = world.engine.count("create");
        world.rest(s(10)).await;
        assert!(server(&world, 1).leads());
        (before, world.engine.count("create"))
    })
    .unwrap();
    assert_eq!((before, after), (2, 3));
}
