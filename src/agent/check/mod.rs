//! The check of a document against its JSON Schema, in our own words: every wrong field at once, each with what would
//! be right and, where there is one, the nearest right name.
//!
//! Pure. Called by `validate` (the server's input) and `manifest` (files). Never quotes an environment value.

mod hints;

use std::collections::BTreeSet;
use std::sync::LazyLock;

use jsonschema::error::ValidationErrorKind as Kind;
use jsonschema::paths::{Location, LocationSegment};
use jsonschema::{ValidationError, Validator};
use serde_json::Value;

pub(super) use self::hints::short;
use self::hints::{describe, in_words, quantity, remedy, unknown_field, volume_in_full};
use super::schema::Form;
use super::{FieldError, FieldPath, Step};
use crate::names::{AgentName, nearest};

static VALIDATORS: LazyLock<[Option<Validator>; 4]> = LazyLock::new(|| {
    [Form::Agent, Form::Deployment, Form::List, Form::Spec]
        .map(|form| jsonschema::validator_for(form.schema()).ok())
});

/// Every wrong field of a document of this form.
pub(super) fn check(form: Form, document: &Value) -> Vec<FieldError> {
    let [agent, deployment, list, spec] = &*VALIDATORS;
    let validator = match form {
        Form::Agent => agent,
        Form::Deployment => deployment,
        Form::List => list,
        Form::Spec => spec,
    };
    let words = Words {
        schema: form.schema(),
    };
    let mut errors = Vec::new();
    for error in validator
        .iter()
        .flat_map(|validator| validator.iter_errors(document))
    {
        words.add(&error, document, &mut errors);
    }
    errors
}

struct Words {
    schema: &'static Value,
}

