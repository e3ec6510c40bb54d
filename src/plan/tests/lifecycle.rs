//! One ordinal: made, started, started again, stopped, frozen.

use super::fixture::*;
use crate::agent::Phase;
use crate::agent::status::{ConditionStatus, condition};
use crate::observed::*;
use crate::plan::{CreateInstance, EndpointState};

#[test]
fn missing_ordinals_are_created_and_the_first_takes_the_agents_name() {
    let scene = Scene::of("replicas: 3");
    assert_eq!(
        scene.does(),
        [
            "create 0 after 0 named",
            "create 1 after 0",
            "create 2 after 0"
        ]
    );
    assert_eq!(scene.status().phase, Phase::Progressing);
}

#[test]
fn a_creation_is_complete() {
    let plan = Scene::of("{}").plan();
    let Some(crate::plan::Action::Create(wanted)) =
        plan.actions.first().map(|planned| planned.action.clone())
    else {
        panic!("{plan:?}");
    };
    let CreateInstance {
        uid: life,
        image,
        start,
        generation,
        ..
    } = *wanted;
    assert_eq!(
        (life, image.0.as_str(), start, generation),
        (uid("u1"), IMAGE, true, 1)
    );
}

#[test]
fn a_settled_agent_gets_no_actions_no_recheck_and_the_same_status() {
    let scene = Scene::of("replicas: 2").ready(0, 1).ready(1, 1).settled();
    let plan = scene.clone().later(100_000).plan();
    assert_eq!(words(&plan), nothing());
    assert_eq!(plan.recheck, None);
    let status = plan.status.unwrap();
    assert_eq!(status, scene.agent.unwrap().status);
    assert_eq!(
        (status.phase, status.ready_replicas, status.updated_replicas),
        (Phase::Running, 2, 2)
    );
    assert!(status.is_ready());
}

#[test]
fn a_removed_container_is_made_anew_above_its_incarnation_and_keeps_its_history() {
    let mut scene = Scene::of("{}").ready(0, 4).settled();
    scene.observed.containers.clear();
    assert_eq!(scene.does(), ["create 0 after 4 named"]);
    let scene = scene.settled();
    let kept = scene.status().instances;
    assert_eq!(
        (kept[0].state.as_str(), kept[0].incarnation, kept.len()),
        ("missing", 4, 1)
    );
    let scene = scene.ready(0, 5);
    assert_eq!(scene.instance("c0-5").restarts, 1);
}

#[test]
fn an_interrupted_creation_is_finished_or_cleared_away() {
    let made = |container: &mut Container| {
        container.state = ContainerState::Created;
        container.started_at = None;
    };
    assert_eq!(
        Scene::of("{}").ready(0, 1).but("c0-1", made).does(),
        ["start c0-1"]
    );
    let other = Scene::of("{}").old(0, 1).but("c0-1", made);
    assert_eq!(
        other.does(),
        [
            "rename c0-1 users-0-1",
            "create 0 after 1 named",
            "remove c0-1"
        ]
    );
}

#[test]
fn law_1_one_that_never_ran_and_that_the_engine_never_starts_is_made_again() {
    let made = |container: &mut Container| {
        container.state = ContainerState::Created;
        container.started_at = None;
    };
    let tried = |attempts, retryable| {
        let scene = Scene::of("{}").ready(0, 1).but("c0-1", made);
        scene.change(|scene| {
            let mut failure = failure("StartFailed", attempts, 10_000);
            failure.retryable = retryable;
            scene.observed.failures.insert(0, failure);
        })
    };
    assert_eq!(tried(2, true).does(), ["start c0-1"]);
    assert_eq!(tried(3, true).does(), ["remove c0-1"]);
    assert_eq!(
        tried(3, false).does(),
        ["start c0-1"],
        "refused for good, another one would be too"
    );
    let ended = tried(3, true).exited("c0-1", 1, 5);
    assert_eq!(ended.does(), ["start c0-1"], "what once ran is kept");
}

