//! Rollouts that fail, are held, and go back by themselves.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::fixture::*;
use crate::agent::status::{ConditionStatus, RolloutState, condition};
use crate::agent::{Phase, Revision, RevisionRecord, Shape};
use crate::keys::ROLLOUT_PAUSED;
use crate::observed::*;
use crate::plan::Action;

const BAD: &str = "args: [bad]";

/// Two instances of a good revision on record, and a spec that asks for another, whose image is there.
fn rolling(more: &str) -> Scene {
    let good = agent(spec("replicas: 2"));
    let revision = good.revision();
    let mut scene = Scene::of(&format!("{{replicas: 2, {BAD}, {more}}}"));
    let asked = scene.asked();
    scene.observed.records = Some(vec![
        record(&revision, 1, Some(Shape::of(&good))),
        record(&asked, 2, Some(Shape::of(scene.agent.as_ref().unwrap()))),
    ]);
    let image = ImageState::Resolved(ImageId("sha256:good".to_owned()));
    scene.observed.images.insert(revision.clone(), image);
    let rollout = &mut scene.agent.as_mut().unwrap().status.rollout;
    rollout.last_good = Some(revision.clone());
    rollout.last_good_number = 1;
    for ordinal in 0..2 {
        scene = scene
            .with(container(&revision, ordinal, 1))
            .probed(ordinal, 1, Some(true));
    }
    scene
}

fn record(revision: &Revision, number: u64, shape: Option<Shape>) -> RevisionRecord {
    RevisionRecord {
        revision: revision.clone(),
        number,
        image_id: IMAGE.to_owned(),
        image: "users".to_owned(),
        tag: Some("agentainer/users:x".to_owned()),
        generation: 1,
        at: at(i64::try_from(number).unwrap()),
        shape,
        proven: None,
    }
}

/// The bad one beside ordinal 0, made at the beginning and never ready.
fn begun(more: &str) -> Scene {
    rolling(more)
        .ready(0, 2)
        .but("c0-2", |made| made.created_at = Some(at(0)))
        .probed(0, 2, Some(false))
        .settled()
}

fn gone(mut scene: Scene, id: &str) -> Scene {
    scene
        .observed
        .containers
        .retain(|container| container.id.0 != id);
    scene
}

/// The only container that a plan makes.
fn made(scene: &Scene) -> crate::plan::CreateInstance {
    let plan = scene.plan();
    let mut made = plan
        .actions
        .iter()
        .filter_map(|planned| match &planned.action {
            Action::Create(made) => Some(made.as_ref().clone()),
            _ => None,
        });
    let one = made.next().expect("one is made");
    assert!(made.next().is_none(), "{:?}", scene.does());
    one
}

fn hold(scene: Scene) -> Scene {
    scene.change(|scene| {
        let annotations = &mut scene.agent.as_mut().unwrap().metadata.annotations;
        annotations.insert(ROLLOUT_PAUSED.to_owned(), "true".to_owned());
    })
}

#[test]
fn law_8_the_deadline_is_the_specs_and_says_why() {
    let early = begun("strategy: {progressDeadline: 40s}").later(39);
    assert_eq!(early.status().rollout.state, RolloutState::Progressing);
    assert!(early.plan().recheck.unwrap().as_secs() <= 1);
    let late = begun("strategy: {progressDeadline: 40s}").later(40);
    let status = late.status();
    assert_eq!(status.rollout.state, RolloutState::Failed);
    let said = status.condition(condition::PROGRESSING).unwrap();
    assert_eq!(
        (said.status, said.reason.as_str()),
        (ConditionStatus::False, "ProgressDeadlineExceeded")
    );
    assert!(said.message.contains("revision 2 ("), "{}", said.message);
    assert!(said.message.contains("agentainer rollout undo users"));
    assert_eq!(late.does(), nothing(), "what is there stays");
    let never = begun("strategy: {progressDeadline: 0s}").later(100_000);
    assert_eq!(never.status().rollout.state, RolloutState::Progressing);
}

