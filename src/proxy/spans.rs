//! One request's place in a trace: its own span, or that of each delivery if it was kept, and one for each attempt at an agent's instance,
//! which is the parent of whatever the agent tells. Only of requests that are told (`serve --otlp-endpoint`).

use std::sync::Arc;

use http::header::{HeaderMap, HeaderValue};
use http::{Method, Request};
use jiff::Timestamp;
use parking_lot::Mutex;

use super::chance::Chance;
use super::trace::{Context, TRACEPARENT, TRACESTATE};
use crate::clock;
use crate::endpoints::Endpoint;
use crate::journal::Record;
use crate::telemetry::spans::{Kind, Span, Spans, Told};

/// How much of a container's id is told.
const SHORT: usize = 12;

/// A request that is told. What it came to is added while it goes on.
#[derive(Debug)]
pub(super) struct Trace {
    spans: Arc<Spans>,
    trace: u128,
    id: u64,
    parent: Option<u64>,
    begun: Timestamp,
    method: Method,
    path: String,
    /// Of a delivery: which it is.
    delivers: Option<(String, u32)>,
    told: Mutex<Story>,
}

#[derive(Debug, Default)]
struct Story {
    agent: Option<String>,
    refused: Option<String>,
    attempts: Vec<Span>,
}

impl Trace {
    /// Begins a request's span within the trace that it names, or in one of its own; `None` when it is not told. Either way its header
    /// fields say from here on what is so.
    pub(super) fn begin<B>(
        spans: &Arc<Spans>,
        request: &mut Request<B>,
        chance: &Chance,
    ) -> Option<Arc<Self>> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let headers = request.headers_mut();
        let given = Context::of(headers);
        let (trace, parent, sampled) = match given {
            Some(given) => (given.trace, Some(given.span), given.sampled),
            None => {
                let trace = chance.wide() | 1;
                (trace, None, spans.takes(trace))
            }
        };
        if !sampled && parent.is_some() {
            return None;
        }
        let id = chance.next() | 1;
        say(headers, trace, id, sampled);
        if parent.is_none() {
            headers.remove(&TRACESTATE);
        }
        sampled.then(|| {
            Arc::new(Self {
                spans: Arc::clone(spans),
                trace,
                id,
                parent,
                begun: clock::now(),
                method,
                path,
                delivers: None,
                told: Mutex::default(),
            })
        })
    }

    /// Begins the span of a delivery, within that of the request that was kept.
    pub(super) fn deliver<B>(
        spans: &Arc<Spans>,
        request: &mut Request<B>,
        record: &Record,
        chance: &Chance,
    ) -> Option<Delivery> {
        let mut trace = Self::begin(spans, request, chance)?;
        trace.is_for(&record.agent);
        // Nobody else has it yet.
        Arc::get_mut(&mut trace)?.delivers =
            Some((record.id.to_string(), record.standing.attempts));
        Some(Delivery {
            trace,
            status: None,
            failed: Some("cut off".to_owned()),
        })
    }

    /// It is for this agent.
    pub(super) fn is_for(&self, agent: &str) {
        self.told.lock().agent = Some(agent.to_owned());
    }

    /// The proxy answers itself, for this reason.
    pub(super) fn refused(&self, reason: &str) {
        self.told.lock().refused = Some(reason.to_owned());
    }

    /// An attempt at an instance begins: the request tells the agent that it is within this one.
    pub(super) fn attempt(
        self: &Arc<Self>,
        endpoint: &Endpoint,
        headers: &mut HeaderMap,
        chance: &Chance,
    ) -> Attempt {
        let id = chance.next() | 1;
        say(headers, self.trace, id, true);
        let container = &endpoint.container.0;
        let instance = container.get(..SHORT).unwrap_or(container);
        let mut attributes = vec![
            ("http.request.method", Told::Text(self.method.to_string())),
            ("agentainer.instance", Told::Text(instance.to_owned())),
            (
                "server.address",
                Told::Text(endpoint.address.ip().to_string()),
            ),
            ("server.port", Told::Number(endpoint.address.port().into())),
        ];
        let mut story = self.told.lock();
        if let Some(agent) = &story.agent {
            attributes.push(("agentainer.agent", Told::Text(agent.clone())));
        }
        let before = story.attempts.len();
        if before > 0 {
            let before = i64::try_from(before).unwrap_or(i64::MAX);
            attributes.push(("http.request.resend_count", Told::Number(before)));
        }
        let now = clock::now();
        story.attempts.push(Span {
            trace: self.trace,
            id,
            parent: Some(self.id),
            kind: Kind::Client,
            name: self.method.to_string(),
            begun: now,
            ended: now,
            attributes,
            failed: None,
        });
        Attempt {
            trace: Arc::clone(self),
            nth: before,
            failed: Some("given up".to_owned()),
            status: None,
        }
    }

    /// The answer is over; without a status there was none.
    pub(super) fn ended(&self, status: Option<u16>, whole: bool) {
        let story = std::mem::take(&mut *self.told.lock());
        let now = clock::now();
        for mut attempt in story.attempts {
            if attempt.failed.is_none() {
                // Its answer was passed on until now.
                attempt.ended = now;
            }
            self.spans.tell(attempt);
        }
        let route = match &story.agent {
            Some(agent) => format!("/agent/{agent}"),
            None => "/agent".to_owned(),
        };
        let mut attributes = vec![
            ("http.request.method", Told::Text(self.method.to_string())),
            ("http.route", Told::Text(route.clone())),
            ("url.path", Told::Text(self.path.clone())),
        ];
        if let Some(status) = status {
            attributes.push(("http.response.status_code", Told::Number(status.into())));
        }
        let (kind, verb) = match &self.delivers {
            Some((record, attempt)) => {
                attributes.push(("agentainer.request", Told::Text(record.clone())));
                attributes.push(("agentainer.attempt", Told::Number((*attempt).into())));
                (Kind::Consumer, "deliver ")
            }
            None => (Kind::Server, ""),
        };
        if let Some(agent) = story.agent {
            attributes.push(("agentainer.agent", Told::Text(agent)));
        }
        let bad = status.is_none_or(|status| status >= 500);
        let failed = match (&story.refused, whole) {
            (Some(reason), _) if bad => Some(reason.clone()),
            (_, false) => Some("the answer was cut".to_owned()),
            (_, true) => bad.then(String::new),
        };
        let refused = story.refused.filter(|_| self.delivers.is_none());
        if let Some(reason) = refused {
            attributes.push(("error.type", Told::Text(reason)));
        }
        self.spans.tell(Span {
            trace: self.trace,
            id: self.id,
            parent: self.parent,
            kind,
            name: format!("{verb}{} {route}", self.method),
            begun: self.begun,
            ended: now,
            attributes,
            failed,
        });
    }
}

