//! `rollout`: the way from one revision to the next, with kubectl's words.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::{Args, Subcommand};
use http::Method;

use super::client::with_query;
use super::goal::Goal;
use super::lifecycle::{self, Act, ActArgs};
use super::names::{self, Names, fetch, path};
use super::output::{self, Format};
use super::text::{age, short, table};
use super::waiting::{Patience, WaitFlag, reach};
use super::watching::Watching;
use super::{Context, Failure};
use crate::agent::quantity::Span;
use crate::agent::status::RolloutState;
use crate::agent::{Agent, Phase};
use crate::wire::{HistoryBody, HistoryEntry, RolloutBody};

/// Follow, undo or hold the way from one revision of an agent to the next.
///
/// A revision is all of a spec that shapes containers: image, command, environment, volumes and the like. Ten are kept.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  agentainer rollout status users
  agentainer rollout history users --revision 3
  agentainer rollout undo users --to-revision 3 --wait
  agentainer rollout restart users
  agentainer rollout pause users")]
pub struct RolloutArgs {
    /// What to do.
    #[command(subcommand)]
    command: RolloutCommand,
}

#[derive(Subcommand, Debug)]
enum RolloutCommand {
    Status(StatusArgs),
    History(HistoryArgs),
    Undo(UndoArgs),
    /// Replace agents' containers, their images looked up anew; the same as `agentainer restart`.
    Restart(ActArgs),
    /// Hold rollouts: what runs is kept as it is and healed, and nothing is replaced until `resume`.
    Pause(HoldArgs),
    /// Let paused rollouts go on.
    Resume(HoldArgs),
}

/// Wait until a rollout is complete, and say how far it is.
///
/// Exits 1 when it failed or was rolled back, an agent's first rollout too, and 6 when it takes longer than --timeout.
#[derive(Args, Debug)]
struct StatusArgs {
    #[command(flatten)]
    names: Names,
    /// Wait for its end; with =false, say how it stands and go.
    #[arg(short, long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true,
          default_missing_value = "true", action = clap::ArgAction::Set)]
    watch: bool,
    /// How long to wait: 30s, 5m; 0s is for ever.
    #[arg(long, default_value = "0s", value_name = "DURATION")]
    timeout: Span,
    /// Only of the revision with this number; exit 1 when another is rolled out.
    #[arg(long, value_name = "NUMBER")]
    revision: Option<u64>,
}

/// Show an agent's revisions, or one of them in full.
#[derive(Args, Debug)]
struct HistoryArgs {
    #[command(flatten)]
    names: Names,
    /// Show what the revision with this number was made from.
    #[arg(long, value_name = "NUMBER")]
    revision: Option<u64>,
    /// How it is written.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
    /// Show environment values, which may be secrets.
    #[arg(long)]
    reveal_env: bool,
}

