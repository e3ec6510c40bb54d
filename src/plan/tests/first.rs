//! An agent's first revision is judged like every other one, and only while nothing else holds it up.

use super::fixture::*;
use crate::agent::status::{ConditionStatus, FailedRollout, RolloutState, condition};
use crate::agent::{Phase, Revision};
use crate::observed::*;

/// A first container, made and started now, that is not ready.
fn begun(yaml: &str) -> Scene {
    Scene::of(yaml)
        .settled()
        .ready(0, 1)
        .but("c0-1", |made| {
            (made.created_at, made.started_at) = (Some(at(0)), Some(at(0)));
        })
        .unwell(0, 1)
        .settled()
}

impl Scene {
    /// One container answers, and not well.
    fn unwell(self, ordinal: u32, incarnation: u64) -> Self {
        self.probed(ordinal, incarnation, Some(false))
            .change(|scene| {
                let id = ContainerId(format!("c{ordinal}-{incarnation}"));
                let probe = scene.observed.probes.get_mut(&id).unwrap();
                probe.message = "GET /health answered 500".to_owned();
            })
    }

    /// One container ends `times` times more, each time 30 s after the last.
    fn ends(mut self, id: &str, times: usize) -> Self {
        for _ in 0..times {
            self = self
                .later(30)
                .but(id, |one| {
                    one.started_at = one.exit.map_or(one.started_at, |exit| exit.at)
                })
                .exited(id, 7, 0)
                .settled();
        }
        self
    }

    fn state(&self) -> RolloutState {
        self.status().rollout.state
    }

    fn failed(&self) -> FailedRollout {
        self.status().rollout.failed.expect("it failed")
    }
}

const SHORT: &str = "strategy: {progressDeadline: 40s}";

#[test]
fn law_8_a_first_revision_fails_by_its_deadline_and_says_why() {
    let early = begun(&format!("{{{SHORT}}}")).later(39);
    assert_eq!(early.state(), RolloutState::Progressing);
    assert!(early.plan().recheck.unwrap().as_secs() <= 1);
    let late = early.later(1);
    let status = late.status();
    assert_eq!(status.rollout.state, RolloutState::Failed);
    let said = status.condition(condition::PROGRESSING).unwrap();
    assert_eq!(
        (said.status, said.reason.as_str()),
        (ConditionStatus::False, "ProgressDeadlineExceeded")
    );
    let message = &late.failed().message;
    assert_eq!(&said.message, message);
    assert!(
        message.contains("no further for 40s") && message.contains("GET /health answered 500"),
        "{message}"
    );
    assert!(
        !message.contains("undo") && !message.contains("serving"),
        "there is nothing to go back to: {message}"
    );
    assert_eq!(late.does(), nothing(), "it goes on being tried");
    assert_eq!(
        late.clone().settled().later(9).failed(),
        late.failed(),
        "the same failure stays the same"
    );
    let never = begun("{strategy: {progressDeadline: 0s}}").later(100_000);
    assert_eq!(never.state(), RolloutState::Progressing);
}

#[test]
fn law_8_a_first_revision_that_keeps_ending_has_failed_and_goes_on_being_tried() {
    let scene = begun("{}").exited("c0-1", 7, 0).settled().ends("c0-1", 3);
    assert_eq!(scene.state(), RolloutState::Progressing, "four times");
    let scene = scene.ends("c0-1", 1);
    let failed = scene.failed();
    assert_eq!(failed.reason, "CrashLoopBackOff");
    assert!(
        failed.message.contains("code 7") && !failed.message.contains("undo"),
        "{}",
        failed.message
    );
    assert_eq!(scene.status().phase, Phase::Failed);
    assert_eq!(scene.clone().later(8).does(), ["start c0-1"]);
    // It gets well.
    let now = scene.now;
    let runs = scene
        .later(9)
        .but("c0-1", |one| {
            one.state = ContainerState::Running;
            one.exit = None;
            one.started_at = Some(now);
            one.attachment.as_mut().unwrap().ip = Some(ip(0, 1).into());
        })
        .probed(0, 1, Some(true))
        .settled();
    assert_eq!(
        runs.state(),
        RolloutState::Failed,
        "not for long enough yet"
    );
    assert_eq!(runs.plan().recheck.unwrap().as_secs(), 1);
    let well = runs.later(1).settled();
    let rollout = well.status().rollout;
    assert_eq!(
        (rollout.state, rollout.failed, rollout.last_good),
        (RolloutState::Complete, None, Some(well.asked()))
    );
    assert_eq!(well.plan().recheck, None, "all is said");
    assert_eq!(well.status(), well.agent.as_ref().unwrap().status);
}

