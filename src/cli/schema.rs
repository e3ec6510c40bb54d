//! `schema`: the manifests' JSON Schema, for editors.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use super::{Context, Failure};
use crate::agent::schema;

/// Print the JSON Schema of a kind of manifest, or write all of them to a folder.
///
/// With a line `# yaml-language-server: $schema=PATH` at the top of a manifest, editors complete and check it.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  agentainer schema
  agentainer schema agent
  agentainer schema --write schemas/")]
pub struct SchemaArgs {
    /// Which: agent, agentdeployment or agents (a bare list) [default: their names].
    #[arg(value_name = "KIND", conflicts_with = "write")]
    pub kind: Option<String>,
    /// Write all of them into this folder.
    #[arg(long, value_name = "DIR")]
    pub write: Option<PathBuf>,
}

pub(super) fn run(context: &Context, args: &SchemaArgs) -> Result<(), Failure> {
    let files = schema::files();
    if let Some(folder) = &args.write {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("the folder {} cannot be made", folder.display()))?;
        for (name, text) in files {
            let path = folder.join(name);
            std::fs::write(&path, text)
                .with_context(|| format!("{} cannot be written", path.display()))?;
            context.console.line(&path.display().to_string())?;
        }
        return Ok(());
    }
    let kinds = files
        .iter()
        .map(|(name, _)| name.trim_end_matches(".json"))
        .collect::<Vec<_>>()
        .join(", ");
    let Some(kind) = &args.kind else {
        return context.console.line(&kinds);
    };
    let wanted = format!("{}.json", kind.to_lowercase());
    match files.iter().find(|(name, _)| *name == wanted) {
        Some((_, text)) => context.console.write(text.as_bytes()),
        None => Err(Failure::NotFound(format!(
            "there is no schema '{kind}'; there are {kinds}"
        ))),
    }
}