#[test]
fn an_instance_that_ended_is_started_again_at_once_then_ever_later() {
    let scene = Scene::of("{}").ready(0, 1).settled();
    let first = scene.exited("c0-1", 137, 0);
    assert_eq!(first.does(), ["start c0-1"]);
    assert_eq!(first.instance("c0-1").failures, 1);

    // It ends again two seconds after it was started again.
    let again = |scene: Scene| {
        let now = scene.now;
        scene
            .settled()
            .later(2)
            .but("c0-1", |container| container.started_at = Some(now))
            .probed(0, 1, Some(false))
            .exited("c0-1", 1, 0)
    };
    let second = again(first);
    assert_eq!(second.does(), nothing());
    assert_eq!(second.plan().recheck.unwrap().as_secs(), 1);
    let (reason, message) = second.why_not_ready();
    assert_eq!(reason, "CrashLoopBackOff");
    assert!(
        message.contains("code 1,") && message.contains("2 times in a row; next try at"),
        "{message}"
    );
    assert_eq!(second.status().phase, Phase::Failed);
    assert_eq!(second.clone().later(1).does(), ["start c0-1"]);
    let mut scene = second;
    for expected in [2, 4, 8] {
        scene = again(scene);
        assert_eq!(scene.plan().recheck.unwrap().as_secs(), expected);
    }
    assert_eq!(scene.instance("c0-1").restarts, 4);
}

#[test]
fn a_healthy_run_ends_the_row_of_failures() {
    let mut scene = Scene::of("{}").ready(0, 1).settled();
    scene.agent.as_mut().unwrap().status.instances[0].failures = 7;
    assert_eq!(scene.instance("c0-1").failures, 0, "it ran ready for 500 s");
    assert_eq!(scene.exited("c0-1", 1, 0).does(), ["start c0-1"]);
}

#[test]
fn the_text_of_a_crash_loop_does_not_change_with_time() {
    let scene = Scene::of("{restart: {delay: 60s}}")
        .ready(0, 1)
        .probed(0, 1, Some(false))
        .settled();
    let mut scene = scene.exited("c0-1", 1, 0);
    scene.agent.as_mut().unwrap().status.instances[0].failures = 3;
    let scene = scene.settled();
    assert_eq!(scene.status(), scene.clone().later(7).status());
}

#[test]
fn an_exit_in_a_future_that_cannot_be_holds_nothing_up() {
    let mut scene = Scene::of("{}").ready(0, 1).settled();
    scene.agent.as_mut().unwrap().status.instances[0].failures = 9;
    let scene = scene
        .exited("c0-1", 1, -1_000_000)
        .but("c0-1", |container| container.started_at = None);
    assert_eq!(scene.does(), ["start c0-1"]);
}

#[test]
fn policies_decide_what_is_started_again() {
    for (policy, code, started) in [
        ("always", 0, true),
        ("always", 1, true),
        ("on-failure", 0, false),
        ("on-failure", 1, true),
        ("no", 0, false),
        ("no", 1, false),
    ] {
        let scene = Scene::of(&format!("{{restart: {{policy: {policy}}}}}"))
            .ready(0, 1)
            .settled();
        let scene = scene.exited("c0-1", code, 1);
        assert_eq!(scene.does() == ["start c0-1"], started, "{policy} {code}");
        if !started {
            let (reason, message) = scene.why_not_ready();
            assert_eq!(
                (reason.as_str(), scene.status().phase),
                ("Ended", Phase::Failed)
            );
            assert!(
                message.contains(&format!("code {code}")) && message.contains(policy),
                "{message}"
            );
        }
    }
}

#[test]
fn the_short_form_of_the_policy_counts() {
    let scene = Scene::of("{autoRestart: false}").ready(0, 1).settled();
    assert_eq!(scene.exited("c0-1", 1, 1).does(), nothing());
}

#[test]
fn after_max_retries_in_a_row_it_stays() {
    let mut scene = Scene::of("{restart: {maxRetries: 3}}")
        .ready(0, 1)
        .probed(0, 1, Some(false))
        .settled();
    scene.agent.as_mut().unwrap().status.instances[0].failures = 3;
    let scene = scene
        .but("c0-1", |container| container.started_at = Some(at(-5)))
        .exited("c0-1", 1, 0);
    assert_eq!(scene.does(), nothing());
    assert_eq!(scene.why_not_ready().0, "RestartsExhausted");
}