#[test]
fn a_first_revision_that_stays_ended_says_so() {
    let scene = begun("{restart: {policy: no}}").exited("c0-1", 3, 0);
    let failed = scene.failed();
    assert!(
        failed.message.contains("ended with code 3") && failed.message.contains("policy is no"),
        "{}",
        failed.message
    );
    assert_eq!(scene.why_not_ready().0, "Ended", "the more precise word");
    let scene = begun("{restart: {maxRetries: 1}}")
        .exited("c0-1", 3, 0)
        .settled();
    assert_eq!(scene.state(), RolloutState::Progressing);
    let scene = scene.ends("c0-1", 1);
    assert_eq!(scene.state(), RolloutState::Failed);
    assert_eq!(scene.why_not_ready().0, "RestartsExhausted");
}

#[test]
fn law_8_an_image_that_cannot_be_had_fails_the_first_revision_in_time() {
    let failing = |scene: Scene, attempts, ago| {
        let mut failed = failure("ImageNotFound", attempts, 0);
        failed.at = scene.now - jiff::SignedDuration::from_secs(ago);
        scene.image(ImageState::Failed(failed)).settled()
    };
    let pulling = |scene: Scene| {
        let far = ImageState::Pulling("0 of 3 layers".to_owned());
        scene.image(far).settled()
    };
    let scene = Scene::of(&format!("{{{SHORT}}}")).image(ImageState::Unresolved);
    let scene = failing(pulling(scene.settled()).later(900), 1, 0);
    assert_eq!(scene.state(), RolloutState::Progressing, "it was pulled");
    // It is tried again, and what was not had then is what is known for a moment after the try.
    let again = failing(pulling(scene.later(10)).later(900), 1, 910);
    assert_eq!(
        again.state(),
        RolloutState::Progressing,
        "it rested for 10 s"
    );
    let again = failing(again, 2, 0);
    assert_eq!(again.clone().later(19).state(), RolloutState::Progressing);
    let again = failing(pulling(again.later(20)), 3, 0);
    assert_eq!(again.clone().later(9).state(), RolloutState::Progressing);
    assert!(again.plan().recheck.unwrap().as_secs() <= 10);
    let scene = again.later(10);
    let failed = scene.failed();
    assert_eq!(failed.reason, "ProgressDeadlineExceeded");
    assert!(
        failed.message.contains("ImageNotFound it did"),
        "{}",
        failed.message
    );
    assert_eq!(scene.why_not_ready().0, "ImageNotFound");
    assert_eq!(scene.status().phase, Phase::Failed);
    // It comes to be.
    let scene = pulling(scene.settled().later(30));
    assert_eq!(scene.state(), RolloutState::Failed, "until it is there");
    let there = scene.image(ImageState::Resolved(ImageId(IMAGE.to_owned())));
    assert_eq!(there.does(), ["create 0 after 0 named"]);
    assert_eq!(there.state(), RolloutState::Progressing);
    let up = there.ready(0, 1).settled();
    assert_eq!(up.state(), RolloutState::Complete);
}

#[test]
fn a_pull_is_waited_for_however_long_it_takes() {
    let scene = Scene::of(&format!("{{{SHORT}}}")).image(ImageState::Unresolved);
    let scene = scene.settled().image(ImageState::Pulling(String::new()));
    let scene = scene.settled().later(9_000).settled();
    assert_eq!(scene.state(), RolloutState::Progressing);
    let there = scene.image(ImageState::Resolved(ImageId(IMAGE.to_owned())));
    assert_eq!(there.state(), RolloutState::Progressing, "it has got on");
    let there = there.settled();
    assert_eq!(there.clone().later(39).state(), RolloutState::Progressing);
    assert_eq!(there.later(40).state(), RolloutState::Failed);
}

#[test]
fn what_is_denied_stays_the_reason_after_the_deadline() {
    let denied = |scene: &mut Scene| {
        let mut failed = failure("HostPathDenied", 1, 0);
        failed.retryable = false;
        scene.observed.failures.insert(0, failed);
    };
    let scene = Scene::of("{}").settled().change(denied).settled();
    let scene = scene.later(120).settled();
    assert_eq!(scene.state(), RolloutState::Failed);
    let (reason, message) = scene.why_not_ready();
    assert_eq!(reason, "HostPathDenied", "{message}");
    assert!(scene.failed().message.contains("HostPathDenied it did"));
}

