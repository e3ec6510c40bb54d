//! `requests`: what is kept for an agent that could not answer, what became of it, and what to do about it.

use clap::{Args, Subcommand};
use http::Method;

use super::client::{encoded, with_query};
use super::names::{bare, path};
use super::output::{self, Format};
use super::text::{age, count, list_or, table};
use super::{Context, Failure};
use crate::wire::{CallbackKey, RequestCount, RequestItem, RequestListBody};

const HEADINGS: [&str; 7] = ["ID", "STATUS", "METHOD", "TARGET", "ANSWER", "TRIES", "AGE"];

/// Show and handle requests that were kept because their agent could not answer.
///
/// A request is pending, claimed (on its way) or retrying; in the end it is completed, failed (the agent answered with an error of its
/// own), unknown (it was sent and no answer came), dead (it was tried as often as it may be), cancelled or expired.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  agentainer requests list users
  agentainer requests dead users
  agentainer requests show users ID
  agentainer requests replay users ID
  agentainer requests replay users --all --state dead,unknown
  agentainer requests cancel users ID
  agentainer requests clear users
  agentainer requests callback-key users")]
pub struct RequestsArgs {
    /// What to do.
    #[command(subcommand)]
    command: RequestsCommand,
}

#[derive(Subcommand, Debug)]
enum RequestsCommand {
    /// List an agent's kept requests, the latest first.
    #[command(visible_alias = "ls")]
    List(ListArgs),
    /// List those that failed, are dead letters or unknown.
    Dead(DeadArgs),
    /// Show one with its header fields and its answer.
    Show(OneArgs),
    Replay(ReplayArgs),
    /// Give one up that is not settled; its agent may have handled it if it was on its way.
    Cancel(OneArgs),
    Clear(ClearArgs),
    CallbackKey(CallbackKeyArgs),
}

/// Print the key that an agent's callbacks are signed with. A secret.
///
/// `X-Agentainer-Signature: t=SECONDS,v1=HEX` is HMAC-SHA256 over "SECONDS.ID.BODY" with this key's text, ID being that of
/// `X-Agentainer-Request-Id`.
#[derive(Args, Debug)]
struct CallbackKeyArgs {
    /// The agent, as NAME or agent/NAME.
    #[arg(value_name = "NAME")]
    name: String,
}

/// Which are listed.
#[derive(Args, Debug)]
struct ListArgs {
    /// The agent, as NAME or agent/NAME.
    #[arg(value_name = "NAME")]
    name: String,
    /// Only in these states, joined with commas.
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    #[command(flatten)]
    page: Page,
}

#[derive(Args, Debug)]
struct DeadArgs {
    /// The agent, as NAME or agent/NAME.
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    page: Page,
}

