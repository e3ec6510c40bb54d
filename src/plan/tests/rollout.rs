//! Replicas, revisions, duplicates.

use super::fixture::*;
use crate::agent::Phase;
use crate::observed::*;
use crate::plan::EndpointState;

#[test]
fn scaling_down_drains_the_highest_ordinals() {
    let scene = Scene::of("replicas: 1").ready(0, 1).ready(1, 1).ready(2, 1);
    assert_eq!(scene.does(), nothing());
    assert_eq!(scene.endpoint("c0-1"), EndpointState::Ready);
    assert_eq!(scene.endpoint("c2-1"), EndpointState::Draining);
    let drained = scene
        .clone()
        .traffic("c2-1", 0, Some(1))
        .traffic("c1-1", 3, Some(1));
    assert_eq!(drained.does(), ["stop c2-1", "remove c2-1"]);
    let late = scene
        .traffic("c2-1", 0, Some(1))
        .traffic("c1-1", 3, Some(30));
    assert_eq!(
        late.does(),
        ["stop c2-1", "remove c2-1", "stop c1-1", "remove c1-1"]
    );
}

#[test]
fn law_1_one_that_drains_beside_another_of_its_place_leaves_no_room_for_a_third() {
    // Two earlier ones for ordinal 1, of which one may go as ordinal 0 is ready.
    let scene = Scene::of("{replicas: 2, strategy: {maxSurge: 1}}")
        .ready(0, 1)
        .old(1, 1)
        .old(1, 2);
    assert_eq!(scene.endpoint("c1-2"), EndpointState::Draining);
    assert_eq!(scene.does(), nothing());
    let gone = scene.without("c1-2");
    assert_eq!(gone.does(), ["create 1 after 1"]);
}

#[test]
fn law_1_two_of_a_place_that_is_scaled_away_leave_no_room_for_another_double() {
    // A roll of two was under way when one alone of a third revision was asked for.
    let scene = Scene::of("{replicas: 1, strategy: {maxSurge: 1}}")
        .old(0, 1)
        .old(1, 1)
        .old(1, 2);
    assert_eq!(scene.endpoint("c1-1"), EndpointState::Draining);
    assert_eq!(scene.endpoint("c1-2"), EndpointState::Draining);
    assert_eq!(scene.does(), nothing());
    // One of the two is out of service, and no double any more: it may go beside the new one.
    let one = scene.clone().without("c1-2");
    assert_eq!(one.does(), ["create 0 after 1"]);
    let ended = scene.exited("c1-2", 0, 1);
    assert_eq!(ended.does(), ["create 0 after 1", "remove c1-2"]);
}

#[test]
fn law_1_two_of_a_place_that_is_scaled_away_and_may_not_go_yet_hold_nothing_up() {
    // They are all that serves: neither goes before others do.
    let scene = Scene::of("{replicas: 2, strategy: {maxSurge: 1}}")
        .old(0, 1)
        .probed(0, 1, Some(false))
        .old(1, 1)
        .probed(1, 1, Some(false))
        .old(2, 1)
        .old(2, 2);
    assert_eq!(scene.endpoint("c2-1"), EndpointState::Ready);
    assert_eq!(scene.endpoint("c2-2"), EndpointState::Ready);
    assert_eq!(scene.does(), ["create 0 after 1"]);
}

#[test]
fn zero_replicas_leave_nothing() {
    let scene = Scene::of("replicas: 0")
        .ready(0, 1)
        .traffic("c0-1", 0, Some(1));
    assert_eq!(scene.does(), ["stop c0-1", "remove c0-1"]);
    let empty = Scene::of("replicas: 0");
    assert_eq!(
        (empty.does(), empty.status().phase),
        (nothing(), Phase::Stopped)
    );
}

#[test]
fn law_5_a_new_revision_is_ready_before_the_old_one_is_drained() {
    let scene = Scene::of("{}").old(0, 1);
    assert_eq!(scene.does(), ["create 0 after 1"]);
    assert_eq!(scene.endpoint("c0-1"), EndpointState::Ready);

    let starting = scene.ready(0, 2).probed(0, 2, Some(false));
    assert_eq!(starting.does(), nothing());
    assert_eq!(starting.endpoint("c0-1"), EndpointState::Ready);

    let ready = starting.probed(0, 2, Some(true));
    assert_eq!(ready.endpoint("c0-1"), EndpointState::Draining);
    assert_eq!(ready.endpoint("c0-2"), EndpointState::Ready);
    assert_eq!(ready.does(), ["rename c0-1 users-0-1", "rename c0-2 users"]);
    let drained = ready
        .but("c0-1", |container| container.name = "users-0-1".to_owned())
        .but("c0-2", |container| container.name = "users".to_owned())
        .traffic("c0-1", 0, Some(1));
    assert_eq!(drained.does(), ["stop c0-1", "remove c0-1"]);
}

#[test]
fn one_at_a_time_beside_the_old_ones() {
    let scene = Scene::of("replicas: 3").old(0, 1).old(1, 1).old(2, 1);
    assert_eq!(scene.does(), ["create 0 after 1"]);
    let surge = Scene::of("{replicas: 3, strategy: {maxSurge: 2}}")
        .old(0, 1)
        .old(1, 1)
        .old(2, 1);
    assert_eq!(surge.does(), ["create 0 after 1", "create 1 after 1"]);
}

