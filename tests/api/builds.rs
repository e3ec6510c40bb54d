//! `POST /builds`.

use std::collections::BTreeMap;

use agentainer::observed::ImageId;
use agentainer::runtime::BuildEvent;
use axum::body::Body;
use http::{Request, StatusCode};

use crate::harness::{ADMIN, Api, request};

fn build(query: &str, body: Body) -> Request<Body> {
    let mut request = request("POST", &format!("/builds?{query}"), Some(ADMIN), None);
    request
        .headers_mut()
        .insert("content-type", "application/x-tar".parse().unwrap());
    *request.body_mut() = body;
    request
}

#[tokio::test]
async fn a_context_goes_in_and_a_log_with_an_image_comes_out() {
    let api = Api::new();
    api.engine.set(|state| {
        state.build = vec![
            Ok(BuildEvent::Log("Step 1/1\n".into())),
            Ok(BuildEvent::Done(ImageId("sha256:abc".into()))),
            Ok(BuildEvent::Log("Successfully built".into())),
        ];
    });
    let mut request = build(
        "tag=users:1&target=prod&dockerfile=sub/Dockerfile",
        Body::from("the tar"),
    );
    let args = "{\"VERSION\": \"1\", \"NAME\": \"gr\u{fc}n\"}";
    request.headers_mut().insert(
        "x-agentainer-build-args",
        http::HeaderValue::from_bytes(args.as_bytes()).unwrap(),
    );
    let answer = api.send(request).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(answer.header("content-type"), "application/x-ndjson");
    assert_eq!(
        answer.text,
        "{\"log\":\"Step 1/1\\n\"}\n{\"log\":\"Successfully built\"}\n{\"image\":\"sha256:abc\"}\n"
    );
    let built = api.engine.ask(|state| state.built.clone()).unwrap();
    assert_eq!(built.context, b"the tar");
    assert_eq!(
        (built.dockerfile.as_str(), built.tag.as_str()),
        ("sub/Dockerfile", "users:1")
    );
    assert_eq!(built.target.as_deref(), Some("prod"));
    let args = [("NAME", "gr\u{fc}n"), ("VERSION", "1")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(built.args, BTreeMap::from(args));
}

#[tokio::test]
async fn what_goes_wrong_decides_the_status_or_is_the_last_line() {
    let api = Api::new();
    api.engine
        .set(|state| state.build = vec![Err("no such Dockerfile".into())]);
    let answer = api.send(build("tag=x", Body::empty())).await;
    assert_eq!(
        (answer.status, answer.word().as_str()),
        (StatusCode::UNPROCESSABLE_ENTITY, "runtime-refused")
    );
    api.engine.set(|state| {
        state.build = vec![Ok(BuildEvent::Log("a".into())), Err("step 2 failed".into())]
    });
    let late = api.send(build("tag=x", Body::empty())).await;
    assert_eq!(late.status, 200);
    assert!(
        late.text.lines().last().unwrap().contains("step 2 failed"),
        "{}",
        late.text
    );
    assert_eq!(late.text.lines().count(), 2);
    api.engine
        .set(|state| state.build = vec![Ok(BuildEvent::Log("a".into()))]);
    let silent = api.send(build("tag=x", Body::empty())).await;
    assert!(
        silent
            .text
            .lines()
            .last()
            .unwrap()
            .contains("without an image"),
        "{}",
        silent.text
    );
}

#[tokio::test]
async fn a_build_of_the_wrong_form_never_reaches_the_engine() {
    let api = Api::new();
    for query in [
        "",
        "tag=",
        "tag=-x",
        "tag=a%20b",
        "tag=x&dockerfile=/etc/passwd",
        "tag=x&dockerfile=../x",
        "tag=x&context=y",
    ] {
        assert_eq!(
            api.send(build(query, Body::empty())).await.status,
            400,
            "{query}"
        );
    }
    let mut args = build("tag=x", Body::empty());
    args.headers_mut().insert(
        "x-agentainer-build-args",
        "{\"A\": {\"s3cret\": 1}}".parse().unwrap(),
    );
    let refused = api.send(args).await;
    assert_eq!(refused.status, 400);
    assert!(!refused.text.contains("s3cret"));
    let mut media = build("tag=x", Body::empty());
    media
        .headers_mut()
        .insert("content-type", "application/json".parse().unwrap());
    assert_eq!(api.send(media).await.status, 415);
    let mut said = build("tag=x", Body::empty());
    said.headers_mut()
        .insert("content-length", "1001".parse().unwrap());
    assert_eq!(api.send(said).await.status, 413);
    let streamed = futures::stream::iter((0..11).map(|_| Ok::<_, std::io::Error>(vec![0_u8; 100])));
    let answer = api.send(build("tag=x", Body::from_stream(streamed))).await;
    assert_eq!(
        (answer.status, answer.word().as_str()),
        (StatusCode::PAYLOAD_TOO_LARGE, "too-large")
    );
    assert!(api.engine.ask(|state| state.built.is_none()));
}
