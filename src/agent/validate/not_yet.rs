//! What is in the schema and not built yet. A manifest that asks for it is refused, so that no field is accepted and
//! ignored; one that names the value which today's behaviour has anyway is not.
//!
//! Whoever builds one of these takes its line out of the table.

use serde_json::{Map, Value};

use super::super::sparse;
use super::{FieldError, FieldPath};

/// A field, what it would do, and the value (as JSON) that is what happens today, if there is one.
pub(in crate::agent) const TABLE: [(&str, &str, Option<&str>); 13] = [
    ("persistence.mode", KEEPING, Some("\"off\"")),
    ("persistence.methods", KEEPING, None),
    ("persistence.ttl", KEEPING, None),
    ("persistence.maxRetries", KEEPING, None),
    ("persistence.maxQueue", KEEPING, None),
    ("persistence.maxBody", KEEPING, None),
    ("persistence.maxBytes", KEEPING, None),
    ("persistence.order", KEEPING, None),
    ("persistence.concurrency", KEEPING, None),
    ("persistence.replayUnsafe", KEEPING, Some("false")),
    ("persistence.retryRefusals", KEEPING, Some("false")),
    ("persistence.resumable", KEEPING, Some("false")),
    ("persistence.callbacks", KEEPING, None),
];

const KEEPING: &str = "keeping requests";

/// The fields of a sparse spec, or of a merge patch of one, that ask for what is not built yet.
pub fn not_yet(spec: &Map<String, Value>) -> Vec<FieldError> {
    let mut found = Vec::new();
    for (path, what, today) in TABLE {
        if let Some(value) = sparse::at(spec, path)
            && !value.is_null()
            && !today.is_some_and(|today| same(value, today))
        {
            found.push(refusal(path, what));
        }
    }
    // `persistence: {}` asks for its default mode.
    if let Some(Value::Object(fields)) = spec.get("persistence")
        && !fields.contains_key("mode")
        && found
            .iter()
            .all(|error| error.path.first_key() != Some("persistence"))
    {
        found.push(refusal("persistence", KEEPING));
    }
    found
}

fn refusal(path: &str, what: &str) -> FieldError {
    FieldError::new(
        FieldPath::of(path),
        format!("not yet in this version: {what}"),
    )
    .help("leave this field out")
}

fn same(value: &Value, today: &str) -> bool {
    serde_json::from_str::<Value>(today).is_ok_and(|today| today == *value)
}
