//! What a plan consists of: complete effects, the status to publish, the endpoints, and when to look again.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::agent::spec::HealthCheck;
use crate::agent::{AgentStatus, Check, Revision, RevisionRecord, Shape, Uid};
use crate::observed::{ContainerId, ImageId, Limits, NetworkId};

/// What shall be done now, in this order, and what is true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The containers as routing targets; published *before* the actions are carried out.
    pub endpoints: Vec<EndpointPlan>,
    /// The effects in order; execution stops at the first error.
    pub actions: Vec<Planned>,
    /// What to publish; `None` when there is no object to publish it on.
    pub status: Option<AgentStatus>,
    /// Ended containers of which people are told, and whose last lines are not known: to be read when all is done.
    pub unread: Vec<ContainerId>,
    /// Look again after this long at the latest.
    pub recheck: Option<Duration>,
}

/// An action with the reason for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The effect.
    pub action: Action,
    /// Why, for people: "container was removed by somebody else".
    pub reason: String,
}

/// One effect, complete: it can be carried out without a further decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Find the image of a revision (pull by policy), keep its id with the revision and tag it.
    ResolveImage {
        /// For which revision.
        revision: Revision,
        /// The image as the spec names it.
        image: String,
        /// When to pull.
        pull: crate::agent::spec::PullPolicy,
        /// The number that the revision has in the history.
        number: u64,
        /// What containers of it are made from.
        shape: Option<Shape>,
        /// The check that has passed on instances of it.
        proven: Option<Check>,
    },
    /// Record a revision anew, and name its image ours where it is not yet.
    KeepRevision {
        /// The record as it shall be.
        record: Box<RevisionRecord>,
    },
    /// Take our name from the image of a revision, and forget the revision.
    ForgetRevision {
        /// Which.
        revision: Revision,
        /// The image's name, if it is ours to take.
        tag: Option<String>,
    },
    /// Create one container and start it (then freeze it, when `paused`).
    Create(Box<CreateInstance>),
    /// Start a container that was made and does not run.
    Start {
        /// Which.
        container: ContainerId,
    },
    /// SIGTERM, then SIGKILL after `grace`.
    Stop {
        /// Which.
        container: ContainerId,
        /// How long it may take.
        grace: Duration,
    },
    /// Freeze.
    Pause {
        /// Which.
        container: ContainerId,
    },
    /// Thaw.
    Unpause {
        /// Which.
        container: ContainerId,
    },
    /// Remove, by id, by force.
    Remove {
        /// Which.
        container: ContainerId,
    },
    /// Give a container a name.
    Rename {
        /// Which.
        container: ContainerId,
        /// The new name.
        name: String,
    },
    /// Put a container on the agents' network.
    Connect {
        /// Which.
        container: ContainerId,
        /// Where.
        network: NetworkId,
        /// Its DNS names there.
        aliases: BTreeSet<String>,
        /// The address to ask for; `None`: the engine chooses, or the executor takes a fresh one when `own_address`.
        address: Option<Ipv4Addr>,
        /// Whether to take a fresh address of ours when `address` is `None`.
        own_address: bool,
    },
    /// Take a container off a network.
    Disconnect {
        /// Which.
        container: ContainerId,
        /// Where.
        network: NetworkId,
    },
    /// Set the limits back to the spec's.
    UpdateLimits {
        /// Which.
        container: ContainerId,
        /// To what.
        limits: Limits,
    },
    /// All containers are gone: let the object go and leave a tombstone.
    Finalize {
        /// Of which life of the agent.
        uid: Uid,
    },
}

impl Action {
    /// The action in a word, for logs.
    pub fn word(&self) -> &'static str {
        match self {
            Self::ResolveImage { .. } => "resolve-image",
            Self::KeepRevision { .. } => "keep-revision",
            Self::ForgetRevision { .. } => "forget-revision",
            Self::Create(_) => "create",
            Self::Start { .. } => "start",
            Self::Stop { .. } => "stop",
            Self::Pause { .. } => "pause",
            Self::Unpause { .. } => "unpause",
            Self::Remove { .. } => "remove",
            Self::Rename { .. } => "rename",
            Self::Connect { .. } => "connect",
            Self::Disconnect { .. } => "disconnect",
            Self::UpdateLimits { .. } => "update-limits",
            Self::Finalize { .. } => "finalize",
        }
    }

    /// Whether it takes nothing away: it heals, and cannot harm what a store that is away may say by now.
    pub fn only_adds(&self) -> bool {
        matches!(
            self,
            Self::ResolveImage { .. }
                | Self::Create(_)
                | Self::Start { .. }
                | Self::Unpause { .. }
                | Self::Connect { .. }
        )
    }

    /// Whether carrying it out writes to the store.
    pub fn needs_store(&self) -> bool {
        matches!(
            self,
            Self::ResolveImage { .. }
                | Self::KeepRevision { .. }
                | Self::ForgetRevision { .. }
                | Self::Create(_)
                | Self::Finalize { .. }
        )
    }

    /// The reason word of the event that people are told; `None`: none.
    pub fn event(&self) -> Option<&'static str> {
        Some(match self {
            Self::Create(_) => "Created",
            Self::Start { .. } => "Started",
            Self::Stop { .. } => "Stopped",
            Self::Pause { .. } => "Paused",
            Self::Unpause { .. } => "Resumed",
            Self::Remove { .. } => "Removed",
            Self::Connect { .. } => "Connected",
            Self::UpdateLimits { .. } => "LimitsRestored",
            Self::Rename { .. } => "Renamed",
            Self::ResolveImage { .. }
            | Self::KeepRevision { .. }
            | Self::ForgetRevision { .. }
            | Self::Disconnect { .. }
            | Self::Finalize { .. } => return None,
        })
    }
}

/// A container to be made: everything but its incarnation and address, which are reserved in the store first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateInstance {
    /// Of which life of the agent.
    pub uid: Uid,
    /// The spec's generation.
    pub generation: u64,
    /// The revision.
    pub revision: Revision,
    /// The image, by id.
    pub image: ImageId,
    /// Its place among the replicas.
    pub ordinal: u32,
    /// The highest incarnation of this ordinal that was seen; the new one is above it.
    pub after_incarnation: u64,
    /// Take the agent's own name before the start, if nothing holds it.
    pub take_agent_name: bool,
    /// The spec that shapes it.
    pub spec: crate::agent::AgentSpec,
    /// The moment of the restart that is part of its revision.
    pub restarted_at: Option<String>,
    /// Freeze it after the start.
    pub paused: bool,
    /// Make it and leave it: the agent is stopped.
    pub start: bool,
}

/// A container as a routing target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointPlan {
    /// Which.
    pub container: ContainerId,
    /// Its address and port; `None` when it has none.
    pub address: Option<std::net::SocketAddr>,
    /// It is certain that nothing more comes from where it was: it ended, or was taken off the network.
    pub departed: bool,
    /// Whether it gets requests.
    pub state: EndpointState,
    /// How it is asked whether it is well; `None`: whether its port accepts.
    pub check: Option<HealthCheck>,
    /// What it is asked beside that, on trial.
    pub tried: Option<Check>,
}

/// Whether a container gets requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EndpointState {
    /// It gets requests.
    Ready,
    /// It is expected to answer soon.
    Starting,
    /// It gets nothing new and keeps what it has.
    Draining,
    /// It gets nothing.
    Down,
}
