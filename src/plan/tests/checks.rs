//! Which check judges, which is on trial, and what is said of that.

use super::fixture::*;
use crate::agent::quantity::Span;
use crate::agent::spec::HealthCheck;
use crate::agent::status::{ConditionStatus, FailedRollout, RolloutState, condition};
use crate::agent::{Check, Phase, Revision, RevisionRecord, Shape};
use crate::keys::ROLLOUT_PAUSED;
use crate::observed::*;
use crate::plan::{Action, EndpointPlan};

fn check(endpoint: &str) -> Check {
    Check {
        health_check: Some(HealthCheck {
            endpoint: endpoint.to_owned(),
            ..HealthCheck::default()
        }),
    }
}

fn record(revision: &Revision, number: u64, proven: Option<Check>) -> RevisionRecord {
    RevisionRecord {
        revision: revision.clone(),
        number,
        image_id: IMAGE.to_owned(),
        image: "users".to_owned(),
        tag: Some("agentainer/users:x".to_owned()),
        generation: 1,
        at: at(0),
        shape: Some(Shape::of(&agent(spec("replicas: 1")))),
        proven,
    }
}

/// A settled agent of one instance whose check was `/old`, and whose spec now asks for `/new`.
fn changed() -> Scene {
    let mut scene = Scene::of("{replicas: 1, healthCheck: {endpoint: /new}}").ready(0, 1);
    let asked = scene.asked();
    scene.observed.records = Some(vec![record(&asked, 1, Some(check("/old")))]);
    let status = &mut scene.agent.as_mut().unwrap().status;
    status.rollout.last_good = Some(asked.clone());
    status.revision = Some(asked);
    scene.settled()
}

fn probe(scene: Scene, id: &str, change: impl FnOnce(&mut Probe)) -> Scene {
    scene.change(|scene| {
        let id = ContainerId(id.to_owned());
        change(scene.observed.probes.entry(id).or_default());
    })
}

/// The same when `/new` was answered, and did not pass.
fn refused() -> Scene {
    probe(changed(), "c0-1", |probe| {
        probe.tried = "GET /new answered 404".to_owned();
    })
    .settled()
}

fn asked_by(scene: &Scene, id: &str) -> (Option<String>, Option<String>) {
    let plan = scene.plan();
    let of_it = |one: &&EndpointPlan| one.container.0 == id;
    let one = plan.endpoints.iter().find(of_it).unwrap();
    let path = |check: &HealthCheck| check.endpoint.clone();
    let tried = one.tried.as_ref();
    (
        one.check.as_ref().map(path),
        tried.map(|tried| tried.health_check.as_ref().map_or_else(String::new, path)),
    )
}

