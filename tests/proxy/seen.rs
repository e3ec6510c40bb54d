//! What is told of requests: the counts of a scrape, the access log, `Server-Timing`.

use std::sync::Arc;
use std::time::Duration;

use agentainer::agent::spec::{OnDisconnect, Proxy as ProxySpec};
use agentainer::config::LogFormat;
use agentainer::front::Limits;
use agentainer::telemetry::access::AccessLog;
use agentainer::telemetry::figures::AgentSample;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tokio::io::AsyncWriteExt as _;

use crate::agents;
use crate::rig::{Rig, until};

fn sample(rig: &Rig, agent: &str) -> AgentSample {
    let mut all = rig.proxy.agents_seen().into_iter();
    all.find(|seen| seen.name == agent).unwrap().traffic
}

fn count(sample: &AgentSample, code: u16) -> u64 {
    let found = sample.codes.iter().find(|(status, _)| *status == code);
    found.map_or(0, |(_, count)| *count)
}

#[tokio::test]
async fn each_answer_is_counted_once_under_its_agent_and_status() {
    let rig = Rig::new();
    let agent = agents::http(|request| async move {
        let status = match request.uri().path() {
            "/missing" => StatusCode::NOT_FOUND,
            _ => StatusCode::OK,
        };
        let mut response = Response::new(Full::new(Bytes::from("12345")));
        *response.status_mut() = status;
        response
    })
    .await;
    rig.ready("users", &[("a", agent.address)]);
    rig.publish("auth", &[], |_| {});
    for _ in 0..3 {
        rig.get("/agent/users/").await;
    }
    rig.get("/agent/users/missing").await;
    assert_eq!(rig.get("/agent/auth/").await.status, 503);
    assert_eq!(rig.get("/agent/nobody/").await.status, 404);
    until(|| count(&sample(&rig, "users"), 404) == 1).await;
    let users = sample(&rig, "users");
    assert_eq!(users.codes, [(200, 3), (404, 1)]);
    assert_eq!((users.sent, users.cut), (20, 0));
    assert_eq!(users.duration.1.iter().sum::<u64>(), 4);
    assert_eq!(users.first_byte.1.iter().sum::<u64>(), 4);
    let auth = sample(&rig, "auth");
    assert_eq!(auth.codes, [(503, 1)]);
    assert_eq!(auth.refused, [("agent-not-ready".to_owned(), 1)].into());
    assert_eq!(
        auth.first_byte.1.iter().sum::<u64>(),
        0,
        "no agent answered"
    );
    // A name that is nobody's is no label of ours: whoever asks could make up any number of them.
    assert_eq!(rig.proxy.nobody_seen().codes, [(404, 1)]);
    assert_eq!(rig.proxy.agents_seen().len(), 2);
}