#[test]
fn out_of_memory_is_said() {
    let scene = Scene::of("{restart: {policy: no}}")
        .ready(0, 1)
        .settled()
        .exited("c0-1", 137, 1);
    let scene = scene.but("c0-1", |container| {
        if let Some(exit) = &mut container.exit {
            exit.oom_killed = true;
        }
    });
    assert!(scene.why_not_ready().1.contains("out of memory"));
    assert!(scene.instance("c0-1").last_exit.unwrap().oom_killed);
}

#[test]
fn what_somebody_paused_is_resumed() {
    let scene = Scene::of("{}")
        .ready(0, 1)
        .but("c0-1", |container| container.state = ContainerState::Paused);
    assert_eq!(scene.does(), ["unpause c0-1"]);
}

#[test]
fn failed_creations_and_starts_rest() {
    let scene = Scene::of("{}").change(|scene| {
        scene
            .observed
            .failures
            .insert(0, failure("CreateFailed", 3, 1));
    });
    assert_eq!(scene.does(), nothing());
    assert_eq!(scene.plan().recheck.unwrap().as_secs(), 3);
    let (reason, message) = scene.why_not_ready();
    assert!(
        reason == "CreateFailed" && message.contains("CreateFailed it did; next try at"),
        "{message}"
    );
    assert_eq!(scene.clone().later(3).does(), ["create 0 after 0 named"]);
    let never =
        scene.change(|scene| scene.observed.failures.get_mut(&0).unwrap().retryable = false);
    assert_eq!(never.clone().later(290).does(), nothing());
    assert_eq!(never.later(300).does(), ["create 0 after 0 named"]);
}

#[test]
fn a_failed_ordinal_does_not_hold_up_the_others() {
    let scene = Scene::of("replicas: 2").change(|scene| {
        scene
            .observed
            .failures
            .insert(0, failure("CreateFailed", 3, 1));
    });
    assert_eq!(scene.does(), ["create 1 after 0"]);
}

#[test]
fn one_goes_on_beside_a_container_that_cannot_be_removed() {
    for state in [ContainerState::Dead, ContainerState::Removing] {
        let scene = Scene::of("{}")
            .ready(0, 3)
            .but("c0-3", |container| container.state = state);
        assert_eq!(scene.does(), ["create 0 after 3"]);
        let stuck = scene.condition(condition::STUCK);
        assert_eq!(stuck.status, ConditionStatus::True);
        assert!(stuck.message.contains("users (c0-3)"), "{}", stuck.message);
    }
}

#[test]
fn what_the_engine_does_or_does_not_tell_is_waited_for() {
    for state in [ContainerState::Restarting, ContainerState::Unknown] {
        let scene = Scene::of("{}")
            .ready(0, 1)
            .but("c0-1", |container| container.state = state);
        assert_eq!(scene.does(), nothing(), "{state:?}");
    }
}

#[test]
fn unknown_is_not_dead() {
    let scene = Scene::of("{}").ready(0, 1).settled();
    let unprobed = scene.clone().probed(0, 1, None);
    assert_eq!(unprobed.endpoint("c0-1"), EndpointState::Ready);
    let unseen = scene.clone().but("c0-1", |container| {
        container.state = ContainerState::Unknown;
        container.started_at = None;
    });
    assert_eq!(
        (unseen.endpoint("c0-1"), unseen.does()),
        (EndpointState::Ready, nothing())
    );
    let another_run = unprobed.but("c0-1", |container| container.started_at = Some(at(-1)));
    assert_eq!(another_run.endpoint("c0-1"), EndpointState::Starting);
}

