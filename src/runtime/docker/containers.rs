//! Containers that exist: seeing them, and starting, stopping, freezing, renaming and removing them.
//!
//! The rule for looking: the list says which containers there are, an inspection each says what they do. One that
//! vanished in between is left out. One whose inspection gets no answer (a hung container, moby #33870) is told from
//! the list's entry with [`ContainerState::Unknown`]: it must not hide the others, nor look as if it were gone.

use std::collections::BTreeMap;
use std::time::Duration;

use bollard::models::ContainerUpdateBody;
use bollard::query_parameters::{
    RemoveContainerOptionsBuilder, RenameContainerOptionsBuilder, StopContainerOptionsBuilder,
};
use futures::{StreamExt, TryStreamExt};
use serde_json::Value;

use super::{CHANGE, DockerRuntime, END, START, error, filters, in_path, map};
use crate::keys::label;
use crate::names::AgentName;
use crate::observed::{Container, ContainerId, ContainerState, Limits};
use crate::runtime::{NameHolder, Result, RuntimeClass, RuntimeError};

/// Inspections under way at once.
const INSPECTIONS: usize = 8;
/// How long one container of a list may take to be inspected. The engine holds a container's lock while it starts it,
/// which takes seconds when many are started.
const INSPECTION: Duration = Duration::from_secs(5);

impl DockerRuntime {
    pub(super) async fn containers(&self, agent: Option<&AgentName>) -> Result<Vec<Container>> {
        let mut labels = vec![format!("{}={}", label::CLUSTER, self.settings.cluster)];
        if let Some(agent) = agent {
            labels.push(format!("{}={agent}", label::AGENT));
        }
        let filters = filters(&BTreeMap::from([("label", labels)]));
        let listed = self
            .get(
                "list",
                &format!("/containers/json?all=true&filters={filters}"),
            )
            .await?;
        let summaries = map::list("list", listed)?;
        let mut found: Vec<Container> = futures::stream::iter(summaries)
            .map(|summary| self.look(summary))
            .buffer_unordered(INSPECTIONS)
            .try_filter_map(|seen| async move { Ok(seen) })
            .try_collect()
            .await?;
        self.name_networks(&mut found).await;
        found.sort_by(|a, b| {
            let key = |c: &Container| {
                let identity = &c.identity;
                (
                    identity.agent.clone(),
                    identity.ordinal,
                    identity.incarnation,
                    c.id.clone(),
                )
            };
            key(a).cmp(&key(b))
        });
        self.remember(agent, &found);
        Ok(found)
    }

    /// One container of the list; `None` when it vanished or its labels are not whole.
    async fn look(&self, summary: Value) -> Result<Option<Container>> {
        let Some(id) = map::text(&summary, "/Id") else {
            return Ok(None);
        };
        let labels = summary.get("Labels").unwrap_or(&Value::Null);
        let identity = match map::identity(labels, &self.settings.cluster) {
            Ok(identity) => identity,
            Err(label) => {
                tracing::debug!(
                    container = id,
                    label,
                    "ignored a container with a wrong label"
                );
                return Ok(None);
            }
        };
        let network = &self.settings.network;
        let inspect = match tokio::time::timeout(INSPECTION, self.inspect(id)).await {
            Ok(result) => result,
            Err(_) => Err(error::timeout("inspect", INSPECTION)),
        };
        match inspect {
            Ok(inspect) => Ok(map::container(&inspect, identity.clone(), network)
                .or_else(|| map::container_from_summary(&summary, identity, network))),
            Err(RuntimeError::NotFound { .. }) => Ok(None),
            Err(cause @ RuntimeError::Unreachable { .. }) => Err(cause),
            Err(cause) => {
                tracing::warn!(container = id, %cause, "a container cannot be inspected");
                Ok(map::container_from_summary(&summary, identity, network))
            }
        }
    }

    pub(super) async fn inspect(&self, id: &str) -> Result<Value> {
        let id = in_path("inspect", id)?;
        self.get("inspect", &format!("/containers/{id}/json")).await
    }

    /// Until its first start a container knows its network by name alone; the name is looked up for it, as far as the
    /// engine tells.
    async fn name_networks(&self, containers: &mut [Container]) {
        let mut nameless: Vec<_> = containers
            .iter_mut()
            .filter_map(|container| container.attachment.as_mut())
            .filter(|attachment| attachment.network.0.is_empty())
            .collect();
        if nameless.is_empty() {
            return;
        }
        if let Ok(Some(id)) = self.network_id().await {
            for attachment in &mut nameless {
                attachment.network = id.clone();
            }
        }
    }

    fn remember(&self, agent: Option<&AgentName>, found: &[Container]) {
        let mut owners = self.owners.lock();
        if agent.is_none() {
            owners.clear();
        }
        owners.extend(
            found
                .iter()
                .map(|container| (container.id.clone(), container.identity.agent.clone())),
        );
    }

    pub(super) async fn start_container(&self, id: &ContainerId) -> Result<()> {
        let inspect = self.inspect(&id.0).await?;
        self.check_mounts(&inspect)?;
        self.follow_network(id, &inspect).await?;
        let start = self.docker.start_container(in_path("start", &id.0)?, None);
        self.within("start", START, start).await
    }

