//! The container-shaping part of an agent, as its user set it: what is needed to make containers of a revision again.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::revision::{self, SHAPING};
use super::{Agent, AgentSpec, Revision};
use crate::names::AgentName;

/// The container-shaping fields of a spec with their values, which may be secrets: `Debug` shows names alone.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Shape {
    /// The fields that were set.
    pub spec: Map<String, Value>,
    /// The moment of the last `restart`, which is part of the revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarted_at: Option<String>,
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shape")
            .field("spec", &self.spec.keys().collect::<Vec<_>>())
            .field("restarted_at", &self.restarted_at)
            .finish()
    }
}

impl Shape {
    /// That of an agent as its spec asks for it.
    pub fn of(agent: &Agent) -> Self {
        let mut spec = fields(&agent.spec);
        spec.retain(|field, _| SHAPING.contains(&field.as_str()));
        let annotations = &agent.metadata.annotations;
        Self {
            spec,
            restarted_at: annotations.get(crate::keys::RESTARTED_AT).cloned(),
        }
    }

    /// A spec with these fields in place of its own; all others stay. `None`: they are no spec's, which a record that we
    /// wrote never says.
    pub fn onto(&self, spec: &AgentSpec) -> Option<AgentSpec> {
        let mut all = fields(spec);
        all.retain(|field, _| !SHAPING.contains(&field.as_str()));
        all.extend(self.spec.clone());
        serde_json::from_value(Value::Object(all)).ok()
    }

    /// The revision that it makes.
    pub fn revision(&self, name: &AgentName) -> Option<Revision> {
        let spec = self.onto(&AgentSpec::default())?;
        Some(revision::of(name, &spec, self.restarted_at.as_deref()))
    }
}

fn fields(spec: &AgentSpec) -> Map<String, Value> {
    match serde_json::to_value(spec) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn agent(spec: Value) -> Agent {
        serde_json::from_value(json!({
            "apiVersion": "agentainer.dev/v1",
            "kind": "Agent",
            "metadata": {
                "name": "users", "owner": "default", "uid": "u", "generation": 1, "resourceVersion": "1",
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "annotations": {"agentainer.dev/restarted-at": "2026-02-02T00:00:00Z"},
            },
            "spec": spec,
        }))
        .unwrap()
    }

    #[test]
    fn a_shape_makes_the_revision_that_it_was_taken_from_on_any_other_spec() {
        let first = agent(json!({
            "image": "users:1", "env": {"A": "1"}, "replicas": 3,
            "volumes": [{"name": "data", "container": "/data", "readOnly": true}],
        }));
        let shape = Shape::of(&first);
        assert_eq!(shape.revision(&first.metadata.name), Some(first.revision()));
        let mut other = agent(json!({"image": "users:2", "replicas": 5, "command": ["x"]}));
        other.spec = shape.onto(&other.spec).unwrap();
        assert_eq!(other.revision(), first.revision());
        assert_eq!(other.spec.replicas.0, 5, "what shapes no container stays");
        assert!(!shape.spec.contains_key("replicas"));
    }

    #[test]
    fn law_7_debug_never_shows_a_value() {
        let shape = Shape::of(&agent(json!({"env": {"TOKEN": "hunter2"}})));
        assert!(!format!("{shape:?}").contains("hunter2"));
    }
}
