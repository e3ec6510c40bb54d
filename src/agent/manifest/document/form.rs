//! Which of the forms a document has, and what to say when it has none.

use super::super::tree::{Kind, Node};
use crate::agent::{FieldError, FieldPath, check};
use crate::names::nearest;

/// The forms of a document.
pub(super) enum Shape {
    One,
    Items,
    Deployment,
    List,
}

/// Which form a document has.
///
/// # Errors
/// It has none: what to write instead.
pub(super) fn form(node: &Node) -> Result<Shape, FieldError> {
    if !matches!(node.kind, Kind::Map(_)) {
        return Err(FieldError::new(
            FieldPath::root(),
            "a manifest is a map with `kind: Agent`, `kind: AgentDeployment` or a list `agents:`",
        ));
    }
    let Some(kind) = node.get("kind") else {
        if node.get("agents").is_some() || has_key(node, "agents") {
            return Ok(Shape::List);
        }
        let path = FieldPath::root();
        let error = if has_key(node, "services") {
            FieldError::new(path.key("services"), "this is a compose file").at_key().help(
                "write `agents:` with a list of agents, each with its `name`, `image`, `env` and `volumes`",
            )
        } else if has_key(node, "apiVersion") || has_key(node, "metadata") {
            FieldError::new(path, "'kind' is missing").help("write `kind: Agent`")
        } else if has_key(node, "name") {
            FieldError::new(path, "an agent stands in a list")
                .help("write `agents:` above it, and `- ` before its name")
        } else {
            let keys: Vec<&str> = node.entries().iter().map(|it| it.key.as_str()).collect();
            let near = keys.iter().find(|key| nearest(key, ["agents"]).is_some());
            match near {
                Some(key) => FieldError::new(
                    path.key(key),
                    format!("unknown field '{}'", check::short(key)),
                )
                .at_key()
                .help("did you mean 'agents'?"),
                None => FieldError::new(path, "there is neither `kind` nor `agents`").help(
                    "a manifest is `kind: Agent`, `kind: AgentDeployment` or a list `agents:`",
                ),
            }
        };
        return Err(error);
    };
    match kind.as_text() {
        Some("Agent") => Ok(Shape::One),
        Some("AgentDeployment") => Ok(Shape::Deployment),
        Some("AgentList" | "List") => Ok(Shape::Items),
        other => {
            let given = other.unwrap_or_default();
            let near = nearest(given, ["Agent", "AgentDeployment"]);
            let help = near.map_or_else(
                || "there are Agent and AgentDeployment".to_owned(),
                |near| format!("did you mean '{near}'?"),
            );
            let message = format!("'{}' is not a kind of ours", check::short(given));
            Err(FieldError::new(FieldPath::of("kind"), message).help(help))
        }
    }
}

fn has_key(node: &Node, key: &str) -> bool {
    node.entries().iter().any(|entry| entry.key == key)
}
