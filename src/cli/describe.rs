//! `describe`: all there is to know of an agent, for people.

use clap::Args;
use jiff::Timestamp;
use serde_json::Value;

use super::names::{self, Names, fetch, path};
use super::output::{standing, yaml};
use super::text::{age, indented, list_or, short, table};
use super::{Context, Failure};
use crate::agent::status::QueueStatus;
use crate::agent::{Agent, AgentStatus, Condition, EventRecord, Revision};
use crate::wire::{AgentListBody, EventListBody};

/// Show one agent in full: spec, conditions, instances, upstreams, what happened.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  agentainer describe users
  agentainer describe agent users auth")]
pub struct DescribeArgs {
    #[command(flatten)]
    pub names: Names,
}

pub(super) async fn run(context: &Context, args: &DescribeArgs) -> Result<(), Failure> {
    let names = names::all(&args.names.names)?;
    let everybody: AgentListBody = context.client.get("/agents").await?;
    let mut missing = Vec::new();
    for (place, name) in names.iter().enumerate() {
        let agent = match fetch(&context.client, name).await {
            Ok(agent) => agent,
            Err(failure) if failure.is_not_found() => {
                missing.push(failure);
                continue;
            }
            Err(failure) => return Err(failure),
        };
        // A viewer may not see events; all else is for everybody.
        let events = context
            .client
            .get::<EventListBody>(&path(name, "/events?limit=20"))
            .await
            .map(|body| body.items)
            .unwrap_or_default();
        if place > 0 {
            context.console.line("\n")?;
        }
        let text = described(
            &agent,
            &everybody.items,
            &events,
            &context.client.address().to_string(),
            crate::clock::now(),
        )?;
        context.console.write(text.as_bytes())?;
    }
    context.all_told(missing)
}

fn described(
    agent: &Agent,
    everybody: &[Agent],
    events: &[EventRecord],
    server: &str,
    now: Timestamp,
) -> Result<String, Failure> {
    let (metadata, status) = (&agent.metadata, &agent.status);
    let name = &metadata.name;
    let pairs = |map: &std::collections::BTreeMap<String, String>| {
        list_or(map.iter().map(|(key, value)| format!("{key}={value}")), "-")
    };
    let callers = everybody
        .iter()
        .filter(|other| other.status.upstreams.iter().any(|up| up == name.as_str()))
        .map(|other| other.metadata.name.to_string());
    let mut lines = vec![
        ("Name", name.to_string()),
        ("Owner", metadata.owner.clone()),
        ("Labels", pairs(&metadata.labels)),
        ("Annotations", pairs(&metadata.annotations)),
        (
            "Created",
            format!(
                "{:.0} ({} ago)",
                metadata.creation_timestamp,
                age(metadata.creation_timestamp, now)
            ),
        ),
        ("UID", metadata.uid.to_string()),
        (
            "Generation",
            format!(
                "{} (observed: {})",
                metadata.generation, status.observed_generation
            ),
        ),
        ("Status", standing(agent)),
        (
            "Replicas",
            format!(
                "{} wanted, {} ready, {} up to date",
                agent.spec.replicas.0, status.ready_replicas, status.updated_replicas
            ),
        ),
        (
            "Revision",
            revision(status.rollout.number, status.revision.as_ref()),
        ),
        ("Rollout", rollout(status)),
        (
            "Addresses",
            format!(
                "{server}/agent/{name}/ (proxy), http://{name}:{} (from agents)",
                agent.spec.port.0
            ),
        ),
        ("Requests", requests(name, status.queue.as_ref(), now)),
        ("Upstreams", list_or(status.upstreams.iter().cloned(), "-")),
        ("Called by", list_or(callers, "-")),
    ];
    if let Some(asked) = metadata.deletion_timestamp {
        lines.push(("Deleting", format!("since {}", age(asked, now))));
    }
    let mut out = String::new();
    for (label, value) in lines {
        out.push_str(&format!("{:<14}{value}\n", format!("{label}:")));
    }
    out.push_str("Spec:\n");
    let mut spec = serde_json::to_value(&agent.spec)?;
    if let Value::Object(fields) = &mut spec {
        let image = agent.spec.image_or(name).to_owned();
        fields.insert("image".to_owned(), Value::String(image));
    }
    out.push_str(&indented(&yaml(&spec)?, "  "));
    out.push('\n');
    out.push_str(&conditions(&status.conditions, now));
    out.push_str(&instances(agent, now));
    out.push_str(&last_lines(&status.conditions));
    out.push_str(&happened(events, now));
    Ok(out)
}

