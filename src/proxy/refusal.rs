//! The proxy's own answers: which status, and a text that names the agent, the cause and the next command to type.

use std::error::Error as _;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER,
};
use http::{Method, Request, Response, StatusCode, Version};

use super::body::ProxyBody;
use super::forward::Failed;
use super::framing::Ambiguous;
use super::keep::{Kept, private};
use super::patience::BodyError;
use super::pool::ConnectError;
use super::{grpc, h2c};
use crate::endpoints::Route;
use crate::journal::{Bound, JournalError};
use crate::problem::{MEDIA_TYPE, Problem};

/// How much of a name that is none is said back.
const SHOWN: usize = 63;

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
    /// It would have been kept, and its body broke off.
    Upload { agent: &'a str, cause: BodyError },
    /// It would have been kept, and could not be.
    NotKept { agent: &'a str, error: JournalError },
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
            Self::Upload { cause, .. } => Refusal::Upload { agent, cause },
            Self::NotKept { error, .. } => Refusal::NotKept { agent, error },
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

    /// What is said of it.
    pub(super) fn problem(&self) -> Problem {
        match self {
            Self::Ambiguous(Ambiguous { status, reason }, _) => Problem::new(*status, "ambiguous-request", "The request has more than one reading", *reason),
            Self::TooMany(wait) => Problem::new(
                429,
                "too-many-requests",
                "You ask too much at once",
                format!("this client asks more than each may (agentainer serve --client-rate); wait for {} s", whole_seconds(*wait)),
            ),
            Self::Nobody => Problem::new(
                404,
                "no-agent-named",
                "No agent is named",
                "an agent answers at /agent/{name}/…; `agentainer get agents` lists the names",
            ),
            Self::Unknown { agent } => {
                let shown: String = agent.chars().take(SHOWN).collect();
                Problem::new(
                    404,
                    "agent-not-found",
                    "There is no such agent",
                    format!("no agent is called '{shown}'; `agentainer get agents` lists those there are"),
                )
                .about(&shown)
            }
            Self::NotReady { agent, route } => {
                let explanation = match (route.explanation.as_str(), route.starting) {
                    ("", true) => "it is starting",
                    ("", false) => "no instance of it is ready",
                    (explanation, _) => explanation,
                };
                Problem::new(
                    503,
                    "agent-not-ready",
                    "The agent cannot answer now",
                    format!("agent '{agent}' cannot answer now: {explanation}; see `agentainer describe {agent}` and `agentainer logs {agent}`"),
                )
                .about(agent)
            }
            Self::Crowded { agent } => Problem::new(
                503,
                "agent-not-ready",
                "The agent cannot answer now",
                format!("agent '{agent}' is starting and too many requests wait for it already; see `agentainer describe {agent}`"),
            )
            .about(agent),
            Self::Full { agent } => Problem::new(
                429,
                "agent-full",
                "The agent has too many requests",
                format!("agent '{agent}' has as many requests at once as it may have, and as many wait (proxy.maxInFlight); ask again later, or `agentainer scale {agent}`"),
            )
            .about(agent),
            Self::Failed { agent, failed } => exchange(agent, failed),
            Self::Lost { agent, failed, kept } => {
                let mut problem = exchange(agent, failed);
                problem.detail.push_str(&match kept {
                    Some(kept) => format!(
                        "; it is kept as request {id}, whose end is unknown, and was not sent again: `agentainer requests replay {agent} {id}` does so",
                        id = kept.id
                    ),
                    None => "; it is not kept: not all of it had come, it is too long, or the journal took nothing".to_owned(),
                });
                problem
            }
            Self::TooLong { agent, limit } => Problem::new(
                413,
                "body-too-long",
                "The request is too long to be kept",
                format!("agent '{agent}' cannot answer now, and a request of more than {limit} bytes is not kept for it (persistence.maxBody); see `agentainer describe {agent}`"),
            )
            .about(agent),
            Self::Upload { agent, cause } => {
                let (status, word, detail) = broken_upload(agent, cause);
                Problem::new(status, word, "The request did not arrive whole", detail).about(agent)
            }
            Self::NotKept { agent, error } => not_kept(agent, error),
            Self::BadAnswer { agent, reason } => Problem::new(
                502,
                "bad-answer",
                "The agent's answer cannot be passed on",
                format!("agent '{agent}' {reason}; see `agentainer logs {agent}`"),
            )
            .about(agent),
        }
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

fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

fn exchange(agent: &str, failed: &Failed) -> Problem {
    let logs = format!("`agentainer logs {agent}`");
    let (status, word, detail) = match failed {
        Failed::NoEndpoint => (
            503,
            "agent-not-ready",
            format!(
                "no instance of agent '{agent}' is ready; see `agentainer describe {agent}` and {logs}"
            ),
        ),
        Failed::Open(_) => (
            503,
            "circuit-open",
            format!(
                "agent '{agent}' failed too often in a row and is left alone for a moment (proxy.breaker); see {logs} and `agentainer describe {agent}`"
            ),
        ),
        Failed::Connect {
            address,
            source: ConnectError::Refused,
        } => (
            502,
            "connection-refused",
            format!(
                "agent '{agent}' refused the connection to {address}: nothing listens on port {port}. Let it listen on 0.0.0.0:{port}, not 127.0.0.1:{port}, and check `port` in its spec; see {logs}",
                port = address.port()
            ),
        ),
        Failed::Connect {
            address,
            source: source @ ConnectError::TimedOut(_),
        } => (
            502,
            "connect-timeout",
            format!(
                "agent '{agent}' at {address}: {source} (proxy.timeouts.connect); see {logs} and `docker network inspect agentainer-network`"
            ),
        ),
        Failed::Connect { address, source } => (
            502,
            "connection-failed",
            format!(
                "agent '{agent}' at {address} cannot be reached: {source}; see {logs} and `agentainer describe {agent}`"
            ),
        ),
        Failed::Closed { address } => (
            502,
            "connection-closed",
            format!("agent '{agent}' at {address} closes every connection at once; see {logs}"),
        ),
        Failed::Refused { address } => (
            503,
            "request-refused",
            format!(
                "agent '{agent}' at {address} refused the request before it did anything with it: it has too many at once, or is ending; see {logs}"
            ),
        ),
        Failed::Upload(cause) => broken_upload(agent, cause),
        Failed::NoAnswer { source } if let Some(cause) = upload(source) => {
            broken_upload(agent, cause)
        }
        Failed::NoAnswer { source } => {
            let cause = if source.is_parse() || source.is_parse_too_large() {
                "answered with something that is not HTTP/1.1 (proxy.protocol)"
            } else if h2c::is_foreign(source) {
                "answered with something that is not HTTP/2 (proxy.protocol: h2c)"
            } else if cut_off(source) {
                "lost its address or its network before it answered"
            } else {
                "ended the connection without an answer"
            };
            (
                502,
                "no-answer",
                format!("agent '{agent}' {cause}; it may have handled the request; see {logs}"),
            )
        }
        Failed::FirstByte(_) => (
            504,
            "answer-timeout",
            format!(
                "agent '{agent}': {failed} (proxy.timeouts.firstByte); it may have handled the request; see {logs}"
            ),
        ),
        Failed::Total => (
            504,
            "answer-timeout",
            format!("agent '{agent}': {failed}; it may have handled the request; see {logs}"),
        ),
    };
    let title = match status {
        400 | 408 => "The request did not arrive whole",
        503 => "The agent cannot answer now",
        504 => "The agent took too long",
        _ => "The agent cannot be reached",
    };
    Problem::new(status, word, title, detail).about(agent)
}

fn broken_upload(agent: &str, cause: &BodyError) -> (u16, &'static str, String) {
    let (status, word) = match cause {
        BodyError::Idle(_) => (408, "upload-stalled"),
        BodyError::Total => (504, "answer-timeout"),
        BodyError::Broken(_) | BodyError::TakenBack => (400, "upload-broken"),
    };
    let detail = format!("the request's body for agent '{agent}' did not arrive whole: {cause}");
    (status, word, detail)
}

/// Why a request that cannot be answered now is not kept either.
fn not_kept(agent: &str, error: &JournalError) -> Problem {
    let list = format!("`agentainer requests list {agent}`");
    let (status, word, cause) = match error {
        JournalError::Full(Bound::Queue) => (
            429,
            "queue-full",
            format!("as many requests wait for it as may (persistence.maxQueue); see {list}"),
        ),
        JournalError::Full(Bound::Bytes) => (
            429,
            "queue-full",
            format!(
                "the requests that wait for it are as long as they may be together (persistence.maxBytes); see {list}"
            ),
        ),
        JournalError::Full(Bound::Memory) => (
            503,
            "journal-full",
            format!("the journal is full (--journal-memory); see {list}"),
        ),
        JournalError::NotDurable(_) => (
            503,
            "durability-unavailable",
            format!("{error}, or serve with --durability=memory"),
        ),
        _ => (503, "journal-unavailable", error.to_string()),
    };
    Problem::new(
        status,
        word,
        "The request cannot be kept",
        format!("agent '{agent}' cannot answer now, and the request is not kept: {cause}"),
    )
    .about(agent)
}

/// What was wrong with the request's own body, when that was it.
fn upload(failed: &hyper::Error) -> Option<&BodyError> {
    failed.source().and_then(|cause| cause.downcast_ref())
}

/// Whether the agent's container is not to be reached any more: it left its address (`line`), or its kernel is silent (`pool`).
fn cut_off(failed: &hyper::Error) -> bool {
    use io::ErrorKind::{HostUnreachable, TimedOut};
    let cause = failed.source();
    let cause = cause.and_then(|cause| cause.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| matches!(cause.kind(), HostUnreachable | TimedOut))
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
