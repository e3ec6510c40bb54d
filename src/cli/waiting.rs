//! Waiting for agents, with live progress; and `agentainer wait`.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use http_body_util::BodyExt;
use tokio::time::Instant;

use super::console::Style;
use super::goal::{Goal, Verdict};
use super::names::{self, Names, path};
use super::progress::Progress;
use super::text::{count, indented};
use super::watching::Watching;
use super::{Context, Failure};
use crate::agent::quantity::Span;

/// How many of its last lines a failed agent's log shows.
const LAST_LINES: u32 = 10;
/// Failed agents that are told of.
const MOST_TOLD: usize = 5;
/// How long a failure that may pass has to pass.
const GRACE: Duration = Duration::from_secs(10);

/// How long to wait.
#[derive(Args, Clone, Copy, Debug)]
pub struct Patience {
    /// How long to wait: 30s, 5m; 0s is for ever.
    #[arg(long, default_value = "5m", value_name = "DURATION")]
    pub timeout: Span,
}

/// `--wait` with its time.
#[derive(Args, Clone, Copy, Debug)]
pub struct WaitFlag {
    /// Wait until it is so, and show progress; exit 6 when it takes longer than --timeout.
    #[arg(long)]
    pub wait: bool,
    #[command(flatten)]
    pub patience: Patience,
}

/// Wait until agents are ready, gone, or as a condition says.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  agentainer wait users --for=ready --timeout 2m
  agentainer wait users auth --for=deleted
  agentainer wait users --for=condition=Progressing=False

Exits 6 when it takes longer than --timeout, 1 when it cannot become so.")]
pub struct WaitArgs {
    #[command(flatten)]
    pub names: Names,
    /// ready, deleted, condition=TYPE[=STATUS] or phase=PHASE.
    #[arg(long = "for", default_value = "ready", value_name = "WHAT")]
    pub goal: Goal,
    #[command(flatten)]
    pub patience: Patience,
}

pub(super) async fn run(context: &Context, args: &WaitArgs) -> Result<(), Failure> {
    let names = names::all(&args.names.names)?;
    let goals = names
        .into_iter()
        .map(|name| (name, args.goal.clone()))
        .collect();
    reach(context, goals, args.patience.timeout).await
}

/// Waits until every agent has reached its goal.
///
/// # Errors
/// [`Failure::Timeout`] after `timeout`; [`Failure::Told`] when one of them cannot reach it, its reason and its last log
/// lines shown.
pub(super) async fn reach(
    context: &Context,
    goals: BTreeMap<String, Goal>,
    timeout: Span,
) -> Result<(), Failure> {
    let mut progress = Progress::new(context.console, goals.keys().map(String::as_str));
    let mut verdicts = BTreeMap::new();
    let watch = follow(context, &goals, &mut progress, &mut verdicts);
    let ended = if timeout.millis == 0 {
        Ok(watch.await)
    } else {
        tokio::time::timeout(timeout.duration(), watch).await
    };
    progress.end();
    let late = ended.is_err();
    if let Ok(Err(failure)) = ended {
        return Err(failure);
    }
    let waits = |verdict: &Verdict| matches!(verdict, Verdict::Waiting(_));
    let open: Vec<(&String, &Verdict)> = verdicts
        .iter()
        .filter(|(_, verdict)| **verdict != Verdict::Done)
        .collect();
    if open.is_empty() && !late {
        return Ok(());
    }
    // Where something failed, that is what is told, and not who else was on the way.
    let failed = open.iter().filter(|(_, verdict)| late || !waits(verdict));
    for (name, verdict) in failed.take(MOST_TOLD) {
        tell(context, name, verdict).await;
    }
    if late {
        let left = count(open.len().max(1), "agent");
        return Err(Failure::Timeout(format!(
            "timed out after {timeout}: still waiting for {left}"
        )));
    }
    let gone = |verdict: &Verdict| waits(verdict) || *verdict == Verdict::Gone;
    let all_gone = open.iter().all(|(_, verdict)| gone(verdict));
    Err(Failure::Told(if all_gone { 3 } else { 1 }))
}

/// Looks until all are done, or one of them cannot become so.
async fn follow(
    context: &Context,
    goals: &BTreeMap<String, Goal>,
    progress: &mut Progress,
    verdicts: &mut BTreeMap<String, Verdict>,
) -> Result<(), Failure> {
    let mut watching = Watching::new(&context.client);
    let mut stuck: BTreeMap<&String, Instant> = BTreeMap::new();
    loop {
        let patience = stuck
            .values()
            .min()
            .map(|since| GRACE.saturating_sub(since.elapsed()));
        match patience {
            Some(left) => match tokio::time::timeout(left, watching.changed()).await {
                Ok(changed) => changed?,
                Err(_) => return Ok(()),
            },
            None => watching.changed().await?,
        }
        for (name, goal) in goals {
            let agent = watching.agents.get(name);
            let verdict = match agent {
                // What an earlier server said of it may be long past.
                Some(_) if *goal != Goal::Deleted && watching.unconfirmed.contains(name) => {
                    Verdict::Waiting("not looked at yet".to_owned())
                }
                agent => goal.judge(agent),
            };
            let what = match (&verdict, goal) {
                (Verdict::Done, Goal::Deleted) => "deleted".to_owned(),
                (Verdict::Done, _) => {
                    agent.map_or_else(|| "done".to_owned(), super::output::standing)
                }
                (verdict, _) => verdict.to_string(),
            };
            match verdict {
                Verdict::Stuck(_) => {
                    stuck.entry(name).or_insert_with(Instant::now);
                }
                _ => {
                    stuck.remove(name);
                }
            }
            progress.tell(name, verdict == Verdict::Done, &what);
            verdicts.insert(name.clone(), verdict);
        }
        let lost = |verdict: &Verdict| matches!(verdict, Verdict::Hopeless(_) | Verdict::Gone);
        let done = |verdict: &Verdict| *verdict == Verdict::Done;
        if verdicts.values().any(lost) || verdicts.values().all(done) {
            return Ok(());
        }
    }
}

/// Why an agent did not get there, and what it last wrote.
async fn tell(context: &Context, name: &str, verdict: &Verdict) {
    let console = &context.console;
    let mark = match verdict {
        Verdict::Waiting(_) => console.paint_err(Style::Yellow, "waiting:"),
        _ => console.paint_err(Style::Red, "failed:"),
    };
    console.note(&format!("{mark} agent/{name}: {verdict}"));
    if *verdict == Verdict::Gone {
        return;
    }
    let log = tokio::time::timeout(Duration::from_secs(5), last_lines(context, name));
    if let Ok(Some(text)) = log.await
        && !text.trim().is_empty()
    {
        console.note(&format!(
            "  the last lines of its log ('agentainer logs {name}'):"
        ));
        let text = indented(text.trim_end(), "    ");
        console.note(&console.paint_err(Style::Dim, &text));
    }
}

async fn last_lines(context: &Context, name: &str) -> Option<String> {
    let path = path(name, &format!("/logs?tail={LAST_LINES}"));
    let body = context.client.stream(&path).await.ok()?;
    let body = http_body_util::Limited::new(body, 64 << 10);
    let bytes = body.collect().await.ok()?.to_bytes();
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
