//! `POST /recover`: the agents that the store lost, made again.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::names::AgentName;

/// What shall be recovered, and from where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RecoverRequest {
    /// Which witnesses are asked.
    pub from: RecoverSource,
    /// Tell what would happen and change nothing.
    pub dry_run: bool,
}

/// Where the specs come from.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum RecoverSource {
    /// The snapshot in the data folder; what it lacks, or has older, from the containers.
    #[default]
    Auto,
    /// The snapshot alone; Docker is not asked.
    Snapshot,
    /// The containers alone: their labels and their environment.
    Containers,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecoverResponse {
    /// Whether nothing was changed because it was only asked.
    pub dry_run: bool,
    /// One per agent that is in the snapshot or has containers, by name.
    pub results: Vec<RecoverResult>,
    /// What could not be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// What came of one agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecoverResult {
    /// Its name.
    pub name: AgentName,
    /// In one word.
    pub outcome: RecoverOutcome,
    /// Who told its spec: `snapshot` or `containers`.
    pub from: RecoverSource,
    /// The generation that it had.
    pub generation: u64,
    /// What could not be told for certain.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// What came of one agent, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RecoverOutcome {
    /// The store did not know it.
    Created,
    /// The store had an older spec.
    Updated,
    /// The store has it as it is.
    Unchanged,
    /// The store has another agent of that name.
    Skipped,
}
