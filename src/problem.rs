//! Problem details for HTTP (RFC 9457): how every error of ours is told to a client.
//!
//! Layer 0b: the value. Which status an error gets is decided in one file of `api/` and in `proxy/`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// A problem, as `application/problem+json`. Never carries a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// A stable word for programs, `urn:agentainer:problem:<word>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The HTTP status.
    pub status: u16,
    /// The same for every problem of this kind.
    pub title: String,
    /// What happened this time, and the next command to type.
    pub detail: String,
    /// The request's id, as logged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The agent, when it concerns one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Every wrong field, when the input is at fault.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldProblem>,
}

/// One wrong field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FieldProblem {
    /// Where, as `agents[2].spec.replicas`.
    pub path: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl Problem {
    /// A problem of a kind, e.g. `agent-not-found`.
    pub fn new(status: u16, word: &str, title: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:agentainer:problem:{word}"),
            status,
            title: title.to_owned(),
            detail: detail.into(),
            instance: None,
            agent: None,
            errors: Vec::new(),
        }
    }

    /// The word in its type.
    pub fn word(&self) -> &str {
        self.kind.rsplit(':').next().unwrap_or(&self.kind)
    }

    /// The same, naming the agent it concerns.
    pub fn about(mut self, agent: &str) -> Self {
        self.agent = Some(agent.to_owned());
        self
    }

    /// The same, with the wrong fields.
    pub fn with_errors(mut self, errors: Vec<FieldProblem>) -> Self {
        self.errors = errors;
        self
    }
}
