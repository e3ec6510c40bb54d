//! The servers that share a store: who they are, which of them leads, what each says of the instances that drain.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::observed::ContainerId;

/// One run of one server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemberId {
    /// The server: the same over restarts, since it is kept in its data folder. No slash.
    pub server: String,
    /// This run of it.
    pub run: String,
}

impl MemberId {
    /// A new run of a server.
    pub fn new_run(server: &str) -> Self {
        Self {
            server: server.to_owned(),
            run: uuid::Uuid::new_v4().to_string(),
        }
    }

    /// From its text form; `None` when it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let (server, run) = text.split_once('/')?;
        Some(Self {
            server: server.to_owned(),
            run: run.to_owned(),
        })
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.server, self.run)
    }
}

/// What a server says of itself: for each instance that the leader drains and that gets nothing new here any more, what is
/// left.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Report(pub BTreeMap<ContainerId, Drained>);

/// An instance that gets nothing new from a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Drained {
    /// Which drain this answers: when the leader began it. A later drain of the same instance is another one.
    pub since: Timestamp,
    /// Requests that are still in flight.
    pub in_flight: u64,
}

/// A sign of life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beat {
    /// Whose.
    pub member: MemberId,
    /// What it says of itself.
    pub report: Report,
    /// Whether it wants the lease; one that does not gives up the lease that it has.
    pub candidate: bool,
    /// No other run of this server lives: their leases and reports are void.
    pub only_run: bool,
    /// How long a lease holds without being renewed.
    pub lease: Duration,
    /// How long this sign of life counts.
    pub life: Duration,
}

/// All servers on a store at one moment of its own time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Muster {
    /// Who leads, if anybody does.
    pub lease: Option<Lease>,
    /// The others that live, by what they last said.
    pub others: BTreeMap<MemberId, Report>,
}

/// The right to change the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Whose it is.
    pub holder: MemberId,
    /// Goes up each time the lease passes on, also over a wiped store: what its earlier holder still writes is told by it.
    pub term: u64,
    /// How long it still holds.
    pub remaining: Duration,
}
