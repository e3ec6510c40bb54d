//! The way to Redis: one shared connection for requests, one of its own for each blocking reader, a deadline for every call,
//! and Redis' errors in our words. Knows no keys. Used by the adapters of `store` and `journal`, which have a connection each.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig, MultiplexedConnection};
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, IntoConnectionInfo, Pipeline,
    ProtocolVersion, RedisError, RedisResult, Script, ScriptInvocation, ServerErrorKind,
};
use tokio::time::{Instant, timeout_at};

/// A call that failed. Never carries what was written.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Redis cannot be reached or did not answer in time.
    #[error("Redis cannot be reached at {address}")]
    Unreachable {
        /// Where we tried, without a password.
        address: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The address cannot be used at all.
    #[error(
        "the Redis address cannot be used: {reason}; use redis://[user[:password]@]host[:port][/db] or redis+unix:///path"
    )]
    Address {
        /// Why, without the address, which may hold a password.
        reason: String,
    },
    /// Redis answers and refuses: out of memory, read-only, loading, no permission.
    #[error("Redis refused the {call}: {message}")]
    Refused {
        /// Which call.
        call: &'static str,
        /// Its words.
        message: String,
    },
}

impl LinkError {
    /// The same once more, for each of those whom one call was for.
    #[must_use]
    pub fn again(&self) -> Self {
        match self {
            Self::Unreachable { address, source } => Self::Unreachable {
                address: address.clone(),
                source: source.to_string().into(),
            },
            Self::Address { reason } => Self::Address {
                reason: reason.clone(),
            },
            Self::Refused { call, message } => Self::Refused {
                call,
                message: message.clone(),
            },
        }
    }
}

/// A command that runs a script without keys; its arguments are to be added.
pub fn named(script: &Script, arguments: usize, bytes: usize) -> Cmd {
    let mut command = Cmd::with_capacity(arguments + 3, bytes + 60);
    command.arg("EVALSHA").arg(script.get_hash()).arg(0);
    command
}

type Result<T> = std::result::Result<T, LinkError>;

/// Whether a call may be sent again after it may have been carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Carried out twice is as good as once.
    Harmless,
    /// Only if it surely was not sent.
    Never,
}

/// One Redis.
#[derive(Clone)]
pub struct Link {
    address: Arc<str>,
    client: Client,
    shared: ConnectionManager,
    deadline: Duration,
}