#[tokio::test]
async fn an_agent_that_is_made_anew_begins_at_nothing_and_a_change_of_its_instances_keeps_its_counts()
 {
    let rig = Rig::new();
    let agent = agents::mirror().await;
    rig.ready("users", &[("a", agent.address)]);
    rig.get("/agent/users/").await;
    rig.ready("users", &[("b", agent.address)]);
    rig.get("/agent/users/").await;
    until(|| count(&sample(&rig, "users"), 200) == 2).await;
    rig.publish("users", &[("c", agent.address)], |publication| {
        publication.uid = agentainer::agent::Uid("another".to_owned());
    });
    assert_eq!(sample(&rig, "users"), AgentSample::default());
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_cut_and_a_tunnel_is_counted_at_its_end() {
    let rig = Rig::new();
    let agent = agents::raw(|mut stream, _| async move {
        let head = crate::rig::read_until(&mut stream, "\r\n\r\n").await;
        let answer: &[u8] = match head.contains("upgrade") {
            true => b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nhello",
            false => b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf",
        };
        stream.write_all(answer).await.unwrap();
        if head.contains("upgrade") {
            crate::rig::read_until(&mut stream, "bye").await;
        }
    })
    .await;
    rig.ready("users", &[("a", agent.address)]);
    let mut raw = rig.raw().await;
    raw.send("GET /agent/users/ HTTP/1.1\r\nhost: b\r\n\r\n")
        .await;
    raw.rest().await;
    until(|| sample(&rig, "users").cut == 1).await;
    assert_eq!(sample(&rig, "users").codes, [(200, 1)]);

    let mut raw = rig.raw().await;
    raw.send(
        "GET /agent/users/ HTTP/1.1\r\nhost: b\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n",
    )
    .await;
    raw.until("hello").await;
    assert_eq!(count(&sample(&rig, "users"), 101), 0, "it goes on");
    assert_eq!(rig.proxy.agents_seen()[0].in_flight, 1);
    raw.send("bye").await;
    drop(raw);
    until(|| count(&sample(&rig, "users"), 101) == 1).await;
    let users = sample(&rig, "users");
    assert_eq!((users.cut, users.sent), (1, 4 + 5));
}

#[tokio::test]
async fn a_client_that_goes_leaves_one_cut_answer_whether_its_run_goes_on_or_not() {
    for goes_on in [false, true] {
        let rig = Rig::new();
        let agent = agents::raw(|mut stream, _| async move {
            crate::rig::read_until(&mut stream, "\r\n\r\n").await;
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345";
            stream.write_all(head).await.unwrap();
            crate::rig::read_until(&mut stream, "never").await;
        })
        .await;
        rig.publish("users", &[("a", agent.address)], |publication| {
            publication.proxy = ProxySpec {
                on_disconnect: goes_on.then_some(OnDisconnect::Continue),
                ..ProxySpec::default()
            };
        });
        let mut raw = rig.raw().await;
        raw.send("GET /agent/users/ HTTP/1.1\r\nhost: b\r\n\r\n")
            .await;
        raw.until("12345").await;
        drop(raw);
        until(|| sample(&rig, "users").cut == 1).await;
        assert_eq!(
            sample(&rig, "users").codes,
            [(200, 1)],
            "goes on: {goes_on}"
        );
    }
}

#[tokio::test]
async fn retries_and_ejections_are_counted() {
    let rig = Rig::new();
    let rude = agents::raw(|mut stream, _| async move {
        crate::rig::read_until(&mut stream, "\r\n\r\n").await;
    })
    .await;
    let well = agents::mirror().await;
    let both = [("a", rude.address), ("b", well.address)];
    rig.publish("users", &both, |publication| {
        publication.proxy.breaker = Some(agentainer::agent::spec::Breaker {
            failures: 1,
            ..Default::default()
        });
    });
    while sample(&rig, "users").ejections == 0 {
        assert_eq!(rig.get("/agent/users/").await.status, 200);
    }
    let seen = &rig.proxy.agents_seen()[0];
    assert_eq!(
        (seen.traffic.retries, seen.traffic.ejections, seen.ejected),
        (1, 1, 1)
    );
}

#[tokio::test]
async fn a_client_is_told_our_own_share_beside_what_the_agent_says() {
    let rig = Rig::new();
    let agent = agents::scripted(
        "HTTP/1.1 200 OK\r\nserver-timing: db;dur=53\r\ncontent-length: 0\r\n\r\n",
    )
    .await;
    rig.ready("users", &[("a", agent.address)]);
    let answer = rig.get("/agent/users/").await;
    let all: Vec<_> = answer.headers.get_all("server-timing").iter().collect();
    let [theirs, ours] = all[..] else {
        panic!("{answer:?}");
    };
    assert_eq!(theirs, "db;dur=53");
    let ours = ours.to_str().unwrap().strip_prefix("agentainer;dur=");
    assert!(ours.unwrap().parse::<f64>().unwrap() < 10_000.0);
}

#[tokio::test]
async fn the_access_log_has_a_line_for_each_request_and_no_query() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let log = Arc::new(AccessLog::start(&path, LogFormat::Json).unwrap());
    let rig = Rig::logged(Duration::from_secs(5), Limits::default(), &log);
    let agent = agents::mirror().await;
    rig.ready("users", &[("0123456789abcdef", agent.address)]);
    let request = Request::post("/agent/users/run?token=secret")
        .header("host", "b")
        .header("user-agent", "me/1")
        .header("x-request-id", "r-7")
        .body(Full::default());
    rig.ask(request.unwrap()).await;
    rig.get("/agent/nobody/").await;
    until(|| {
        let text = std::fs::read_to_string(&path).unwrap();
        text.lines().count() == 2
    })
    .await;
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains("secret"), "{text}");
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let told = |line: usize, field: &str| lines[line][field].clone();
    assert_eq!(told(0, "path"), "/agent/users/run");
    assert_eq!(told(0, "method"), "POST");
    assert_eq!(told(0, "status"), 200);
    assert_eq!(told(0, "agent"), "users");
    assert_eq!(told(0, "instance"), "0123456789ab");
    assert_eq!(told(0, "requestId"), "r-7");
    assert_eq!(told(0, "userAgent"), "me/1");
    assert_eq!(told(0, "complete"), true);
    assert_eq!(told(0, "peer"), "127.0.0.1");
    assert_eq!(told(1, "status"), 404);
    assert_eq!(told(1, "agent"), serde_json::Value::Null);
}
