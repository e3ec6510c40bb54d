//! The desired state of one agent, as a user writes it (design, section 3).
//!
//! A field that is left out has its default and is not serialised, so that a stored spec is *as the user set it* and
//! hashes the same under later releases. Pure values: what they mean is decided in `plan`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::env::EnvValue;
use super::quantity::{Bytes, Cpu, Span};
use crate::names::AgentName;

/// Whether a field has its default and is left out of the serialised form.
fn unset<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What an agent shall be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AgentSpec {
    /// The image; default: the agent's own name.
    #[serde(skip_serializing_if = "unset")]
    pub image: Option<String>,
    /// When the image is pulled.
    #[serde(skip_serializing_if = "unset")]
    pub pull_policy: PullPolicy,
    /// Build the image from this context; read by the client, which writes the resulting image id into `image`.
    #[serde(skip_serializing_if = "unset")]
    pub build: Option<Build>,
    /// Replaces the image's entrypoint.
    #[serde(skip_serializing_if = "unset")]
    pub command: Vec<String>,
    /// Arguments to the entrypoint.
    #[serde(skip_serializing_if = "unset")]
    pub args: Vec<String>,
    /// `uid[:gid]` or a name of the image's; default: the image's user.
    #[serde(skip_serializing_if = "unset")]
    pub user: String,
    /// Where the agent listens.
    #[serde(skip_serializing_if = "unset")]
    pub port: Port,
    /// How many instances run.
    #[serde(skip_serializing_if = "unset")]
    pub replicas: Replicas,
    /// Whether the agent shall run.
    #[serde(skip_serializing_if = "unset")]
    pub state: DesiredState,
    /// The environment of the agent's process.
    #[serde(skip_serializing_if = "unset")]
    pub env: BTreeMap<String, EnvValue>,
    /// A file of `NAME=value` lines, read by the client; `env` goes before it.
    #[serde(skip_serializing_if = "unset")]
    pub env_file: Option<OneOrMany>,
    /// Limits of each instance.
    #[serde(skip_serializing_if = "unset")]
    pub resources: Resources,
    /// Folders and named volumes in the container.
    #[serde(skip_serializing_if = "unset")]
    pub volumes: Vec<Volume>,
    /// What the container may do.
    #[serde(skip_serializing_if = "unset")]
    pub security: Security,
    /// How readiness and liveness are probed; without it, ready means that the port accepts.
    #[serde(skip_serializing_if = "unset")]
    pub health_check: Option<HealthCheck>,
    /// What happens when an instance ends.
    #[serde(skip_serializing_if = "unset")]
    pub restart: Restart,
    /// Short form of `restart.policy`: true is `always`, false is `no`.
    #[serde(skip_serializing_if = "unset")]
    pub auto_restart: Option<bool>,
    /// How a changed revision replaces instances.
    #[serde(skip_serializing_if = "unset")]
    pub strategy: Strategy,
    /// How an instance is taken out of service.
    #[serde(skip_serializing_if = "unset")]
    pub drain: Drain,
    /// Agents that must be Ready before this one is first created.
    #[serde(skip_serializing_if = "unset")]
    pub depends_on: Vec<AgentName>,
    /// The same as `dependsOn`.
    #[serde(skip_serializing_if = "unset")]
    pub dependencies: Vec<AgentName>,
    /// What happens to requests that the agent cannot answer now.
    #[serde(skip_serializing_if = "unset")]
    pub persistence: Option<Persistence>,
    /// How the proxy talks to the agent.
    #[serde(skip_serializing_if = "unset")]
    pub proxy: Proxy,
}

/// When the image is pulled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PullPolicy {
    /// Only when the machine does not have it.
    #[default]
    Missing,
    /// Each time a revision is first seen.
    Always,
    /// Never.
    Never,
}

/// Where an image is built from: a context folder, or more detail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Build {
    /// The context folder.
    Context(String),
    /// The context and how it is built.
    Detail(BuildDetail),
}

/// A build in detail.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BuildDetail {
    /// The context folder.
    pub context: String,
    /// The Dockerfile within the context; default `Dockerfile`.
    #[serde(default, skip_serializing_if = "unset")]
    pub dockerfile: Option<String>,
    /// Build arguments.
    #[serde(default, skip_serializing_if = "unset")]
    pub args: BTreeMap<String, EnvValue>,
    /// The stage to build.
    #[serde(default, skip_serializing_if = "unset")]
    pub target: Option<String>,
}