#[test]
fn what_else_holds_a_first_revision_up_is_no_time_of_its_own() {
    let others = |ready| {
        move |scene: &mut Scene| {
            scene.observed.others = [(name("auth"), ready)].into();
        }
    };
    let waits = "{dependsOn: [auth], strategy: {progressDeadline: 40s}}";
    for there in [Some(false), None] {
        let held = Scene::of(waits)
            .change(others(there))
            .settled()
            .later(9_000);
        assert_eq!(held.state(), RolloutState::Progressing, "{there:?}");
        let held = held.settled().later(9_000).change(others(Some(true)));
        assert_eq!(held.state(), RolloutState::Progressing, "it begins now");
        let begun = held.settled();
        assert_eq!(begun.clone().later(39).state(), RolloutState::Progressing);
        assert_eq!(begun.later(40).state(), RolloutState::Failed);
    }
    type Change = fn(&mut Scene);
    let network: Change = |scene| scene.observed.network = None;
    let frozen: Change = |scene| scene.frozen = Some("the store cannot be reached".to_owned());
    let held: Change = |scene| {
        let annotations = &mut scene.agent.as_mut().unwrap().metadata.annotations;
        annotations.insert(crate::keys::ROLLOUT_PAUSED.to_owned(), "true".to_owned());
    };
    let paused: Change = |scene| {
        scene.agent.as_mut().unwrap().spec.state = crate::agent::spec::DesiredState::Paused;
    };
    for (place, hold) in [network, frozen, held, paused].into_iter().enumerate() {
        let before = begun(&format!("{{{SHORT}}}"));
        let held = before.clone().later(30).change(hold).settled().later(900);
        assert_eq!(held.status().rollout.failed, None, "hold {place}");
        let mut on = held.settled();
        on.agent.as_mut().unwrap().metadata = before.agent.as_ref().unwrap().metadata.clone();
        on.agent.as_mut().unwrap().spec = before.agent.as_ref().unwrap().spec.clone();
        (on.frozen, on.observed) = (None, before.observed.clone());
        assert_eq!(on.state(), RolloutState::Progressing, "hold {place}");
        let on = on.settled();
        assert_eq!(on.clone().later(39).state(), RolloutState::Progressing);
        assert_eq!(on.later(40).state(), RolloutState::Failed, "hold {place}");
    }
}

#[test]
fn an_earlier_life_that_still_runs_holds_up_recreate_alone() {
    let stranger = |scene: Scene| {
        let mut other = container(&Revision("v1:x".to_owned()), 0, 1);
        other.identity.uid = uid("dead");
        other.id = ContainerId("stranger".to_owned());
        scene.with(other)
    };
    for (kind, state) in [
        ("recreate", RolloutState::Progressing),
        ("rolling", RolloutState::Failed),
    ] {
        let yaml = format!("{{strategy: {{type: {kind}}}}}");
        let scene = stranger(Scene::of(&yaml)).settled().later(900);
        assert_eq!(scene.state(), state, "{kind}");
    }
}

#[test]
fn a_failed_first_revision_is_as_failed_after_an_outage() {
    let failed = begun(&format!("{{{SHORT}}}")).later(40).settled();
    let frozen = failed
        .later(5)
        .change(|scene| scene.frozen = Some("the store cannot be reached".to_owned()))
        .settled();
    let thawed = frozen.later(5).change(|scene| scene.frozen = None);
    assert_eq!(thawed.state(), RolloutState::Failed);
    assert_eq!(thawed.settled().later(1).state(), RolloutState::Failed);
}

