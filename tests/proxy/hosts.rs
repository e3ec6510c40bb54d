//! Agents at hosts of their own: everything of the target and of the answer is theirs, and nothing there is ours.

use std::sync::Arc;
use std::time::Duration;

use agentainer::front::{Front, Hosts, Limits};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;

use crate::agents;
use crate::frames::{self, Frames, Outcome};
use crate::rig::{Rig, whole};

fn rig() -> Rig {
    let mut rig = Rig::with(Duration::from_secs(5), Limits::default());
    let ours = ["api.agents.example".to_owned()];
    let router = rig.router();
    let front = Front::new(Arc::clone(&rig.proxy), router, Limits::default());
    rig.front = front.route_hosts(Hosts::below("agents.example", &ours));
    rig.address = rig.front.listen(([127, 0, 0, 1], 0).into()).unwrap();
    rig
}

fn at(host: &str, target: &str) -> Request<Full<Bytes>> {
    let request = Request::get(target).header("host", host);
    request.body(Full::default()).unwrap()
}

#[tokio::test]
async fn all_of_the_target_is_the_agents_byte_for_byte() {
    let rig = rig();
    rig.ready("users", &[("c", agents::mirror().await.address)]);
    for target in [
        "/",
        "/x//%2e/../y?q=%20&r=/agent/",
        "/agent/users/x",
        "/agents",
        "/health",
        "/apply",
    ] {
        let head = rig.ask(at("Users.Agents.Example:8081", target)).await.text;
        assert!(
            head.starts_with(&format!("GET {target} HTTP/1.1\r\n")),
            "{head}"
        );
        assert!(
            head.contains("host: Users.Agents.Example:8081\r\n"),
            "{head}"
        );
        assert!(!head.contains("x-forwarded-prefix"), "{head}");
        assert!(
            head.contains("x-forwarded-host: Users.Agents.Example:8081\r\n"),
            "{head}"
        );
    }
    let mut raw = rig.raw().await;
    raw.send("GET http://users.agents.example?q HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await;
    let all = raw.rest().await;
    assert!(all.contains("GET /?q HTTP/1.1\r\n"), "{all}");
    // An authority alone is a tunnel's target (RFC 9112 §3.2.3).
    let mut raw = rig.raw().await;
    raw.send("GET users.agents.example:80 HTTP/1.1\r\nHost: users.agents.example\r\nConnection: close\r\n\r\n")
        .await;
    let all = raw.rest().await;
    assert!(all.starts_with("HTTP/1.1 400 "), "{all}");
    // HTTP/2 names it in the target.
    let request = Request::get("http://users.agents.example/x").body(Full::<Bytes>::default());
    let answer = whole(rig.begin_h2(request.unwrap()).await).await;
    assert!(answer.text.starts_with("GET /x HTTP/1.1\r\n"), "{answer:?}");
    // The path works under any host but those.
    let answer = rig.ask(at("agents.example", "/agent/users/x")).await;
    assert!(answer.text.starts_with("GET /x HTTP/1.1\r\n"), "{answer:?}");
}

#[tokio::test]
async fn options_of_all_of_an_agent_are_its_own() {
    let rig = rig();
    rig.ready("users", &[("c", agents::mirror().await.address)]);
    for (method, target, got) in [
        ("OPTIONS", "*", "OPTIONS * HTTP/1.1"),
        // Without a path it would mean the same (RFC 9112 §3.2.4), but `http` reads that as a slash.
        (
            "OPTIONS",
            "http://users.agents.example",
            "OPTIONS / HTTP/1.1",
        ),
        ("GET", "*", ""),
    ] {
        let mut raw = rig.raw().await;
        raw.send(format!(
            "{method} {target} HTTP/1.1\r\nHost: users.agents.example\r\nConnection: close\r\n\r\n"
        ))
        .await;
        let all = raw.rest().await;
        match got {
            "" => assert!(all.starts_with("HTTP/1.1 400 "), "{target}: {all}"),
            got => assert!(all.contains(&format!("{got}\r\n")), "{target}: {all}"),
        }
    }
    // HTTP/2 has a path for it.
    let mut client = Frames::connect(rig.address).await;
    let mut star = frames::request("OPTIONS", "*");
    star[2].1 = "users.agents.example".to_owned();
    client.head(1, &star).await;
    assert_eq!(client.outcome(1).await, Outcome::Status(200));
    assert!(
        client.body.starts_with("OPTIONS * HTTP/1.1\r\n"),
        "{}",
        client.body
    );
}

#[tokio::test]
async fn law_7_the_api_is_not_there() {
    let rig = rig();
    for (host, target) in [
        ("nobody.agents.example", "/agents"),
        ("a.b.agents.example", "/health"),
        ("nobody.agents.example", "/agent/users/"),
    ] {
        let answer = rig.ask(at(host, target)).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{answer:?}");
        assert!(answer.detail().contains("no agent is called"), "{answer:?}");
    }
    for host in ["api.agents.example", "agents.example", "localhost"] {
        let answer = rig.ask(at(host, "/agents")).await;
        assert!(answer.text.starts_with("router /agents"), "{answer:?}");
    }
    let mut raw = rig.raw().await;
    raw.send("GET /agents HTTP/1.1\r\nHost: users.agents.example\r\nHost: localhost\r\n\r\n")
        .await;
    assert!(raw.until("\r\n").await.starts_with("HTTP/1.1 400 "));
}

#[tokio::test]
async fn what_the_agent_says_of_its_origin_stands_but_for_other_hosts() {
    let rig = rig();
    let agent = agents::http(|_: Request<Incoming>| async move {
        Response::builder()
            .header("location", "/login")
            .header("set-cookie", "a=1; Path=/; HttpOnly")
            .header("set-cookie", "b=2; Domain=agents.example; Path=/x")
            .header("strict-transport-security", "max-age=1")
            .header("connection", "x-mine")
            .header("x-mine", "1")
            .body(Full::<Bytes>::default())
            .unwrap()
    })
    .await;
    rig.ready("users", &[("c", agent.address)]);
    let answer = rig.ask(at("users.agents.example", "/")).await;
    assert_eq!(answer.header("location"), Some("/login"));
    let cookies = answer.headers.get_all("set-cookie").iter();
    let cookies: Vec<_> = cookies.map(|cookie| cookie.to_str().unwrap()).collect();
    assert_eq!(cookies, ["a=1; Path=/; HttpOnly", "b=2; Path=/x"]);
    assert_eq!(
        answer.header("strict-transport-security"),
        Some("max-age=1")
    );
    assert_eq!(answer.header("x-mine"), None);
}

#[tokio::test]
async fn law_7_a_results_address_is_never_an_agents_though_its_host_is() {
    let rig = rig();
    rig.ready("users", &[("c", agents::mirror().await.address)]);
    let (id, secret) = ("0123456789abcdef".repeat(2), "fedcba9876543210".repeat(2));
    for below in ["", "/answer", "/events", "?wait=1"] {
        let target = format!("/results/{id}.{secret}{below}");
        let answer = rig.ask(at("users.agents.example", &target)).await;
        assert!(
            answer.text.starts_with(&format!("router {target}")),
            "{answer:?}"
        );
    }
    for target in [
        "/results".to_owned(),
        "/results/".to_owned(),
        "/results/7.html".to_owned(),
        format!("/results/{id}"),
        format!("/results/{id}.x"),
        format!("/x/results/{id}.{secret}"),
    ] {
        let answer = rig.ask(at("users.agents.example", &target)).await;
        assert!(
            answer.text.starts_with(&format!("GET {target} ")),
            "{answer:?}"
        );
    }
}
