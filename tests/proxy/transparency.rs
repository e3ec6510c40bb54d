//! What of a request and an answer passes, and what is changed on the way.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};

use crate::agents;
use crate::rig::{Rig, whole};

#[tokio::test]
async fn the_target_reaches_the_agent_byte_for_byte() {
    let rig = Rig::new();
    rig.ready("users", &[("c", agents::mirror().await.address)]);
    for rest in [
        "/",
        "//",
        "/a//b/",
        "/./a/../b",
        "/%2e%2e/%2F%00%ff",
        "/a?",
        "/?q",
        "/x?a=%20+b&&c==d?e/f",
        "/~!$&'()*+,;=:@-._",
        "/agent/users/agent",
        "/%7Busers%7D|\"{}",
    ] {
        let mut raw = rig.raw().await;
        raw.send(format!(
            "GET /agent/users{rest} HTTP/1.1\r\nHost: box\r\nConnection: close\r\n\r\n"
        ))
        .await;
        let answer = raw.rest().await;
        assert!(
            answer.contains(&format!("\r\n\r\nGET {rest} HTTP/1.1\r\n")),
            "{rest}: {answer}"
        );
    }
}

#[tokio::test]
async fn every_method_passes() {
    let rig = Rig::new();
    rig.ready("users", &[("c", agents::mirror().await.address)]);
    for method in [
        "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "M-SEARCH",
    ] {
        let request = Request::builder()
            .method(method)
            .uri("/agent/users/x")
            .header("host", "box")
            .body(Full::default())
            .unwrap();
        let answer = rig.ask(request).await;
        assert!(
            answer
                .text
                .starts_with(&format!("{method} /x HTTP/1.1\r\n")),
            "{}",
            answer.text
        );
    }
}

#[tokio::test]
async fn the_agent_learns_who_asked_and_for_what() {
    let rig = Rig::new();
    rig.ready("users", &[("c", agents::mirror().await.address)]);
    let answer = rig.get("/agent/users/").await;
    for line in [
        "host: box:8081\r\n",
        "x-forwarded-for: 127.0.0.1\r\n",
        "x-forwarded-proto: http\r\n",
        "x-forwarded-host: box:8081\r\n",
        "x-forwarded-prefix: /agent/users\r\n",
        "forwarded: for=127.0.0.1;proto=http;host=\"box:8081\"\r\n",
        "traceparent: 00-",
        "x-request-id: ",
    ] {
        assert!(answer.text.contains(line), "{line}: {}", answer.text);
    }
    assert!(!answer.text.contains("connection:"));
    let id = answer.header("x-request-id").unwrap();
    assert!(answer.text.contains(&format!("x-request-id: {id}\r\n")));
}

#[tokio::test]
async fn law_7_our_tokens_stop_at_the_proxy() {
    let rig = Rig::new();
    rig.ready("users", &[("c", agents::mirror().await.address)]);
    let request = |token: &str| {
        Request::get("/agent/users/")
            .header("host", "box")
            .header("authorization", token)
            .body(Full::default())
            .unwrap()
    };
    assert!(
        !rig.ask(request("Bearer ours"))
            .await
            .text
            .contains("authorization")
    );
    assert!(
        rig.ask(request("Bearer theirs"))
            .await
            .text
            .contains("authorization: Bearer theirs\r\n")
    );
}

#[tokio::test]
async fn repeated_fields_and_odd_values_pass_in_order() {
    let rig = Rig::new();
    rig.ready("users", &[("c", agents::mirror().await.address)]);
    let mut raw = rig.raw().await;
    raw.send(b"GET /agent/users/ HTTP/1.1\r\nHost: b\r\nX-A: 1\r\nX-A: 2\r\nx-a: 3\r\nX-Raw: \xe4\xf6\r\nX-Empty:\r\nConnection: close\r\n\r\n").await;
    let answer = raw.rest().await;
    assert!(
        answer.contains("x-a: 1\r\nx-a: 2\r\nx-a: 3\r\n")
            && answer.contains("x-empty: \r\n")
            && answer.contains("x-raw: "),
        "{answer}"
    );
}

#[tokio::test]
async fn an_answer_is_confined_to_its_agent() {
    let rig = Rig::new();
    let agent = agents::scripted(
        "HTTP/1.1 302 Found\r\nLocation: /login?next=/\r\nSet-Cookie: a=1; Path=/; Domain=box\r\nSet-Cookie: b=2\r\n\
         Strict-Transport-Security: max-age=9\r\nConnection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nServer: flask\r\nContent-Length: 0\r\n\r\n",
    )
    .await;
    rig.ready("users", &[("c", agent.address)]);
    let answer = rig.get("/agent/users/").await;
    assert_eq!(answer.status, StatusCode::FOUND);
    assert_eq!(answer.header("location"), Some("/agent/users/login?next=/"));
    let cookies: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1; Path=/agent/users/", "b=2"]);
    for gone in [
        "strict-transport-security",
        "connection",
        "x-hop",
        "keep-alive",
    ] {
        assert_eq!(answer.header(gone), None, "{gone}");
    }
    assert_eq!(answer.header("server"), Some("flask"));
}

