//! What a client wants of one agent, checked: masks filled in, every wrong field named.

use serde_json::{Map, Value};

use crate::agent::merge::Merged;
use crate::agent::validate::{self, Origin};
use crate::agent::{Agent, ApplyAgent, FieldError, FieldPath, Step};
use crate::names::AgentName;
use crate::problem::FieldProblem;
use crate::wire::MASK;

/// The parts of an agent that a client writes.
pub(super) fn parts(agent: &Agent) -> Merged {
    Merged {
        labels: agent.metadata.labels.clone(),
        annotations: agent.metadata.annotations.clone(),
        spec: agent.spec.clone(),
    }
}

/// What a client may have read back: environment values `***` become those that are there. One with nothing behind it stays, for
/// [`check`] to name.
pub(super) fn unmask(spec: &mut Map<String, Value>, live: Option<&Agent>) {
    let Some(Value::Object(env)) = spec.get_mut("env") else {
        return;
    };
    for (name, value) in env {
        if value == MASK
            && let Some(kept) = live.and_then(|live| live.spec.env.get(name))
        {
            *value = Value::from(kept.as_str());
        }
    }
}

/// Every wrong field of what is wanted, with paths that begin with `at`. What is there already and is not touched is not the
/// request's fault: a whole spec that was read and is written back names defaults that a manifest may not name yet.
pub(super) fn check(
    wanted: &ApplyAgent,
    live: Option<&Agent>,
    at: &FieldPath,
) -> Vec<FieldProblem> {
    let errors = validate::agent(wanted, Origin::Api);
    let live = live.and_then(|live| serde_json::to_value(&live.spec).ok());
    let spec = Value::Object(wanted.spec.clone());
    let untouched = |error: &FieldError| {
        let path = error.path.below(&FieldPath::of("spec"));
        let (Some(live), Some(path)) = (&live, path) else {
            return false;
        };
        let given = value_at(&spec, &path);
        given.is_some() && given == value_at(live, &path)
    };
    errors
        .into_iter()
        .filter(|error| !error.warning && !untouched(error))
        .map(|error| problem(error, at))
        .collect()
}

/// Every wrong field of what a merge made of it.
pub(super) fn check_merged(name: &AgentName, merged: &Merged, at: &FieldPath) -> Vec<FieldProblem> {
    let at = at.key("spec");
    validate::rules(name, &merged.spec, Origin::Api)
        .into_iter()
        .filter(|error| !error.warning)
        .map(|error| problem(error, &at))
        .collect()
}

fn problem(error: FieldError, at: &FieldPath) -> FieldProblem {
    let error = error.under(at);
    FieldProblem {
        path: error.path.to_string(),
        message: error.text(),
    }
}

fn value_at<'a>(value: &'a Value, path: &FieldPath) -> Option<&'a Value> {
    path.0.iter().try_fold(value, |value, step| match step {
        Step::Key(key) => value.get(key),
        Step::Index(index) => value.get(index),
    })
}
