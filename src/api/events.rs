//! `GET /events` and `GET /agents/{id}/events`: what happened, newest first; `watch=true` goes on with what happens, without end.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::StreamExt as _;
use http::header::CONTENT_TYPE;
use jiff::Timestamp;

use super::agents::{find, may_see};
use super::refusal::Answer;
use super::{ApiState, Call};
use crate::agent::EventRecord;
use crate::names::AgentName;
use crate::store;
use crate::wire::EventListBody;

const USUAL: u64 = 100;
const MOST: u64 = 1000;
/// Between two looks of a watch. Events are for people, and capped: the change stream is not theirs.
const LOOK: Duration = Duration::from_millis(500);
/// Looks without news before an empty line tells that the watch is alive: 15 s.
const QUIET: u32 = 30;

pub(super) async fn all(call: Call) -> Answer<Response> {
    answer(call, None).await
}

pub(super) async fn of_agent(call: Call, Path(id): Path<String>) -> Answer<Response> {
    let agent = find(&call.api, &id).await?;
    may_see(&call.role, &agent, "events")?;
    answer(call, Some(agent.metadata.name)).await
}

async fn answer(call: Call, agent: Option<AgentName>) -> Answer<Response> {
    let asked = call.query.number("limit")?.unwrap_or(USUAL).clamp(1, MOST);
    let limit = usize::try_from(asked).unwrap_or(1000);
    let watch = call.query.flag("watch")?;
    let items = call.api.store.events(agent.as_ref(), limit).await?;
    if !watch {
        return Ok(Json(EventListBody { items }).into_response());
    }
    let shutdown = call.api.shutdown.clone();
    let watcher = Watcher::new(call.api, agent, items);
    let lines = futures::stream::unfold(watcher, |mut watcher| async {
        let line = watcher.next().await;
        Some((Ok::<_, std::convert::Infallible>(line), watcher))
    });
    let body = Body::from_stream(lines.take_until(shutdown.cancelled_owned()));
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

/// Which event: of an agent or the host, of a reason, since when it counts.
type EventKey = (Option<AgentName>, String, Timestamp);

/// Tells events as they come, or count up: one JSON line each, the oldest first.
struct Watcher {
    api: ApiState,
    agent: Option<AgentName>,
    told: BTreeMap<EventKey, u32>,
    waiting: VecDeque<EventRecord>,
}

impl Watcher {
    fn new(api: ApiState, agent: Option<AgentName>, first: Vec<EventRecord>) -> Self {
        let mut watcher = Self {
            api,
            agent,
            told: BTreeMap::new(),
            waiting: VecDeque::new(),
        };
        watcher.take(first);
        watcher
    }

    /// The next line, or an empty one after a while.
    async fn next(&mut self) -> Bytes {
        let mut looks = 0;
        loop {
            if let Some(event) = self.waiting.pop_front() {
                let text = serde_json::to_string(&event).unwrap_or_default();
                return Bytes::from(format!("{text}\n"));
            }
            if looks == QUIET {
                return Bytes::from_static(b"\n");
            }
            looks += 1;
            tokio::time::sleep(LOOK).await;
            // A store that is away comes back; what happened meanwhile is told then.
            if let Err(error) = self.look().await {
                tracing::debug!(%error, "a watch of events waits for the store");
            }
        }
    }

    async fn look(&mut self) -> store::Result<()> {
        let (few, most) = (USUAL as usize, MOST as usize);
        let mut latest = self.api.store.events(self.agent.as_ref(), few).await?;
        // Newest first: when the last of a few is news, there may be more behind it.
        if latest.len() == few && latest.last().is_some_and(|event| self.is_news(event)) {
            latest = self.api.store.events(self.agent.as_ref(), most).await?;
        }
        self.take(latest);
        Ok(())
    }

    fn is_news(&self, event: &EventRecord) -> bool {
        self.told
            .get(&key(event))
            .is_none_or(|count| *count < event.count)
    }

    fn take(&mut self, newest_first: Vec<EventRecord>) {
        let news: Vec<EventRecord> = newest_first
            .into_iter()
            .rev()
            .filter(|event| self.is_news(event))
            .collect();
        for event in news {
            self.told.insert(key(&event), event.count);
            self.waiting.push_back(event);
        }
        // The oldest are not among the latest any more.
        while self.told.len() > 2 * MOST as usize {
            let oldest = self.told.keys().min_by_key(|(_, _, first)| *first).cloned();
            let Some(oldest) = oldest else { break };
            self.told.remove(&oldest);
        }
    }
}

fn key(event: &EventRecord) -> EventKey {
    (event.agent.clone(), event.reason.clone(), event.first_seen)
}