/// A delivery's span. If nothing is said of it, it was cut off.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) trace: Arc<Trace>,
    status: Option<u16>,
    failed: Option<String>,
}

impl Delivery {
    /// An answer came, to its end or not.
    pub(super) fn answered(mut self, status: u16, whole: bool) {
        self.status = Some(status);
        self.failed = (!whole).then(|| "the answer was cut".to_owned());
    }

    /// None did.
    pub(super) fn failed(mut self, why: &str) {
        self.failed = Some(why.to_owned());
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if let Some(why) = &self.failed {
            self.trace.refused(why);
        }
        self.trace.ended(self.status, self.failed.is_none());
    }
}

/// One attempt. If nothing is said of it, it was given up.
#[derive(Debug)]
pub(super) struct Attempt {
    trace: Arc<Trace>,
    nth: usize,
    failed: Option<String>,
    status: Option<u16>,
}

impl Attempt {
    /// An answer began.
    pub(super) fn answered(mut self, status: u16) {
        self.failed = None;
        self.status = Some(status);
    }

    /// It failed.
    pub(super) fn failed(mut self, why: &str) {
        self.failed = Some(why.to_owned());
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let now = clock::now();
        if let Some(span) = self.trace.told.lock().attempts.get_mut(self.nth) {
            span.ended = now;
            span.failed = self.failed.take();
            if let Some(status) = self.status {
                let status = Told::Number(status.into());
                span.attributes.push(("http.response.status_code", status));
            }
        }
    }
}

fn say(headers: &mut HeaderMap, trace: u128, span: u64, sampled: bool) {
    let context = Context {
        trace,
        span,
        sampled,
    };
    match HeaderValue::from_bytes(&context.text()) {
        Ok(value) => headers.insert(TRACEPARENT, value),
        Err(_) => headers.remove(&TRACEPARENT),
    };
}