/// What is kept for the agent.
fn requests(name: impl std::fmt::Display, queue: Option<&QueueStatus>, now: Timestamp) -> String {
    let Some(queue) = queue else {
        return "not known".to_owned();
    };
    let oldest = queue
        .oldest
        .map(|oldest| format!(" (the oldest {})", age(oldest, now)))
        .unwrap_or_default();
    let mut text = format!(
        "{} pending{oldest}, {} in flight",
        queue.pending, queue.in_flight
    );
    let odd = queue.unknown + queue.dead_lettered;
    if odd > 0 {
        text.push_str(&format!(
            ", {} unknown, {} dead letters: see `agentainer requests dead {name}`",
            queue.unknown, queue.dead_lettered
        ));
    }
    text
}

/// A revision with its number: `3 (0123456789ab)`.
fn revision(number: u64, revision: Option<&Revision>) -> String {
    match revision.map(|revision| short(revision.as_str())) {
        None => "-".to_owned(),
        Some(digits) if number > 0 => format!("{number} ({digits})"),
        Some(digits) => digits,
    }
}

/// How the way to the asked revision stands, and what serves until it is there.
fn rollout(status: &AgentStatus) -> String {
    let rollout = &status.rollout;
    let mut text = format!("{:?}", rollout.state);
    if rollout.last_good != status.revision {
        let good = revision(rollout.last_good_number, rollout.last_good.as_ref());
        text.push_str(&format!("; last good: {good}"));
    }
    if let Some(failed) = &rollout.failed {
        text.push_str(&format!("; {}", failed.reason));
    }
    text
}

/// A table under its heading, moved to the right; its word for nothing when it is empty.
fn section(heading: &str, headings: &[&str], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return format!("{:<14}-\n", format!("{heading}:"));
    }
    format!("{heading}:\n{}\n", indented(&table(headings, rows), "  "))
}

/// Conditions as a table.
pub(super) fn conditions(conditions: &[Condition], now: Timestamp) -> String {
    let rows: Vec<Vec<String>> = conditions
        .iter()
        .map(|condition| {
            vec![
                condition.kind.clone(),
                format!("{:?}", condition.status),
                condition.reason.clone(),
                age(condition.last_transition_time, now),
                condition.message.clone(),
            ]
        })
        .collect();
    let headings = ["TYPE", "STATUS", "REASON", "SINCE", "MESSAGE"];
    section("Conditions", &headings, &rows)
}

/// What an instance wrote before it ended, where it is not started again for the moment.
fn last_lines(conditions: &[Condition]) -> String {
    let found = conditions.iter().find(|one| !one.last_lines.is_empty());
    found.map_or_else(String::new, |condition| {
        let text = condition.last_lines.join("\n");
        format!("Last lines:\n{}\n", indented(&text, "  "))
    })
}

fn instances(agent: &Agent, now: Timestamp) -> String {
    let rows: Vec<Vec<String>> = agent
        .status
        .instances
        .iter()
        .map(|instance| {
            let exit = instance.last_exit.as_ref();
            let exit = exit.map(|exit| format!("{exit}, {} ago", age(exit.at, now)));
            let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
            vec![
                instance.name.clone(),
                short(&instance.container_id),
                instance.state.clone(),
                if instance.ready { "yes" } else { "no" }.to_owned(),
                instance.restarts.to_string(),
                or_dash(instance.ip.map(|ip| ip.to_string())),
                short(&instance.revision.to_string()),
                or_dash(instance.started_at.map(|at| age(at, now))),
                or_dash(exit),
            ]
        })
        .collect();
    let headings = [
        "NAME",
        "CONTAINER",
        "STATE",
        "READY",
        "RESTARTS",
        "ADDRESS",
        "REVISION",
        "UP",
        "LAST EXIT",
    ];
    section("Instances", &headings, &rows)
}

/// Events as a table, the oldest first.
pub(super) fn happened(events: &[EventRecord], now: Timestamp) -> String {
    let rows: Vec<Vec<String>> = events
        .iter()
        .rev()
        .map(|event| {
            vec![
                age(event.last_seen, now),
                event.count.to_string(),
                event.kind.to_string(),
                event.reason.clone(),
                event.message.clone(),
            ]
        })
        .collect();
    section(
        "Events",
        &["AGE", "COUNT", "TYPE", "REASON", "MESSAGE"],
        &rows,
    )
}
