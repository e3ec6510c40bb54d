//! The OpenAPI 3.1 document, made from the table of operations and the types' own schemas. `schemas/openapi.json` is its committed
//! copy; a test says when that is stale.

use axum::Json;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::auth::Access;
use super::routes::{self, Content, Operation};
use crate::problem::{MEDIA_TYPE, Problem};

pub(super) async fn serve() -> Json<Value> {
    Json(document())
}

/// The document. The same on every call.
pub fn document() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    settings.meta_schema = None;
    let mut generator = SchemaGenerator::new(settings);
    let problem = generator.subschema_for::<Problem>();
    routes::further(&mut generator);
    let mut paths = Map::new();
    for operation in routes::operations() {
        let entry = described(operation, &mut generator);
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        if let Value::Object(path) = path {
            path.insert(operation.method.to_owned(), entry);
        }
    }
    let schemas = generator.take_definitions(true);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Agentainer",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Declarative agents as containers. Agents themselves are called at /agent/{id}/…, which needs no token and is not part of this document.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"bearer": {
                "type": "http",
                "scheme": "bearer",
                "description": "An admin's, an agent's or a viewer's token.",
            }},
            "responses": {"Problem": {
                "description": "Why it was refused (RFC 9457).",
                "content": {MEDIA_TYPE: {"schema": problem}},
            }},
        },
    })
}

fn described(operation: &Operation, generator: &mut SchemaGenerator) -> Value {
    let mut parameters: Vec<Value> = operation
        .params
        .iter()
        .map(|param| json!({"name": param.name, "in": "query", "description": param.about, "schema": {"type": "string"}}))
        .collect();
    if operation.path.contains("{id}") {
        let schema = generator.subschema_for::<crate::names::AgentName>();
        parameters.insert(
            0,
            json!({"name": "id", "in": "path", "required": true, "description": "The agent's name.", "schema": schema}),
        );
    }
    for (name, about) in [
        ("request", "The record's id."),
        (
            "capability",
            "The last part of the address that the 202 gave.",
        ),
    ] {
        if operation.path.contains(&format!("{{{name}}}")) {
            parameters.push(json!({"name": name, "in": "path", "required": true, "description": about, "schema": {"type": "string"}}));
        }
    }
    let (who, refusals): (&str, &[u16]) = match operation.access {
        Access::Public => ("Needs no token.", &[]),
        Access::Viewer => ("Needs any token; what is shown depends on it.", &[401, 403]),
        Access::Itself => (
            "Needs an admin's token, or that of the agent itself.",
            &[401, 403],
        ),
        Access::Admin => ("Needs an admin's token.", &[401, 403]),
    };
    let mut responses = Map::new();
    responses.insert(
        operation.status.to_string(),
        json!({"description": "It worked.", "content": content(&operation.gives, generator)}),
    );
    for status in operation.refuses.iter().chain(refusals) {
        let answer = match operation.id {
            "getReady" => {
                json!({"description": "Not ready.", "content": content(&operation.gives, generator)})
            }
            _ => json!({"$ref": "#/components/responses/Problem"}),
        };
        responses.insert(status.to_string(), answer);
    }
    if operation.method == "put" {
        responses.insert(
            "201".to_owned(),
            json!({"description": "It was made.", "content": content(&operation.gives, generator)}),
        );
    }
    let mut entry = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "description": who,
        "parameters": parameters,
        "responses": responses,
    });
    if let Value::Object(fields) = &mut entry {
        if operation.access == Access::Public {
            fields.insert("security".to_owned(), json!([]));
        }
        if let Some(takes) = &operation.takes {
            let body = json!({"required": true, "content": content(takes, generator)});
            fields.insert("requestBody".to_owned(), body);
        }
    }
    entry
}

fn content(content: &Content, generator: &mut SchemaGenerator) -> Value {
    let mut types = Map::new();
    for media in content.types {
        let schema = content
            .schema
            .map(|schema| json!({"schema": schema(generator)}));
        types.insert((*media).to_owned(), schema.unwrap_or_else(|| json!({})));
    }
    Value::Object(types)
}
