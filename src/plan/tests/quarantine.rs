//! Law 6: nothing is removed without proof, and an outage touches nothing.

use super::fixture::*;
use crate::agent::ClusterId;
use crate::agent::status::{ConditionStatus, condition};
use crate::observed::*;
use crate::plan::EndpointState;

fn without_object() -> Scene {
    Scene::of("{}")
        .ready(0, 1)
        .change(|scene| scene.agent = None)
}

#[test]
fn law_6_containers_without_an_object_run_on_and_are_routed_to() {
    let scene = without_object();
    assert_eq!(
        (scene.does(), scene.endpoint("c0-1")),
        (nothing(), EndpointState::Ready)
    );
    assert_eq!(scene.plan().status, None);
}

#[test]
fn a_tombstone_is_the_proof_that_an_orphan_may_go() {
    let scene = without_object().change(|scene| {
        scene.tombstones.insert(uid("u1"));
    });
    assert_eq!(
        (scene.does(), scene.endpoint("c0-1")),
        (nothing(), EndpointState::Draining)
    );
    assert_eq!(
        scene.clone().traffic("c0-1", 0, Some(1)).does(),
        ["stop c0-1", "remove c0-1"]
    );
    let frozen = scene
        .traffic("c0-1", 0, Some(60))
        .change(|scene| scene.frozen = Some("why".to_owned()));
    assert_eq!(
        (frozen.does(), frozen.endpoint("c0-1")),
        (nothing(), EndpointState::Ready)
    );
}

#[test]
fn law_4_another_life_of_the_name_gets_no_requests_and_no_harm() {
    let scene = Scene::of("{}")
        .ready(0, 3)
        .but("c0-3", |container| container.identity.uid = uid("u0"));
    assert_eq!(scene.does(), ["create 0 after 3"]);
    assert_eq!(scene.endpoint("c0-3"), EndpointState::Down);
    let quarantined = scene.condition(condition::QUARANTINED);
    assert_eq!(
        (quarantined.status, quarantined.reason.as_str()),
        (ConditionStatus::True, "NoTombstone")
    );
    assert!(quarantined.message.contains("docker rm -f users"));
    let proven = scene.change(|scene| {
        scene.tombstones.insert(uid("u0"));
    });
    let proven = proven.traffic("c0-3", 0, Some(1));
    assert_eq!(
        proven.does(),
        [
            "rename c0-3 users-0-3",
            "create 0 after 3 named",
            "stop c0-3",
            "remove c0-3"
        ]
    );
}

#[test]
fn two_lives_never_write_to_the_same_volume() {
    let scene = Scene::of("{volumes: [{name: data, container: /data}]}").ready(0, 3);
    let scene = scene.but("c0-3", |container| container.identity.uid = uid("u0"));
    assert_eq!(scene.does(), nothing());
    assert_eq!(scene.why_not_ready().0, "EarlierLifeRuns");
}

#[test]
fn another_clusters_or_agents_containers_do_not_exist_for_us() {
    let others: [fn(&mut Identity); 2] = [
        |identity| identity.cluster = ClusterId("theirs".to_owned()),
        |identity| identity.agent = name("auth"),
    ];
    for other in others {
        let scene = Scene::of("replicas: 0")
            .ready(0, 1)
            .but("c0-1", |container| other(&mut container.identity));
        let plan = scene.plan();
        assert_eq!((words(&plan), plan.endpoints.len()), (nothing(), 0));
    }
}

#[test]
fn law_6_frozen_takes_nothing_away() {
    let frozen = |scene: Scene| {
        scene
            .traffic("c0-1", 0, Some(60))
            .change(|scene| scene.frozen = Some("the store is older".to_owned()))
    };
    for yaml in ["replicas: 0", "state: stopped", "state: paused", "{}"] {
        let scene = frozen(Scene::of(yaml).old(0, 1));
        assert_eq!(scene.does(), nothing(), "{yaml}");
        assert_eq!(scene.endpoint("c0-1"), EndpointState::Ready, "{yaml}");
        let quarantined = scene.condition(condition::QUARANTINED);
        assert!(quarantined.message.contains("the store is older"));
    }
    let deleted = frozen(Scene::of("{}").ready(0, 1)).change(|scene| {
        scene.agent.as_mut().unwrap().metadata.deletion_timestamp = Some(at(-1));
    });
    assert_eq!(
        (deleted.does(), deleted.endpoint("c0-1")),
        (nothing(), EndpointState::Ready)
    );
}

#[test]
fn frozen_heals_an_agent_on_which_store_and_containers_agree() {
    let freeze = |scene: &mut Scene| scene.frozen = Some("why".to_owned());
    let agreed = Scene::of("{}")
        .ready(0, 1)
        .exited("c0-1", 1, 0)
        .change(freeze);
    assert_eq!(agreed.does(), ["start c0-1"]);
    let none = Scene::of("{}").change(freeze);
    assert_eq!(none.does(), ["create 0 after 0 named"]);
    let newer = Scene::of("replicas: 2")
        .ready(0, 1)
        .but("c0-1", |container| container.identity.generation = 2);
    assert_eq!(newer.change(freeze).does(), nothing());
}
