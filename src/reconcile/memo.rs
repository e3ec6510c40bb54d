//! What passes remember between each other and may forget at any time: failed actions, images that could not be
//! resolved, a status that the store did not take. Everything that must survive is in the store or on the containers.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::repeats::Repeats;
use crate::agent::{Agent, AgentStatus, ResourceVersion, Revision, RevisionRecord, Uid};
use crate::names::AgentName;
use crate::observed::{ContainerId, Failure, LastLines};

/// Per agent.
#[derive(Debug, Default)]
pub(super) struct Memo(BTreeMap<AgentName, AgentMemo>);

/// What is remembered of one agent.
#[derive(Clone, Debug, Default)]
pub(super) struct AgentMemo {
    /// The object as last loaded, for when the store is away.
    pub(super) last: Option<Agent>,
    /// The status that the store did not take: what passes go on from, until it is written.
    pub(super) unsaved: Option<AgentStatus>,
    /// Actions that are asked for again and again.
    pub(super) repeats: Repeats,
    /// What was last read of the history of revisions, for when the store is away.
    pub(super) records: Option<Vec<RevisionRecord>>,
    /// Failed resolutions by revision.
    pub(super) images: BTreeMap<Revision, Failure>,
    /// Failed creations and starts by ordinal.
    pub(super) failures: BTreeMap<u32, Failure>,
    /// What ended containers last wrote.
    pub(super) last_lines: BTreeMap<ContainerId, LastLines>,
    /// Since when the agent's world was looked at without a gap.
    pub(super) attended: Option<Timestamp>,
    /// Which life of the agent this is about.
    uid: Option<Uid>,
    /// At which version the store was first seen to be older than the containers.
    pub(super) older_at: Option<ResourceVersion>,
    /// The generation that the failures belong to: a changed spec starts afresh.
    generation: u64,
}

impl Memo {
    /// What is remembered of an agent in this life and generation; an earlier life's or spec's failures are forgotten.
    pub(super) fn of(&mut self, name: &AgentName, agent: Option<&Agent>) -> &mut AgentMemo {
        let memo = self.0.entry(name.clone()).or_default();
        if let Some(agent) = agent {
            let meta = &agent.metadata;
            let same_life = memo.uid.as_ref() == Some(&meta.uid);
            if !same_life || memo.generation != meta.generation {
                *memo = AgentMemo {
                    uid: Some(meta.uid.clone()),
                    generation: meta.generation,
                    older_at: memo.older_at.filter(|_| same_life),
                    records: memo.records.take().filter(|_| same_life),
                    ..AgentMemo::default()
                };
            }
            memo.last = Some(agent.clone());
        }
        memo
    }

    /// The store answered that there is no such agent: an outage later on must not bring the last one back.
    pub(super) fn no_object(&mut self, name: &AgentName) {
        if let Some(memo) = self.0.get_mut(name) {
            (memo.last, memo.unsaved, memo.records) = (None, None, None);
        }
    }

    /// Another server writes the status now.
    pub(super) fn no_unsaved(&mut self, name: &AgentName) {
        if let Some(memo) = self.0.get_mut(name) {
            memo.unsaved = None;
        }
    }

    /// What was last loaded of an agent.
    pub(super) fn last(&self, name: &AgentName) -> Option<Agent> {
        self.0.get(name)?.last.clone()
    }

    /// Nothing is left of an agent.
    pub(super) fn forget(&mut self, name: &AgentName) {
        self.0.remove(name);
    }
}

/// The next failure after an earlier one of the same kind.
pub(super) fn again(
    earlier: Option<&Failure>,
    reason: &str,
    message: String,
    retryable: bool,
    at: Timestamp,
) -> Failure {
    let attempts = earlier
        .map_or(0, |failure| failure.attempts)
        .saturating_add(1);
    Failure {
        reason: reason.to_owned(),
        message,
        attempts,
        at,
        retryable,
        of: None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn agent(uid: &str, generation: u64) -> Agent {
        serde_json::from_value(serde_json::json!({
            "apiVersion": "agentainer.dev/v1",
            "kind": "Agent",
            "metadata": {
                "name": "users", "owner": "default", "uid": uid, "generation": generation,
                "resourceVersion": "7", "creationTimestamp": "2026-01-01T00:00:00Z",
            },
            "spec": {},
        }))
        .unwrap()
    }

    #[test]
    fn law_6_that_the_store_was_older_is_known_of_this_life_alone() {
        let (mut memo, first) = (Memo::default(), agent("u1", 1));
        let name = &first.metadata.name;
        memo.of(name, Some(&first)).older_at = Some(ResourceVersion(7));
        let changed = memo.of(name, Some(&agent("u1", 2))).older_at;
        assert_eq!(changed, Some(ResourceVersion(7)), "a change is the answer");
        assert_eq!(memo.of(name, Some(&agent("u2", 1))).older_at, None);
    }

    #[test]
    fn law_6_an_agent_that_the_store_forgot_is_not_brought_back_by_an_outage() {
        let (mut memo, agent) = (Memo::default(), agent("u1", 1));
        let name = &agent.metadata.name;
        memo.of(name, Some(&agent));
        assert!(memo.last(name).is_some());
        memo.no_object(name);
        assert_eq!(memo.last(name), None);
    }
}
