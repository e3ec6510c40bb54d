//! `start`, `stop`, `restart`, `pause`, `resume` and `scale`: a word for a change of the spec.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use http::Method;

use super::goal::Goal;
use super::names::{self, Names, fetch, path};
use super::output::{self, Format};
use super::waiting::{WaitFlag, reach};
use super::{Context, Failure};
use crate::agent::Agent;
use crate::wire::ScaleRequest;

/// Agents, and whether to wait for what is asked of them.
#[derive(Args, Debug)]
pub struct ActArgs {
    #[command(flatten)]
    pub names: Names,
    /// Whether to wait until it is so.
    #[command(flatten)]
    pub wait: WaitFlag,
    /// How it is written.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Format,
}

/// Stop agents and keep their containers; with --all, end the whole server.
///
/// A stopped agent stays stopped when its manifest is applied again, unless the manifest says `state: running`.
///
/// --all is another thing: it ends the server of this machine, its Redis processes and every container and network of
/// its own. Data is kept: the next 'agentainer serve' brings all agents back.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  agentainer stop users
  agentainer stop users auth --wait
  agentainer stop --all")]
pub struct StopArgs {
    /// Agents, as NAME or agent/NAME.
    #[arg(
        value_name = "NAME",
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    pub names: Vec<String>,
    /// End the server of this machine, with its containers, network and Redis processes. Data is kept.
    #[arg(long)]
    pub all: bool,
    /// With --all: the data folder of the server to end [default: as for serve].
    #[arg(long, value_name = "DIR", env = "AGENTAINER_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// With --all: the engine's socket [default: unix:///var/run/docker.sock].
    #[arg(long, value_name = "URL", env = "DOCKER_HOST")]
    pub docker_host: Option<String>,
    /// Whether to wait until it is so.
    #[command(flatten)]
    pub wait: WaitFlag,
    /// How it is written.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Format,
}

/// Set how many instances of agents run.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  agentainer scale users --replicas 3 --wait
  agentainer scale users auth --replicas 0")]
pub struct ScaleArgs {
    #[command(flatten)]
    pub names: Names,
    /// How many.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(0..=100))]
    pub replicas: u32,
    /// Whether to wait until it is so.
    #[command(flatten)]
    pub wait: WaitFlag,
    /// How it is written.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Format,
}

/// What is asked of agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Start,
    Stop,
    Restart,
    Pause,
    Resume,
    Scale(u32),
    PauseRollout,
    ResumeRollout,
}

impl Act {
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Start => ("/start", "started"),
            Self::Stop => ("/stop", "stopped"),
            Self::Restart => ("/restart", "restarted"),
            Self::Pause => ("/pause", "paused"),
            Self::Resume => ("/resume", "resumed"),
            Self::Scale(_) => ("/scale", "scaled"),
            Self::PauseRollout => ("/rollout/pause", "rollout paused"),
            Self::ResumeRollout => ("/rollout/resume", "rollout resumed"),
        }
    }
}

pub(super) async fn run(
    context: &Context,
    act: Act,
    given: &[String],
    wait: WaitFlag,
    format: Format,
) -> Result<(), Failure> {
    let (mut goals, mut missing) = (BTreeMap::new(), Vec::new());
    for name in names::all(given)? {
        match one(context, act, &name, wait.wait).await {
            Ok((agent, goal)) => {
                output::changed(context, &agent, format, act.words().1)?;
                goals.insert(name, goal);
            }
            Err(failure) if failure.is_not_found() => missing.push(failure),
            Err(failure) => return Err(failure),
        }
    }
    if wait.wait && !goals.is_empty() {
        reach(context, goals, wait.patience.timeout).await?;
    }
    context.all_told(missing)
}

async fn one(
    context: &Context,
    act: Act,
    name: &str,
    wait: bool,
) -> Result<(Agent, Goal), Failure> {
    let client = &context.client;
    // A restart makes a new revision of the same generation: it is told by the one that is there now.
    let before = match act {
        Act::Restart if wait => fetch(client, name).await?.status.revision,
        _ => None,
    };
    let path = path(name, act.words().0);
    let agent: Agent = match act {
        Act::Scale(replicas) => {
            let body = ScaleRequest { replicas };
            client.send_json(Method::POST, &path, &body).await?
        }
        _ => client.call(Method::POST, &path).await?,
    };
    let goal = Goal::Settled {
        generation: agent.metadata.generation,
        other_than: before,
    };
    Ok((agent, goal))
}