/// A connection is made within this or counts as failed.
const CONNECT: Duration = Duration::from_secs(2);

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Link {
    /// A way to `url`; connects at the first call. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`LinkError::Address`]; the text never repeats the URL.
    pub fn new(url: &str, deadline: Duration) -> Result<Self> {
        let unusable = |error: RedisError| LinkError::Address {
            reason: error.category().to_owned(),
        };
        let info = url.into_connection_info().map_err(unusable)?;
        let address = info.addr().to_string();
        let settings = info
            .redis_settings()
            .clone()
            .set_protocol(ProtocolVersion::RESP3);
        let info = info
            .set_redis_settings(settings)
            .set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let client = Client::open(info).map_err(unusable)?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(deadline))
            .set_pipeline_buffer_size(1024)
            .set_min_delay(Duration::from_millis(50))
            .set_max_delay(Duration::from_millis(500))
            .set_number_of_retries(1);
        let shared =
            ConnectionManager::new_lazy_with_config(client.clone(), config).map_err(unusable)?;
        Ok(Self {
            address: address.into(),
            client,
            shared,
            deadline,
        })
    }

    /// Where, without a password.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Sends one command, again if the connection was lost: for reads and for writes that may be repeated.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn ask<T: FromRedisValue>(&self, call: &'static str, command: &Cmd) -> Result<T> {
        self.attempt(call, Repeat::Harmless, |mut connection| async move {
            command.query_async(&mut connection).await
        })
        .await
    }

    /// Sends several commands at once, as [`Self::ask`] does one.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn ask_all<T: FromRedisValue>(
        &self,
        call: &'static str,
        commands: &Pipeline,
    ) -> Result<T> {
        self.attempt(call, Repeat::Harmless, |mut connection| async move {
            commands.query_async(&mut connection).await
        })
        .await
    }

    /// Runs a script by a command that names it already: one with many arguments is not put together twice. See [`named`].
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn run_named<T: FromRedisValue>(
        &self,
        call: &'static str,
        script: &Script,
        command: &Cmd,
    ) -> Result<T> {
        self.attempt(call, Repeat::Harmless, |mut connection| async move {
            match command.query_async(&mut connection).await {
                Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                    script.load_async(&mut connection).await?;
                    command.query_async(&mut connection).await
                }
                answer => answer,
            }
        })
        .await
    }

    /// Runs a script.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn run<T: FromRedisValue>(
        &self,
        call: &'static str,
        script: &ScriptInvocation<'_>,
        repeat: Repeat,
    ) -> Result<T> {
        self.attempt(call, repeat, |mut connection| async move {
            script.invoke_async(&mut connection).await
        })
        .await
    }

    /// A connection for a reader that blocks for at most `block` at a time.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn dedicated(&self, block: Duration) -> Result<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(block + self.deadline));
        let connecting = self
            .client
            .get_multiplexed_async_connection_with_config(&config);
        match tokio::time::timeout(self.deadline, connecting).await {
            Ok(connected) => connected.map_err(|error| self.error("watch", &error)),
            Err(_elapsed) => Err(self.late()),
        }
    }

    async fn attempt<T, F>(
        &self,
        call: &'static str,
        repeat: Repeat,
        send: impl Fn(ConnectionManager) -> F,
    ) -> Result<T>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let until = Instant::now() + self.deadline;
        let (mut again, mut was_lost) = (true, false);
        loop {
            let sent = send(self.shared.clone());
            let error = match timeout_at(until, sent).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => error,
                Err(_elapsed) => return Err(self.late()),
            };
            // The manager keeps a failed attempt to connect until somebody asks again: the first call after an outage
            // gets the old failure though Redis is back.
            let unsent = error.is_connection_refusal();
            let lost = error.is_io_error() && !error.is_timeout();
            if !again || !(unsent || (lost && repeat == Repeat::Harmless)) {
                return Err(match self.error(call, &error) {
                    // What it refuses now it may have carried out before.
                    refused @ LinkError::Refused { .. } if was_lost => self.unreachable(refused),
                    error => error,
                });
            }
            (again, was_lost) = (false, lost && !unsent);
        }
    }

    /// The longest that one call takes.
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// It did not answer in time.
    pub fn late(&self) -> LinkError {
        self.unreachable(format!("no answer within {:?}", self.deadline))
    }

    /// What was asked may have been carried out.
    pub fn unreachable(
        &self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> LinkError {
        LinkError::Unreachable {
            address: self.address.to_string(),
            source: source.into(),
        }
    }

    /// Redis' error in our words. Never its text where that may hold a value of ours.
    pub fn error(&self, call: &'static str, error: &RedisError) -> LinkError {
        match error.kind() {
            ErrorKind::Io => self.unreachable(error.clone()),
            ErrorKind::Server(_) | ErrorKind::Extension => {
                let code = error.code().unwrap_or("ERR");
                LinkError::Refused {
                    call,
                    message: match error.detail() {
                        Some(detail) => format!("{code} {detail}"),
                        None => code.to_owned(),
                    },
                }
            }
            ErrorKind::AuthenticationFailed => LinkError::Refused {
                call,
                message: "it does not accept the user or password of the Redis address".to_owned(),
            },
            ErrorKind::RESP3NotSupported => LinkError::Refused {
                call,
                message: "it is too old; Redis 6.2 or later is needed".to_owned(),
            },
            _ => LinkError::Refused {
                call,
                message: format!("unexpected answer ({})", error.category()),
            },
        }
    }
}
