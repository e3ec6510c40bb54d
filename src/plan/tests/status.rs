//! Conditions, phase and counts.

use super::fixture::*;
use crate::agent::Phase;
use crate::agent::status::{ConditionStatus, condition};

#[test]
fn a_condition_keeps_its_time_while_its_status_stays() {
    let scene = Scene::of("replicas: 2").ready(0, 1).settled();
    let before = scene.condition(condition::READY);
    let after = scene.later(50).change(|scene| {
        scene
            .observed
            .failures
            .insert(1, failure("CreateFailed", 1, -50));
    });
    let ready = after.condition(condition::READY);
    assert_eq!(
        (ready.status, ready.last_transition_time),
        (ConditionStatus::False, before.last_transition_time)
    );
    assert_ne!(ready.message, before.message);
    let up = after.ready(1, 1).condition(condition::READY);
    assert_eq!(
        (up.status, up.last_transition_time),
        (ConditionStatus::True, at(50))
    );
}

#[test]
fn conditions_are_sorted_and_unique() {
    let kinds: Vec<String> = Scene::of("{}")
        .status()
        .conditions
        .into_iter()
        .map(|condition| condition.kind)
        .collect();
    let mut sorted = kinds.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!(kinds, sorted);
}

#[test]
fn a_probes_word_is_passed_on() {
    let scene = Scene::of("{}").ready(0, 1).change(|scene| {
        let probe = scene.observed.probes.values_mut().next().unwrap();
        probe.ready = Some(false);
        probe.message = "GET /health answered 503".to_owned();
    });
    let (reason, message) = scene.why_not_ready();
    assert_eq!(
        (reason.as_str(), scene.status().phase),
        ("NotReady", Phase::Degraded)
    );
    assert!(message.contains("GET /health answered 503"), "{message}");
}

#[test]
fn dangling_upstreams_are_a_warning_that_harms_nothing() {
    let scene = Scene::of("{env: {A: 'http://auth:8000', B: 'http://biling:1'}}")
        .ready(0, 1)
        .change(|scene| {
            scene.observed.others = [
                ("auth", Some(true)),
                ("billing", Some(true)),
                ("biling", None),
            ]
            .map(|(other, ready)| (name(other), ready))
            .into();
        });
    let known = scene.condition(condition::UPSTREAMS_KNOWN);
    assert_eq!(
        (known.status, known.reason.as_str()),
        (ConditionStatus::False, "Dangling")
    );
    assert!(
        known.message.contains("did you mean 'billing'"),
        "{}",
        known.message
    );
    assert_eq!(scene.status().upstreams, ["auth"]);
    assert!(scene.status().is_ready());
}

#[test]
fn a_network_that_chooses_for_itself_is_said() {
    let scene = Scene::of("{}")
        .change(|scene| scene.observed.network.as_mut().unwrap().addresses_owned = false);
    assert_eq!(
        scene.condition(condition::ADDRESSES_OWNED).reason,
        "AddressesNotOwned"
    );
}

#[test]
fn law_7_no_environment_value_is_told() {
    let scene = Scene::of("{env: {TOKEN: s3cret, URL: 'http://user:s3cret@auth:1'}}").ready(0, 1);
    let told = format!("{:?}", scene.plan());
    assert!(!told.contains("s3cret"), "{told}");
}

#[test]
fn progressing_ends_when_nothing_is_left() {
    let scene = Scene::of("{}").ready(0, 1);
    let progressing = scene.condition(condition::PROGRESSING);
    assert_eq!(
        (progressing.status, progressing.reason.as_str()),
        (ConditionStatus::False, "Settled")
    );
    let creating = Scene::of("{}").condition(condition::PROGRESSING);
    assert_eq!(creating.status, ConditionStatus::True);
}