/// One text or a list of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum OneOrMany {
    /// One.
    One(String),
    /// Several, later ones go before earlier ones.
    Many(Vec<String>),
}

impl OneOrMany {
    /// All of them in order.
    pub fn all(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

macro_rules! number_with_default {
    ($(#[$doc:meta])* $name:ident, $type:ty, $default:literal, $min:literal, $max:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        pub struct $name(#[schemars(range(min = $min, max = $max))] pub $type);
        impl Default for $name {
            fn default() -> Self {
                Self($default)
            }
        }
    };
}
number_with_default!(
    /// A TCP port; default 8000.
    Port, u16, 8000, 1, 65535
);
number_with_default!(
    /// A number of instances; default 1.
    Replicas, u32, 1, 0, 100
);

/// Whether an agent shall run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DesiredState {
    /// Its instances run.
    #[default]
    Running,
    /// Its instances are stopped and kept.
    Stopped,
    /// Its instances are frozen where they are.
    Paused,
}

/// Limits of one instance; what is left out is not limited, but for `pids`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Resources {
    /// CPU time.
    #[serde(skip_serializing_if = "unset")]
    pub cpu: Option<Cpu>,
    /// Memory; beyond it the kernel kills the process.
    #[serde(skip_serializing_if = "unset")]
    pub memory: Option<Bytes>,
    /// Processes and threads; default 512.
    #[serde(skip_serializing_if = "unset")]
    #[schemars(range(min = 1, max = 4_194_304))]
    pub pids: Option<u32>,
}

impl Resources {
    /// Processes and threads of an instance whose spec names no number.
    pub const DEFAULT_PIDS: u32 = 512;
}

/// A host folder or a named volume in the container: exactly one of `host` and `name`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Volume {
    /// A folder of the host, under a root that the operator opened with `--allow-host-path`.
    #[serde(default, skip_serializing_if = "unset")]
    pub host: Option<String>,
    /// A named volume.
    #[serde(default, skip_serializing_if = "unset")]
    pub name: Option<String>,
    /// The absolute path in the container.
    pub container: String,
    /// Read and write, or read only.
    #[serde(default, skip_serializing_if = "unset")]
    pub mode: VolumeMode,
    /// The same as `mode: ro`.
    #[serde(default, skip_serializing_if = "unset")]
    pub read_only: Option<bool>,
}

/// How a volume is mounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum VolumeMode {
    /// Read and write.
    #[default]
    Rw,
    /// Read only.
    Ro,
}

/// What the container may do beyond the defaults (design, section 6, "Runtime").
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Security {
    /// No writes outside volumes and `/tmp`.
    #[serde(skip_serializing_if = "unset")]
    pub read_only_root_filesystem: bool,
    /// Linux capabilities beside the default list.
    #[serde(skip_serializing_if = "unset")]
    pub capabilities: Capabilities,
}

/// Capabilities to add to and drop from the default list, without `CAP_`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Capabilities {
    /// To add.
    #[serde(skip_serializing_if = "unset")]
    pub add: Vec<String>,
    /// To drop.
    #[serde(skip_serializing_if = "unset")]
    pub drop: Vec<String>,
}

/// An HTTP probe. A non-2xx answer means not Ready and never causes a restart (design, "Health").
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HealthCheck {
    /// The path to GET.
    pub endpoint: String,
    /// Between two probes of a settled instance.
    pub interval: Span,
    /// How long an answer may take.
    pub timeout: Span,
    /// Failures in a row before a Ready instance is not.
    #[schemars(range(min = 1, max = 1000))]
    pub retries: u32,
    /// Failures this soon after the start count for nothing.
    pub start_period: Span,
    /// Restart on a non-2xx answer too.
    pub restart_on_status: bool,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            endpoint: "/health".to_owned(),
            interval: Span::seconds(30),
            timeout: Span::seconds(5),
            retries: 3,
            start_period: Span::seconds(0),
            restart_on_status: false,
        }
    }
}

/// What happens when an instance ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Restart {
    /// When it is started again.
    pub policy: RestartPolicy,
    /// Before the first restart; doubled for each further one.
    pub delay: Span,
    /// The longest wait.
    pub max_delay: Span,
    /// Restarts in a row before we give up; 0: never.
    pub max_retries: u32,
}

