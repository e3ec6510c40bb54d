//! `/health`, `/ready`, `/version`, `/metrics`.

use std::sync::Arc;
use std::time::Duration;

use agentainer::agent::Condition;
use agentainer::agent::status::ConditionStatus;
use agentainer::redis_link::LinkError;
use agentainer::store::StoreError;
use http::StatusCode;

use crate::fake_store::Fault;
use crate::harness::{Api, request, viewer};

#[tokio::test]
async fn the_living_say_so_to_anybody() {
    let api = Api::new();
    let answer = api.send(request("GET", "/health", None, None)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["status"], "healthy");
    let version = api
        .send(request("GET", "/version", None, None))
        .await
        .json();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
}

#[tokio::test(start_paused = true)]
async fn ready_means_that_redis_and_docker_answer() {
    let api = Api::with(|state| {
        state.host_conditions = Arc::new(|| {
            vec![Condition {
                kind: "Listening".into(),
                status: ConditionStatus::False,
                reason: "NoGateway".into(),
                message: "there is no network yet".into(),
                last_transition_time: agentainer::clock::now(),
                last_lines: Vec::new(),
            }]
        });
    });
    let ask = async || {
        tokio::time::advance(Duration::from_secs(2)).await;
        api.send(request("GET", "/ready", None, None)).await
    };
    let well = ask().await;
    assert_eq!(
        (well.status, &well.json()["status"]),
        (StatusCode::OK, &"ready".into())
    );
    assert_eq!(well.json()["conditions"][2]["reason"], "NoGateway");

    api.engine.set(|state| state.away = true);
    let away = ask().await;
    assert_eq!(away.status, StatusCode::SERVICE_UNAVAILABLE);
    let body = away.json();
    assert_eq!(
        (
            &body["conditions"][0]["status"],
            &body["conditions"][1]["status"]
        ),
        (&"True".into(), &"False".into())
    );
    assert!(
        body["conditions"][1]["message"]
            .as_str()
            .unwrap()
            .contains("Docker cannot be reached")
    );
    assert_eq!(
        ask().await.json()["conditions"][1]["lastTransitionTime"],
        body["conditions"][1]["lastTransitionTime"]
    );

    api.engine.set(|state| state.away = false);
    api.store.on_call(|call| {
        (call == "ping").then(|| {
            Fault::Before(StoreError::Link(LinkError::Refused {
                call: "ping",
                message: "OOM".into(),
            }))
        })
    });
    let full = ask().await;
    assert_eq!(full.status, 503);
    assert_eq!(full.json()["conditions"][0]["status"], "False");
    api.store.heal();
    assert_eq!(ask().await.status, 200);
}

#[tokio::test]
async fn metrics_are_for_whoever_has_a_token_and_name_what_they_are() {
    let api = Api::with(|state| {
        state.metrics = Arc::new(|| "agentainer_leader 1\n# EOF\n".to_owned());
    });
    let nobody = api.send(request("GET", "/metrics", None, None)).await;
    assert_eq!(nobody.status, 401);
    let told = api.send(viewer("/metrics")).await;
    assert_eq!(told.status, 200);
    assert_eq!(
        told.header("content-type"),
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    assert!(told.text.starts_with("agentainer_leader 1"));
}
