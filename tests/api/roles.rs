//! Who may ask what, and what each sees.

use agentainer::agent::status::Phase;
use agentainer::keys::DEFAULT_TOKEN;
use agentainer::names::AgentName;
use agentainer::store::{AgentStore, Write};
use agentainer::tokens::{ServerKey, Tokens, random_admin_token};
use agentainer::wire::Listener;
use http::{HeaderValue, StatusCode};
use serde_json::json;

use crate::harness::{ADMIN, Api, a_stranger, request, via, viewer};

const SECRET: &str = "s3cret-value";

async fn two_agents() -> Api {
    let api = Api::new();
    let spec = json!({
        "image": "registry.example/private:1",
        "command": ["run", "--key=in-the-command"],
        "env": {"API_KEY": SECRET, "AUTH": "http://auth:8000"},
        "volumes": [{"name": "cache", "container": "/cache"}],
    });
    let agents = json!([
        {"name": "users", "labels": {"tier": "backend"}, "annotations": {"note": "an-annotation"}, "spec": spec},
        {"name": "auth", "spec": {"env": {"OTHER": "anothers-s3cret"}}},
    ]);
    api.applied("shop", agents).await;
    api.set_phase("users", Phase::Running).await;
    let users = api.agent("users").await;
    api.engine.add(&users, 0, 1, "a log line\n");
    api
}

/// Every operation, by what it demands. `Itself` is asked for the agent `users`.
const TABLE: &[(&str, &str, &str)] = &[
    ("GET", "/health", "public"),
    ("GET", "/ready", "public"),
    ("GET", "/version", "public"),
    ("GET", "/openapi.json", "public"),
    ("GET", "/metrics", "viewer"),
    ("GET", "/agents", "viewer"),
    ("GET", "/agents/users", "viewer"),
    ("GET", "/agents/users/logs", "itself"),
    ("GET", "/agents/users/events", "itself"),
    ("GET", "/events", "admin"),
    ("POST", "/apply", "admin"),
    ("POST", "/builds", "admin"),
    ("POST", "/recover", "admin"),
    ("POST", "/agents", "admin"),
    ("PUT", "/agents/users", "admin"),
    ("PATCH", "/agents/users", "admin"),
    ("POST", "/agents/users/start", "admin"),
    ("POST", "/agents/users/stop", "admin"),
    ("POST", "/agents/users/pause", "admin"),
    ("POST", "/agents/users/resume", "admin"),
    ("POST", "/agents/users/restart", "admin"),
    ("POST", "/agents/users/scale", "admin"),
    ("GET", "/agents/users/rollout", "viewer"),
    ("GET", "/agents/users/rollout/history", "itself"),
    ("POST", "/agents/users/rollout/undo", "admin"),
    ("POST", "/agents/users/rollout/restart", "admin"),
    ("POST", "/agents/users/rollout/pause", "admin"),
    ("POST", "/agents/users/rollout/resume", "admin"),
    ("DELETE", "/agents/users", "admin"),
    ("GET", "/agents/users/requests", "itself"),
    ("DELETE", "/agents/users/requests", "admin"),
    ("POST", "/agents/users/requests/requeue", "admin"),
    ("GET", "/agents/users/callback-key", "admin"),
    ("GET", "/agents/users/requests/{request}", "itself"),
    ("POST", "/agents/users/requests/{request}/replay", "admin"),
    ("POST", "/agents/users/requests/{request}/cancel", "admin"),
    ("GET", "/results/{capability}", "public"),
    ("DELETE", "/results/{capability}", "public"),
    ("GET", "/results/{capability}/answer", "public"),
    ("GET", "/results/{capability}/events", "public"),
];

