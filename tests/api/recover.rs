//! `POST /recover`.

use std::sync::Arc;

use agentainer::agent::{Agent, RevisionRecord};
use agentainer::recover::{Kept, Recovery, SnapshotFolder};
use agentainer::runtime::{MadeFrom, Origin};
use agentainer::store::AgentStore;
use agentainer::wire::RecoverOutcome;
use http::StatusCode;
use serde_json::{Value, json};

use crate::harness::Api;

/// An API whose snapshot is in a folder of the test's own.
fn api() -> (Api, SnapshotFolder, tempfile::TempDir) {
    let data = tempfile::tempdir().unwrap();
    let snapshot = SnapshotFolder::of(data.path());
    let kept = snapshot.clone();
    let api = Api::with(|state| {
        state.recovery = Some(Recovery {
            store: Arc::clone(&state.store),
            runtime: Arc::clone(&state.runtime),
            snapshot,
        });
    });
    (api, kept, data)
}

/// An agent with a container, as another store had it before it was wiped.
async fn lost(api: &Api, name: &str) -> Agent {
    let before = Api::new();
    let spec = json!({"name": name, "spec": {"env": {"KEY": "hunter2"}}});
    before.applied("mesh", json!([spec])).await;
    let agent = before.agent(name).await;
    api.engine.add(&agent, 0, 1, "");
    agent
}

