//! `logs`: what an agent's containers wrote.

use clap::Args;
use http_body_util::BodyExt;

use super::client::with_query;
use super::names::{bare, path};
use super::{Context, Failure};

/// Print what an agent wrote to its standard output and error.
///
/// Of an agent with several instances each line begins with its instance's name.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  agentainer logs users
  agentainer logs -f users --tail 20
  agentainer logs users --since 10m --timestamps
  agentainer logs users --instance 1")]
pub struct LogsArgs {
    /// The agent, as NAME or agent/NAME.
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Go on as it grows; Ctrl-C ends it.
    #[arg(short, long)]
    pub follow: bool,
    /// Only the last so many lines, or `all`.
    #[arg(long, value_name = "LINES", value_parser = tail)]
    pub tail: Option<String>,
    /// Only since then: 10m, 1h30m, or a time such as 2026-01-31T12:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Begin each line with its time.
    #[arg(short, long)]
    pub timestamps: bool,
    /// Only of this instance: its container's name, or its place from 0.
    #[arg(long, value_name = "INSTANCE")]
    pub instance: Option<String>,
}

fn tail(text: &str) -> Result<String, String> {
    if text == "all" || text.parse::<u64>().is_ok() {
        Ok(text.to_owned())
    } else {
        Err("expected a number of lines, or all".to_owned())
    }
}

pub(super) async fn run(context: &Context, args: &LogsArgs) -> Result<(), Failure> {
    let flag = |on: bool| on.then(|| "true".to_owned());
    let path = with_query(
        &path(&bare(&args.name)?, "/logs"),
        &[
            ("follow", flag(args.follow)),
            ("tail", args.tail.clone().filter(|tail| tail != "all")),
            ("since", args.since.clone()),
            ("timestamps", flag(args.timestamps)),
            ("instance", args.instance.clone()),
        ],
    );
    let mut body = context.client.stream(&path).await?;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::Unreachable {
            server: context.client.address().to_string(),
            cause: format!("the log broke off: {error}"),
        })?;
        if let Some(data) = frame.data_ref() {
            context.console.write(data)?;
        }
    }
    Ok(())
}