#[tokio::test]
async fn law_7_each_role_may_ask_for_what_the_table_says_and_no_more() {
    let api = two_agents().await;
    let (own, other) = (api.token_of("users").await, api.token_of("auth").await);
    let before = api.everything().await;
    for (method, path, demands) in TABLE {
        for (who, token) in [
            ("nobody", None),
            ("stranger", Some("wrong".to_owned())),
            ("viewer", Some(DEFAULT_TOKEN.to_owned())),
            ("other", Some(other.clone())),
            ("own", Some(own.clone())),
            ("admin", Some(ADMIN.to_owned())),
        ] {
            let allowed = match (*demands, who) {
                ("public", _) | (_, "admin") => true,
                ("viewer", who) => !matches!(who, "nobody" | "stranger"),
                ("itself", who) => who == "own",
                _ => false,
            };
            // A write that an admin may do is refused for its missing body, or does nothing harmful here.
            if who == "admin" && *method != "GET" {
                continue;
            }
            let answer = api
                .send(request(method, path, token.as_deref(), None))
                .await;
            // There is no journal here: who may ask gets as far as that.
            if allowed && (path.contains("/requests") || path.contains("/results")) {
                assert_eq!(answer.word(), "journal-unavailable", "{who}: {path}");
                continue;
            }
            let expected = match who {
                _ if allowed => StatusCode::OK,
                "nobody" | "stranger" => StatusCode::UNAUTHORIZED,
                _ => StatusCode::FORBIDDEN,
            };
            assert_eq!(
                answer.status, expected,
                "{who}: {method} {path}: {}",
                answer.text
            );
            if expected == StatusCode::UNAUTHORIZED {
                assert!(answer.header("www-authenticate").starts_with("Bearer"));
                assert_eq!(answer.word(), "unauthorized");
            }
            if expected == StatusCode::FORBIDDEN {
                assert_eq!(answer.word(), "forbidden");
            }
        }
    }
    assert_eq!(api.everything().await, before);
}

#[tokio::test]
async fn the_table_names_every_operation_of_the_document() {
    let document = agentainer::api::openapi::document();
    let mut operations: Vec<(String, String)> = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            operations.push((method.to_uppercase(), path.replace("{id}", "users")));
        }
    }
    let mut table: Vec<(String, String)> = TABLE
        .iter()
        .map(|(method, path, _)| ((*method).into(), (*path).into()))
        .collect();
    operations.sort();
    table.sort();
    assert_eq!(operations, table);
}

#[tokio::test]
async fn law_7_a_viewer_sees_names_labels_status_and_no_values() {
    let api = two_agents().await;
    let other = api.token_of("auth").await;
    for token in [DEFAULT_TOKEN, &other] {
        for path in ["/agents", "/agents/users"] {
            let answer = api.send(request("GET", path, Some(token), None)).await;
            assert_eq!(answer.status, 200);
            for hidden in [
                SECRET,
                "in-the-command",
                "an-annotation",
                "registry.example",
                "/cache",
                "http://auth",
            ] {
                assert!(
                    !answer.text.contains(hidden),
                    "{path}: {hidden} is in {}",
                    answer.text
                );
            }
            for shown in ["users", "backend", "Running", "API_KEY"] {
                assert!(
                    answer.text.contains(shown),
                    "{path}: {shown} is not in {}",
                    answer.text
                );
            }
        }
    }
    let agent = api.send(viewer("/agents/users")).await.json();
    assert_eq!(
        agent["spec"]["env"],
        json!({"API_KEY": "***", "AUTH": "***"})
    );
    assert_eq!(
        api.send(viewer("/agents/users?reveal=env")).await.status,
        403
    );
    assert_eq!(api.send(viewer("/agents?reveal=env")).await.status, 403);
}

#[tokio::test]
async fn law_7_an_agent_sees_itself_whole_and_others_as_a_viewer() {
    let api = two_agents().await;
    let own = api.token_of("users").await;
    let me = api
        .send(request("GET", "/agents/users", Some(&own), None))
        .await
        .json();
    assert_eq!(me["spec"]["env"]["API_KEY"], SECRET);
    assert_eq!(me["metadata"]["annotations"]["note"], "an-annotation");
    for path in [
        "/agents",
        "/agents?reveal=env",
        "/agents/auth",
        "/agents/auth?reveal=env",
    ] {
        let list = api.send(request("GET", path, Some(&own), None)).await;
        assert!(
            !list.text.contains("anothers-s3cret"),
            "{path}: {}",
            list.text
        );
    }
    let logs = api
        .send(request("GET", "/agents/users/logs", Some(&own), None))
        .await;
    assert_eq!(logs.text, "a log line\n");
    assert_eq!(
        api.send(request("GET", "/agents/auth/logs", Some(&own), None))
            .await
            .status,
        403
    );
}

