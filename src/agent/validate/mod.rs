//! The checks of what users ask for: form (the schema), then meaning, every error at once with its field path.
//!
//! Pure. `manifest` calls it for files; the server calls it for the JSON of `POST /apply`, `PUT` and `PATCH`.

mod bundle;
mod data_path;
mod rules;
mod syntax;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

pub use self::bundle::{bundle, graph};
pub use self::rules::{MAY_ADD, rules};
pub(super) use self::syntax::env_name;
pub use self::syntax::owner;
use super::schema::Form;
use super::{AgentSpec, ApplyAgent, FieldError, FieldPath, Step, check};
use crate::keys;
use crate::names::AgentName;

/// Where a spec comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A manifest, before the client worked out `build`, `envFile` and relative paths.
    File,
    /// A request to the API.
    Api,
}

/// Every error and warning of one agent; paths are seen from the agent (`spec.replicas`, `labels.tier`).
pub fn agent(agent: &ApplyAgent, origin: Origin) -> Vec<FieldError> {
    let mut found = metadata(&agent.labels, &agent.annotations);
    let at = FieldPath::of("spec");
    found.extend(
        spec(&agent.name, &agent.spec, origin)
            .into_iter()
            .map(|error| error.under(&at)),
    );
    found
}

/// Every error and warning of a sparse or whole spec as JSON: its form, what is not built yet, its meaning.
pub fn spec(name: &AgentName, sparse: &Map<String, Value>, origin: Origin) -> Vec<FieldError> {
    let mut found = check::check(Form::Spec, &Value::Object(sparse.clone()));
    let wrong: Vec<FieldPath> = found.iter().map(|error| error.path.clone()).collect();
    found.extend(meaning(Some(name), sparse, &wrong, origin));
    found
}

/// What is wrong beside the form, of an agent whose name may be wrong too. What stands at the places in `wrong` is left
/// out, so that one wrong field hides no other.
pub(super) fn meaning(
    name: Option<&AgentName>,
    sparse: &Map<String, Value>,
    wrong: &[FieldPath],
    origin: Origin,
) -> Vec<FieldError> {
    let mut rest = Value::Object(sparse.clone());
    for path in wrong {
        leave_out(&mut rest, path);
    }
    let Value::Object(mut rest) = rest else {
        return Vec::new();
    };
    rest.retain(|_, value| !value.is_null());
    let mut found = contradictions(&rest);
    loop {
        match typed(&rest) {
            Ok(spec) => {
                found.extend(rules::of(name, &spec, origin));
                return found;
            }
            Err(error) => {
                let field = error.path.first_key().map(str::to_owned);
                found.push(error);
                if field.is_none_or(|field| rest.remove(&field).is_none()) {
                    return found;
                }
            }
        }
    }
}

/// Takes the field at a path away; of a list, the whole list, but a wrong volume becomes one without fault, so that the
/// others keep their places.
fn leave_out(spec: &mut Value, path: &FieldPath) {
    let mut place = spec;
    for (depth, step) in path.0.iter().enumerate() {
        let last = depth + 1 == path.0.len();
        match (step, place) {
            (Step::Key(key), Value::Object(fields)) => {
                let list = matches!(path.0.get(depth + 1), Some(Step::Index(_)));
                if last || (list && !(depth == 0 && key == "volumes")) {
                    fields.remove(key);
                    return;
                }
                match fields.get_mut(key) {
                    Some(next) => place = next,
                    None => return,
                }
            }
            (Step::Index(index), Value::Array(volumes)) => {
                if let Some(volume) = volumes.get_mut(*index) {
                    *volume = json!({"name": "x", "container": format!("/unnamed-{index}"), "mode": "ro"});
                }
                return;
            }
            _ => return,
        }
    }
}

/// A spec of its fields.
///
/// # Errors
/// The first field that is wrong.
fn typed(fields: &Map<String, Value>) -> Result<AgentSpec, FieldError> {
    let value = Value::Object(fields.clone());
    let mut track = serde_path_to_error::Track::new();
    let deserializer = serde_path_to_error::Deserializer::new(value, &mut track);
    AgentSpec::deserialize(deserializer).map_err(|error| {
        let steps = track
            .path()
            .iter()
            .filter_map(|segment| match segment {
                serde_path_to_error::Segment::Seq { index } => Some(Step::Index(*index)),
                serde_path_to_error::Segment::Map { key } => Some(Step::Key(key.clone())),
                _ => None,
            })
            .collect();
        FieldError::new(FieldPath(steps), error.to_string())
    })
}

/// A short form and what it stands for, both named.
fn contradictions(spec: &Map<String, Value>) -> Vec<FieldError> {
    let mut found = Vec::new();
    let policy = spec
        .get("restart")
        .and_then(|restart| restart.get("policy"));
    if spec.contains_key("autoRestart") && policy.is_some() {
        found.push(FieldError::new(
            FieldPath::of("autoRestart"),
            "is the short form of restart.policy: leave out one of the two",
        ));
    }
    if spec.contains_key("image") && spec.contains_key("build") {
        found.push(FieldError::new(
            FieldPath::of("image"),
            "the image comes from `build`: leave out one of the two",
        ));
    }
    let volumes = spec.get("volumes").and_then(Value::as_array);
    for (index, volume) in volumes.into_iter().flatten().enumerate() {
        let given = |key: &str| volume.get(key).is_some_and(|value| !value.is_null());
        if given("mode") && given("readOnly") {
            found.push(FieldError::new(
                FieldPath::of("volumes").index(index).key("readOnly"),
                "is the short form of mode: leave out one of the two",
            ));
        }
    }
    found
}

/// Every error of labels and annotations.
pub fn metadata(
    labels: &BTreeMap<String, String>,
    annotations: &BTreeMap<String, String>,
) -> Vec<FieldError> {
    let mut found = Vec::new();
    let at = FieldPath::of("labels");
    for (key, value) in labels {
        let path = at.key(key);
        if let Err(message) = syntax::label_key(key) {
            found.push(FieldError::new(path.clone(), message).at_key());
        } else if key.starts_with("agentainer.dev/") {
            let message = "labels under agentainer.dev/ are set by the server";
            found.push(FieldError::new(path.clone(), message).at_key());
        }
        if let Err(message) = syntax::label_value(value) {
            found.push(FieldError::new(path, message));
        }
    }
    let at = FieldPath::of("annotations");
    let ours = [keys::RESTARTED_AT, keys::BUILT_FROM, keys::ROLLOUT_PAUSED];
    for (key, value) in annotations {
        if let Err(message) = syntax::label_key(key) {
            found.push(FieldError::new(at.key(key), message).at_key());
        } else if key.starts_with("agentainer.dev/") && !ours.contains(&key.as_str()) {
            let message = "annotations under agentainer.dev/ are set by the server";
            found.push(FieldError::new(at.key(key), message).at_key());
        }
        if value.len() > 64 * 1024 {
            let message = "is longer than 64 KiB";
            found.push(FieldError::new(at.key(key), message));
        }
    }
    found
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
