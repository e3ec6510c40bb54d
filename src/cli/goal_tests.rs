#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use serde_json::{Value, json};

use super::*;

/// An agent of generation 2 with this spec and status.
fn agent(spec: Value, status: Value) -> Agent {
    serde_json::from_value(json!({
        "apiVersion": "agentainer.dev/v1",
        "kind": "Agent",
        "metadata": {
            "name": "users",
            "owner": "default",
            "uid": "u",
            "generation": 2,
            "resourceVersion": "7",
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": spec,
        "status": status,
    }))
    .unwrap()
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    })
}

fn ready() -> Value {
    json!({
        "observedGeneration": 2,
        "phase": "Running",
        "readyReplicas": 1,
        "updatedReplicas": 1,
        "conditions": [condition("Ready", "True", "Ready", "")],
    })
}

fn settled() -> Goal {
    Goal::Settled {
        generation: 2,
        other_than: None,
    }
}

#[test]
fn a_ready_agent_of_the_applied_generation_is_done() {
    assert_eq!(
        settled().judge(Some(&agent(json!({}), ready()))),
        Verdict::Done
    );
}

#[test]
fn a_status_of_an_earlier_generation_says_nothing() {
    let mut status = ready();
    status["observedGeneration"] = json!(1);
    let verdict = settled().judge(Some(&agent(json!({}), status.clone())));
    assert_eq!(verdict, Verdict::Waiting("not acted on yet".to_owned()));
    status["phase"] = json!("Failed");
    let verdict = settled().judge(Some(&agent(json!({}), status)));
    assert!(matches!(verdict, Verdict::Waiting(_)), "{verdict:?}");
}

#[test]
fn law_8_an_old_revision_that_still_serves_is_not_what_was_applied() {
    let mut status = ready();
    status["updatedReplicas"] = json!(0);
    let verdict = settled().judge(Some(&agent(json!({}), status)));
    assert!(matches!(verdict, Verdict::Waiting(_)), "{verdict:?}");
}

#[test]
fn a_stopped_or_paused_agent_is_done_in_its_phase() {
    for (state, phase) in [("stopped", "Stopped"), ("paused", "Paused")] {
        let mut status = json!({"observedGeneration": 2, "phase": "Progressing"});
        let spec = json!({"state": state});
        let verdict = settled().judge(Some(&agent(spec.clone(), status.clone())));
        assert!(matches!(verdict, Verdict::Waiting(_)), "{verdict:?}");
        status["phase"] = json!(phase);
        assert_eq!(
            settled().judge(Some(&agent(spec, status))),
            Verdict::Done,
            "{state}"
        );
    }
}

#[test]
fn no_replicas_are_there_as_soon_as_nothing_runs() {
    let status = json!({"observedGeneration": 2, "phase": "Running"});
    let verdict = settled().judge(Some(&agent(json!({"replicas": 0}), status)));
    assert_eq!(verdict, Verdict::Done);
}

#[test]
fn an_image_that_is_not_to_be_had_is_hopeless_and_says_why() {
    let status = json!({
        "observedGeneration": 2,
        "phase": "Progressing",
        "conditions": [condition("ImageResolved", "False", "ImageNotFound", "no image users:9")],
    });
    assert_eq!(
        settled().judge(Some(&agent(json!({}), status))),
        Verdict::Hopeless("ImageNotFound: no image users:9".to_owned())
    );
}

#[test]
fn a_program_may_end_twice_before_it_is_a_crash_loop() {
    let looping = |failures: u32| {
        json!({
            "observedGeneration": 2,
            "phase": "Failed",
            "conditions": [condition("Ready", "False", "CrashLoopBackOff", "ended with code 1")],
            "instances": [{
                "name": "users-0-1", "containerId": "c", "ordinal": 0, "incarnation": 1,
                "revision": "v1:0", "image": "i", "state": "exited", "ready": false,
                "restarts": 1, "failures": failures,
            }],
        })
    };
    let judge = |failures| settled().judge(Some(&agent(json!({}), looping(failures))));
    assert!(matches!(judge(2), Verdict::Waiting(_)));
    assert!(matches!(judge(3), Verdict::Hopeless(_)));
}

#[test]
fn a_failure_that_may_pass_is_told_apart_from_one_that_will_not() {
    let status = json!({
        "observedGeneration": 2,
        "phase": "Failed",
        "conditions": [condition("Ready", "False", "CreateFailed", "Docker is away")],
    });
    let verdict = settled().judge(Some(&agent(json!({}), status)));
    assert!(matches!(verdict, Verdict::Stuck(_)), "{verdict:?}");
}

#[test]
fn a_restart_is_done_with_another_revision() {
    let mut status = ready();
    status["revision"] = json!("v1:old");
    let now = agent(json!({}), status);
    let goal = Goal::Settled {
        generation: 2,
        other_than: now.status.revision.clone(),
    };
    assert!(matches!(goal.judge(Some(&now)), Verdict::Waiting(_)));
}

#[test]
fn goals_are_read_as_kubectl_writes_them() {
    assert_eq!("ready".parse(), Ok(Goal::Ready));
    assert_eq!("deleted".parse(), Ok(Goal::Deleted));
    assert_eq!(
        "condition=Ready=false".parse(),
        Ok(Goal::Condition {
            kind: "Ready".to_owned(),
            status: ConditionStatus::False
        })
    );
    assert!("condition".parse::<Goal>().is_err());
    assert!("condition=Ready=perhaps".parse::<Goal>().is_err());
    assert_eq!(Goal::Deleted.judge(None), Verdict::Done);
    assert_eq!(Goal::Ready.judge(None), Verdict::Gone);
}

#[test]
fn law_8_an_agent_that_is_ready_by_a_former_check_is_ready_and_not_settled() {
    let message =
        "1 of 1 ready by the former healthCheck (the new healthCheck has not passed yet: x)";
    let judged = |goal: &Goal, progressing: Value| {
        let mut status = ready();
        status["conditions"] = json!([
            progressing,
            condition("Ready", "True", "FormerHealthCheck", message)
        ]);
        goal.judge(Some(&agent(json!({}), status)))
    };
    let reason = "HealthCheckNotPassed";
    let tried = condition("Progressing", "True", reason, "mend it");
    assert!(
        matches!(judged(&settled(), tried.clone()), Verdict::Waiting(what) if what.contains(message))
    );
    assert_eq!(judged(&Goal::Ready, tried), Verdict::Done);
    let failed = condition("Progressing", "False", reason, "mend it");
    assert!(
        matches!(judged(&settled(), failed), Verdict::Hopeless(why) if why.contains("mend it"))
    );
}
