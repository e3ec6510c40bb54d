//! What is to be written so that the store knows again what it lost. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::snapshot::Kept;
use crate::agent::spec::{DesiredState, Replicas};
use crate::agent::{Agent, Metadata, ResourceVersion, Revision, RevisionRecord, Uid};
use crate::keys::{DEFAULT_OWNER, FINALIZER, RESTARTED_AT};
use crate::names::AgentName;
use crate::observed::ContainerId;
use crate::runtime::MadeFrom;
use crate::store::Write;
use crate::wire::{RecoverOutcome, RecoverResult, RecoverSource};

/// What the three witnesses say. Lives that the store knows to be over are left out of all of it.
pub(super) struct World {
    /// The store's objects.
    pub(super) live: BTreeMap<AgentName, Agent>,
    /// The snapshot's.
    pub(super) kept: BTreeMap<AgentName, Kept>,
    /// What the engine has.
    pub(super) found: BTreeMap<AgentName, Found>,
    /// The present.
    pub(super) now: Timestamp,
}

/// One agent's containers, as one.
pub(super) struct Found {
    /// Of which life.
    pub(super) uid: Uid,
    /// The latest generation that made one of them.
    pub(super) generation: u64,
    /// The latest one's revision.
    pub(super) revision: Revision,
    /// The latest one.
    pub(super) latest: ContainerId,
    /// How many revisions they are of.
    pub(super) revisions: usize,
    /// How many ordinals they have.
    pub(super) ordinals: u32,
    /// None of them runs.
    pub(super) ended: bool,
    /// All of them are frozen.
    pub(super) frozen: bool,
    /// What the latest one was made from, where that was asked.
    pub(super) made: Option<MadeFrom>,
}

/// What shall be written, and what is told of it.
#[derive(Debug, Default)]
pub(super) struct Decision {
    pub(super) writes: Vec<Write>,
    pub(super) results: Vec<RecoverResult>,
    pub(super) warnings: Vec<String>,
}

/// Whether only the container can tell the spec: there is no snapshot of this life, or an older one.
pub(super) fn needs_container(found: &Found, live: Option<&Agent>, kept: Option<&Kept>) -> bool {
    let covers = |agent: &Agent| {
        agent.metadata.uid == found.uid && agent.metadata.generation >= found.generation
    };
    !live.is_some_and(covers) && !kept.is_some_and(|kept| covers(&kept.agent))
}

/// What one witness, or two together, make of an agent.
struct Candidate {
    /// With what is remembered of its status.
    agent: Agent,
    applied: Option<serde_json::Value>,
    revisions: Vec<RevisionRecord>,
    source: RecoverSource,
    warnings: Vec<String>,
}

pub(super) fn decide(world: &World) -> Decision {
    let mut decision = Decision::default();
    let names: BTreeSet<&AgentName> = world.kept.keys().chain(world.found.keys()).collect();
    for name in names {
        let (kept, found) = (world.kept.get(name), world.found.get(name));
        let live = world.live.get(name);
        match candidate(name, live, kept, found, world.now) {
            Some(candidate) => settle(&mut decision, name, live, candidate),
            None if live.is_some() => {}
            None => decision.warnings.push(format!(
                "{name}: its containers do not tell what they were made from; apply its manifest again"
            )),
        }
    }
    decision
}

/// The best that is known of an agent: the snapshot's word, unless the containers are of a later generation or another life.
fn candidate(
    name: &AgentName,
    live: Option<&Agent>,
    kept: Option<&Kept>,
    found: Option<&Found>,
    now: Timestamp,
) -> Option<Candidate> {
    let Some(found) = found else {
        return kept.map(|kept| from_snapshot(kept, kept.agent.metadata.generation));
    };
    let same_life = kept.filter(|kept| kept.agent.metadata.uid == found.uid);
    if let Some(kept) = same_life
        && (kept.agent.metadata.generation >= found.generation || found.made.is_none())
    {
        let generation = kept.agent.metadata.generation.max(found.generation);
        return Some(from_snapshot(kept, generation));
    }
    let made = found.made.as_ref()?;
    // The store may be older than its containers and newer than the snapshot.
    let present = live.filter(|live| live.metadata.uid == found.uid);
    let present = present.filter(|live| {
        same_life.is_none_or(|kept| kept.agent.metadata.generation < live.metadata.generation)
    });
    let present = present.map(|live| Kept::of(live.clone(), None, Vec::new()));
    let before = present.as_ref().or(same_life);
    Some(from_containers(name, found, made, before, now))
}

fn from_snapshot(kept: &Kept, generation: u64) -> Candidate {
    let mut agent = kept.agent.clone();
    let older = agent.metadata.generation < generation;
    agent.metadata.generation = generation;
    Candidate {
        agent,
        applied: kept.applied.clone(),
        revisions: kept.revisions.clone(),
        source: RecoverSource::Snapshot,
        warnings: older
            .then(|| "the snapshot is older than its containers, which may be replaced".to_owned())
            .into_iter()
            .collect(),
    }
}

