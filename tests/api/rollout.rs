//! `/agents/{id}/rollout`: how it stands, history, undo, pause and resume; and circles of dependencies.

use agentainer::agent::{
    AgentStatus, Check, Revision, RevisionRecord, Shape, next_number, numbered,
};
use agentainer::keys::ROLLOUT_PAUSED;
use agentainer::store::AgentStore;
use http::StatusCode;
use serde_json::{Value, json};

use crate::harness::{Api, request, viewer};

/// Records the present revision as the reconciler does.
async fn recorded(api: &Api, name: &str) -> Revision {
    let agent = api.agent(name).await;
    let uid = &agent.metadata.uid;
    let records = numbered(api.store.revisions(uid).await.unwrap());
    let record = RevisionRecord {
        revision: agent.revision(),
        number: next_number(&records),
        image_id: "sha256:1".to_owned(),
        image: "users".to_owned(),
        tag: Some("agentainer/users:1".to_owned()),
        generation: agent.metadata.generation,
        at: agentainer::clock::now(),
        shape: Some(Shape::of(&agent)),
        proven: None,
    };
    api.store.put_revision(uid, &record).await.unwrap();
    record.revision
}

fn spec(colour: &str) -> Value {
    json!([{"name": "users", "spec": {
        "image": format!("users:{colour}"), "env": {"SECRET": colour}, "replicas": 2,
    }}])
}

async fn three_revisions() -> Api {
    let api = Api::new();
    for colour in ["red", "green", "blue"] {
        api.applied("shop", spec(colour)).await;
        recorded(&api, "users").await;
    }
    api
}

/// The first revision, on which a check passed, and a spec that asks for another one.
async fn with_another_check(good: bool) -> Api {
    let api = Api::new();
    let spec = |path: &str| json!([{"name": "users", "spec": {"image": "users:red", "healthCheck": {"endpoint": path}}}]);
    api.applied("shop", spec("/old")).await;
    let revision = recorded(&api, "users").await;
    let agent = api.agent("users").await;
    let uid = &agent.metadata.uid;
    let mut record = api.store.revisions(uid).await.unwrap().remove(0);
    record.proven = Some(Check {
        health_check: agent.spec.health_check.clone(),
    });
    api.store.put_revision(uid, &record).await.unwrap();
    if good {
        let mut status = AgentStatus::default();
        status.rollout.last_good = Some(revision);
        api.store
            .put_status(&agent.metadata, &status)
            .await
            .unwrap();
    }
    api.applied("shop", spec("/new")).await;
    api
}

#[tokio::test]
async fn law_8_undo_brings_a_check_back_that_passed_on_what_is_asked_for() {
    let endpoint = async |api: &Api| {
        let check = api.agent("users").await.spec.health_check;
        check.unwrap().endpoint
    };
    let api = with_another_check(true).await;
    let before = api.agent("users").await;
    assert_eq!(undo(&api, "").await.status, StatusCode::OK);
    assert_eq!(endpoint(&api).await, "/old");
    assert_eq!(api.agent("users").await.revision(), before.revision());
    // That was all that could be undone.
    assert_eq!(undo(&api, "").await.word(), "no-earlier-revision");
    // By its number too, and of one that never was good not by itself.
    let api = with_another_check(false).await;
    assert_eq!(undo(&api, "").await.word(), "no-earlier-revision");
    undo(&api, "?toRevision=1").await;
    assert_eq!(endpoint(&api).await, "/old");
}

#[tokio::test]
async fn law_8_undo_of_an_image_and_its_check_brings_both_back() {
    let api = with_another_check(true).await;
    let both = json!([{"name": "users", "spec": {"image": "users:blue", "healthCheck": {"endpoint": "/blue"}}}]);
    api.applied("shop", both).await;
    recorded(&api, "users").await;
    undo(&api, "").await;
    let spec = api.agent("users").await.spec;
    assert_eq!(spec.image.as_deref(), Some("users:red"));
    assert_eq!(spec.health_check.unwrap().endpoint, "/old");
}

async fn undo(api: &Api, query: &str) -> crate::harness::Answered {
    let path = format!("/agents/users/rollout/undo{query}");
    api.admin("POST", &path, None).await
}

#[tokio::test]
async fn undo_brings_the_fields_of_the_revision_before_back_and_no_others() {
    let api = three_revisions().await;
    api.admin("POST", "/agents/users/scale", Some(json!({"replicas": 5})))
        .await;
    let before = api.agent("users").await;
    let answer = undo(&api, "").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(answer.json()["spec"]["env"]["SECRET"], "***");
    let after = api.agent("users").await;
    assert_eq!(after.spec.image.as_deref(), Some("users:green"));
    assert_eq!(after.spec.env["SECRET"].as_str(), "green");
    assert_eq!(after.spec.replicas.0, 5);
    assert_eq!(after.metadata.generation, before.metadata.generation + 1);
    let answer = undo(&api, "?toRevision=1").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let first = api.agent("users").await;
    assert_eq!(first.spec.env["SECRET"].as_str(), "red");
    // It is there already: nothing is written.
    undo(&api, "?toRevision=1").await;
    assert_eq!(api.agent("users").await, first);
}

