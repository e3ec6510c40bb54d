//! Keeps one redis-server running while we run; leaves it running when we end.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::child::{Identity, Running};
use super::{Binary, Result, Setup, Stopped, stop};

/// The first wait before a restart; doubled each time.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// The longest.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// A server that ran this long starts again without a wait.
const SETTLED: Duration = Duration::from_secs(60);

/// How a server of ours is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerState {
    /// It answers.
    Up {
        /// Which run.
        identity: Identity,
        /// It ran before we did.
        adopted: bool,
    },
    /// It died or does not start, and is tried again.
    Down {
        /// Why, in words for people.
        reason: String,
        /// When it is tried again.
        retry_in: Duration,
    },
}

/// A redis-server that is kept running. Dropping this ends the keeping, not the server.
#[derive(Debug)]
pub struct RedisServer {
    setup: Arc<Setup>,
    state: watch::Receiver<ServerState>,
    keeper: AbortOnDropHandle<()>,
}

impl RedisServer {
    /// Adopts the server that runs in the setup's folder, or starts one, and keeps it running.
    ///
    /// # Errors
    /// When it cannot be started the first time; later failures show in [`Self::state`].
    pub async fn start(setup: Setup) -> Result<Self> {
        let binary = Binary::find().await?;
        let running = setup.start_or_adopt(&binary).await?;
        tracing::info!(
            folder = %setup.folder.display(),
            pid = running.identity.pid,
            adopted = running.adopted,
            "redis-server runs"
        );
        let setup = Arc::new(setup);
        let (tell, state) = watch::channel(up(&running));
        let keeper = tokio::spawn(keep(Arc::clone(&setup), binary, running, tell));
        Ok(Self {
            setup,
            state,
            keeper: AbortOnDropHandle::new(keeper),
        })
    }

    /// Its Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.setup.socket()
    }

    /// Its address, as the store takes it.
    pub fn url(&self) -> String {
        // What a URL would take for something else in a path.
        let mut path = String::new();
        for byte in self.socket().to_string_lossy().bytes() {
            match byte {
                b'%' | b'?' | b'#' | b' ' | 0..=0x1f | 0x7f.. => {
                    path.push_str(&format!("%{byte:02X}"));
                }
                _ => path.push(char::from(byte)),
            }
        }
        format!("redis+unix://{path}")
    }

    /// How it is, now and later.
    pub fn state(&self) -> watch::Receiver<ServerState> {
        self.state.clone()
    }

    pub(super) fn setup(&self) -> &Arc<Setup> {
        &self.setup
    }

    /// Ends the keeping and the server.
    ///
    /// # Errors
    /// See [`stop`].
    pub async fn stop(self) -> Result<Stopped> {
        self.keeper.abort();
        stop(&self.setup).await
    }
}

fn up(running: &Running) -> ServerState {
    ServerState::Up {
        identity: running.identity.clone(),
        adopted: running.adopted,
    }
}

async fn keep(
    setup: Arc<Setup>,
    binary: Binary,
    mut running: Running,
    tell: watch::Sender<ServerState>,
) {
    let mut wait = FIRST_WAIT;
    loop {
        let since = Instant::now();
        running.process.ended().await;
        if since.elapsed() > SETTLED {
            wait = FIRST_WAIT;
        }
        let mut reason = format!("the redis-server with pid {} ended", running.identity.pid);
        running = loop {
            tracing::error!(folder = %setup.folder.display(), reason, "redis-server is down");
            tell.send_replace(ServerState::Down {
                reason,
                retry_in: wait,
            });
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
            match setup.start_or_adopt(&binary).await {
                Ok(running) => break running,
                Err(error) => reason = error.to_string(),
            }
        };
        tracing::info!(
            folder = %setup.folder.display(),
            pid = running.identity.pid,
            adopted = running.adopted,
            "redis-server runs again"
        );
        tell.send_replace(up(&running));
    }
}
