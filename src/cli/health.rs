//! `health` and `version`: the server itself.

use clap::Args;

use super::describe::conditions;
use super::output::{self, Format};
use super::{Context, Failure};
use crate::agent::status::ConditionStatus;
use crate::wire::ReadyBody;

/// Show whether the server can do its work: Docker, Redis, network, listeners.
///
/// Exits 1 when it is not ready.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  agentainer health
  agentainer health -o json")]
pub struct HealthArgs {
    /// How it is written.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Format,
}

pub(super) async fn run(context: &Context, args: &HealthArgs) -> Result<(), Failure> {
    let (status, body) = context.client.probe::<ReadyBody>("/ready").await?;
    match args.output {
        Format::Json | Format::Yaml => output::value(context, &body, args.output)?,
        Format::Name => context.console.line(&body.status)?,
        Format::Table | Format::Wide => {
            let server = context.client.address();
            let (state, version) = (&body.status, &body.version);
            let text = conditions(&body.conditions, crate::clock::now());
            context
                .console
                .line(&format!("{server} is {state} (version {version})"))?;
            context.console.write(text.as_bytes())?;
            let wrong = body
                .conditions
                .iter()
                .filter(|condition| condition.status == ConditionStatus::False);
            if status == 200 && wrong.count() > 0 {
                context
                    .console
                    .note("It works; what is False above is worth a look.");
            }
        }
    }
    if status == 200 {
        Ok(())
    } else {
        Err(Failure::Told(1))
    }
}

/// Show the version of this program and of the server.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  agentainer version
  agentainer version --client")]
pub struct VersionArgs {
    /// Of this program alone; no server is asked.
    #[arg(long)]
    pub client: bool,
    /// How it is written.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Format,
}

pub(super) async fn version(context: &Context, args: &VersionArgs) -> Result<(), Failure> {
    let client = env!("CARGO_PKG_VERSION");
    let server = if args.client {
        Ok(None)
    } else {
        let health = context.client.probe::<ReadyBody>("/health").await;
        health.map(|(_, body)| Some(body.version))
    };
    let (server, failure) = match server {
        Ok(version) => (version, None),
        Err(failure) => (None, Some(failure)),
    };
    if matches!(args.output, Format::Json | Format::Yaml) {
        let value = serde_json::json!({"client": client, "server": server});
        output::value(context, &value, args.output)?;
    } else {
        context.console.line(&format!("client {client}"))?;
        if let Some(server) = &server {
            context.console.line(&format!("server {server}"))?;
        }
    }
    failure.map_or(Ok(()), Err)
}
