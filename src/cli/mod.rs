//! The command line: kubectl's verbs and habits, and the seed's (design, section 8).
//!
//! Layer 4: a client of the API. It reads manifests, sends requests and shows answers; it decides nothing about containers and opens
//! neither Docker nor Redis. `main` parses [`Cli`], hands `serve` and `stop --all` to `app` and everything else to [`run`].
//!
//! | file | holds |
//! | --- | --- |
//! | `args` | the commands, and what all of them take |
//! | `client`, `lines`, `address`, `token` | how a server is asked |
//! | `console`, `output`, `text`, `progress` | how answers are shown |
//! | `failure` | how a command ends, and its exit code |
//! | `manifests`, `builds`, `build_context`, `dockerignore` | what is read from this machine |
//! | `watching`, `goal`, `waiting` | `--wait` |
//! | `following` | `get --watch` over restarts of the server |
//! | `patience` | how long a watch waits for its server |
//! | one file a verb or family of verbs | the rest |

mod address;
mod apply;
mod args;
mod build_context;
mod builds;
mod client;
mod completion;
mod console;
mod delete;
mod deploy;
mod describe;
mod diff;
mod dockerignore;
mod environment;
mod events;
mod failure;
mod following;
mod get;
mod goal;
mod graph;
mod health;
mod invoke;
mod lifecycle;
mod lines;
mod logs;
mod manifests;
mod names;
mod output;
mod patience;
mod progress;
mod recover;
mod requests;
mod rollout;
mod schema;
mod text;
mod tls;
mod token;
mod validate;
mod waiting;
mod watching;

use std::process::ExitCode;

pub use self::address::Address;
pub use self::args::{Cli, ClientCommand, Command, Global};
use self::client::Client;
use self::console::{Console, Style};
pub use self::failure::{Failure, Refused};
use self::lifecycle::Act;
pub use self::lifecycle::StopArgs;
use self::token::Token;

/// What a command works with.
struct Context {
    client: Client,
    console: Console,
    global: Global,
}

impl Context {
    /// Tells a failure on standard error.
    fn failed(&self, failure: &Failure) {
        tell(&self.console, failure);
    }

    /// Ends well when nothing is missing; else tells what is, and ends as the first of it says.
    fn all_told(&self, missing: Vec<Failure>) -> Result<(), Failure> {
        let code = missing.first().map(Failure::code);
        for failure in &missing {
            self.failed(failure);
        }
        code.map_or(Ok(()), |code| Err(Failure::Told(code)))
    }
}

fn tell(console: &Console, failure: &Failure) {
    if let Some(message) = failure.message() {
        let mark = console.paint_err(Style::Red, "error:");
        console.note(&format!("{mark} {message}"));
    }
}

/// Tells a failure of `serve` or `stop --all` on standard error, as commands here tell theirs.
pub fn tell_failure(failure: &Failure) -> ExitCode {
    tell(&Console::new(), failure);
    ExitCode::from(failure.code())
}

/// The data folder of the invoking user's own server: `AGENTAINER_DATA_DIR`, else the default.
pub fn data_dir() -> std::path::PathBuf {
    environment::data_dir()
}

/// The log's filter: `AGENTAINER_LOG`.
pub fn log_filter() -> Option<String> {
    environment::variable("AGENTAINER_LOG")
}

/// Runs a command to its end; what goes wrong is told on standard error. Ctrl-C ends it.
///
/// The command is a task of its own on a runtime of several threads: one that reads standard input blocks, and Ctrl-C must
/// end that too.
pub async fn run(global: Global, command: ClientCommand) -> ExitCode {
    let task = tokio::spawn(dispatch(global, command));
    let result = tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => Err(Failure::Interrupted),
        ended = task => ended.unwrap_or_else(|error| Err(Failure::Error(error.into()))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => tell_failure(&failure),
    }
}

async fn dispatch(global: Global, command: ClientCommand) -> Result<(), Failure> {
    let offline = matches!(
        command,
        ClientCommand::Validate(_)
            | ClientCommand::Schema(_)
            | ClientCommand::Token(_)
            | ClientCommand::Completion { .. }
            // Anybody may ask an agent, and none is shown our tokens.
            | ClientCommand::Invoke(_)
    );
    let token = if offline {
        None
    } else {
        Token::find(&global, &global.server)?
    };
    let context = Context {
        client: Client::new(&global, token)?,
        console: Console::new(),
        global,
    };
    let context = &context;
    let act = async |act: Act, args: &lifecycle::ActArgs| {
        lifecycle::run(context, act, &args.names.names, args.wait, args.output).await
    };
    match &command {
        ClientCommand::Apply(args) => apply::run(context, args).await,
        ClientCommand::Diff(args) => diff::run(context, args).await,
        ClientCommand::Deploy(args) => deploy::run(context, args).await,
        ClientCommand::Get(args) => get::run(context, args).await,
        ClientCommand::List(args) => get::list(context, args).await,
        ClientCommand::Describe(args) => describe::run(context, args).await,
        ClientCommand::Logs(args) => logs::run(context, args).await,
        ClientCommand::Events(args) => events::run(context, args).await,
        ClientCommand::Graph(args) => graph::run(context, args).await,
        ClientCommand::Wait(args) => waiting::run(context, args).await,
        ClientCommand::Start(args) => act(Act::Start, args).await,
        ClientCommand::Stop(args) => {
            lifecycle::run(context, Act::Stop, &args.names, args.wait, args.output).await
        }
        ClientCommand::Restart(args) => act(Act::Restart, args).await,
        ClientCommand::Pause(args) => act(Act::Pause, args).await,
        ClientCommand::Resume(args) => act(Act::Resume, args).await,
        ClientCommand::Scale(args) => {
            let scale = Act::Scale(args.replicas);
            lifecycle::run(context, scale, &args.names.names, args.wait, args.output).await
        }
        ClientCommand::Delete(args) | ClientCommand::Remove(args) => {
            delete::run(context, args).await
        }
        ClientCommand::Rollout(args) => rollout::run(context, args).await,
        ClientCommand::Invoke(args) => invoke::run(context, args).await,
        ClientCommand::Requests(args) => requests::run(context, args).await,
        ClientCommand::Validate(args) => validate::run(context, args),
        ClientCommand::Schema(args) => schema::run(context, args),
        ClientCommand::Recover(args) => recover::run(context, args).await,
        ClientCommand::Health(args) => health::run(context, args).await,
        ClientCommand::Token(args) => token::run(context, args),
        ClientCommand::Version(args) => health::version(context, args).await,
        ClientCommand::Completion { shell } => completion::run(context, *shell),
    }
}
