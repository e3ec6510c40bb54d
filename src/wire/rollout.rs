//! `/agents/{id}/rollout` and below: the way from one revision to the next.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::agent::status::RolloutStatus;
use crate::agent::{Phase, Revision};
use crate::names::AgentName;

/// `GET /agents/{id}/rollout`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutBody {
    /// The agent.
    pub name: AgentName,
    /// Counts changes of the spec.
    pub generation: u64,
    /// The generation that the rest speaks of.
    pub observed_generation: u64,
    /// Whether the rest speaks of what the spec asks for now.
    pub observed: bool,
    /// The agent's phase.
    pub phase: Phase,
    /// The revision that the spec asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
    /// Instances that shall run.
    pub replicas: u32,
    /// Instances of the revision that the spec asks for.
    pub updated_replicas: u32,
    /// Instances that are ready, of whatever revision.
    pub ready_replicas: u32,
    /// How far it is.
    pub rollout: RolloutStatus,
    /// The same in a sentence.
    pub message: String,
}

/// `GET /agents/{id}/rollout/history`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryBody {
    /// The oldest first.
    pub items: Vec<HistoryEntry>,
}

/// A revision that was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    /// Its number; one that is asked for again gets the next.
    pub number: u64,
    /// The revision.
    pub revision: Revision,
    /// The image as the spec named it.
    pub image: String,
    /// The image that this was when the revision was first seen.
    pub image_id: String,
    /// The generation of the spec that first brought it.
    pub generation: u64,
    /// When.
    pub at: Timestamp,
    /// Whether the spec asks for it now.
    pub current: bool,
    /// Whether it is the last one that was good.
    pub last_good: bool,
    /// The fields of the spec that shape its containers, environment values as `***` unless an admin asked to reveal them;
    /// left out when it was recorded by a version that did not keep them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<Map<String, Value>>,
}
