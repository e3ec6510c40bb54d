//! Keeps the snapshot: writes every spec down as the store has it, so that `recover` can make a lost store again.
//!
//! An agent leaves the snapshot only when the store knows that its life is over; that the store does not have it is no such
//! proof (law 6). A store whose object is older than what is written down does not overwrite it, until somebody writes that
//! object again, which is their word that it is meant.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::agent::{Agent, AgentStatus, ClusterId, Metadata, ResourceVersion, Uid};
use crate::controller::{Cache, Snapshot};
use crate::names::AgentName;
use crate::reconcile::{Board, host_condition};
use crate::recover::{Kept, SnapshotFolder};
use crate::store::AgentStore;

/// Between two tries of what did not work.
const AGAIN: Duration = Duration::from_secs(5);

/// Who writes the snapshot.
pub(super) struct Keeper {
    /// Where.
    pub(super) folder: SnapshotFolder,
    /// Whose.
    pub(super) cluster: ClusterId,
    /// From where.
    pub(super) store: Arc<dyn AgentStore>,
    /// Told when it cannot be written.
    pub(super) board: Board,
}

/// What is written down of one agent.
struct Written {
    uid: Uid,
    /// When that life began.
    created: Timestamp,
    generation: u64,
    version: ResourceVersion,
    /// The version at which the store's object was first seen to be older.
    older_at: Option<ResourceVersion>,
}

impl Written {
    fn of(metadata: &Metadata) -> Self {
        Self {
            uid: metadata.uid.clone(),
            created: metadata.creation_timestamp,
            generation: metadata.generation,
            version: metadata.resource_version,
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

impl Keeper {
    /// Follows the store's objects until `shutdown`.
    pub(super) async fn keep(self, agents: Cache<AgentName, Agent>, shutdown: CancellationToken) {
        let work = async {
            let mut written = loop {
                match self.begin().await {
                    Ok(written) => break written,
                    Err(error) => self.failed(&error).await,
                }
            };
            let mut looked = BTreeMap::new();
            loop {
                let news = |objects: &BTreeMap<AgentName, Arc<Agent>>| versions(objects) != looked;
                let Ok(objects) = agents.wait_until(news).await else {
                    return;
                };
                match self.follow(&objects, &mut written).await {
                    Ok(()) => {
                        looked = versions(&objects);
                        self.board.clear(host_condition::SNAPSHOT);
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

    async fn failed(&self, error: &anyhow::Error) {
        let message =
            format!("{error:#}; a lost store could be made again from the containers alone");
        self.board
            .set(host_condition::SNAPSHOT, false, "NotWritten", message);
        tokio::time::sleep(AGAIN).await;
    }

    async fn begin(&self) -> Result<BTreeMap<AgentName, Written>> {
        let (kept, problems) = self.folder.read().await?;
        for problem in problems {
            tracing::warn!(problem, "a part of the snapshot is lost");
        }
        let written = kept
            .into_iter()
            .map(|(name, kept)| (name, Written::of(&kept.agent.metadata)));
        Ok(written.collect())
    }

    /// Brings the snapshot to what the store has now.
    async fn follow(
        &self,
        objects: &Snapshot<AgentName, Agent>,
        written: &mut BTreeMap<AgentName, Written>,
    ) -> Result<()> {
        let ours = self.store.cluster().await?;
        if ours.is_none_or(|record| record.id != self.cluster) {
            anyhow::bail!("the store is not ours at present");
        }
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
        for agent in objects.values() {
            self.write(agent, written, &dead).await?;
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
        written: &mut BTreeMap<AgentName, Written>,
        dead: &BTreeSet<Uid>,
    ) -> Result<()> {
        let metadata = &agent.metadata;
        let name = &metadata.name;
        if let Some(before) = written.get_mut(name) {
            if before.uid == metadata.uid && before.version == metadata.resource_version {
                return Ok(());
            }
            let version = metadata.resource_version;
            if before.newer_than(metadata, dead)
                && *before.older_at.get_or_insert(version) == version
            {
                return Ok(());
            }
        }
        let mut kept = agent.clone();
        kept.status = AgentStatus::default();
        let applied = self.store.applied(name).await?;
        self.folder
            .write(Kept {
                agent: kept,
                applied,
            })
            .await
            .context("a spec was not written down")?;
        written.insert(name.clone(), Written::of(metadata));
        Ok(())
    }
}

fn versions(objects: &BTreeMap<AgentName, Arc<Agent>>) -> BTreeMap<AgentName, ResourceVersion> {
    objects
        .iter()
        .map(|(name, agent)| (name.clone(), agent.metadata.resource_version))
        .collect()
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
        let written = Written::of(&metadata("u1", 3, "2026-01-02T00:00:00Z"));
        let newer = |metadata: Metadata| written.newer_than(&metadata, &BTreeSet::new());
        assert!(!newer(metadata("u2", 1, "2026-01-03T00:00:00Z")));
        assert!(newer(metadata("u0", 9, "2026-01-01T00:00:00Z")));
        assert!(newer(metadata("u1", 2, "2026-01-02T00:00:00Z")));
        assert!(!newer(metadata("u1", 3, "2026-01-02T00:00:00Z")));
        let dead = BTreeSet::from([Uid("u1".to_owned())]);
        assert!(!written.newer_than(&metadata("u0", 9, "2026-01-01T00:00:00Z"), &dead));
    }
}
