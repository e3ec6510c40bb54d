//! Events of runs that stream, kept so that a client can come back: `persistence.resumable`.

use async_trait::async_trait;
use bytes::Bytes;

use super::{Claim, RecordId, Result};
use crate::event_stream::Place;

/// An event as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptEvent {
    /// Which it is.
    pub place: Place,
    /// Its lines but for its id; see [`crate::event_stream::Event`].
    pub lines: Bytes,
    /// The agent's own last id.
    pub id: Bytes,
}

/// Events to be added to a run. A number that is left out is an event that could not be kept.
#[derive(Clone, Debug)]
pub struct Addition {
    /// Numbers, lines and the agent's own ids, in their order.
    pub events: Vec<(u64, Bytes, Bytes)>,
    /// The number of the last one that there was, kept or not.
    pub last: u64,
    /// The most that a record's events may take, in bytes. The oldest make room.
    pub most: u64,
}

/// Some of a record's events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventPage {
    /// In their order.
    pub events: Vec<KeptEvent>,
    /// The place of the last one that there was, kept or not.
    pub last: Place,
}

/// The journal's events: a port beside [`super::RequestJournal`], of the same store.
#[async_trait]
pub trait EventJournal: Send + Sync {
    /// Adds events to the run of this claim; `false` when the claim was lost, and then nothing changed. What was added before is not
    /// added again.
    ///
    /// # Errors
    /// [`super::JournalError::Link`]: it may have happened, and may be asked again.
    async fn append(&self, claim: &Claim, addition: &Addition) -> Result<bool>;

    /// A record's events behind this place, at most so many.
    ///
    /// # Errors
    /// [`super::JournalError::Link`].
    async fn events(&self, id: &RecordId, behind: Place, most: usize) -> Result<EventPage>;
}
