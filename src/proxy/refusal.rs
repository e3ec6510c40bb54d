//! The proxy's own answers: which status, and a text that names the agent, the cause and the next command to type.

use std::sync::Arc;
use std::time::Duration;

use http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER,
};
use http::{Method, Request, Response, StatusCode, Version};

use super::body::ProxyBody;
use super::forward::Failed;
use super::framing::Ambiguous;
use super::grpc;
use super::keep::{Kept, private};
use super::keyed::Repetition;
use super::patience::BodyError;
use crate::endpoints::Route;
use crate::journal::{JournalError, RecordId};
use crate::problem::{MEDIA_TYPE, Problem};

/// Why a request gets an answer of ours.
#[derive(Debug)]
pub(super) enum Refusal<'a> {
    /// It has two readings.
    Ambiguous(Ambiguous, Version),
    /// It names no agent: `/agent/`.
    Nobody,
    /// There is no such agent. Who asks need not be anybody we know, so it says nothing of those there are.
    Unknown { agent: &'a str },
    /// The agent is there and nothing of it is ready.
    NotReady { agent: &'a str, route: Arc<Route> },
    /// Too many requests wait for an agent to start.
    Crowded { agent: &'a str },
    /// It has as many requests as it may have, and as many wait.
    Full { agent: &'a str },
    /// The client asks more than it may, and has to wait for so long.
    TooMany(Duration),
    /// The exchange with it failed.
    Failed { agent: &'a str, failed: Failed },
    /// It was sent and not answered, and may not be sent again by itself; kept as such, if it could be.
    Lost {
        agent: &'a str,
        failed: Failed,
        kept: Option<Box<Kept>>,
    },
    /// It would have been kept, and is too long for that.
    TooLong { agent: &'a str, limit: u64 },
    /// It would have been kept, and the bodies of others take all the room.
    NoRoom { agent: &'a str },
    /// A request of the same key is there, and this is why its answer is not to be had.
    Repeated(&'a str, RecordId, Repetition),
    /// Its key belongs to another request.
    Reused { agent: &'a str, id: RecordId },
    /// It was cancelled while it was on its way.
    Cancelled { agent: &'a str },
    /// It would have been kept, and its body broke off.
    Upload { agent: &'a str, cause: BodyError },
    /// It would have been kept, and could not be.
    NotKept { agent: &'a str, error: JournalError },
    /// Its client wants to be called back where nobody is called.
    Callback { agent: &'a str, reason: String },
    /// Its answer cannot be passed on.
    BadAnswer {
        agent: &'a str,
        reason: &'static str,
    },
}

impl Refusal<'_> {
    /// The same, said with this name of the agent.
    pub(super) fn about(self, agent: &str) -> Refusal<'_> {
        match self {
            Self::Ambiguous(ambiguous, version) => Refusal::Ambiguous(ambiguous, version),
            Self::Nobody => Refusal::Nobody,
            Self::TooMany(wait) => Refusal::TooMany(wait),
            Self::Unknown { .. } => Refusal::Unknown { agent },
            Self::NotReady { route, .. } => Refusal::NotReady { agent, route },
            Self::Crowded { .. } => Refusal::Crowded { agent },
            Self::Full { .. } => Refusal::Full { agent },
            Self::Failed { failed, .. } => Refusal::Failed { agent, failed },
            Self::Lost { failed, kept, .. } => Refusal::Lost {
                agent,
                failed,
                kept,
            },
            Self::TooLong { limit, .. } => Refusal::TooLong { agent, limit },
            Self::NoRoom { .. } => Refusal::NoRoom { agent },
            Self::Repeated(_, id, how) => Refusal::Repeated(agent, id, how),
            Self::Reused { id, .. } => Refusal::Reused { agent, id },
            Self::Cancelled { .. } => Refusal::Cancelled { agent },
            Self::Upload { cause, .. } => Refusal::Upload { agent, cause },
            Self::NotKept { error, .. } => Refusal::NotKept { agent, error },
            Self::Callback { reason, .. } => Refusal::Callback { agent, reason },
            Self::BadAnswer { reason, .. } => Refusal::BadAnswer { agent, reason },
        }
    }

    /// Whether nothing of the request was sent and it may be answered later.
    pub(super) fn passes(&self) -> bool {
        matches!(
            self,
            Self::NotReady { .. }
                | Self::Crowded { .. }
                | Self::Full { .. }
                | Self::Failed {
                    failed: Failed::NoEndpoint
                        | Failed::Open(_)
                        | Failed::Connect { .. }
                        | Failed::Closed { .. }
                        | Failed::Refused { .. },
                    ..
                }
        )
    }

    /// In seconds.
    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::NotReady { route, .. } => Some(if route.starting { 1 } else { 5 }),
            Self::Failed {
                failed: Failed::Open(left),
                ..
            } => Some(left.as_secs() + 1),
            Self::NotKept { .. } => Some(5),
            Self::Repeated(_, _, Repetition::Running) | Self::NoRoom { .. } => Some(1),
            Self::TooMany(wait) => Some(whole_seconds(*wait)),
            Self::Crowded { .. }
            | Self::Full { .. }
            | Self::Failed {
                failed: Failed::NoEndpoint | Failed::Refused { .. },
                ..
            } => Some(1),
            _ => None,
        }
    }

    /// The answer with this [`Self::problem`]; without a body for `HEAD`, and as gRPC has it for a call of this media type.
    pub(super) fn response(
        &self,
        mut problem: Problem,
        method: &Method,
        call: Option<HeaderValue>,
        request_id: Option<&HeaderValue>,
    ) -> Response<ProxyBody> {
        problem.instance = request_id
            .and_then(|id| id.to_str().ok())
            .map(str::to_owned);
        if let Some(call) = call {
            return grpc::refusal(&problem, call);
        }
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::BAD_GATEWAY);
        let mut text = serde_json::to_vec(&problem).unwrap_or_default();
        text.push(b'\n');
        let body = if method == Method::HEAD {
            Vec::new()
        } else {
            text
        };
        let mut response = Response::new(ProxyBody::ours(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Self::Lost {
            kept: Some(kept), ..
        } = self
        {
            private(headers);
            headers.insert(LOCATION, kept.location.clone());
        }
        if let Some(seconds) = self.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(
                ALLOW,
                HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE"),
            );
        }
        if matches!(self, Self::Ambiguous(_, version) if *version < Version::HTTP_2) {
            // What follows on this connection may be part of this message or not.
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// The answer to a client that asks more than it may, and has to wait for so long.
pub fn too_many<B>(request: &Request<B>, wait: Duration) -> Response<ProxyBody> {
    let headers = request.headers();
    let refusal = Refusal::TooMany(wait);
    let problem = refusal.problem();
    refusal.response(problem, request.method(), grpc::media_type(headers), None)
}

pub(super) fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// To `/agent/{id}/`, so that relative links of the answer keep the prefix; 308 keeps method and body.
pub(super) fn redirect(agent: &str, query: &str) -> Response<ProxyBody> {
    let mut response = Response::new(ProxyBody::ours(""));
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    if let Ok(location) = HeaderValue::try_from(format!("/agent/{agent}/{query}")) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}
