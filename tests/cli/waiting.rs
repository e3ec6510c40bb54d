//! `--wait` and `wait`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::rig::{Rig, failed, ready};

const ONE: &str = "agents: [{name: users}]";

#[tokio::test]
async fn apply_waits_until_all_is_as_applied() {
    let rig = Rig::new().await;
    rig.reconcile();
    let ran = rig.run_with("apply -f - --wait", ONE, &[]).await;
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (0, "agent/users created\n"),
        "{ran:?}"
    );
    assert!(ran.err.contains("agent/users  Running"), "{ran:?}");
    let stopped = "agents: [{name: users, state: stopped}]";
    let ran = rig.run_with("apply -f - --wait", stopped, &[]).await;
    assert!(ran.code == 0 && ran.err.contains("Stopped"), "{ran:?}");
    let pruned = rig
        .run_with("apply -f - --wait --prune", "agents: [{name: other}]", &[])
        .await;
    assert_eq!(pruned.code, 0, "{pruned:?}");
    rig.run("get users").await.failed(3, "users");
}

#[tokio::test]
async fn waiting_too_long_exits_6_and_says_what_for() {
    let rig = Rig::new().await;
    let ran = rig
        .run_with("apply -f - --wait --timeout 300ms", ONE, &[])
        .await;
    ran.failed(6, "timed out after 300ms")
        .failed(6, "agent/users: not acted on yet");
    rig.run("wait users --timeout 200ms")
        .await
        .failed(6, "timed out");
    rig.run("start users --wait --timeout 200ms")
        .await
        .failed(6, "timed out");
}

#[tokio::test]
async fn law_8_a_failure_says_why_and_shows_the_last_lines_of_the_log() {
    let rig = Rig::new().await;
    rig.reconcile_as(|agent| failed(agent, "ImageNotFound", "no image 'users' on this machine"));
    rig.apply(ONE).await;
    rig.engine
        .add(&rig.agent("users").await, 0, 1, "Traceback\nboom\n");
    let ran = rig.run_with("apply -f - --wait", ONE, &[]).await;
    let ran = ran.failed(
        1,
        "failed: agent/users: ImageNotFound: no image 'users' on this machine",
    );
    assert!(ran.err.contains("    Traceback\n    boom\n"), "{ran:?}");
}

#[tokio::test]
async fn an_agent_that_goes_away_meanwhile_is_no_success() {
    let rig = Rig::new().await;
    rig.run("wait none --timeout 10s")
        .await
        .failed(3, "does not exist");
    assert_eq!(rig.run("wait none --for=deleted").await.ok(), "");
}

#[tokio::test]
async fn conditions_and_phases_can_be_waited_for() {
    let rig = Rig::new().await;
    rig.reconcile();
    rig.apply(ONE).await;
    for what in [
        "ready",
        "condition=Ready",
        "condition=Ready=True",
        "phase=Running",
    ] {
        rig.run(&format!("wait users --for={what} --timeout 30s"))
            .await
            .ok();
    }
    rig.run("wait users --for=happy")
        .await
        .failed(2, "condition=TYPE");
}

#[tokio::test]
async fn a_restart_waits_for_the_new_revision() {
    let rig = Rig::new().await;
    rig.reconcile();
    rig.apply(ONE).await;
    rig.run("wait users").await.ok();
    rig.run("restart users --wait --timeout 30s").await.ok();
    assert_eq!(
        rig.run("stop users --wait").await.ok(),
        "agent/users stopped\n"
    );
}

#[tokio::test]
async fn what_may_pass_is_given_time_to_pass() {
    let rig = Rig::new().await;
    // First the engine is away, then it is back; the change that brings it is a second apply's.
    let passes = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&passes);
    rig.reconcile_as(move |agent| match count.fetch_add(1, Ordering::Relaxed) {
        0 => failed(agent, "CreateFailed", "the engine is away"),
        _ => ready(agent),
    });
    let waiting = rig.run_with("apply -f - --wait --timeout 30s", ONE, &[]);
    let healing = async {
        while passes.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        rig.apply("agents: [{name: users, labels: {touched: 'yes'}}]")
            .await;
    };
    let (ran, ()) = tokio::join!(waiting, healing);
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[tokio::test]
async fn a_server_that_ends_the_watch_is_asked_again() {
    let rig = Rig::new().await;
    rig.apply(ONE).await;
    // All watches end at once; the next is told at once that there is nothing more.
    let waiting = rig.run("wait users --timeout 2s");
    let ending = async {
        rig.shutdown.cancel();
    };
    let (ran, ()) = tokio::join!(waiting, ending);
    ran.failed(6, "timed out");
}

#[tokio::test]
async fn what_an_earlier_server_said_is_not_believed() {
    let rig = Rig::new().await;
    rig.apply(ONE).await;
    let agent = rig.agent("users").await;
    rig.set_status(&agent, ready(&agent)).await;
    rig.looked.store(false, Ordering::Relaxed);
    for goal in ["ready", "phase=Running", "condition=Ready"] {
        let line = format!("wait users --for={goal} --timeout 1s");
        rig.run(&line).await.failed(6, "not looked at yet");
    }
    rig.looked.store(true, Ordering::Relaxed);
    rig.run("wait users --timeout 30s").await.ok();
}
