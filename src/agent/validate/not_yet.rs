//! What is in the schema and not built yet. A manifest that asks for it is refused, so that no field is accepted and
//! ignored; one that names the value which today's behaviour has anyway is not.
//!
//! Whoever builds one of these takes its line out of the table.

use serde_json::{Map, Value};

use super::super::sparse;
use super::{FieldError, FieldPath};

/// A field, what it would do, and the values (as JSON) that are what happens today.
pub(in crate::agent) const TABLE: [(&str, &str, &[&str]); 3] = [
    (
        "persistence.mode",
        "keeping requests before they are forwarded",
        &["\"auto\"", "\"off\""],
    ),
    (
        "persistence.resumable",
        "streams that can be resumed",
        &["false"],
    ),
    (
        "persistence.callbacks",
        "callbacks",
        &["{}", "{\"hosts\":[]}"],
    ),
];

/// The fields of a sparse spec, or of a merge patch of one, that ask for what is not built yet.
pub fn not_yet(spec: &Map<String, Value>) -> Vec<FieldError> {
    let mut found = Vec::new();
    for (path, what, today) in TABLE {
        if let Some(value) = sparse::at(spec, path)
            && !value.is_null()
            && !today.iter().any(|today| same(value, today))
        {
            found.push(refusal(path, what));
        }
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
