//! The container engine: one port, [`ContainerRuntime`], and its adapter for Docker.
//!
//! Owns every word that is said to the engine. Decides nothing: `plan` does. `bollard` appears below here only.
//! Called by `reconcile` and, for logs and builds, by `api`.

pub mod docker;
pub mod error;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use jiff::Timestamp;

pub use self::docker::DockerRuntime;
pub use self::error::{RuntimeClass, RuntimeError};
use crate::agent::{AgentSpec, ClusterId};
use crate::names::AgentName;
use crate::observed::{Container, ContainerId, Identity, ImageId, Limits, Network, NetworkId};

/// The result of every call to the engine.
pub type Result<T> = std::result::Result<T, RuntimeError>;

/// The container engine. Every call has a deadline of its own; after [`RuntimeClass::Transient`] errors the effect may
/// have happened all the same: look at the world by our labels before acting again.
#[async_trait]
pub trait ContainerRuntime: Send + Sync + 'static {
    /// Every container that carries our cluster's label, running or not, with its full state, ordered by agent,
    /// ordinal and incarnation. One that vanishes meanwhile is left out. One that the engine cannot inspect in time is
    /// told with [`ContainerState::Unknown`](crate::observed::ContainerState::Unknown) and without limits: it neither
    /// hides the others nor looks as if it were gone. One whose labels are not whole is not told.
    async fn list(&self) -> Result<Vec<Container>>;
    /// Those of one agent.
    async fn list_agent(&self, agent: &AgentName) -> Result<Vec<Container>>;
    /// Makes a container from scratch and does not start it. The name collides (Conflict) when it is taken: that is
    /// our compare-and-swap.
    async fn create(&self, request: &CreateContainer) -> Result<ContainerId>;
    /// Starts it; `Ok` when it runs already. Conflict when its address is taken, its network is missing or it is frozen.
    /// When the agents' network was made again, it is moved to the new one with its DNS names and address. The host
    /// folders behind its volumes are checked anew.
    async fn start(&self, id: &ContainerId) -> Result<()>;
    /// SIGTERM, then SIGKILL after `grace`; `Ok` when it does not run. A frozen one is thawed for it.
    async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<()>;
    /// Freezes it; `Ok` when it is frozen.
    async fn pause(&self, id: &ContainerId) -> Result<()>;
    /// Thaws it; `Ok` when it is not frozen.
    async fn unpause(&self, id: &ContainerId) -> Result<()>;
    /// Removes it by force with its anonymous volumes; `Ok` when it is gone.
    async fn remove(&self, id: &ContainerId) -> Result<()>;
    /// Gives it a name.
    async fn rename(&self, id: &ContainerId, name: &str) -> Result<()>;
    /// Sets its limits; 0 takes one away.
    async fn update_limits(&self, id: &ContainerId, limits: Limits) -> Result<()>;
    /// Puts it on a network with DNS names and, if given, an address. Conflict when it runs and is there already; one
    /// that does not run gets the new place instead of its old one.
    async fn connect(
        &self,
        id: &ContainerId,
        network: &NetworkId,
        aliases: &BTreeSet<String>,
        address: Option<Ipv4Addr>,
    ) -> Result<()>;
    /// Takes it off a network, by force; `Ok` when it is not on it.
    async fn disconnect(&self, id: &ContainerId, network: &NetworkId) -> Result<()>;
    /// What a container was made from, environment included, as far as the engine tells; `None` when it is gone or its
    /// labels are not whole. For `recover` alone: the answer holds secrets.
    async fn made_from(&self, id: &ContainerId) -> Result<Option<MadeFrom>>;
    /// The first process of a container that runs, by its number on the engine's machine; `None` when it does not run, or the
    /// engine has no such thing.
    async fn process(&self, id: &ContainerId) -> Result<Option<u32>> {
        let _ = id;
        Ok(None)
    }
    /// Which of these container names are held, and by an object of ours or not. Names alone; for foreign clashes.
    async fn holder_of_name(&self, name: &str) -> Result<Option<NameHolder>>;

    /// The agents' network, by name; `None` when it is missing. With two of one name: ours, else the oldest. Members of
    /// one that is not ours are also containers that would start on it, without an address.
    async fn network(&self) -> Result<Option<Network>>;
    /// Makes the agents' network with a subnet, its last /24 for strangers, and our labels.
    async fn create_network(&self, subnet: ipnet::Ipv4Net) -> Result<Network>;
    /// Removes a network by id; Conflict when something is on it.
    async fn remove_network(&self, id: &NetworkId) -> Result<()>;

    /// An image's id by name or id; `None` when the machine does not have it.
    async fn image(&self, reference: &str) -> Result<Option<ImageId>>;
    /// Pulls an image by name, and says how far it is as it comes on. Ends by itself when nothing comes any more; how
    /// long it may take in all is the caller's matter, who drops it.
    async fn pull(&self, reference: &str, told: &PullTold<'_>) -> Result<()>;
    /// Tags an image, so that a prune leaves it.
    async fn tag(&self, image: &ImageId, repository: &str, tag: &str) -> Result<()>;
    /// Takes a name (`repository:tag`) from an image; `Ok` when nothing has it. An image that loses its last name goes,
    /// unless a container needs it: then it may keep the name (Conflict). Parents of it stay.
    async fn untag(&self, reference: &str) -> Result<()>;
    /// Builds an image from a tar stream with the engine's classic builder.
    async fn build(&self, request: BuildRequest) -> Result<BoxStream<'static, Result<BuildEvent>>>;

    /// A container's log.
    async fn logs(
        &self,
        id: &ContainerId,
        query: LogQuery,
    ) -> Result<BoxStream<'static, Result<LogChunk>>>;
    /// Hints that something about our containers or network changed, from now on. Ends or errs when the engine goes;
    /// then subscribe again, list, follow. Events are hints; the list is the truth.
    async fn events(&self) -> Result<BoxStream<'static, Result<RuntimeEvent>>>;
    /// Whether the engine answers, and who it is.
    async fn ping(&self) -> Result<EngineInfo>;
}