/// From the label and the environment of the latest container; what those do not carry comes from an older object of the
/// same life, where there is one.
fn from_containers(
    name: &AgentName,
    found: &Found,
    made: &MadeFrom,
    kept: Option<&Kept>,
    now: Timestamp,
) -> Candidate {
    let mut warnings = Vec::new();
    let mut spec = made.spec.clone();
    if spec.replicas.0 != found.ordinals {
        warnings.push(format!(
            "it has containers for {} replicas; its spec said {} when the last of them was made",
            found.ordinals, spec.replicas.0
        ));
        spec.replicas = Replicas(found.ordinals);
    }
    let state = match (found.ended, found.frozen) {
        (true, _) => DesiredState::Stopped,
        (_, true) => DesiredState::Paused,
        _ => DesiredState::Running,
    };
    if state == DesiredState::Stopped && spec.state != state {
        warnings.push(format!(
            "none of its containers runs, so it is taken as stopped; `agentainer start {name}` starts it"
        ));
    }
    spec.state = state;
    let before = kept.map(|kept| &kept.agent.metadata);
    let owner = match (&made.origin.owner, before) {
        (Some(owner), _) => owner.clone(),
        (None, Some(before)) => before.owner.clone(),
        (None, None) => {
            warnings.push(format!(
                "its owner is not known; it is now '{DEFAULT_OWNER}'"
            ));
            DEFAULT_OWNER.to_owned()
        }
    };
    let mut annotations = before.map_or_else(BTreeMap::new, |before| before.annotations.clone());
    match &made.origin.restarted_at {
        Some(moment) => annotations.insert(RESTARTED_AT.to_owned(), moment.clone()),
        None => annotations.remove(RESTARTED_AT),
    };
    let mut agent = Agent::new(
        Metadata {
            name: name.clone(),
            labels: before.map_or_else(BTreeMap::new, |before| before.labels.clone()),
            annotations,
            owner,
            uid: found.uid.clone(),
            generation: found.generation,
            resource_version: ResourceVersion::default(),
            creation_timestamp: before.map_or(now, |before| before.creation_timestamp),
            deletion_timestamp: None,
            finalizers: vec![FINALIZER.to_owned()],
        },
        spec,
    );
    // What was good then is known to be good, and what failed then counts while the same is asked for.
    agent.status = kept.map_or_else(Default::default, |kept| kept.agent.status.clone());
    if found.revisions > 1 && agent.status.rollout.last_good.is_none() {
        warnings.push(format!(
            "it has containers of {} revisions and is taken to ask for the latest one's; which of them was good is not known",
            found.revisions
        ));
    }
    if agent.revision() != found.revision {
        warnings.push(
            "its spec could not be read back whole; its containers will be replaced once"
                .to_owned(),
        );
    }
    Candidate {
        agent,
        applied: kept.and_then(|kept| kept.applied.clone()),
        revisions: kept.map_or_else(Vec::new, |kept| kept.revisions.clone()),
        source: RecoverSource::Containers,
        warnings,
    }
}

/// What becomes of a candidate beside what the store has of that name.
fn settle(
    decision: &mut Decision,
    name: &AgentName,
    live: Option<&Agent>,
    mut candidate: Candidate,
) {
    let generation = candidate.agent.metadata.generation;
    let outcome = match live {
        None => RecoverOutcome::Created,
        Some(live) if live.metadata.uid != candidate.agent.metadata.uid => {
            candidate
                .warnings
                .push("an agent of that name was made since; it is left as it is".to_owned());
            RecoverOutcome::Skipped
        }
        Some(live) if live.metadata.generation >= generation => RecoverOutcome::Unchanged,
        Some(live) => {
            let (present, memory) = (live.status.clone(), &mut candidate.agent.status);
            let nothing_else = memory.revision.is_none() || *memory == present.remembered();
            *memory = match nothing_else {
                true => present,
                false => present.recalling(std::mem::take(memory)),
            };
            RecoverOutcome::Updated
        }
    };
    if matches!(outcome, RecoverOutcome::Created | RecoverOutcome::Updated) {
        decision.writes.push(Write::Restore {
            agent: Box::new(candidate.agent),
            expected: live.map(|live| live.metadata.resource_version),
            applied: candidate.applied,
            revisions: candidate.revisions,
        });
    }
    decision.results.push(RecoverResult {
        name: name.clone(),
        outcome,
        from: candidate.source,
        generation,
        warnings: match outcome {
            RecoverOutcome::Unchanged => Vec::new(),
            _ => candidate.warnings,
        },
    });
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod decide_tests;
