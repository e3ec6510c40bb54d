//! Decisions: `plan(input) -> Plan`. Pure, synchronous, total and silent (design, section 4).
//!
//! Owns every policy of the reconciler: what is created, started, replaced, drained, stopped and removed, in what
//! order and when to look again. It is told the time, never fails, never logs, and gives a reason for each action and
//! each wait. Actions are complete effects, with the container id and revision they were decided on.

pub mod action;
mod agent;
mod backoff;
mod checks;
mod conditions;
mod course;
mod dependencies;
mod draft;
mod drain;
mod drift;
mod endpoints;
mod history;
mod images;
mod instances;
mod lifecycle;
mod naming;
mod orphans;
mod rollout;
mod status;
mod turns;
mod upstreams;
mod verdict;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

pub use self::action::{Action, CreateInstance, EndpointPlan, EndpointState, Plan, Planned};
pub use self::turns::{Turn, turns};
use crate::agent::{Agent, ClusterId, Uid};
use crate::names::AgentName;
use crate::observed::Observed;

/// All that a decision about one agent rests on.
#[derive(Clone, Debug)]
pub struct Input<'a> {
    /// Our cluster.
    pub cluster: &'a ClusterId,
    /// The agent's name (the key of the pass).
    pub name: &'a AgentName,
    /// Its object in the store with its last status; `None`: there is none.
    pub agent: Option<&'a Agent>,
    /// Uids whose deletion the store remembers: the positive proof that an orphan may go.
    pub tombstones: &'a BTreeSet<Uid>,
    /// Why nothing may be removed now (law 6), e.g. "the store is older than the containers".
    pub frozen: Option<&'a str>,
    /// Another server acts: what it drains is for it to say, and nothing is done here.
    pub follows: bool,
    /// What was seen.
    pub observed: &'a Observed,
    /// The present.
    pub now: Timestamp,
}

/// How long a plan may rest before the next look, at most. The slow resync is the controller's.
pub const LONGEST_REST: Duration = Duration::from_secs(300);

/// The reason of a failure to start a container.
pub const START_FAILED: &str = "StartFailed";
/// The same when something was in the way, its address most likely: it is given another.
pub const START_CONFLICT: &str = "AddressTaken";

/// How long a process has between SIGTERM and SIGKILL.
pub const STOP_GRACE: Duration = Duration::from_secs(10);

/// Between the moment when an endpoint is seen to drain and the stop, however idle it is: a request that was given the
/// endpoint just before must have had the time to be counted.
pub const SETTLE: Duration = Duration::from_millis(200);

/// Decides. Pure and total: the same input gives the same plan, and every input gives one.
///
/// - Without an object: containers of tombstoned lives go, all others are left alone and routed to (quarantine).
/// - With one that is being deleted: its containers are drained, stopped and removed, then the object may go.
/// - Else: the world is brought to the spec, step by step, the last good revision serving all the while.
///
/// While `frozen`, nothing is stopped, removed, paused, renamed or taken off its network. Only healing that adds is
/// left (starting, creating, connecting), and that only when store and containers agree about the agent: all its
/// containers are of this life and the asked revision, and none is of a later generation.
///
/// For a server that follows another one the plan has no actions, and no endpoint drains by its own decision.
pub fn plan(input: &Input<'_>) -> Plan {
    let mut draft = draft::Draft::new(input);
    let status = match input.agent {
        None => {
            orphans::without_object(&mut draft);
            None
        }
        Some(agent) => Some(agent::decide(&mut draft, agent)),
    };
    if input.follows {
        draft.only_watch();
    }
    draft.finish(status)
}
