//! `agentainer stop --all`: ends the server, its containers, its network and its Redis children; keeps the data.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::{Instant, sleep};

use super::data_folder;
use super::guard;
use super::redises;
use crate::plan::STOP_GRACE;
use crate::runtime::docker::DockerRuntime;
use crate::runtime::{ContainerRuntime as _, RuntimeClass, RuntimeError, RuntimeSettings};

/// How long the server may take to finish what is in flight.
const PATIENCE: Duration = Duration::from_secs(75);
/// How long the engine may take to let go of what was removed.
const LETTING_GO: Duration = Duration::from_secs(5);
/// Containers that are ended at once.
const AT_ONCE: usize = 8;

/// A line for who reads it; nobody may.
fn say(line: std::fmt::Arguments<'_>) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Ends everything that the server of this data folder runs. Volumes, specs and images stay.
///
/// # Errors
/// When the server does not end, or Docker does not answer; what was ended until then stays ended, and the same call
/// goes on from there.
pub async fn stop_all(data_dir: PathBuf, docker_host: Option<String>) -> Result<()> {
    end_server(&data_dir).await?;
    if let Some((cluster, network)) = data_folder::kept(&data_dir)? {
        let named = cluster.clone();
        let settings = RuntimeSettings {
            cluster,
            network,
            allowed_host_paths: Vec::new(),
            denied_host_paths: Vec::new(),
        };
        let runtime = DockerRuntime::connect(docker_host.as_deref(), settings)?;
        let containers = runtime
            .list()
            .await
            .context("the containers cannot be listed")?;
        let count = containers.len();
        stream::iter(containers)
            .map(|container| {
                let runtime = &runtime;
                async move {
                    // A container that cannot be stopped can still be removed by force.
                    let _ = runtime.stop(&container.id, STOP_GRACE).await;
                    runtime.remove(&container.id).await
                }
            })
            .buffer_unordered(AT_ONCE)
            .try_collect::<Vec<()>>()
            .await
            .context("a container cannot be removed")?;
        say(format_args!(
            "removed {count} container{}",
            if count == 1 { "" } else { "s" }
        ));
        end_network(&runtime).await?;
        guard::remove(&named).await;
    }
    redises::end_children(&data_dir).await?;
    say(format_args!("data is kept in {}", data_dir.display()));
    Ok(())
}

/// Removes our network. The engine lets go of a removed container's place on it only after a moment.
async fn end_network(runtime: &DockerRuntime) -> Result<()> {
    let until = Instant::now() + LETTING_GO;
    while let Some(network) = runtime.network().await?.filter(|network| network.ours) {
        let busy = match network.members.is_empty() {
            true => runtime.remove_network(&network.id).await,
            false => Err(RuntimeError::Conflict {
                call: "remove_network",
                message: "something that is not ours is on it".to_owned(),
            }),
        };
        match busy {
            Ok(()) => {
                say(format_args!("removed the network {}", network.name));
                return Ok(());
            }
            Err(error) if error.class() == RuntimeClass::Conflict => {
                if Instant::now() > until {
                    say(format_args!("kept the network {}: {error}", network.name));
                    return Ok(());
                }
                sleep(Duration::from_millis(100)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

async fn end_server(data_dir: &std::path::Path) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    let mut told = None;
    while let Some(process) = data_folder::holder(data_dir) {
        // One that was handing over is succeeded by another one, which is to end too.
        if told != Some(process) {
            end_process(process)?;
            told = Some(process);
        }
        if Instant::now() > until {
            bail!(
                "the server (process {process}) does not end; its log is {}/server.log",
                data_dir.display()
            );
        }
        sleep(Duration::from_millis(50)).await;
    }
    if told.is_some() {
        say(format_args!("the server has ended"));
    }
    Ok(())
}

fn end_process(process: u32) -> Result<()> {
    let id = i32::try_from(process)
        .ok()
        .and_then(rustix::process::Pid::from_raw)
        .context("the server's process id is odd")?;
    match rustix::process::kill_process(id, rustix::process::Signal::TERM) {
        // It has ended, and its successor has yet to say who it is.
        Err(rustix::io::Errno::SRCH) => Ok(()),
        other => other.with_context(|| {
            format!("the server (process {process}) cannot be told to end: run this as its user")
        }),
    }
}
