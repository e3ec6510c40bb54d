//! What was seen of the world: containers, the network, images, probes, traffic. Values alone, mapped from the
//! engine's by `runtime`, read by `plan`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnet::Ipv4Net;
use jiff::Timestamp;

use crate::agent::spec::Resources;
use crate::agent::{Check, ClusterId, Revision, RevisionRecord, Uid};
use crate::names::AgentName;

/// Docker's id of a container.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct ContainerId(pub String);

impl std::fmt::Display for ContainerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Docker's id of an image, `sha256:…`.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct ImageId(pub String);

impl std::fmt::Display for ImageId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Docker's id of a network.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkId(pub String);

/// What our labels say of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Whose it is.
    pub cluster: ClusterId,
    /// Of which agent.
    pub agent: AgentName,
    /// Of which life of that agent.
    pub uid: Uid,
    /// The spec's generation at creation.
    pub generation: u64,
    /// What shaped it.
    pub revision: Revision,
    /// Its place among the replicas.
    pub ordinal: u32,
    /// Its place in that ordinal's history.
    pub incarnation: u64,
    /// The store's epoch at creation.
    pub epoch: u64,
}

/// What a container is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ContainerState {
    /// Made, never started.
    Created,
    /// Its process runs.
    Running,
    /// Its process is frozen.
    Paused,
    /// The engine is starting it again (not by us: our policy is `no`).
    Restarting,
    /// Its process ended.
    Exited,
    /// The engine is removing it.
    Removing,
    /// Half removed; the engine gave up.
    Dead,
    /// A word that we do not know: unknown is not dead.
    Unknown,
}

impl ContainerState {
    /// The engine's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Exited => "exited",
            Self::Removing => "removing",
            Self::Dead => "dead",
            Self::Unknown => "unknown",
        }
    }
}

/// One container that carries our labels, as inspected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Docker's id.
    pub id: ContainerId,
    /// Its present name, without the slash.
    pub name: String,
    /// What our labels say.
    pub identity: Identity,
    /// The image that it was made from.
    pub image: ImageId,
    /// What it does.
    pub state: ContainerState,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// When its process last started.
    pub started_at: Option<Timestamp>,
    /// How it last ended, also while it is being removed; `None` while it runs or never ran.
    pub exit: Option<Exit>,
    /// Its place on the agents' network; `None` when it is not on it.
    pub attachment: Option<Attachment>,
    /// The limits it runs under now.
    pub limits: Limits,
    /// Where its own agent listens: the port of the spec that shaped it, which the asked one may have left. From the
    /// `spec` label, else the exposed port; `None` when neither tells: then the asked spec's port is used.
    pub port: Option<u16>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The exit code.
    pub code: i64,
    /// Killed for want of memory.
    pub oom_killed: bool,
    /// When; `None` when the engine does not know.
    pub at: Option<Timestamp>,
}

/// A container's place on the agents' network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The network.
    pub network: NetworkId,
    /// Its address; `None` while it does not run (the engine clears it, moby #49888).
    pub ip: Option<IpAddr>,
    /// The address that we asked for, kept while it does not run.
    pub asked_ip: Option<Ipv4Addr>,
    /// Its DNS names there.
    pub aliases: BTreeSet<String>,
}

/// Limits as the engine has them; 0: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Billionths of a core.
    pub nano_cpus: i64,
    /// Bytes of memory.
    pub memory: i64,
    /// Processes.
    pub pids: i64,
}

impl Limits {
    /// What a spec asks for: made so by `runtime` and held to it by `plan`, which must never differ about it.
    pub fn of(resources: &Resources) -> Self {
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        Self {
            nano_cpus: resources
                .cpu
                .map_or(0, |cpu| whole(cpu.millis).saturating_mul(1_000_000)),
            memory: resources.memory.map_or(0, |memory| whole(memory.bytes)),
            pids: i64::from(resources.pids.unwrap_or(Resources::DEFAULT_PIDS)),
        }
    }
}