#[test]
fn getting_on_and_time_that_nobody_saw_put_the_deadline_off() {
    let scene = begun("port: 8000").later(119);
    let on = scene.clone().probed(0, 2, Some(true)).settled().later(100);
    assert_eq!(on.status().rollout.state, RolloutState::Progressing);
    let unseen = scene.later(1000).change(|scene| {
        scene.observed.attended = Some(scene.now - SignedDuration::from_secs(60));
    });
    assert_eq!(unseen.status().rollout.state, RolloutState::Progressing);
    assert_eq!(
        unseen.later(60).status().rollout.state,
        RolloutState::Failed
    );
}

#[test]
fn law_8_a_lost_good_container_is_made_again_of_its_own_revision() {
    // Before the rollout counts as failed, and after.
    for seconds in [1, 500] {
        let scene = gone(begun("port: 8000").later(seconds), "c1-1");
        let wanted = made(&scene);
        assert_eq!(wanted.ordinal, 1);
        assert_eq!(wanted.image.0, "sha256:good");
        assert_ne!(wanted.revision, scene.asked());
        assert_eq!(wanted.spec.args, Vec::<String>::new());
        assert_eq!(wanted.spec.replicas.0, 2);
    }
    let alone = gone(begun("port: 8000").later(500).settled(), "c0-1");
    assert_eq!(made(&alone).image.0, "sha256:good", "beside the bad one");
}

#[test]
fn law_8_scaled_up_meanwhile_it_gets_more_of_the_good_ones() {
    let scene = begun("port: 8000").later(500).settled();
    let more = scene.change(|scene| {
        scene.agent.as_mut().unwrap().spec.replicas.0 = 3;
    });
    let wanted = made(&more);
    assert_eq!(
        (wanted.ordinal, wanted.image.0.as_str()),
        (2, "sha256:good")
    );
    let unrecorded = more.change(|scene| scene.observed.records = None);
    assert_eq!(made(&unrecorded).image.0, IMAGE, "else of the asked one");
}

#[test]
fn law_8_a_failed_rollout_that_gets_ready_after_all_goes_on() {
    let scene = begun("port: 8000").later(500).settled();
    assert_eq!(scene.status().rollout.state, RolloutState::Failed);
    let ready = scene.probed(0, 2, Some(true));
    assert_eq!(ready.status().rollout.state, RolloutState::Progressing);
    assert_eq!(ready.status().rollout.failed, None);
}

#[test]
fn law_6_a_rollout_that_failed_stands_through_an_outage() {
    let scene = begun("port: 8000").later(500).settled();
    let failed = scene.status().rollout;
    let away = scene
        .change(|scene| scene.frozen = Some("the store cannot be reached".to_owned()))
        .settled();
    // Looked at again, and from now on alone.
    let back = away.later(10).change(|scene| {
        (scene.frozen, scene.observed.attended) = (None, Some(scene.now));
    });
    let rollout = back.status().rollout;
    assert_eq!(
        (rollout.state, rollout.progress),
        (failed.state, failed.progress)
    );
    assert_eq!(rollout.failed, failed.failed);
    assert_eq!(back.does(), nothing());
    let ready = back.settled().probed(0, 2, Some(true));
    assert_eq!(ready.status().rollout.state, RolloutState::Progressing);
}

#[test]
fn law_8_a_crash_loop_fails_at_once() {
    let mut scene = begun("port: 8000").exited("c0-2", 7, 0).settled();
    for _ in 0..4 {
        scene = scene
            .later(30)
            .but("c0-2", |one| one.started_at = one.exit.unwrap().at)
            .exited("c0-2", 7, 0)
            .settled();
    }
    let failed = scene.status().rollout.failed.unwrap();
    assert_eq!(failed.reason, "CrashLoopBackOff");
    assert!(failed.message.contains("code 7"), "{}", failed.message);
}

