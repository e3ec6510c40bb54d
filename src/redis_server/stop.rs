//! The end of a redis-server of ours, whoever started it.

use std::time::Duration;

use rustix::process::Signal;

use super::process::Process;
use super::{RedisServerError, Result, Setup, folder};

/// An orderly end, which writes what is left to disk, takes at most this.
const END: Duration = Duration::from_secs(15);

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// None was running.
    NotRunning,
    /// In order: everything is on disk.
    Orderly,
    /// By a signal, since it did not answer.
    Killed,
}

/// Ends the server of a folder, whoever started it: by `SHUTDOWN` if it answers, else by its pid.
///
/// # Errors
/// When the folder is held by another server of ours, or somebody else's Redis answers at the socket.
pub async fn stop(setup: &Setup) -> Result<Stopped> {
    if !setup.folder.exists() {
        return Ok(Stopped::NotRunning);
    }
    let _held = folder::lock(&setup.folder).await?;
    let process = match setup.who().await {
        Ok(identity) => Process::open(identity.pid),
        Err(error @ RedisServerError::Foreign { .. }) => return Err(error),
        Err(_silent) => None,
    };
    let stopped = match process {
        Some(process) => {
            if let Ok(mut link) = setup.link().await {
                // An orderly end is the end of the connection: its error is no news.
                let _ended: Result<()> = link.ask("SHUTDOWN", &redis::cmd("SHUTDOWN")).await;
            }
            if process.ends_within(END).await {
                Stopped::Orderly
            } else {
                kill(&process).await;
                Stopped::Killed
            }
        }
        None => match setup.recorded() {
            Some(process) => {
                kill(&process).await;
                Stopped::Killed
            }
            None => Stopped::NotRunning,
        },
    };
    let _gone = std::fs::remove_file(setup.run_file());
    Ok(stopped)
}

async fn kill(process: &Process) {
    process.signal(Signal::TERM);
    if !process.ends_within(Duration::from_secs(5)).await {
        process.signal(Signal::KILL);
        process.ends_within(Duration::from_secs(5)).await;
    }
}