    /// The folders behind a container's mounts may have been exchanged for links since it was made, and the engine
    /// would follow them: they are looked at again before each start.
    fn check_mounts(&self, inspect: &Value) -> Result<()> {
        let mounts = inspect.get("Mounts").and_then(Value::as_array);
        for mount in mounts.into_iter().flatten() {
            let source = map::text(mount, "/Source");
            if let (Some("bind"), Some(source)) = (map::text(mount, "/Type"), source) {
                self.paths.resolve(source)?;
            }
        }
        Ok(())
    }

    /// A container that once ran knows its network by id and does not start when the network was made again. It is
    /// moved to the new one of that name, with the same DNS names and address.
    async fn follow_network(&self, id: &ContainerId, inspect: &Value) -> Result<()> {
        let Some(place) = map::attachment(inspect, &self.settings.network) else {
            return Ok(());
        };
        match self.network_id().await? {
            Some(present) if !place.network.0.is_empty() && place.network != present => {
                self.detach(id, &present).await?;
                self.attach(id, &present, &place.aliases, place.asked_ip)
                    .await
            }
            _ => Ok(()),
        }
    }

    pub(super) async fn stop_container(&self, id: &ContainerId, grace: Duration) -> Result<()> {
        // A frozen process gets no signal until it is thawed, and would be killed when the grace period is over.
        if matches!(self.state(id).await, Ok(ContainerState::Paused)) {
            self.unpause_container(id).await?;
        }
        let seconds = i32::try_from(grace.as_secs()).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::new().t(seconds).build();
        let stop = self
            .docker
            .stop_container(in_path("stop", &id.0)?, Some(options));
        self.within("stop", grace.saturating_add(END), stop).await
    }

    async fn state(&self, id: &ContainerId) -> Result<ContainerState> {
        let inspect = self.inspect(&id.0).await?;
        Ok(map::state(map::text(&inspect, "/State/Status")))
    }

    pub(super) async fn pause_container(&self, id: &ContainerId) -> Result<()> {
        let pause = self.docker.pause_container(in_path("pause", &id.0)?);
        match self.within("pause", CHANGE, pause).await {
            Err(cause) if self.state(id).await? != ContainerState::Paused => Err(cause),
            _ => Ok(()),
        }
    }

    pub(super) async fn unpause_container(&self, id: &ContainerId) -> Result<()> {
        let unpause = self.docker.unpause_container(in_path("unpause", &id.0)?);
        match self.within("unpause", CHANGE, unpause).await {
            Err(cause) if self.state(id).await? == ContainerState::Paused => Err(cause),
            _ => Ok(()),
        }
    }

    pub(super) async fn remove_container(&self, id: &ContainerId) -> Result<()> {
        let options = RemoveContainerOptionsBuilder::new()
            .force(true)
            .v(true)
            .build();
        let remove = self
            .docker
            .remove_container(in_path("remove", &id.0)?, Some(options));
        match self.within("remove", END, remove).await {
            Err(cause) if cause.class() == RuntimeClass::NotFound => Ok(()),
            other => other,
        }
    }

    pub(super) async fn rename_container(&self, id: &ContainerId, name: &str) -> Result<()> {
        let options = RenameContainerOptionsBuilder::new().name(name).build();
        let rename = self
            .docker
            .rename_container(in_path("rename", &id.0)?, options);
        self.within("rename", CHANGE, rename).await
    }

    pub(super) async fn update_container(&self, id: &ContainerId, limits: Limits) -> Result<()> {
        let nano_cpus = match limits.nano_cpus {
            0 => {
                let inspect = self.inspect(&id.0).await?;
                match inspect
                    .pointer("/HostConfig/NanoCpus")
                    .and_then(Value::as_i64)
                {
                    None | Some(0) => None,
                    Some(_) => Some(map::unlimited_cpus(self.cores().await?)),
                }
            }
            limit => Some(limit),
        };
        // Without swap, as at creation: both together, since the kernel takes no memory limit above the other.
        let memory = match limits.memory {
            0 => map::UNLIMITED_MEMORY,
            limit => limit,
        };
        let body = ContainerUpdateBody {
            nano_cpus,
            memory: Some(memory),
            memory_swap: Some(memory),
            pids_limit: Some(if limits.pids == 0 { -1 } else { limits.pids }),
            ..Default::default()
        };
        let update = self
            .docker
            .update_container(in_path("update", &id.0)?, body);
        self.within("update", CHANGE, update).await
    }

    async fn cores(&self) -> Result<i64> {
        let info = self.get("info", "/info").await?;
        Ok(info.get("NCPU").and_then(Value::as_i64).unwrap_or(1))
    }

    pub(super) async fn name_holder(&self, name: &str) -> Result<Option<NameHolder>> {
        let inspect = match self.inspect(name).await {
            Ok(inspect) => inspect,
            Err(RuntimeError::NotFound { .. }) => return Ok(None),
            Err(cause) => return Err(cause),
        };
        let (Some(id), Some(held)) = (map::text(&inspect, "/Id"), map::text(&inspect, "/Name"))
        else {
            return Err(error::refused("inspect", "the engine told no id"));
        };
        // The engine also finds by the beginning of an id, and names may look like one.
        if held.trim_start_matches('/') != name {
            return Ok(None);
        }
        let labels = inspect.pointer("/Config/Labels").unwrap_or(&Value::Null);
        Ok(Some(NameHolder {
            id: ContainerId(id.to_owned()),
            identity: map::identity(labels, &self.settings.cluster).ok(),
        }))
    }
}
