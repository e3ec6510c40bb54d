//! The committed JSON Schemas are those that the code makes. `UPDATE=1 cargo test --test schemas` writes them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::fs;
use std::path::Path;

use agentainer::agent::schema;
use serde_json::Value;

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "UPDATE is this test's own switch, not configuration"
)]
fn the_committed_schemas_are_fresh() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    for (name, text) in schema::files() {
        let path = folder.join(name);
        if std::env::var_os("UPDATE").is_some() {
            fs::create_dir_all(&folder).unwrap();
            fs::write(&path, &text).unwrap();
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == text,
            "schemas/{name} is stale: run `UPDATE=1 cargo test --test schemas` and commit it"
        );
    }
}

#[test]
fn every_field_of_every_schema_has_a_description() {
    fn walk(at: &str, node: &Value, missing: &mut Vec<String>) {
        if let Some(properties) = node.get("properties").and_then(Value::as_object) {
            for (key, property) in properties {
                if property.get("description").is_none() {
                    missing.push(format!("{at}.{key}"));
                }
            }
        }
        if let Some(definitions) = node.get("$defs").and_then(Value::as_object) {
            for (key, definition) in definitions {
                walk(key, definition, missing);
            }
        }
    }
    let mut missing = Vec::new();
    for (name, text) in schema::files() {
        walk(name, &serde_json::from_str(&text).unwrap(), &mut missing);
    }
    assert!(missing.is_empty(), "without a description: {missing:?}");
}

#[test]
fn every_schema_is_one_of_draft_2020_12() {
    for (name, text) in schema::files() {
        let schema: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            schema.get("$schema").and_then(Value::as_str),
            Some("https://json-schema.org/draft/2020-12/schema"),
            "{name}"
        );
        jsonschema::validator_for(&schema).unwrap();
    }
}
