//! `POST /apply`: all or none, three ways, dry runs, owners, prunes.

use agentainer::agent::spec::DesiredState;
use http::StatusCode;
use serde_json::{Value, json};

use crate::harness::{Answered, Api};

fn mesh() -> Value {
    json!([
        {"name": "gateway", "spec": {"env": {"UPSTREAM_SERVICES": ["http://auth:8000", "http://users:8000"]}}},
        {"name": "auth", "spec": {"env": {"REDIS_URL": "redis://host.docker.internal:6379"}}},
        {"name": "users", "spec": {"env": {"AUTH_SERVICE": "http://auth:8000"}}},
    ])
}

async fn apply(api: &Api, body: Value) -> Answered {
    api.admin("POST", "/apply", Some(body)).await
}

fn outcomes(answer: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    answer["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| (text(&result["name"]), text(&result["outcome"])))
        .collect()
}

fn words<'a>(pairs: &[(&'a str, &'a str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
        .collect()
}

#[tokio::test]
async fn a_bundle_is_created_then_unchanged_then_configured() {
    let api = Api::new();
    let first = api.applied("mesh", mesh()).await;
    assert_eq!(
        outcomes(&first),
        words(&[
            ("gateway", "created"),
            ("auth", "created"),
            ("users", "created")
        ])
    );
    assert_eq!(
        api.agent("gateway").await.spec.env["UPSTREAM_SERVICES"].as_str(),
        "http://auth:8000,http://users:8000"
    );
    assert_eq!(first["results"][0]["warnings"], Value::Null);
    let before = api.everything().await;
    let again = api.applied("mesh", mesh()).await;
    assert_eq!(
        outcomes(&again),
        words(&[
            ("gateway", "unchanged"),
            ("auth", "unchanged"),
            ("users", "unchanged")
        ])
    );
    assert_eq!(api.everything().await, before, "not even a version moved");
    let mut changed = mesh();
    changed[1]["spec"]["image"] = json!("auth:2");
    changed[2]["labels"] = json!({"tier": "backend"});
    let third = api.applied("mesh", changed).await;
    assert_eq!(
        outcomes(&third),
        words(&[
            ("gateway", "unchanged"),
            ("auth", "configured"),
            ("users", "configured")
        ])
    );
    assert_eq!(third["results"][1]["replacesContainers"], true);
    assert_eq!(third["results"][2]["replacesContainers"], false);
    assert_eq!(api.agent("auth").await.metadata.generation, 2);
    assert_eq!(api.agent("users").await.metadata.generation, 1);
}

#[tokio::test]
async fn one_bad_agent_and_nothing_is_written() {
    let api = Api::new();
    api.applied("mesh", mesh()).await;
    let before = api.everything().await;
    let mut bad = mesh();
    bad[0]["spec"]["image"] = json!("gateway:2");
    bad[1]["spec"]["replcias"] = json!(2);
    bad[2]["spec"]["port"] = json!(0);
    let answer = apply(&api, json!({"owner": "mesh", "agents": bad})).await;
    assert_eq!(
        (answer.status, answer.word().as_str()),
        (StatusCode::BAD_REQUEST, "invalid")
    );
    let errors = answer.json()["errors"].clone();
    let paths: Vec<&str> = errors
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["path"].as_str().unwrap())
        .collect();
    assert_eq!(
        paths,
        ["agents[1].spec.replcias", "agents[2].spec.port"],
        "{errors}"
    );
    assert!(
        errors[0]["message"]
            .as_str()
            .unwrap()
            .contains("did you mean 'replicas'?"),
        "{errors}"
    );
    assert_eq!(api.everything().await, before);
}

#[tokio::test]
async fn a_bundle_is_judged_as_a_whole() {
    let api = Api::new();
    for (agents, text) in [
        (
            json!([{"name": "a", "spec": {}}, {"name": "a", "spec": {}}]),
            "twice",
        ),
        (
            json!([{"name": "a", "spec": {"dependsOn": ["b"]}}, {"name": "b", "spec": {"dependencies": ["a"]}}]),
            "a → b → a",
        ),
        (
            json!([{"name": "a", "spec": {"env": {"X": "***"}}}]),
            "agents[0].spec.env.X",
        ),
        (json!([{"name": "host", "spec": {}}]), "reserved"),
        (
            json!([{"name": "a", "spec": {}, "labels": {"agentainer.dev/uid": "x"}}]),
            "set by the server",
        ),
    ] {
        let answer = apply(&api, json!({"owner": "o", "agents": agents})).await;
        assert_eq!(answer.status, 400, "{}", answer.text);
        assert!(
            answer.text.contains(text),
            "{text} is not in {}",
            answer.text
        );
    }
    let wrong_owner = apply(&api, json!({"owner": "Not An Owner", "agents": []})).await;
    assert_eq!(wrong_owner.json()["errors"][0]["path"], "owner");
    assert!(api.everything().await.is_empty());
}

