//! A look at a control Redis that the operator runs: who can reach it, and what it keeps. Nothing is set on it.

use std::net::IpAddr;

use redis::{ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo};

use super::link::{Link, unusable};
use super::{RedisServerError, Result};

/// What was seen of it. `None`: it would not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalRedis {
    /// Where, without a password.
    pub address: String,
    /// Its version.
    pub version: Option<String>,
    /// It answers whoever connects.
    pub without_password: bool,
    /// It listens on loopback or a Unix socket only, where no agent comes.
    pub private: bool,
    /// It is a replica and takes no writes.
    pub replica: bool,
    /// It writes a log of changes.
    pub append_only: Option<bool>,
    /// `always`, `everysec` or `no`.
    pub append_fsync: Option<String>,
    /// What it does when full.
    pub eviction: Option<String>,
}

impl ExternalRedis {
    /// Whether agents could change what is kept there.
    pub fn is_open(&self) -> bool {
        self.without_password && !self.private
    }

    /// Refuses an open one unless that was allowed.
    ///
    /// # Errors
    /// [`RedisServerError::OpenRedis`] says what to do.
    pub fn accept(&self, allow_open: bool) -> Result<()> {
        if self.is_open() && !allow_open {
            return Err(RedisServerError::OpenRedis {
                address: self.address.clone(),
            });
        }
        Ok(())
    }

    /// What the operator should know, each with its remedy.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let mut warn = |text: &str| warnings.push(format!("Redis at {}: {text}", self.address));
        if self.is_open() {
            warn(
                "it answers without a password: any agent can change specs and requests; set requirepass",
            );
        }
        if self.replica {
            warn("it is a replica and takes no writes; name its primary");
        }
        match (self.append_only, self.append_fsync.as_deref()) {
            (Some(false), _) => {
                warn(
                    "it keeps no log of changes: a crash loses what was accepted; set appendonly yes",
                );
            }
            (Some(true), Some("always")) => {}
            (Some(true), Some("everysec")) => {
                warn(
                    "a crash of its machine loses up to two seconds of accepted requests; set appendfsync always",
                );
            }
            (Some(true), _) => {
                warn("a crash of its machine loses accepted requests; set appendfsync always");
            }
            (None, _) => {
                warn(
                    "it does not say how durable it is; agentainer counts on appendonly yes and appendfsync always",
                );
            }
        }
        if let Some(eviction) = self.eviction.as_deref()
            && eviction != "noeviction"
        {
            warn("it drops keys when it is full; set maxmemory-policy noeviction");
        }
        warnings
    }
}

/// Looks at the Redis of a URL.
///
/// # Errors
/// When it cannot be reached, or refuses the URL's user or password.
pub async fn look_at(url: &str) -> Result<ExternalRedis> {
    let info = url
        .into_connection_info()
        .map_err(|error| unusable(&error))?;
    let is_socket = matches!(info.addr(), ConnectionAddr::Unix(_));
    let anonymous = info
        .clone()
        .set_redis_settings(RedisConnectionInfo::default());
    let mut link = Link::open(info).await?;
    link.ask::<String>("PING", &redis::cmd("PING")).await?;
    let said = link.info().await.unwrap_or_default();
    let append_only = link.config("appendonly").await.ok();
    let append_fsync = link.config("appendfsync").await.ok();
    let eviction = link.config("maxmemory-policy").await.ok();
    let bind = link.config("bind").await.ok();
    let port = link.config("port").await.ok();
    let address = link.address().to_owned();

    let without_password = match Link::open(anonymous).await {
        Ok(mut link) => link
            .ask::<String>("PING", &redis::cmd("PING"))
            .await
            .is_ok(),
        Err(_) => false,
    };
    let on_loopback = bind.is_some_and(|bind| {
        let mut addresses = bind.split_whitespace().peekable();
        addresses.peek().is_some()
            && addresses.all(|address| {
                let address = address.trim_start_matches('-');
                address
                    .parse()
                    .is_ok_and(|address: IpAddr| address.is_loopback())
            })
    });
    let no_port = port.is_some_and(|port| port == "0");
    Ok(ExternalRedis {
        address,
        version: said.get("redis_version").cloned(),
        without_password,
        private: on_loopback || (is_socket && no_port),
        replica: said.get("role").is_some_and(|role| role == "slave"),
        append_only: append_only.map(|value| value == "yes"),
        append_fsync,
        eviction,
    })
}