#[test]
fn no_answer_restarts_and_a_bad_answer_never_does() {
    let probe = |unanswered: u32| {
        Scene::of("{healthCheck: {retries: 3, startPeriod: 10s}}")
            .ready(0, 1)
            .change(|scene| {
                let probe = scene.observed.probes.values_mut().next().unwrap();
                (probe.ready, probe.unanswered) = (Some(false), unanswered);
            })
    };
    assert_eq!(probe(0).does(), nothing());
    assert_eq!(probe(2).does(), nothing());
    assert_eq!(probe(3).does(), ["stop c0-1", "start c0-1"]);
    assert_eq!(probe(3).why_not_ready().0, "NotAnswering");
    assert_eq!(probe(3).instance("c0-1").failures, 1);
    let mut again = probe(3).but("c0-1", |container| container.started_at = Some(at(-15)));
    again.agent.as_mut().unwrap().spec.restart.delay.millis = 20_000;
    let mut again = again.settled();
    again.agent.as_mut().unwrap().status.instances[0].failures = 1;
    assert_eq!(again.does(), nothing(), "it rests, as after a crash");
    assert_eq!(again.later(5).does(), ["stop c0-1", "start c0-1"]);
    let young = probe(9).but("c0-1", |container| container.started_at = Some(at(-9)));
    assert_eq!(young.does(), nothing());
    let unchecked = Scene::of("{}").ready(0, 1).change(|scene| {
        scene
            .observed
            .probes
            .values_mut()
            .next()
            .unwrap()
            .unanswered = 99;
    });
    assert_eq!(unchecked.does(), nothing());
}

#[test]
fn a_stopped_agent_drains_stops_and_keeps_its_containers() {
    let scene = Scene::of("state: stopped").ready(0, 1);
    assert_eq!(
        (scene.does(), scene.endpoint("c0-1")),
        (nothing(), EndpointState::Draining)
    );
    assert_eq!(
        scene.clone().traffic("c0-1", 0, Some(1)).does(),
        ["stop c0-1"]
    );
    let done = scene.settled().exited("c0-1", 143, 0);
    assert_eq!(
        (done.does(), done.status().phase),
        (nothing(), Phase::Stopped)
    );
    assert_eq!(done.plan().recheck, None);

    // And back.
    let mut back = done.settled();
    back.agent.as_mut().unwrap().spec = spec("{restart: {policy: no}}");
    assert_eq!(back.does(), ["start c0-1"]);
    assert_eq!(
        Scene::of("state: stopped").does(),
        nothing(),
        "nothing is made for it"
    );
}

#[test]
fn a_paused_agent_is_frozen_where_it_is() {
    let scene = Scene::of("{state: paused, replicas: 2}").ready(0, 1);
    assert_eq!(scene.does(), ["create 1 after 0 paused", "pause c0-1"]);
    assert_eq!(scene.endpoint("c0-1"), EndpointState::Down);
    let old = Scene::of("state: paused").old(0, 1);
    assert_eq!(old.does(), ["pause c0-1"], "nothing is replaced");
    let done = Scene::of("state: paused")
        .ready(0, 1)
        .but("c0-1", |container| container.state = ContainerState::Paused);
    assert_eq!(
        (done.does(), done.status().phase),
        (nothing(), Phase::Paused)
    );
}

#[test]
fn dependencies_gate_the_first_creation_alone() {
    let others = |ready: Option<bool>| {
        Scene::of("dependsOn: [auth]").change(|scene| {
            scene.observed.others.insert(name("auth"), ready);
        })
    };
    assert_eq!(others(Some(true)).does(), ["create 0 after 0 named"]);
    assert_eq!(others(Some(false)).does(), nothing());
    assert_eq!(
        others(Some(false)).why_not_ready(),
        (
            "WaitingOnDependency".to_owned(),
            "0 of 1 ready: waiting on auth: not Ready".to_owned()
        )
    );
    assert!(others(None).why_not_ready().1.contains("no such agent"));
    let mut once = others(Some(false)).ready(0, 1).settled();
    once.observed.containers.clear();
    assert_eq!(once.settled().does(), ["create 0 after 1 named"]);
}

#[test]
fn nothing_is_made_or_started_without_a_network() {
    let scene = Scene::of("replicas: 2").ready(0, 1).exited("c0-1", 1, 0);
    let scene = scene.change(|scene| scene.observed.network = None);
    assert_eq!(scene.does(), nothing());
    assert_eq!(scene.why_not_ready().0, "NetworkMissing");
}
