//! A view of all agents that is kept up to date by `GET /agents?watch=true`, over restarts of the server.

use std::collections::{BTreeMap, BTreeSet};

use super::Failure;
use super::client::Client;
use super::lines::Lines;
use super::patience::{self, Patience};
use crate::agent::Agent;
use crate::wire::{WatchKind, WatchLine};

/// A view of all agents.
pub(super) struct Watching {
    client: Client,
    lines: Option<Lines>,
    /// The agents as last told, by name.
    pub(super) agents: BTreeMap<String, Agent>,
    /// Those whose status is that of an earlier server: the one that answers has not looked at them.
    pub(super) unconfirmed: BTreeSet<String>,
    /// What a new watch has told so far, until it has told all.
    fresh: Option<BTreeMap<String, Agent>>,
    patience: Patience,
}

impl Watching {
    pub(super) fn new(client: &Client) -> Self {
        Self {
            client: client.clone(),
            lines: None,
            agents: BTreeMap::new(),
            unconfirmed: BTreeSet::new(),
            fresh: None,
            patience: Patience::default(),
        }
    }

    /// Waits until `agents` is complete and something in it may have changed.
    pub(super) async fn changed(&mut self) -> Result<(), Failure> {
        loop {
            match self.step().await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(failure) => {
                    self.lines = None;
                    self.patience.bear(failure).await?;
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
                self.patience.begun();
                self.lines.insert(lines)
            }
        };
        let line: WatchLine = patience::line(lines, &self.client).await?;
        self.patience.heard();
        let name = line
            .object
            .as_ref()
            .map(|agent| agent.metadata.name.to_string())
            .or_else(|| line.name.as_ref().map(ToString::to_string));
        if let Some(name) = &name {
            match line.unconfirmed {
                true => self.unconfirmed.insert(name.clone()),
                false => self.unconfirmed.remove(name),
            };
        }
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
                patience::pause().await;
                return Ok(false);
            }
            _ => {}
        }
        Ok(self.fresh.is_none())
    }
}