/// Is told how far a pull is. Must not block.
pub type PullTold<'a> = dyn Fn(PullProgress) + Send + Sync + 'a;

/// How far a pull is, as far as the engine tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PullProgress {
    /// Layers that are there.
    pub layers_done: u32,
    /// Layers that the image has.
    pub layers: u32,
    /// Bytes that came.
    pub bytes_done: u64,
    /// Bytes that are to come in all, of the layers that have begun.
    pub bytes: u64,
}

impl std::fmt::Display for PullProgress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const MEGA: u64 = 1_000_000;
        write!(f, "{} of {} layers", self.layers_done, self.layers)?;
        if self.bytes > 0 {
            write!(
                f,
                ", {} of {} MB",
                self.bytes_done / MEGA,
                self.bytes.div_ceil(MEGA)
            )?;
        }
        Ok(())
    }
}

/// A container to be made, complete.
#[derive(Clone, Debug)]
pub struct CreateContainer {
    /// Its name.
    pub name: String,
    /// Our labels.
    pub identity: Identity,
    /// Where its agent came from, kept on the container for `recover`.
    pub origin: Origin,
    /// The spec that shapes it (command, args, user, port, env, resources, volumes, security).
    pub spec: AgentSpec,
    /// The image, by id.
    pub image: ImageId,
    /// Environment that we inject where the user set none, in order.
    pub injected_env: Vec<(String, String)>,
    /// The network to be on from the start.
    pub network: NetworkId,
    /// Its address there; `None`: the engine's choice.
    pub address: Option<Ipv4Addr>,
    /// Its DNS names there.
    pub aliases: BTreeSet<String>,
    /// What `host.docker.internal` points at.
    pub host_gateway: Option<Ipv4Addr>,
}

/// What beside identity and spec is kept on a container, so that its agent can be made again from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The bundle that applied the agent; `None` on containers of an earlier release.
    pub owner: Option<String>,
    /// The agent's annotation [`RESTARTED_AT`](crate::keys::RESTARTED_AT), which is part of the revision.
    pub restarted_at: Option<String>,
}

/// What a container was made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeFrom {
    /// The spec, with the values of its environment; build arguments have lost theirs.
    pub spec: AgentSpec,
    /// Where its agent came from.
    pub origin: Origin,
}

/// Who holds a container name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameHolder {
    /// Docker's id.
    pub id: ContainerId,
    /// The identity, when the labels are of our cluster.
    pub identity: Option<Identity>,
}

/// An image to be built.
pub struct BuildRequest {
    /// The context as a tar stream.
    pub context: BoxStream<'static, std::io::Result<Bytes>>,
    /// The Dockerfile within the context.
    pub dockerfile: String,
    /// Build arguments; values may be secrets.
    pub args: std::collections::BTreeMap<String, String>,
    /// The stage to build.
    pub target: Option<String>,
    /// The tag to give.
    pub tag: String,
}

/// What a build says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuildEvent {
    /// A piece of its log.
    Log(String),
    /// It is done.
    Done(ImageId),
}

/// What of a log is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// Only the last so many lines.
    pub tail: Option<u64>,
    /// Only since then.
    pub since: Option<Timestamp>,
    /// Go on as it grows.
    pub follow: bool,
    /// Each line with its time.
    pub timestamps: bool,
}

/// A piece of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogChunk {
    /// Whether it came from standard error.
    pub stderr: bool,
    /// The bytes, as written.
    pub bytes: Bytes,
}

/// A hint from the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuntimeEvent {
    /// Something happened to a container of this agent.
    Container {
        /// The agent, from our label.
        agent: AgentName,
        /// Which container.
        id: ContainerId,
        /// The engine's word: `die`, `start`, `destroy` …; `network connect` and `network disconnect` when it joined or
        /// left the agents' network.
        action: String,
    },
    /// Something happened to the agents' network, or somebody who is not known as ours joined or left it.
    Network,
}

/// Who the engine is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineInfo {
    /// Its version.
    pub version: String,
    /// Its API's version.
    pub api_version: String,
}

/// What an adapter must know beside the engine's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeSettings {
    /// Our cluster: only its objects are listed and touched.
    pub cluster: ClusterId,
    /// The agents' network's name.
    pub network: String,
    /// Host folders that manifests may name, resolved; empty: none.
    pub allowed_host_paths: Vec<std::path::PathBuf>,
    /// Host paths refused always: the Docker socket, our data folder (and all their ancestors).
    pub denied_host_paths: Vec<std::path::PathBuf>,
}
