//! What can go wrong with a Redis of ours, and with one of the operator's.

use std::io;
use std::path::PathBuf;

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedisServerClass {
    /// Trying again may work.
    Transient,
    /// Somebody must do something first; the error says what.
    Terminal,
}

/// An error of this module. Never carries a password.
#[derive(Debug, thiserror::Error)]
pub enum RedisServerError {
    /// No redis-server on this machine.
    #[error(
        "redis-server was not found; install the package (Debian, Ubuntu: apt-get install redis-server; Fedora: dnf install redis) or name a Redis of yours with --redis-url"
    )]
    Missing,
    /// The one on this machine is too old.
    #[error("redis-server {version} is too old; 6.2 or later is needed")]
    TooOld {
        /// Its version.
        version: String,
    },
    /// A folder or file of ours.
    #[error("cannot prepare {}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Linux allows 107 bytes.
    #[error("the path {} is too long for a Unix socket (107 bytes); choose a shorter --data-dir", path.display())]
    SocketPath {
        /// The path.
        path: PathBuf,
    },
    /// Redis' own user cannot get to its folder.
    #[error("user '{user}', as which the agents' Redis runs, may not pass through {}; choose another --data-dir, or chmod o+x it", path.display())]
    Untraversable {
        /// The folder in the way.
        path: PathBuf,
        /// The user.
        user: String,
    },
    /// The program could not be run.
    #[error("cannot run {}", path.display())]
    Spawn {
        /// The program.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// It ended while starting.
    #[error("redis-server did not start ({}): {words}", log.display())]
    Failed {
        /// Its log.
        log: PathBuf,
        /// The last lines of it.
        words: String,
    },
    /// A process of ours is there and does not answer; a second one beside it would spoil its data.
    #[error("the redis-server with pid {pid} runs and does not answer at {}", socket.display())]
    Stuck {
        /// Its process id.
        pid: u32,
        /// Its socket.
        socket: PathBuf,
    },
    /// Somebody else's Redis answers at our socket.
    #[error("another redis-server answers at {}; end it, or choose another --data-dir", socket.display())]
    Foreign {
        /// The socket.
        socket: PathBuf,
    },
    /// Another server of ours holds the folder.
    #[error("another agentainer is starting or stopping the redis-server in {}", folder.display())]
    Busy {
        /// The folder.
        folder: PathBuf,
    },
    /// It cannot be reached.
    #[error("Redis cannot be reached at {address}")]
    Unreachable {
        /// Where, without a password.
        address: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It answers and refuses.
    #[error("Redis refused {call}: {message}")]
    Refused {
        /// What was asked.
        call: &'static str,
        /// Its words.
        message: String,
    },
    /// The operator's control Redis is open to agents.
    #[error(
        "the Redis at {address} answers without a password, so agents could change what agentainer keeps there; give it a password (requirepass), bind it to loopback, or accept the risk with --allow-open-redis"
    )]
    OpenRedis {
        /// Where.
        address: String,
    },
    /// The address is none.
    #[error("the Redis address cannot be used: {reason}")]
    Address {
        /// Why, without the address.
        reason: String,
    },
}

impl RedisServerError {
    /// What to do about it.
    pub fn class(&self) -> RedisServerClass {
        match self {
            Self::Failed { .. }
            | Self::Stuck { .. }
            | Self::Busy { .. }
            | Self::Unreachable { .. }
            | Self::Spawn { .. }
            | Self::Refused { .. } => RedisServerClass::Transient,
            Self::Missing
            | Self::TooOld { .. }
            | Self::Folder { .. }
            | Self::SocketPath { .. }
            | Self::Untraversable { .. }
            | Self::Foreign { .. }
            | Self::OpenRedis { .. }
            | Self::Address { .. } => RedisServerClass::Terminal,
        }
    }
}
