//! An agent that is being deleted.

use super::fixture::*;
use crate::agent::Phase;
use crate::observed::ContainerState;
use crate::plan::EndpointState;

fn deleted(yaml: &str) -> Scene {
    Scene::of(yaml)
        .change(|scene| scene.agent.as_mut().unwrap().metadata.deletion_timestamp = Some(at(-1)))
}

#[test]
fn containers_drain_go_and_then_the_object_goes() {
    let scene = deleted("{}").ready(0, 1).old(0, 2);
    assert_eq!(
        (scene.does(), scene.status().phase),
        (nothing(), Phase::Terminating)
    );
    assert_eq!(scene.endpoint("c0-1"), EndpointState::Draining);
    let drained = scene
        .traffic("c0-1", 0, Some(1))
        .traffic("c0-2", 1, Some(1));
    assert_eq!(drained.does(), ["stop c0-1", "remove c0-1"]);
    assert_eq!(
        drained.later(30).does(),
        ["stop c0-1", "remove c0-1", "stop c0-2", "remove c0-2"]
    );
    assert_eq!(deleted("{}").does(), ["finalize u1"]);
}

#[test]
fn what_the_engine_still_removes_is_waited_for() {
    let removing = deleted("{}").ready(0, 1).but("c0-1", |container| {
        container.state = ContainerState::Removing
    });
    assert_eq!(removing.does(), nothing());
    let dead = deleted("{}")
        .ready(0, 1)
        .but("c0-1", |container| container.state = ContainerState::Dead);
    assert_eq!(dead.does(), ["remove c0-1"]);
}

#[test]
fn a_missing_network_or_image_holds_no_deletion_up() {
    let scene = deleted("{}")
        .ready(0, 1)
        .exited("c0-1", 0, 1)
        .change(|scene| {
            scene.observed.network = None;
            scene.observed.images.clear();
        });
    assert_eq!(scene.does(), ["remove c0-1"]);
}

#[test]
fn a_new_life_of_the_name_is_not_held_up_by_the_old_one() {
    let stranger = deleted("{}")
        .ready(0, 1)
        .but("c0-1", |container| container.identity.uid = uid("u0"));
    assert_eq!(stranger.does(), ["finalize u1"]);
}
