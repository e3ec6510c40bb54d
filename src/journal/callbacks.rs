//! Who is told how a record ended, and how far that came. A call is due from the moment that the record is settled; it is claimed like
//! a delivery, so that it is made by whichever server lives, at least once.

use std::time::Duration;

use async_trait::async_trait;

use super::{Record, RecordId, Result};

/// How far the telling is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallbackState {
    /// The record is not settled.
    Unsettled,
    /// A call is due, now or later.
    Waiting,
    /// Who was called took it.
    Done,
    /// It was called for as often as it may be, or may not be called.
    GivenUp,
}

impl CallbackState {
    /// Its word, in the API and in Redis.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unsettled => "unsettled",
            Self::Waiting => "waiting",
            Self::Done => "done",
            Self::GivenUp => "given-up",
        }
    }

    /// That of a word; what is none, is not settled.
    pub fn of(word: &str) -> Self {
        let all = [Self::Waiting, Self::Done, Self::GivenUp];
        let found = all.into_iter().find(|state| state.word() == word);
        found.unwrap_or(Self::Unsettled)
    }
}

/// A record's callback.
#[derive(Clone, PartialEq, Eq)]
pub struct Callback {
    /// Where to; may hold a secret.
    pub url: String,
    /// See [`CallbackState`].
    pub state: CallbackState,
    /// Calls begun so far.
    pub calls: u32,
    /// How the last one ended, for people.
    pub reason: String,
}

impl std::fmt::Debug for Callback {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Callback")
            .field("state", &self.state)
            .field("calls", &self.calls)
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

/// A call that somebody has to make.
#[derive(Clone, Debug)]
pub struct Call {
    /// Of which record, as it is settled.
    pub record: Record,
    /// The right to say how it ended.
    pub token: u64,
}

/// Calls that were taken, and when to come again.
#[derive(Clone, Debug, Default)]
pub struct Calls {
    /// To be made.
    pub calls: Vec<Call>,
    /// In how long the next one is due.
    pub next: Option<Duration>,
}

/// How a call ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallEnd {
    /// Who was called took it.
    Done,
    /// Once more, after so long.
    Again(Duration),
    /// There is none any more.
    GivenUp,
}

/// The journal's callbacks: a port beside [`super::RequestJournal`], of the same store.
#[async_trait]
pub trait CallbackJournal: Send + Sync {
    /// Takes calls that are due, at most so many; who takes one has it for so long.
    ///
    /// # Errors
    /// [`super::JournalError::Link`]; what was taken is due again when its time is over.
    async fn calls(&self, most: u64, lease: Duration) -> Result<Calls>;

    /// Ends a call; `false` when it was not ours any more, and then nothing changed.
    ///
    /// # Errors
    /// [`super::JournalError::Link`]: it may have happened, and may be asked again.
    async fn called(&self, id: &RecordId, token: u64, end: CallEnd, reason: &str) -> Result<bool>;
}
