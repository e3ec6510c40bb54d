//! What people are told when an agent's state turns.

use super::fixture::*;
use crate::agent::spec::DesiredState;
use crate::agent::{Revision, Shape};
use crate::keys::RESTARTED_AT;
use crate::observed::*;
use crate::plan::turns;

impl Scene {
    /// What the next pass tells, with its kind.
    fn tells(&self) -> Vec<String> {
        let after = self.status();
        let before = &self.agent.as_ref().unwrap().status;
        let told = turns(&name("users"), before, &after, &self.observed);
        let text = told
            .into_iter()
            .map(|turn| format!("{:?} {}: {}", turn.kind, turn.reason, turn.message));
        text.collect()
    }

    /// The reasons alone.
    fn words(&self) -> Vec<String> {
        let word = |told: &String| {
            let (word, _) = told.split_once(':').unwrap();
            word.to_owned()
        };
        self.tells().iter().map(word).collect()
    }

    fn wants(self, change: impl FnOnce(&mut crate::agent::AgentSpec)) -> Self {
        self.change(|scene| change(&mut scene.agent.as_mut().unwrap().spec))
    }

    fn rolled(self) -> Self {
        let good = self.agent.clone().unwrap();
        let image = self.observed.images[&good.revision()].clone();
        let scene = self.wants(|spec| spec.args = vec!["other".to_owned()]);
        let asked = scene.asked();
        scene.image(image).change(|scene| {
            let record = |revision: &Revision, number| crate::agent::RevisionRecord {
                revision: revision.clone(),
                number,
                image_id: IMAGE.to_owned(),
                image: "users".to_owned(),
                tag: Some("agentainer/users:x".to_owned()),
                generation: 1,
                at: at(0),
                shape: Some(Shape::of(&good)),
                proven: None,
            };
            scene.observed.records = Some(vec![record(&good.revision(), 1), record(&asked, 2)]);
        })
    }

    pub(super) fn without(self, id: &str) -> Self {
        self.change(|scene| scene.observed.containers.retain(|one| one.id.0 != id))
    }
}

/// Two instances of a revision that was found good.
fn good() -> Scene {
    Scene::of("{replicas: 2}").ready(0, 1).ready(1, 1).settled()
}

#[test]
fn readiness_that_comes_and_goes_is_told_once_each() {
    let first = Scene::of("{}").settled().ready(0, 1).but("c0-1", |one| {
        one.started_at = Some(at(0));
    });
    assert_eq!(first.tells(), ["Normal Ready: 1 of 1 ready"]);
    assert_eq!(first.settled().tells(), nothing());

    let sick = good().probed(1, 1, Some(false)).change(|scene| {
        let id = ContainerId("c1-1".to_owned());
        let probe = scene.observed.probes.get_mut(&id).unwrap();
        probe.message = "GET /health answered 503".to_owned();
    });
    let told = "Warning NotReady: 1 of 2 ready: users-1-1 is not ready: GET /health answered 503";
    assert_eq!(sick.tells(), [told]);
    let sick = sick.settled();
    assert_eq!(sick.clone().later(900).tells(), nothing());
    let well = sick.probed(1, 1, Some(true));
    assert_eq!(well.tells(), ["Normal Ready: 2 of 2 ready"]);

    let ended = good().exited("c0-1", 137, 0);
    let told = "Warning NotReady: 1 of 2 ready: users ended with code 137 (SIGKILL)";
    assert_eq!(ended.tells(), [told]);
    let gone = good().without("c0-1").without("c1-1");
    let told = "Warning NotReady: 0 of 2 ready: users is gone; users-1-1 is gone";
    assert_eq!(gone.tells(), [told]);
}

#[test]
fn what_somebody_asked_for_is_no_loss() {
    let stopped = good().wants(|spec| spec.state = DesiredState::Stopped);
    assert_eq!(stopped.tells(), nothing());
    let paused = good().wants(|spec| spec.state = DesiredState::Paused);
    assert_eq!(paused.tells(), nothing());
    let none = good().wants(|spec| spec.replicas.0 = 0);
    assert_eq!(none.tells(), nothing());
    let deleted = good().change(|scene| {
        scene.agent.as_mut().unwrap().metadata.deletion_timestamp = Some(at(0));
    });
    assert_eq!(deleted.tells(), nothing());
    let more = good().wants(|spec| spec.replicas.0 = 3);
    assert_eq!(more.tells(), nothing());
    let more = more.settled().ready(2, 1);
    assert_eq!(
        more.tells(),
        ["Normal Ready: 3 of 3 ready"],
        "and no rollout"
    );
    let rolls = good().rolled();
    assert_eq!(rolls.tells(), nothing(), "the earlier ones serve");
    assert_eq!(rolls.settled().ready(0, 2).tells(), nothing());
}

#[test]
fn a_crash_loop_is_told_at_each_rest_in_the_same_words() {
    let mut scene = good().exited("c0-1", 7, 0);
    assert_eq!(scene.words(), ["Warning NotReady"], "the first end is none");
    scene = scene.settled();
    let told = "Warning CrashLoopBackOff: users keeps ending with code 7; `agentainer logs users` may say why";
    for _ in 0..6 {
        scene = scene
            .later(400)
            .settled()
            .later(1)
            .but("c0-1", |one| {
                one.started_at = one.exit.map_or(one.started_at, |exit| exit.at)
            })
            .exited("c0-1", 7, 0);
        assert_eq!(scene.tells(), [told]);
        scene = scene.settled();
        assert_eq!(scene.clone().tells(), nothing());
    }
    let limited = scene.wants(|spec| spec.restart.max_retries = 2).tells();
    let told = "Warning RestartsExhausted: users failed more often in a row than restart.maxRetries allows; \
                `agentainer restart users` tries again";
    assert_eq!(limited, [told]);
}

