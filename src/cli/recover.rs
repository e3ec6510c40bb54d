//! `recover`: the agents that the store lost are made again.

use clap::Args;
use http::Method;

use super::output::{self, Format};
use super::text::table;
use super::{Context, Failure};
use crate::wire::{RecoverOutcome, RecoverRequest, RecoverResponse, RecoverSource};

/// Make the agents again that the store lost.
///
/// For a control Redis that was wiped, or restored from an older backup. Their specs, values included, their history and how
/// their rollouts stood come from the snapshot in the server's data folder; what that lacks from the labels and the environment of
/// the containers, which have been running on all the while and become their agents' own again. Nothing is stopped or removed.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  agentainer recover --dry-run
  agentainer recover
  agentainer recover --from containers

'agentainer serve --recover' does the same at the server's start.")]
pub struct RecoverArgs {
    /// Who is asked for the specs.
    #[arg(long, value_enum, default_value_t, value_name = "SOURCE")]
    pub from: RecoverSource,
    /// Say what would happen and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// How it is written.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Format,
}

pub(super) async fn run(context: &Context, args: &RecoverArgs) -> Result<(), Failure> {
    let request = RecoverRequest {
        from: args.from,
        dry_run: args.dry_run,
    };
    let response: RecoverResponse = context
        .client
        .send_json(Method::POST, "/recover", &request)
        .await?;
    if matches!(args.output, Format::Json | Format::Yaml) {
        return output::value(context, &response, args.output);
    }
    let console = &context.console;
    for result in &response.results {
        for warning in &result.warnings {
            console.note(&format!("{}: {warning}", result.name));
        }
    }
    for warning in &response.warnings {
        console.note(warning);
    }
    if response.results.is_empty() {
        console.note(
            "Nothing to recover: neither the snapshot nor Docker has an agent that the store lost.",
        );
        return Ok(());
    }
    let rows: Vec<Vec<String>> = response
        .results
        .iter()
        .map(|result| {
            vec![
                format!("agent/{}", result.name),
                word(result.outcome, response.dry_run).to_owned(),
                source(result.from).to_owned(),
                result.generation.to_string(),
            ]
        })
        .collect();
    let headings = ["AGENT", "OUTCOME", "FROM", "GENERATION"];
    console.write(table(&headings, &rows).as_bytes())
}

fn word(outcome: RecoverOutcome, dry_run: bool) -> &'static str {
    match (outcome, dry_run) {
        (RecoverOutcome::Created, false) => "created",
        (RecoverOutcome::Created, true) => "created (dry run)",
        (RecoverOutcome::Updated, false) => "updated",
        (RecoverOutcome::Updated, true) => "updated (dry run)",
        (RecoverOutcome::Unchanged, _) => "unchanged",
        (RecoverOutcome::Skipped, _) => "skipped",
    }
}

fn source(from: RecoverSource) -> &'static str {
    match from {
        RecoverSource::Auto => "auto",
        RecoverSource::Snapshot => "snapshot",
        RecoverSource::Containers => "containers",
    }
}