impl Words {
    fn add(&self, error: &ValidationError<'_>, document: &Value, errors: &mut Vec<FieldError>) {
        let path = path_of(error.instance_path());
        let found = value_at(document, &path);
        let (nodes, names) = self.nodes_at(&path);
        match error.kind() {
            Kind::AdditionalProperties { unexpected }
            | Kind::UnevaluatedProperties { unexpected } => {
                let known: BTreeSet<&str> = nodes.iter().flat_map(|node| keys(node)).collect();
                for key in unexpected {
                    errors.push(unknown_field(&path, key, &known, found));
                }
            }
            Kind::Required { property } => {
                let field = property.as_str().unwrap_or_default();
                errors.push(FieldError::new(path, format!("'{field}' is missing")));
            }
            Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
                if let Some(error) = quantity(&names, &path, found) {
                    errors.push(error);
                } else if let Some(branch) = best_branch(context, error.instance_path()) {
                    for inner in branch {
                        self.add(inner, document, errors);
                    }
                } else {
                    errors.push(self.none_fits(path, found, &nodes, &names));
                }
            }
            Kind::Pattern { .. } | Kind::MaxLength { .. } | Kind::MinLength { .. } => {
                let message = found.and_then(Value::as_str).and_then(|text| {
                    names
                        .contains("AgentName")
                        .then(|| AgentName::new(text).err())
                        .flatten()
                });
                let message = message
                    .map_or_else(|| "is not of the right form".to_owned(), |e| e.to_string());
                errors.push(FieldError::new(path, message));
            }
            Kind::Minimum { limit } | Kind::ExclusiveMinimum { limit } => {
                let range = range(&nodes).unwrap_or_else(|| format!("at least {limit}"));
                errors.push(FieldError::new(path, format!("must be {range}")));
            }
            Kind::Maximum { limit } | Kind::ExclusiveMaximum { limit } => {
                let range = range(&nodes).unwrap_or_else(|| format!("at most {limit}"));
                errors.push(FieldError::new(path, format!("must be {range}")));
            }
            _ => errors.push(self.none_fits(path, found, &nodes, &names)),
        }
    }

    /// No form of a field fits what is there: say which there are.
    fn none_fits(
        &self,
        path: FieldPath,
        found: Option<&Value>,
        nodes: &[&Value],
        names: &BTreeSet<String>,
    ) -> FieldError {
        if names.contains("EnvValue") {
            return FieldError::new(path, "has no value")
                .help("write \"\" for an empty one, or ${NAME} to take it from your environment");
        }
        let words: Vec<&str> = nodes
            .iter()
            .flat_map(|node| match node.get("enum") {
                Some(Value::Array(values)) => values.iter().filter_map(Value::as_str).collect(),
                _ => node
                    .get("const")
                    .and_then(Value::as_str)
                    .into_iter()
                    .collect::<Vec<_>>(),
            })
            .collect();
        if let (false, Some(Value::String(text))) = (words.is_empty(), found) {
            let near = nearest(text, words.iter().copied());
            return FieldError::new(
                path,
                format!("'{}' is not one of {}", short(text), words.join(", ")),
            )
            .maybe_help(near.map(|near| format!("did you mean '{near}'?")));
        }
        let wanted: BTreeSet<&str> = nodes
            .iter()
            .flat_map(|node| types(node))
            .filter(|kind| *kind != "null")
            .collect();
        let expected = if words.is_empty() {
            wanted
                .iter()
                .map(|kind| in_words(kind))
                .collect::<Vec<_>>()
                .join(" or ")
        } else {
            format!("one of {}", words.join(", "))
        };
        let what = found.map_or("nothing", describe);
        let help = found.and_then(|found| match found {
            Value::String(text) if names.contains("Volume") => volume_in_full(text),
            Value::String(text) if names.contains("Restart") => {
                Some(format!("write {{policy: {}}}", short(text)))
            }
            Value::String(text) if names.contains("HealthCheck") => {
                Some(format!("write {{endpoint: {}}}", short(text)))
            }
            _ => remedy(found, &wanted),
        });
        FieldError::new(path, format!("expected {expected}, found {what}")).maybe_help(help)
    }

    /// The schema's nodes that speak of a place, references and alternatives followed, and the names of the types that
    /// were referred to there.
    fn nodes_at(&self, path: &FieldPath) -> (Vec<&'static Value>, BTreeSet<String>) {
        let mut nodes = vec![self.schema];
        let mut names = BTreeSet::new();
        nodes = self.expand(nodes, &mut names);
        for step in &path.0 {
            let next: Vec<&'static Value> = nodes
                .iter()
                .filter_map(|node| match step {
                    Step::Key(key) => node
                        .get("properties")
                        .and_then(|properties| properties.get(key))
                        .or_else(|| node.get("additionalProperties")),
                    Step::Index(_) => node.get("items"),
                })
                .collect();
            names.clear();
            nodes = self.expand(next, &mut names);
        }
        (nodes, names)
    }

    fn expand(
        &self,
        nodes: Vec<&'static Value>,
        names: &mut BTreeSet<String>,
    ) -> Vec<&'static Value> {
        let mut open = nodes;
        let mut done = Vec::new();
        while let Some(node) = open.pop() {
            if let Some(reference) = node.get("$ref").and_then(Value::as_str)
                && let Some(pointer) = reference.strip_prefix('#')
                && let Some(target) = self.schema.pointer(pointer)
            {
                if let Some(name) = pointer.rsplit('/').next() {
                    names.insert(name.to_owned());
                }
                open.push(target);
            }
            for keyword in ["anyOf", "oneOf", "allOf"] {
                if let Some(Value::Array(branches)) = node.get(keyword) {
                    open.extend(branches.iter().rev());
                }
            }
            done.push(node);
        }
        done
    }
}

/// The alternative that was meant: the one whose own type fits.
fn best_branch<'a>(
    context: &'a [Vec<ValidationError<'static>>],
    at: &Location,
) -> Option<&'a Vec<ValidationError<'static>>> {
    let fits = |branch: &&Vec<ValidationError<'static>>| {
        branch.iter().all(|error| {
            error.instance_path() != at
                || !matches!(
                    error.kind(),
                    Kind::Type { .. } | Kind::Constant { .. } | Kind::Enum { .. }
                )
        })
    };
    context
        .iter()
        .filter(fits)
        .min_by_key(|branch| branch.len())
}

