//! What becomes of agents, change by change, over restarts of the server: a watch that ended goes on from where it was with
//! whoever answers next, and tells nothing twice.

use std::collections::BTreeMap;

use super::Failure;
use super::client::Client;
use super::lines::Lines;
use super::patience::{self, Patience};
use crate::agent::{Agent, ResourceVersion};
use crate::wire::{WatchKind, WatchLine};

/// What became of an agent.
#[derive(Debug)]
pub(super) struct Told {
    /// As it is now, or last was.
    pub(super) agent: Box<Agent>,
    pub(super) deleted: bool,
}

/// A watch that goes on.
pub(super) struct Following {
    client: Client,
    /// With `watch=true`.
    path: String,
    lines: Option<Lines>,
    /// From where the next watch goes on; without it, with the list.
    position: Option<ResourceVersion>,
    /// Each agent as it was last told.
    known: BTreeMap<String, Agent>,
    /// What a list told so far, until it is whole.
    list: Option<BTreeMap<String, Agent>>,
    patience: Patience,
}

impl Following {
    pub(super) fn new(client: &Client, path: String) -> Self {
        Self {
            client: client.clone(),
            path,
            lines: None,
            position: None,
            known: BTreeMap::new(),
            list: None,
            patience: Patience::default(),
        }
    }

    /// What changed: first all that is there, which may be nothing, together; then one by one.
    ///
    /// # Errors
    /// When the server refuses, or was away for too long.
    pub(super) async fn next(&mut self) -> Result<Vec<Told>, Failure> {
        loop {
            match self.step().await {
                Ok(Some(told)) => return Ok(told),
                Ok(None) => {}
                Err(failure) => {
                    self.lines = None;
                    // The stream no longer reaches back to where we were: begin anew with the list.
                    if failure.is_gone() && self.position.take().is_some() {
                        continue;
                    }
                    self.patience.bear(failure).await?;
                }
            }
        }
    }

    async fn step(&mut self) -> Result<Option<Vec<Told>>, Failure> {
        let lines = match &mut self.lines {
            Some(lines) => lines,
            None => {
                let path = match self.position {
                    Some(position) => format!("{}&resourceVersion={position}", self.path),
                    None => self.path.clone(),
                };
                let lines = self.client.lines(&path).await?;
                self.list = self.position.is_none().then(BTreeMap::new);
                self.patience.begun();
                self.lines.insert(lines)
            }
        };
        let line: WatchLine = patience::line(lines, &self.client).await?;
        self.patience.heard();
        Ok(self.take(line))
    }

    fn take(&mut self, line: WatchLine) -> Option<Vec<Told>> {
        if line.kind == WatchKind::Error {
            // The position is gone, say.
            (self.lines, self.position) = (None, None);
            return None;
        }
        let name = line.object.as_ref().map(|agent| &agent.metadata.name);
        let name = name.or(line.name.as_ref()).map(ToString::to_string);
        if let Some(list) = &mut self.list {
            if let (Some(name), Some(agent)) = (name, line.object) {
                list.insert(name, agent);
            } else if line.kind == WatchKind::Bookmark {
                let list = std::mem::take(list);
                (self.list, self.position) = (None, Some(line.resource_version));
                return Some(self.differs(list));
            }
            return None;
        }
        self.position = Some(line.resource_version);
        match (line.kind, name?, line.object) {
            (WatchKind::Deleted, name, last) => {
                let agent = last.or_else(|| self.known.get(&name).cloned())?;
                self.known.remove(&name)?;
                Some(vec![gone(agent)])
            }
            (_, name, Some(agent)) => Some(self.is_now(name, agent).into_iter().collect()),
            (_, _, None) => None,
        }
    }

    /// An agent that was told so already is no news.
    fn is_now(&mut self, name: String, agent: Agent) -> Option<Told> {
        let news = self.known.get(&name) != Some(&agent);
        self.known.insert(name, agent.clone());
        news.then(|| Told {
            agent: Box::new(agent),
            deleted: false,
        })
    }

    /// What a whole list says beside what was told.
    fn differs(&mut self, list: BTreeMap<String, Agent>) -> Vec<Told> {
        let known = std::mem::take(&mut self.known);
        let (stay, went): (BTreeMap<_, _>, BTreeMap<_, _>) = known
            .into_iter()
            .partition(|(name, _)| list.contains_key(name));
        self.known = stay;
        let went = went.into_values().map(gone);
        let news = list
            .into_iter()
            .filter_map(|(name, agent)| self.is_now(name, agent));
        went.chain(news).collect()
    }
}

fn gone(agent: Agent) -> Told {
    Told {
        agent: Box::new(agent),
        deleted: true,
    }
}
