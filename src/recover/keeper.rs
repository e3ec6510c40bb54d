//! Keeps the snapshot: writes every agent down as the store has it, so that `recover` can make a lost store again.
//!
//! An agent leaves the snapshot only when the store knows that its life is over; that the store does not have it is no such
//! proof (law 6). A store whose object is older than what is written down does not overwrite it, until somebody writes that
//! object again, which is their word that it is meant. A file is written when its content changes alone: in a settled fleet
//! never.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::snapshot::{Kept, SnapshotError, SnapshotFolder};
use crate::agent::{Agent, ClusterId, Metadata, ResourceVersion, Uid};
use crate::controller::{Cache, Snapshot};
use crate::names::AgentName;
use crate::store::{AgentStore, StoreError};

/// Between two tries of what did not work.
const AGAIN: Duration = Duration::from_secs(5);

/// Who writes the snapshot.
pub struct Keeper {
    /// Where.
    pub folder: SnapshotFolder,
    /// Whose.
    pub cluster: ClusterId,
    /// From where.
    pub store: Arc<dyn AgentStore>,
    /// Told why it cannot be written, and with `None` that it is.
    pub told: Box<dyn Fn(Option<String>) + Send + Sync>,
}

/// Why the snapshot is not kept at present.
#[derive(Debug, thiserror::Error)]
enum KeepError {
    #[error("the store is not ours at present")]
    NotOurs,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

/// What is written down of one agent.
struct Written {
    uid: Uid,
    /// When that life began.
    created: Timestamp,
    generation: u64,
    /// Of all that is in its file.
    digest: [u8; 32],
    /// The version at which the store's object was first seen to be older.
    older_at: Option<ResourceVersion>,
}

impl Written {
    fn of(kept: &Kept) -> Self {
        let metadata = &kept.agent.metadata;
        // What cannot be told in JSON cannot be written either, and says so then.
        let text = serde_json::to_vec(kept).unwrap_or_default();
        Self {
            uid: metadata.uid.clone(),
            created: metadata.creation_timestamp,
            generation: metadata.generation,
            digest: Sha256::digest(text).into(),
            older_at: None,
        }
    }

    /// Whether the store's object is older than what is written down, as far as is known. A life that began later is
    /// nobody's older copy.
    fn newer_than(&self, metadata: &Metadata, dead: &BTreeSet<Uid>) -> bool {
        if self.uid == metadata.uid {
            self.generation > metadata.generation
        } else {
            !dead.contains(&self.uid) && metadata.creation_timestamp <= self.created
        }
    }
}

type AllWritten = BTreeMap<AgentName, Written>;

impl Keeper {
    /// Follows the store's objects until `shutdown`.
    pub async fn keep(self, agents: Cache<AgentName, Agent>, shutdown: CancellationToken) {
        let work = async {
            let mut written = loop {
                match self.begin().await {
                    Ok(written) => break written,
                    Err(error) => self.failed(&error).await,
                }
            };
            let mut looked = Snapshot::default();
            loop {
                let news = |objects: &BTreeMap<AgentName, Arc<Agent>>| *objects != *looked;
                let Ok(objects) = agents.wait_until(news).await else {
                    return;
                };
                match self.follow(&objects, &looked, &mut written).await {
                    Ok(()) => {
                        looked = objects;
                        (self.told)(None);
                    }
                    Err(error) => self.failed(&error).await,
                }
            }
        };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            () = work => {}
        }
    }

