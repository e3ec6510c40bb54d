//! `delete` and `remove`: agents go, with their containers.

use std::collections::BTreeMap;

use clap::Args;
use http::Method;

use super::goal::Goal;
use super::manifests::Files;
use super::names::{self, path};
use super::output::Format;
use super::waiting::{Patience, reach};
use super::{Context, Failure};

/// Delete agents and their containers; named volumes are kept.
///
/// Waits until they are gone, unless --wait=false.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  agentainer delete users
  agentainer delete agent/users agent/auth
  agentainer delete -f agents.yaml
  agentainer delete users --wait=false")]
pub struct DeleteArgs {
    /// Agents, as NAME or agent/NAME.
    #[arg(
        value_name = "NAME",
        required_unless_present = "file",
        conflicts_with = "file"
    )]
    pub names: Vec<String>,
    #[command(flatten)]
    pub files: Files,
    /// An agent that does not exist is no error.
    #[arg(long)]
    pub ignore_not_found: bool,
    /// Wait until they are gone.
    #[arg(long, default_value_t = true, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub wait: bool,
    #[command(flatten)]
    pub patience: Patience,
    /// How it is written.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Format,
}

pub(super) async fn run(context: &Context, args: &DeleteArgs) -> Result<(), Failure> {
    let names = if args.files.file.is_empty() {
        names::all(&args.names)?
    } else {
        let bundles = args.files.read(context, None)?;
        bundles
            .iter()
            .flat_map(|bundle| &bundle.agents)
            .map(|agent| agent.name.to_string())
            .collect()
    };
    let (mut goals, mut missing) = (BTreeMap::new(), Vec::new());
    for name in names {
        // The answer is the agent as it goes, or nothing.
        let answer = context
            .client
            .call_plain(Method::DELETE, &path(&name, ""))
            .await;
        match answer {
            Ok(()) => {
                context.console.line(&match args.output {
                    Format::Name => format!("agent/{name}"),
                    _ => format!("agent/{name} deleted"),
                })?;
                goals.insert(name, Goal::Deleted);
            }
            Err(failure) if failure.is_not_found() && args.ignore_not_found => {}
            Err(failure) if failure.is_not_found() => missing.push(failure),
            Err(failure) => return Err(failure),
        }
    }
    if args.wait && !goals.is_empty() {
        reach(context, goals, args.patience.timeout).await?;
    }
    context.all_told(missing)
}
