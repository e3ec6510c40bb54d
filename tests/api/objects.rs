//! List, get, create, replace, patch, delete and the verbs: statuses, versions, and that a refusal changes nothing.

use agentainer::agent::Phase;
use agentainer::agent::spec::DesiredState;
use agentainer::keys::{FINALIZER, RESTARTED_AT};
use agentainer::store::StoreError;
use http::StatusCode;
use serde_json::{Value, json};

use crate::fake_store::Fault;
use crate::harness::{ADMIN, Api, request};

async fn with_users() -> Api {
    let api = Api::new();
    api.applied(
        "shop",
        json!([{"name": "users", "labels": {"tier": "backend"}, "spec": {"image": "users:1", "env": {"A": "one", "KEY": "s3cret"}}}]),
    )
    .await;
    api
}

#[tokio::test]
async fn an_agent_shows_desired_beside_actual() {
    let api = with_users().await;
    api.set_phase("users", Phase::Running).await;
    let answer = api.get("/agents/users").await;
    assert_eq!(answer.status, StatusCode::OK);
    let agent = answer.json();
    assert_eq!(agent["apiVersion"], "agentainer.dev/v1");
    assert_eq!(agent["kind"], "Agent");
    assert_eq!(agent["metadata"]["owner"], "shop");
    assert_eq!(agent["metadata"]["finalizers"], json!([FINALIZER]));
    assert_eq!(agent["spec"]["image"], "users:1");
    assert_eq!(agent["status"]["phase"], "Running");
    assert_eq!(
        answer.header("etag"),
        format!(
            "{:?}",
            agent["metadata"]["resourceVersion"].as_str().unwrap()
        )
    );
}

#[tokio::test]
async fn an_unknown_agent_is_a_404_that_names_the_nearest() {
    let api = with_users().await;
    for (path, hint) in [
        ("/agents/usres", "did you mean 'users'?"),
        ("/agents/Not_A_Name", "get agents"),
        ("/agents/%ff", ""),
    ] {
        let answer = api.get(path).await;
        assert!(
            answer.status == 404 || path.ends_with("%ff") && answer.status == 400,
            "{path}: {answer:?}"
        );
        assert!(answer.text.contains(hint), "{path}: {}", answer.text);
    }
    assert_eq!(api.get("/agents/usres").await.word(), "agent-not-found");
    assert_eq!(api.get("/agents/usres").await.json()["agent"], "usres");
}

