//! The journal: requests that are kept until their agent can answer them, and what became of them.
//!
//! Owns the port [`RequestJournal`], the values that go through it, the steps a record may take ([`record`]) and what an outcome
//! means ([`policy`]). Knows no HTTP beyond heads as text and no agent beyond its uid and name. The proxy admits, claims and settles;
//! the API shows.
//!
//! ## Guarantees
//!
//! What [`RequestJournal::admit`] answered for is on disk. Of two requests with the same key, however many servers they come by, one is
//! admitted. Each record has one state at any moment and takes the steps of
//! [`record::Standing`] alone; a claim that was lost changes nothing. Nothing that is not settled is ever dropped to make room.

mod admission;
mod callbacks;
mod error;
mod events;
mod news;
pub mod policy;
pub mod record;
pub mod redis;
pub mod shown;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

pub use self::admission::{Admission, Admitted, Begin, Bounds, Key};
pub use self::callbacks::{Call, CallEnd, Callback, CallbackJournal, CallbackState, Calls};
pub use self::error::{Bound, JournalError};
pub use self::events::{Addition, EventJournal, EventPage, KeptEvent};
pub use self::news::News;
pub use self::record::State;
use crate::agent::Uid;

/// The result of what the journal does.
pub type Result<T> = std::result::Result<T, JournalError>;

/// A record's name: listed, logged and sent to agents. No secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct RecordId(String);

impl RecordId {
    /// A new random one.
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4().simple().to_string())
    }

    /// One that somebody names: 32 hexadecimal digits; `None` when it is something else.
    pub fn parse(text: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (text.len() == 32 && text.bytes().all(plain)).then(|| Self(text.to_owned()))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for RecordId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

/// What opens a record to whoever holds it: 128 random bits, given once. Kept as its hash alone.
pub struct Capability(String);

impl std::fmt::Debug for Capability {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Capability(***)")
    }
}

impl Capability {
    /// A new random one.
    #[expect(
        clippy::disallowed_methods,
        reason = "a secret must not come from a seed that can be replayed"
    )]
    pub fn random() -> Self {
        Self(format!("{:032x}", rand::random::<u128>()))
    }

    /// One that somebody shows.
    pub fn shown(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The secret itself, for the one who is given it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    pub fn hash(&self) -> String {
        hash(self.0.as_bytes())
    }

    /// Whether it is the one of this hash, in constant time.
    pub fn opens(&self, hash: &str) -> bool {
        bool::from(self.hash().as_bytes().ct_eq(hash.as_bytes()))
    }
}

/// SHA-256 as hexadecimal digits.
pub fn hash(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A header field, its value byte for byte: each as the character of its number (ISO 8859-1), so that it is text in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field(pub String, pub String);

impl Field {
    /// Of a name and a value's bytes.
    pub fn new(name: &str, value: &[u8]) -> Self {
        Self(
            name.to_owned(),
            value.iter().map(|byte| char::from(*byte)).collect(),
        )
    }

    /// The value's bytes.
    pub fn value(&self) -> Vec<u8> {
        let byte = |c: char| u8::try_from(u32::from(c)).unwrap_or(b'?');
        self.1.chars().map(byte).collect()
    }
}

/// A request's head as its agent gets it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Its method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Its header fields, repeated ones in their order.
    pub fields: Vec<Field>,
    /// Whether it is idempotent by its method, or carries a key.
    pub repeatable: bool,
}

/// An answer's head, and how much of its body is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerHead {
    /// Its status.
    pub status: u16,
    /// Its header fields.
    pub fields: Vec<Field>,
    /// Whether all of the body is kept: it was not longer than what is kept, and did not break off.
    pub whole: bool,
}

/// An answer with the body that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its head.
    pub head: AnswerHead,
    /// Its body, or the first part of it.
    pub body: Bytes,
}

/// A record without its bodies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its name.
    pub id: RecordId,
    /// Of which life of the agent.
    pub uid: Uid,
    /// The agent's name.
    pub agent: String,
    /// Its place in the order of admission, of all agents.
    pub sequence: u64,
    /// Where it stands, its fence and its attempts.
    pub standing: record::Standing,
    /// Its head.
    pub head: Head,
    /// How long its body is.
    pub body_length: u64,
    /// The hash of its capability.
    pub capability: String,
    /// When it was admitted.
    pub admitted: Timestamp,
    /// When it is given up, or forgotten once it is settled.
    pub until: Timestamp,
    /// When it was settled.
    pub settled: Option<Timestamp>,
    /// Why it stands where it does, for people.
    pub reason: String,
    /// What the agent answered last.
    pub answer: Option<AnswerHead>,
    /// Whether its client waits for the answer itself: it was admitted as claimed, and has that claim still.
    pub live: bool,
    /// See [`Key::salt`].
    pub salt: Option<String>,
    /// Who is told how it ended.
    pub callback: Option<Callback>,
}

/// The right to deliver a record and to say how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Of which record.
    pub id: RecordId,
    /// Its fence.
    pub token: u64,
}

/// A claimed record, to be delivered.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// The record.
    pub record: Record,
    /// Its body.
    pub body: Bytes,
}

impl Claimed {
    /// The right to deliver it.
    pub fn claim(&self) -> Claim {
        claim_of(&self.record)
    }
}

