//! `Idempotency-Key` (the IETF's draft of that name): the same key with the same request is one request, however often it is sent.
//!
//! A key is its caller's own: it counts for one life of an agent, one method, one path, and one set of credentials. With another body
//! or query it is a mistake of the client's. What becomes of a repeated request is decided here; that only one of two is admitted is
//! the journal's to see to.

use http::Request;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, COOKIE, HeaderMap, HeaderName};
use sha2::{Digest as _, Sha256};

use super::attempt::KEPT;
use crate::journal::{Capability, Key, Record, RecordId, State};

pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// By which fields an agent knows its caller.
const CREDENTIALS: [HeaderName; 6] = [
    AUTHORIZATION,
    COOKIE,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-auth-token"),
    HeaderName::from_static("x-access-token"),
];

/// What says of a body how it is to be read.
const KINDS: [HeaderName; 2] = [CONTENT_TYPE, CONTENT_ENCODING];

/// A request's key, and whose it is.
#[derive(Debug)]
pub(super) struct Keyed {
    scope: String,
    request: String,
    /// Known to who has key, credentials and request alone; never kept.
    holder: String,
}

impl Keyed {
    /// That of a request as its agent gets it; `None` when it has none.
    pub(super) fn of<B>(request: &Request<B>, body: &[u8]) -> Option<Self> {
        let headers = request.headers();
        if !headers.contains_key(IDEMPOTENCY_KEY) {
            return None;
        }
        let mut whose = Parts::of("scope");
        whose.add(request.method().as_str().as_bytes());
        whose.add(request.uri().path().as_bytes());
        whose.fields(headers, &[IDEMPOTENCY_KEY]);
        whose.fields(headers, &CREDENTIALS);
        let mut what = Parts::of("request");
        what.add(request.uri().query().unwrap_or_default().as_bytes());
        what.fields(headers, &KINDS);
        what.add(body);
        let mut holder = Parts(whose.0.clone());
        holder.add(b"holder");
        let (scope, request) = (whose.end(), what.end());
        holder.add(request.as_bytes());
        Some(Self {
            holder: holder.end(),
            scope,
            request,
        })
    }

    /// For an admission.
    pub(super) fn key(&self, salt: &str, replaces: Option<RecordId>) -> Key {
        Key {
            scope: self.scope.clone(),
            request: self.request.clone(),
            salt: salt.to_owned(),
            replaces,
        }
    }

    /// The capability of its record: as random as the salt, and the same for whoever sends the same again.
    pub(super) fn capability(&self, salt: &str) -> Capability {
        let mut parts = Parts::of("capability");
        parts.add(salt.as_bytes());
        parts.add(self.holder.as_bytes());
        Capability::shown(parts.end().get(..32).unwrap_or_default())
    }
}

/// A hash of parts that cannot be shifted among each other.
struct Parts(Sha256);

impl Parts {
    fn of(what: &str) -> Self {
        let mut parts = Self(Sha256::new());
        parts.add(what.as_bytes());
        parts
    }

    fn add(&mut self, part: &[u8]) {
        self.0.update((part.len() as u64).to_be_bytes());
        self.0.update(part);
    }

    fn fields(&mut self, headers: &HeaderMap, names: &[HeaderName]) {
        for name in names {
            self.add(name.as_str().as_bytes());
            self.add(&headers.get_all(name).iter().count().to_be_bytes());
            for value in headers.get_all(name) {
                self.add(value.as_bytes());
            }
        }
    }

    fn end(self) -> String {
        let digest = self.0.finalize();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What who sends a request once more is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repetition {
    /// What the agent answered.
    Answer,
    /// That it is kept: the same 202.
    Accepted,
    /// That it is on its way, and its client waits for the answer.
    Running,
    /// That it was answered, with more than is kept.
    TooLong,
    /// It is sent anew: it came to nothing that would be an answer, and its key says that this may be done.
    Anew,
}

impl Repetition {
    /// Of a record, of whose answer's body so much is kept.
    pub(super) fn of(record: &Record, kept: usize) -> Self {
        match record.standing.state {
            State::Pending | State::Retrying => Self::Accepted,
            State::Claimed if record.live => Self::Running,
            State::Claimed => Self::Accepted,
            State::Cancelled | State::Expired => Self::Anew,
            State::Completed | State::Failed | State::Unknown | State::Dead => {
                match &record.answer {
                    // Not now, it says; for ever was not meant.
                    Some(answer) if matches!(answer.status, 429 | 503) => Self::Anew,
                    Some(answer) if answer.whole => Self::Answer,
                    Some(_) if kept >= KEPT => Self::TooLong,
                    _ => Self::Anew,
                }
            }
        }
    }
}
