//! One short connection to a redis-server, with a deadline: to ask who it is, to set something, to end it.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, FromRedisValue,
    IntoConnectionInfo, RedisConnectionInfo, RedisError,
};

use super::{RedisServerError, Result};

/// The longest that connecting, or one call, takes.
const DEADLINE: Duration = Duration::from_secs(5);

/// A connection.
pub(super) struct Link {
    connection: MultiplexedConnection,
    address: String,
}

/// Who connects.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) user: &'static str,
    pub(super) password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Login({})", self.user)
    }
}

impl Link {
    /// To a socket of ours.
    pub(super) async fn to_socket(path: &Path, login: Option<&Login>) -> Result<Self> {
        let address = ConnectionAddr::Unix(path.to_owned());
        let mut info = address
            .into_connection_info()
            .map_err(|error| unusable(&error))?;
        if let Some(login) = login {
            let settings = RedisConnectionInfo::default()
                .set_username(login.user)
                .set_password(&login.password);
            info = info.set_redis_settings(settings);
        }
        Self::open(info).await
    }

    /// To any address.
    pub(super) async fn open(info: ConnectionInfo) -> Result<Self> {
        let address = info.addr().to_string();
        let client = Client::open(info).map_err(|error| unusable(&error))?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(DEADLINE))
            .set_response_timeout(Some(DEADLINE));
        let connecting = client.get_multiplexed_async_connection_with_config(&config);
        match tokio::time::timeout(DEADLINE, connecting).await {
            Ok(Ok(connection)) => Ok(Self {
                connection,
                address,
            }),
            Ok(Err(error)) => Err(in_our_words(&address, "the connection", &error)),
            Err(_elapsed) => Err(RedisServerError::Unreachable {
                address,
                source: format!("no answer within {DEADLINE:?}").into(),
            }),
        }
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) async fn ask<T: FromRedisValue>(
        &mut self,
        call: &'static str,
        command: &Cmd,
    ) -> Result<T> {
        let answer = command.query_async(&mut self.connection).await;
        answer.map_err(|error| in_our_words(&self.address, call, &error))
    }

    /// What it says of itself.
    pub(super) async fn info(&mut self) -> Result<HashMap<String, String>> {
        let text: String = self.ask("INFO", &redis::cmd("INFO")).await?;
        let pairs = text.lines().filter_map(|line| line.split_once(':'));
        Ok(pairs
            .map(|(name, value)| (name.to_owned(), value.trim_end().to_owned()))
            .collect())
    }

    pub(super) async fn config(&mut self, name: &str) -> Result<String> {
        let mut command = redis::cmd("CONFIG");
        command.arg("GET").arg(name);
        let (_, value): (String, String) = self.ask("CONFIG GET", &command).await?;
        Ok(value)
    }

    pub(super) async fn set_config(&mut self, name: &str, value: &str) -> Result<()> {
        let mut command = redis::cmd("CONFIG");
        command.arg("SET").arg(name).arg(value);
        self.ask("CONFIG SET", &command).await
    }
}

pub(super) fn unusable(error: &RedisError) -> RedisServerError {
    RedisServerError::Address {
        reason: error.category().to_owned(),
    }
}

fn in_our_words(address: &str, call: &'static str, error: &RedisError) -> RedisServerError {
    if error.kind() == ErrorKind::Io {
        return RedisServerError::Unreachable {
            address: address.to_owned(),
            source: Box::new(error.clone()),
        };
    }
    let message = match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        (Some(code), None) => code.to_owned(),
        (None, _) => error.category().to_owned(),
    };
    RedisServerError::Refused { call, message }
}
