//! The Agent resource: desired state ([`AgentSpec`]) and what is true of it ([`AgentStatus`]).
//!
//! Layer 0b: values and rules over them, no I/O. Everybody above uses it.

mod check;
mod env;
pub mod graph;
pub mod hosts;
pub mod manifest;
pub mod merge;
mod path;
pub mod quantity;
mod records;
pub mod redact;
pub mod revision;
pub mod schema;
mod shape;
mod sparse;
pub mod spec;
pub mod status;
pub mod upstreams;
pub mod validate;

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::env::EnvValue;
pub use self::path::{FieldError, FieldPath, Step};
pub use self::records::{
    Check, EventKind, EventRecord, REVISIONS_KEPT, RevisionRecord, next_number, numbered,
};
pub use self::revision::Revision;
pub use self::shape::Shape;
pub use self::sparse::{ApplyAgent, canonical};
pub use self::spec::AgentSpec;
pub use self::status::{AgentStatus, Condition, Phase};
use crate::keys::API_VERSION;
use crate::names::AgentName;

/// A random id that is an agent's for its whole life; a re-created agent of the same name has another.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct Uid(pub String);

impl Uid {
    /// A new random one (UUID v4).
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4().to_string())
    }
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The random id of a store and data folder: objects that carry another are never ours.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct ClusterId(pub String);

impl ClusterId {
    /// A new random one (UUID v4).
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4().to_string())
    }
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A position in the store's history; every write gets the next one. Text in JSON, as in Kubernetes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
#[schemars(with = "String")]
pub struct ResourceVersion(pub u64);

impl fmt::Display for ResourceVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for ResourceVersion {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ResourceVersion {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse()
            .map(Self)
            .map_err(|_| serde::de::Error::custom("resourceVersion is not one of ours"))
    }
}

/// What is known of an agent beside what it shall be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// The agent's name.
    pub name: AgentName,
    /// Free labels; they replace nothing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Free annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The bundle that applied it.
    pub owner: String,
    /// The agent's own id.
    pub uid: Uid,
    /// Counts changes of the spec alone, from 1.
    pub generation: u64,
    /// The store's position at its last change.
    pub resource_version: ResourceVersion,
    /// When it was first applied.
    pub creation_timestamp: Timestamp,
    /// When its deletion was asked for; its containers are being removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_timestamp: Option<Timestamp>,
    /// Who must finish before the object goes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub finalizers: Vec<String>,
}

/// One agent: the object that is stored, listed and watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Agent {
    /// Always `agentainer.dev/v1`.
    pub api_version: String,
    /// Always `Agent`.
    pub kind: String,
    /// What is known of it.
    pub metadata: Metadata,
    /// What it shall be.
    pub spec: AgentSpec,
    /// What is true of it.
    #[serde(default)]
    pub status: AgentStatus,
}

impl Agent {
    /// An agent object with our kind and version and no status yet.
    pub fn new(metadata: Metadata, spec: AgentSpec) -> Self {
        Self {
            api_version: API_VERSION.to_owned(),
            kind: "Agent".to_owned(),
            metadata,
            spec,
            status: AgentStatus::default(),
        }
    }

    /// The revision that its containers shall have.
    pub fn revision(&self) -> Revision {
        revision::of(
            &self.metadata.name,
            &self.spec,
            self.metadata
                .annotations
                .get(crate::keys::RESTARTED_AT)
                .map(String::as_str),
        )
    }
}