#[test]
fn a_first_revision_that_was_stopped_or_scaled_away_gets_its_time_again() {
    type Change = fn(&mut Scene);
    let stop: Change = |scene| {
        scene.agent.as_mut().unwrap().spec.state = crate::agent::spec::DesiredState::Stopped;
    };
    let start: Change = |scene| {
        scene.agent.as_mut().unwrap().spec.state = crate::agent::spec::DesiredState::Running;
    };
    let none: Change = |scene| scene.agent.as_mut().unwrap().spec.replicas.0 = 0;
    let one: Change = |scene| scene.agent.as_mut().unwrap().spec.replicas.0 = 1;
    let now = |made: &mut Container| {
        (made.created_at, made.started_at) = (Some(at(940)), Some(at(940)));
    };
    for (away, back, again) in [(stop, start, 1), (none, one, 2)] {
        let failed = begun(&format!("{{{SHORT}}}")).later(40).settled();
        let mut away = failed.change(away);
        away.observed.containers[0].state = ContainerState::Exited;
        if again == 2 {
            away.observed.containers.clear();
        }
        let back = away.settled().later(900).change(back);
        let mut back = back.settled();
        back.observed.containers.clear();
        let back = back
            .ready(0, again)
            .but(&format!("c0-{again}"), now)
            .unwell(0, again);
        assert_eq!(back.state(), RolloutState::Progressing);
        let back = back.settled();
        assert_eq!(back.clone().later(39).state(), RolloutState::Progressing);
        assert_eq!(back.later(40).state(), RolloutState::Failed);
    }
}

#[test]
fn law_8_an_agent_that_was_good_is_not_judged_when_it_fails_later() {
    let good = Scene::of("{}").ready(0, 1).settled();
    assert_eq!(good.status().rollout.last_good, Some(good.asked()));
    let unwell = good.clone().unwell(0, 1).settled().later(9_000);
    assert_eq!(unwell.status().rollout.failed, None);
    assert_eq!(unwell.why_not_ready().0, "NotReady");
    let crashes = good.exited("c0-1", 1, 0).settled().ends("c0-1", 9);
    assert_eq!(crashes.status().rollout.failed, None);
    assert_eq!(crashes.status().rollout.progressed_at, None);
    assert_eq!(crashes.why_not_ready().0, "CrashLoopBackOff");
}

#[test]
fn being_ready_for_a_while_is_no_want_of_progress() {
    for more in ["", "rollback: true, "] {
        let yaml = format!("{{strategy: {{{more}progressDeadline: 3s}}}}");
        let up = begun(&yaml).later(2).probed(0, 1, Some(true)).settled();
        for seconds in 0..9 {
            let later = up.clone().later(seconds);
            assert_eq!(later.state(), RolloutState::Complete, "after {seconds} s");
            assert_eq!(later.status().rollout.failed, None, "after {seconds} s");
        }
        assert_eq!(up.later(9).status().rollout.failed, None);
    }
    // So it is with a later one: ready beside the earlier one, which drains.
    let later = Scene::of("{strategy: {progressDeadline: 3s}, drain: {timeout: 60s}}")
        .old(0, 1)
        .settled()
        .ready(0, 2)
        .but("c0-2", |made| {
            (made.created_at, made.started_at) = (Some(at(0)), Some(at(0)));
        })
        .traffic("c0-1", 3, Some(0))
        .settled();
    for seconds in 0..30 {
        let later = later.clone().later(seconds);
        assert_eq!(later.status().rollout.failed, None, "after {seconds} s");
    }
}

#[test]
fn a_drain_that_takes_its_time_is_no_want_of_progress() {
    let yaml = "{replicas: 2, strategy: {progressDeadline: 20s}, drain: {timeout: 10m}}";
    let scene = Scene::of(yaml)
        .old(0, 1)
        .old(1, 1)
        .settled()
        .ready(0, 2)
        .traffic("c0-1", 3, Some(0))
        .settled();
    assert_eq!(scene.endpoint("c0-1"), crate::plan::EndpointState::Draining);
    let scene = scene.later(500);
    assert_eq!(scene.state(), RolloutState::Progressing);
    // It is over, and the second one's turn: its time begins.
    let mut scene = scene.settled();
    scene.observed.containers.retain(|one| one.id.0 != "c0-1");
    let scene = scene
        .ready(1, 2)
        .but("c1-2", |made| made.created_at = Some(at(500)))
        .unwell(1, 2)
        .settled();
    assert_eq!(scene.clone().later(19).state(), RolloutState::Progressing);
    assert_eq!(scene.later(20).state(), RolloutState::Failed);
}

#[test]
fn the_usual_deadline_leaves_time_for_the_start_period() {
    let yaml = "{healthCheck: {startPeriod: 5m}}";
    let scene = begun(yaml);
    assert_eq!(scene.clone().later(419).state(), RolloutState::Progressing);
    assert_eq!(scene.later(420).state(), RolloutState::Failed);
    let own = begun("{healthCheck: {startPeriod: 5m}, strategy: {progressDeadline: 60s}}");
    assert_eq!(
        own.later(60).state(),
        RolloutState::Failed,
        "as it is written"
    );
}
