//! Where a record stands, and the steps that it may take from there. Pure: the adapter's scripts and the tests' fake do the same.
//!
//! ```text
//!            claim                 settle
//! pending ──────────► claimed ──────────────► completed | failed | unknown | dead
//!    ▲                 │  │ retry
//!    │ release         │  └──────► retrying ──claim──► claimed
//!    └─────────────────┘
//! pending, retrying ── expire ──► expired          failed, unknown, dead ── requeue ──► pending
//! pending, claimed, retrying ── cancel ──► cancelled
//! ```
//!
//! A record begins as pending; as claimed, when it is written before it is forwarded; or as unknown, when it was forwarded without.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a record stands.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Waits for its first delivery.
    Pending,
    /// Somebody delivers it.
    Claimed,
    /// Waits for its next delivery.
    Retrying,
    /// The agent answered.
    Completed,
    /// The agent answered with a server error, and it may not be sent again by itself.
    Failed,
    /// It was sent, no answer came, and it may not be sent again by itself.
    Unknown,
    /// It was tried as often as it may be.
    Dead,
    /// Somebody did not want it any more, or its agent was deleted.
    Cancelled,
    /// Its time was over before it was delivered.
    Expired,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Pending,
        Self::Claimed,
        Self::Retrying,
        Self::Completed,
        Self::Failed,
        Self::Unknown,
        Self::Dead,
        Self::Cancelled,
        Self::Expired,
    ];

    /// Its word, in the API, in Redis and on the command line.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Claimed => "claimed",
            Self::Retrying => "retrying",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    /// Whether nothing happens to it any more by itself.
    pub const fn is_settled(self) -> bool {
        !matches!(self, Self::Pending | Self::Claimed | Self::Retrying)
    }

    /// Whether somebody should look at it: it is kept with its body, and may be delivered again by hand.
    pub const fn wants_attention(self) -> bool {
        matches!(self, Self::Failed | Self::Unknown | Self::Dead)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// A word that names no state.
#[derive(Debug, thiserror::Error)]
#[error(
    "'{0}' is no state of a request; there are pending, claimed, retrying, completed, failed, unknown, dead, cancelled, expired"
)]
pub struct NoState(String);

impl FromStr for State {
    type Err = NoState;
    fn from_str(text: &str) -> Result<Self, NoState> {
        let found = Self::ALL.into_iter().find(|state| state.word() == text);
        found.ok_or_else(|| NoState(text.chars().take(40).collect()))
    }
}

/// All that a step looks at and changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Standing {
    /// Where it stands.
    pub state: State,
    /// The fence: goes up with each claim, so that who lost one cannot settle the next.
    pub token: u64,
    /// Deliveries begun so far.
    pub attempts: u32,
    /// Those of them that were before somebody asked for it again by hand.
    pub forgiven: u32,
}

/// What happens to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Somebody begins to deliver it.
    Claim,
    /// Who holds this claim gives it back: nothing was begun.
    Release(u64),
    /// Who holds this claim wants it tried again.
    Retry(u64),
    /// Who holds this claim says how it ended.
    Settle(u64, State),
    /// Nobody wants it any more.
    Cancel,
    /// Its time is over.
    Expire,
    /// Somebody wants it delivered again, by hand.
    Requeue,
}

impl Standing {
    /// A record that was just admitted.
    pub const NEW: Self = Self {
        state: State::Pending,
        token: 0,
        attempts: 0,
        forgiven: 0,
    };

    /// One that was admitted as claimed by who forwards it at once.
    pub const LIVE: Self = Self {
        state: State::Claimed,
        token: 1,
        attempts: 1,
        forgiven: 0,
    };

    /// Deliveries that count against `maxRetries`.
    pub const fn tries(&self) -> u32 {
        self.attempts.saturating_sub(self.forgiven)
    }

    /// Where it stands after a step; `None` when it cannot take that.
    #[must_use]
    pub fn after(self, step: Step) -> Option<Self> {
        use State::{Cancelled, Claimed, Expired, Pending, Retrying};
        let holds = |token| self.state == Claimed && self.token == token;
        let waits = matches!(self.state, Pending | Retrying);
        let to = |state| Some(Self { state, ..self });
        match step {
            Step::Claim if waits => Some(Self {
                state: Claimed,
                token: self.token + 1,
                attempts: self.attempts + 1,
                ..self
            }),
            Step::Release(token) if holds(token) => Some(Self {
                state: Pending,
                attempts: self.attempts.saturating_sub(1),
                ..self
            }),
            Step::Retry(token) if holds(token) => to(Retrying),
            Step::Settle(token, end) if holds(token) && end.is_settled() => to(end),
            Step::Cancel if !self.state.is_settled() => to(Cancelled),
            Step::Expire if waits => to(Expired),
            Step::Requeue if self.state.wants_attention() => Some(Self {
                state: Pending,
                forgiven: self.attempts,
                ..self
            }),
            _ => None,
        }
    }
}
