//! One delivery of a kept request, and how far it came.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT_ENCODING, HeaderName, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, Request, Uri};
use http_body::Body as _;

use super::body::{ProxyBody, RequestBody};
use super::capture::Beginning;
use super::draft::{headers, method};
use super::exchange::{http2, wish, within};
use super::forward::{Failed, forward};
use super::keep::persistence;
use super::pool::ConnectError;
use super::recorder::Recorder;
use super::spans::Trace;
use super::{Proxy, response};
use crate::agent::spec::Protocol;
use crate::endpoints::Route;
use crate::journal::policy::Outcome;
use crate::journal::{Answer, AnswerHead, Claimed, Field, RecordId};

/// The record's id, for an agent that wants to know whether it had it before.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-agentainer-request-id");
/// The number of the delivery, from 1.
pub(super) const ATTEMPT: HeaderName = HeaderName::from_static("x-agentainer-attempt");

/// How much of an answer's body is kept; the rest is read and thrown away.
pub(super) const KEPT: usize = 1 << 20;

/// How a delivery ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) outcome: Outcome,
    pub(super) reason: String,
    pub(super) answer: Option<Answer>,
}

impl Ended {
    fn without(outcome: Outcome, reason: impl Into<String>) -> Self {
        Self {
            outcome,
            reason: reason.into(),
            answer: None,
        }
    }
}

/// Sends a kept request to its agent and reads the answer.
pub(super) async fn attempt(proxy: &Proxy, route: &Arc<Route>, claimed: &Claimed) -> Ended {
    let record = &claimed.record;
    let limit = route.proxy.max_in_flight.unwrap_or(0);
    let place = match limit {
        0 => None,
        limit => match proxy
            .gates
            .enter(&record.agent, limit, Duration::ZERO)
            .await
        {
            Ok(place) => Some(place),
            Err(_full) => {
                return Ended::without(
                    Outcome::NotBegun,
                    "the agent has as many requests as it may",
                );
            }
        },
    };
    let (mut bounds, limits) = within(route);
    let Some(mut request) = request(claimed) else {
        return Ended::without(Outcome::Unsent, "its target cannot be read");
    };
    let delivery = proxy
        .spans
        .as_ref()
        .and_then(|spans| Trace::deliver(spans, &mut request, record, &proxy.chance));
    bounds.trace = delivery
        .as_ref()
        .map(|delivery| Arc::clone(&delivery.trace));
    let resumable = persistence(route).resumable;
    if resumable {
        plain(request.headers_mut());
    }
    let (wish, stick) = wish(route, request.headers_mut(), record.head.repeatable);
    if route.proxy.protocol == Some(Protocol::H2c)
        && let Some(target) = request.uri().path_and_query().cloned()
    {
        http2(&mut request, target);
    }
    match forward(route, Box::new(request), &bounds, &wish, &proxy.chance).await {
        Ok((response, mut lease)) => {
            lease.keep(place);
            let (mut parts, incoming) = response.into_parts();
            let retry_after = retry_after(&parts.headers);
            rewrite(proxy, &record.agent, &mut parts.headers);
            if let Some(stick) = &stick {
                stick.tell(&mut parts.headers, lease.endpoint());
            }
            let status = parts.status.as_u16();
            let keeping = proxy.keeping.as_ref().filter(|_| resumable);
            let mut recorder = keeping.and_then(|keeping| {
                Recorder::of(keeping, claimed.claim(), parts.status, &parts.headers)
            });
            let mut body = proxy.room.beginning(KEPT);
            let all_of_it = ProxyBody::agent(incoming, limits, lease);
            let ended = read(all_of_it, recorder.as_mut(), &mut body).await;
            if let Some(delivery) = delivery {
                delivery.answered(status, ended);
            }
            if let Some(recorder) = &mut recorder {
                recorder.end().await;
            }
            let (body, all) = body.take();
            let fields = parts.headers.iter();
            let fields = fields.map(|(name, value)| Field::new(name.as_str(), value.as_bytes()));
            let head = AnswerHead {
                status,
                fields: fields.collect(),
                whole: ended && all,
            };
            Ended {
                outcome: Outcome::Answered {
                    status,
                    retry_after,
                },
                reason: format!("the agent answered with {status}"),
                answer: Some(Answer { head, body }),
            }
        }
        Err((failed, unsent)) => {
            if let Some(delivery) = delivery {
                delivery.failed(&failed.to_string());
            }
            let outcome = match (&failed, unsent) {
                (
                    Failed::NoEndpoint
                    | Failed::Open(_)
                    | Failed::Connect {
                        source: ConnectError::Retired,
                        ..
                    },
                    _,
                ) => Outcome::NotBegun,
                // The table may be about to tell that the instance is gone.
                (_, Some(_))
                    if proxy
                        .waiting
                        .moves_on(&proxy.endpoints, &record.agent, route)
                        .await =>
                {
                    Outcome::NotBegun
                }
                (_, Some(_)) => Outcome::Unsent,
                (_, None) => Outcome::NoAnswer,
            };
            Ended::without(outcome, failed.to_string())
        }
    }
}

/// An answer's fields as a client may have them.
pub(super) fn rewrite(proxy: &Proxy, agent: &str, headers: &mut HeaderMap) {
    let table = proxy.endpoints.table();
    let source = response::Source {
        agent,
        host: None,
        is_agent: &|name| table.routes.contains_key(name),
    };
    response::rewrite(headers, &source);
}

fn request(claimed: &Claimed) -> Option<Request<RequestBody>> {
    let head = &claimed.record.head;
    let body = match claimed.body.is_empty() {
        true => RequestBody::empty(),
        false => RequestBody::kept(claimed.body.clone()),
    };
    let mut request = Request::new(body);
    *request.method_mut() = method(&head.method);
    *request.uri_mut() = head.target.parse::<Uri>().ok()?;
    *request.headers_mut() = headers(&head.fields);
    let record = &claimed.record;
    mark(request.headers_mut(), &record.id, record.standing.attempts);
    Some(request)
}

/// Tells the agent which record it is, and the how manieth delivery.
pub(super) fn mark(headers: &mut HeaderMap, id: &RecordId, attempt: u32) {
    if let Ok(id) = HeaderValue::from_str(id.as_str()) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(ATTEMPT, HeaderValue::from(attempt));
}

/// Asks for an answer that is not packed: events that are cannot be told apart.
pub(super) fn plain(headers: &mut HeaderMap) {
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
}

/// Reads an answer's body to its end, and whether it came to that.
async fn read(
    mut body: ProxyBody,
    mut recorder: Option<&mut Recorder>,
    kept: &mut Beginning,
) -> bool {
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        match frame {
            Ok(frame) => {
                if let Some(piece) = frame.data_ref() {
                    if let Some(recorder) = &mut recorder {
                        recorder.take(piece).await;
                    }
                    kept.add(piece);
                }
            }
            Err(_) => return false,
        }
    }
    true
}

/// `Retry-After` in seconds (RFC 9110 §10.2.3); as a date it is not heeded.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers
        .get(RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds))
}