#[test]
fn without_surge_the_old_one_goes_first_as_far_as_may_be_unavailable() {
    let scene = Scene::of("{replicas: 2, strategy: {maxSurge: 0, maxUnavailable: 1}}")
        .old(0, 1)
        .old(1, 1);
    let scene = scene
        .traffic("c0-1", 0, Some(1))
        .traffic("c1-1", 0, Some(1));
    assert_eq!(scene.does(), ["stop c0-1", "remove c0-1"]);
    let both = Scene::of("{replicas: 1, strategy: {maxSurge: 0, maxUnavailable: 0}}").old(0, 1);
    assert_eq!(
        both.does(),
        ["create 0 after 1"],
        "with neither, one surges"
    );
}

#[test]
fn law_8_a_revision_that_is_never_ready_leaves_the_last_good_one_serving() {
    let scene = Scene::of("replicas: 2")
        .old(0, 1)
        .old(1, 1)
        .ready(0, 2)
        .probed(0, 2, Some(false));
    assert_eq!(scene.does(), nothing());
    assert_eq!(scene.endpoint("c0-1"), EndpointState::Ready);
    let (reason, message) = scene.why_not_ready();
    assert_eq!(reason, "ProgressDeadlineExceeded", "{message}");
    assert_eq!(scene.status().phase, Phase::Degraded);
    assert_eq!(
        (
            scene.status().ready_replicas,
            scene.status().updated_replicas
        ),
        (2, 1)
    );
}

#[test]
fn law_8_the_old_one_is_healed_while_the_new_one_crashes() {
    let scene = Scene::of("{}")
        .old(0, 1)
        .ready(0, 2)
        .settled()
        .exited("c0-1", 137, 0)
        .exited("c0-2", 1, 0);
    let does = scene.does();
    assert!(does.contains(&"start c0-1".to_owned()), "{does:?}");
    let crashed = Scene::of("{replicas: 2}")
        .old(0, 1)
        .old(1, 1)
        .ready(0, 2)
        .probed(0, 2, Some(false))
        .settled();
    let does = crashed.exited("c1-1", 137, 0).does();
    assert!(does.contains(&"start c1-1".to_owned()), "{does:?}");
    assert!(
        !does.iter().any(|word| word.starts_with("create")),
        "{does:?}"
    );
}

#[test]
fn law_8_going_back_removes_the_bad_one_and_keeps_the_good_one() {
    // The spec asks for the revision of c0-1 again; c0-2 is the bad one.
    let scene = Scene::of("{}")
        .ready(0, 1)
        .old(0, 2)
        .probed(0, 2, Some(false));
    assert_eq!(scene.does(), ["stop c0-2", "remove c0-2"]);
    assert_eq!(scene.endpoint("c0-1"), EndpointState::Ready);
}

#[test]
fn law_8_a_third_revision_clears_the_bad_second_one_away() {
    let bad = |container: &mut Container| {
        container.identity.revision = crate::agent::Revision("v1:bad".to_owned())
    };
    let scene = Scene::of("{}")
        .old(0, 1)
        .old(0, 2)
        .but("c0-2", bad)
        .probed(0, 2, Some(false));
    let does = scene.does();
    assert!(does.contains(&"remove c0-2".to_owned()), "{does:?}");
    assert!(!does.contains(&"stop c0-1".to_owned()), "{does:?}");
}

#[test]
fn a_ready_one_is_not_taken_while_too_few_others_are() {
    let scene = Scene::of("replicas: 1")
        .ready(0, 1)
        .probed(0, 1, Some(false))
        .ready(1, 1)
        .traffic("c1-1", 0, Some(60));
    assert_eq!(scene.does(), nothing());
    assert_eq!(scene.endpoint("c1-1"), EndpointState::Ready);
}

#[test]
fn the_best_of_two_is_kept() {
    let scene = Scene::of("{}")
        .ready(0, 1)
        .probed(0, 1, Some(false))
        .ready(0, 2);
    assert_eq!(
        scene.does(),
        [
            "rename c0-1 users-0-1",
            "rename c0-2 users",
            "stop c0-1",
            "remove c0-1"
        ]
    );
    let equals = Scene::of("{}").ready(0, 1).ready(0, 2);
    assert_eq!(equals.endpoint("c0-2"), EndpointState::Draining);
    assert_eq!(
        equals.traffic("c0-2", 0, Some(1)).does(),
        ["stop c0-2", "remove c0-2"]
    );
}

#[test]
fn writable_volumes_are_never_written_by_two_revisions() {
    let yaml = "{volumes: [{name: data, container: /data}]}";
    let scene = Scene::of(yaml).old(0, 1);
    assert_eq!(
        (scene.does(), scene.endpoint("c0-1")),
        (nothing(), EndpointState::Draining)
    );
    assert_eq!(
        scene.traffic("c0-1", 0, Some(1)).does(),
        ["stop c0-1", "remove c0-1"]
    );
    let gone = Scene::of(yaml).old(0, 1).exited("c0-1", 143, 0);
    assert_eq!(gone.does(), ["remove c0-1"]);
    let unresolved = Scene::of(yaml).old(0, 1).image(ImageState::Unresolved);
    assert_eq!(unresolved.does(), ["resolve users"]);
    assert_eq!(unresolved.endpoint("c0-1"), EndpointState::Ready);
}

#[test]
fn a_stopped_agent_with_a_new_revision_starts_the_new_one_alone() {
    let mut scene = Scene::of("state: stopped")
        .old(0, 1)
        .exited("c0-1", 0, 1)
        .settled();
    scene.agent.as_mut().unwrap().spec = spec("{}");
    let scene = scene.image(ImageState::Resolved(ImageId(IMAGE.to_owned())));
    assert_eq!(
        scene.does(),
        ["rename c0-1 users-0-1", "create 0 after 1 named"]
    );
    let made = scene.settled().ready(0, 2);
    assert_eq!(made.does(), ["remove c0-1"]);
}
