//! `serve --detach`: starts the same server in the background and returns when it answers.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::data_folder::{self, DataFolder};
use crate::config::ServeConfig;

/// Set for the process in the background, so that it leaves its parent's session first.
const MARK: &str = "AGENTAINER_DETACHED";
/// How long the server may take until it answers.
const PATIENCE: Duration = Duration::from_secs(120);

/// Leaves the starting terminal's session, when this process was started by [`start`].
pub(crate) fn leave_session() {
    if marked() {
        // Fails only for a group's leader, which has a session of its own already.
        let _ = rustix::process::setsid();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a mark between the two halves of one start, no configuration"
)]
fn marked() -> bool {
    std::env::var_os(MARK).is_some()
}

/// `serve --detach`: starts the server in the background, and says where it is once it answers.
///
/// # Errors
/// A server runs on the folder already and is not to be taken over; it does not start.
pub(crate) async fn serve(path: &Path, config: &ServeConfig) -> Result<()> {
    let running = data_folder::holder(path);
    let path = match running {
        Some(_) if config.takeover => path.to_owned(),
        Some(process) => bail!(
            "a server (process {process}) runs on the data folder {} already; `agentainer serve --detach --takeover` takes over \
             from it and fails no request",
            path.display()
        ),
        // Made with the right mode and given back at once: the server takes it.
        None => DataFolder::open(path.to_owned())?.path().to_owned(),
    };
    let process = start(&path, config.port, running.is_some()).await?;
    println!(
        "agentainer serves on http://localhost:{} (process {process}, log {}/server.log)",
        config.port,
        path.display()
    );
    Ok(())
}

/// Starts this very command line without `--detach`, its output in `<data>/server.log`, and waits until it answers on
/// `port`, or, where it succeeds another server, until that one has handed over.
///
/// # Errors
/// When it ends before it answers (with its last log lines), or does not answer in time.
async fn start(data: &Path, port: u16, succeeds: bool) -> Result<u32> {
    let log_path = data.join("server.log");
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&log_path)
        .with_context(|| format!("the log {} cannot be opened", log_path.display()))?;
    let begins_at = log.metadata()?.len();
    let arguments: Vec<OsString> = std::env::args_os()
        .skip(1)
        .filter(|argument| argument != "--detach")
        .collect();
    let mut child =
        Command::new(std::env::current_exe().context("the program's own path is not known")?)
            .args(arguments)
            .env(MARK, "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("the server could not be started")?;
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait()? {
            bail!(
                "the server ended at once ({status}):\n{}",
                tail(&log_path, begins_at)
            );
        }
        // While another one hands over, that one answers.
        let serves = match succeeds {
            true => data_folder::holder(data) == Some(child.id()),
            false => TcpStream::connect(("127.0.0.1", port)).await.is_ok(),
        };
        if serves {
            return Ok(child.id());
        }
        if Instant::now() > until {
            bail!(
                "the server did not answer within {} s; its log is {}",
                PATIENCE.as_secs(),
                log_path.display()
            );
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// What was written to the log since `from`, at most its last 20 lines.
fn tail(path: &Path, from: u64) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    let fresh = usize::try_from(from)
        .ok()
        .and_then(|from| bytes.get(from..))
        .unwrap_or_default();
    let text = String::from_utf8_lossy(fresh);
    let lines: Vec<&str> = text.lines().collect();
    lines
        .get(lines.len().saturating_sub(20)..)
        .unwrap_or_default()
        .join("\n")
}
