//! `agentainer rollout`.

use agentainer::agent::{Agent, RevisionRecord, Shape, next_number};
use agentainer::store::AgentStore;
use serde_json::{Value, json};

use crate::rig::{Rig, condition, ready};

fn manifest(colour: &str) -> String {
    format!("agents: [{{name: users, image: \"users:{colour}\", env: {{SECRET: {colour}}}}}]")
}

async fn record(rig: &Rig) {
    let agent = rig.agent("users").await;
    let uid = &agent.metadata.uid;
    let records = rig.store.revisions(uid).await.unwrap();
    let record = RevisionRecord {
        revision: agent.revision(),
        number: next_number(&records),
        image_id: format!("sha256:{:064}", records.len()),
        image: agent.spec.image.clone().unwrap(),
        tag: Some("agentainer/users:1".to_owned()),
        generation: agent.metadata.generation,
        at: agentainer::clock::now(),
        shape: Some(Shape::of(&agent)),
        proven: None,
    };
    rig.store.put_revision(uid, &record).await.unwrap();
}

/// Of an agent that is as its spec asks, with a rollout in this state.
fn rolled(agent: &Agent, state: &str) -> Value {
    let mut status = ready(agent);
    status["rollout"] = json!({"state": state, "number": 2});
    if state == "Failed" {
        status["rollout"]["failed"] = json!({
            "revision": agent.revision(), "reason": "ProgressDeadlineExceeded",
            "message": "the rollout of revision 2 failed", "at": "2026-01-01T00:00:00Z",
        });
    }
    status
}

#[tokio::test]
async fn status_waits_for_the_end_and_tells_it_by_its_exit_code() {
    let rig = Rig::new().await;
    rig.apply(&manifest("red")).await;
    let early = rig.run("rollout status users --watch=false").await.ok();
    assert!(
        early.contains("waiting for the spec to be acted on"),
        "{early}"
    );
    rig.run("rollout status users --timeout 300ms")
        .await
        .failed(6, "timed out after 300ms");
    rig.run("rollout status nobody").await.failed(3, "nobody");
    let agent = rig.agent("users").await;
    rig.set_status(&agent, rolled(&agent, "Progressing")).await;
    let waiting = rig.run("rollout status users --watch=false").await.ok();
    assert!(waiting.contains("1 of 1 updated, 1 ready"), "{waiting}");
    let (ran, ()) = tokio::join!(rig.run("rollout status users --timeout 50s"), async {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        rig.set_status(&agent, rolled(&agent, "Complete")).await;
    });
    assert!(ran.ok().ends_with("agent/users successfully rolled out\n"));
    rig.run("rollout status users --revision 3")
        .await
        .failed(1, "revision 2 is rolled out, not 3");
    rig.set_status(&agent, rolled(&agent, "Failed")).await;
    rig.run("rollout status agent/users")
        .await
        .failed(1, "the rollout of revision 2 failed");
}

#[tokio::test]
async fn history_and_undo() {
    let rig = Rig::new().await;
    for colour in ["red", "green"] {
        rig.apply(&manifest(colour)).await;
        record(&rig).await;
    }
    let table = rig.run("rollout history users").await.ok();
    assert!(
        table.contains("REVISION") && table.contains("users:red"),
        "{table}"
    );
    assert!(
        table.contains("asked for") && !table.contains("SECRET"),
        "{table}"
    );
    let one = rig.run("rollout history users --revision 1").await.ok();
    assert!(
        one.contains("SECRET: '***'") || one.contains("SECRET: \"***\""),
        "{one}"
    );
    let shown = rig
        .run("rollout history users --revision 1 --reveal-env")
        .await
        .ok();
    assert!(shown.contains("SECRET: red"), "{shown}");
    rig.run("rollout history users --revision 9")
        .await
        .failed(3, "no revision 9");
    rig.reconcile();
    let undone = rig.run("rollout undo users --wait").await.ok();
    assert_eq!(undone, "agent/users rolled back\n");
    assert_eq!(
        rig.agent("users").await.spec.image.as_deref(),
        Some("users:red")
    );
    let skipped = rig.run("rollout undo users --to-revision 1").await.ok();
    assert!(skipped.contains("skipped"), "{skipped}");
    rig.run("rollout undo users --to-revision 9")
        .await
        .failed(3, "no revision 9");
}

#[tokio::test]
async fn pause_resume_and_restart() {
    let rig = Rig::new().await;
    rig.apply(&manifest("red")).await;
    rig.reconcile();
    rig.run("rollout undo users")
        .await
        .failed(1, "no earlier revision");
    let paused = rig.run("rollout pause users").await.ok();
    assert_eq!(paused, "agent/users rollout paused\n");
    rig.run("rollout pause users")
        .await
        .failed(1, "paused already");
    rig.run("rollout restart users")
        .await
        .failed(1, "rollout resume users");
    rig.run("rollout resume users").await.ok();
    rig.run("rollout resume users")
        .await
        .failed(1, "not paused");
    let restarted = rig.run("rollout restart users --wait").await.ok();
    assert_eq!(restarted, "agent/users restarted\n");
    let described = rig.run("describe users").await.ok();
    assert!(described.contains("Rollout:"), "{described}");
}

#[tokio::test]
async fn law_8_apply_that_was_rolled_back_is_no_success() {
    let rig = Rig::new().await;
    rig.reconcile_as(|agent| {
        let mut status = ready(agent);
        status["updatedReplicas"] = json!(0);
        let conditions = status["conditions"].as_array_mut().unwrap();
        conditions.push(condition(
            "Progressing",
            "False",
            "RolledBack",
            "revision 2 failed",
        ));
        status
    });
    let ran = rig
        .run_with("apply -f - --wait", &manifest("red"), &[])
        .await;
    ran.failed(1, "RolledBack: revision 2 failed");
}
