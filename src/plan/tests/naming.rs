//! Who carries the agent's name.

use super::fixture::*;
use crate::observed::ContainerState;

#[test]
fn a_foreign_holder_is_left_its_name() {
    let scene = Scene::of("{}").change(|scene| {
        scene.observed.foreign_names.insert("users".to_owned());
    });
    assert_eq!(scene.does(), ["create 0 after 0"]);
    assert_eq!(scene.ready(0, 1).does(), nothing());
}

#[test]
fn a_lone_live_container_is_never_renamed() {
    let scene = Scene::of("{}")
        .ready(0, 1)
        .but("c0-1", |container| container.name = "oops".to_owned());
    assert_eq!(scene.does(), nothing());
    let idle = scene.settled().exited("c0-1", 1, 0);
    assert_eq!(idle.does(), ["rename c0-1 users", "start c0-1"]);
}

#[test]
fn names_go_back_while_another_instance_holds_the_alias() {
    let scene = Scene::of("replicas: 2")
        .ready(0, 1)
        .ready(1, 1)
        .but("c0-1", |container| container.name = "users-0-1".to_owned());
    assert_eq!(scene.does(), ["rename c0-1 users"]);
    let odd = scene
        .but("c0-1", |container| container.name = "odd".to_owned())
        .but("c1-1", |container| container.name = "users".to_owned());
    assert_eq!(odd.does(), ["rename c1-1 users-1-1", "rename c0-1 users"]);
}

#[test]
fn a_holder_that_does_not_run_gives_its_name_to_the_new_one() {
    let mut scene = Scene::of("state: stopped")
        .old(0, 1)
        .exited("c0-1", 0, 1)
        .settled();
    scene.agent.as_mut().unwrap().spec = spec("{}");
    let image = crate::observed::ImageState::Resolved(crate::observed::ImageId(IMAGE.to_owned()));
    assert_eq!(
        scene.image(image).does(),
        ["rename c0-1 users-0-1", "create 0 after 1 named"]
    );
}

#[test]
fn an_old_one_that_is_frozen_keeps_its_name() {
    let scene = Scene::of("{}")
        .old(0, 1)
        .but("c0-1", |container| container.state = ContainerState::Paused);
    assert_eq!(scene.does(), ["unpause c0-1", "create 0 after 1"]);
}

#[test]
fn a_removal_in_progress_is_given_time_to_free_the_name_and_no_more() {
    let scene = Scene::of("{}").ready(0, 1).but("c0-1", |container| {
        container.name = "users".to_owned();
        container.state = ContainerState::Removing;
        container.exit = Some(crate::observed::Exit {
            code: 137,
            oom_killed: false,
            at: Some(at(-1)),
        });
    });
    assert_eq!(scene.does(), nothing());
    let long = scene.but("c0-1", |container| {
        if let Some(exit) = &mut container.exit {
            exit.at = Some(at(-3));
        }
    });
    assert_eq!(long.does(), ["create 0 after 1"]);
}
