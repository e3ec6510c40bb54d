//! A view of all agents that is kept up to date by `GET /agents?watch=true`, over restarts of the server.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Failure;
use super::client::Client;
use super::lines::Lines;
use crate::agent::Agent;
use crate::wire::{WatchKind, WatchLine};

/// How long the server may be away.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two tries to reach it again.
const PAUSE: Duration = Duration::from_millis(500);
/// A watch that is silent for so long is dead: bookmarks come more often.
const SILENCE: Duration = Duration::from_secs(45);

/// A view of all agents.
pub(super) struct Watching {
    client: Client,
    lines: Option<Lines>,
    /// The agents as last told, by name.
    pub(super) agents: BTreeMap<String, Agent>,
    /// What a new watch has told so far, until it has told all.
    fresh: Option<BTreeMap<String, Agent>>,
    /// Since when the server is away.
    away: Option<Instant>,
    once: bool,
}

impl Watching {
    pub(super) fn new(client: &Client) -> Self {
        Self {
            client: client.clone(),
            lines: None,
            agents: BTreeMap::new(),
            fresh: None,
            away: None,
            once: false,
        }
    }

    /// Waits until `agents` is complete and something in it may have changed.
    pub(super) async fn changed(&mut self) -> Result<(), Failure> {
        loop {
            match self.step().await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(failure) => {
                    // Somebody who was never there will not come; somebody who was may be restarting.
                    let may_return = matches!(failure, Failure::Unreachable { .. }) && self.once;
                    let since = *self.away.get_or_insert_with(Instant::now);
                    if !may_return || since.elapsed() > PATIENCE {
                        return Err(failure);
                    }
                    self.lines = None;
                    sleep(PAUSE).await;
                }
            }
        }
    }

    /// One line; true when the view is complete and may have changed.
    async fn step(&mut self) -> Result<bool, Failure> {
        let lines = match &mut self.lines {
            Some(lines) => lines,
            None => {
                let lines = self.client.lines("/agents?watch=true").await?;
                self.fresh = Some(BTreeMap::new());
                self.once = true;
                self.lines.insert(lines)
            }
        };
        let line = match tokio::time::timeout(SILENCE, lines.next::<WatchLine>()).await {
            Ok(line) => line?,
            Err(_) => None,
        };
        let Some(line) = line else {
            return Err(Failure::Unreachable {
                server: self.client.address().to_string(),
                cause: "the watch ended".to_owned(),
            });
        };
        self.away = None;
        let name = line
            .object
            .as_ref()
            .map(|agent| agent.metadata.name.to_string())
            .or_else(|| line.name.as_ref().map(ToString::to_string));
        let agents = self.fresh.as_mut().unwrap_or(&mut self.agents);
        match (line.kind, name, line.object) {
            (WatchKind::Added | WatchKind::Modified, Some(name), Some(agent)) => {
                agents.insert(name, agent);
            }
            (WatchKind::Deleted, Some(name), _) => {
                agents.remove(&name);
            }
            (WatchKind::Bookmark, _, _) => {
                if let Some(fresh) = self.fresh.take() {
                    self.agents = fresh;
                    return Ok(true);
                }
                return Ok(false);
            }
            (WatchKind::Error, _, _) => {
                // The position is gone, say: begin anew with the list.
                self.lines = None;
                sleep(PAUSE).await;
                return Ok(false);
            }
            _ => {}
        }
        Ok(self.fresh.is_none())
    }
}