/// The agents' network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Docker's id.
    pub id: NetworkId,
    /// Its name.
    pub name: String,
    /// Whether our cluster's label is on it; else it is adopted.
    pub ours: bool,
    /// Its subnet, if the engine tells one.
    pub subnet: Option<Ipv4Net>,
    /// Its gateway on the host.
    pub gateway: Option<Ipv4Addr>,
    /// Whether we may choose addresses on it: it was made with a subnet of its own.
    pub addresses_owned: bool,
    /// The engine's own range for strangers on it.
    pub strangers: Option<Ipv4Net>,
    /// Containers on it, ours and others', by id. Shared: every agent's pass has them, and there may be thousands.
    pub members: Arc<BTreeMap<String, Option<Ipv4Addr>>>,
}

/// What is known of the image of the asked revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageState {
    /// Not looked up yet for this revision.
    Unresolved,
    /// It is being pulled; how far, for people.
    Pulling(String),
    /// Resolved, kept with the revision and tagged.
    Resolved(ImageId),
    /// Resolved once, and now gone from the machine.
    Lost {
        /// What it was.
        image: ImageId,
        /// The last try to resolve it anew, if one failed.
        failed: Option<Failure>,
    },
    /// Could not be resolved.
    Failed(Failure),
}

/// An action that failed, as the next plan is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// One CamelCase word: `ImagePullFailed`, `ImageNotFound`, `CreateFailed`, `StartFailed`, `HostPathDenied` …
    pub reason: String,
    /// A sentence with the cause and the remedy.
    pub message: String,
    /// How often in a row.
    pub attempts: u32,
    /// When the last time.
    pub at: Timestamp,
    /// Whether another try with the same spec may help.
    pub retryable: bool,
    /// Of which revision; another one's tries do not rest for it. `None`: not known.
    pub of: Option<Revision>,
}

/// The last lines that a container wrote before it ended, fit to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastLines {
    /// Of which end; `None` when the engine does not know when it was.
    pub ended: Option<Timestamp>,
    /// The lines, the oldest first; none when there are none or they cannot be had.
    pub lines: Vec<String>,
}

/// What probes say of one container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probe {
    /// Whether it is ready; `None`: not known yet.
    pub ready: Option<bool>,
    /// Liveness failures in a row: no answer at all, or, where the check asks for that, a bad one.
    pub unanswered: u32,
    /// Why it is not ready, for people.
    pub message: String,
    /// Since when `ready` has its value.
    pub since: Option<Timestamp>,
    /// The check that has passed on this run of it; that one, where the one on trial has.
    pub passed: Option<Check>,
    /// What the check on trial was answered, for people; empty while there is none, or it was not answered yet.
    pub tried: String,
}

/// What the data path says of one container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Requests in flight.
    pub in_flight: u64,
    /// Since when it drains, if it does.
    pub draining_since: Option<Timestamp>,
    /// Whether another server on the same store may still send it something, or has something in flight on it.
    pub busy_elsewhere: bool,
}

/// All that one plan is told of one agent's world.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Every container with our cluster's label and this agent's name, by ordinal and incarnation.
    pub containers: Vec<Container>,
    /// The agents' network; `None`: missing.
    pub network: Option<Network>,
    /// The image of each revision that was ever resolved or tried and is asked now or was the last good one.
    pub images: BTreeMap<Revision, ImageState>,
    /// What is recorded of the agent's revisions, by number; `None`: the store could not be asked.
    pub records: Option<Vec<RevisionRecord>>,
    /// Since when its world was looked at without a gap; a time that nobody saw counts for no deadline.
    pub attended: Option<Timestamp>,
    /// Probe results.
    pub probes: BTreeMap<ContainerId, Probe>,
    /// Traffic.
    pub traffic: BTreeMap<ContainerId, Traffic>,
    /// What ended containers last wrote, as far as it was read.
    pub last_lines: BTreeMap<ContainerId, LastLines>,
    /// Failed creations and starts by ordinal.
    pub failures: BTreeMap<u32, Failure>,
    /// Container names in this agent's family that something not ours holds.
    pub foreign_names: BTreeSet<String>,
    /// Named agents and whether they are Ready: dependencies and upstreams. `None`: no such agent.
    pub others: BTreeMap<AgentName, Option<bool>>,
}