/// The claim under which a record is delivered, as it was read.
pub fn claim_of(record: &Record) -> Claim {
    Claim {
        id: record.id.clone(),
        token: record.standing.token,
    }
}

/// What is wanted of an agent's backlog.
#[derive(Clone, Debug)]
pub struct Take {
    /// Of which life of the agent.
    pub uid: Uid,
    /// At most so many at once.
    pub most: u64,
    /// At most so many in delivery at any moment, by everybody. What is [`Record::live`] does not count.
    pub concurrency: u64,
    /// In the order of admission, one at a time.
    pub strict: bool,
    /// How long a claim holds without being renewed.
    pub lease: Duration,
}

/// What was taken, and when to come again.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// To be delivered.
    pub claimed: Vec<Claimed>,
    /// Whether more wait that may be taken once one in delivery ended.
    pub more: bool,
    /// In how long the next one that waits for its time is due.
    pub next: Option<Duration>,
}

/// How a claim ends.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// What becomes of the record.
    pub verdict: policy::Verdict,
    /// Why, for people.
    pub reason: String,
    /// What the agent answered.
    pub answer: Option<Answer>,
}

/// One agent's backlog in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// Which life of the agent.
    pub uid: Uid,
    /// The agent's name.
    pub agent: String,
    /// Records in each state that has any.
    pub counts: Vec<(State, u64)>,
    /// When the oldest that waits was admitted.
    pub oldest: Option<Timestamp>,
    /// How many were ever admitted, as long as one of them is there.
    pub admitted: u64,
    /// How many came to each end, as long as one of them is there.
    pub ended: Vec<(State, u64)>,
}

impl Backlog {
    /// How many are in one of these states.
    pub fn count(&self, states: &[State]) -> u64 {
        let of = self
            .counts
            .iter()
            .filter(|(state, _)| states.contains(state));
        of.map(|(_, count)| count).sum()
    }
}

/// The journal of requests: the port.
#[async_trait]
pub trait RequestJournal: Send + Sync {
    /// Keeps a request, unless there is one of the same [`Key`]. When this answers, it is on disk. Admitting the same id again changes
    /// nothing.
    ///
    /// # Errors
    /// [`JournalError::Full`] and [`JournalError::NotDurable`]: it is surely not kept. [`JournalError::Link`]: it may be.
    async fn admit(&self, admission: Admission) -> Result<Admitted>;

    /// Takes records to be delivered, the earliest admitted first.
    ///
    /// # Errors
    /// [`JournalError::Link`]; claims that were taken lapse.
    async fn take(&self, take: &Take) -> Result<Taken>;

    /// Keeps a claim for so long from now; `false` when it was lost.
    ///
    /// # Errors
    /// [`JournalError::Link`].
    async fn renew(&self, claim: &Claim, lease: Duration) -> Result<bool>;

    /// Ends a claim; `false` when it was lost, and then nothing changed.
    ///
    /// # Errors
    /// [`JournalError::Link`]: it may have happened, and may be asked again.
    async fn settle(&self, claim: &Claim, settlement: Settlement) -> Result<bool>;

    /// Records whose claim was not renewed in time. They stay claimed until somebody settles them under that claim.
    ///
    /// # Errors
    /// [`JournalError::Link`].
    async fn lapsed(&self) -> Result<Vec<Record>>;

    /// Gives up what waited for too long, and forgets what was settled long ago; how many. To be asked from time to time.
    ///
    /// # Errors
    /// [`JournalError::Link`].
    async fn sweep(&self) -> Result<u64>;

    /// One record.
    ///
    /// # Errors
    /// [`JournalError::Link`].
    async fn get(&self, id: &RecordId) -> Result<Option<Record>>;

    /// A record's body, as long as it is kept.
    ///
    /// # Errors
    /// [`JournalError::Link`].
    async fn body(&self, id: &RecordId) -> Result<Option<Bytes>>;

    /// The body of the agent's answer.
    ///
    /// # Errors
    /// [`JournalError::Link`].
    async fn answer_body(&self, id: &RecordId) -> Result<Option<Bytes>>;

    /// An agent's records in these states (none: in all), the latest admitted first, at most so many, admitted before the one of this
    /// sequence.
    ///
    /// # Errors
    /// [`JournalError::Link`].
    async fn list(
        &self,
        uid: &Uid,
        states: &[State],
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Record>>;

    /// Nobody wants it any more. One that is on its way is cut off, and its agent may have handled it.
    ///
    /// # Errors
    /// [`JournalError::Gone`]; [`JournalError::Conflict`] when it is settled already.
    async fn cancel(&self, id: &RecordId, reason: &str) -> Result<()>;

    /// Delivers a record again that failed, is unknown or a dead letter.
    ///
    /// # Errors
    /// [`JournalError::Gone`]; [`JournalError::Conflict`] when it is in another state.
    async fn requeue(&self, id: &RecordId) -> Result<()>;

    /// Forgets a settled record.
    ///
    /// # Errors
    /// [`JournalError::Gone`]; [`JournalError::Conflict`] when it is not settled.
    async fn forget(&self, id: &RecordId) -> Result<()>;

    /// The backlogs of all agents that have a record.
    ///
    /// # Errors
    /// [`JournalError::Link`].
    async fn backlogs(&self) -> Result<Vec<Backlog>>;
}