    async fn failed(&self, error: &KeepError) {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            message.push_str(&format!(": {error}"));
            cause = error.source();
        }
        message.push_str("; a lost store could be made again from the containers alone");
        (self.told)(Some(message));
        tokio::time::sleep(AGAIN).await;
    }

    async fn begin(&self) -> Result<AllWritten, KeepError> {
        let (kept, problems) = self.folder.read().await?;
        for problem in problems {
            tracing::warn!(problem, "a part of the snapshot is lost");
        }
        let written = kept
            .into_iter()
            .map(|(name, kept)| (name, Written::of(&kept)));
        Ok(written.collect())
    }

    /// Brings the snapshot to what the store has now, where that is not what was looked at last.
    async fn follow(
        &self,
        objects: &Snapshot<AgentName, Agent>,
        looked: &Snapshot<AgentName, Agent>,
        written: &mut AllWritten,
    ) -> Result<(), KeepError> {
        self.check_store().await?;
        let differs: BTreeSet<&Uid> = written
            .iter()
            .filter(|(name, written)| {
                objects
                    .get(*name)
                    .is_none_or(|agent| agent.metadata.uid != written.uid)
            })
            .map(|(_, written)| &written.uid)
            .collect();
        let asked: Vec<Uid> = differs.into_iter().cloned().collect();
        let dead: BTreeSet<Uid> = match asked.is_empty() {
            true => BTreeSet::new(),
            false => self.store.tombstones(&asked).await?.into_iter().collect(),
        };
        for (name, agent) in objects.iter() {
            let same_life = |written: &Written| written.uid == agent.metadata.uid;
            let seen = looked.get(name) == Some(agent) && written.get(name).is_some_and(same_life);
            if !seen {
                self.write(agent, written, &dead).await?;
            }
        }
        let over: Vec<AgentName> = written
            .iter()
            .filter(|(name, written)| !objects.contains_key(*name) && dead.contains(&written.uid))
            .map(|(name, _)| name.clone())
            .collect();
        for name in over {
            self.folder.remove(&name).await?;
            written.remove(&name);
        }
        Ok(())
    }

    async fn write(
        &self,
        agent: &Agent,
        written: &mut AllWritten,
        dead: &BTreeSet<Uid>,
    ) -> Result<(), KeepError> {
        let metadata = &agent.metadata;
        let name = &metadata.name;
        if let Some(before) = written.get_mut(name) {
            let version = metadata.resource_version;
            if before.newer_than(metadata, dead)
                && *before.older_at.get_or_insert(version) == version
            {
                return Ok(());
            }
        }
        let applied = self.store.applied(name).await?;
        let revisions = self.store.revisions(&metadata.uid).await?;
        let kept = Kept::of(agent.clone(), applied, revisions);
        let now = Written::of(&kept);
        let same = |before: &Written| before.digest == now.digest;
        if written.get(name).is_some_and(same) {
            return Ok(());
        }
        // What a store says that was wiped meanwhile is less than what is written down.
        self.check_store().await?;
        self.folder.write(kept).await?;
        written.insert(name.clone(), now);
        Ok(())
    }

    async fn check_store(&self) -> Result<(), KeepError> {
        let ours = self.store.cluster().await?;
        match ours.is_some_and(|record| record.id == self.cluster) {
            true => Ok(()),
            false => Err(KeepError::NotOurs),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn metadata(uid: &str, generation: u64, created: &str) -> Metadata {
        serde_json::from_value(serde_json::json!({
            "name": "users", "owner": "default", "uid": uid, "generation": generation, "resourceVersion": "7",
            "creationTimestamp": created,
        }))
        .unwrap()
    }

    #[test]
    fn law_6_a_life_that_began_after_a_wipe_is_written_down_and_an_older_store_is_not() {
        let agent = Agent::new(
            metadata("u1", 3, "2026-01-02T00:00:00Z"),
            Default::default(),
        );
        let written = Written::of(&Kept::of(agent, None, Vec::new()));
        let newer = |metadata: Metadata| written.newer_than(&metadata, &BTreeSet::new());
        assert!(!newer(metadata("u2", 1, "2026-01-03T00:00:00Z")));
        assert!(newer(metadata("u0", 9, "2026-01-01T00:00:00Z")));
        assert!(newer(metadata("u1", 2, "2026-01-02T00:00:00Z")));
        assert!(!newer(metadata("u1", 3, "2026-01-02T00:00:00Z")));
        let dead = BTreeSet::from([Uid("u1".to_owned())]);
        assert!(!written.newer_than(&metadata("u0", 9, "2026-01-01T00:00:00Z"), &dead));
    }
}
