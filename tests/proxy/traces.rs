//! Spans, as a collector on loopback gets them over OTLP.

use std::sync::Arc;
use std::time::Duration;

use agentainer::app::tell_spans;
use agentainer::front::Limits;
use agentainer::telemetry::spans::Spans;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use parking_lot::Mutex;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::agents;
use crate::kept::{DURABLE, Kept, accepted, remembering};
use crate::redis_child::RedisChild;
use crate::rig::{Rig, bounded, until};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Value>>>);

impl Collector {
    async fn start(&self) -> agents::Agent {
        let kept = Arc::clone(&self.0);
        agents::http(move |request: Request<hyper::body::Incoming>| {
            let kept = Arc::clone(&kept);
            async move {
                assert_eq!(request.uri(), "/base/v1/traces");
                assert_eq!(request.headers()["content-type"], "application/json");
                let bytes = request.into_body().collect().await.unwrap().to_bytes();
                kept.lock().push(serde_json::from_slice(&bytes).unwrap());
                Response::new(Full::new(Bytes::from("{}")))
            }
        })
        .await
    }
    /// All spans so far, the requests' and the attempts'.
    fn spans(&self) -> (Vec<Value>, Vec<Value>) {
        let all = self.0.lock();
        let spans = all.iter().flat_map(|message| {
            let resource = &message["resourceSpans"][0];
            assert_eq!(
                resource["resource"]["attributes"][0]["value"]["stringValue"],
                "box"
            );
            resource["scopeSpans"][0]["spans"].as_array().unwrap()
        });
        spans.cloned().partition(|span| span["kind"] == 2)
    }
    async fn until(&self, requests: usize, attempts: usize) -> (Vec<Value>, Vec<Value>) {
        until(|| {
            let (of_requests, of_attempts) = self.spans();
            of_requests.len() >= requests && of_attempts.len() >= attempts
        })
        .await;
        self.spans()
    }
}

fn told<'a>(span: &'a Value, key: &str) -> &'a Value {
    let all = span["attributes"].as_array().unwrap();
    let found = all.iter().find(|one| one["key"] == key);
    let value = &found.unwrap_or_else(|| panic!("no {key}: {span}"))["value"];
    value
        .get("stringValue")
        .or_else(|| value.get("intValue"))
        .unwrap()
}

/// What tells this collector of a share of what begins there.
fn tells(collector: std::net::SocketAddr, share: f64) -> (Arc<Spans>, CancellationToken) {
    let (spans, waiting) = Spans::new(share);
    let end = CancellationToken::new();
    let endpoint = format!("http://{collector}/base/").parse().unwrap();
    tokio::spawn(tell_spans(endpoint, "box".to_owned(), waiting, end.clone()));
    (Arc::new(spans), end)
}

/// A rig that does.
fn rig(collector: std::net::SocketAddr, share: f64) -> (Rig, CancellationToken) {
    let (spans, end) = tells(collector, share);
    let rig = Rig::built(Duration::from_secs(5), Limits::default(), |proxy| {
        proxy.telling(spans)
    });
    (rig, end)
}

fn get(target: &str, parent: Option<&str>) -> Request<Full<Bytes>> {
    let mut request = Request::get(target).header("host", "box:8081");
    if let Some(parent) = parent {
        request = request
            .header("traceparent", parent)
            .header("tracestate", "a=b");
    }
    request.body(Full::default()).unwrap()
}

/// The value of a field that the mirror shows.
fn shown<'a>(head: &'a str, name: &str) -> &'a str {
    let line = head.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap().trim_start_matches(": ")
}

