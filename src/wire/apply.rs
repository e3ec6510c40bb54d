//! `POST /apply`: a whole bundle, all or none.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::agent::Agent;
pub use crate::agent::ApplyAgent;
use crate::names::AgentName;

/// A bundle as its owner wants it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApplyRequest {
    /// Who applies it; an agent of another owner is a 409 unless forced.
    pub owner: String,
    /// The agents, by name.
    pub agents: Vec<ApplyAgent>,
    /// Tell what would happen and change nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// Delete this owner's agents that the bundle does not name.
    #[serde(default)]
    pub prune: bool,
    /// Take over agents of other owners, and prune even when that is most of them.
    #[serde(default)]
    pub force: bool,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApplyResponse {
    /// Whether nothing was changed because it was only asked.
    pub dry_run: bool,
    /// One per agent: those of the bundle in its order, then the pruned ones.
    pub results: Vec<ApplyResult>,
}

/// What came of one agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApplyResult {
    /// Its name.
    pub name: AgentName,
    /// In one word.
    pub outcome: ApplyOutcome,
    /// As it was; environment values as `***` unless an admin asked to reveal them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Agent>,
    /// As it is, or would be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Agent>,
    /// Whether its containers are, or would be, replaced.
    #[serde(default)]
    pub replaces_containers: bool,
    /// What is odd and harms nothing: "env AUTH names no agent 'atuh' (did you mean 'auth'?)".
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// What came of one agent, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ApplyOutcome {
    /// It is new.
    Created,
    /// It changed.
    Configured,
    /// Nothing changed.
    Unchanged,
    /// It is being deleted, since the bundle no longer names it.
    Pruned,
}
