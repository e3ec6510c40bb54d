//! The sparse spec: the fields of a spec that its manifest names, and those alone, in one canonical form.
//!
//! What is not named keeps what `scale`, `stop` or a patch gave it (see `merge`). Written by the client's
//! `manifest`, checked and merged by the server.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::AgentSpec;
use super::quantity::{Bytes, Cpu, Span};
use crate::names::AgentName;

/// One agent as its manifest names it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApplyAgent {
    /// Its name.
    pub name: AgentName,
    /// Its labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The fields of the spec that the manifest names, and those alone: what is not named keeps what `scale`, `stop`
    /// or a patch gave it. `build` and `envFile` were worked out by the client.
    #[schemars(with = "AgentSpec")]
    pub spec: Map<String, Value>,
}

impl std::fmt::Debug for ApplyAgent {
    /// Without environment values.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut spec = self.spec.clone();
        if let Some(env) = spec.get_mut("env") {
            match env {
                Value::Object(env) => env.values_mut().for_each(|value| *value = "***".into()),
                other => *other = "***".into(),
            }
        }
        f.debug_struct("ApplyAgent")
            .field("name", &self.name)
            .field("labels", &self.labels)
            .field("annotations", &self.annotations)
            .field("spec", &Value::Object(spec).to_string())
            .finish()
    }
}

/// How a quantity is written.
#[derive(Clone, Copy)]
enum Kind {
    Cpu,
    Bytes,
    Span,
}

/// Every field that holds a quantity; a test compares it with the schema.
const QUANTITIES: [(&str, Kind); 17] = [
    ("drain.timeout", Kind::Span),
    ("healthCheck.interval", Kind::Span),
    ("healthCheck.startPeriod", Kind::Span),
    ("healthCheck.timeout", Kind::Span),
    ("persistence.maxBody", Kind::Bytes),
    ("persistence.maxBytes", Kind::Bytes),
    ("persistence.ttl", Kind::Span),
    ("proxy.breaker.cooldown", Kind::Span),
    ("proxy.timeouts.connect", Kind::Span),
    ("proxy.timeouts.firstByte", Kind::Span),
    ("proxy.timeouts.idle", Kind::Span),
    ("proxy.timeouts.total", Kind::Span),
    ("resources.cpu", Kind::Cpu),
    ("resources.memory", Kind::Bytes),
    ("restart.delay", Kind::Span),
    ("restart.maxDelay", Kind::Span),
    ("strategy.progressDeadline", Kind::Span),
];

/// Brings a valid sparse spec into its one canonical form: short forms (`autoRestart`, `dependencies`, `readOnly`)
/// become what they stand for, quantities get their canonical text, nulls go. Doing it twice changes nothing; what
/// is not valid stays as it is, for the checks to name.
pub fn canonical(spec: &mut Map<String, Value>) {
    drop_nulls(spec);
    if let Some(Value::Bool(always)) = spec.get("autoRestart") {
        let policy = if *always { "always" } else { "no" };
        spec.remove("autoRestart");
        let restart = spec.entry("restart").or_insert_with(|| json!({}));
        if let Value::Object(restart) = restart {
            restart.insert("policy".to_owned(), policy.into());
        }
    }
    if let Some(Value::Array(more)) = spec.get("dependencies").cloned() {
        spec.remove("dependencies");
        let all = spec.entry("dependsOn").or_insert_with(|| json!([]));
        if let Value::Array(all) = all {
            for name in more {
                if !all.contains(&name) {
                    all.push(name);
                }
            }
        }
    }
    if let Some(Value::Array(volumes)) = spec.get_mut("volumes") {
        for volume in volumes.iter_mut().filter_map(Value::as_object_mut) {
            if let Some(Value::Bool(read_only)) = volume.get("readOnly") {
                let mode = if *read_only { "ro" } else { "rw" };
                volume.remove("readOnly");
                volume.insert("mode".to_owned(), mode.into());
            }
        }
    }
    for (path, kind) in QUANTITIES {
        if let Some(value) = at_mut(spec, path)
            && let Some(text) = canonical_quantity(value, kind)
        {
            *value = Value::String(text);
        }
    }
}

/// A field by its dotted path, if it is there.
fn at_mut<'a>(spec: &'a mut Map<String, Value>, path: &str) -> Option<&'a mut Value> {
    let mut keys = path.split('.');
    let mut value = spec.get_mut(keys.next()?)?;
    for key in keys {
        value = value.as_object_mut()?.get_mut(key)?;
    }
    Some(value)
}

fn canonical_quantity(value: &Value, kind: Kind) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    match kind {
        Kind::Cpu => text.parse::<Cpu>().ok().map(|cpu| cpu.to_string()),
        Kind::Bytes => text.parse::<Bytes>().ok().map(|bytes| bytes.to_string()),
        Kind::Span => text.parse::<Span>().ok().map(|span| span.to_string()),
    }
}

/// A field without a value was not named. Values of `env` are kept, so that an empty one is told.
fn drop_nulls(fields: &mut Map<String, Value>) {
    fields.retain(|_, value| !value.is_null());
    for (key, value) in fields.iter_mut() {
        if key != "env"
            && let Value::Object(inner) = value
        {
            drop_nulls(inner);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn law_7_debug_never_shows_a_value() {
        let agent: ApplyAgent = serde_json::from_value(json!({
            "name": "a", "spec": {"env": {"TOKEN": "hunter2"}, "port": 1}
        }))
        .unwrap();
        let shown = format!("{agent:?}");
        assert!(
            shown.contains("TOKEN") && !shown.contains("hunter2"),
            "{shown}"
        );
    }

    #[test]
    fn short_forms_become_what_they_stand_for() {
        let mut spec = object(json!({
            "autoRestart": false,
            "dependencies": ["auth", "users"],
            "dependsOn": ["auth"],
            "volumes": [{"name": "cache", "container": "/cache", "readOnly": true}],
            "resources": {"cpu": 0.5, "memory": "1024Ki"},
            "healthCheck": {"interval": 90, "timeout": null},
        }));
        canonical(&mut spec);
        let expected = json!({
            "restart": {"policy": "no"},
            "dependsOn": ["auth", "users"],
            "volumes": [{"name": "cache", "container": "/cache", "mode": "ro"}],
            "resources": {"cpu": "500m", "memory": "1Mi"},
            "healthCheck": {"interval": "1m30s"},
        });
        assert_eq!(Value::Object(spec.clone()), expected);
        canonical(&mut spec);
        assert_eq!(Value::Object(spec), expected);
    }

    #[test]
    fn the_table_of_quantities_names_every_one_of_the_schema() {
        let schema = serde_json::to_value(schemars::schema_for!(AgentSpec)).unwrap();
        let mut found = Vec::new();
        walk(&schema, &schema, "", &mut found);
        found.sort();
        found.dedup();
        let table: Vec<String> = QUANTITIES
            .iter()
            .map(|(path, _)| (*path).to_owned())
            .collect();
        assert_eq!(found, table);
    }

    fn walk(root: &Value, node: &Value, path: &str, found: &mut Vec<String>) {
        for branch in node["anyOf"].as_array().into_iter().flatten() {
            walk(root, branch, path, found);
        }
        if let Some(name) = node["$ref"].as_str() {
            let name = name.rsplit('/').next().unwrap();
            if ["Cpu", "Bytes", "Span"].contains(&name) {
                found.push(path.to_owned());
            } else {
                walk(root, &root["$defs"][name], path, found);
            }
        }
        for (key, value) in node["properties"].as_object().into_iter().flatten() {
            let inner = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            };
            walk(root, value, &inner, found);
        }
    }
}
