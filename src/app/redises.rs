//! The two Redis servers (design, section 6): the control Redis, ours or the operator's, and the one that agents see.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};

use super::data_folder::DataFolder;
use crate::config::{self, Durability, ServeConfig};
use crate::journal::redis::{RedisJournal, RedisJournalOptions};
use crate::reconcile::{Board, host_condition};
use crate::redis_server::{
    AgentsRedis, AgentsRedisOptions, Outcome, RedisServer, agents_folder, control, look_at, stop,
};
use crate::store::AgentStore;
use crate::store::redis::{RedisStore, RedisStoreOptions};

/// What our own control Redis may hold beside twice the journal's own measure, in bytes: room for specs is left whatever is kept.
const CONTROL_MEMORY: u64 = 256 << 20;

/// The store, and what keeps it running.
pub(super) struct Control {
    pub(super) store: Arc<dyn AgentStore>,
    pub(super) journal: Arc<RedisJournal>,
    /// Our own Redis, kept running while this lives.
    _server: Option<RedisServer>,
}

impl Control {
    /// Starts or adopts our own control Redis, or looks at the operator's. An open one is refused, but for the network
    /// document's compose file: a server in a container that was told of it by the document's variables.
    pub(super) async fn start(
        config: &ServeConfig,
        folder: &DataFolder,
        in_container: bool,
    ) -> Result<Self> {
        let (url, server) = match config.control_redis() {
            Some(url) => {
                let seen = look_at(&url)
                    .await
                    .context("the control Redis cannot be used")?;
                let documented = in_container && config.redis_url.is_none();
                seen.accept(config.allow_open_redis || documented)?;
                for warning in seen.warnings() {
                    tracing::warn!(warning, "control Redis");
                }
                (url, None)
            }
            None => {
                let memory = CONTROL_MEMORY + config.journal_memory.bytes.saturating_mul(2);
                let server = RedisServer::start(control(&control_folder(folder.path()), memory))
                    .await
                    .context("the control Redis cannot be started")?;
                (server.url(), Some(server))
            }
        };
        let store = RedisStore::new(&url, RedisStoreOptions::default())
            .context("the control Redis' URL cannot be used")?;
        let options = RedisJournalOptions {
            memory: config.journal_memory.bytes,
            in_memory: config.durability == Durability::Memory,
            ..RedisJournalOptions::default()
        };
        let journal =
            RedisJournal::new(&url, options).context("the control Redis' URL cannot be used")?;
        if config.durability == Durability::Fsync
            && let Ok(lacks) = journal.lacks().await
            && !lacks.is_empty()
        {
            tracing::warn!(
                set = lacks.join(", "),
                "the control Redis does not keep what it takes: requests that cannot be answered at once get 503, not 202; set these, or \
                 serve with --durability=memory"
            );
        }
        Ok(Self {
            store: Arc::new(store),
            journal: Arc::new(journal),
            _server: server,
        })
    }
}

fn control_folder(data: &Path) -> PathBuf {
    data.join("control-redis")
}

/// The host and port of a Redis URL, to tell agents of.
pub(super) fn host_and_port(url: &str) -> Option<(String, u16)> {
    let rest = url.split_once("://")?.1;
    let authority = rest.split(['/', '?']).next()?;
    let place = authority
        .rsplit_once('@')
        .map_or(authority, |(_, place)| place);
    match place.rsplit_once(':') {
        Some((host, port)) => Some((host.to_owned(), port.parse().ok()?)),
        None => Some((place.to_owned(), crate::keys::AGENTS_REDIS_PORT)),
    }
}

/// Keeps the agents' Redis on the gateway of their network.
pub(super) struct AgentsRedisKeeper {
    wanted: config::AgentsRedis,
    folder: PathBuf,
    options: AgentsRedisOptions,
    running: Option<AgentsRedis>,
}

impl AgentsRedisKeeper {
    pub(super) fn new(config: &ServeConfig, folder: &DataFolder) -> Self {
        Self {
            wanted: config.agents_redis.clone(),
            folder: agents_folder(folder.path()),
            options: AgentsRedisOptions {
                port: config.agents_redis_port,
                ..AgentsRedisOptions::default()
            },
            running: None,
        }
    }

    /// Whether agents have what the configuration promises them, on this gateway. What is wrong stands on the board.
    pub(super) async fn adapt(&mut self, gateway: Option<Ipv4Addr>, board: &Board) -> bool {
        let kind = host_condition::AGENTS_REDIS;
        match &self.wanted {
            config::AgentsRedis::Off => {
                board.set(
                    kind,
                    true,
                    "Off",
                    "agents have no Redis of ours (--agents-redis off)",
                );
                return true;
            }
            config::AgentsRedis::Url(_) => {
                board.set(
                    kind,
                    true,
                    "External",
                    "agents are told of the operator's Redis (--agents-redis URL)",
                );
                return true;
            }
            config::AgentsRedis::Own => {}
        }
        match self.listen(gateway).await {
            Ok((holds, reason, message)) => {
                board.set(kind, holds, reason, message);
                holds
            }
            Err(error) => {
                let cause = std::error::Error::source(&error)
                    .map_or_else(String::new, |cause| format!(": {cause}"));
                board.set(kind, false, "NotRunning", format!("{error}{cause}"));
                false
            }
        }
    }

    async fn listen(
        &mut self,
        gateway: Option<Ipv4Addr>,
    ) -> crate::redis_server::Result<(bool, &'static str, String)> {
        if self.running.is_none() {
            self.running = Some(AgentsRedis::start(&self.folder, &self.options).await?);
        }
        let Some(redis) = &self.running else {
            return Ok((false, "NotRunning", String::new()));
        };
        let listening = redis.listen(gateway.map(Into::into)).await?;
        Ok(match listening.gateway {
            Some((address, Outcome::Bound)) => (
                true,
                "Listening",
                format!("agents have a Redis at host.docker.internal, {address}"),
            ),
            Some((address, Outcome::Taken)) => (
                false,
                "AddressTaken",
                format!(
                    "{address} is taken: agents see the Redis that the host runs there; stop it, or serve with --agents-redis-port"
                ),
            ),
            Some((address, _)) => (
                false,
                "AddressAbsent",
                format!("{address} is not an address of this machine yet"),
            ),
            None => (
                false,
                "NoGateway",
                "the agents' network has no gateway yet".to_owned(),
            ),
        })
    }
}

/// Ends the Redis servers of a data folder, if they run; their data stays.
pub(super) async fn end_children(data: &Path) -> Result<()> {
    let folder = control_folder(data);
    if folder.exists() {
        stop(&control(&folder, CONTROL_MEMORY))
            .await
            .context("the control Redis does not end")?;
    }
    if let Some(setup) = AgentsRedis::remains(&agents_folder(data))? {
        stop(&setup)
            .await
            .context("the agents' Redis does not end")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_are_told_host_and_port_and_no_password() {
        assert_eq!(
            host_and_port("redis://:secret@cache:6380/1"),
            Some(("cache".to_owned(), 6380))
        );
        assert_eq!(
            host_and_port("redis://cache"),
            Some(("cache".to_owned(), 6379))
        );
    }
}