#[tokio::test]
async fn undo_goes_to_the_last_good_revision_when_the_present_one_never_was_good() {
    let api = three_revisions().await;
    let agent = api.agent("users").await;
    let records = api.store.revisions(&agent.metadata.uid).await.unwrap();
    let mut status = AgentStatus::default();
    status.rollout.last_good = Some(records[0].revision.clone());
    api.store
        .put_status(&agent.metadata, &status)
        .await
        .unwrap();
    undo(&api, "").await;
    let after = api.agent("users").await;
    assert_eq!(after.spec.env["SECRET"].as_str(), "red");
}

#[tokio::test]
async fn undo_takes_a_restart_back_too_and_says_when_there_is_nothing_to_go_back_to() {
    let api = Api::new();
    api.applied("shop", spec("red")).await;
    assert_eq!(undo(&api, "").await.word(), "no-earlier-revision");
    let first = recorded(&api, "users").await;
    assert_eq!(undo(&api, "").await.word(), "no-earlier-revision");
    let answer = undo(&api, "?toRevision=7").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(answer.word(), "revision-not-found");
    api.admin("POST", "/agents/users/rollout/restart", None)
        .await;
    recorded(&api, "users").await;
    assert_ne!(api.agent("users").await.revision(), first);
    assert_eq!(undo(&api, "").await.status, StatusCode::OK);
    assert_eq!(api.agent("users").await.revision(), first);
}

#[tokio::test]
async fn law_7_the_history_shows_values_to_those_alone_who_may_see_them() {
    let api = three_revisions().await;
    let path = "/agents/users/rollout/history";
    let body = api.get(path).await.json();
    let items = body["items"].as_array().unwrap();
    let numbers: Vec<&Value> = items.iter().map(|item| &item["number"]).collect();
    assert_eq!(numbers, [1, 2, 3]);
    assert_eq!(items[2]["current"], true);
    assert_eq!(items[0]["spec"]["env"]["SECRET"], "***");
    let revealed = api.get(&format!("{path}?reveal=env")).await.json();
    assert_eq!(revealed["items"][0]["spec"]["env"]["SECRET"], "red");
    assert_eq!(api.send(viewer(path)).await.status, StatusCode::FORBIDDEN);
    let own = api.token_of("users").await;
    let seen = api.send(request("GET", path, Some(&own), None)).await;
    assert_eq!(seen.json()["items"][0]["spec"]["env"]["SECRET"], "red");
    let status = api.send(viewer("/agents/users/rollout")).await;
    assert_eq!(status.json()["observed"], false, "{}", status.text);
    assert!(!status.text.contains("blue"));
}

#[tokio::test]
async fn a_paused_rollout_refuses_what_it_would_not_carry_out() {
    let api = three_revisions().await;
    let post = async |below: &str| {
        let path = format!("/agents/users{below}");
        api.admin("POST", &path, None).await
    };
    assert_eq!(post("/rollout/resume").await.word(), "rollout-not-paused");
    assert_eq!(post("/rollout/pause").await.status, StatusCode::OK);
    assert_eq!(
        api.agent("users").await.metadata.annotations[ROLLOUT_PAUSED],
        "true"
    );
    for below in [
        "/rollout/pause",
        "/rollout/undo",
        "/rollout/restart",
        "/restart",
    ] {
        assert_eq!(post(below).await.word(), "rollout-paused", "{below}");
    }
    // It survives an apply that does not name it.
    api.applied("shop", spec("white")).await;
    assert_eq!(post("/rollout/resume").await.status, StatusCode::OK);
    let annotations = api.agent("users").await.metadata.annotations;
    assert!(!annotations.contains_key(ROLLOUT_PAUSED));
}

#[tokio::test]
async fn a_circle_of_dependencies_is_refused_however_it_is_written() {
    let api = Api::new();
    let agents = json!([
        {"name": "a", "spec": {"dependsOn": ["b"]}},
        {"name": "b", "spec": {"dependsOn": ["c"]}},
        {"name": "x", "spec": {}},
    ]);
    api.applied("shop", agents).await;
    let before = api.everything().await;
    let patch = |needs: &str| json!({"spec": {"dependsOn": [needs]}});
    let circle = |answer: crate::harness::Answered| {
        assert_eq!(answer.word(), "invalid");
        assert!(answer.text.contains("goes in a circle"), "{}", answer.text);
        assert!(answer.text.contains("spec.dependsOn"), "{}", answer.text);
    };
    circle(api.admin("PATCH", "/agents/b", Some(patch("a"))).await);
    circle(api.admin("PUT", "/agents/b", Some(patch("a"))).await);
    circle(api.admin("PUT", "/agents/c", Some(patch("a"))).await);
    circle(
        api.admin(
            "PUT",
            "/agents/b",
            Some(json!({"spec": {"dependencies": ["a"]}})),
        )
        .await,
    );
    let new = json!({"metadata": {"name": "c"}, "spec": {"dependsOn": ["b"]}});
    circle(api.admin("POST", "/agents", Some(new)).await);
    assert_eq!(api.everything().await, before);
    let answer = api.admin("PATCH", "/agents/x", Some(patch("a"))).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let new = json!({"metadata": {"name": "c"}, "spec": {"dependsOn": ["y"]}});
    let answer = api.admin("POST", "/agents", Some(new)).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
}