impl Default for Restart {
    fn default() -> Self {
        Self {
            policy: RestartPolicy::Always,
            delay: Span::seconds(1),
            max_delay: Span::seconds(300),
            max_retries: 0,
        }
    }
}

/// When an instance that ended is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// Always.
    #[default]
    Always,
    /// When its exit code is not 0.
    OnFailure,
    /// Never.
    No,
}

/// How a changed revision replaces instances.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Strategy {
    /// Unset: `recreate` when any volume is writable, else `rolling`.
    #[serde(rename = "type", skip_serializing_if = "unset")]
    pub kind: Option<StrategyKind>,
    /// Instances above `replicas` during a rollout; default 1.
    #[serde(skip_serializing_if = "unset")]
    pub max_surge: Option<u32>,
    /// Ready instances that may be missing during a rollout; default 0.
    #[serde(skip_serializing_if = "unset")]
    pub max_unavailable: Option<u32>,
    /// How long a rollout, the first one too, may go without progress before it counts as failed; default 2m and the
    /// healthCheck's startPeriod, 0s is for ever.
    #[serde(skip_serializing_if = "unset")]
    pub progress_deadline: Option<Span>,
    /// Go back to the last good revision by itself when a rollout fails. The spec stays as it is; the next change of it,
    /// or a restart, is tried anew.
    #[serde(skip_serializing_if = "unset")]
    pub rollback: bool,
}

/// The two ways to replace instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StrategyKind {
    /// The new one is ready before the old one goes.
    Rolling,
    /// The old one goes before the new one comes.
    Recreate,
}

/// How an instance is taken out of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Drain {
    /// How long what is in flight may take to finish.
    pub timeout: Span,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            timeout: Span::seconds(30),
        }
    }
}

/// What happens to requests that the agent cannot answer now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Persistence {
    /// Which requests are kept.
    pub mode: PersistenceMode,
    /// The methods kept in `auto`.
    pub methods: Vec<String>,
    /// How long a request may wait, and how long what became of it is kept: at most ten years.
    pub ttl: Span,
    /// Further deliveries before a request is a dead letter.
    pub max_retries: u32,
    /// Requests that may wait at once.
    pub max_queue: u32,
    /// The largest body kept.
    pub max_body: Bytes,
    /// Of all that wait together.
    pub max_bytes: Bytes,
    /// Delivery order.
    pub order: Order,
    /// Deliveries at once; `strict` means 1.
    pub concurrency: u32,
    /// Deliver again what may have been received.
    pub replay_unsafe: bool,
    /// Deliver again after 429 and 503 with `Retry-After`.
    pub retry_refusals: bool,
    /// Keep a stream's events, so that a client can come back.
    pub resumable: bool,
    /// Where results may be sent.
    pub callbacks: Callbacks,
}

impl Persistence {
    /// The longest `ttl`: what is far behind all calendars has no place in the journal's order.
    pub const LONGEST_TTL: Span = Span::seconds(3650 * 24 * 3600);
}

impl Default for Persistence {
    fn default() -> Self {
        Self {
            mode: PersistenceMode::Auto,
            methods: ["POST", "PUT", "PATCH", "DELETE"]
                .map(str::to_owned)
                .to_vec(),
            ttl: Span::seconds(24 * 3600),
            max_retries: 3,
            max_queue: 1000,
            max_body: Bytes { bytes: 1 << 20 },
            max_bytes: Bytes { bytes: 64 << 20 },
            order: Order::None,
            concurrency: 4,
            replay_unsafe: false,
            retry_refusals: false,
            resumable: false,
            callbacks: Callbacks::default(),
        }
    }
}

/// Which requests are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PersistenceMode {
    /// Those that cannot be served now.
    Auto,
    /// All, before they are forwarded.
    Always,
    /// None.
    Off,
}

/// Delivery order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// As it comes.
    None,
    /// As admitted, one at a time.
    Strict,
}

/// Where results may be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Callbacks {
    /// Host names; `*.example.org` means all names below it.
    pub hosts: Vec<String>,
}

