//! How long a watch waits for a server that went away, and when it takes a silent one for gone.

use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout};

use super::Failure;
use super::client::Client;
use super::lines::Lines;

/// How long the server may be away from a watch.
const AWAY: Duration = Duration::from_secs(60);
/// Between two tries to reach it again.
const PAUSE: Duration = Duration::from_millis(500);
/// A watch that is silent for so long is dead: empty lines and bookmarks come more often.
const SILENCE: Duration = Duration::from_secs(45);

/// That of one watch.
#[derive(Default)]
pub(super) struct Patience {
    /// The server was there once.
    once: bool,
    /// Since when it is away.
    away: Option<Instant>,
}

impl Patience {
    /// The server answers the watch.
    pub(super) fn begun(&mut self) {
        self.once = true;
    }

    /// It tells something.
    pub(super) fn heard(&mut self) {
        self.away = None;
    }

    /// Waits until it may be asked again.
    ///
    /// # Errors
    /// The failure itself, when it is not to be waited for, or was for long enough.
    pub(super) async fn bear(&mut self, failure: Failure) -> Result<(), Failure> {
        // Somebody who was never there will not come; somebody who was may be restarting.
        let may_return = matches!(failure, Failure::Unreachable { .. }) && self.once;
        let since = *self.away.get_or_insert_with(Instant::now);
        if !may_return || since.elapsed() > AWAY {
            return Err(failure);
        }
        pause().await;
        Ok(())
    }
}

/// Between two tries.
pub(super) async fn pause() {
    sleep(PAUSE).await;
}

/// The next line of a watch; `None` when it ended, or is silent for too long.
pub(super) async fn next<T: DeserializeOwned>(lines: &mut Lines) -> Result<Option<T>, Failure> {
    timeout(SILENCE, lines.next()).await.unwrap_or(Ok(None))
}

/// The next line of a watch whose end is no answer: a server that ends it has gone.
///
/// # Errors
/// That it has, beside those of the line.
pub(super) async fn line<T: DeserializeOwned>(
    lines: &mut Lines,
    client: &Client,
) -> Result<T, Failure> {
    next(lines).await?.ok_or_else(|| Failure::Unreachable {
        server: client.address().to_string(),
        cause: "the watch ended".to_owned(),
    })
}