#[derive(Args, Debug)]
struct Page {
    /// At most so many, the latest.
    #[arg(long, default_value_t = 100, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..=1000))]
    limit: u64,
    /// Only those before the one of this number: the next page.
    #[arg(long, value_name = "NUMBER")]
    before: Option<u64>,
    /// How it is written.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

/// One request of an agent.
#[derive(Args, Debug)]
struct OneArgs {
    /// The agent, as NAME or agent/NAME.
    #[arg(value_name = "NAME")]
    name: String,
    /// The request's id, from `list`.
    #[arg(value_name = "ID")]
    id: String,
    /// How it is written.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

/// Deliver a request again that failed, is unknown or a dead letter; or all of them.
#[derive(Args, Debug)]
struct ReplayArgs {
    /// The agent, as NAME or agent/NAME.
    #[arg(value_name = "NAME")]
    name: String,
    /// The request's id, from `list`.
    #[arg(
        value_name = "ID",
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    id: Option<String>,
    /// All in these states.
    #[arg(long)]
    all: bool,
    /// With --all: which states, joined with commas [default: failed,dead].
    #[arg(long, value_name = "STATE", requires = "all")]
    state: Option<String>,
}

/// Forget settled requests, and cancel those that are not.
#[derive(Args, Debug)]
struct ClearArgs {
    /// The agent, as NAME or agent/NAME.
    #[arg(value_name = "NAME")]
    name: String,
    /// In these states, joined with commas [default: completed,cancelled,expired].
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
}

pub(super) async fn run(context: &Context, args: &RequestsArgs) -> Result<(), Failure> {
    match &args.command {
        RequestsCommand::List(args) => {
            list(context, &args.name, args.state.as_deref(), &args.page).await
        }
        RequestsCommand::Dead(args) => {
            list(context, &args.name, Some("failed,unknown,dead"), &args.page).await
        }
        RequestsCommand::Show(args) => {
            let item = context.client.get(&one(&args.name, &args.id, "")?).await?;
            shown(context, &item, args.output)
        }
        RequestsCommand::Replay(args) => replay(context, args).await,
        RequestsCommand::Cancel(args) => {
            let at = one(&args.name, &args.id, "/cancel")?;
            let item: RequestItem = context.client.call(Method::POST, &at).await?;
            match args.output {
                Format::Json | Format::Yaml => output::value(context, &item, args.output),
                _ => told(context, &args.id, "cancelled"),
            }
        }
        RequestsCommand::CallbackKey(args) => {
            let at = path(&bare(&args.name)?, "/callback-key");
            let key: CallbackKey = context.client.get(&at).await?;
            context.console.line(&key.key)
        }
        RequestsCommand::Clear(args) => {
            let name = bare(&args.name)?;
            let at = with_query(&path(&name, "/requests"), &[("state", args.state.clone())]);
            let done: RequestCount = context.client.call(Method::DELETE, &at).await?;
            let text = format!("{} cleared", numbered(done));
            context.console.line(&text)
        }
    }
}

async fn list(
    context: &Context,
    name: &str,
    state: Option<&str>,
    page: &Page,
) -> Result<(), Failure> {
    let at = with_query(
        &path(&bare(name)?, "/requests"),
        &[
            ("state", state.map(str::to_owned)),
            ("limit", Some(page.limit.to_string())),
            ("before", page.before.map(|before| before.to_string())),
        ],
    );
    let found: RequestListBody = context.client.get(&at).await?;
    match page.output {
        Format::Json | Format::Yaml => return output::value(context, &found, page.output),
        Format::Name => {
            let ids = found.items.iter().map(|item| &item.record.id);
            return ids.into_iter().try_for_each(|id| context.console.line(id));
        }
        Format::Table | Format::Wide => {}
    }
    if found.items.is_empty() {
        context.console.note("There are no such requests.");
        return Ok(());
    }
    let rows: Vec<Vec<String>> = found.items.iter().map(row).collect();
    context.console.write(table(&HEADINGS, &rows).as_bytes())?;
    if let Some(next) = found.next {
        let note = format!("There may be more: --before {next} shows the next page.");
        context.console.note(&note);
    }
    Ok(())
}

fn row(item: &RequestItem) -> Vec<String> {
    let record = &item.record;
    let answer = record
        .answer
        .as_ref()
        .map(|answer| answer.status.to_string());
    vec![
        record.id.clone(),
        record.status.clone(),
        item.method.clone(),
        item.target.chars().take(60).collect(),
        list_or(answer, "-"),
        record.attempts.to_string(),
        age(record.admitted, crate::clock::now()),
    ]
}

fn shown(context: &Context, item: &RequestItem, format: Format) -> Result<(), Failure> {
    if matches!(format, Format::Json | Format::Yaml) {
        return output::value(context, item, format);
    }
    let record = &item.record;
    let mut text = format!(
        "Id:        {}\nAgent:     {}\nStatus:    {}\n",
        record.id, record.agent, record.status
    );
    if !record.reason.is_empty() {
        text.push_str(&format!("Reason:    {}\n", record.reason));
    }
    text.push_str(&format!(
        "Tries:     {}\nAdmitted:  {}\n",
        record.attempts, record.admitted
    ));
    if let Some(settled) = record.settled {
        text.push_str(&format!("Settled:   {settled}\n"));
    }
    if let Some(callback) = &record.callback {
        let calls = count(usize::try_from(callback.calls).unwrap_or(0), "call");
        text.push_str(&format!(
            "Callback:  {} {} ({calls})",
            callback.host, callback.status
        ));
        if !callback.reason.is_empty() {
            text.push_str(&format!(": {}", callback.reason));
        }
        text.push('\n');
    }
    text.push_str(&format!(
        "Expires:   {}\nRequest:   {} {} ({})\n",
        record.expires,
        item.method,
        item.target,
        bytes(item.body_length)
    ));
    for field in &item.headers {
        text.push_str(&format!("  {}: {}\n", field.name, field.value));
    }
    if let Some(answer) = &record.answer {
        let all = if answer.whole {
            ""
        } else {
            " (not all of it is kept)"
        };
        text.push_str(&format!("Answer:    {}{all}\n", answer.status));
        for field in &answer.headers {
            text.push_str(&format!("  {}: {}\n", field.name, field.value));
        }
        if let Some(body) = &answer.body {
            text.push_str(&format!("\n{}\n", body.trim_end()));
        }
    }
    context.console.write(text.as_bytes())
}

async fn replay(context: &Context, args: &ReplayArgs) -> Result<(), Failure> {
    if let Some(id) = &args.id {
        let at = one(&args.name, id, "/replay")?;
        let _item: RequestItem = context.client.call(Method::POST, &at).await?;
        return told(context, id, "to be delivered again");
    }
    let at = with_query(
        &path(&bare(&args.name)?, "/requests/requeue"),
        &[("state", args.state.clone())],
    );
    let done: RequestCount = context.client.call(Method::POST, &at).await?;
    let text = format!("{} to be delivered again", numbered(done));
    context.console.line(&text)
}

fn told(context: &Context, id: &str, what: &str) -> Result<(), Failure> {
    context.console.line(&format!("request/{id} {what}"))
}

fn numbered(done: RequestCount) -> String {
    count(usize::try_from(done.count).unwrap_or(usize::MAX), "request")
}

fn bytes(length: u64) -> String {
    match length {
        1 => "1 byte".to_owned(),
        length => format!("{length} bytes"),
    }
}

fn one(name: &str, id: &str, below: &str) -> Result<String, Failure> {
    Ok(path(
        &bare(name)?,
        &format!("/requests/{}{below}", encoded(id)),
    ))
}
