//! The API's types, shared by the server and the command line. Values alone.

pub mod agent;
pub mod apply;
pub mod connection;
pub mod recover;
pub mod requests;
pub mod rollout;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::agent::{AgentWrite, MetadataWrite};
pub use self::apply::{ApplyAgent, ApplyOutcome, ApplyRequest, ApplyResponse, ApplyResult};
pub use self::connection::{Listener, Via};
pub use self::recover::{
    RecoverOutcome, RecoverRequest, RecoverResponse, RecoverResult, RecoverSource,
};
pub use self::requests::{
    AdmittedBody, CallbackBody, CallbackKey, HeaderField, KeptAnswer, RequestCount, RequestItem,
    RequestListBody, ResultBody,
};
pub use self::rollout::{HistoryBody, HistoryEntry, RolloutBody};
use crate::agent::{Agent, Condition, EventRecord, ResourceVersion};

/// `GET /agents`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentListBody {
    /// Always `agentainer.dev/v1`.
    pub api_version: String,
    /// Always `AgentList`.
    pub kind: String,
    /// Where to watch from.
    pub metadata: ListMetadata,
    /// The agents, by name.
    pub items: Vec<Agent>,
}

/// A list's own metadata.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListMetadata {
    /// `GET /agents?watch=true&resourceVersion=…` goes on from here.
    pub resource_version: ResourceVersion,
}

/// One line of `GET /agents?watch=true` (NDJSON), or the data of one server-sent event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WatchLine {
    /// `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK` or `ERROR`.
    #[serde(rename = "type")]
    pub kind: WatchKind,
    /// Which agent; for `BOOKMARK` and `ERROR` left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<crate::names::AgentName>,
    /// The agent as it is now, or was last known; left out for `BOOKMARK`, `ERROR`, and a `DELETED` one that was gone before
    /// the watch began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<Agent>,
    /// No pass has looked at the agent since the server that answers began: its status is an earlier server's. It is told again
    /// when one has.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unconfirmed: bool,
    /// The position, to resume from.
    pub resource_version: ResourceVersion,
    /// What went wrong, for `ERROR`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What a watch line tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum WatchKind {
    /// An agent that the watcher did not know.
    Added,
    /// Its object or status changed.
    Modified,
    /// It is gone.
    Deleted,
    /// Nothing happened; the position moved on.
    Bookmark,
    /// The watch cannot go on; list again.
    Error,
}

/// `GET /agents/{id}/events` and `GET /events`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventListBody {
    /// Newest first.
    pub items: Vec<EventRecord>,
}

/// `GET /health` (is the process alive) and `GET /ready` (can it do its work).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReadyBody {
    /// `healthy`, `ready` or `not ready`.
    pub status: String,
    /// Our version.
    pub version: String,
    /// The host's own conditions: Docker, Redis, network, listeners, agents' Redis, quarantine.
    pub conditions: Vec<Condition>,
}

/// The header of `POST /builds` that carries the build arguments: one JSON object of texts, in UTF-8. A header of its own, since
/// values may be secrets and addresses are logged.
pub const BUILD_ARGS_HEADER: &str = "x-agentainer-build-args";

/// What an answer shows in place of an environment value; on a write it stands for the value that is there.
pub const MASK: &str = "***";

/// `POST /agents/{id}/scale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScaleRequest {
    /// How many instances shall run.
    #[schemars(range(min = 0, max = 100))]
    pub replicas: u32,
}

/// The last line of `POST /builds`' NDJSON log, or one line of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum BuildLine {
    /// A piece of the log.
    Log(String),
    /// The image's id.
    Image(String),
    /// Why it failed.
    Error(String),
}

/// `POST /agents/{id}/restart`, `start`, `stop`, `pause`, `resume` answer with the agent; these come with logs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LogParams {
    /// Only the last so many lines.
    pub tail: Option<u64>,
    /// Only since this time, or since so long ago (`10m`).
    pub since: Option<String>,
    /// Go on as it grows.
    pub follow: bool,
    /// Each line with its time.
    pub timestamps: bool,
    /// Of one instance, by container name or ordinal; default: all, lines prefixed when there are several.
    pub instance: Option<String>,
}
