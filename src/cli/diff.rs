//! `diff`: what `apply` would change, as a unified diff.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::{Map, Value, json};
use similar::TextDiff;

use super::apply::{How, keep_images, request, send};
use super::console::{Console, Style};
use super::manifests::Files;
use super::output::{Format, yaml};
use super::waiting::{Patience, WaitFlag};
use super::{Context, Failure};
use crate::agent::quantity::Span;
use crate::agent::{Agent, EnvValue};
use crate::wire::{ApplyOutcome, ApplyResult, MASK};

/// Show what `apply` would change, and change nothing.
///
/// Environment values are not shown; one that would change is marked. Exits 0 when nothing would change, 1 when something
/// would, and otherwise when it cannot say (2 where other commands exit 1).
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  agentainer diff -f agents.yaml
  agentainer diff -f manifests/ -R --prune
  agentainer diff -f agents.yaml > /dev/null || echo something would change")]
pub struct DiffArgs {
    #[command(flatten)]
    pub files: Files,
    /// Who owns agents whose manifest names no owner [default: default].
    #[arg(long, value_name = "OWNER")]
    pub owner: Option<String>,
    /// Show too what --prune would delete.
    #[arg(long)]
    pub prune: bool,
    /// As if agents of other owners were taken over.
    #[arg(long)]
    pub force: bool,
}

pub(super) async fn run(context: &Context, args: &DiffArgs) -> Result<(), Failure> {
    match differences(context, args).await {
        Ok(false) => Ok(()),
        Ok(true) => Err(Failure::Told(1)),
        // 1 says that there is a difference: an error must not say so.
        Err(failure) if failure.code() == 1 => {
            context.failed(&failure);
            Err(Failure::Told(2))
        }
        Err(failure) => Err(failure),
    }
}

/// Shows them; whether there are any.
async fn differences(context: &Context, args: &DiffArgs) -> Result<bool, Failure> {
    let mut bundles = args.files.read(context, args.owner.as_deref())?;
    keep_images(context, &mut bundles).await?;
    let how = How {
        prune: args.prune,
        dry_run: true,
        force: args.force,
        wait: WaitFlag {
            wait: false,
            patience: Patience {
                timeout: Span::seconds(0),
            },
        },
        format: Format::Table,
    };
    let mut differs = false;
    for bundle in &bundles {
        let response = send(context, request(bundle, how, true), true).await?;
        for result in &response.results {
            for warning in &result.warnings {
                context
                    .console
                    .warn(&format!("agent/{}: {warning}", result.name));
            }
            if result.outcome != ApplyOutcome::Unchanged {
                differs = true;
                let text = difference(result)?;
                context
                    .console
                    .write(coloured(&context.console, &text).as_bytes())?;
            }
        }
    }
    Ok(differs)
}

/// One agent's unified diff.
fn difference(result: &ApplyResult) -> Result<String, Failure> {
    // A pruned agent is on its way out, whatever the server shows of it afterwards.
    let after = result
        .after
        .as_ref()
        .filter(|_| result.outcome != ApplyOutcome::Pruned);
    let (before, after) = masked(result.before.as_ref(), after)?;
    let name = &result.name;
    let diff = TextDiff::from_lines(before.as_str(), after.as_str());
    let mut text = diff
        .unified_diff()
        .context_radius(3)
        .header(
            &format!("agent/{name} (live)"),
            &format!("agent/{name} (manifest)"),
        )
        .to_string();
    if result.replaces_containers && result.outcome == ApplyOutcome::Configured {
        text.push_str("# its containers would be replaced\n");
    }
    Ok(text)
}

/// Both sides as YAML, the values of the environment taken out: one that is the same is `***` on both.
fn masked(before: Option<&Agent>, after: Option<&Agent>) -> Result<(String, String), Failure> {
    let none = BTreeMap::new();
    let env = |agent: Option<&Agent>| agent.map_or(none.clone(), |agent| agent.spec.env.clone());
    let (old, new) = (env(before), env(after));
    let changes = |name: &String| matches!((old.get(name), new.get(name)), (Some(old), Some(new)) if old != new);
    let mask = |side: &BTreeMap<String, EnvValue>, word: &str| -> Map<String, Value> {
        side.keys()
            .map(|name| {
                let shown = if changes(name) {
                    format!("{MASK} ({word})")
                } else {
                    MASK.to_owned()
                };
                (name.clone(), Value::String(shown))
            })
            .collect()
    };
    Ok((
        shown(before, mask(&old, "before"))?,
        shown(after, mask(&new, "after"))?,
    ))
}

fn shown(agent: Option<&Agent>, env: Map<String, Value>) -> Result<String, Failure> {
    let Some(agent) = agent else {
        return Ok(String::new());
    };
    let mut spec = serde_json::to_value(&agent.spec)?;
    if let Value::Object(fields) = &mut spec
        && !env.is_empty()
    {
        fields.insert("env".to_owned(), Value::Object(env));
    }
    let metadata = &agent.metadata;
    yaml(&json!({
        "apiVersion": agent.api_version,
        "kind": agent.kind,
        "metadata": {
            "name": metadata.name,
            "owner": metadata.owner,
            "labels": metadata.labels,
            "annotations": metadata.annotations,
        },
        "spec": spec,
    }))
}

fn coloured(console: &Console, text: &str) -> String {
    if !console.colours() {
        return text.to_owned();
    }
    let mut out = String::new();
    for line in text.lines() {
        let style = match line.as_bytes() {
            [b'+', b'+', b'+', ..] | [b'-', b'-', b'-', ..] => Style::Bold,
            [b'+', ..] => Style::Green,
            [b'-', ..] => Style::Red,
            [b'@', ..] => Style::Cyan,
            [b'#', ..] => Style::Yellow,
            _ => {
                out.push_str(line);
                out.push('\n');
                continue;
            }
        };
        out.push_str(&console.paint(style, line));
        out.push('\n');
    }
    out
}