#[tokio::test]
async fn a_name_without_a_slash_is_sent_to_the_slash() {
    let rig = Rig::new();
    rig.ready("users", &[("c", agents::nobody().await)]);
    let answer = rig.get("/agent/users?a=1/2&b").await;
    assert_eq!(
        (answer.status, answer.header("location")),
        (
            StatusCode::PERMANENT_REDIRECT,
            Some("/agent/users/?a=1/2&b")
        )
    );
    assert_eq!(rig.get("/agent/nobody").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_is_no_agents_goes_to_the_router() {
    let rig = Rig::new();
    for target in [
        "/",
        "/agents",
        "/agents/users",
        "/health",
        "/agentx",
        "/%61gent/users/",
    ] {
        let answer = rig.get(target).await;
        assert!(
            answer
                .text
                .starts_with(&format!("router {target} Some(Connected")),
            "{}",
            answer.text
        );
        assert!(answer.text.contains("Loopback"));
    }
}

#[tokio::test]
async fn head_keeps_the_length_and_has_no_body() {
    let rig = Rig::new();
    rig.ready(
        "users",
        &[(
            "c",
            agents::scripted("HTTP/1.1 200 OK\r\nContent-Length: 42\r\n\r\n")
                .await
                .address,
        )],
    );
    let mut raw = rig.raw().await;
    for _ in 0..2 {
        raw.send("HEAD /agent/users/ HTTP/1.1\r\nHost: b\r\n\r\n")
            .await;
        let head = raw.until("\r\n\r\n").await;
        assert!(
            head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("content-length: 42\r\n"),
            "{head}"
        );
    }
}

#[tokio::test]
async fn bodies_pass_whatever_their_framing() {
    let rig = Rig::new();
    let echo = agents::http(|request: Request<_>| async move {
        let length = request.headers().get("content-length").cloned();
        let mut response = Response::new(request.into_body());
        response.headers_mut().insert(
            "x-length",
            length.unwrap_or(HeaderValue::from_static("none")),
        );
        response
    })
    .await;
    rig.ready("users", &[("c", echo.address)]);
    for (method, framing, body, length) in [
        ("POST", "Content-Length: 5", "hello", "5"),
        ("POST", "Content-Length: 0", "", "0"),
        (
            "POST",
            "Content-Length: 5\r\nContent-Length: 5",
            "hello",
            "5",
        ),
        (
            "POST",
            "Transfer-Encoding: chunked",
            "2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n",
            "none",
        ),
        (
            "GET",
            "Transfer-Encoding: chunked",
            "5\r\nhello\r\n0\r\n\r\n",
            "none",
        ),
        ("DELETE", "Content-Length: 5", "hello", "5"),
    ] {
        let mut raw = rig.raw().await;
        raw.send(format!("{method} /agent/users/ HTTP/1.1\r\nHost: b\r\nConnection: close\r\n{framing}\r\n\r\n{body}")).await;
        let answer = raw.rest().await;
        assert!(
            answer.contains(&format!("x-length: {length}\r\n")),
            "{framing}: {answer}"
        );
        assert_eq!(
            answer.contains("llo\r\n") || answer.ends_with("hello"),
            !body.is_empty(),
            "{framing}: {answer}"
        );
    }
}

#[tokio::test]
async fn an_old_client_gets_an_answer_too() {
    let rig = Rig::new();
    rig.ready("users", &[("c", agents::mirror().await.address)]);
    let mut raw = rig.raw().await;
    raw.send("GET /agent/users/ HTTP/1.0\r\n\r\n").await;
    let answer = raw.rest().await;
    assert!(
        answer.starts_with("HTTP/1.0 200")
            && answer.contains("GET / HTTP/1.1\r\n")
            && answer.contains("host: 127.0.0.1:"),
        "{answer}"
    );
}

/// Trailers need an answer in chunks.
fn chunked<B>(response: &mut Response<B>) {
    response
        .headers_mut()
        .insert("transfer-encoding", HeaderValue::from_static("chunked"));
}

#[tokio::test]
async fn http_2_clients_reach_http_1_agents_with_trailers() {
    let rig = Rig::new();
    let agent = agents::http(|request: Request<_>| async move {
        let host = request.headers().get("host").cloned();
        let te = request.headers().get("te").cloned();
        let text = format!("{} {} {:?} {te:?}", request.method(), request.uri(), host);
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let body = Full::<Bytes>::from(text).with_trailers(std::future::ready(Some(Ok(trailers))));
        let mut response = Response::new(body);
        response
            .headers_mut()
            .insert("trailer", HeaderValue::from_static("grpc-status"));
        chunked(&mut response);
        response
    })
    .await;
    rig.ready("users", &[("c", agent.address)]);
    for method in [Method::GET, Method::POST] {
        let body = Full::<Bytes>::from(if method == Method::GET { "" } else { "x" });
        let request = Request::builder()
            .method(method.clone())
            .uri("http://box:8081/agent/users/s//m?q")
            .header("te", "trailers")
            .body(body)
            .unwrap();
        let answer = whole(rig.begin_h2(request).await).await;
        assert_eq!(
            answer.text,
            format!("{method} /s//m?q Some(\"box:8081\") Some(\"trailers\")")
        );
        assert_eq!(answer.trailers.unwrap().get("grpc-status").unwrap(), "0");
    }
}

#[tokio::test]
async fn trailers_pass_between_http_1_connections() {
    let rig = Rig::new();
    let agent = agents::http(|request: Request<hyper::body::Incoming>| async move {
        let got = request.into_body().collect().await.unwrap();
        let trailers = got.trailers().cloned();
        let body = Full::from(got.to_bytes()).with_trailers(std::future::ready(trailers.map(Ok)));
        let mut response = Response::new(body);
        response
            .headers_mut()
            .insert("trailer", HeaderValue::from_static("x-sum"));
        chunked(&mut response);
        response
    })
    .await;
    rig.ready("users", &[("c", agent.address)]);
    let mut raw = rig.raw().await;
    raw.send("POST /agent/users/ HTTP/1.1\r\nHost: b\r\nTE: trailers\r\nConnection: TE, close\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 9\r\n\r\n").await;
    let answer = raw.rest().await;
    assert!(
        answer.contains("5\r\nhello\r\n0\r\nx-sum: 9\r\n\r\n"),
        "{answer}"
    );
}
