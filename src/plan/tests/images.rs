//! The image of the asked revision.

use super::fixture::*;
use crate::agent::Phase;
use crate::agent::status::{ConditionStatus, condition};
use crate::observed::*;

fn lost(failed: Option<Failure>) -> ImageState {
    ImageState::Lost {
        image: ImageId("x".to_owned()),
        failed,
    }
}

#[test]
fn a_lost_image_that_cannot_be_had_again_rests_too() {
    let scene = Scene::of("{}").image(lost(Some(failure("ImageNotFound", 1, 1))));
    assert_eq!(scene.does(), nothing());
    assert_eq!(
        scene.condition(condition::IMAGE_RESOLVED).reason,
        "ImageLost"
    );
    assert_eq!(scene.later(9).does(), ["resolve users"]);
}

#[test]
fn an_image_is_resolved_before_anything_is_made() {
    for state in [ImageState::Unresolved, lost(None)] {
        assert_eq!(
            Scene::of("image: users:2").image(state).does(),
            ["resolve users:2"]
        );
    }
}

#[test]
fn a_failed_image_rests_and_says_why() {
    let scene =
        Scene::of("image: nope").image(ImageState::Failed(failure("ImagePullFailed", 2, 5)));
    assert_eq!(scene.does(), nothing());
    assert_eq!(scene.plan().recheck.unwrap().as_secs(), 15);
    let resolved = scene.condition(condition::IMAGE_RESOLVED);
    assert_eq!(
        (resolved.status, resolved.reason.as_str()),
        (ConditionStatus::False, "ImagePullFailed")
    );
    assert_eq!(scene.why_not_ready().0, "ImagePullFailed");
    assert_eq!(scene.status().phase, Phase::Failed);
    assert_eq!(scene.later(15).does(), ["resolve nope"]);
}

#[test]
fn law_8_an_unpullable_image_leaves_what_serves_alone() {
    for yaml in [
        "image: nope",
        "{image: nope, volumes: [{name: data, container: /data}]}",
    ] {
        let scene =
            Scene::of(yaml)
                .old(0, 1)
                .image(ImageState::Failed(failure("ImageNotFound", 1, 1)));
        assert_eq!(scene.does(), nothing());
        assert_eq!(scene.endpoint("c0-1"), crate::plan::EndpointState::Ready);
        assert_eq!(scene.status().phase, Phase::Degraded);
    }
}

#[test]
fn a_lost_image_touches_nothing_that_runs() {
    let scene = Scene::of("{}").ready(0, 1).image(lost(None));
    assert_eq!(scene.does(), nothing());
    let resolved = scene.condition(condition::IMAGE_RESOLVED);
    assert_eq!(
        (resolved.status, resolved.reason.as_str()),
        (ConditionStatus::False, "ImageLost")
    );
    assert!(resolved.message.contains("agentainer restart users"));
    assert!(scene.status().is_ready());
}

#[test]
fn no_image_is_looked_up_that_nobody_needs() {
    for yaml in ["state: stopped", "replicas: 0"] {
        assert_eq!(
            Scene::of(yaml).image(ImageState::Unresolved).does(),
            nothing()
        );
    }
    let scene = Scene::of("{}")
        .ready(0, 1)
        .change(|scene| scene.observed.images.clear());
    assert_eq!(scene.does(), nothing());
}

#[test]
fn an_image_that_is_being_pulled_is_waited_for() {
    let pulling = ImageState::Pulling("1 of 2 layers, 3 of 9 MB".to_owned());
    let scene = Scene::of("{image: big}").image(pulling);
    assert_eq!(scene.does(), nothing());
    let (reason, message) = scene.why_not_ready();
    assert_eq!(reason, "Pulling");
    assert!(
        message.contains("pulling image 'big': 1 of 2 layers, 3 of 9 MB"),
        "{message}"
    );
    assert_eq!(scene.status().phase, crate::agent::Phase::Progressing);
    // What runs goes on.
    let scene = scene.old(0, 1);
    assert_eq!(scene.endpoint("c0-1"), crate::plan::EndpointState::Ready);
    assert_eq!(scene.does(), nothing());
}