#[test]
fn law_8_rollback_brings_the_last_good_revision_back_and_says_so() {
    let scene = begun("strategy: {rollback: true}").later(500);
    assert_eq!(scene.does(), ["stop c0-2", "remove c0-2"]);
    let status = scene.status();
    assert_eq!(status.rollout.state, RolloutState::RolledBack);
    assert_eq!(status.phase, Phase::Degraded);
    assert!(status.is_ready(), "it answers as before");
    assert_eq!(status.updated_replicas, 1);
    assert_eq!(status.revision, Some(scene.asked()), "the spec's");
    let said = status.condition(condition::ROLLED_BACK).unwrap();
    assert!(said.message.contains("revision 1 ("), "{}", said.message);

    let back = gone(scene.settled(), "c0-2").settled();
    assert_eq!(back.does(), nothing());
    assert_eq!(back.clone().later(100_000).does(), nothing(), "for good");
    assert_eq!(made(&gone(back.clone(), "c1-1")).image.0, "sha256:good");
    // The same manifest again changes nothing; another revision or a restart is tried.
    let restarted = back.clone().change(|scene| {
        let annotations = &mut scene.agent.as_mut().unwrap().metadata.annotations;
        annotations.insert(crate::keys::RESTARTED_AT.to_owned(), "now".to_owned());
    });
    assert_eq!(restarted.status().rollout.failed, None);
    assert_eq!(restarted.does(), ["resolve users"]);
    let off = back.change(|scene| {
        scene.agent.as_mut().unwrap().spec.strategy.rollback = false;
    });
    assert_eq!(off.status().rollout.state, RolloutState::Progressing);
    assert_eq!(off.does(), ["create 0 after 1"], "tried anew");
}

#[test]
fn without_a_good_revision_on_record_there_is_no_way_back() {
    let scene = begun("strategy: {rollback: true}")
        .later(500)
        .change(|scene| {
            scene.observed.records.as_mut().unwrap()[0].shape = None;
        });
    assert_eq!(scene.status().rollout.state, RolloutState::Failed);
    assert_eq!(scene.does(), nothing());
}

#[test]
fn a_container_carries_the_moment_of_the_restart_that_its_own_revision_has() {
    for more in ["port: 8000", "strategy: {rollback: true}"] {
        let scene = begun(more).later(500).settled().change(|scene| {
            let shape = scene.observed.records.as_mut().unwrap()[0].shape.as_mut();
            shape.unwrap().restarted_at = Some("once".to_owned());
        });
        let wanted = made(&gone(scene, "c1-1"));
        assert_eq!(wanted.restarted_at.as_deref(), Some("once"), "{more}");
    }
    let scene = Scene::of("{}").change(|scene| {
        let annotations = &mut scene.agent.as_mut().unwrap().metadata.annotations;
        annotations.insert(crate::keys::RESTARTED_AT.to_owned(), "now".to_owned());
    });
    let image = ImageState::Resolved(ImageId(IMAGE.to_owned()));
    let asked = scene.asked();
    let scene = scene.change(|scene| drop(scene.observed.images.insert(asked, image)));
    assert_eq!(made(&scene).restarted_at.as_deref(), Some("now"));
}

#[test]
fn recreate_goes_back_too() {
    let yaml = "strategy: {rollback: true, type: recreate}";
    let scene = gone(gone(rolling(yaml), "c0-1"), "c1-1");
    let scene = scene
        .ready(0, 2)
        .but("c0-2", |made| made.created_at = Some(at(0)))
        .probed(0, 2, Some(false))
        .ready(1, 2)
        .probed(1, 2, Some(false))
        .settled()
        .later(500);
    let does = scene.does();
    assert!(does.contains(&"remove c0-2".to_owned()), "{does:?}");
    assert!(does.contains(&"remove c1-2".to_owned()), "{does:?}");
    let empty = gone(gone(scene.settled(), "c0-2"), "c1-2");
    assert_eq!(empty.does(), ["create 0 after 2 named", "create 1 after 2"]);
}

