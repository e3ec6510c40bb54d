//! The revision: which containers are "the same" (design, section 3, "Revision").
//!
//! A hash over the container-shaping fields as the user set them. What we inject and what has its default is left
//! out, so that a release of ours rolls nobody's fleet. `tests/golden` holds hashes that must never change.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::ClusterId;
use super::spec::{AgentSpec, Resources};
use crate::names::AgentName;

/// `v1:` and the SHA-256 of the container-shaping fields, in hexadecimal.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct Revision(pub String);

impl Revision {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A form that a Docker tag allows: `v1-`, the first 16 digits, and the beginning of the cluster's id, so that one
    /// cluster never takes another's name for an image away.
    pub fn tag(&self, cluster: &ClusterId) -> String {
        let digits: String = self
            .0
            .strip_prefix("v1:")
            .unwrap_or(&self.0)
            .chars()
            .take(16)
            .collect();
        let plain = |c: &char| c.is_ascii_alphanumeric();
        let whose: String = cluster.as_str().chars().filter(plain).take(8).collect();
        format!("v1-{digits}-{whose}")
    }

    /// The short form shown to people: the first 10 digits.
    pub fn short(&self) -> String {
        self.0
            .strip_prefix("v1:")
            .unwrap_or(&self.0)
            .chars()
            .take(10)
            .collect()
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The fields whose change needs another container.
pub(super) const SHAPING: [&str; 9] = [
    "image",
    "command",
    "args",
    "user",
    "port",
    "env",
    "resources",
    "volumes",
    "security",
];

/// The revision of a spec. `restarted_at` is the value of the annotation that `restart` sets.
pub fn of(name: &AgentName, spec: &AgentSpec, restarted_at: Option<&str>) -> Revision {
    let mut spec = spec.clone().normalized();
    if spec.image.as_deref() == Some(name.as_str()) {
        spec.image = None;
    }
    if spec.resources.pids == Some(Resources::DEFAULT_PIDS) {
        spec.resources.pids = None;
    }
    let capabilities = &mut spec.security.capabilities;
    for set in [&mut capabilities.add, &mut capabilities.drop] {
        for name in set.iter_mut() {
            *name = name.to_ascii_uppercase();
            if let Some(bare) = name.strip_prefix("CAP_") {
                *name = bare.to_owned();
            }
        }
        set.sort();
        set.dedup();
    }
    let mut shaping = Map::new();
    if let Ok(Value::Object(mut all)) = serde_json::to_value(&spec) {
        for field in SHAPING {
            if let Some(value) = all.remove(field) {
                shaping.insert(field.to_owned(), value);
            }
        }
    }
    if let Some(moment) = restarted_at {
        shaping.insert("restartedAt".to_owned(), Value::from(moment));
    }
    let mut text = String::new();
    canonical(&Value::Object(shaping), &mut text);
    let digest = Sha256::digest(text.as_bytes());
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Revision(format!("v1:{hex}"))
}

/// Compact JSON with sorted keys, whatever order the map type keeps.
fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(fields) => {
            let sorted: BTreeMap<&String, &Value> = fields.iter().collect();
            out.push('{');
            for (place, (key, value)) in sorted.into_iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                canonical(value, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                canonical(item, out);
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}
