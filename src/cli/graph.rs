//! `graph`: who calls whom.

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};

use super::manifests::Files;
use super::{Context, Failure};
use crate::agent::graph::Graph;
use crate::agent::{AgentSpec, EnvValue};
use crate::names::AgentName;
use crate::wire::AgentListBody;

/// Show who calls whom: URLs in agents' environments, and dependsOn.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  agentainer graph
  agentainer graph -f agents.yaml
  agentainer graph -o mermaid
  agentainer graph -o dot | dot -Tsvg > mesh.svg")]
pub struct GraphArgs {
    #[command(flatten)]
    pub files: Files,
    /// How it is written.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: GraphFormat,
}

/// How a graph is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum GraphFormat {
    /// For people.
    #[default]
    Text,
    /// For a Markdown page.
    Mermaid,
    /// For Graphviz.
    Dot,
}

pub(super) async fn run(context: &Context, args: &GraphArgs) -> Result<(), Failure> {
    let agents = if args.files.file.is_empty() {
        of_server(context).await?
    } else {
        let mut agents = BTreeMap::new();
        for agent in args
            .files
            .read(context, None)?
            .into_iter()
            .flat_map(|bundle| bundle.agents)
        {
            let spec = serde_json::from_value(serde_json::Value::Object(agent.spec))?;
            agents.insert(agent.name, spec);
        }
        agents
    };
    let graph = Graph::of_specs(&agents);
    let text = match args.output {
        GraphFormat::Text => graph.text(),
        GraphFormat::Mermaid => graph.mermaid(),
        GraphFormat::Dot => graph.dot(),
    };
    context.console.write(text.as_bytes())
}

async fn of_server(context: &Context) -> Result<BTreeMap<AgentName, AgentSpec>, Failure> {
    match context
        .client
        .get::<AgentListBody>("/agents?reveal=env")
        .await
    {
        Ok(list) => Ok(list
            .items
            .into_iter()
            .map(|agent| (agent.metadata.name, agent.spec))
            .collect()),
        // Who may not see the values still sees the upstreams that the server found in them.
        Err(failure) if failure.code() == 4 => {
            let list: AgentListBody = context.client.get("/agents").await?;
            Ok(list
                .items
                .into_iter()
                .map(|agent| {
                    let urls: Vec<String> = agent
                        .status
                        .upstreams
                        .iter()
                        .map(|name| format!("http://{name}"))
                        .collect();
                    let env = BTreeMap::from([("env".to_owned(), EnvValue(urls.join(",")))]);
                    let spec = AgentSpec {
                        env,
                        ..AgentSpec::default()
                    };
                    (agent.metadata.name, spec)
                })
                .collect())
        }
        Err(failure) => Err(failure),
    }
}
