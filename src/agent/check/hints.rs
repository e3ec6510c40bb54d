//! The words of the check: what is there, what was meant, what to write instead. None quotes an environment value.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::quantity::{Bytes, Cpu, Span};
use super::super::{FieldError, FieldPath};
use crate::names::nearest;

/// An unknown field, with the nearest one that there is, or with all when there are few.
pub(super) fn unknown_field(
    path: &FieldPath,
    key: &str,
    known: &BTreeSet<&str>,
    parent: Option<&Value>,
) -> FieldError {
    let taken = |name: &&str| parent.is_some_and(|parent| parent.get(*name).is_some());
    let free = known.iter().copied().filter(|name| !taken(name));
    let near = nearest(key, free)
        .or_else(|| synonym(key, known))
        .or_else(|| nearest(key, known.iter().copied()));
    let help = match near {
        Some(near) => Some(format!("did you mean '{near}'?")),
        None if known.len() <= 12 && !known.is_empty() => Some(format!(
            "there are {}",
            known.iter().copied().collect::<Vec<_>>().join(", ")
        )),
        None => None,
    };
    FieldError::new(path.key(key), format!("unknown field '{}'", short(key)))
        .maybe_help(help)
        .at_key()
}

/// What users of compose, docker and kubectl call our fields.
fn synonym<'a>(key: &str, known: &BTreeSet<&'a str>) -> Option<&'a str> {
    let ours = match key.to_ascii_lowercase().replace(['-', '_'], "").as_str() {
        "environment" | "envs" | "variables" => "env",
        "entrypoint" => "command",
        "arguments" | "cmd" => "args",
        "scale" | "instances" => "replicas",
        "healthcheck" | "livenessprobe" | "readinessprobe" | "health" | "probe" => "healthCheck",
        "containerport" | "ports" | "expose" => "port",
        "imagepullpolicy" => "pullPolicy",
        "restartpolicy" => "restart",
        "limits" | "deploy" => "resources",
        "mounts" | "volumemounts" => "volumes",
        "securitycontext" => "security",
        "requires" | "needs" | "dependency" => "dependsOn",
        "envfrom" => "envFile",
        "path" | "test" | "url" => "endpoint",
        "mem" | "memorylimit" | "memlimit" => "memory",
        "source" | "src" | "hostpath" => "host",
        "target" | "dst" | "mountpath" | "destination" => "container",
        "ro" => "readOnly",
        _ => return None,
    };
    known.get(ours).copied()
}

/// What is wrong with the text of an amount, when the place holds one.
pub(super) fn quantity(
    names: &BTreeSet<String>,
    path: &FieldPath,
    found: Option<&Value>,
) -> Option<FieldError> {
    let text = match found? {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let error = if names.contains("Cpu") {
        text.parse::<Cpu>().err()
    } else if names.contains("Bytes") {
        text.parse::<Bytes>().err()
    } else if names.contains("Span") {
        text.parse::<Span>().err()
    } else {
        None
    }?;
    Some(FieldError::new(path.clone(), error.to_string()))
}

/// A JSON type, for people.
pub(super) fn in_words(kind: &str) -> &str {
    match kind {
        "string" => "text",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "a map of fields",
        other => other,
    }
}

/// What is there, without quoting it.
pub(super) fn describe(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(true) => "true",
        Value::Bool(false) => "false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map of fields",
    }
}

/// What to write instead, when that is plain.
pub(super) fn remedy(found: &Value, wanted: &BTreeSet<&str>) -> Option<String> {
    match found {
        Value::String(text) if wanted.contains("boolean") => {
            match text.to_ascii_lowercase().as_str() {
                "yes" | "y" | "on" | "true" | "1" => Some("write true".to_owned()),
                "no" | "n" | "off" | "false" | "0" => Some("write false".to_owned()),
                _ => None,
            }
        }
        Value::String(text)
            if (wanted.contains("integer") || wanted.contains("number"))
                && text.parse::<f64>().is_ok() =>
        {
            Some("write it without quotes".to_owned())
        }
        Value::String(_) if wanted.contains("array") => {
            Some("write it as a list: [one, two]".to_owned())
        }
        Value::Number(_) | Value::Bool(_) if wanted.contains("string") => {
            Some("write it in quotes".to_owned())
        }
        Value::Array(items) if wanted.contains("object") && !items.is_empty() => {
            Some("write a map, `name: value`, without '-' or '['".to_owned())
        }
        _ => None,
    }
}

/// The volume that docker's and compose's short form stands for.
pub(super) fn volume_in_full(text: &str) -> Option<String> {
    let mut parts = text.split(':');
    let (from, to) = (parts.next()?, parts.next()?);
    let kind = if from.contains(['/', '.', '~']) {
        "host"
    } else {
        "name"
    };
    let mode = match parts.next() {
        Some("ro") => ", mode: ro",
        _ => "",
    };
    Some(format!("write {{{kind}: {from}, container: {to}{mode}}}"))
}

/// At most 60 characters of a text, for a message.
pub(in crate::agent) fn short(text: &str) -> String {
    let mut short: String = text.chars().take(60).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