/// How the proxy talks to the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Proxy {
    /// The protocol towards the agent; default http1.
    #[serde(skip_serializing_if = "unset")]
    pub protocol: Option<Protocol>,
    /// How an instance is chosen; default least-request.
    #[serde(skip_serializing_if = "unset")]
    pub balance: Option<Balance>,
    /// What a session is recognised by, for `balance: hash`.
    #[serde(skip_serializing_if = "unset")]
    pub session: Option<Session>,
    /// Time-outs; 0s: none.
    #[serde(skip_serializing_if = "unset")]
    pub timeouts: Option<Timeouts>,
    /// Further tries on another instance; default 2.
    #[serde(skip_serializing_if = "unset")]
    pub retries: Option<u32>,
    /// When an instance is left alone for a while.
    #[serde(skip_serializing_if = "unset")]
    pub breaker: Option<Breaker>,
    /// Requests at once; 0: no limit.
    #[serde(skip_serializing_if = "unset")]
    pub max_in_flight: Option<u32>,
    /// What happens to the agent's request when the client goes; default cancel, but for a stream whose events are kept.
    #[serde(skip_serializing_if = "unset")]
    pub on_disconnect: Option<OnDisconnect>,
}

/// The protocol towards the agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 in clear text with prior knowledge.
    H2c,
}

/// How an instance is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Balance {
    /// The less busy of two.
    LeastRequest,
    /// In turn.
    RoundRobin,
    /// By session.
    Hash,
}

/// What a session is recognised by: one of the two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Session {
    /// A header's name.
    #[serde(skip_serializing_if = "unset")]
    pub header: Option<String>,
    /// A cookie's name.
    #[serde(skip_serializing_if = "unset")]
    pub cookie: Option<String>,
}

/// Time-outs towards the agent; 0s: none, since agents' answers take minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Timeouts {
    /// Until the connection stands.
    pub connect: Span,
    /// Until the answer's head.
    pub first_byte: Span,
    /// Between two pieces of a body.
    pub idle: Span,
    /// The whole exchange.
    pub total: Span,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Span::seconds(2),
            first_byte: Span::seconds(0),
            idle: Span::seconds(600),
            total: Span::seconds(0),
        }
    }
}

/// When an instance is left alone for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Breaker {
    /// Failures in a row.
    pub failures: u32,
    /// For how long.
    pub cooldown: Span,
    /// At most this share of the instances, as `50%`.
    pub max_ejected: String,
}

impl Breaker {
    /// The share that holds without a word of the spec, in percent.
    pub const SHARE: u32 = 50;

    /// The share as a number of percent; `None` when it is none.
    pub fn share(&self) -> Option<u32> {
        let digits = self.max_ejected.strip_suffix('%')?;
        let plain = (1..=3).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        digits.parse().ok().filter(|share| plain && *share <= 100)
    }
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            failures: 5,
            cooldown: Span::seconds(10),
            max_ejected: "50%".to_owned(),
        }
    }
}

/// What happens to the agent's request when the client goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnDisconnect {
    /// It is cancelled.
    Cancel,
    /// It goes on, so that a paid run finishes.
    Continue,
}

impl AgentSpec {
    /// The image to run: as written, or the agent's own name.
    pub fn image_or<'a>(&'a self, name: &'a AgentName) -> &'a str {
        self.image.as_deref().unwrap_or(name.as_str())
    }

    /// Whether any volume is writable, so that two instances could corrupt it.
    pub fn has_writable_volume(&self) -> bool {
        self.volumes
            .iter()
            .any(|volume| volume.mode == VolumeMode::Rw)
    }

    /// How a changed revision replaces instances, the default worked out.
    pub fn strategy_kind(&self) -> StrategyKind {
        self.strategy.kind.unwrap_or(if self.has_writable_volume() {
            StrategyKind::Recreate
        } else {
            StrategyKind::Rolling
        })
    }

    /// The same spec without its short forms: `autoRestart`, `dependencies` and `readOnly` become what they stand for.
    pub fn normalized(mut self) -> Self {
        if let Some(always) = self.auto_restart.take() {
            self.restart.policy = if always {
                RestartPolicy::Always
            } else {
                RestartPolicy::No
            };
        }
        self.depends_on.append(&mut self.dependencies);
        let mut seen = std::collections::BTreeSet::new();
        self.depends_on.retain(|name| seen.insert(name.clone()));
        for volume in &mut self.volumes {
            if let Some(read_only) = volume.read_only.take() {
                volume.mode = if read_only {
                    VolumeMode::Ro
                } else {
                    VolumeMode::Rw
                };
            }
        }
        self
    }
}
