//! One redis-server as a detached child: started, or found again. Knows nothing of what it is for.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::folder;
use super::link::Link;
use super::process::Process;
use super::torn;
use super::{Binary, RedisServerError, Result, Setup};

/// A new server answers within this or counts as failed.
const START: Duration = Duration::from_secs(20);
/// Reading a long history back may take this long; the process must be alive.
const LOAD: Duration = Duration::from_secs(300);

/// Which run of a server this is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The process id.
    pub pid: u32,
    /// Redis' own id of this run.
    pub run_id: String,
}

/// A running server.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) identity: Identity,
    pub(super) process: Process,
    /// It ran already.
    pub(super) adopted: bool,
}

impl Setup {
    pub(super) async fn link(&self) -> Result<Link> {
        Link::to_socket(&self.socket(), self.login.as_ref()).await
    }

    /// A server that runs already, or a new one.
    pub(super) async fn start_or_adopt(&self, binary: &Binary) -> Result<Running> {
        let socket = self.socket();
        if socket.as_os_str().len() > 107 {
            return Err(RedisServerError::SocketPath { path: socket });
        }
        folder::prepare(&self.folder, self.owner.as_ref())?;
        let _held = folder::lock(&self.folder).await?;
        let running = match self.find().await? {
            Some(running) => {
                self.renew().await;
                running
            }
            None => self.start(binary).await?,
        };
        let identity = serde_json::to_string(&running.identity).unwrap_or_default();
        folder::write(&self.run_file(), &identity, None)?;
        Ok(running)
    }

    /// The server that runs in our folder, if one does.
    async fn find(&self) -> Result<Option<Running>> {
        let until = Instant::now() + START;
        let load_until = Instant::now() + LOAD;
        loop {
            match self.who().await {
                // Its starter went while it read its data: it may be asked for nothing until it has.
                Ok(identity) if self.loads().await => {
                    if Instant::now() > load_until {
                        return Err(self.failed());
                    }
                    let limit = Duration::from_millis(20);
                    self.known(identity)?.process.ends_within(limit).await;
                }
                Ok(identity) => return self.known(identity).map(Some),
                Err(error) => match self.recorded() {
                    // A process of ours that does not answer yet, or no more: never a second one on its files.
                    Some(process) if Instant::now() > until => {
                        return Err(RedisServerError::Stuck {
                            pid: process.id(),
                            socket: self.socket(),
                        });
                    }
                    Some(process) => {
                        tracing::debug!(%error, "redis-server does not answer yet");
                        process.ends_within(Duration::from_millis(100)).await;
                    }
                    None if matches!(error, RedisServerError::Unreachable { .. }) => {
                        return Ok(None);
                    }
                    None => return Err(error),
                },
            }
        }
    }

    /// Who answers at the socket.
    pub(super) async fn who(&self) -> Result<Identity> {
        let mut link = self.link().await?;
        let info = link.info().await?;
        let get = |name: &str| info.get(name).cloned().unwrap_or_default();
        let path = self.config_file();
        let same = Path::new(&get("config_file")) == path
            || std::fs::canonicalize(&path)
                .is_ok_and(|path| Path::new(&get("config_file")) == path);
        let foreign = || RedisServerError::Foreign {
            socket: self.socket(),
        };
        let identity = Identity {
            pid: get("process_id").parse().map_err(|_| foreign())?,
            run_id: get("run_id"),
        };
        // Another server of ours may have started it under another name of the same folder: its run id is known then.
        if !same && self.last_run().as_ref() != Some(&identity) {
            return Err(foreign());
        }
        Ok(identity)
    }

    fn last_run(&self) -> Option<Identity> {
        let text = folder::read(&self.run_file()).ok().flatten()?;
        serde_json::from_str(&text).ok()
    }

    fn known(&self, identity: Identity) -> Result<Running> {
        let process = Process::open(identity.pid).ok_or_else(|| RedisServerError::Foreign {
            socket: self.socket(),
        })?;
        Ok(Running {
            identity,
            process,
            adopted: true,
        })
    }

    /// The process that our files name, if it is alive and is a redis-server of this folder.
    pub(super) fn recorded(&self) -> Option<Process> {
        let written = folder::read(&self.pid_file()).ok().flatten();
        let by_redis = written.and_then(|text| text.trim().parse().ok());
        let by_us = self.last_run().map(|identity| identity.pid);
        let candidates = by_redis.into_iter().chain(by_us);
        // Whoever started it may have named the folder in another way.
        let plain = std::fs::canonicalize(&self.folder).unwrap_or_default();
        candidates.filter_map(Process::open).find(|process| {
            process.names(&self.folder) || (plain.is_absolute() && process.names(&plain))
        })
    }

