//! Tests of the test: worlds that lie to the product, and hands that do what it must not, are found out by the checker. Those of
//! two servers are in mutations_of_two.rs.

use agentainer::runtime::RuntimeClass;
use serde_json::json;

use crate::checker::Ours;
use crate::exhaustive::alone;
use crate::fake_runtime::{Call, Caller as _, Fault};
use crate::world::{World, s};

async fn two() -> World {
    let mut world = World::new(1, Vec::new()).await;
    let spec = json!({"image": "users", "replicas": 2, "drain": {"timeout": "5s"}});
    world.apply("users", spec).await;
    world.matched(s(20)).await;
    world.rest(s(10)).await;
    world
}

/// The server hears nothing of its containers.
pub fn blinded(call: &Call) -> Option<Fault> {
    let fault = Fault::Refuse(RuntimeClass::Transient);
    call.name.starts_with("list").then_some(fault)
}

/// What the checker says of an effect that is taken for ours.
async fn said(world: &World, call: &'static str, deed: impl FnOnce(&World)) -> String {
    world.shared.step(None);
    deed(world);
    let target = world.containers("users")[0].id.0.clone();
    let call = Call { name: call, target };
    let ours = Ours {
        call: &call,
        server: 0,
        superseded: false,
    };
    world.shared.step(Some(ours));
    world.shared.checker.lock().violations.join("\n")
}

#[test]
fn a_stop_without_a_drain_is_found() {
    let found = alone(async {
        let world = two().await;
        said(&world, "stop", |world| {
            let id = world.containers("users")[0].id.clone();
            world.engine.stop_by_hand(&id);
        })
        .await
    });
    let found = found.unwrap();
    assert!(found.contains("still given requests"), "{found}");
    assert!(
        found.contains("only 2 were ready, and 2 shall be"),
        "{found}"
    );
}

#[test]
fn a_second_container_for_one_instance_is_found() {
    let found = alone(async {
        let mut world = two().await;
        let spec = json!({"image": "users", "replicas": 2, "drain": {"timeout": "5s"}});
        // Three of one place: one more than a surge of one.
        *world.shared.lie.lock() = Some(Box::new(blinded));
        world.apply("users", spec).await;
        let first = world.containers("users")[0].clone();
        for incarnation in 7..9 {
            let mut identity = first.identity.clone();
            identity.incarnation = incarnation;
            world.twin(&first, identity).await;
        }
        world.shared.checker.lock().violations.join("\n")
    });
    let found = found.unwrap();
    assert!(found.contains("beyond a surge of 1"), "{found}");
}

#[test]
fn an_address_that_passes_at_once_from_one_to_another_is_found() {
    let found = alone(async {
        let world = two().await;
        world.shared.step(None);
        let all = world.containers("users");
        let (gone, other) = (all[0].clone(), all[1].clone());
        let place = gone.attachment.unwrap();
        world.engine.remove_by_hand(&gone.id);
        world.engine.disconnect_by_hand(&other.id, &place.network);
        world.shared.step(None);
        use agentainer::runtime::ContainerRuntime as _;
        let port = &world.port;
        let aliases = place.aliases;
        port.connect(&other.id, &place.network, &aliases, place.asked_ip)
            .await
            .unwrap();
        world.shared.step(None);
        world.shared.checker.lock().violations.join("\n")
    });
    let found = found.unwrap();
    assert!(found.contains("law 4"), "{found}");
    assert!(found.contains("users is routed to"), "{found}");
}

#[test]
fn a_request_to_what_never_answered_is_found() {
    let found = alone(async {
        let world = two().await;
        world
            .shared
            .programs
            .lock()
            .agent("users", crate::programs::Health::Silent);
        world.shared.programs.lock().well.clear();
        world.shared.step(None);
        world.shared.checker.lock().violations.join("\n")
    });
    assert!(found.unwrap().contains("never answered"));
}

#[test]
fn a_strangers_container_that_is_touched_is_found() {
    let found = alone(async {
        let world = two().await;
        world.engine.create_by_hand("theirs");
        world.shared.step(None);
        let target = world.engine.id_of("theirs").unwrap();
        let stop = Call {
            name: "stop",
            target: target.0,
        };
        world.life().about(&stop);
        world.shared.checker.lock().violations.join("\n")
    });
    assert!(found.unwrap().contains("is not ours"));
}

#[test]
fn one_seed_is_one_history() {
    let history = || {
        alone(async {
            let mut world = World::new(7, Vec::new()).await;
            world.shared.script.lock().vary(7);
            let spec = json!({"image": "users", "replicas": 3});
            world.apply("users", spec).await;
            world.rest(s(30)).await;
            let script = world.shared.script.lock();
            script.made.clone()
        })
        .unwrap()
    };
    assert_eq!(history(), history());
}