fn path(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn law_8_a_changed_check_is_tried_beside_the_one_that_passed() {
    for scene in [changed(), refused()] {
        assert_eq!(asked_by(&scene, "c0-1"), (path("/old"), path("/new")));
        assert_eq!(scene.does(), nothing());
        let status = scene.status();
        assert!(status.is_ready());
        assert_eq!(status.phase, Phase::Running);
        assert_eq!(status.rollout.state, RolloutState::Progressing);
    }
    let said = refused().condition(condition::PROGRESSING);
    assert_eq!(
        (said.status, said.reason.as_str()),
        (ConditionStatus::True, "HealthCheckNotPassed")
    );
    for part in [
        "users: GET /new answered 404",
        "the former one goes on judging",
        "agentainer rollout undo users",
    ] {
        assert!(said.message.contains(part), "{}", said.message);
    }
    let ready = refused().condition(condition::READY);
    assert_eq!(ready.reason, condition::FORMER_CHECK);
    assert!(ready.message.contains("404"), "{}", ready.message);
    // Not answered yet, it is no fault of anybody's.
    let said = changed().condition(condition::PROGRESSING).message;
    assert!(
        said.contains("is being tried") && !said.contains("undo"),
        "{said}"
    );
}

#[test]
fn law_8_a_check_that_does_not_pass_in_time_has_failed_and_nothing_else_has() {
    let early = refused().later(119);
    assert_eq!(early.status().rollout.state, RolloutState::Progressing);
    assert!(early.plan().recheck.unwrap().as_secs() <= 1);
    let late = refused().later(120);
    let status = late.status();
    assert_eq!(status.rollout.state, RolloutState::Failed);
    assert_eq!(
        status.rollout.failed.as_ref().unwrap().reason,
        "HealthCheckNotPassed"
    );
    assert!(status.is_ready() && status.phase == Phase::Running);
    assert_eq!(late.does(), nothing());
    let said = late.condition(condition::PROGRESSING);
    assert_eq!(
        (said.status, said.reason.as_str()),
        (ConditionStatus::False, "HealthCheckNotPassed")
    );
    assert!(
        said.message.contains("former one goes on judging"),
        "{}",
        said.message
    );
    // Neither an end of the instance nor a server that has yet to ask again takes it back, and the end is healed.
    let asked_anew = probe(late.clone().settled(), "c0-1", |probe| probe.tried.clear());
    let asked_anew = asked_anew.later(5).change(|scene| {
        scene.observed.attended = Some(scene.now);
    });
    assert_eq!(asked_anew.status().rollout.failed, status.rollout.failed);
    let ended = late.settled().later(5).exited("c0-1", 1, 1);
    assert_eq!(ended.does(), ["start c0-1"]);
    assert_eq!(
        ended.status().rollout.failed.unwrap().reason,
        "HealthCheckNotPassed"
    );
}

#[test]
fn law_8_another_spec_is_another_trial_and_the_former_check_recovers_at_once() {
    let failed = refused().later(120).settled().later(60);
    let write = |scene: Scene, endpoint: &str| {
        scene.change(|scene| {
            let agent = scene.agent.as_mut().unwrap();
            agent.spec.health_check = check(endpoint).health_check;
            agent.metadata.generation += 1;
        })
    };
    let third = write(failed.clone(), "/third");
    assert_eq!(asked_by(&third, "c0-1"), (path("/old"), path("/third")));
    let status = third.status();
    assert_eq!(
        (status.rollout.failed, status.rollout.state),
        (None, RolloutState::Progressing)
    );
    assert_eq!(
        third.settled().later(120).status().rollout.state,
        RolloutState::Failed
    );
    let reverted = write(failed, "/old");
    assert_eq!(asked_by(&reverted, "c0-1"), (path("/old"), None));
    let status = reverted.status();
    assert_eq!(status.rollout.state, RolloutState::Complete);
    assert_eq!(status.condition(condition::READY).unwrap().reason, "Ready");
}

#[test]
fn a_check_that_passes_on_one_judges_them_all_and_is_recorded() {
    let scene = changed().ready(1, 1).change(|scene| {
        scene.agent.as_mut().unwrap().spec.replicas.0 = 2;
    });
    let scene = probe(scene, "c0-1", |probe| probe.passed = Some(check("/new")));
    for id in ["c0-1", "c1-1"] {
        assert_eq!(asked_by(&scene, id), (path("/new"), None));
    }
    let kept = scene.plan().actions;
    let [kept] = kept.as_slice() else {
        panic!("{kept:?}")
    };
    let Action::KeepRevision { record } = &kept.action else {
        panic!("{kept:?}")
    };
    assert_eq!(record.proven, Some(check("/new")));
    assert_eq!(scene.status().rollout.state, RolloutState::Complete);
}

#[test]
fn law_5_an_earlier_revision_keeps_the_check_that_passed_on_it_and_is_never_tried() {
    let old = Revision("v1:old".to_owned());
    let rolling = |proven: Option<Check>, passed: Option<Check>| {
        let scene = Scene::of("{args: [new], healthCheck: {endpoint: /new}}")
            .old(0, 1)
            .ready(0, 2)
            .probed(0, 2, Some(false))
            .change(|scene| {
                let asked = scene.asked();
                let records = vec![record(&old, 1, proven), record(&asked, 2, None)];
                scene.observed.records = Some(records);
                scene.agent.as_mut().unwrap().status.rollout.last_good = Some(old.clone());
            });
        probe(scene, "c0-1", |probe| probe.passed = passed)
    };
    for scene in [
        rolling(Some(check("/old")), Some(check("/old"))),
        rolling(Some(check("/old")), None),
        rolling(None, Some(check("/old"))),
    ] {
        assert_eq!(asked_by(&scene, "c0-1"), (path("/old"), None));
        assert_eq!(
            asked_by(&scene, "c0-2"),
            (path("/new"), None),
            "a new one's is the spec's"
        );
    }
    // No check is a check too.
    let none = rolling(Some(Check::default()), None);
    assert_eq!(asked_by(&none, "c0-1"), (None, None));
    // What has passed is recorded for an earlier one, too.
    let late = rolling(None, Some(check("/old")));
    assert_eq!(late.does(), ["keep 1"]);
    // Of one on which nothing has passed as far as is known the spec's judges.
    assert_eq!(asked_by(&rolling(None, None), "c0-1"), (path("/new"), None));
}

#[test]
fn silence_counts_by_the_check_that_judges() {
    let patient = Check {
        health_check: Some(HealthCheck {
            retries: 5,
            ..HealthCheck::default()
        }),
    };
    let silent = |unanswered| {
        let scene = Scene::of("{replicas: 1, healthCheck: {endpoint: /new, retries: 1}}")
            .ready(0, 1)
            .change(|scene| {
                let asked = scene.asked();
                let records = vec![record(&asked, 1, Some(patient.clone()))];
                scene.observed.records = Some(records);
            });
        probe(scene, "c0-1", |probe| {
            (probe.ready, probe.unanswered) = (Some(false), unanswered);
        })
    };
    assert_eq!(silent(4).does(), nothing());
    assert_eq!(silent(5).does(), ["stop c0-1", "start c0-1"]);
}

#[test]
fn nothing_is_on_trial_where_nothing_shall_run() {
    for more in ["state: stopped", "replicas: 0"] {
        let scene = Scene::of(&format!("{{healthCheck: {{endpoint: /new}}, {more}}}"));
        let scene = scene.change(|scene| {
            let asked = scene.asked();
            scene.observed.records = Some(vec![record(&asked, 1, Some(check("/old")))]);
        });
        let status = scene.status();
        let said = status.condition(condition::PROGRESSING).unwrap();
        assert_ne!(said.reason, "HealthCheckNotPassed", "{more}");
    }
}

#[test]
fn what_is_made_of_the_answers_is_for_the_spec_to_say_at_once() {
    let proven = Check {
        health_check: Some(HealthCheck {
            endpoint: "/old".to_owned(),
            restart_on_status: true,
            ..HealthCheck::default()
        }),
    };
    let scene = |yaml: &str| {
        let scene = Scene::of(&format!("{{replicas: 1, healthCheck: {yaml}}}")).ready(0, 1);
        let scene = scene.change(|scene| {
            let asked = scene.asked();
            scene.observed.records = Some(vec![record(&asked, 1, Some(proven.clone()))]);
            let status = &mut scene.agent.as_mut().unwrap().status;
            status.rollout.last_good = Some(asked.clone());
            status.revision = Some(asked);
        });
        probe(scene, "c0-1", |probe| {
            (probe.ready, probe.unanswered) = (Some(false), 3);
        })
    };
    let strict = scene("{endpoint: /old, restartOnStatus: true}");
    assert_eq!(strict.does(), ["stop c0-1", "start c0-1"]);
    let patient = scene("{endpoint: /old, retries: 5, interval: 1s, startPeriod: 9s}");
    assert_eq!(asked_by(&patient, "c0-1"), (path("/old"), None));
    assert_eq!(patient.does(), ["keep 1"]);
    let own = patient.agent.as_ref().unwrap().spec.health_check.clone();
    assert_eq!(patient.plan().endpoints[0].check, own);
    // What is asked, and how long is waited for it, is tried.
    let hasty = scene("{endpoint: /old, timeout: 1s}");
    assert_eq!(asked_by(&hasty, "c0-1"), (path("/old"), path("/old")));
    let judging = hasty.plan().endpoints[0].check.clone().unwrap();
    assert_eq!(judging.timeout, Span::seconds(5));
}

/// The same where an instance ended soon after its start, as it did several times before.
fn crashing(scene: Scene, id: &str) -> Scene {
    let now = scene.now;
    let scene = scene.but(id, |container| container.started_at = Some(now));
    scene.later(1).exited(id, 1, 0).change(|scene| {
        let status = &mut scene.agent.as_mut().unwrap().status;
        for one in &mut status.instances {
            one.failures = 9;
        }
    })
}

/// The reason of the failed rollout, if it failed.
fn failed(scene: &Scene) -> Option<String> {
    let failed = scene.status().rollout.failed;
    failed.map(|FailedRollout { reason, .. }| reason)
}

#[test]
fn law_8_a_check_that_nobody_could_answer_has_not_failed() {
    let down = crashing(changed(), "c0-1");
    let unready = probe(changed(), "c0-1", |probe| probe.ready = Some(false));
    for scene in [down, unready, changed()] {
        let late = scene.settled().later(120).settled().later(120);
        assert_eq!(failed(&late), None);
        // The time without an answer is not the check's.
        let well = changed().change(|scene| {
            scene.agent.clone_from(&late.agent);
            scene.now = late.now;
        });
        let answered = probe(well, "c0-1", |probe| probe.tried = "404".to_owned()).settled();
        assert_eq!(failed(&answered.clone().later(119)), None);
        assert_eq!(
            failed(&answered.later(120)).as_deref(),
            Some("HealthCheckNotPassed")
        );
    }
}

#[test]
fn law_8_a_failed_trial_hides_nothing_that_an_instance_waits_for() {
    let late = refused().later(120).settled().later(5);
    let status = crashing(late, "c0-1").status();
    assert_eq!(
        status.rollout.failed.as_ref().unwrap().reason,
        "HealthCheckNotPassed"
    );
    for kind in [condition::PROGRESSING, condition::READY] {
        let said = status.condition(kind).unwrap();
        assert_eq!(said.reason, "CrashLoopBackOff", "{}", said.message);
    }
}

#[test]
fn law_8_a_rollout_back_to_a_good_revision_is_judged_beside_a_trial() {
    let scene = refused().old(0, 2).ready(0, 3);
    let scene = scene
        .change(|scene| scene.observed.containers.retain(|one| one.id.0 != "c0-1"))
        .settled();
    let crashing = crashing(scene, "c0-3");
    assert_eq!(failed(&crashing).as_deref(), Some("CrashLoopBackOff"));
}

#[test]
fn law_8_a_spec_that_asks_the_same_is_no_other_trial() {
    let late = refused().later(120).settled().later(60);
    let before = late.status().rollout.failed;
    assert!(before.is_some());
    let scaled = late.change(|scene| {
        let agent = scene.agent.as_mut().unwrap();
        agent.spec.replicas.0 = 2;
        agent.metadata.generation += 1;
        agent.spec.health_check.as_mut().unwrap().retries = 7;
    });
    assert_eq!(scaled.status().rollout.failed, before);
    assert_eq!(
        scaled.settled().later(5).status().rollout.failed,
        before,
        "nor is the next look"
    );
}

#[test]
fn while_rollouts_are_paused_the_remedy_is_one_that_is_not_refused() {
    let held = refused().change(|scene| {
        let agent = scene.agent.as_mut().unwrap();
        let annotations = &mut agent.metadata.annotations;
        annotations.insert(ROLLOUT_PAUSED.to_owned(), "true".to_owned());
    });
    let said = held.condition(condition::PROGRESSING).message;
    assert!(
        said.contains("`agentainer rollout resume users`, then `agentainer rollout undo users`"),
        "{said}"
    );
}
