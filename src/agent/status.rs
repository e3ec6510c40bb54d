//! What is true of one agent, as published by the reconciler. Conditions are the truth; the phase is for people.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Check, Revision};

/// What is true of one agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AgentStatus {
    /// The generation that this status speaks of.
    pub observed_generation: u64,
    /// One word for people.
    pub phase: Phase,
    /// The truth, by type; sorted by type.
    pub conditions: Vec<Condition>,
    /// One entry per container, by ordinal and incarnation.
    pub instances: Vec<InstanceStatus>,
    /// The revision that the spec asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
    /// How far the way to that revision is.
    #[serde(skip_serializing_if = "RolloutStatus::is_unset")]
    pub rollout: RolloutStatus,
    /// Instances that shall run.
    pub replicas: u32,
    /// Instances that are Ready.
    pub ready_replicas: u32,
    /// Instances of the revision that the spec asks for.
    pub updated_replicas: u32,
    /// Agents that this one's environment names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub upstreams: Vec<String>,
    /// Requests that are kept for it, as they were a few seconds ago. The API's own: it is no part of what is stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueStatus>,
}

/// Requests that are kept for an agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueStatus {
    /// Those that wait to be delivered, for the first time or again.
    pub pending: u64,
    /// Those that are on their way.
    pub in_flight: u64,
    /// Those that were sent and not answered, and may not be sent again by themselves.
    pub unknown: u64,
    /// Those that failed, or were tried as often as they may be.
    pub dead_lettered: u64,
    /// When the oldest that waits was kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest: Option<Timestamp>,
}

impl AgentStatus {
    /// What it says of a container.
    pub fn instance(&self, container: &str) -> Option<&InstanceStatus> {
        self.instances
            .iter()
            .find(|instance| instance.container_id == container)
    }

    /// The same without the lines of any log.
    pub fn without_lines(mut self) -> Self {
        for condition in &mut self.conditions {
            condition.last_lines.clear();
        }
        for exit in self
            .instances
            .iter_mut()
            .filter_map(|one| one.last_exit.as_mut())
        {
            exit.last_lines.clear();
        }
        self
    }

    /// What of it no look at the world can tell again: which revision was last asked for, which one was good, which one
    /// failed, and that its containers were brought back for it. All of that changes seldom.
    pub fn remembered(&self) -> Self {
        let rollout = match self.rollout.failed {
            // How long it has stood so decides nothing.
            Some(_) => RolloutStatus {
                progressed_at: None,
                ..self.rollout.clone()
            },
            // The rest is seen, or begins anew.
            None => RolloutStatus {
                last_good: self.rollout.last_good.clone(),
                ..RolloutStatus::default()
            },
        };
        Self {
            revision: self.revision.clone(),
            rollout,
            conditions: self
                .condition(condition::ROLLED_BACK)
                .cloned()
                .into_iter()
                .collect(),
            ..Self::default()
        }
    }

    /// The same with what another one remembers in place of its own.
    pub fn recalling(mut self, memory: Self) -> Self {
        self.revision = memory.revision;
        self.rollout = memory.rollout;
        self.conditions
            .retain(|condition| condition.kind != condition::ROLLED_BACK);
        self.conditions.extend(memory.conditions);
        self.conditions.sort_by(|a, b| a.kind.cmp(&b.kind));
        self
    }

    /// The condition of a type, if it was ever set.
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions
            .iter()
            .find(|condition| condition.kind == kind)
    }

    /// Whether the agent is Ready.
    pub fn is_ready(&self) -> bool {
        self.condition(condition::READY)
            .is_some_and(|ready| ready.status == ConditionStatus::True)
    }
}

/// The way from one revision to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RolloutStatus {
    /// In a word.
    pub state: RolloutState,
    /// The number in the history of the revision that the spec asks for; 0: not known yet.
    pub number: u64,
    /// The last revision whose instances were all ready for a while. It goes on serving while a later one is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_good: Option<Revision>,
    /// Its number.
    pub last_good_number: u64,
    /// When the rollout last got on; its deadline counts from here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progressed_at: Option<Timestamp>,
    /// How far it had got by then: its image found, instances made, instances ready.
    pub progress: u32,
    /// Why the revision that the spec asks for counts as failed, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<FailedRollout>,
    /// The health check on trial that `progressedAt` and `failed` speak of, if they do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tried: Option<Check>,
}

impl RolloutStatus {
    fn is_unset(&self) -> bool {
        *self == Self::default()
    }
}

/// How it stands with a rollout, in a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RolloutState {
    /// Instances of the revision that is asked for come to be.
    #[default]
    Progressing,
    /// There are no others, and all are ready.
    Complete,
    /// Somebody holds it.
    Paused,
    /// The revision does not become ready; what was good serves on.
    Failed,
    /// The same, and the instances are of the last good revision again.
    RolledBack,
}

/// A revision that did not become good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailedRollout {
    /// Which.
    pub revision: Revision,
    /// One CamelCase word.
    pub reason: String,
    /// A sentence.
    pub message: String,
    /// When that was found.
    pub at: Timestamp,
}