#[tokio::test]
async fn a_circle_that_closes_through_what_is_there_already_is_found() {
    let api = Api::new();
    api.applied("o", json!([{"name": "a", "spec": {"dependsOn": ["b"]}}]))
        .await;
    let answer = apply(
        &api,
        json!({"owner": "p", "agents": [{"name": "b", "spec": {"dependsOn": ["a"]}}]}),
    )
    .await;
    assert_eq!(answer.status, 400, "{}", answer.text);
    assert!(answer.text.contains("b → a → b"), "{}", answer.text);
}

#[tokio::test]
async fn three_ways_meet() {
    let api = Api::new();
    let manifest = |spec: Value| json!([{"name": "a", "spec": spec, "labels": {"x": "1"}}]);
    api.applied(
        "o",
        manifest(json!({"image": "a:1", "user": "1000", "env": {"A": "1", "B": "2"}})),
    )
    .await;
    api.admin("POST", "/agents/a/scale", Some(json!({"replicas": 4})))
        .await;
    api.admin("POST", "/agents/a/stop", None).await;
    api.admin(
        "PATCH",
        "/agents/a",
        Some(json!({"metadata": {"labels": {"y": "2"}}, "spec": {"env": {"C": "3"}}})),
    )
    .await;

    api.applied("o", manifest(json!({"image": "a:2", "env": {"A": "1"}})))
        .await;
    let agent = api.agent("a").await;
    assert_eq!(agent.spec.image.as_deref(), Some("a:2"));
    assert_eq!(
        agent.spec.replicas.0, 4,
        "what the manifest does not name is kept"
    );
    assert_eq!(agent.spec.state, DesiredState::Stopped);
    assert_eq!(agent.spec.env.keys().collect::<Vec<_>>(), ["A", "C"]);
    assert_eq!(
        agent.spec.user, "",
        "what it no longer names is back to its default"
    );
    assert_eq!(agent.metadata.labels.keys().collect::<Vec<_>>(), ["x", "y"]);

    api.applied(
        "o",
        manifest(json!({"image": "a:2", "env": {"A": "1"}, "replicas": 1})),
    )
    .await;
    assert_eq!(
        api.agent("a").await.spec.replicas.0,
        1,
        "a default that is named counts"
    );
    api.admin("POST", "/agents/a/scale", Some(json!({"replicas": 3})))
        .await;
    api.applied(
        "o",
        manifest(json!({"image": "a:2", "env": {"A": "1"}, "replicas": 1})),
    )
    .await;
    assert_eq!(api.agent("a").await.spec.replicas.0, 1);
}

#[tokio::test]
async fn a_dry_run_tells_and_changes_nothing() {
    let api = Api::new();
    api.applied("mesh", mesh()).await;
    let before = api.everything().await;
    let agents = json!([{"name": "auth", "spec": {"image": "auth:2", "env": {"REDIS_URL": "***"}}}, {"name": "new", "spec": {}}]);
    let answer = apply(
        &api,
        json!({"owner": "mesh", "agents": agents, "prune": true, "dryRun": true}),
    )
    .await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let body = answer.json();
    assert_eq!(body["dryRun"], true);
    assert_eq!(
        outcomes(&body),
        words(&[
            ("auth", "configured"),
            ("new", "created"),
            ("gateway", "pruned"),
            ("users", "pruned")
        ])
    );
    assert_eq!(body["results"][0]["after"]["spec"]["image"], "auth:2");
    assert_eq!(body["results"][0]["replacesContainers"], true);
    assert_eq!(
        body["results"][0]["before"]["spec"]["env"]["REDIS_URL"],
        "***"
    );
    assert_eq!(api.everything().await, before);
}

#[tokio::test]
async fn an_agent_of_another_owner_is_a_conflict_that_names_it_unless_forced() {
    let api = Api::new();
    api.applied(
        "shop",
        json!([{"name": "auth", "spec": {"image": "auth:1"}}]),
    )
    .await;
    let before = api.everything().await;
    let agents =
        json!([{"name": "new", "spec": {}}, {"name": "auth", "spec": {"image": "auth:2"}}]);
    let refused = apply(&api, json!({"owner": "blog", "agents": agents})).await;
    assert_eq!(
        (refused.status, refused.word().as_str()),
        (StatusCode::CONFLICT, "owned-by-another")
    );
    assert!(
        refused.text.contains("'auth' belongs to 'shop'") && refused.text.contains("--force"),
        "{}",
        refused.text
    );
    assert_eq!(api.everything().await, before);
    let forced = apply(
        &api,
        json!({"owner": "blog", "agents": agents, "force": true}),
    )
    .await;
    assert_eq!(forced.status, 200, "{}", forced.text);
    assert_eq!(api.agent("auth").await.metadata.owner, "blog");
    assert!(forced.text.contains("taken over from 'shop'"));
}