#[tokio::test]
async fn an_admin_sees_values_when_it_asks_for_them() {
    let api = two_agents().await;
    assert_eq!(
        api.get("/agents/users").await.json()["spec"]["env"]["API_KEY"],
        "***"
    );
    assert_eq!(
        api.get("/agents/users?reveal=env").await.json()["spec"]["env"]["API_KEY"],
        SECRET
    );
    assert!(!api.get("/agents").await.text.contains(SECRET));
    assert!(api.get("/agents?reveal=env").await.text.contains(SECRET));
    assert_eq!(api.get("/agents/users?reveal=all").await.status, 400);
}

#[tokio::test]
async fn law_7_the_well_known_token_is_good_on_loopback_and_gateway_alone() {
    let api = two_agents().await;
    for (listener, status) in [
        (Some(Listener::Loopback), 200),
        (Some(Listener::Gateway), 200),
        (Some(Listener::Extra), 401),
        (None, 401),
    ] {
        let mut request = viewer("/agents");
        request.extensions_mut().clear();
        if let Some(listener) = listener {
            request.extensions_mut().insert(via(listener));
        }
        assert_eq!(api.send(request).await.status, status, "{listener:?}");
        let mut request = request_of_admin();
        request.extensions_mut().insert(via(Listener::Extra));
        assert_eq!(api.send(request).await.status, 200);
    }
    let off = Api::with(|state| {
        state.tokens = Tokens::new(ServerKey::random(), &random_admin_token(), false).into();
    });
    assert_eq!(off.send(viewer("/agents")).await.status, 401);
}

fn request_of_admin() -> http::Request<axum::body::Body> {
    request("GET", "/agents", Some(ADMIN), None)
}

#[tokio::test]
async fn law_7_a_token_dies_with_the_life_of_its_agent() {
    let api = two_agents().await;
    let token = api.token_of("users").await;
    let agent = api.agent("users").await;
    let ask = async || {
        api.send(request("GET", "/agents", Some(&token), None))
            .await
            .status
    };
    assert_eq!(ask().await, 200);
    api.admin("DELETE", "/agents/users", None).await;
    assert_eq!(ask().await, 200, "it still runs");
    let finalize = Write::Finalize {
        name: AgentName::new("users").unwrap(),
        uid: agent.metadata.uid,
        at: agentainer::clock::now(),
    };
    api.store.commit(&[finalize]).await.unwrap();
    assert_eq!(ask().await, 401);
}

#[tokio::test]
async fn law_7_another_clusters_agent_is_a_stranger() {
    let api = two_agents().await;
    let foreign = a_stranger(&ServerKey::random());
    assert_eq!(
        api.send(request("GET", "/agents", Some(&foreign), None))
            .await
            .status,
        401
    );
}

#[tokio::test]
async fn law_7_two_tokens_at_once_and_other_schemes_are_refused() {
    let api = two_agents().await;
    let mut two = request("GET", "/agents", Some(DEFAULT_TOKEN), None);
    two.headers_mut().append(
        "authorization",
        HeaderValue::from_str(&format!("Bearer {ADMIN}")).unwrap(),
    );
    assert_eq!(api.send(two).await.status, 401);
    for text in [
        ADMIN.to_owned(),
        format!("Basic {ADMIN}"),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
    ] {
        let mut odd = request("GET", "/agents", None, None);
        odd.headers_mut()
            .insert("authorization", HeaderValue::from_str(&text).unwrap());
        assert_eq!(api.send(odd).await.status, 401, "{text}");
    }
    let in_query = request("GET", &format!("/agents?token={ADMIN}"), None, None);
    assert_eq!(api.send(in_query).await.status, 401);
}