    /// An adopted server may be of an earlier release of ours: it gets today's settings.
    async fn renew(&self) {
        let renewed: Result<()> = async {
            let mut link = self.link().await?;
            if let Some(acl) = &self.acl {
                folder::write(&self.acl_file(), acl, self.owner.as_ref())?;
                let mut command = redis::cmd("ACL");
                link.ask::<()>("ACL LOAD", command.arg("LOAD")).await?;
            }
            folder::write(&self.config_file(), &self.config(), self.owner.as_ref())?;
            for (name, value) in &self.settings {
                link.set_config(name, value).await?;
            }
            Ok(())
        }
        .await;
        if let Err(error) = renewed {
            tracing::warn!(%error, "adopted redis-server keeps its old settings");
        }
    }

    async fn start(&self, binary: &Binary) -> Result<Running> {
        folder::write(&self.config_file(), &self.config(), self.owner.as_ref())?;
        if let Some(acl) = &self.acl {
            folder::write(&self.acl_file(), acl, self.owner.as_ref())?;
        }
        folder::rotate(&self.log());
        let _stale = std::fs::remove_file(self.socket());
        let _stale = std::fs::remove_file(self.pid_file());
        self.mend().await;
        self.launch(binary).await?;
        let until = Instant::now() + START;
        let load_until = Instant::now() + LOAD;
        loop {
            match self.who().await {
                Ok(identity) if self.answers().await => {
                    let running = self.known(identity)?;
                    return Ok(Running {
                        adopted: false,
                        ..running
                    });
                }
                // It reads its data.
                Ok(identity) if Process::open(identity.pid).is_some() => {
                    if Instant::now() > load_until {
                        return Err(self.failed());
                    }
                }
                _ if Instant::now() > until => return Err(self.failed()),
                _ => {
                    // The file comes after the socket, and names a process that must live.
                    let written = folder::read(&self.pid_file())?;
                    let pid = written.and_then(|text| text.trim().parse().ok());
                    let dead = |pid| !Process::open(pid).is_some_and(|it| it.names(&self.folder));
                    if pid.is_some_and(dead) {
                        return Err(self.failed());
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Takes off what a full disk or a kill left half written. A folder of another user's is not ours to write in.
    async fn mend(&self) {
        if self.owner.is_some() {
            return;
        }
        let data = self.folder.join("data");
        let cut = tokio::task::spawn_blocking(move || torn::cut(&data)).await;
        match cut.map_err(std::io::Error::other).flatten() {
            Ok(None) => {}
            Ok(Some((path, bytes))) => {
                tracing::warn!(path = %path.display(), bytes, "cut off what redis-server had half written when it ended; nobody was told that it was kept");
            }
            Err(error) => {
                tracing::warn!(%error, "cannot look for what redis-server had half written when it ended");
            }
        }
    }

    async fn loads(&self) -> bool {
        let info = async { self.link().await?.info().await };
        let info: Result<_> = info.await;
        info.is_ok_and(|info| info.get("loading").is_some_and(|loading| loading == "1"))
    }

    async fn answers(&self) -> bool {
        let answer: Result<String> = async {
            let mut link = self.link().await?;
            link.ask("PING", &redis::cmd("PING")).await
        }
        .await;
        answer.is_ok()
    }

    /// Runs the program until it has detached itself (a session of its own: `daemonize`).
    async fn launch(&self, binary: &Binary) -> Result<()> {
        let spawned = |source| RedisServerError::Spawn {
            path: binary.path.clone(),
            source,
        };
        let mut command = tokio::process::Command::new(&binary.path);
        command
            .arg(self.config_file())
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if let Some(owner) = &self.owner {
            command.uid(owner.uid).gid(owner.gid);
        }
        let output = tokio::time::timeout(START, command.output())
            .await
            .map_err(|_elapsed| self.failed())?
            .map_err(spawned)?;
        if output.status.success() {
            return Ok(());
        }
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        let words: Vec<&str> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        Err(RedisServerError::Failed {
            log: self.log(),
            words: words.join(" | "),
        })
    }

    fn failed(&self) -> RedisServerError {
        RedisServerError::Failed {
            log: self.log(),
            words: folder::tail(&self.log()),
        }
    }
}
