//! Why a request gets an answer of the proxy's own, in words: what the agent is called, the cause, and the next command to type.

use super::forward::Failed;
use super::framing::Ambiguous;
use super::keyed::Repetition;
use super::patience::BodyError;
use super::pool::ConnectError;
use super::refusal::{Refusal, whole_seconds};
use crate::journal::{Bound, JournalError, RecordId};
use crate::problem::Problem;
use crate::redis_link::LinkError;

/// How much of a name that is none is said back.
const SHOWN: usize = 63;

impl Refusal<'_> {
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
                format!("agent '{agent}' gets this request only once it is kept, and one of more than {limit} bytes is not (persistence.maxBody); see `agentainer describe {agent}`"),
            )
            .about(agent),
            Self::NoRoom { agent } => Problem::new(
                503,
                "too-many-bodies",
                "The request cannot be kept",
                format!("agent '{agent}' gets this request only once it is kept, and the bodies of others that are being read take all the room for that; ask again"),
            )
            .about(agent),
            Self::Repeated(agent, id, how) => repeated(agent, id, *how),
            Self::Reused { agent, id } => Problem::new(
                422,
                "key-reused",
                "The key belongs to another request",
                format!("the Idempotency-Key was used for agent '{agent}' by request {id}, which had another body or query; a new request needs a new key"),
            )
            .about(agent),
            Self::Cancelled { agent } => Problem::new(
                409,
                "request-cancelled",
                "The request was cancelled",
                format!("the request was cancelled while agent '{agent}' was at it: the agent may have handled it"),
            )
            .about(agent),
            Self::Upload { agent, cause } => {
                let (status, word, detail) = broken_upload(agent, cause);
                Problem::new(status, word, "The request did not arrive whole", detail).about(agent)
            }
            Self::NotKept { agent, error } => not_kept(agent, error),
            Self::Callback { agent, reason } => Problem::new(
                400,
                "callback-refused",
                "Nobody is called back there",
                format!("X-Callback-Url for agent '{agent}': {reason}; nothing was sent or kept. An operator lists hosts in persistence.callbacks.hosts of the agent's spec"),
            )
            .about(agent),
            Self::BadAnswer { agent, reason } => Problem::new(
                502,
                "bad-answer",
                "The agent's answer cannot be passed on",
                format!("agent '{agent}' {reason}; see `agentainer logs {agent}`"),
            )
            .about(agent),
        }
    }
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
        Failed::NoAnswer { source } if let Some(cause) = source.upload() => {
            broken_upload(agent, cause)
        }
        Failed::NoAnswer { source } => {
            let cause = match source.foreign() {
                Some(protocol) => &*format!("answered with something that is not {protocol}"),
                None if source.is_cut_off() => "lost its address or its network before it answered",
                None => "ended the connection without an answer",
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
        BodyError::Broken(_)
        | BodyError::Cut(_)
        | BodyError::Short
        | BodyError::TakenBack
        | BodyError::Cancelled => (400, "upload-broken"),
    };
    let detail = format!("the request's body for agent '{agent}' did not arrive whole: {cause}");
    (status, word, detail)
}

/// Why who sends a request with a known key does not get its answer.
fn repeated(agent: &str, id: &RecordId, how: Repetition) -> Problem {
    let (word, title, detail) = match how {
        Repetition::TooLong => (
            "answer-not-kept",
            "The answer is not kept",
            format!(
                "the request with this Idempotency-Key was answered by agent '{agent}' with more than is kept (1 MiB), and is not sent again; `agentainer requests show {agent} {id}` shows the beginning"
            ),
        ),
        _ => (
            "request-running",
            "The request is on its way",
            format!(
                "a request with this Idempotency-Key is on its way to agent '{agent}' (request {id}); ask again for its answer"
            ),
        ),
    };
    Problem::new(409, word, title, detail).about(agent)
}

/// Why a request is not kept.
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
    // One that did not answer may have taken it.
    let certainty = match error {
        JournalError::Link(LinkError::Unreachable { .. }) => "the request may be kept or not",
        _ => "the request is not kept",
    };
    Problem::new(
        status,
        word,
        "The request cannot be kept",
        format!("agent '{agent}' gets this request only once it is kept, and {certainty}: {cause}"),
    )
    .about(agent)
}
