//! `validate`: are manifests right? No server is asked.

use clap::Args;

use super::manifests::Files;
use super::text::count;
use super::{Context, Failure};

/// Check manifests without a server: every error at once, with its place.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  agentainer validate -f agents.yaml
  agentainer validate -f manifests/ -R
  cat agents.yaml | agentainer validate -f -")]
pub struct ValidateArgs {
    #[command(flatten)]
    pub files: Files,
}

pub(super) fn run(context: &Context, args: &ValidateArgs) -> Result<(), Failure> {
    let bundles = args.files.read(context, None)?;
    let agents = bundles.iter().map(|bundle| bundle.agents.len()).sum();
    context
        .console
        .line(&format!("valid: {}", count(agents, "agent")))
}
