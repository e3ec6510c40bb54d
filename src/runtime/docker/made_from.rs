//! What a container was made from: the spec of its label, with the values that its own environment still has.

use serde_json::{Map, Value};

use super::{DockerRuntime, map};
use crate::agent::{AgentSpec, EnvValue};
use crate::keys::label;
use crate::observed::ContainerId;
use crate::runtime::{MadeFrom, Origin, Result, RuntimeError};

impl DockerRuntime {
    pub(super) async fn container_made_from(&self, id: &ContainerId) -> Result<Option<MadeFrom>> {
        let inspect = match self.inspect(&id.0).await {
            Ok(inspect) => inspect,
            Err(RuntimeError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let labels = inspect.pointer("/Config/Labels").unwrap_or(&Value::Null);
        if map::identity(labels, &self.settings.cluster).is_err() {
            return Ok(None);
        }
        Ok(made_from(&inspect))
    }
}

/// Pure: from an inspection. `None` when the label with the spec is missing or cannot be read.
fn made_from(inspect: &Value) -> Option<MadeFrom> {
    let labels = inspect.pointer("/Config/Labels")?;
    let label = |name: &str| labels.get(name).and_then(Value::as_str);
    // An object alone: serde would take a list for a struct.
    let fields: Map<String, Value> = serde_json::from_str(label(label::SPEC)?).ok()?;
    let mut spec: AgentSpec = serde_json::from_value(Value::Object(fields)).ok()?;
    let environment = inspect
        .pointer("/Config/Env")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.as_str()?.split_once('='));
    // The user's own names alone: the rest is the image's or injected by us.
    for (name, value) in environment {
        if let Some(kept) = spec.env.get_mut(name) {
            *kept = EnvValue::from(value);
        }
    }
    Some(MadeFrom {
        spec,
        origin: Origin {
            owner: label(label::OWNER).map(str::to_owned),
            restarted_at: label(label::RESTARTED_AT).map(str::to_owned),
        },
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn the_users_variables_get_their_values_back_and_no_others_come_in() {
        let spec = json!({"env": {"KEY": "", "LIST": ""}, "port": 9000}).to_string();
        let inspect = json!({"Config": {
            "Labels": {"agentainer.dev/spec": spec, "agentainer.dev/owner": "mesh"},
            "Env": ["PATH=/bin", "KEY=a=b", "LIST=1,2", "AGENT_ID=users"],
        }});
        let made = made_from(&inspect).unwrap();
        let env: Vec<_> = made
            .spec
            .env
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        assert_eq!(env, [("KEY", "a=b"), ("LIST", "1,2")]);
        assert_eq!(
            (made.spec.port.0, made.origin.owner.as_deref()),
            (9000, Some("mesh"))
        );
    }

    #[test]
    fn odd_labels_are_none() {
        for spec in [json!(null), json!("{"), json!("[]"), json!(7)] {
            let inspect = json!({"Config": {"Labels": {"agentainer.dev/spec": spec}}});
            assert_eq!(made_from(&inspect), None, "{inspect}");
        }
    }
}