fn keys(node: &Value) -> impl Iterator<Item = &str> {
    node.get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(|properties| properties.keys().map(String::as_str))
}

fn types(node: &Value) -> Vec<&str> {
    match node.get("type") {
        Some(Value::String(kind)) => vec![kind.as_str()],
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn range(nodes: &[&Value]) -> Option<String> {
    nodes.iter().find_map(|node| {
        let least = node.get("minimum")?;
        Some(match node.get("maximum") {
            Some(most) => format!("from {least} to {most}"),
            None => format!("at least {least}"),
        })
    })
}

fn path_of(location: &Location) -> FieldPath {
    FieldPath(
        location
            .iter()
            .map(|segment| match segment {
                LocationSegment::Property(key) => Step::Key(key.to_string()),
                LocationSegment::Index(index) => Step::Index(index),
            })
            .collect(),
    )
}

/// The value at a place.
pub(super) fn value_at<'a>(document: &'a Value, path: &FieldPath) -> Option<&'a Value> {
    path.0.iter().try_fold(document, |value, step| match step {
        Step::Key(key) => value.get(key),
        Step::Index(index) => value.get(index),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn errors(spec: Value) -> Vec<String> {
        check(Form::Spec, &spec)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn every_wrong_field_is_told_at_once_and_in_our_words() {
        let found = errors(json!({
            "replcias": 3,
            "replicas": "3",
            "port": 70000,
            "pullPolicy": "allways",
            "env": {"A": null, "B": [1], "C": {"x": 1}},
            "resources": {"cpu": "lots", "memory": -1, "cores": 1},
            "healthCheck": {"path": "/x", "interval": "5 s", "retries": 0},
            "volumes": [{"host": 3}, "./data:/data:ro"],
            "command": "sleep 1",
            "args": [1],
            "dependsOn": ["My_Agent"],
            "security": {"readOnlyRootFilesystem": "yes"},
            "build": {"contxt": "."},
            "environment": {},
        }));
        assert_eq!(
            found.join("\n"),
            "\
args[0]: expected text, found a number (write it in quotes)
build.contxt: unknown field 'contxt' (did you mean 'context'?)
build: 'context' is missing
command: expected a list, found text (write it as a list: [one, two])
dependsOn[0]: 'My_Agent' is not a valid name: 1 to 63 lower-case letters, digits and '-', beginning and ending with a letter or digit (did you mean 'my-agent'?)
env.A: has no value (write \"\" for an empty one, or ${NAME} to take it from your environment)
healthCheck.interval: '5 s' is not a duration: 250ms, 30s, 1m30s, 24h
healthCheck.retries: must be from 1 to 1000
healthCheck.path: unknown field 'path' (did you mean 'endpoint'?)
port: must be from 1 to 65535
pullPolicy: 'allways' is not one of missing, always, never (did you mean 'always'?)
replicas: expected a whole number, found text (write it without quotes)
resources.cpu: 'lots' is not a CPU amount: cores such as 0.5, or thousandths such as 500m
resources.memory: '-1' is not an amount of bytes: 512Mi (2^20), 512M (10^6), 1Gi, 4096
resources.cores: unknown field 'cores' (there are cpu, memory, pids)
security.readOnlyRootFilesystem: expected true or false, found text (write true)
volumes[0].host: expected text, found a number (write it in quotes)
volumes[0]: 'container' is missing
volumes[1]: expected a map of fields, found text (write {host: ./data, container: /data, mode: ro})
environment: unknown field 'environment' (did you mean 'env'?)
replcias: unknown field 'replcias' (did you mean 'replicas'?)"
        );
    }

    #[test]
    fn every_form_has_a_schema_that_compiles() {
        assert!(VALIDATORS.iter().all(Option::is_some));
    }
}
