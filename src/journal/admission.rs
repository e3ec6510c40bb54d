//! What a request is admitted with.

use std::time::Duration;

use bytes::Bytes;

use super::record::Standing;
use super::{Head, RecordId, State};
use crate::agent::Uid;

/// The bounds that a request is admitted within.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// `persistence.maxQueue`.
    pub max_queue: u64,
    /// `persistence.maxBytes`.
    pub max_bytes: u64,
}

/// How a record begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// To be delivered.
    Pending,
    /// Its first delivery is begun by who admits it, while its client waits for the answer. Its claim ([`Begin::standing`]) holds for
    /// so long without being renewed.
    Live(Duration),
    /// It was sent and no answer came.
    Unknown,
}

impl Begin {
    /// Where the record stands at first.
    pub const fn standing(self) -> Standing {
        match self {
            Self::Pending => Standing::NEW,
            Self::Live(_) => Standing::LIVE,
            Self::Unknown => Standing {
                state: State::Unknown,
                attempts: 1,
                ..Standing::NEW
            },
        }
    }
}

/// What makes a request the same as another: the client's `Idempotency-Key` and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// A hash of the key and of all that it is scoped by, but the agent's uid.
    pub scope: String,
    /// A hash of the request: with the same key it must be the same.
    pub request: String,
    /// 128 random bits, from which, with the key, the record's capability is made: who shows the key again gets the same one.
    pub salt: String,
    /// The record that had the key and does not stand in the way.
    pub replaces: Option<RecordId>,
}

/// A request to be kept.
#[derive(Clone, Debug)]
pub struct Admission {
    /// Its name; chosen by who admits it, so that a repeated call admits it once.
    pub id: RecordId,
    /// Of which life of the agent.
    pub uid: Uid,
    /// The agent's name.
    pub agent: String,
    /// Its head.
    pub head: Head,
    /// Its body.
    pub body: Bytes,
    /// The hash of its capability.
    pub capability: String,
    /// See [`Key`]; `None` when it has none.
    pub key: Option<Key>,
    /// How long it may wait, and how long it is kept once it is settled.
    pub ttl: Duration,
    /// See [`Bounds`].
    pub bounds: Bounds,
    /// See [`Begin`].
    pub begin: Begin,
    /// Where it is told how it ended.
    pub callback: Option<String>,
}

/// What an admission came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// It is kept.
    Kept,
    /// There is one with its key, and it is not kept.
    Known {
        /// That one.
        id: RecordId,
        /// Whether it is the same request.
        same: bool,
    },
}
