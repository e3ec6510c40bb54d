//! `GET /agents?watch=true`: what changes, as server-sent events or NDJSON.
//!
//! Without `resourceVersion` it begins with the list (each agent `ADDED`) and a bookmark. With one it goes on from there, or answers
//! 410 when the store's stream no longer reaches back so far: list again. What an agent was before a resume is not known for sure, so
//! `ADDED` and `MODIFIED` mean "is now so" to a careful watcher. Every line has the position to resume from; bookmarks come while
//! nothing happens, so that a dead connection is noticed on both sides. Right after a server's start statuses are those of an earlier
//! one: such lines say so, and the agent is told again when a pass has looked at it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderName};
use tokio::time::{Instant, timeout};

use super::selector::Selector;
use crate::agent::{Agent, ResourceVersion};
use crate::api::refusal::{Answer, Refusal};
use crate::api::view::View;
use crate::api::{ApiState, Call};
use crate::names::AgentName;
use crate::store::{Change, ChangeKind, StoreClass, StoreError};
use crate::wire::{WatchKind, WatchLine};

/// Between two bookmarks of a quiet watch.
const QUIET: Duration = Duration::from_secs(15);
/// Between two looks whether an agent was looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Before the store's stream is asked again after an error.
const PAUSE: Duration = Duration::from_millis(500);
/// Where a browser's `EventSource` says from where it resumes.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// What one watcher was told.
struct Watcher {
    api: ApiState,
    view: View,
    selector: Selector,
    known: BTreeMap<AgentName, Agent>,
    /// Those that were told of before any pass had looked at them.
    unconfirmed: BTreeSet<AgentName>,
    position: ResourceVersion,
    /// It began at a position of the past, so that agents which went since were never known to it.
    resumed: bool,
}

pub(super) async fn watch(
    call: Call,
    headers: &HeaderMap,
    view: View,
    selector: Selector,
) -> Answer<Response> {
    let events = headers
        .get(ACCEPT)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|text| text.contains("text/event-stream"));
    let resume = headers
        .get(LAST_EVENT_ID)
        .and_then(|value| value.to_str().ok())
        .or_else(|| call.query.text("resourceVersion"))
        .map(|text| text.parse().map(ResourceVersion))
        .transpose()
        .map_err(|_| Refusal::bad("resourceVersion is the number that a list or a watch gave"))?;

    let early = match resume {
        None => unlooked(&call.api).await?,
        Some(_) => BTreeSet::new(),
    };
    let list = call.api.store.list().await?;
    let position = resume.unwrap_or(list.resource_version);
    let changes = call.api.store.watch(position).await?;
    let shutdown = call.api.shutdown.clone();
    let mut watcher = Watcher {
        api: call.api,
        view,
        selector,
        known: BTreeMap::new(),
        unconfirmed: early,
        position,
        resumed: resume.is_some(),
    };
    let mut first = Vec::new();
    let mut matching = list.agents;
    matching.retain(|agent| watcher.selector.matches(agent));
    for agent in matching {
        if resume.is_none() {
            first.push(watcher.line(WatchKind::Added, &agent));
        }
        // What changed after the position to resume from is told again by its changes.
        if agent.metadata.resource_version <= position {
            watcher.known.insert(agent.metadata.name.clone(), agent);
        }
    }
    if resume.is_none() {
        first.push(watcher.mark(WatchKind::Bookmark, None));
    }
    let lines = futures::stream::iter(first)
        .chain(follow(watcher, changes))
        .take_until(shutdown.cancelled_owned());
    let media = if events {
        "text/event-stream"
    } else {
        "application/x-ndjson"
    };
    let body = Body::from_stream(
        lines.map(move |line| Ok::<_, std::convert::Infallible>(written(&line, events))),
    );
    Ok(([(CONTENT_TYPE, media)], body).into_response())
}

/// Those that no pass has looked at: asked before the list that is told, in which the look may not show yet.
async fn unlooked(api: &ApiState) -> Answer<BTreeSet<AgentName>> {
    let list = api.store.list().await?;
    let names = list.agents.into_iter().map(|agent| agent.metadata.name);
    Ok(names.filter(|name| !(api.looked_at)(name)).collect())
}

