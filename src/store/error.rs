//! What can go wrong with the store, with a class that says what to do about it.

use crate::agent::ResourceVersion;
use crate::names::AgentName;
use crate::redis_link::LinkError;

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreClass {
    /// Redis is away, slow, full or read-only: the write may have happened; look, then try again.
    Transient,
    /// Somebody else wrote first: read again.
    Conflict,
    /// The object or the position is gone.
    NotFound,
    /// The same call will never work.
    Terminal,
}

/// An error of the store. Never carries specs.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Redis cannot be reached, refuses, or its address cannot be used.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The object is not as expected.
    #[error("agent '{name}' was changed meanwhile (it is at version {}); read it again and repeat", .actual.map_or_else(|| "none".to_owned(), |version| version.to_string()))]
    Conflict {
        /// Which.
        name: AgentName,
        /// Its version now; `None`: it does not exist, or exists where none should.
        actual: Option<ResourceVersion>,
    },
    /// The lease passed on to another server, whose word counts now.
    #[error("another server leads by now; nothing was written")]
    Superseded,
    /// The change stream no longer reaches back to the position.
    #[error("the change stream no longer reaches back that far; list again")]
    Expired,
    /// What is stored is not ours to understand.
    #[error("the record of {what} in Redis cannot be read; was it written by a newer agentainer?")]
    Corrupt {
        /// Which record.
        what: String,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
}

impl StoreError {
    /// What to do about it.
    pub fn class(&self) -> StoreClass {
        match self {
            Self::Link(LinkError::Unreachable { .. } | LinkError::Refused { .. }) => {
                StoreClass::Transient
            }
            Self::Conflict { .. } | Self::Superseded => StoreClass::Conflict,
            Self::Expired => StoreClass::NotFound,
            Self::Corrupt { .. } | Self::Link(LinkError::Address { .. }) => StoreClass::Terminal,
        }
    }
}