/// One word for people.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum Phase {
    /// Not acted on yet.
    #[default]
    Pending,
    /// Something must come first: an image, a dependency, a start.
    Progressing,
    /// All its instances are Ready.
    Running,
    /// Some of its instances are not Ready.
    Degraded,
    /// It cannot run as specified; the conditions say why.
    Failed,
    /// Stopped by its spec.
    Stopped,
    /// Paused by its spec.
    Paused,
    /// Being deleted.
    Terminating,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Pending => "Pending",
            Self::Progressing => "Progressing",
            Self::Running => "Running",
            Self::Degraded => "Degraded",
            Self::Failed => "Failed",
            Self::Stopped => "Stopped",
            Self::Paused => "Paused",
            Self::Terminating => "Terminating",
        })
    }
}

/// The condition types that we set.
pub mod condition {
    /// All instances that shall run are ready and of the asked revision's service.
    pub const READY: &str = "Ready";
    /// The reason for which that is so while the spec's health check has not passed yet, and a former one judges.
    pub const FORMER_CHECK: &str = "FormerHealthCheck";
    /// Work towards the spec is going on; False with a reason when it is stuck or done.
    pub const PROGRESSING: &str = "Progressing";
    /// The revision that is asked for failed, and the last good one serves in its place. Only its presence means something.
    pub const ROLLED_BACK: &str = "RolledBack";
    /// The image of the revision was resolved; False with ImagePullFailed, ImageNotFound, ImageLost …
    pub const IMAGE_RESOLVED: &str = "ImageResolved";
    /// A warning that harms nothing: dangling upstreams.
    pub const UPSTREAMS_KNOWN: &str = "UpstreamsKnown";
    /// The network gives us chosen addresses; False: `AddressesNotOwned`.
    pub const ADDRESSES_OWNED: &str = "AddressesOwned";
    /// Containers of ours without an object in the store keep running: `True` means removal is frozen.
    pub const QUARANTINED: &str = "Quarantined";
    /// A container that could not be removed or is in the way.
    pub const STUCK: &str = "Stuck";
}

/// One truth about an agent, as in Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What it speaks of.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it is so.
    pub status: ConditionStatus,
    /// One CamelCase word.
    pub reason: String,
    /// A sentence for people, with the remedy where there is one.
    pub message: String,
    /// When `status` last changed.
    pub last_transition_time: Timestamp,
    /// The last lines that an instance wrote before it ended, where it is not started again for the moment. Environment
    /// values in them are masked, and only who may read the log sees them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_lines: Vec<String>,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// It does.
    True,
    /// It does not.
    False,
    /// Not known: unknown is not dead.
    Unknown,
}

/// One container of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceStatus {
    /// The container's present name.
    pub name: String,
    /// Docker's id of it.
    pub container_id: String,
    /// Its place among the replicas.
    pub ordinal: u32,
    /// Its place in that ordinal's history.
    pub incarnation: u64,
    /// Its address on the agents' network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<std::net::IpAddr>,
    /// Its revision.
    pub revision: Revision,
    /// Its image's id.
    pub image: String,
    /// `created`, `running`, `paused`, `restarting`, `exited`, `removing`, `dead`.
    pub state: String,
    /// Whether it answers requests.
    pub ready: bool,
    /// How often this ordinal was started again since its revision came.
    pub restarts: u32,
    /// Failures in a row, which the back-off counts; back to 0 after a while without one.
    #[serde(default)]
    pub failures: u32,
    /// When it was last started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// Since when it gets no new requests, while those that it has may finish.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draining_since: Option<Timestamp>,
    /// How it last ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<LastExit>,
}

/// How an instance ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastExit {
    /// The exit code; above 128: killed by signal code − 128. It may lie after a power cut (moby #45800).
    pub code: i64,
    /// Killed for want of memory.
    pub oom_killed: bool,
    /// When.
    pub at: Timestamp,
    /// The last lines that it wrote, as in [`Condition::last_lines`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_lines: Vec<String>,
}

impl LastExit {
    /// Whether it is the same end, whatever is known of its log.
    pub fn is(&self, other: &Self) -> bool {
        (self.code, self.oom_killed, self.at) == (other.code, other.oom_killed, other.at)
    }

    /// The signal that ended it, by the shells' convention that the exit code is 128 and the signal's number.
    pub fn signal(&self) -> Option<&'static str> {
        Some(match self.code.checked_sub(128)? {
            1 => "SIGHUP",
            2 => "SIGINT",
            3 => "SIGQUIT",
            4 => "SIGILL",
            5 => "SIGTRAP",
            6 => "SIGABRT",
            7 => "SIGBUS",
            8 => "SIGFPE",
            9 => "SIGKILL",
            11 => "SIGSEGV",
            13 => "SIGPIPE",
            14 => "SIGALRM",
            15 => "SIGTERM",
            31 => "SIGSYS",
            _ => return None,
        })
    }
}

impl std::fmt::Display for LastExit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "code {}", self.code)?;
        if let Some(signal) = self.signal() {
            write!(f, " ({signal})")?;
        }
        if self.oom_killed {
            f.write_str(", out of memory")?;
        }
        Ok(())
    }
}