fn follow(
    watcher: Watcher,
    changes: BoxStream<'static, Result<Change, StoreError>>,
) -> impl Stream<Item = WatchLine> + Send {
    let start = Some((watcher, changes));
    futures::stream::unfold(start, |going| async move {
        let (mut watcher, mut changes) = going?;
        let quiet = Instant::now() + QUIET;
        loop {
            if let Some(line) = watcher.confirmed().await {
                return Some((line, Some((watcher, changes))));
            }
            let left = quiet.saturating_duration_since(Instant::now());
            let rest = match watcher.unconfirmed.is_empty() {
                true => left,
                false => left.min(LOOK_AGAIN),
            };
            let change = match timeout(rest, changes.next()).await {
                Ok(change) => change,
                Err(_) if rest < left => continue,
                Err(_) => {
                    let line = watcher.mark(WatchKind::Bookmark, None);
                    return Some((line, Some((watcher, changes))));
                }
            };
            match change {
                Some(Ok(change)) => {
                    if let Some(line) = watcher.tell(change) {
                        return Some((line, Some((watcher, changes))));
                    }
                }
                // The store's stream goes on by itself when the store is back.
                Some(Err(error)) if error.class() == StoreClass::Transient => {
                    tracing::debug!(%error, "a watch waits for the store");
                    tokio::time::sleep(PAUSE).await;
                }
                Some(Err(error)) => {
                    return Some((
                        watcher.mark(WatchKind::Error, Some(error.to_string())),
                        None,
                    ));
                }
                None => {
                    let message = "the change stream ended; watch again".to_owned();
                    return Some((watcher.mark(WatchKind::Error, Some(message)), None));
                }
            }
        }
    })
}

impl Watcher {
    /// One that was told of too early, and that a pass has looked at since, as it is now: its status may not have changed.
    async fn confirmed(&mut self) -> Option<WatchLine> {
        let looked_at = self.api.looked_at.as_ref();
        let name = self.unconfirmed.iter().find(|name| looked_at(name))?;
        // Asked again after the look, since the change that it made may still be on its way here.
        let agent = self.api.store.get(name).await.ok()?;
        let name = name.clone();
        self.unconfirmed.remove(&name);
        let agent = agent.filter(|agent| {
            let known = self.known.get(&name);
            known.is_some_and(|known| known.metadata.uid == agent.metadata.uid)
        })?;
        let line = self.line(WatchKind::Modified, &agent);
        self.known.insert(name, agent);
        Some(line)
    }

    /// What a change is to this watcher; nothing, when it is about none of its agents.
    fn tell(&mut self, change: Change) -> Option<WatchLine> {
        self.position = change.resource_version;
        let matching = change.agent.filter(|agent| self.selector.matches(agent));
        match (matching, self.known.remove(&change.name)) {
            (Some(agent), before) => {
                let known = before.is_some_and(|before| before.metadata.uid == agent.metadata.uid);
                // Of what was there before a resume, a guess: a first object is new, anything else is not.
                let first = change.kind == ChangeKind::Object && agent.metadata.generation == 1;
                let is_new = !known && (first || !self.resumed);
                let kind = if is_new {
                    WatchKind::Added
                } else {
                    WatchKind::Modified
                };
                let line = self.line(kind, &agent);
                self.known.insert(change.name, agent);
                Some(line)
            }
            (None, Some(last)) => Some(self.line(WatchKind::Deleted, &last)),
            (None, None) if change.kind == ChangeKind::Gone && self.resumed => Some(WatchLine {
                name: Some(change.name),
                ..self.mark(WatchKind::Deleted, None)
            }),
            (None, None) => None,
        }
    }

    fn line(&mut self, kind: WatchKind, agent: &Agent) -> WatchLine {
        let name = &agent.metadata.name;
        // One that was told so stays so until it is read again: this may be what it was before the look.
        let early = self.unconfirmed.contains(name) || !(self.api.looked_at)(name);
        let unconfirmed = kind != WatchKind::Deleted && early;
        match unconfirmed {
            true => self.unconfirmed.insert(name.clone()),
            false => self.unconfirmed.remove(name),
        };
        WatchLine {
            name: Some(name.clone()),
            object: Some(self.view.show(agent.clone())),
            unconfirmed,
            ..self.mark(kind, None)
        }
    }

    fn mark(&self, kind: WatchKind, message: Option<String>) -> WatchLine {
        WatchLine {
            kind,
            name: None,
            object: None,
            unconfirmed: false,
            resource_version: self.position,
            message,
        }
    }
}

fn written(line: &WatchLine, event: bool) -> Bytes {
    let text = serde_json::to_string(line).unwrap_or_default();
    if event {
        Bytes::from(format!("id: {}\ndata: {text}\n\n", line.resource_version))
    } else {
        Bytes::from(format!("{text}\n"))
    }
}
