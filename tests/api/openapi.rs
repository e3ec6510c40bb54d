//! The committed OpenAPI document is the one that the code makes. `UPDATE=1 cargo test --test api openapi` writes it.

use std::collections::BTreeSet;
use std::path::Path;

use agentainer::api::openapi::document;
use serde_json::Value;

use crate::harness::{Api, request};

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "UPDATE=1 writes the committed copy"
)]
fn the_committed_document_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/openapi.json");
    let text = serde_json::to_string_pretty(&document()).unwrap() + "\n";
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == text,
        "schemas/openapi.json is stale: run `UPDATE=1 cargo test --test api openapi` and commit it"
    );
}

#[tokio::test]
async fn the_document_is_served_and_whole() {
    let served = Api::new()
        .send(request("GET", "/openapi.json", None, None))
        .await
        .json();
    assert_eq!(served, document());
    assert_eq!(served["openapi"], "3.1.0");
    let mut references = BTreeSet::new();
    walk(&served, &mut references);
    assert!(references.len() > 10);
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(
            served.pointer(pointer).is_some(),
            "{reference} leads nowhere"
        );
    }
    let mut ids = BTreeSet::new();
    for operation in served["paths"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|path| path.as_object().unwrap().values())
    {
        assert!(
            ids.insert(operation["operationId"].as_str().unwrap()),
            "twice: {operation}"
        );
        assert!(
            operation["summary"].as_str().unwrap().ends_with('.')
                || operation["summary"].as_str().unwrap().contains(". ")
        );
    }
}

fn walk(node: &Value, references: &mut BTreeSet<String>) {
    match node {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get("$ref") {
                references.insert(reference.clone());
            }
            fields.values().for_each(|value| walk(value, references));
        }
        Value::Array(items) => items.iter().for_each(|value| walk(value, references)),
        _ => {}
    }
}

#[test]
fn the_page_for_people_names_every_route() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/api.md");
    let page = std::fs::read_to_string(path).unwrap();
    let rows: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    for (path, methods) in document()["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let method = method.to_uppercase();
            let last = path.rsplit('/').next().unwrap();
            let named = rows.iter().any(|row| {
                row.contains(&format!("`{method} {path}`"))
                    || row.contains(&format!("`{method} /agents/{{id}}/start`"))
                        && row.contains(&format!("`/{last}`"))
            });
            assert!(named, "docs/api.md does not name {method} {path}");
        }
    }
}
