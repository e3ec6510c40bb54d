//! What is true of every answer, and what is refused before any handler sees it.

use agentainer::keys::DEFAULT_TOKEN;
use agentainer::redis_link::LinkError;
use agentainer::store::StoreError;
use axum::body::{Body, Bytes};
use http::{Request, StatusCode};
use serde_json::json;

use crate::fake_store::Fault;
use crate::harness::{ADMIN, Api, request, viewer};

#[tokio::test]
async fn every_answer_has_its_id_and_is_neither_kept_nor_guessed_at() {
    let api = Api::new();
    for path in ["/health", "/agents", "/agents/none", "/nothing"] {
        let answer = api.get(path).await;
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("x-request-id").len(), 36, "{path}");
    }
    for (given, kept) in [
        ("abc-1.2_3", true),
        ("a b", false),
        ("<script>", false),
        (&"x".repeat(65), false),
        ("", false),
    ] {
        let mut request = request("GET", "/agents/none", Some(ADMIN), None);
        request
            .headers_mut()
            .insert("x-request-id", given.parse().unwrap());
        let answer = api.send(request).await;
        assert_eq!(answer.header("x-request-id") == given, kept, "{given}");
        assert_eq!(answer.word(), "agent-not-found");
    }
}

#[tokio::test]
async fn an_unknown_path_is_a_404_and_a_wrong_method_a_405_with_allow() {
    let api = Api::new();
    for path in [
        "/",
        "/agent",
        "/agents/a/b",
        "/agents/a/logs/x",
        "/api/agents",
    ] {
        let answer = api.get(path).await;
        assert_eq!(
            (answer.status, answer.word().as_str()),
            (StatusCode::NOT_FOUND, "no-such-route"),
            "{path}"
        );
    }
    assert!(
        api.get("/agents/")
            .await
            .text
            .contains("did you mean '/agents'?")
    );
    for (method, path, allow) in [
        ("DELETE", "/agents", "GET,HEAD,POST"),
        ("GET", "/apply", "POST"),
        ("POST", "/health", "GET,HEAD"),
        ("OPTIONS", "/agents/a", "DELETE,GET,HEAD,PATCH,PUT"),
        ("BREW", "/agents/a/start", "POST"),
    ] {
        let answer = api.admin(method, path, None).await;
        assert_eq!(
            (answer.status, answer.word().as_str()),
            (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed"),
            "{method} {path}"
        );
        let mut allowed: Vec<&str> = answer.header("allow").split(',').collect();
        allowed.sort_unstable();
        assert_eq!(allowed.join(","), allow);
    }
}

#[tokio::test]
async fn head_is_get_without_a_body() {
    let api = Api::new();
    api.applied("o", json!([{"name": "a", "spec": {}}])).await;
    for path in ["/health", "/ready", "/agents", "/agents/a"] {
        let answer = api.admin("HEAD", path, None).await;
        assert_eq!(
            (answer.status, answer.text.as_str()),
            (StatusCode::OK, ""),
            "{path}"
        );
    }
    assert_eq!(api.admin("HEAD", "/agents/none", None).await.status, 404);
}

#[tokio::test]
async fn law_7_only_requests_addressed_to_us_are_served() {
    let api = Api::with(|state| {
        state.allowed_hosts = std::sync::Arc::new(|| vec!["10.1.0.1".into(), "Box.example".into()])
    });
    for (host, status) in [
        (Some("localhost:8081"), 200),
        (Some("127.0.0.1"), 200),
        (Some("[::1]:9"), 200),
        (Some("host.docker.internal:8081"), 200),
        (Some("10.1.0.1:8081"), 200),
        (Some("box.example:8081"), 200),
        (Some("10.1.0.2:8081"), 421),
        (Some("evil.example"), 421),
        (Some("localhost.evil.example:8081"), 421),
        (Some(""), 421),
        (None, 421),
    ] {
        let mut request = viewer("/agents");
        request.headers_mut().remove("host");
        if let Some(host) = host {
            request.headers_mut().insert("host", host.parse().unwrap());
        }
        let answer = api.send(request).await;
        assert_eq!(answer.status, status, "{host:?}: {}", answer.text);
    }
    let mut twice = viewer("/agents");
    twice
        .headers_mut()
        .append("host", "evil.example".parse().unwrap());
    assert_eq!(api.send(twice).await.word(), "misdirected");
    let mut absolute = viewer("http://evil.example/agents");
    absolute.headers_mut().remove("host");
    assert_eq!(api.send(absolute).await.status, 421);
    let mut health = viewer("/health");
    health
        .headers_mut()
        .insert("host", "evil.example".parse().unwrap());
    assert_eq!(api.send(health).await.status, 200);
}

#[tokio::test]
async fn law_7_no_page_of_another_site_writes_here() {
    let api = Api::new();
    api.applied("o", json!([{"name": "a", "spec": {}}])).await;
    for (header, value, status) in [
        ("origin", "http://localhost:8081", 200),
        ("origin", "http://evil.example", 403),
        ("origin", "http://localhost:3000", 403),
        ("origin", "null", 403),
        ("sec-fetch-site", "same-origin", 200),
        ("sec-fetch-site", "none", 200),
        ("sec-fetch-site", "same-site", 403),
        ("sec-fetch-site", "cross-site", 403),
    ] {
        let mut write = request("POST", "/agents/a/start", Some(ADMIN), None);
        write.headers_mut().insert(header, value.parse().unwrap());
        assert_eq!(api.send(write).await.status, status, "{header}: {value}");
    }
}

fn with_body(path: &str, media: Option<&str>, body: Body) -> Request<Body> {
    let mut request = request("POST", path, Some(ADMIN), None);
    if let Some(media) = media {
        request
            .headers_mut()
            .insert("content-type", media.parse().unwrap());
    }
    *request.body_mut() = body;
    request
}

#[tokio::test]
async fn a_body_of_another_type_is_a_415() {
    let api = Api::new();
    for media in [
        None,
        Some("text/plain"),
        Some("application/yaml"),
        Some("application/merge-patch+json"),
    ] {
        let answer = api.send(with_body("/apply", media, Body::from("{}"))).await;
        assert_eq!(
            (answer.status, answer.word().as_str()),
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type")
        );
        assert!(answer.text.contains("application/json"));
    }
    let charset = with_body(
        "/apply",
        Some("Application/JSON; charset=utf-8"),
        Body::from("{}"),
    );
    assert_eq!(api.send(charset).await.status, 400);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_a_413_whether_it_says_so_or_not() {
    let api = Api::with(|state| {
        state.limits.spec = 100;
        state.limits.apply = 200;
    });
    for (path, size) in [("/agents", 101), ("/apply", 201)] {
        let text = " ".repeat(size);
        let said = with_body(path, Some("application/json"), Body::from(text.clone()));
        let mut said_so = said;
        said_so
            .headers_mut()
            .insert("content-length", size.to_string().parse().unwrap());
        assert_eq!(api.send(said_so).await.word(), "too-large", "{path}");
        let pieces = futures::stream::iter(
            text.into_bytes()
                .into_iter()
                .map(|byte| Ok::<_, std::io::Error>(Bytes::from(vec![byte]))),
        );
        let streamed = with_body(path, Some("application/json"), Body::from_stream(pieces));
        assert_eq!(api.send(streamed).await.status, 413, "{path}");
    }
    let lying = with_body("/apply", Some("application/json"), Body::from("{}"));
    let mut lying = lying;
    lying
        .headers_mut()
        .insert("content-length", "99999999999999999999".parse().unwrap());
    assert_eq!(
        api.send(lying).await.status,
        400,
        "an unreadable length decides nothing"
    );
}

#[tokio::test]
async fn malformed_json_is_a_400_with_its_place() {
    let api = Api::new();
    for (text, expected) in [
        ("{", "line 1 column 1"),
        ("{\"owner\": \"o\",\n \"agents\": [}", "line 2 column 13"),
        ("{} {}", "trailing"),
        ("", "EOF"),
        ("{\"owner\": \"a\", \"owner\": \"b\"}", "given twice"),
        (&"[".repeat(2000), "recursion limit"),
        (
            "{\"owner\": \"o\", \"agnets\": []}",
            "did you mean 'agents'?",
        ),
        (
            "{\"owner\": \"o\", \"agents\": [{\"name\": \"a\", \"spec\": 7}]}",
            "agents[0].spec",
        ),
        ("[]", "nothing was changed"),
    ] {
        let answer = api
            .send(with_body(
                "/apply",
                Some("application/json"),
                Body::from(text.to_owned()),
            ))
            .await;
        assert_eq!(answer.status, 400, "{text}");
        assert!(
            answer.text.contains(expected),
            "{text}: {expected} is not in {}",
            answer.text
        );
    }
    let broken = futures::stream::iter([Err::<Bytes, _>(std::io::Error::other("x"))]);
    let answer = api
        .send(with_body(
            "/apply",
            Some("application/json"),
            Body::from_stream(broken),
        ))
        .await;
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn an_unknown_parameter_is_refused_since_ignoring_it_does_harm() {
    let api = Api::new();
    let answer = api.get("/agents?wacth=true").await;
    assert_eq!(answer.status, 400);
    assert!(answer.text.contains("did you mean 'watch'?"));
    for path in [
        "/agents?owner=a&owner=b",
        "/agents?watch=maybe",
        "/events?limit=many",
        "/health?x=1",
    ] {
        assert_eq!(api.get(path).await.status, 400, "{path}");
    }
}

#[tokio::test]
async fn law_6_a_store_that_is_away_is_a_503_and_says_when_to_repeat() {
    let api = Api::new();
    api.applied("o", json!([{"name": "a", "spec": {}}])).await;
    api.store.on_call(|_| {
        Some(Fault::Before(StoreError::Link(LinkError::Unreachable {
            address: "/redis.sock".into(),
            source: "gone".into(),
        })))
    });
    for (method, path, body) in [
        ("GET", "/agents", None),
        ("GET", "/agents/a", None),
        ("GET", "/agents?watch=true", None),
        ("POST", "/agents/a/stop", None),
        ("DELETE", "/agents/a", None),
        ("GET", "/events", None),
        (
            "POST",
            "/apply",
            Some(json!({"owner": "o", "agents": [], "prune": true})),
        ),
    ] {
        let answer = api.admin(method, path, body).await;
        assert_eq!(
            (answer.status, answer.word().as_str()),
            (StatusCode::SERVICE_UNAVAILABLE, "store-unavailable"),
            "{method} {path}"
        );
        assert_eq!(answer.header("retry-after"), "2");
    }
    assert_eq!(api.get("/health").await.status, 200);
}

#[tokio::test]
async fn a_panic_is_a_500_that_keeps_its_secret() {
    let api = Api::with(|state| state.host_conditions = std::sync::Arc::new(|| panic!("a s3cret")));
    let answer = api.get("/ready").await;
    assert_eq!(
        (answer.status, answer.word().as_str()),
        (StatusCode::INTERNAL_SERVER_ERROR, "internal")
    );
    assert!(!answer.text.contains("s3cret"));
    assert_eq!(api.get("/health").await.status, 200);
}

/// Writes of the log go here.
#[derive(Clone, Default)]
struct Written(std::sync::Arc<parking_lot::Mutex<Vec<u8>>>);

impl std::io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn law_7_no_secret_is_in_the_log() {
    let written = Written::default();
    let sink = written.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || sink.clone())
        .finish();
    // For all threads: tracing forgets a thread's own subscriber where another thread comes to a line of the log first. So the other
    // tests' lines are judged as well.
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let api = Api::new();
    api.applied(
        "o",
        json!([{"name": "a", "spec": {"env": {"KEY": "s3cret-value"}}}]),
    )
    .await;
    api.admin(
        "PATCH",
        "/agents/a",
        Some(json!({"spec": {"env": {"KEY": "s3cret-too"}, "replicas": "s3cret-wrong"}})),
    )
    .await;
    api.get("/agents/a?reveal=env").await;
    api.send(request(
        "GET",
        "/agents?token=s3cret-query",
        Some("s3cret-token"),
        None,
    ))
    .await;
    let mut build = with_body("/builds?tag=x", Some("application/x-tar"), Body::from("x"));
    build.headers_mut().insert(
        "x-agentainer-build-args",
        "{\"A\": \"s3cret-arg\"}".parse().unwrap(),
    );
    api.send(build).await;
    let log = String::from_utf8(written.0.lock().clone()).unwrap();
    assert!(
        log.contains("/agents/a") && log.contains("role=\"admin\""),
        "{log}"
    );
    for secret in ["s3cret", ADMIN, DEFAULT_TOKEN] {
        assert!(!log.contains(secret), "{secret} is in {log}");
    }
}
