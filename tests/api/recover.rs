//! `POST /recover`.

use std::sync::Arc;

use agentainer::agent::Agent;
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
    let kept = Kept {
        agent,
        applied: manifest,
    };
    snapshot.write(kept).await.unwrap();

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
    let (agent, applied) = (users.clone(), None);
    snapshot.write(Kept { agent, applied }).await.unwrap();
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
    let applied = None;
    snapshot.write(Kept { agent, applied }).await.unwrap();
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
    let applied = None;
    let kept = Kept { agent, applied };
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