/// Bring an earlier revision back: what shapes containers comes back into the spec, and the health check that passed on
/// it last; all else stays.
///
/// Without --to-revision that is the last good revision when the present one never was good, else the one before. When the
/// present one is good by another health check than the spec's, that check alone comes back.
#[derive(Args, Debug)]
struct UndoArgs {
    #[command(flatten)]
    names: Names,
    /// The number of the revision, from `history`.
    #[arg(long, value_name = "NUMBER")]
    to_revision: Option<u64>,
    #[command(flatten)]
    wait: WaitFlag,
    /// How it is written.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

/// Agents whose rollouts are held or go on.
#[derive(Args, Debug)]
struct HoldArgs {
    #[command(flatten)]
    names: Names,
    /// How it is written.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

pub(super) async fn run(context: &Context, args: &RolloutArgs) -> Result<(), Failure> {
    let act = async |act: Act, args: &HoldArgs| {
        let patience = Patience {
            timeout: Span::seconds(0),
        };
        let wait = WaitFlag {
            wait: false,
            patience,
        };
        lifecycle::run(context, act, &args.names.names, wait, args.output).await
    };
    match &args.command {
        RolloutCommand::Status(args) => status(context, args).await,
        RolloutCommand::History(args) => history(context, args).await,
        RolloutCommand::Undo(args) => undo(context, args).await,
        RolloutCommand::Restart(args) => {
            let names = &args.names.names;
            lifecycle::run(context, Act::Restart, names, args.wait, args.output).await
        }
        RolloutCommand::Pause(args) => act(Act::PauseRollout, args).await,
        RolloutCommand::Resume(args) => act(Act::ResumeRollout, args).await,
    }
}

/// How a rollout stands, for somebody who waits for its end.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    Done,
    Waiting(String),
    Failed(String),
}

fn judge(body: &RolloutBody) -> Standing {
    let (name, rollout) = (&body.name, &body.rollout);
    if !body.observed {
        return Standing::Waiting("waiting for the spec to be acted on".to_owned());
    }
    match rollout.state {
        RolloutState::Complete => Standing::Done,
        RolloutState::Failed | RolloutState::RolledBack => Standing::Failed(body.message.clone()),
        RolloutState::Paused => Standing::Waiting(body.message.clone()),
        RolloutState::Progressing if body.phase == Phase::Stopped => Standing::Failed(format!(
            "it is stopped, so nothing is rolled out; `agentainer start {name}` starts it"
        )),
        RolloutState::Progressing => {
            let mut what = format!(
                "{} of {} updated, {} ready",
                body.updated_replicas, body.replicas, body.ready_replicas
            );
            let all = [body.updated_replicas, body.ready_replicas] == [body.replicas; 2];
            if all && !body.message.is_empty() {
                what.push_str(": ");
                what.push_str(&body.message);
            }
            Standing::Waiting(what)
        }
    }
}

async fn status(context: &Context, args: &StatusArgs) -> Result<(), Failure> {
    for name in names::all(&args.names.names)? {
        let follow = follow(context, args, &name);
        if args.timeout.millis == 0 {
            follow.await?;
            continue;
        }
        let limit: Duration = args.timeout.duration();
        match tokio::time::timeout(limit, follow).await {
            Ok(ended) => ended?,
            Err(_) => {
                let timeout = args.timeout;
                let text = format!(
                    "timed out after {timeout}: the rollout of agent/{name} is still on its way"
                );
                return Err(Failure::Timeout(text));
            }
        }
    }
    Ok(())
}

async fn follow(context: &Context, args: &StatusArgs, name: &str) -> Result<(), Failure> {
    let mut watching = Watching::new(&context.client);
    let mut last = String::new();
    loop {
        if args.watch {
            watching.changed().await?;
        }
        let body: RolloutBody = context.client.get(&path(name, "/rollout")).await?;
        let number = body.rollout.number;
        if let Some(wanted) = args.revision
            && body.observed
            && number != wanted
        {
            return Err(Failure::error(format!(
                "agent/{name}: revision {number} is rolled out, not {wanted}"
            )));
        }
        match judge(&body) {
            Standing::Done => {
                let line = format!("agent/{name} successfully rolled out");
                return context.console.line(&line);
            }
            Standing::Failed(why) => {
                return Err(Failure::error(format!("agent/{name}: {why}")));
            }
            Standing::Waiting(what) => {
                let line = format!("Waiting for the rollout of agent/{name} to finish: {what}");
                if line != last {
                    context.console.line(&line)?;
                    last = line;
                }
                if !args.watch {
                    return Ok(());
                }
            }
        }
    }
}

async fn history(context: &Context, args: &HistoryArgs) -> Result<(), Failure> {
    for name in names::all(&args.names.names)? {
        let reveal = args.reveal_env.then(|| "env".to_owned());
        let path = with_query(&path(&name, "/rollout/history"), &[("reveal", reveal)]);
        let body: HistoryBody = context.client.get(&path).await?;
        let Some(number) = args.revision else {
            shown(context, &name, &body, args.output)?;
            continue;
        };
        let mut found = body.items.iter().filter(|entry| entry.number == number);
        let Some(entry) = found.next() else {
            return Err(Failure::NotFound(format!(
                "agent/{name} has no revision {number} on record; 'agentainer rollout history {name}' lists those it has"
            )));
        };
        match args.output {
            Format::Json => output::value(context, entry, Format::Json)?,
            _ => output::value(context, entry, Format::Yaml)?,
        }
    }
    Ok(())
}

fn shown(context: &Context, name: &str, body: &HistoryBody, format: Format) -> Result<(), Failure> {
    match format {
        Format::Json | Format::Yaml => return output::value(context, body, format),
        Format::Name => {
            let mut numbers = body.items.iter().map(|entry| entry.number.to_string());
            return numbers.try_for_each(|number| context.console.line(&number));
        }
        Format::Table | Format::Wide => {}
    }
    if body.items.is_empty() {
        context
            .console
            .note(&format!("agent/{name} has no revision yet."));
        return Ok(());
    }
    let now = crate::clock::now();
    let row = |entry: &HistoryEntry| {
        let notes = [
            entry.current.then_some("asked for"),
            entry.last_good.then_some("last good"),
            entry.spec.is_none().then_some("not to be undone to"),
        ];
        let notes: Vec<&str> = notes.into_iter().flatten().collect();
        vec![
            entry.number.to_string(),
            short(entry.revision.as_str()),
            short(&entry.image),
            short(&entry.image_id),
            age(entry.at, now),
            notes.join(", "),
        ]
    };
    let rows: Vec<Vec<String>> = body.items.iter().map(row).collect();
    let headings = ["REVISION", "ID", "IMAGE", "IMAGE ID", "AGE", "NOTE"];
    context.console.line(&format!("agent/{name}"))?;
    context.console.write(table(&headings, &rows).as_bytes())
}

async fn undo(context: &Context, args: &UndoArgs) -> Result<(), Failure> {
    let mut goals = BTreeMap::new();
    for name in names::all(&args.names.names)? {
        let before = fetch(&context.client, &name).await?;
        let to = args.to_revision.map(|number| number.to_string());
        let path = with_query(&path(&name, "/rollout/undo"), &[("toRevision", to)]);
        let agent: Agent = context.client.call(Method::POST, &path).await?;
        if agent.metadata.resource_version == before.metadata.resource_version {
            let word = "skipped: its spec asks for that revision already";
            output::changed(context, &agent, args.output, word)?;
            continue;
        }
        output::changed(context, &agent, args.output, "rolled back")?;
        // A restart that is undone changes no spec, and a health check no revision.
        let respecified = agent.metadata.generation != before.metadata.generation;
        let goal = Goal::Settled {
            generation: agent.metadata.generation,
            other_than: before.status.revision.filter(|_| !respecified),
        };
        goals.insert(name, goal);
    }
    if args.wait.wait && !goals.is_empty() {
        reach(context, goals, args.wait.patience.timeout).await?;
    }
    Ok(())
}
