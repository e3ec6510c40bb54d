//! `GET /agents?watch=true`.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use agentainer::agent::Phase;
use agentainer::keys::DEFAULT_TOKEN;
use agentainer::names::AgentName;
use agentainer::redis_link::LinkError;
use agentainer::store::{AgentStore, StoreError, Write};
use axum::body::Body;
use http::StatusCode;
use serde_json::{Value, json};

use crate::fake_store::Fault;
use crate::harness::{ADMIN, Api, first_pieces, request};

async fn open(api: &Api, query: &str) -> http::Response<Body> {
    let answer = api
        .raw(request(
            "GET",
            &format!("/agents?watch=true{query}"),
            Some(ADMIN),
            None,
        ))
        .await;
    assert_eq!(answer.status(), StatusCode::OK);
    answer
}

async fn lines(answer: http::Response<Body>, count: usize) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let pieces = first_pieces(answer, count).await;
    pieces
        .iter()
        .map(|piece| serde_json::from_str::<Value>(piece).unwrap())
        .map(|line| (text(&line["type"]), text(&line["name"])))
        .collect()
}

fn words<'a>(pairs: &[(&'a str, &'a str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
        .collect()
}

async fn gone(api: &Api, name: &str) {
    let agent = api.agent(name).await;
    api.admin("DELETE", &format!("/agents/{name}"), None).await;
    let finalize = Write::Finalize {
        name: AgentName::new(name).unwrap(),
        uid: agent.metadata.uid,
        at: agentainer::clock::now(),
    };
    api.store.commit(&[finalize]).await.unwrap();
}

