//! One delivery of a kept request, and how far it came.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use http::header::{HeaderName, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, Request, Uri};
use http_body::Body as _;
use tokio::time::Instant;

use super::body::{ProxyBody, RequestBody};
use super::exchange::http2;
use super::forward::{Bounds, Failed, forward};
use super::keep::{headers, method};
use super::patience::Limits;
use super::pick::Wish;
use super::pool::ConnectError;
use super::{Proxy, response, session};
use crate::agent::spec::Protocol;
use crate::endpoints::Route;
use crate::journal::policy::Outcome;
use crate::journal::{Answer, AnswerHead, Claimed, Field};

/// The record's id, for an agent that wants to know whether it had it before.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-agentainer-request-id");
/// The number of the delivery, from 1.
const ATTEMPT: HeaderName = HeaderName::from_static("x-agentainer-attempt");

/// How much of an answer's body is kept; the rest is read and thrown away.
const KEPT: usize = 1 << 20;

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
    let timeouts = route.proxy.timeouts.unwrap_or_default();
    let deadline = (timeouts.total.millis > 0).then(|| Instant::now() + timeouts.total.duration());
    let bounds = Bounds {
        connect: timeouts.connect.duration(),
        first_byte: timeouts.first_byte.duration(),
        deadline,
        progress: None,
        patience: Duration::ZERO,
    };
    let limits = Limits {
        idle: timeouts.idle.duration(),
        deadline,
    };
    let Some(mut request) = request(claimed) else {
        return Ended::without(Outcome::Unsent, "its target cannot be read");
    };
    let wish = Wish {
        balance: route.proxy.balance,
        session: session::key(request.headers(), route.proxy.session.as_ref()),
        repeatable: record.head.repeatable,
    };
    if route.proxy.protocol == Some(Protocol::H2c)
        && let Some(target) = request.uri().path_and_query().cloned()
    {
        http2(&mut request, target);
    }
    match forward(route, request, &bounds, &wish, &proxy.chance).await {
        Ok((response, mut lease)) => {
            lease.keep(place);
            let (mut parts, incoming) = response.into_parts();
            let retry_after = retry_after(&parts.headers);
            rewrite(proxy, &record.agent, &mut parts.headers);
            let status = parts.status.as_u16();
            let (body, whole) = read(ProxyBody::agent(incoming, limits, lease)).await;
            let fields = parts.headers.iter();
            let fields = fields.map(|(name, value)| Field::new(name.as_str(), value.as_bytes()));
            let head = AnswerHead {
                status,
                fields: fields.collect(),
                whole,
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
fn rewrite(proxy: &Proxy, agent: &str, headers: &mut HeaderMap) {
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
    let headers = request.headers_mut();
    headers.insert(
        REQUEST_ID,
        HeaderValue::from_str(claimed.record.id.as_str()).ok()?,
    );
    headers.insert(ATTEMPT, HeaderValue::from(claimed.record.standing.attempts));
    Some(request)
}

/// An answer's body as far as it is kept, and whether that is all of it.
async fn read(mut body: ProxyBody) -> (bytes::Bytes, bool) {
    let mut kept = BytesMut::new();
    let mut whole = true;
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        match frame.map(http_body::Frame::into_data) {
            Ok(Ok(piece)) if kept.len() + piece.len() <= KEPT => kept.extend_from_slice(&piece),
            Ok(Ok(_)) => whole = false,
            Ok(Err(_trailers)) => {}
            Err(_) => {
                whole = false;
                break;
            }
        }
    }
    (kept.freeze(), whole)
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
