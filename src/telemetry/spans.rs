//! Spans: what a request and each attempt at it took, for a collector of traces (OpenTelemetry).
//!
//! Told over OTLP/HTTP in its JSON encoding (opentelemetry.io, "OTLP Specification", §JSON Protobuf Encoding), which needs nothing beyond
//! what is here already; the crates for it would be twelve more for a dozen fields. Whoever has a span hands it in and goes on: when the collector
//! does not keep up, or is away, spans are lost and counted. A query is never in one: it may hold a secret.

use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// Spans that wait for the collector.
const WAITING: usize = 4096;

/// Which side of a call it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Who was asked.
    Server,
    /// Who asks.
    Client,
    /// Who takes up what waited.
    Consumer,
}

/// What is told beside a span's times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Words.
    Text(String),
    /// A number.
    Number(i64),
}

/// One span.
#[derive(Clone, Debug)]
pub struct Span {
    /// The trace that it is in.
    pub trace: u128,
    /// Its own id.
    pub id: u64,
    /// The span that it is within.
    pub parent: Option<u64>,
    /// Which side it is of.
    pub kind: Kind,
    /// What was done.
    pub name: String,
    /// When it began.
    pub begun: Timestamp,
    /// When it was over.
    pub ended: Timestamp,
    /// What else is told, by the names of OpenTelemetry's conventions.
    pub attributes: Vec<(&'static str, Told)>,
    /// Why it failed, if it did.
    pub failed: Option<String>,
}

/// Where spans are handed in.
#[derive(Debug)]
pub struct Spans {
    waiting: mpsc::Sender<Span>,
    /// A trace whose id's lower half is below this is told.
    below: u64,
    all: bool,
    lost: AtomicU64,
}

impl Spans {
    /// Of this share of the traces that begin here (0 to 1), and what they come out of. Whoever begins a trace elsewhere decides of it there.
    pub fn new(share: f64) -> (Self, mpsc::Receiver<Span>) {
        let (waiting, spans) = mpsc::channel(WAITING);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share; it saturates"
        )]
        let below = (share * u64::MAX as f64) as u64;
        let this = Self {
            waiting,
            below,
            all: share >= 1.0,
            lost: AtomicU64::new(0),
        };
        (this, spans)
    }

    /// Whether a trace that begins here is told. The same on every server.
    pub const fn takes(&self, trace: u128) -> bool {
        let lower = (trace & u64::MAX as u128) as u64;
        self.all || lower < self.below
    }

    /// Takes a span, or loses and counts it.
    pub fn tell(&self, span: Span) {
        if self.waiting.try_send(span).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Spans that were lost here so far.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// The body of a `POST /v1/traces`.
pub fn encoded(spans: &[Span], service: &str) -> Value {
    let attribute = |key: &str, told: &Told| {
        let value = match told {
            Told::Text(text) => json!({"stringValue": text}),
            // 64-bit numbers are text in protobuf's JSON.
            Told::Number(number) => json!({"intValue": number.to_string()}),
        };
        json!({"key": key, "value": value})
    };
    let text = |text: &str| Told::Text(text.to_owned());
    let of_span = |span: &Span| {
        let attributes = span.attributes.iter();
        let status = match &span.failed {
            Some(why) => json!({"code": 2, "message": why}),
            None => json!({}),
        };
        let mut object = json!({
            "traceId": format!("{:032x}", span.trace),
            "spanId": format!("{:016x}", span.id),
            "name": span.name,
            "kind": match span.kind {
                Kind::Server => 2,
                Kind::Client => 3,
                Kind::Consumer => 5,
            },
            "startTimeUnixNano": span.begun.as_nanosecond().to_string(),
            "endTimeUnixNano": span.ended.as_nanosecond().to_string(),
            "attributes": attributes.map(|(key, told)| attribute(key, told)).collect::<Vec<_>>(),
            "status": status,
        });
        if let (Some(parent), Some(object)) = (span.parent, object.as_object_mut()) {
            object.insert("parentSpanId".to_owned(), format!("{parent:016x}").into());
        }
        object
    };
    json!({"resourceSpans": [{
        "resource": {"attributes": [
            attribute("service.name", &text(service)),
            attribute("service.version", &text(env!("CARGO_PKG_VERSION"))),
        ]},
        "scopeSpans": [{
            "scope": {"name": "agentainer"},
            "spans": spans.iter().map(of_span).collect::<Vec<_>>(),
        }],
    }]})
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_share_of_the_traces_is_told_and_the_same_ones_everywhere() {
        for (share, expected) in [(0.0, 0), (0.25, 250), (0.5, 500), (1.0, 1000)] {
            let (spans, _) = Spans::new(share);
            // Spread over all there are.
            let step = u64::MAX / 1000;
            let taken = (0..1000).filter(|n| spans.takes(u128::from(n * step) | 7 << 64));
            let taken = taken.count();
            assert!(taken.abs_diff(expected) <= 1, "{share}: {taken}");
        }
    }

    #[test]
    fn spans_are_lost_and_counted_when_nobody_takes_them() {
        let (spans, waiting) = Spans::new(1.0);
        let span = Span {
            trace: 0xab,
            id: 1,
            parent: Some(2),
            kind: Kind::Client,
            name: "GET".to_owned(),
            begun: "2026-11-23T05:06:07Z".parse().unwrap(),
            ended: "2026-11-23T05:06:08Z".parse().unwrap(),
            attributes: vec![("server.port", Told::Number(8000))],
            failed: Some("away".to_owned()),
        };
        for _ in 0..WAITING + 3 {
            spans.tell(span.clone());
        }
        assert_eq!(spans.lost(), 3);
        drop(waiting);
        let all = encoded(&[span], "agents");
        let one = &all["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
        assert_eq!(one["traceId"], "000000000000000000000000000000ab");
        assert_eq!(one["parentSpanId"], "0000000000000002");
        assert_eq!(one["startTimeUnixNano"], "1795410367000000000");
        assert_eq!(one["attributes"][0]["value"]["intValue"], "8000");
        assert_eq!(one["status"]["code"], 2);
    }
}