#[tokio::test]
async fn the_list_can_be_narrowed_by_label_and_owner() {
    let api = with_users().await;
    api.applied("other", json!([{"name": "auth", "spec": {}}]))
        .await;
    for (query, expected) in [
        ("", vec!["auth", "users"]),
        ("?labelSelector=tier%3Dbackend", vec!["users"]),
        ("?labelSelector=tier!%3Dbackend", vec!["auth"]),
        ("?labelSelector=tier", vec!["users"]),
        ("?labelSelector=!tier", vec!["auth"]),
        ("?labelSelector=tier%3D%3Dbackend,!x", vec!["users"]),
        ("?owner=other", vec!["auth"]),
        ("?owner=other&labelSelector=tier", vec![]),
    ] {
        let list = api.get(&format!("/agents{query}")).await.json();
        let names: Vec<&str> = list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|agent| agent["metadata"]["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, expected, "{query}");
        assert_eq!(list["kind"], "AgentList");
        assert!(list["metadata"]["resourceVersion"].is_string());
    }
    assert_eq!(api.get("/agents?labelSelector=a%20b").await.status, 400);
}

#[tokio::test]
async fn an_agent_is_made_once() {
    let api = Api::new();
    let body = json!({"apiVersion": "agentainer.dev/v1", "kind": "Agent", "metadata": {"name": "solo"}, "spec": {"image": "solo:1"}});
    let answer = api.admin("POST", "/agents", Some(body.clone())).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    assert_eq!(answer.header("location"), "/agents/solo");
    let agent = answer.json();
    assert_eq!(agent["metadata"]["generation"], 1);
    assert_eq!(agent["metadata"]["owner"], "default");
    let again = api.admin("POST", "/agents", Some(body)).await;
    assert_eq!(
        (again.status, again.word().as_str()),
        (StatusCode::CONFLICT, "already-exists")
    );
    let nameless = api
        .admin("POST", "/agents", Some(json!({"spec": {}})))
        .await;
    assert_eq!(nameless.status, 400);
}

#[tokio::test]
async fn what_was_read_can_be_written_back_and_changes_nothing() {
    let api = with_users().await;
    let before = api.everything().await;
    let read = api.get("/agents/users").await.json();
    assert_eq!(read["spec"]["env"]["KEY"], "***");
    let answer = api.admin("PUT", "/agents/users", Some(read)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(
        api.everything().await,
        before,
        "masks stand for what is there"
    );
}

#[tokio::test]
async fn a_replacement_puts_unnamed_fields_back_to_their_defaults() {
    let api = with_users().await;
    let answer = api
        .admin(
            "PUT",
            "/agents/users",
            Some(json!({"spec": {"replicas": 2, "env": {"A": "***"}}})),
        )
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let agent = api.agent("users").await;
    assert_eq!(agent.spec.image, None);
    assert_eq!(agent.spec.env["A"].as_str(), "one");
    assert_eq!(agent.spec.env.len(), 1);
    assert_eq!(agent.metadata.generation, 2);
    assert!(agent.metadata.labels.is_empty());
    assert_eq!(agent.metadata.owner, "shop");
}

#[tokio::test]
async fn a_put_of_an_unknown_agent_makes_it_unless_it_names_a_version() {
    let api = Api::new();
    let versioned = json!({"metadata": {"resourceVersion": "7"}, "spec": {}});
    assert_eq!(
        api.admin("PUT", "/agents/new", Some(versioned))
            .await
            .status,
        404
    );
    let other = json!({"metadata": {"name": "old"}, "spec": {}});
    assert_eq!(
        api.admin("PUT", "/agents/new", Some(other)).await.status,
        400
    );
    assert_eq!(
        api.admin("PUT", "/agents/Bad_Name", Some(json!({"spec": {}})))
            .await
            .status,
        400
    );
    assert!(api.everything().await.is_empty());
    assert_eq!(
        api.admin("PUT", "/agents/new", Some(json!({"spec": {}})))
            .await
            .status,
        201
    );
    let mut only_new = request("PUT", "/agents/new", Some(ADMIN), Some(json!({"spec": {}})));
    only_new
        .headers_mut()
        .insert("if-none-match", "*".parse().unwrap());
    assert_eq!(api.send(only_new).await.status, 409);
}

#[tokio::test]
async fn a_stale_version_is_a_409_and_nothing_changes() {
    let api = with_users().await;
    let stale = api
        .agent("users")
        .await
        .metadata
        .resource_version
        .to_string();
    api.admin("POST", "/agents/users/scale", Some(json!({"replicas": 2})))
        .await;
    let before = api.everything().await;
    let body = json!({"metadata": {"resourceVersion": stale}, "spec": {"replicas": 5}});
    let put = api.admin("PUT", "/agents/users", Some(body.clone())).await;
    assert_eq!(
        (put.status, put.word().as_str()),
        (StatusCode::CONFLICT, "conflict")
    );
    let patch = api.admin("PATCH", "/agents/users", Some(body)).await;
    assert_eq!(patch.status, 409);
    for (method, path) in [
        ("PUT", "/agents/users"),
        ("PATCH", "/agents/users"),
        ("DELETE", "/agents/users"),
        ("POST", "/agents/users/stop"),
    ] {
        let body = matches!(method, "PUT" | "PATCH").then(|| json!({"spec": {}}));
        let mut with_header = request(method, path, Some(ADMIN), body);
        with_header
            .headers_mut()
            .insert("if-match", format!("\"{stale}\"").parse().unwrap());
        assert_eq!(api.send(with_header).await.status, 409, "{method} {path}");
    }
    let other_life = json!({"metadata": {"uid": "another"}, "spec": {}});
    assert_eq!(
        api.admin("PUT", "/agents/users", Some(other_life))
            .await
            .status,
        409
    );
    assert_eq!(api.everything().await, before);
}

#[tokio::test]
async fn a_patch_changes_what_it_names_and_null_takes_away() {
    let api = with_users().await;
    let patch = json!({"metadata": {"labels": {"tier": null, "a": "b"}}, "spec": {"replicas": 3, "env": {"KEY": null, "NEW": 7}}});
    let mut merge = request("PATCH", "/agents/users", Some(ADMIN), Some(patch));
    merge.headers_mut().insert(
        "content-type",
        "application/merge-patch+json; charset=utf-8"
            .parse()
            .unwrap(),
    );
    let answer = api.send(merge).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let agent = api.agent("users").await;
    assert_eq!(agent.spec.replicas.0, 3);
    assert_eq!(agent.spec.image.as_deref(), Some("users:1"));
    let env: Vec<(&str, &str)> = agent
        .spec
        .env
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(env, [("A", "one"), ("NEW", "7")]);
    assert_eq!(agent.metadata.labels.keys().collect::<Vec<_>>(), ["a"]);
    assert_eq!(agent.metadata.generation, 2);
}

#[tokio::test]
async fn labels_alone_move_no_generation() {
    let api = with_users().await;
    api.admin(
        "PATCH",
        "/agents/users",
        Some(json!({"metadata": {"labels": {"x": "y"}}})),
    )
    .await;
    assert_eq!(api.agent("users").await.metadata.generation, 1);
}

#[tokio::test]
async fn wrong_fields_are_named_all_at_once_and_nothing_changes() {
    let api = with_users().await;
    let before = api.everything().await;
    for (method, path, body, expected) in [
        (
            "PUT",
            "/agents/users",
            json!({"spec": {"replcias": 2}}),
            vec!["replicas"],
        ),
        (
            "PUT",
            "/agents/users",
            json!({"spce": {}}),
            vec!["spce", "did you mean 'spec'?"],
        ),
        (
            "PUT",
            "/agents/users",
            json!({"spec": {"replicas": -1, "port": "x"}}),
            vec!["spec.replicas", "spec.port"],
        ),
        (
            "PUT",
            "/agents/users",
            json!({"spec": {"env": {"NONE": "***"}}}),
            vec!["spec.env.NONE"],
        ),
        (
            "PUT",
            "/agents/users",
            json!({"spec": {"build": "./x"}}),
            vec!["spec.build"],
        ),
        (
            "PUT",
            "/agents/users",
            json!({"kind": "Pod", "spec": {}}),
            vec!["kind"],
        ),
        (
            "PUT",
            "/agents/users",
            json!({"metadata": {"name": "other"}, "spec": {}}),
            vec!["metadata.name"],
        ),
        (
            "PUT",
            "/agents/users",
            json!({"metadata": {"owner": "other"}, "spec": {}}),
            vec!["metadata.owner", "--force"],
        ),
        (
            "PATCH",
            "/agents/users",
            json!({"spec": {"replicas": 1000}}),
            vec!["spec.replicas"],
        ),
        (
            "PATCH",
            "/agents/users",
            json!({"spec": {"dependsOn": ["users"]}}),
            vec!["spec.dependsOn"],
        ),
        ("PATCH", "/agents/users", json!([1]), vec!["object"]),
        (
            "PATCH",
            "/agents/users",
            json!({"metadata": {"name": "x"}}),
            vec!["metadata.name"],
        ),
        (
            "POST",
            "/agents/users/scale",
            json!({"replicas": 101}),
            vec!["replicas"],
        ),
        ("POST", "/agents/users/scale", json!({}), vec!["replicas"]),
        (
            "POST",
            "/agents",
            json!({"metadata": {"name": "x", "owner": "a b"}}),
            vec!["metadata.owner"],
        ),
        (
            "POST",
            "/agents",
            json!({"metadata": {"name": "redis"}}),
            vec!["reserved"],
        ),
    ] {
        let answer = api.admin(method, path, Some(body.clone())).await;
        assert_eq!(
            answer.status, 400,
            "{method} {path} {body}: {}",
            answer.text
        );
        for text in expected {
            assert!(
                answer.text.contains(text),
                "{body}: {text} is not in {}",
                answer.text
            );
        }
    }
    assert_eq!(api.everything().await, before);
}

#[tokio::test]
async fn a_default_that_a_whole_object_carries_may_be_written_back() {
    let api = Api::new();
    api.applied("o", json!([{"name": "a", "spec": {"proxy": {"timeouts": {"connect": "1s"}}, "restart": {"delay": "2s"}}}])).await;
    let read = api.get("/agents/a").await.json();
    let answer = api.admin("PUT", "/agents/a", Some(read)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(
        api.admin("PATCH", "/agents/a", Some(json!({"spec": {"replicas": 2}})))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn the_verbs_change_the_spec_and_mean_what_docker_means() {
    let api = with_users().await;
    let post = async |verb: &str| {
        api.admin("POST", &format!("/agents/users/{verb}"), None)
            .await
    };
    let state = async || api.agent("users").await.spec.state;
    assert_eq!(post("pause").await.json()["spec"]["state"], "paused");
    post("resume").await;
    assert_eq!(state().await, DesiredState::Running);
    post("stop").await;
    assert_eq!(state().await, DesiredState::Stopped);
    for verb in ["pause", "resume"] {
        let refused = post(verb).await;
        assert_eq!(
            (refused.status, refused.word().as_str()),
            (StatusCode::CONFLICT, "stopped")
        );
        assert!(refused.text.contains("agentainer start users"));
    }
    let revision = api.agent("users").await.revision();
    assert_eq!(post("restart").await.status, 200);
    let agent = api.agent("users").await;
    assert_eq!(agent.spec.state, DesiredState::Running);
    assert!(agent.metadata.annotations.contains_key(RESTARTED_AT));
    assert_ne!(agent.revision(), revision);
    let version = agent.metadata.resource_version;
    assert_eq!(post("start").await.status, 200);
    assert_eq!(
        api.agent("users").await.metadata.resource_version,
        version,
        "nothing to do"
    );
    let scaled = api
        .admin("POST", "/agents/users/scale", Some(json!({"replicas": 0})))
        .await;
    assert_eq!(scaled.status, 200, "{}", scaled.text);
    assert_eq!(api.agent("users").await.spec.replicas.0, 0);
    assert_eq!(
        api.admin("POST", "/agents/nobody/stop", None).await.status,
        404
    );
}

#[tokio::test]
async fn a_verb_takes_no_body() {
    let api = with_users().await;
    assert_eq!(
        api.admin("POST", "/agents/users/stop", Some(json!({"force": true})))
            .await
            .status,
        400
    );
    assert_eq!(
        api.admin("POST", "/agents/users/stop", Some(json!({})))
            .await
            .status,
        200
    );
    let big = Value::from("x".repeat(10_000));
    assert_eq!(
        api.admin("POST", "/agents/users/start", Some(big))
            .await
            .status,
        413
    );
}

#[tokio::test]
async fn a_deletion_is_accepted_shown_and_final() {
    let api = with_users().await;
    let answer = api.admin("DELETE", "/agents/users", None).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert!(answer.json()["metadata"]["deletionTimestamp"].is_string());
    let at = api.agent("users").await.metadata.deletion_timestamp;
    assert!(at.is_some());
    assert_eq!(
        api.admin("DELETE", "/agents/users", None).await.status,
        202,
        "asking twice is the same"
    );
    assert_eq!(api.agent("users").await.metadata.deletion_timestamp, at);
    for (method, path, body) in [
        ("PUT", "/agents/users", Some(json!({"spec": {}}))),
        ("PATCH", "/agents/users", Some(json!({"spec": {}}))),
        ("POST", "/agents/users/start", None),
        (
            "POST",
            "/apply",
            Some(json!({"owner": "shop", "agents": [{"name": "users", "spec": {}}]})),
        ),
    ] {
        let refused = api.admin(method, path, body).await;
        assert_eq!(
            (refused.status, refused.word().as_str()),
            (StatusCode::CONFLICT, "being-deleted"),
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn somebody_quicker_makes_a_change_begin_again() {
    let api = with_users().await;
    let mut left = 3;
    api.store.on_call(move |call| {
        let name = agentainer::names::AgentName::new("users").unwrap();
        (call == "commit" && left > 0).then(|| {
            left -= 1;
            Fault::Before(StoreError::Conflict { name, actual: None })
        })
    });
    assert_eq!(
        api.admin("POST", "/agents/users/stop", None).await.status,
        200
    );
    api.store.on_call(move |call| {
        let name = agentainer::names::AgentName::new("users").unwrap();
        (call == "commit").then_some(Fault::Before(StoreError::Conflict { name, actual: None }))
    });
    for (method, path, body) in [
        ("POST", "/agents/users/start", None),
        ("DELETE", "/agents/users", None),
        (
            "POST",
            "/apply",
            Some(json!({"owner": "shop", "agents": []})),
        ),
    ] {
        let refused = api.admin(method, path, body).await;
        assert_eq!(
            (refused.status, refused.word().as_str()),
            (StatusCode::CONFLICT, "conflict"),
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn a_replacement_of_the_spec_undoes_no_restart() {
    let api = with_users().await;
    api.admin("POST", "/agents/users/restart", None).await;
    let before = api.agent("users").await;
    let body =
        json!({"spec": {"image": "users:1", "env": {"A": "***", "KEY": "***"}, "replicas": 2}});
    assert_eq!(
        api.admin("PUT", "/agents/users", Some(body)).await.status,
        200
    );
    let after = api.agent("users").await;
    assert_eq!(
        after.revision(),
        before.revision(),
        "no container is replaced"
    );
    assert_eq!(after.spec.replicas.0, 2);
}