#[tokio::test]
async fn a_watch_begins_with_the_list_and_tells_each_change() {
    let api = Api::new();
    api.applied("o", json!([{"name": "a", "spec": {}}])).await;
    let answer = open(&api, "").await;
    assert_eq!(answer.headers()["content-type"], "application/x-ndjson");
    let mut pieces = answer.into_body().into_data_stream();
    let mut next = async || {
        let piece = futures::StreamExt::next(&mut pieces)
            .await
            .unwrap()
            .unwrap();
        let line: Value = serde_json::from_slice(&piece).unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        format!("{} {}", text(&line["type"]), text(&line["name"]))
    };
    assert_eq!([next().await, next().await], ["ADDED a", "BOOKMARK "]);
    api.applied("o", json!([{"name": "b", "spec": {}}])).await;
    assert_eq!(next().await, "ADDED b");
    api.admin("POST", "/agents/a/stop", None).await;
    assert_eq!(next().await, "MODIFIED a");
    api.set_phase("a", Phase::Stopped).await;
    assert_eq!(next().await, "MODIFIED a");
    api.admin("DELETE", "/agents/b", None).await;
    assert_eq!(next().await, "MODIFIED b");
    gone(&api, "b").await;
    assert_eq!(next().await, "DELETED b");
    api.applied("o", json!([{"name": "b", "spec": {}}])).await;
    assert_eq!(next().await, "ADDED b", "another life");
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_server_said_is_marked_and_told_again_when_it_was_looked_at() {
    let looked = Arc::new(AtomicBool::new(false));
    let api = Api::with(|state| {
        let looked = Arc::clone(&looked);
        state.looked_at = Arc::new(move |name| name.as_str() != "a" || looked.load(Relaxed));
    });
    api.applied(
        "o",
        json!([{"name": "a", "spec": {}}, {"name": "b", "spec": {}}]),
    )
    .await;
    let mut pieces = open(&api, "").await.into_body().into_data_stream();
    let mut next = async || {
        let piece = futures::StreamExt::next(&mut pieces)
            .await
            .unwrap()
            .unwrap();
        let line: Value = serde_json::from_slice(&piece).unwrap();
        let unconfirmed = line["unconfirmed"] == json!(true);
        let (kind, name) = (line["type"].as_str(), line["name"].as_str());
        let words = format!("{} {}", kind.unwrap(), name.unwrap_or_default());
        (words, unconfirmed)
    };
    let line = |words: &str, unconfirmed| (words.to_owned(), unconfirmed);
    assert_eq!(next().await, line("ADDED a", true));
    assert_eq!(next().await, line("ADDED b", false));
    assert_eq!(next().await, line("BOOKMARK ", false));
    api.set_phase("a", Phase::Degraded).await;
    assert_eq!(next().await, line("MODIFIED a", true), "still nobody did");
    assert_eq!(next().await, line("BOOKMARK ", false), "it is alive");
    // Nothing changed by the look.
    looked.store(true, Relaxed);
    assert_eq!(next().await, line("MODIFIED a", false));
    assert_eq!(next().await, line("BOOKMARK ", false), "and that once");
}

#[tokio::test]
async fn a_watch_resumes_where_it_was_and_says_what_went_meanwhile() {
    let api = Api::new();
    api.applied(
        "o",
        json!([{"name": "a", "spec": {}}, {"name": "b", "spec": {}}]),
    )
    .await;
    let position = api.get("/agents").await.json()["metadata"]["resourceVersion"]
        .as_str()
        .unwrap()
        .to_owned();
    gone(&api, "b").await;
    api.applied("o", json!([{"name": "c", "spec": {}}])).await;
    api.admin("POST", "/agents/a/stop", None).await;
    let told = lines(open(&api, &format!("&resourceVersion={position}")).await, 3).await;
    assert_eq!(
        told.last().unwrap(),
        &("ADDED".to_owned(), "c".to_owned()),
        "{told:?}"
    );
    assert!(
        told.contains(&("DELETED".to_owned(), "b".to_owned())),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_position_that_is_gone_is_a_410() {
    let api = Api::new();
    api.applied("o", json!([{"name": "a", "spec": {}}])).await;
    for query in ["resourceVersion=99999", "resourceVersion=99999&owner=o"] {
        let answer = api.get(&format!("/agents?watch=true&{query}")).await;
        assert_eq!(
            (answer.status, answer.word().as_str()),
            (StatusCode::GONE, "expired")
        );
    }
    assert_eq!(
        api.get("/agents?watch=true&resourceVersion=x").await.status,
        400
    );
}

#[tokio::test]
async fn a_watch_by_label_says_deleted_when_the_label_goes() {
    let api = Api::new();
    api.applied(
        "o",
        json!([{"name": "a", "labels": {"x": "1"}, "spec": {}}, {"name": "b", "spec": {}}]),
    )
    .await;
    let answer = open(&api, "&labelSelector=x%3D1").await;
    api.admin("POST", "/agents/b/stop", None).await;
    api.admin(
        "PATCH",
        "/agents/a",
        Some(json!({"metadata": {"labels": {"x": null}}})),
    )
    .await;
    assert_eq!(
        lines(answer, 3).await,
        words(&[("ADDED", "a"), ("BOOKMARK", ""), ("DELETED", "a")])
    );
}

#[tokio::test]
async fn a_browser_gets_events_that_it_can_resume_from() {
    let api = Api::new();
    api.applied("o", json!([{"name": "a", "spec": {}}])).await;
    let mut request = request("GET", "/agents?watch=true", Some(ADMIN), None);
    request
        .headers_mut()
        .insert("accept", "text/event-stream".parse().unwrap());
    let answer = api.raw(request).await;
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let first = first_pieces(answer, 1).await.remove(0);
    let (id, data) = first.split_once('\n').unwrap();
    assert!(id.strip_prefix("id: ").unwrap().parse::<u64>().is_ok());
    assert!(
        data.starts_with("data: {") && data.ends_with("}\n\n"),
        "{data}"
    );

    let position = id.strip_prefix("id: ").unwrap().to_owned();
    api.admin("POST", "/agents/a/stop", None).await;
    let mut again = crate::harness::request("GET", "/agents?watch=true", Some(ADMIN), None);
    again
        .headers_mut()
        .insert("last-event-id", position.parse().unwrap());
    assert_eq!(
        lines(api.raw(again).await, 1).await,
        words(&[("MODIFIED", "a")])
    );
}

#[tokio::test(start_paused = true)]
async fn a_quiet_watch_says_that_it_lives_and_waits_for_a_store_that_is_away() {
    let api = Api::new();
    api.applied("o", json!([{"name": "a", "spec": {}}])).await;
    let answer = open(&api, "").await;
    api.store.on_call(|call| {
        (call == "next").then(|| {
            Fault::Before(StoreError::Link(LinkError::Refused {
                call: "read",
                message: "LOADING".into(),
            }))
        })
    });
    let store = api.store.clone();
    tokio::spawn(async move {
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        store.heal();
    });
    let mut pieces = answer.into_body().into_data_stream();
    let mut told = Vec::new();
    while told.len() < 3 {
        let piece = futures::StreamExt::next(&mut pieces)
            .await
            .unwrap()
            .unwrap();
        let line: Value = serde_json::from_slice(&piece).unwrap();
        told.push(line["type"].as_str().unwrap().to_owned());
    }
    assert_eq!(told, ["ADDED", "BOOKMARK", "BOOKMARK"]);
}

#[tokio::test]
async fn a_shutdown_ends_watches() {
    let token = tokio_util::sync::CancellationToken::new();
    let given = token.clone();
    let api = Api::with(move |state| state.shutdown = given);
    let answer = open(&api, "").await;
    token.cancel();
    let all = futures::StreamExt::collect::<Vec<_>>(answer.into_body().into_data_stream());
    tokio::time::timeout(std::time::Duration::from_secs(5), all)
        .await
        .unwrap();
}

#[tokio::test]
async fn law_7_a_viewer_watches_without_values() {
    let api = Api::new();
    api.applied(
        "o",
        json!([{"name": "a", "spec": {"env": {"KEY": "s3cret"}}}]),
    )
    .await;
    let answer = api
        .raw(request(
            "GET",
            "/agents?watch=true",
            Some(DEFAULT_TOKEN),
            None,
        ))
        .await;
    api.admin(
        "PATCH",
        "/agents/a",
        Some(json!({"spec": {"env": {"KEY": "s3cret-too"}}})),
    )
    .await;
    let told = first_pieces(answer, 3).await.concat();
    assert!(!told.contains("s3cret") && told.contains("KEY"), "{told}");
}
