//! `GET /health` (is the process alive), `GET /ready` (can it do its work), `GET /version` and `GET /metrics`. The first two are public.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use jiff::Timestamp;
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::ApiState;
use crate::agent::Condition;
use crate::agent::status::ConditionStatus;
use crate::clock;
use crate::telemetry::exposition::MEDIA_TYPE;
use crate::wire::ReadyBody;

/// How long Docker and Redis may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long an answer of theirs is good: the route is public and must not be a way to load them.
const FRESH: Duration = Duration::from_secs(1);

/// What was last found out, and since when it is so.
#[derive(Default)]
pub(super) struct Readiness(Mutex<Option<(Instant, Condition, Condition)>>);

pub(super) async fn health(State(api): State<ApiState>) -> Json<ReadyBody> {
    Json(ReadyBody {
        status: "healthy".to_owned(),
        version: api.version.to_string(),
        conditions: Vec::new(),
    })
}

pub(super) async fn ready(State(api): State<ApiState>) -> Response {
    let (redis, docker) = reach(&api).await;
    let ready = [&redis, &docker]
        .iter()
        .all(|condition| condition.status == ConditionStatus::True);
    let mut conditions = vec![redis, docker];
    for condition in (api.host_conditions)() {
        if !conditions.iter().any(|known| known.kind == condition.kind) {
            conditions.push(condition);
        }
    }
    let body = Json(ReadyBody {
        status: if ready { "ready" } else { "not ready" }.to_owned(),
        version: api.version.to_string(),
        conditions,
    });
    if ready {
        body.into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "2")], body).into_response()
    }
}

pub(super) async fn version(State(api): State<ApiState>) -> Response {
    Json(json!({"version": &*api.version, "apiVersion": crate::keys::API_VERSION})).into_response()
}

/// The metrics, as Prometheus scrapes them.
pub(super) async fn metrics(State(api): State<ApiState>) -> Response {
    ([(CONTENT_TYPE, MEDIA_TYPE)], (api.metrics)()).into_response()
}

async fn reach(api: &ApiState) -> (Condition, Condition) {
    let mut last = api.ready.0.lock().await;
    if let Some((at, redis, docker)) = &*last
        && at.elapsed() < FRESH
    {
        return (redis.clone(), docker.clone());
    }
    let (redis, docker) = tokio::join!(
        timeout(PATIENCE, api.store.ping()),
        timeout(PATIENCE, api.runtime.ping())
    );
    let late = || format!("no answer within {} s", PATIENCE.as_secs());
    let redis = redis.map_or_else(
        |_| Err(late()),
        |ping| ping.map_err(|error| error.to_string()),
    );
    let docker = docker.map_or_else(
        |_| Err(late()),
        |ping| ping.map(|_| ()).map_err(|error| error.to_string()),
    );
    let (was_redis, was_docker) = match last.take() {
        Some((_, redis, docker)) => (Some(redis), Some(docker)),
        None => (None, None),
    };
    let redis = condition("RedisReachable", redis, was_redis, clock::now());
    let docker = condition("DockerReachable", docker, was_docker, clock::now());
    *last = Some((Instant::now(), redis.clone(), docker.clone()));
    (redis, docker)
}

fn condition(
    kind: &str,
    found: Result<(), String>,
    before: Option<Condition>,
    now: Timestamp,
) -> Condition {
    let (status, reason, message) = match found {
        Ok(()) => (ConditionStatus::True, "Answers", String::new()),
        Err(message) => (ConditionStatus::False, "NoAnswer", message),
    };
    let since = before
        .filter(|before| before.status == status)
        .map(|before| before.last_transition_time);
    Condition {
        kind: kind.to_owned(),
        status,
        reason: reason.to_owned(),
        message,
        last_transition_time: since.unwrap_or(now),
        last_lines: Vec::new(),
    }
}
