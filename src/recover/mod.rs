//! Makes the agents again that the store lost: from the snapshot in the data folder, failing that from the containers
//! themselves (design, section 3, "In Redis").
//!
//! Reads three witnesses (store, snapshot, engine), decides in pure code what is to be written (`decide`), and writes it
//! in one commit. Nothing is ever taken away: an agent that the store has stays unless a witness proves it older. Called by
//! `api` (`POST /recover`) and by `app` (`serve --recover`), which also runs the [`Keeper`] of the snapshot.

mod decide;
mod keeper;
mod snapshot;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use self::decide::{Found, World};
pub use self::keeper::Keeper;
pub use self::snapshot::{Kept, SnapshotError, SnapshotFolder};
use crate::agent::{Revision, Uid};
use crate::clock;
use crate::names::AgentName;
use crate::observed::{Container, ContainerState};
use crate::runtime::{ContainerRuntime, RuntimeError};
use crate::store::{AgentStore, StoreError};
use crate::wire::{RecoverRequest, RecoverResponse, RecoverSource};

/// How often a commit is tried against agents that change meanwhile.
const TRIES: u32 = 5;

/// What recovery works with.
#[derive(Clone)]
pub struct Recovery {
    /// The store that lost something.
    pub store: Arc<dyn AgentStore>,
    /// The engine that may still know it.
    pub runtime: Arc<dyn ContainerRuntime>,
    /// What was written down.
    pub snapshot: SnapshotFolder,
}

/// Why nothing was recovered.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The store did not take it, or cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The engine cannot say what runs.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The snapshot cannot be read at all.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

impl Recovery {
    /// Recovers, or only says what it would do.
    ///
    /// # Errors
    /// [`RecoverError`]; nothing was written then, or, after a [`StoreClass::Transient`](crate::store::StoreClass) error,
    /// all of it: asking again is safe.
    pub async fn run(&self, request: RecoverRequest) -> Result<RecoverResponse, RecoverError> {
        let mut tries = 0;
        loop {
            let (world, mut warnings) = self.look(request.from).await?;
            let decision = decide::decide(&world);
            warnings.extend(decision.warnings);
            if !request.dry_run {
                match self.store.commit(&decision.writes).await {
                    Ok(_) => {}
                    Err(StoreError::Conflict { .. }) if tries < TRIES => {
                        tries += 1;
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            return Ok(RecoverResponse {
                dry_run: request.dry_run,
                results: decision.results,
                warnings,
            });
        }
    }

    /// Recovers before anything else runs: without the engine from the snapshot alone, so that its absence keeps no server
    /// from starting. What only containers know waits for another recovery.
    ///
    /// # Errors
    /// [`RecoverError`] of the store and of the snapshot.
    pub async fn at_start(&self) -> Result<RecoverResponse, RecoverError> {
        let away = match self.run(RecoverRequest::default()).await {
            Err(RecoverError::Runtime(error)) => error,
            other => return other,
        };
        let mut response = self
            .run(RecoverRequest {
                from: RecoverSource::Snapshot,
                ..RecoverRequest::default()
            })
            .await?;
        response.warnings.push(format!(
            "{away}: only the snapshot was looked at; once Docker answers, `agentainer recover` looks at the containers too"
        ));
        Ok(response)
    }

    async fn look(&self, from: RecoverSource) -> Result<(World, Vec<String>), RecoverError> {
        let list = self.store.list().await?;
        let live: BTreeMap<_, _> = list
            .agents
            .into_iter()
            .map(|agent| (agent.metadata.name.clone(), agent))
            .collect();
        let (mut kept, warnings) = match from {
            RecoverSource::Containers => (BTreeMap::new(), Vec::new()),
            RecoverSource::Auto | RecoverSource::Snapshot => self.snapshot.read().await?,
        };
        let containers = match from {
            RecoverSource::Snapshot => Vec::new(),
            RecoverSource::Auto | RecoverSource::Containers => self.runtime.list().await?,
        };
        let dead = self.dead(&kept, &containers).await?;
        kept.retain(|_, kept| !dead.contains(&kept.agent.metadata.uid));
        let mut found = found(containers, &dead);
        for (name, found) in &mut found {
            if decide::needs_container(found, live.get(name), kept.get(name)) {
                found.made = self.runtime.made_from(&found.latest).await?;
            }
        }
        let world = World {
            live,
            kept,
            found,
            now: clock::now(),
        };
        Ok((world, warnings))
    }

    /// Which of these lives the store knows to be over: they are not made again.
    async fn dead(
        &self,
        kept: &BTreeMap<AgentName, Kept>,
        containers: &[Container],
    ) -> Result<BTreeSet<Uid>, StoreError> {
        let kept = kept.values().map(|kept| &kept.agent.metadata.uid);
        let running = containers.iter().map(|container| &container.identity.uid);
        let asked: BTreeSet<Uid> = kept.chain(running).cloned().collect();
        let asked: Vec<Uid> = asked.into_iter().collect();
        Ok(self.store.tombstones(&asked).await?.into_iter().collect())
    }
}

/// The containers of each agent's latest living life, as one.
fn found(containers: Vec<Container>, dead: &BTreeSet<Uid>) -> BTreeMap<AgentName, Found> {
    let mut lives: BTreeMap<AgentName, BTreeMap<Uid, Vec<Container>>> = BTreeMap::new();
    for container in containers {
        let identity = &container.identity;
        if !dead.contains(&identity.uid) {
            lives
                .entry(identity.agent.clone())
                .or_default()
                .entry(identity.uid.clone())
                .or_default()
                .push(container);
        }
    }
    lives
        .into_iter()
        .filter_map(|(name, lives)| {
            // Two lives of one name, both alive as far as is known: the one that was made last.
            let made = |life: &Vec<Container>| life.iter().filter_map(|c| c.created_at).max();
            let life = lives.into_values().max_by_key(made)?;
            Some((name, as_one(&life)?))
        })
        .collect()
}

fn as_one(life: &[Container]) -> Option<Found> {
    let order = |c: &&Container| (c.identity.generation, c.identity.incarnation);
    let latest = life.iter().max_by_key(order)?;
    let all = |wanted: &[ContainerState]| life.iter().all(|c| wanted.contains(&c.state));
    let ordinals: BTreeSet<u32> = life.iter().map(|c| c.identity.ordinal).collect();
    let revisions: BTreeSet<&Revision> = life.iter().map(|c| &c.identity.revision).collect();
    Some(Found {
        uid: latest.identity.uid.clone(),
        generation: latest.identity.generation,
        revision: latest.identity.revision.clone(),
        latest: latest.id.clone(),
        revisions: revisions.len(),
        ordinals: u32::try_from(ordinals.len()).unwrap_or(u32::MAX),
        ended: all(&[
            ContainerState::Created,
            ContainerState::Exited,
            ContainerState::Dead,
            ContainerState::Removing,
        ]),
        frozen: all(&[ContainerState::Paused]),
        made: None,
    })
}
