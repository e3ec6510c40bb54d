//! An engine for the API's tests: it has the containers, logs and build events that it is given, and does nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use agentainer::agent::{Agent, ClusterId};
use agentainer::names::AgentName;
use agentainer::observed::{
    Container, ContainerId, ContainerState, Identity, ImageId, Limits, Network, NetworkId,
};
use agentainer::runtime::{
    BuildEvent, BuildRequest, ContainerRuntime, CreateContainer, EngineInfo, LogChunk, LogQuery,
    MadeFrom, NameHolder, PullTold, Result, RuntimeError, RuntimeEvent,
};
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use parking_lot::Mutex;

#[derive(Clone, Default)]
pub struct Engine(Arc<Mutex<State>>);

#[derive(Default)]
pub struct State {
    pub containers: Vec<Container>,
    /// By container's id; `None` in a chunk's place breaks the log off.
    pub logs: BTreeMap<String, Vec<Option<LogChunk>>>,
    pub asked_logs: Vec<LogQuery>,
    pub build: Vec<std::result::Result<BuildEvent, String>>,
    pub built: Option<Built>,
    /// By container's id.
    pub made_from: BTreeMap<String, MadeFrom>,
    pub away: bool,
}

/// What a build was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    pub context: Vec<u8>,
    pub dockerfile: String,
    pub args: BTreeMap<String, String>,
    pub target: Option<String>,
    pub tag: String,
}

impl Engine {
    pub fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.lock());
    }

    pub fn ask<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.0.lock())
    }

    /// Gives an agent a container with a log.
    pub fn add(&self, agent: &Agent, ordinal: u32, incarnation: u64, log: &str) {
        let name = agent.metadata.name.container(ordinal, incarnation);
        let id = format!("id-of-{name}");
        let chunk = LogChunk {
            stderr: false,
            bytes: log.to_owned().into(),
        };
        self.set(|state| {
            state.logs.insert(id.clone(), vec![Some(chunk)]);
            state.containers.push(Container {
                id: ContainerId(id),
                name,
                identity: Identity {
                    cluster: ClusterId("c".into()),
                    agent: agent.metadata.name.clone(),
                    uid: agent.metadata.uid.clone(),
                    generation: agent.metadata.generation,
                    revision: agent.revision(),
                    ordinal,
                    incarnation,
                    epoch: 1,
                },
                port: Some(8000),
                image: ImageId("sha256:1".into()),
                state: ContainerState::Running,
                created_at: None,
                started_at: None,
                exit: None,
                attachment: None,
                limits: Limits::default(),
            });
        });
    }
}

fn away() -> RuntimeError {
    RuntimeError::Unreachable {
        address: "/nowhere.sock".into(),
        source: "gone".into(),
    }
}

fn refused(message: &str) -> RuntimeError {
    RuntimeError::Refused {
        call: "build",
        message: message.to_owned(),
    }
}

#[async_trait]
impl ContainerRuntime for Engine {
    async fn list(&self) -> Result<Vec<Container>> {
        self.ask(|state| (!state.away).then(|| state.containers.clone()))
            .ok_or_else(away)
    }
    async fn list_agent(&self, agent: &AgentName) -> Result<Vec<Container>> {
        let all = self
            .ask(|state| (!state.away).then(|| state.containers.clone()))
            .ok_or_else(away)?;
        Ok(all
            .into_iter()
            .filter(|container| container.identity.agent == *agent)
            .collect())
    }
    async fn logs(
        &self,
        id: &ContainerId,
        query: LogQuery,
    ) -> Result<BoxStream<'static, Result<LogChunk>>> {
        self.set(|state| state.asked_logs.push(query));
        let chunks = self
            .ask(|state| state.logs.get(&id.0).cloned())
            .unwrap_or_default();
        let chunks = chunks.into_iter().map(|chunk| chunk.ok_or_else(away));
        Ok(futures::stream::iter(chunks).boxed())
    }
    async fn untag(&self, _: &str) -> Result<()> {
        unreachable!("the API takes no names from images")
    }
    async fn build(&self, request: BuildRequest) -> Result<BoxStream<'static, Result<BuildEvent>>> {
        let mut context = Vec::new();
        let mut pieces = request.context;
        while let Some(piece) = pieces.next().await {
            context.extend_from_slice(&piece.map_err(|error| refused(&error.to_string()))?);
        }
        let built = Built {
            context,
            dockerfile: request.dockerfile,
            args: request.args,
            target: request.target,
            tag: request.tag,
        };
        self.set(|state| state.built = Some(built));
        let events = self.ask(|state| state.build.clone());
        let events = events
            .into_iter()
            .map(|event| event.map_err(|message| refused(&message)));
        Ok(futures::stream::iter(events).boxed())
    }
    async fn ping(&self) -> Result<EngineInfo> {
        match self.ask(|state| state.away) {
            true => Err(away()),
            false => Ok(EngineInfo {
                version: "20.10".into(),
                api_version: "1.41".into(),
            }),
        }
    }

    async fn made_from(&self, id: &ContainerId) -> Result<Option<MadeFrom>> {
        Ok(self.ask(|state| state.made_from.get(&id.0).cloned()))
    }
    async fn create(&self, _: &CreateContainer) -> Result<ContainerId> {
        unreachable!("the API never creates a container")
    }
    async fn start(&self, _: &ContainerId) -> Result<()> {
        unreachable!("the API never starts a container")
    }
    async fn stop(&self, _: &ContainerId, _: Duration) -> Result<()> {
        unreachable!("the API never stops a container")
    }
    async fn pause(&self, _: &ContainerId) -> Result<()> {
        unreachable!("the API never pauses a container")
    }
    async fn unpause(&self, _: &ContainerId) -> Result<()> {
        unreachable!("the API never unpauses a container")
    }
    async fn remove(&self, _: &ContainerId) -> Result<()> {
        unreachable!("the API never removes a container")
    }
    async fn rename(&self, _: &ContainerId, _: &str) -> Result<()> {
        unreachable!("the API never renames a container")
    }
    async fn update_limits(&self, _: &ContainerId, _: Limits) -> Result<()> {
        unreachable!("the API sets no limits")
    }
    async fn connect(
        &self,
        _: &ContainerId,
        _: &NetworkId,
        _: &BTreeSet<String>,
        _: Option<Ipv4Addr>,
    ) -> Result<()> {
        unreachable!("the API connects nothing")
    }
    async fn disconnect(&self, _: &ContainerId, _: &NetworkId) -> Result<()> {
        unreachable!("the API disconnects nothing")
    }
    async fn holder_of_name(&self, _: &str) -> Result<Option<NameHolder>> {
        unreachable!("the API asks for no names")
    }
    async fn network(&self) -> Result<Option<Network>> {
        unreachable!("the API asks for no network")
    }
    async fn create_network(&self, _: ipnet::Ipv4Net) -> Result<Network> {
        unreachable!("the API makes no network")
    }
    async fn remove_network(&self, _: &NetworkId) -> Result<()> {
        unreachable!("the API removes no network")
    }
    async fn image(&self, _: &str) -> Result<Option<ImageId>> {
        unreachable!("the API asks for no image")
    }
    async fn pull(&self, _: &str, _: &PullTold<'_>) -> Result<()> {
        unreachable!("the API pulls nothing")
    }
    async fn tag(&self, _: &ImageId, _: &str, _: &str) -> Result<()> {
        unreachable!("the API tags nothing")
    }
    async fn events(&self) -> Result<BoxStream<'static, Result<RuntimeEvent>>> {
        unreachable!("the API follows no events")
    }
}