#[tokio::test]
async fn a_prune_takes_this_owners_agents_alone() {
    let api = Api::new();
    api.applied("mesh", mesh()).await;
    api.applied("other", json!([{"name": "stranger", "spec": {}}]))
        .await;
    let answer = apply(
        &api,
        json!({"owner": "mesh", "agents": [mesh()[0], mesh()[1]], "prune": true}),
    )
    .await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(
        outcomes(&answer.json()),
        words(&[
            ("gateway", "unchanged"),
            ("auth", "unchanged"),
            ("users", "pruned")
        ])
    );
    assert!(
        api.agent("users")
            .await
            .metadata
            .deletion_timestamp
            .is_some()
    );
    assert!(
        api.agent("stranger")
            .await
            .metadata
            .deletion_timestamp
            .is_none()
    );
    assert!(
        answer
            .text
            .contains("env UPSTREAM_SERVICES names no agent 'users'"),
        "{}",
        answer.text
    );
}

#[tokio::test]
async fn law_8_a_prune_of_most_of_the_agents_needs_force() {
    let api = Api::new();
    let all: Vec<Value> = (0..7)
        .map(|n| json!({"name": format!("a{n}"), "spec": {}}))
        .collect();
    api.applied("o", json!(all)).await;
    let before = api.everything().await;
    let few = json!({"owner": "o", "agents": [all[0], all[1], all[2]], "prune": true});
    let refused = apply(&api, few.clone()).await;
    assert_eq!(
        (refused.status, refused.word().as_str()),
        (StatusCode::CONFLICT, "large-prune")
    );
    assert!(refused.text.contains("4 of the 7"), "{}", refused.text);
    assert_eq!(api.everything().await, before);
    let half = json!({"owner": "o", "agents": [all[0], all[1], all[2], all[3]], "prune": true});
    assert_eq!(apply(&api, half).await.status, 200);
    let mut forced = json!({"owner": "o", "agents": [], "prune": true});
    forced["force"] = json!(true);
    assert_eq!(apply(&api, forced).await.status, 200);
    assert!(
        api.everything()
            .await
            .iter()
            .all(|agent| agent.metadata.deletion_timestamp.is_some())
    );
}

#[tokio::test]
async fn dangling_names_are_warnings_with_a_suggestion() {
    let api = Api::new();
    let agents = json!([
        {"name": "auth", "spec": {}},
        {"name": "users", "spec": {"env": {"AUTH": "http://atuh:8000"}, "dependsOn": ["nobody"]}},
    ]);
    let answer = api.applied("o", agents).await;
    let warnings = answer["results"][1]["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(
        warnings[0]
            .as_str()
            .unwrap()
            .contains("did you mean 'auth'?")
    );
    assert!(warnings[1].as_str().unwrap().contains("waits"));
}

#[tokio::test(start_paused = true)]
async fn what_stays_as_it_is_is_answered_for_when_it_was_looked_at() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    let looked = Arc::new(AtomicBool::new(true));
    let answer = Arc::clone(&looked);
    let api = Api::with(|state| {
        state.looked_at = Arc::new(move |_| answer.load(Ordering::SeqCst));
    });
    api.applied("mesh", mesh()).await;
    // A server that has just begun.
    looked.store(false, Ordering::SeqCst);
    let later = Arc::clone(&looked);
    tokio::spawn(async move {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        later.store(true, Ordering::SeqCst);
    });
    let began = tokio::time::Instant::now();
    api.applied("mesh", mesh()).await;
    assert!(began.elapsed().as_secs() >= 1, "{:?}", began.elapsed());
    looked.store(false, Ordering::SeqCst);
    let began = tokio::time::Instant::now();
    api.applied("mesh", mesh()).await;
    assert!(began.elapsed().as_secs() < 30, "and not for ever");
}

#[tokio::test]
async fn law_4_an_agent_is_not_called_like_anothers_instance() {
    let api = Api::new();
    api.applied("mesh", mesh()).await;
    let body = json!({"owner": "mesh", "agents": [{"name": "users-0-1", "spec": {}}]});
    let answer = apply(&api, body).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let text = answer.json().to_string();
    assert!(text.contains("an instance of 'users'"), "{text}");
}