async fn recover(api: &Api, request: Value) -> Value {
    let answer = api.admin("POST", "/recover", Some(request)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert!(!answer.text.contains("hunter2"), "{}", answer.text);
    answer.json()
}

#[tokio::test]
async fn law_6_what_the_snapshot_has_is_made_again_as_it_was() {
    let (api, snapshot, _data) = api();
    let users = lost(&api, "users").await;
    let applied = Some(json!({"name": "users"}));
    let (agent, manifest) = (users.clone(), applied.clone());
    snapshot
        .write(Kept::of(agent, manifest, Vec::new()))
        .await
        .unwrap();

    let told = recover(&api, json!({"dryRun": true})).await;
    assert_eq!(told["results"][0]["outcome"], "created");
    assert_eq!(
        api.store.list().await.unwrap().agents,
        [],
        "a dry run writes nothing"
    );

    let told = recover(&api, json!({})).await;
    assert_eq!(
        told["results"],
        json!([{"name": "users", "outcome": "created", "from": "snapshot", "generation": 1}])
    );
    let again = api.agent("users").await;
    assert_eq!(
        (again.metadata.uid, again.spec),
        (users.metadata.uid, users.spec)
    );
    let name = users.metadata.name;
    assert_eq!(api.store.applied(&name).await.unwrap(), applied);

    let told = recover(&api, json!({})).await;
    assert_eq!(told["results"][0]["outcome"], "unchanged");
}

#[tokio::test]
async fn law_8_how_the_rollout_stood_and_the_history_come_back_with_the_spec() {
    let (api, snapshot, _data) = api();
    let mut users = lost(&api, "users").await;
    let asked = users.revision();
    let at = "2026-01-01T00:00:00Z";
    users.status = serde_json::from_value(json!({
        "observedGeneration": 1, "phase": "Degraded", "revision": asked, "readyReplicas": 1,
        "rollout": {"state": "RolledBack", "number": 2, "lastGood": "v1:good", "lastGoodNumber": 1,
            "failed": {"revision": asked, "reason": "CrashLoopBackOff", "message": "so it was", "at": at}},
        "conditions": [{"type": "RolledBack", "status": "True", "reason": "RolloutFailed", "message": "so it is",
            "lastTransitionTime": at}],
    }))
    .unwrap();
    let record = |revision: &str, number: u64| -> RevisionRecord {
        let record = json!({"revision": revision, "number": number, "imageId": "sha256:1", "image": "users",
            "generation": number, "at": at, "shape": {"spec": {"env": {"KEY": "hunter2"}}}});
        serde_json::from_value(record).unwrap()
    };
    let records = vec![record("v1:good", 1), record(asked.as_str(), 2)];
    let kept = Kept::of(users.clone(), None, records);
    snapshot.write(kept).await.unwrap();
    recover(&api, json!({})).await;

    let rollout = api.admin("GET", "/agents/users/rollout", None).await.json();
    assert_eq!(rollout["rollout"]["state"], "RolledBack", "{rollout}");
    assert_eq!(rollout["rollout"]["failed"]["reason"], "CrashLoopBackOff");
    assert_eq!(rollout["observed"], false, "nobody has looked yet");
    let status = api.agent("users").await.status;
    assert!(status.condition("RolledBack").is_some());
    assert_eq!(status.ready_replicas, 0, "what is seen is not remembered");
    let history = api.admin("GET", "/agents/users/rollout/history", None);
    let history = history.await.json();
    let items = history["items"].as_array().unwrap();
    let told = |field: &str| -> Vec<Value> { items.iter().map(|one| one[field].clone()).collect() };
    assert_eq!(told("number"), [1, 2]);
    assert_eq!(told("lastGood"), [true, false]);
    assert_eq!(told("current"), [false, true]);
    assert!(!history.to_string().contains("hunter2"), "{history}");
}

#[tokio::test]
async fn a_snapshot_that_an_earlier_version_wrote_brings_the_spec_back() {
    let (api, snapshot, data) = api();
    let users = lost(&api, "users").await;
    // The folder is made; the file is as it was before there was a history in it.
    snapshot
        .write(Kept::of(users.clone(), None, Vec::new()))
        .await
        .unwrap();
    let mut agent = serde_json::to_value(&users).unwrap();
    agent.as_object_mut().unwrap().remove("status");
    let text = json!({"agent": agent, "applied": {"name": "users"}}).to_string();
    std::fs::write(data.path().join("snapshot/users.json"), text).unwrap();
    let told = recover(&api, json!({})).await;
    assert_eq!(told["results"][0]["from"], "snapshot", "{told}");
    let again = api.agent("users").await;
    assert_eq!((again.spec, again.status), (users.spec, Default::default()));
}

#[tokio::test]
async fn law_6_without_a_snapshot_the_containers_tell() {
    let (api, _snapshot, _data) = api();
    let users = lost(&api, "users").await;
    let made = MadeFrom {
        spec: users.spec.clone(),
        origin: Origin {
            owner: Some("mesh".to_owned()),
            restarted_at: None,
        },
    };
    let id = api.engine.ask(|state| state.containers[0].id.0.clone());
    api.engine.set(|state| {
        state.made_from.insert(id, made);
    });
    let told = recover(&api, json!({})).await;
    assert_eq!(told["results"][0]["from"], "containers", "{told}");
    assert!(told["results"][0].get("warnings").is_none(), "{told}");
    let again = api.agent("users").await;
    assert_eq!(again.metadata.uid, users.metadata.uid);
    assert_eq!(again.spec.env, users.spec.env);
    assert_eq!(again.metadata.owner, "mesh");
}

#[tokio::test]
async fn what_was_deleted_is_not_made_again() {
    let (api, snapshot, _data) = api();
    api.applied("mesh", json!([{"name": "users", "spec": {}}]))
        .await;
    let users = api.agent("users").await;
    let kept = Kept::of(users.clone(), None, Vec::new());
    snapshot.write(kept).await.unwrap();
    api.engine.add(&users, 0, 1, "");
    let (name, uid) = (users.metadata.name, users.metadata.uid);
    let at = users.metadata.creation_timestamp;
    api.admin("DELETE", "/agents/users", None).await;
    let finalize = agentainer::store::Write::Finalize { name, uid, at };
    api.store.commit(&[finalize]).await.unwrap();
    assert_eq!(recover(&api, json!({})).await["results"], json!([]));
}

#[tokio::test]
async fn without_docker_the_snapshot_can_still_be_asked_for() {
    let (api, snapshot, _data) = api();
    let agent = lost(&api, "users").await;
    let kept = Kept::of(agent, None, Vec::new());
    snapshot.write(kept).await.unwrap();
    api.engine.set(|state| state.away = true);
    let answer = api.admin("POST", "/recover", Some(json!({}))).await;
    assert_eq!(answer.word(), "runtime-unavailable");
    assert_eq!(api.store.list().await.unwrap().agents, []);
    let told = recover(&api, json!({"from": "snapshot"})).await;
    assert_eq!(told["results"][0]["outcome"], "created");
}

#[tokio::test]
async fn without_docker_a_server_that_starts_takes_the_snapshot_alone() {
    let mut recovery = None;
    let data = tempfile::tempdir().unwrap();
    let api = Api::with(|state| {
        recovery = Some(Recovery {
            store: Arc::clone(&state.store),
            runtime: Arc::clone(&state.runtime),
            snapshot: SnapshotFolder::of(data.path()),
        });
    });
    let recovery = recovery.unwrap();
    let agent = lost(&api, "users").await;
    let kept = Kept::of(agent, None, Vec::new());
    recovery.snapshot.write(kept).await.unwrap();
    api.engine.set(|state| state.away = true);
    let told = recovery.at_start().await.unwrap();
    assert_eq!(told.results[0].outcome, RecoverOutcome::Created);
    let warnings = told.warnings.join("; ");
    assert!(warnings.contains("agentainer recover"), "{warnings}");
    assert_eq!(api.agent("users").await.metadata.name.as_str(), "users");
}

#[tokio::test]
async fn a_server_without_a_snapshot_says_so() {
    let api = Api::new();
    let answer = api.admin("POST", "/recover", Some(json!({}))).await;
    assert_eq!(
        (answer.status, answer.word().as_str()),
        (StatusCode::NOT_IMPLEMENTED, "no-snapshot")
    );
}