#[tokio::test]
async fn a_request_and_its_attempt_continue_the_clients_trace_down_to_the_agent() {
    let collector = Collector::default();
    let (rig, _end) = rig(collector.start().await.address, 0.0);
    let agent = agents::mirror().await;
    rig.ready("users", &[("0123456789abcdef", agent.address)]);
    let answer = rig
        .ask(get("/agent/users/x?key=secret", Some(PARENT)))
        .await;
    let (requests, attempts) = collector.until(1, 1).await;
    let (request, attempt) = (&requests[0], &attempts[0]);
    for span in [request, attempt] {
        assert_eq!(span["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(told(span, "agentainer.agent"), "users");
        assert_eq!(told(span, "http.request.method"), "GET");
        assert_eq!(told(span, "http.response.status_code"), "200");
        let time = |which: &str| span[which].as_str().unwrap().parse::<u64>().unwrap();
        assert!(time("startTimeUnixNano") <= time("endTimeUnixNano"));
    }
    assert_eq!(request["name"], "GET /agent/users");
    assert_eq!(request["parentSpanId"], "00f067aa0ba902b7");
    assert_eq!(told(request, "url.path"), "/agent/users/x");
    assert_eq!(attempt["parentSpanId"], request["spanId"]);
    assert_eq!(told(attempt, "agentainer.instance"), "0123456789ab");
    assert_eq!(
        told(attempt, "server.port"),
        &agent.address.port().to_string()
    );
    let span = attempt["spanId"].as_str().unwrap();
    let expected = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{span}-01");
    assert_eq!(shown(&answer.text, "traceparent"), expected);
    assert_eq!(shown(&answer.text, "tracestate"), "a=b");
    assert!(!format!("{:?}", collector.0.lock()).contains("secret"));
}

#[tokio::test]
async fn a_request_that_is_tried_again_shows_both_attempts() {
    let collector = Collector::default();
    let (rig, _end) = rig(collector.start().await.address, 1.0);
    let gone = agents::raw(|mut stream, _| async move {
        crate::rig::read_until(&mut stream, "\r\n\r\n").await;
    })
    .await;
    let good = agents::mirror().await;
    rig.ready("users", &[("gone", gone.address), ("good", good.address)]);
    for _ in 0..20 {
        let answer = rig.ask(get("/agent/users/", None)).await;
        assert_eq!(answer.status, 200);
    }
    assert!(gone.connections() > 0, "it was never chosen");
    let (requests, attempts) = collector.until(20, 21).await;
    let lost = attempts
        .iter()
        .find(|span| told(span, "agentainer.instance") == "gone");
    let lost = lost.unwrap();
    assert_eq!(lost["status"]["code"], 2, "{lost}");
    let of_the_same = |span: &&Value| span["parentSpanId"] == lost["parentSpanId"];
    let both: Vec<_> = attempts.iter().filter(of_the_same).collect();
    assert_eq!(both.len(), 2);
    assert_eq!(told(both[1], "agentainer.instance"), "good");
    assert_eq!(told(both[1], "http.request.resend_count"), "1");
    let request = requests
        .iter()
        .find(|span| span["spanId"] == lost["parentSpanId"]);
    assert_eq!(told(request.unwrap(), "http.response.status_code"), "200");
    assert!(request.unwrap().get("parentSpanId").is_none());
}

#[tokio::test]
async fn what_is_not_sampled_is_not_told_and_what_we_refuse_is() {
    let collector = Collector::default();
    let (rig, end) = rig(collector.start().await.address, 0.0);
    let agent = agents::mirror().await;
    rig.ready("users", &[("c", agent.address)]);
    let unsampled = PARENT.replace("-01", "-00");
    let answer = rig.ask(get("/agent/users/", Some(&unsampled))).await;
    assert_eq!(shown(&answer.text, "traceparent"), unsampled);
    let answer = rig.ask(get("/agent/users/", None)).await;
    assert!(shown(&answer.text, "traceparent").ends_with("-00"));
    assert_eq!(rig.ask(get("/agent/none/", Some(PARENT))).await.status, 404);
    end.cancel();
    let (requests, attempts) = collector.until(1, 0).await;
    assert_eq!((requests.len(), attempts.len()), (1, 0));
    assert_eq!(told(&requests[0], "error.type"), "agent-not-found");
    assert_eq!(requests[0]["parentSpanId"], "00f067aa0ba902b7");
}

#[tokio::test]
async fn a_collector_that_is_away_costs_no_request() {
    let (rig, end) = rig(agents::nobody().await, 1.0);
    let agent = agents::mirror().await;
    rig.ready("users", &[("c", agent.address)]);
    for _ in 0..50 {
        assert_eq!(bounded(rig.get("/agent/users/")).await.status, 200);
    }
    end.cancel();
}

#[tokio::test]
async fn a_delivery_of_what_was_kept_is_within_the_request_that_was() {
    let collector = Collector::default();
    let (spans, _end) = tells(collector.start().await.address, 1.0);
    let (patience, redis) = (Duration::from_secs(10), RedisChild::start(&DURABLE));
    let kept = Kept::built(
        patience,
        redis,
        |_| Vec::new(),
        |proxy| proxy.telling(spans),
    );
    kept.down("users", |_| {});
    let fields = [("traceparent", PARENT)];
    let answer = kept
        .post("/agent/users/pay?key=secret", &fields, b"1")
        .await;
    let id = accepted(&answer);
    let (agent, got) = remembering(201).await;
    kept.up("users", &agent);
    let (requests, others) = collector.until(1, 2).await;
    let of_kind = |kind: u64| {
        let mut all = others.iter().filter(|span| span["kind"] == kind);
        all.next().unwrap_or_else(|| panic!("{others:?}"))
    };
    let (delivery, attempt) = (of_kind(5), of_kind(3));
    assert_eq!(delivery["name"], "deliver POST /agent/users");
    assert_eq!(delivery["parentSpanId"], requests[0]["spanId"]);
    assert_eq!(attempt["parentSpanId"], delivery["spanId"]);
    assert_eq!(told(delivery, "agentainer.request"), id.as_str());
    assert_eq!(told(delivery, "agentainer.attempt"), "1");
    assert_eq!(told(delivery, "url.path"), "/pay");
    assert_eq!(told(delivery, "http.response.status_code"), "201");
    assert_eq!(delivery["status"], serde_json::json!({}));
    for span in [delivery, attempt] {
        assert_eq!(span["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");
    }
    let sent = got.lock()[0].0.headers["traceparent"].clone();
    let span = attempt["spanId"].as_str().unwrap();
    assert!(sent.to_str().unwrap().contains(span), "{sent:?}");
}
