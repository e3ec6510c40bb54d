//! `apply`: manifests become what shall be.

use std::collections::BTreeMap;

use clap::Args;
use http::Method;

use super::console::Style;
use super::goal::Goal;
use super::manifests::Files;
use super::output::{self, Format};
use super::text::count;
use super::waiting::{WaitFlag, reach};
use super::{Context, Failure, builds};
use crate::agent::manifest::Bundle;
use crate::wire::{ApplyOutcome, ApplyRequest, ApplyResponse, ApplyResult};

/// Make agents as their manifests say: create, change, and with --prune delete.
///
/// Everything is checked first and nothing is sent unless all of it is valid. A bundle is applied as a whole or not at
/// all. Fields that a manifest does not name keep what `scale` or `stop` gave them; fields that it no longer names
/// return to their defaults. Applying the same twice changes nothing.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  agentainer apply -f agents.yaml
  agentainer apply -f agents.yaml --wait
  agentainer apply -f manifests/ -R --prune
  cat agents.yaml | agentainer apply -f - --owner team-a
  agentainer apply -f agents.yaml --dry-run")]
pub struct ApplyArgs {
    #[command(flatten)]
    pub files: Files,
    /// Who owns agents whose manifest names no owner [default: default].
    #[arg(long, value_name = "OWNER")]
    pub owner: Option<String>,
    /// Delete this owner's agents that the manifests no longer name, after everything else was applied.
    #[arg(long)]
    pub prune: bool,
    /// Tell what would happen and change nothing (nothing is built either).
    #[arg(long)]
    pub dry_run: bool,
    /// Take over agents of other owners, and prune even when that is most of them.
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub wait: WaitFlag,
    /// How it is written.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Format,
}

/// How bundles are applied.
#[derive(Clone, Copy, Debug)]
pub(super) struct How {
    pub(super) prune: bool,
    pub(super) dry_run: bool,
    pub(super) force: bool,
    pub(super) wait: WaitFlag,
    pub(super) format: Format,
}

pub(super) async fn run(context: &Context, args: &ApplyArgs) -> Result<(), Failure> {
    let bundles = args.files.read(context, args.owner.as_deref())?;
    let how = How {
        prune: args.prune,
        dry_run: args.dry_run,
        force: args.force,
        wait: args.wait,
        format: args.output,
    };
    bundles_of(context, bundles, how).await
}

/// Builds, applies, tells, and waits if that is wanted.
pub(super) async fn bundles_of(
    context: &Context,
    mut bundles: Vec<Bundle>,
    how: How,
) -> Result<(), Failure> {
    if how.dry_run {
        keep_images(context, &mut bundles).await?;
    } else {
        // One owner's refusal must not leave another's bundle applied; nor is it worth a build.
        if bundles.len() > 1 || bundles.iter().any(|bundle| !bundle.builds.is_empty()) {
            for bundle in &bundles {
                send(context, request(bundle, how, true), false).await?;
            }
        }
        builds::all(context, &mut bundles).await?;
    }
    let mut responses = Vec::new();
    for bundle in &bundles {
        let response = send(context, request(bundle, how, how.dry_run), false).await?;
        tell(context, &response, how.format)?;
        responses.push(response);
    }
    if matches!(how.format, Format::Json | Format::Yaml) {
        match responses.as_slice() {
            [only] => output::value(context, only, how.format)?,
            several => output::value(context, &several, how.format)?,
        }
    }
    if !how.wait.wait || how.dry_run {
        return Ok(());
    }
    let goals: BTreeMap<String, Goal> = responses
        .iter()
        .flat_map(|response| &response.results)
        .map(|result| (result.name.to_string(), goal(result)))
        .collect();
    let ready = count(goals.len(), "agent");
    reach(context, goals, how.wait.patience.timeout).await?;
    context.console.note(&format!("{ready} as applied"));
    Ok(())
}

fn goal(result: &ApplyResult) -> Goal {
    match (&result.after, result.outcome) {
        (_, ApplyOutcome::Pruned) => Goal::Deleted,
        (Some(after), _) => Goal::Settled {
            generation: after.metadata.generation,
            other_than: None,
        },
        (None, _) => Goal::Ready,
    }
}

/// The request for one bundle.
pub(super) fn request(bundle: &Bundle, how: How, dry_run: bool) -> ApplyRequest {
    ApplyRequest {
        owner: bundle.owner.clone(),
        agents: bundle.agents.clone(),
        dry_run,
        prune: how.prune,
        force: how.force,
    }
}

/// Sends one bundle. `reveal`: with environment values, if this token may see them.
pub(super) async fn send(
    context: &Context,
    request: ApplyRequest,
    reveal: bool,
) -> Result<ApplyResponse, Failure> {
    let path = if reveal {
        "/apply?reveal=env"
    } else {
        "/apply"
    };
    context.client.send_json(Method::POST, path, &request).await
}

/// Agents that are built keep the images that they have, where nothing may be built: `diff` and dry runs. A new one gets
/// the image that a build would be tagged with.
pub(super) async fn keep_images(context: &Context, bundles: &mut [Bundle]) -> Result<(), Failure> {
    for bundle in bundles {
        for agent in &mut bundle.agents {
            let Some(build) = bundle.builds.get(&agent.name) else {
                continue;
            };
            let name = agent.name.as_str();
            let live = match super::names::fetch(&context.client, name).await {
                Ok(live) => live.spec.image,
                Err(failure) if failure.is_not_found() => None,
                Err(failure) => return Err(failure),
            };
            let image = live.unwrap_or_else(|| format!("agentainer-build/{name}"));
            let from = builds::built_from(build)?;
            builds::write(agent, &image, from);
        }
    }
    Ok(())
}

/// kubectl's line for each agent, and the warnings.
fn tell(context: &Context, response: &ApplyResponse, format: Format) -> Result<(), Failure> {
    let console = &context.console;
    for result in &response.results {
        let name = &result.name;
        for warning in &result.warnings {
            console.warn(&format!("agent/{name}: {warning}"));
        }
        match format {
            Format::Table | Format::Wide => {
                let (word, style) = match result.outcome {
                    ApplyOutcome::Created => ("created", Style::Green),
                    ApplyOutcome::Configured => ("configured", Style::Yellow),
                    ApplyOutcome::Unchanged => ("unchanged", Style::Dim),
                    ApplyOutcome::Pruned => ("pruned", Style::Red),
                };
                let mut line = format!("agent/{name} {}", console.paint(style, word));
                if response.dry_run {
                    line.push_str(" (dry run)");
                }
                if result.replaces_containers && result.outcome == ApplyOutcome::Configured {
                    line.push_str(" (containers are replaced)");
                }
                console.line(&line)?;
            }
            Format::Name => console.line(&format!("agent/{name}"))?,
            Format::Json | Format::Yaml => {}
        }
    }
    Ok(())
}