#[test]
fn a_rollout_that_fails_is_told_once_and_in_the_same_words_whenever() {
    let begun = good()
        .rolled()
        .settled()
        .ready(0, 2)
        .probed(0, 2, Some(false));
    let begun = begun.settled();
    let late = begun.clone().later(120);
    let told = late.tells();
    assert_eq!(late.words(), ["Warning RolloutFailed"], "{told:?}");
    assert!(told[0].contains("revision 2 ("), "{told:?}");
    assert_eq!(begun.later(500).tells(), told, "no time is in it");
    let late = late.settled();
    assert_eq!(late.clone().later(900).tells(), nothing());
    // It fails for another reason.
    let mut loops = late
        .later(10)
        .but("c0-2", |one| one.started_at = Some(at(125)))
        .exited("c0-2", 7, 0);
    loops.agent.as_mut().unwrap().status.instances[1].failures = 7;
    assert_eq!(
        loops.words(),
        ["Warning RolloutFailed", "Warning CrashLoopBackOff"]
    );
    // Another one fails too.
    let other = late_again();
    assert_eq!(other.words(), ["Warning RolloutFailed"]);
}

/// A rollout that failed before, restarted by hand, fails again.
fn late_again() -> Scene {
    let begun = good()
        .rolled()
        .settled()
        .ready(0, 2)
        .probed(0, 2, Some(false));
    let failed = begun.settled().later(120).settled();
    let again = failed.change(|scene| {
        let annotations = &mut scene.agent.as_mut().unwrap().metadata.annotations;
        annotations.insert(RESTARTED_AT.to_owned(), "now".to_owned());
    });
    let image = ImageState::Resolved(ImageId(IMAGE.to_owned()));
    let again = again.image(image).settled();
    assert_eq!(again.status().rollout.failed, None);
    again.later(120)
}

#[test]
fn going_back_is_told_beside_the_failure() {
    let begun = good()
        .wants(|spec| spec.strategy.rollback = true)
        .rolled()
        .settled()
        .ready(0, 2)
        .probed(0, 2, Some(false));
    let back = begun.settled().later(120);
    let told = back.tells();
    assert_eq!(
        back.words(),
        [
            "Warning RolloutFailed",
            "Warning RolledBack",
            "Normal Ready"
        ],
        "{told:?}"
    );
    assert!(told[1].contains("revision 1 ("), "{told:?}");
    assert_eq!(back.settled().later(900).words(), nothing());
}

#[test]
fn a_rollout_is_complete_when_its_revision_is_good_and_the_others_are_gone() {
    let young = |one: &mut Container| one.started_at = Some(at(0));
    let first = Scene::of("{}").settled().ready(0, 1).but("c0-1", young);
    let first = first.settled();
    assert_eq!(first.clone().later(9).words(), nothing());
    let told = first.clone().later(10).tells();
    assert_eq!(first.later(10).words(), ["Normal RolloutComplete"]);
    assert!(told[0].contains("is good"), "{told:?}");

    let rolled = good().rolled().settled().ready(0, 2).ready(1, 2);
    let draining = rolled.settled();
    assert_eq!(draining.words(), nothing(), "the old ones are there still");
    let rolled = draining.without("c0-1").without("c1-1");
    let told = rolled.tells();
    assert_eq!(rolled.words(), ["Normal RolloutComplete"], "{told:?}");
    assert!(told[0].contains("revision 2 ("), "{told:?}");
    assert_eq!(rolled.settled().later(100).words(), nothing());
}

#[test]
fn a_rollout_is_complete_though_one_ceases_to_be_ready_when_the_last_other_one_goes() {
    let draining = good().rolled().settled().ready(0, 2).ready(1, 2).settled();
    let ended = draining
        .without("c0-1")
        .without("c1-1")
        .exited("c0-2", 1, 0);
    let words = ended.words();
    assert_eq!(words, ["Warning NotReady", "Normal RolloutComplete"]);
    let again = ended.settled().but("c0-2", |one| {
        one.state = ContainerState::Running;
        one.attachment.as_mut().unwrap().ip = Some(ip(0, 2).into());
    });
    assert_eq!(again.words(), ["Normal Ready"]);
}

#[test]
fn going_back_by_hand_is_complete_when_the_others_are_gone() {
    let begun = good()
        .rolled()
        .settled()
        .ready(0, 2)
        .probed(0, 2, Some(false));
    let failed = begun.settled().later(120).settled();
    let back = failed.wants(|spec| spec.args = Vec::new());
    assert_eq!(back.words(), ["Normal Ready"]);
    let back = back.settled().without("c0-2");
    assert_eq!(back.words(), ["Normal RolloutComplete"]);
    let back = back.settled();
    assert_eq!(back.words(), nothing());
    // What happens to a settled agent is no rollout.
    let ended = back.exited("c0-1", 1, 0).settled();
    let again = ended.but("c0-1", |one| {
        one.state = ContainerState::Running;
        one.attachment.as_mut().unwrap().ip = Some(ip(0, 1).into());
    });
    assert_eq!(again.words(), ["Normal Ready"]);
}
