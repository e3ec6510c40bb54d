//! `events`: what happened, the newest last; `--watch` goes on with what happens.

use std::collections::BTreeMap;

use clap::Args;

use super::names::{bare, path};
use super::output::{self, Format};
use super::patience::{self, Patience};
use super::text::{age, line, table, widths};
use super::{Context, Failure};
use crate::agent::EventRecord;
use crate::wire::EventListBody;

const HEADINGS: [&str; 6] = ["AGE", "COUNT", "TYPE", "AGENT", "REASON", "MESSAGE"];

/// Show what happened, to one agent or to all and the host, the newest last.
///
/// TYPE is Warning where somebody should look: NotReady, CrashLoopBackOff, RolloutFailed, RolledBack, and what failed.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  agentainer events
  agentainer events users --limit 20
  agentainer events -w")]
pub struct EventsArgs {
    /// Only of this agent.
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// Go on with what happens, until Ctrl-C.
    #[arg(short, long)]
    pub watch: bool,
    /// At most so many, the newest.
    #[arg(long, default_value_t = 100, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub limit: u64,
    /// How it is written; with --watch, JSON and YAML are a line or a document an event.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Format,
}

pub(super) async fn run(context: &Context, args: &EventsArgs) -> Result<(), Failure> {
    let query = format!("/events?limit={}", args.limit);
    let path = match &args.name {
        Some(name) => path(&bare(name)?, &query),
        None => query,
    };
    if args.watch {
        return watch(context, args.output, &path).await;
    }
    let events: EventListBody = context.client.get(&path).await?;
    if matches!(args.output, Format::Json | Format::Yaml) {
        return output::value(context, &events, args.output);
    }
    if events.items.is_empty() {
        context.console.note("Nothing happened yet.");
        return Ok(());
    }
    let rows: Vec<Vec<String>> = events.items.iter().rev().map(row).collect();
    context.console.write(table(&HEADINGS, &rows).as_bytes())
}

fn row(event: &EventRecord) -> Vec<String> {
    vec![
        age(event.last_seen, crate::clock::now()),
        event.count.to_string(),
        event.kind.to_string(),
        about(event),
        event.reason.clone(),
        event.message.clone(),
    ]
}

/// What an event is about, in a word.
fn about(event: &EventRecord) -> String {
    let agent = event.agent.as_ref();
    agent.map_or_else(|| "host".to_owned(), |agent| format!("agent/{agent}"))
}

/// Follows a watch over restarts of the server, and tells no event twice.
async fn watch(context: &Context, format: Format, path: &str) -> Result<(), Failure> {
    let path = format!("{path}&watch=true");
    let mut shown = Shown::default();
    let mut patience = Patience::default();
    loop {
        let ended = match context.client.lines(&path).await {
            Ok(mut lines) => {
                patience.begun();
                patience.heard();
                loop {
                    match patience::next::<EventRecord>(&mut lines).await {
                        Ok(Some(event)) => shown.show(context, format, event)?,
                        Ok(None) => break None,
                        Err(failure) => break Some(failure),
                    }
                }
            }
            Err(failure) => Some(failure),
        };
        match ended {
            Some(failure) => patience.bear(failure).await?,
            None => patience::pause().await,
        }
    }
}

/// What a watch has written.
#[derive(Default)]
struct Shown {
    counts: BTreeMap<(String, String, jiff::Timestamp), u32>,
    widths: Vec<usize>,
}

impl Shown {
    fn show(
        &mut self,
        context: &Context,
        format: Format,
        event: EventRecord,
    ) -> Result<(), Failure> {
        let key = (about(&event), event.reason.clone(), event.first_seen);
        let before = self.counts.insert(key, event.count);
        if before.is_some_and(|before| before >= event.count) {
            return Ok(());
        }
        match format {
            Format::Json => return context.console.line(&serde_json::to_string(&event)?),
            Format::Yaml => {
                let text = format!("---\n{}", output::yaml(&event)?);
                return context.console.write(text.as_bytes());
            }
            Format::Table | Format::Wide | Format::Name => {}
        }
        let first = self.widths.is_empty();
        let head: Vec<String> = HEADINGS.map(str::to_owned).into();
        let row = row(&event);
        let wide = widths([&head, &row].into_iter());
        // A line that was written stays: columns only grow.
        self.widths.resize(wide.len(), 0);
        for (known, width) in self.widths.iter_mut().zip(wide) {
            *known = (*known).max(width);
        }
        if first {
            context.console.line(&line(&head, &self.widths))?;
        }
        context.console.line(&line(&row, &self.widths))
    }
}
