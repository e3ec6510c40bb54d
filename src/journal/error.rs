//! What can go wrong with the journal.

use crate::redis_link::LinkError;

/// Which bound a request would go over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// `persistence.maxQueue`: requests of this agent.
    Queue,
    /// `persistence.maxBytes`: bytes of this agent's requests.
    Bytes,
    /// `--journal-memory`: all that the journal keeps.
    Memory,
}

/// An error of the journal. Never carries a request.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Redis cannot be reached, refuses, or its address cannot be used: what was asked may have happened.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// There is no room.
    #[error("the journal has no room for the request")]
    Full(Bound),
    /// Redis does not keep what it acknowledges.
    #[error("the control Redis does not promise to keep what it takes: set {}", .0.join(", "))]
    NotDurable(Vec<String>),
    /// There is no such record.
    #[error("there is no such request")]
    Gone,
    /// The record's state does not allow it.
    #[error("the request is {0}")]
    Conflict(super::State),
    /// What is stored is not ours to understand.
    #[error("a request in Redis cannot be read ({0}); was it written by a newer agentainer?")]
    Corrupt(&'static str),
}
