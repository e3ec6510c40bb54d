//! Logs and events.

use agentainer::agent::{EventKind, EventRecord};
use agentainer::names::AgentName;
use agentainer::runtime::{LogChunk, LogQuery};
use agentainer::store::AgentStore;
use http::StatusCode;
use serde_json::json;

use crate::harness::{ADMIN, Api, request};

async fn with_two_instances() -> Api {
    let api = Api::new();
    api.applied("o", json!([{"name": "a", "spec": {"replicas": 2}}]))
        .await;
    let agent = api.agent("a").await;
    api.engine.add(
        &agent,
        0,
        1,
        "2026-01-01T00:00:01Z one\n2026-01-01T00:00:03Z three\n",
    );
    api.engine.add(&agent, 1, 1, "2026-01-01T00:00:02Z two\n");
    api
}

#[tokio::test]
async fn a_log_is_passed_on_as_it_was_written() {
    let api = Api::new();
    api.applied("o", json!([{"name": "a", "spec": {}}])).await;
    api.engine.add(&api.agent("a").await, 0, 1, "no line end");
    let answer = api
        .get("/agents/a/logs?tail=5&timestamps=true&since=2026-01-31T12:00:00Z&follow=true")
        .await;
    assert_eq!(
        (answer.status, answer.text.as_str()),
        (StatusCode::OK, "no line end")
    );
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    let asked = api.engine.ask(|state| state.asked_logs.clone());
    let expected = LogQuery {
        tail: Some(5),
        since: Some("2026-01-31T12:00:00Z".parse().unwrap()),
        follow: true,
        timestamps: true,
    };
    assert_eq!(asked, [expected]);
    assert_eq!(
        api.get("/agents/a/logs?since=10m&tail=all").await.status,
        200
    );
    for bad in ["since=yesterday", "tail=-1", "follow=x"] {
        assert_eq!(
            api.get(&format!("/agents/a/logs?{bad}")).await.status,
            400,
            "{bad}"
        );
    }
}

#[tokio::test]
async fn several_instances_are_told_apart() {
    let api = with_two_instances().await;
    assert_eq!(
        api.get("/agents/a/logs").await.text,
        "[a-0-1] one\n[a-1-1] two\n[a-0-1] three\n"
    );
    assert_eq!(
        api.get("/agents/a/logs?instance=1").await.text,
        "2026-01-01T00:00:02Z two\n"
    );
    assert!(
        api.get("/agents/a/logs?instance=a-0-1")
            .await
            .text
            .starts_with("2026-01-01T00:00:01Z one")
    );
    let missing = api.get("/agents/a/logs?instance=7").await;
    assert_eq!(
        (missing.status, missing.word().as_str()),
        (StatusCode::NOT_FOUND, "no-instance")
    );
    assert!(missing.text.contains("a-0-1, a-1-1"));
}

#[tokio::test]
async fn a_log_that_breaks_off_says_so() {
    let api = with_two_instances().await;
    let chunk = LogChunk {
        stderr: true,
        bytes: "2026-01-01T00:00:09Z last".into(),
    };
    api.engine.set(|state| {
        state
            .logs
            .insert("id-of-a-1-1".into(), vec![Some(chunk), None]);
    });
    let text = api.get("/agents/a/logs").await.text;
    assert!(
        text.contains("[a-1-1] last\n") && text.contains("the log ended early"),
        "{text}"
    );
}

#[tokio::test]
async fn law_4_a_log_of_an_earlier_life_is_not_shown() {
    let api = with_two_instances().await;
    api.engine.set(|state| {
        for container in &mut state.containers {
            container.identity.uid = agentainer::agent::Uid::random();
        }
    });
    let answer = api.get("/agents/a/logs").await;
    assert_eq!(
        (answer.status, answer.word().as_str()),
        (StatusCode::NOT_FOUND, "no-instance")
    );
    assert!(answer.text.contains("describe a"));
}

#[tokio::test]
async fn an_engine_that_is_away_is_a_503() {
    let api = with_two_instances().await;
    api.engine.set(|state| state.away = true);
    let answer = api.get("/agents/a/logs").await;
    assert_eq!(
        (answer.status, answer.word().as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "runtime-unavailable")
    );
}

#[tokio::test]
async fn events_are_told_newest_first() {
    let api = with_two_instances().await;
    api.applied("o", json!([{"name": "b", "spec": {}}])).await;
    for (agent, reason) in [("a", "Created"), ("b", "Created"), ("a", "Started")] {
        let now = agentainer::clock::now();
        let event = EventRecord {
            agent: Some(AgentName::new(agent).unwrap()),
            kind: EventKind::Normal,
            reason: reason.into(),
            message: "so it was".into(),
            count: 1,
            first_seen: now,
            last_seen: now,
        };
        api.store.record_event(&event).await.unwrap();
    }
    let reasons = async |path: &str| {
        let items = api.get(path).await.json()["items"].clone();
        let texts = items.as_array().unwrap().iter();
        texts
            .map(|event| {
                format!(
                    "{}:{}",
                    event["agent"].as_str().unwrap(),
                    event["reason"].as_str().unwrap()
                )
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(
        reasons("/events").await,
        ["a:Started", "b:Created", "a:Created"]
    );
    assert_eq!(reasons("/events?limit=1").await, ["a:Started"]);
    assert_eq!(reasons("/agents/b/events").await, ["b:Created"]);
}

#[tokio::test]
async fn a_watch_of_events_tells_the_old_ones_and_then_what_happens() {
    let api = with_two_instances().await;
    let happened = async |reason: &str| {
        let now = agentainer::clock::now();
        let event = EventRecord {
            agent: Some(AgentName::new("a").unwrap()),
            kind: EventKind::Normal,
            reason: reason.into(),
            message: "so it was".into(),
            count: 1,
            first_seen: now,
            last_seen: now,
        };
        api.store.record_event(&event).await.unwrap();
    };
    happened("Created").await;
    happened("Started").await;
    let watch = request("GET", "/events?watch=true", Some(ADMIN), None);
    let answer = api.raw(watch).await;
    assert_eq!(answer.headers()["content-type"], "application/x-ndjson");
    let mut pieces = answer.into_body().into_data_stream();
    let mut next = async || {
        let piece = futures::StreamExt::next(&mut pieces)
            .await
            .unwrap()
            .unwrap();
        let event: serde_json::Value = serde_json::from_slice(&piece).unwrap();
        format!("{} {}", event["reason"].as_str().unwrap(), event["count"])
    };
    assert_eq!([next().await, next().await], ["Created 1", "Started 1"]);
    happened("Stopped").await;
    assert_eq!(next().await, "Stopped 1");
    happened("Started").await;
    assert_eq!(next().await, "Started 2", "one that counts up comes again");
}
