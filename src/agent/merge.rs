//! What an apply or a patch makes of an agent: the three-way merge, and JSON Merge Patch (RFC 7396).
//!
//! Pure. The server calls it within apply, its dry run and `diff`, so that all three say the same.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::AgentSpec;
use super::sparse::{self, ApplyAgent};

/// Fields whose mere presence means something, so that they go as a whole when a manifest no longer names them.
const PRESENCE: [&str; 5] = [
    "healthCheck",
    "persistence",
    "proxy.breaker",
    "proxy.session",
    "proxy.timeouts",
];

/// The parts of an agent that an apply changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Its spec, without short forms.
    pub spec: AgentSpec,
}

/// Three-way merge of one agent: a field that `wanted` names gets that value; one that `last` named and `wanted` no
/// longer does returns to its default; all else keeps what it has in `live`. Maps (labels, `env`) merge by key, lists
/// are one value. Without `live` the agent is new.
///
/// # Errors
/// The merged spec is none; cannot happen when `wanted` passed `validate`.
pub fn apply(
    last: Option<&ApplyAgent>,
    wanted: &ApplyAgent,
    live: Option<&Merged>,
) -> Result<Merged, serde_json::Error> {
    let empty = Merged::default();
    let live = live.unwrap_or(&empty);
    let none = BTreeMap::new();
    let (last_labels, last_annotations) =
        last.map_or((&none, &none), |last| (&last.labels, &last.annotations));
    let mut last_spec = last.map(|last| last.spec.clone()).unwrap_or_default();
    let mut wanted_spec = wanted.spec.clone();
    sparse::canonical(&mut last_spec);
    sparse::canonical(&mut wanted_spec);
    let live_spec = match serde_json::to_value(live.spec.clone().normalized())? {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    let merged = three_way(&last_spec, &wanted_spec, &live_spec);
    Ok(Merged {
        labels: text_map(last_labels, &wanted.labels, &live.labels),
        annotations: text_map(last_annotations, &wanted.annotations, &live.annotations),
        spec: serde_json::from_value::<AgentSpec>(Value::Object(merged))?.normalized(),
    })
}

/// The same on bare JSON: last applied, wanted, live → new live.
pub fn three_way(
    last: &Map<String, Value>,
    wanted: &Map<String, Value>,
    live: &Map<String, Value>,
) -> Map<String, Value> {
    merge_fields(last, wanted, live, "")
}

fn merge_fields(
    last: &Map<String, Value>,
    wanted: &Map<String, Value>,
    live: &Map<String, Value>,
    at: &str,
) -> Map<String, Value> {
    let none = Map::new();
    let mut new = live.clone();
    for (key, was) in last {
        if wanted.contains_key(key) {
            continue;
        }
        let path = join(at, key);
        match (was, live.get(key)) {
            (Value::Object(was), Some(Value::Object(now)))
                if !PRESENCE.contains(&path.as_str()) =>
            {
                let rest = merge_fields(was, &none, now, &path);
                if rest.is_empty() {
                    new.remove(key);
                } else {
                    new.insert(key.clone(), Value::Object(rest));
                }
            }
            _ => {
                new.remove(key);
            }
        }
    }
    for (key, value) in wanted {
        let merged = match (value, live.get(key)) {
            (Value::Object(value), now) => {
                let was = last.get(key).and_then(Value::as_object).unwrap_or(&none);
                let now = now.and_then(Value::as_object).unwrap_or(&none);
                Value::Object(merge_fields(was, value, now, &join(at, key)))
            }
            _ => value.clone(),
        };
        new.insert(key.clone(), merged);
    }
    new
}

fn join(at: &str, key: &str) -> String {
    if at.is_empty() {
        key.to_owned()
    } else {
        format!("{at}.{key}")
    }
}

fn text_map(
    last: &BTreeMap<String, String>,
    wanted: &BTreeMap<String, String>,
    live: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut new = live.clone();
    new.retain(|key, _| !last.contains_key(key) || wanted.contains_key(key));
    new.extend(
        wanted
            .iter()
            .map(|(key, value)| (key.clone(), value.clone())),
    );
    new
}

/// JSON Merge Patch (RFC 7396, section 2): objects merge, null deletes, anything else replaces.
pub fn patch(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else {
        return;
    };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            self::patch(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
