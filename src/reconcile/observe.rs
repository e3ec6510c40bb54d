//! Looks at one agent's world: containers, network, image, probes, traffic, and the agents it names.

use std::collections::{BTreeMap, BTreeSet};

use super::{PassError, Reconcile};
use crate::agent::{Agent, Revision, RevisionRecord, Uid, numbered, upstreams};
use crate::names::AgentName;
use crate::observed::{Container, ContainerId, ImageId, ImageState, Observed};

impl Reconcile {
    pub(super) async fn observe(
        &self,
        name: &AgentName,
        agent: Option<&Agent>,
        away: bool,
    ) -> Result<Observed, PassError> {
        let containers = self.parts.runtime.list_agent(name).await?;
        let ids = || containers.iter().map(|container| &container.id);
        let probes = containers
            .iter()
            .filter_map(|container| {
                let (id, started_at) = (&container.id, container.started_at);
                Some((id.clone(), self.parts.prober.get(id, started_at)?))
            })
            .collect();
        let mut traffic = self.parts.endpoints.traffic(ids());
        let asked = self.muster(&traffic).await;
        for id in ids() {
            let told = traffic.get(id).copied().unwrap_or_default();
            let busy = self.leadership.busy_elsewhere(id, told.draining_since);
            let traffic = traffic.entry(id.clone()).or_default();
            traffic.busy_elsewhere = busy || !asked;
        }
        let (failures, last_lines) = {
            let mut memo = self.memo.lock();
            let memo = memo.of(name, agent);
            let here = |id: &ContainerId| containers.iter().any(|one| one.id == *id);
            memo.last_lines.retain(|id, _| here(id));
            (memo.failures.clone(), memo.last_lines.clone())
        };
        let mut observed = Observed {
            network: self.network.borrow().clone(),
            probes,
            traffic,
            failures,
            last_lines,
            ..Observed::default()
        };
        if let Some(agent) = agent {
            observed.records = self.records_of(agent, &containers, away).await?;
            let records = observed.records.as_deref().unwrap_or_default();
            observed.images = self.images_of(agent, records, &containers).await?;
            observed.others = self.named_agents(agent);
            observed.foreign_names = self.foreign_holder(name, &containers).await?;
        }
        observed.containers = containers;
        observed
            .containers
            .sort_by_key(|container| (container.identity.ordinal, container.identity.incarnation));
        Ok(observed)
    }

    /// What is recorded of an agent's revisions, as last read while the store is away; `None`: that was never read.
    async fn records_of(
        &self,
        agent: &Agent,
        containers: &[Container],
        away: bool,
    ) -> Result<Option<Vec<RevisionRecord>>, PassError> {
        let metadata = &agent.metadata;
        let read = self.parts.store.revisions(&metadata.uid).await;
        let mut memo = self.memo.lock();
        let memo = memo.of(&metadata.name, Some(agent));
        match read {
            Ok(records) => {
                memo.records = Some(numbered(records));
                Ok(memo.records.clone())
            }
            Err(_) if memo.records.is_some() => Ok(memo.records.clone()),
            Err(error) => match kept_image(&metadata.uid, &agent.revision(), &[], containers) {
                None if !away => Err(error.into()),
                _ => Ok(None),
            },
        }
    }

    /// What is known of the images of the revision that is asked now and of the last good one.
    async fn images_of(
        &self,
        agent: &Agent,
        records: &[RevisionRecord],
        containers: &[Container],
    ) -> Result<BTreeMap<Revision, ImageState>, PassError> {
        let asked = agent.revision();
        let last_good = agent.status.rollout.last_good.clone();
        let last_good = last_good.filter(|good| *good != asked);
        let mut images = BTreeMap::new();
        for revision in std::iter::once(asked.clone()).chain(last_good) {
            let name = &agent.metadata.name;
            let pull = self.pulls.under_way(name, agent.spec.image_or(name));
            if let Some(progress) = pull.filter(|_| revision == asked) {
                images.insert(revision, ImageState::Pulling(progress));
                continue;
            }
            let state = self.image_of(agent, &revision, records, containers).await?;
            images.extend(state.map(|state| (revision, state)));
        }
        Ok(images)
    }

    async fn image_of(
        &self,
        agent: &Agent,
        revision: &Revision,
        records: &[RevisionRecord],
        containers: &[Container],
    ) -> Result<Option<ImageState>, PassError> {
        let failed = {
            let mut memo = self.memo.lock();
            let memo = memo.of(&agent.metadata.name, Some(agent));
            memo.images.get(revision).cloned()
        };
        let kept = kept_image(&agent.metadata.uid, revision, records, containers);
        Ok(match (kept, failed) {
            (None, failed) => failed.map(ImageState::Failed),
            (Some(id), failed) => Some(match self.parts.runtime.image(&id.0).await? {
                Some(_) => ImageState::Resolved(id),
                None => ImageState::Lost { image: id, failed },
            }),
        })
    }

    /// Every agent that this one's spec names, and whether it is Ready; `None`: there is none of that name.
    fn named_agents(&self, agent: &Agent) -> BTreeMap<AgentName, Option<bool>> {
        let snapshot = self.agents.snapshot();
        let named = upstreams::named(&agent.metadata.name, &agent.spec.env);
        let names = agent.spec.depends_on.iter().cloned().chain(named);
        names
            .map(|name| {
                let ready = snapshot.get(&name).map(|other| other.status.is_ready());
                (name, ready)
            })
            .collect()
    }

    /// Names that a plan may want to give and that a container which is not this agent's holds.
    async fn foreign_holder(
        &self,
        name: &AgentName,
        containers: &[Container],
    ) -> Result<BTreeSet<String>, PassError> {
        let own = |container: &Container| {
            let identity = &container.identity;
            name.container(identity.ordinal, identity.incarnation)
        };
        // The names that a plan may want to give: looked up only where one is not carried as it should be, or where
        // several containers may change names.
        let mut wanted: BTreeSet<String> = containers
            .iter()
            .filter(|container| containers.len() > 1 || container.name != name.as_str())
            .map(own)
            .chain([name.to_string()])
            .collect();
        for container in containers {
            wanted.remove(&container.name);
        }
        let mut foreign = BTreeSet::new();
        for wanted in wanted {
            if self.parts.runtime.holder_of_name(&wanted).await?.is_some() {
                foreign.insert(wanted);
            }
        }
        Ok(foreign)
    }
}

/// The image id kept with a revision; when the store is away or was wiped, that of a container of that revision.
fn kept_image(
    uid: &Uid,
    revision: &Revision,
    records: &[RevisionRecord],
    containers: &[Container],
) -> Option<ImageId> {
    let same = |container: &&Container| {
        container.identity.revision == *revision && container.identity.uid == *uid
    };
    let record = records.iter().find(|record| record.revision == *revision);
    record
        .map(|record| ImageId(record.image_id.clone()))
        .or_else(|| {
            containers
                .iter()
                .find(same)
                .map(|container| container.image.clone())
        })
}
