//! `-o table|wide|json|yaml|name`: agents as people and programs want them.

use clap::ValueEnum;
use jiff::Timestamp;
use serde::Serialize;

use super::text::{age, list_or, short, table};
use super::{Context, Failure};
use crate::agent::status::{ConditionStatus, condition};
use crate::agent::{Agent, Phase};
use crate::keys::API_VERSION;

/// How the result is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A table.
    #[default]
    Table,
    /// A table with more columns.
    Wide,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// One `agent/NAME` a line.
    Name,
}

/// The headings of a table of agents.
pub(super) fn headings(wide: bool) -> Vec<&'static str> {
    let mut headings = vec!["NAME", "READY", "STATUS", "RESTARTS", "QUEUE", "AGE"];
    if wide {
        headings.extend(["DEAD", "IMAGE", "REVISION", "OWNER", "ADDRESS", "UPSTREAMS"]);
    }
    headings
}

/// One agent as a row.
pub(super) fn row(agent: &Agent, wide: bool, now: Timestamp) -> Vec<String> {
    let status = &agent.status;
    let restarts: u32 = status
        .instances
        .iter()
        .map(|instance| instance.restarts)
        .sum();
    let queue = status.queue.as_ref();
    let mut row = vec![
        agent.metadata.name.to_string(),
        format!("{}/{}", status.ready_replicas, agent.spec.replicas.0),
        standing(agent),
        restarts.to_string(),
        queue.map_or_else(
            || "-".to_owned(),
            |it| (it.pending + it.in_flight).to_string(),
        ),
        age(agent.metadata.creation_timestamp, now),
    ];
    if wide {
        let addresses = status.instances.iter().filter_map(|instance| instance.ip);
        let revision = status.revision.as_ref().map(ToString::to_string);
        row.extend([
            queue.map_or_else(
                || "-".to_owned(),
                |it| (it.unknown + it.dead_lettered).to_string(),
            ),
            image(agent),
            revision.map_or_else(|| "-".to_owned(), |revision| short(&revision)),
            agent.metadata.owner.clone(),
            list_or(addresses.map(|ip| ip.to_string()), "-"),
            list_or(status.upstreams.iter().cloned(), "-").replace(", ", ","),
        ]);
    }
    row
}

/// The image as the spec names it.
fn image(agent: &Agent) -> String {
    short(agent.spec.image_or(&agent.metadata.name))
}

/// The phase, with the reason where it is not what the spec asks for: `Failed:ImageNotFound`.
pub(super) fn standing(agent: &Agent) -> String {
    let status = &agent.status;
    let settled = matches!(
        status.phase,
        Phase::Running | Phase::Stopped | Phase::Paused | Phase::Terminating
    );
    let reason = status
        .condition(condition::READY)
        .filter(|ready| ready.status != ConditionStatus::True)
        .map(|ready| ready.reason.as_str())
        .unwrap_or_default();
    if settled || reason.is_empty() || reason == status.phase.to_string() {
        status.phase.to_string()
    } else {
        format!("{}:{reason}", status.phase)
    }
}

/// Agents in the format asked for. `single`: one was asked for by name, so that JSON and YAML are the object itself.
pub(super) fn agents(
    context: &Context,
    agents: &[Agent],
    format: Format,
    single: bool,
    headers: bool,
) -> Result<(), Failure> {
    let console = &context.console;
    match format {
        Format::Table | Format::Wide => {
            let wide = format == Format::Wide;
            let now = crate::clock::now();
            let rows: Vec<_> = agents.iter().map(|agent| row(agent, wide, now)).collect();
            let text = table(&headings(wide), &rows);
            let text = if headers {
                text.as_str()
            } else {
                text.split_once('\n').map_or("", |(_, rows)| rows)
            };
            console.write(text.as_bytes())
        }
        Format::Name => agents
            .iter()
            .try_for_each(|agent| console.line(&format!("agent/{}", agent.metadata.name))),
        Format::Json | Format::Yaml => match agents {
            [agent] if single => value(context, agent, format),
            _ => {
                let list = serde_json::json!({
                    "apiVersion": API_VERSION,
                    "kind": "AgentList",
                    "items": agents,
                });
                value(context, &list, format)
            }
        },
    }
}

/// Any value as JSON, or as YAML where that was asked for.
pub(super) fn value(
    context: &Context,
    value: &impl Serialize,
    format: Format,
) -> Result<(), Failure> {
    if format == Format::Yaml {
        context.console.write(yaml(value)?.as_bytes())
    } else {
        context.console.line(&serde_json::to_string_pretty(value)?)
    }
}

/// Any value as YAML that ends with a line's end.
pub(super) fn yaml(value: &impl Serialize) -> Result<String, Failure> {
    let value = serde_json::to_value(value)?;
    // A value on one line stays on one line, so that it can be searched for and compared.
    let options = serde_yaml::ser_options! { folded_wrap_chars: usize::MAX };
    let mut text = serde_yaml::to_string_with_options(&value, options)
        .map_err(|error| Failure::error(format!("it cannot be written as YAML: {error}")))?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

/// What a change of agents prints: `agent/users stopped`, or the agents in the format asked for.
pub(super) fn changed(
    context: &Context,
    agent: &Agent,
    format: Format,
    word: &str,
) -> Result<(), Failure> {
    match format {
        Format::Table | Format::Wide => context
            .console
            .line(&format!("agent/{} {word}", agent.metadata.name)),
        _ => agents(context, std::slice::from_ref(agent), format, true, true),
    }
}
