//! The `agentainer` binary: see `lib.rs`. It parses the command line and hands it on.

use std::process::ExitCode;

use agentainer::cli::{self, Cli, ClientCommand, Command, Failure};
use agentainer::{app, telemetry};
use clap::Parser;
use tokio::runtime::{Builder, Runtime};

/// A request needs memory in some twenty pieces, one of them for each read of a connection: what the C library has for that
/// takes longer, and the more the busier it was.
#[global_allocator]
static MEMORY: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // A reader that went is no error.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let server = matches!(cli.command, Command::Serve(_));
    let runtime = match runtime(server) {
        Ok(runtime) => runtime,
        Err(error) => return cli::tell_failure(&Failure::Error(error.into())),
    };
    let code = match cli.command {
        Command::Serve(config) => {
            telemetry::start(config.log_format, cli::log_filter().as_deref());
            ended(runtime.block_on(app::serve(*config)))
        }
        Command::Client(command) => match *command {
            ClientCommand::Stop(args) if args.all => {
                let data_dir = args.data_dir.unwrap_or_else(cli::data_dir);
                ended(runtime.block_on(app::stop_all(data_dir, args.docker_host)))
            }
            command => runtime.block_on(cli::run(cli.global, command)),
        },
    };
    // What is still read or packed has nobody to go to.
    runtime.shutdown_background();
    code
}

/// One worker is enough to ask a server.
fn runtime(server: bool) -> std::io::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    if !server {
        builder.worker_threads(1);
    }
    builder.enable_all().build()
}

fn ended(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => cli::tell_failure(&Failure::Error(error)),
    }
}
