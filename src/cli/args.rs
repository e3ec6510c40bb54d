//! The command line: its commands and what all of them take. Each command's own flags are in its own file.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use super::address::Address;
use super::apply::ApplyArgs;
use super::delete::DeleteArgs;
use super::deploy::DeployArgs;
use super::describe::DescribeArgs;
use super::diff::DiffArgs;
use super::events::EventsArgs;
use super::get::{GetArgs, ListArgs};
use super::graph::GraphArgs;
use super::health::{HealthArgs, VersionArgs};
use super::invoke::InvokeArgs;
use super::lifecycle::{ActArgs, ScaleArgs, StopArgs};
use super::logs::LogsArgs;
use super::recover::RecoverArgs;
use super::requests::RequestsArgs;
use super::rollout::RolloutArgs;
use super::schema::SchemaArgs;
use super::token::TokenArgs;
use super::validate::ValidateArgs;
use super::waiting::WaitArgs;
use crate::config::ServeConfig;

/// Runs LLM agents as containers and keeps them running.
///
/// Describe agents in YAML and apply them; the server creates their containers and their network, mends what breaks, and
/// gives all of them one address: http://localhost:8081/agent/NAME/
#[derive(Parser)]
#[command(
    name = "agentainer",
    version,
    arg_required_else_help = true,
    subcommand_value_name = "COMMAND",
    after_help = "First steps:
  agentainer serve --detach                  start the server here
  agentainer apply -f agents.yaml --wait     make agents as a manifest says
  agentainer get agents                      see what runs
  agentainer logs -f NAME                    see what an agent writes

Exit codes: 0 ok, 1 error, 2 usage, 3 not found, 4 denied, 5 server unreachable, 6 timeout."
)]
pub struct Cli {
    /// What all commands take.
    #[command(flatten)]
    pub global: Global,
    /// Which command.
    #[command(subcommand)]
    pub command: Command,
}

/// What all commands take. Holds a secret: no `Debug`.
#[derive(Args, Clone)]
#[command(next_help_heading = "Server")]
pub struct Global {
    /// The server: http://host:port, https://host:port or unix:///path.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "AGENTAINER_SERVER",
        default_value = "http://localhost:8081"
    )]
    pub server: Address,

    /// Trust certificates that these authorities signed, in PEM [default: those that the system trusts].
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "AGENTAINER_CA_CERT",
        value_hint = clap::ValueHint::FilePath
    )]
    pub ca_cert: Option<PathBuf>,

    /// The token to show it [default: AGENTAINER_TOKEN, else the file admin.token of this user's or the system's data
    /// folder, which is sent to this machine alone].
    #[arg(long, global = true, value_name = "TOKEN")]
    pub token: Option<String>,

    /// A file that holds the token; goes before AGENTAINER_TOKEN.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "AGENTAINER_TOKEN_FILE",
        value_hint = clap::ValueHint::FilePath
    )]
    pub token_file: Option<PathBuf>,

    /// Say each request on standard error.
    #[arg(short, long, global = true)]
    pub verbose: bool,
}

/// A command: the server itself, or something that asks a server.
#[derive(Subcommand)]
pub enum Command {
    /// Run the server.
    ///
    /// It keeps its specs in a Redis of its own, makes containers and network through Docker, and answers on loopback and on
    /// the agents' gateway. Ctrl-C ends it; the agents run on, and the next server takes them up again.
    #[command(after_help = "Examples:
  agentainer serve
  agentainer serve --detach
  agentainer serve --allow-host-path /srv/data --listen 0.0.0.0
  agentainer serve --redis-url redis://:password@redis:6379

'agentainer stop --all' ends the server and its containers.")]
    Serve(Box<ServeConfig>),

    /// Something that asks a server, or nobody.
    #[command(flatten)]
    Client(Box<ClientCommand>),
}

/// A command that asks a server, or nobody.
#[derive(Subcommand)]
#[expect(
    missing_docs,
    reason = "the help of most commands is the doc of their flags' struct"
)]
pub enum ClientCommand {
    Apply(ApplyArgs),
    Diff(DiffArgs),
    Deploy(Box<DeployArgs>),
    Get(GetArgs),
    #[command(visible_aliases = ["ls", "ps"])]
    List(ListArgs),
    Describe(DescribeArgs),
    Logs(LogsArgs),
    Events(EventsArgs),
    Invoke(Box<InvokeArgs>),
    Graph(GraphArgs),
    Wait(WaitArgs),
    /// Start agents that were stopped.
    #[command(after_help = "Examples:\n  agentainer start users --wait")]
    Start(ActArgs),
    Stop(StopArgs),
    /// Replace agents' containers, their images looked up anew.
    #[command(after_help = "Examples:\n  agentainer restart users --wait")]
    Restart(ActArgs),
    /// Freeze agents where they are.
    #[command(after_help = "Examples:\n  agentainer pause users")]
    Pause(ActArgs),
    /// Let paused agents go on.
    #[command(after_help = "Examples:\n  agentainer resume users --wait")]
    Resume(ActArgs),
    Scale(ScaleArgs),
    Rollout(RolloutArgs),
    Requests(RequestsArgs),
    Delete(DeleteArgs),
    /// The same as delete.
    #[command(visible_alias = "rm")]
    Remove(DeleteArgs),
    Validate(ValidateArgs),
    Schema(SchemaArgs),
    Recover(RecoverArgs),
    Health(HealthArgs),
    Token(TokenArgs),
    Version(VersionArgs),
    /// Print a completion script for a shell.
    #[command(after_help = "Examples:
  source <(agentainer completion bash)
  agentainer completion zsh > \"${fpath[1]}/_agentainer\"
  agentainer completion fish > ~/.config/fish/completions/agentainer.fish")]
    Completion {
        /// Which shell.
        shell: Shell,
    },
}
