//! `invoke`: what it sends, what it prints, how it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use http::{HeaderMap, Method, StatusCode, Uri};
use serde_json::{Value, json};

use crate::rig::{ADMIN, Ran, run};

/// A server that answers as the proxy does.
struct Served {
    url: String,
    home: tempfile::TempDir,
}

async fn echo(method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let field = |name: &str| headers.get(name).map(|value| value.to_str().unwrap());
    let told = json!({
        "method": method.as_str(), "target": uri.to_string(), "body": String::from_utf8_lossy(&body),
        "token": headers.contains_key("authorization"), "kind": field("content-type"), "key": field("idempotency-key"),
        "prefer": field("prefer"), "odd": field("x-odd"),
    });
    match uri.path().rsplit('/').next() {
        Some("missing") => (StatusCode::NOT_FOUND, "not here").into_response(),
        Some("broken") => (StatusCode::INTERNAL_SERVER_ERROR, "no").into_response(),
        _ => axum::Json(told).into_response(),
    }
}

fn nobody() -> Response {
    let problem = json!({"type": "problem:agent-not-found", "title": "", "status": 404, "detail": "no agent is called 'none'"});
    let kind = [("content-type", "application/problem+json")];
    (StatusCode::NOT_FOUND, kind, problem.to_string()).into_response()
}

/// One that is kept under this id.
fn accepted(id: &str) -> Response {
    let location = format!("http://seen-from-elsewhere:8081/results/{id}.secret");
    let body = json!({"id": id, "agent": "sleeper", "status": "pending"});
    let fields = [("location", location)];
    (StatusCode::ACCEPTED, fields, axum::Json(body)).into_response()
}

fn result(id: &str, looks: usize) -> Value {
    let status = match (id, looks) {
        ("lost.secret", _) => "unknown",
        ("never.secret", _) | (_, 0) => "pending",
        (_, 1) => "claimed",
        _ => "completed",
    };
    json!({
        "id": id, "agent": "sleeper", "status": status, "reason": "it was sent and no answer came", "attempts": 1,
        "admitted": "2026-01-01T00:00:00Z", "expires": "2026-01-02T00:00:00Z",
    })
}

impl Served {
    async fn new() -> Self {
        let looks = Arc::new(AtomicUsize::new(0));
        let app = Router::new()
            .route("/agent/users/{*path}", any(echo))
            .route("/agent/users/", any(echo))
            .route("/agent/none/", any(|| async { nobody() }))
            .route(
                "/agent/sleeper/{id}",
                any(|Path(id): Path<String>| async move { accepted(&id) }),
            )
            .route(
                "/results/{id}",
                get(move |Path(id): Path<String>, uri: Uri| {
                    assert!(uri.query().unwrap().starts_with("wait="));
                    let looks = looks.fetch_add(1, Ordering::SeqCst);
                    async move { axum::Json(result(&id, looks)) }
                }),
            )
            .route(
                "/results/{id}/answer",
                get(|| async { (StatusCode::CREATED, "late") }),
            );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        let home = tempfile::tempdir().unwrap();
        Self { url, home }
    }

    async fn run(&self, line: &str, input: &str) -> Ran {
        let env = [
            ("AGENTAINER_SERVER", self.url.as_str()),
            ("AGENTAINER_TOKEN", ADMIN),
        ];
        run(self.home.path(), line, input, &env).await
    }

    /// What the agent got.
    async fn told(&self, line: &str, input: &str) -> Value {
        let out = self.run(line, input).await.ok();
        serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}"))
    }
}

#[tokio::test]
async fn it_sends_what_it_is_told_to_and_never_a_token() {
    let served = Served::new().await;
    let got = served.told("invoke users", "").await;
    assert_eq!(got["method"], "GET");
    assert_eq!(got["target"], "/agent/users/");
    assert_eq!(got["token"], false, "law 7: an agent is shown no token");
    let got = served
        .told("invoke agent/users run?a=1 -d {\"x\":1} -H X-Odd:b", "")
        .await;
    assert_eq!(got["method"], "POST");
    assert_eq!(got["target"], "/agent/users/run?a=1");
    assert_eq!(got["body"], "{\"x\":1}");
    assert_eq!(got["kind"], "application/json");
    assert_eq!(got["odd"], "b");
    let got = served
        .told("invoke users /run -X put -d -", "two words")
        .await;
    assert_eq!(
        (&got["method"], &got["body"]),
        (&json!("PUT"), &json!("two words"))
    );
    assert_eq!(got["kind"], "text/plain; charset=utf-8");
    std::fs::write(served.home.path().join("task"), "from a file").unwrap();
    let line = "invoke users /run -d @task -H content-type:text/x --idempotency-key k";
    let got = served.told(line, "").await;
    assert_eq!(
        (&got["body"], &got["kind"]),
        (&json!("from a file"), &json!("text/x"))
    );
    assert_eq!(got["key"], "k");
    let ran = served
        .run("invoke users /run -d 1 --idempotency-key auto", "")
        .await;
    let got: Value = serde_json::from_str(&ran.out).unwrap();
    let key = got["key"].as_str().unwrap();
    assert!(key.len() >= 32 && ran.err.contains(key), "{ran:?}");
    served
        .run("invoke users /run -d @nowhere", "")
        .await
        .failed(1, "nowhere cannot be read");
    served
        .run("invoke users / -H odd", "")
        .await
        .failed(2, "Name: value");
}

#[tokio::test]
async fn its_exit_code_is_the_answers() {
    let served = Served::new().await;
    let ran = served.run("invoke users /missing", "").await;
    let ran = ran.failed(3, "the agent answered with 404");
    assert_eq!(ran.out, "not here");
    let ran = served.run("invoke users /broken -i", "").await;
    let ran = ran.failed(1, "the agent answered with 500");
    assert!(ran.err.contains("content-type: text/plain"), "{ran:?}");
    let ran = served.run("invoke none", "").await;
    assert_eq!(ran.failed(3, "no agent is called 'none'").out, "");
}

#[tokio::test]
async fn a_kept_request_is_followed_to_its_answer() {
    let served = Served::new().await;
    let ran = served.run("invoke sleeper /later -d 1", "").await;
    assert!(ran.err.contains("kept as request later"), "{ran:?}");
    assert!(ran.err.contains("request later is claimed"), "{ran:?}");
    assert_eq!(ran.ok(), "late");
    let ran = served.run("invoke sleeper /later -d 1 --async", "").await;
    let out = ran.ok();
    assert_eq!(
        out,
        "http://seen-from-elsewhere:8081/results/later.secret\n"
    );
    let ran = served.run("invoke sleeper /never -d 1 --wait 1s", "").await;
    let ran = ran.failed(6, "its result will be at http://seen-from-elsewhere");
    assert_eq!(ran.out, "");
    served
        .run("invoke sleeper /lost -d 1", "")
        .await
        .failed(1, "request lost is unknown: it was sent and no answer came");
}
