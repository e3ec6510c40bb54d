//! JSON Schema (draft 2020-12) of the three forms of a manifest, for editors, for `agentainer schema` and for our own
//! check of what users write. The files under `schemas/` are generated from here; a test says when they are stale.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::AgentSpec;
use crate::names::AgentName;

/// The form of one document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// `kind: Agent`.
    Agent,
    /// `kind: AgentDeployment`: a bundle with a name.
    Deployment,
    /// A bare `agents:` list.
    List,
    /// A spec alone, as the API takes it.
    Spec,
}

/// The version of our kinds: `agentainer.dev/v1`, or `v1` for short.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "describes the schema alone")]
enum ApiVersion {
    #[serde(rename = "agentainer.dev/v1")]
    Full,
    #[serde(rename = "v1")]
    Short,
}

/// Always `Agent`.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "describes the schema alone")]
enum AgentKind {
    Agent,
}

/// Always `AgentDeployment`.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "describes the schema alone")]
enum DeploymentKind {
    AgentDeployment,
}

/// One agent.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "describes the schema alone")]
struct AgentDocument {
    /// The version of the format.
    api_version: ApiVersion,
    /// What this document is.
    kind: AgentKind,
    /// Who the agent is.
    metadata: AgentMetadata,
    /// What the agent shall be.
    #[serde(default)]
    spec: AgentSpec,
    /// Set by the server and not part of what is applied, so that what `get -o yaml` printed can be applied again.
    #[serde(default)]
    status: Map<String, Value>,
}

/// Who an agent is.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "describes the schema alone")]
struct AgentMetadata {
    /// The agent's name: a DNS label, which is its host name.
    name: AgentName,
    /// Free labels; changing them replaces nothing.
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// Free annotations.
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    /// The bundle that the agent belongs to; default: `--owner`, else `default`.
    #[serde(default)]
    owner: Option<String>,
    /// Set by the server and not part of what is applied.
    #[serde(default)]
    uid: Value,
    /// Set by the server and not part of what is applied.
    #[serde(default)]
    generation: Value,
    /// Set by the server and not part of what is applied.
    #[serde(default)]
    resource_version: Value,
    /// Set by the server and not part of what is applied.
    #[serde(default)]
    creation_timestamp: Value,
    /// Set by the server and not part of what is applied.
    #[serde(default)]
    deletion_timestamp: Value,
    /// Set by the server and not part of what is applied.
    #[serde(default)]
    finalizers: Value,
}

/// A bundle of agents with a name, which owns them.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "describes the schema alone")]
struct DeploymentDocument {
    /// The version of the format.
    api_version: ApiVersion,
    /// What this document is.
    kind: DeploymentKind,
    /// Which bundle it is.
    metadata: DeploymentMetadata,
    /// What is in it.
    spec: DeploymentSpec,
}

/// Which bundle it is.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "describes the schema alone")]
struct DeploymentMetadata {
    /// The bundle's name, which owns its agents: `apply --prune` removes those that the bundle no longer names.
    name: String,
    /// Labels that every agent of the bundle gets; an agent's own go before them.
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// Annotations that every agent of the bundle gets; an agent's own go before them.
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// What is in a bundle.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "describes the schema alone")]
struct DeploymentSpec {
    /// The agents, each by its own name.
    agents: Vec<AgentEntry>,
}

/// A list of agents.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "describes the schema alone")]
struct ListDocument {
    /// The agents, each by its own name.
    agents: Vec<AgentEntry>,
}

/// One agent in a list: the fields of its spec beside its name.
struct AgentEntry;

/// The fields that an entry of a list has beside those of the spec.
pub(super) const ENTRY_FIELDS: [&str; 3] = ["name", "labels", "annotations"];

impl JsonSchema for AgentEntry {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "AgentEntry".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> schemars::Schema {
        let metadata = AgentMetadata::json_schema(generator).to_value();
        let mut schema = AgentSpec::json_schema(generator).to_value();
        if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
            for field in ENTRY_FIELDS {
                if let Some(property) = metadata.pointer(&format!("/properties/{field}")) {
                    properties.insert(field.to_owned(), property.clone());
                }
            }
        }
        if let Some(fields) = schema.as_object_mut() {
            fields.insert(
                "description".to_owned(),
                "One agent in a list: the fields of its spec beside its name.".into(),
            );
            fields.insert("required".to_owned(), json!(["name"]));
            return fields.clone().into();
        }
        schemars::Schema::default()
    }
}

fn generate<T: JsonSchema>(title: &str) -> Value {
    let mut schema = schemars::generate::SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value();
    if let Some(fields) = schema.as_object_mut() {
        fields.insert("title".to_owned(), title.into());
    }
    schema
}

static AGENT: LazyLock<Value> = LazyLock::new(|| generate::<AgentDocument>("Agent"));
static DEPLOYMENT: LazyLock<Value> =
    LazyLock::new(|| generate::<DeploymentDocument>("AgentDeployment"));
static LIST: LazyLock<Value> = LazyLock::new(|| generate::<ListDocument>("Agents"));
static SPEC: LazyLock<Value> = LazyLock::new(|| generate::<AgentSpec>("AgentSpec"));

impl Form {
    /// The schema of a document of this form.
    pub fn schema(self) -> &'static Value {
        match self {
            Self::Agent => &AGENT,
            Self::Deployment => &DEPLOYMENT,
            Self::List => &LIST,
            Self::Spec => &SPEC,
        }
    }
}

/// The committed files: name within `schemas/`, and text.
pub fn files() -> Vec<(&'static str, String)> {
    [
        ("agent.json", Form::Agent),
        ("agentdeployment.json", Form::Deployment),
        ("agents.json", Form::List),
    ]
    .into_iter()
    .map(|(name, form)| (name, format!("{:#}\n", form.schema())))
    .collect()
}