#[test]
fn a_held_rollout_replaces_nothing_and_heals_with_what_was_good() {
    let scene = hold(rolling("port: 8000")).settled().later(100_000);
    assert_eq!(scene.does(), nothing());
    let status = scene.status();
    assert_eq!(status.rollout.state, RolloutState::Paused);
    let said = status.condition(condition::PROGRESSING).unwrap();
    assert_eq!(said.reason, "RolloutPaused");
    assert_eq!(made(&gone(scene.clone(), "c1-1")).image.0, "sha256:good");
    let more = scene.clone().change(|scene| {
        scene.agent.as_mut().unwrap().spec.replicas.0 = 3;
    });
    assert_eq!(made(&more).image.0, "sha256:good");
    // Held in the middle: both stay, ready or not; and its time does not run.
    let middle = hold(begun("port: 8000"))
        .probed(0, 2, Some(true))
        .later(100_000);
    let does = middle.does();
    assert!(
        does.iter().all(|word| word.starts_with("rename")),
        "{does:?}"
    );
    let resumed = middle.settled().change(|scene| {
        scene.agent.as_mut().unwrap().metadata.annotations = BTreeMap::new();
    });
    assert_eq!(resumed.status().rollout.state, RolloutState::Progressing);
    assert_eq!(
        resumed.endpoint("c0-1"),
        crate::plan::EndpointState::Draining
    );
}

#[test]
fn a_first_creation_is_not_held() {
    assert_eq!(hold(Scene::of("{}")).does(), ["create 0 after 0 named"]);
}

#[test]
fn held_or_without_its_image_recreate_keeps_what_was_good() {
    let yaml = "strategy: {type: recreate}";
    let held = gone(hold(rolling(yaml)), "c1-1");
    assert_eq!(made(&held).image.0, "sha256:good");
    let unpullable = gone(gone(rolling(yaml), "c0-1"), "c1-1").image(ImageState::Failed(failure(
        "ImageNotFound",
        1,
        0,
    )));
    let does = unpullable.does();
    assert_eq!(does, ["create 0 after 0 named", "create 1 after 0"]);
    let paused = rolling(&format!("{yaml}, state: paused"));
    let mut paused = gone(paused, "c1-1");
    for container in &mut paused.observed.containers {
        container.state = ContainerState::Paused;
    }
    assert_eq!(made(&paused).image.0, "sha256:good");
    paused.observed.records = None;
    assert_eq!(paused.does(), nothing());
    let (reason, message) = {
        let said = paused.condition(condition::PROGRESSING);
        (said.reason, said.message)
    };
    assert!(message.contains("when it resumes"), "{reason}: {message}");
}

#[test]
fn a_revision_is_good_when_all_were_ready_for_a_while() {
    let now = |container: &mut Container| container.started_at = Some(at(0));
    let scene = Scene::of("{}").ready(0, 1).but("c0-1", now).settled();
    assert_eq!(scene.status().rollout.last_good, None);
    assert!(scene.plan().recheck.unwrap().as_secs() <= 10);
    let good = scene.later(10).settled();
    assert_eq!(good.status().rollout.last_good, Some(good.asked()));
    assert_eq!(good.status().rollout.state, RolloutState::Complete);
    assert_eq!(good.plan().recheck, None);
}

#[test]
fn the_asked_revision_is_the_latest_of_the_history_and_the_eleventh_is_forgotten() {
    let mut scene = Scene::of("{}").ready(0, 1).settled();
    let asked = scene.asked();
    let shape = Shape::of(scene.agent.as_ref().unwrap());
    assert_eq!(
        scene.does(),
        nothing(),
        "without the store nothing is known"
    );
    scene.observed.records = Some(Vec::new());
    assert_eq!(scene.does(), ["keep 1"], "the containers tell");
    let mut records = vec![record(&asked, 1, Some(shape.clone()))];
    scene.observed.records = Some(records.clone());
    assert_eq!(scene.does(), nothing());
    let other = |number| record(&Revision(format!("v1:{number}")), number, None);
    records.extend((2..12).map(other));
    scene.observed.records = Some(records.clone());
    assert_eq!(scene.does(), ["keep 12", "forget v1:2"]);
    records.remove(0);
    records.push(record(&asked, 12, Some(shape)));
    records.push(other(1));
    records.push(other(0));
    records.sort_by_key(|record| record.number);
    scene.observed.records = Some(records);
    scene.agent.as_mut().unwrap().status.rollout.last_good = Some(asked);
    let does = scene
        .old(0, 9)
        .but("c0-9", |one| {
            one.identity.revision = Revision("v1:0".to_owned())
        })
        .does();
    assert!(
        does.ends_with(&[
            "forget v1:1".to_owned(),
            "forget v1:2".to_owned(),
            "forget v1:3".to_owned()
        ]),
        "{does:?}"
    );
}
