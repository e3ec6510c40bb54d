//! `completion`: a script for a shell, made from the commands as they are.

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, Context, Failure};

pub(super) fn run(context: &Context, shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "agentainer", &mut script);
    context.console.write(&script)
}
