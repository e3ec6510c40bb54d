//! Events worth telling people: capped, and counted up where they repeat.

use super::super::{Result, StoreError};
use super::RedisStore;
use crate::agent::EventRecord;
use crate::names::AgentName;
use crate::redis_link::Repeat;

/// Within this time an event of the same agent and reason counts up.
const WINDOW_MS: u32 = 3_600_000;

pub(super) async fn record(store: &RedisStore, event: &EventRecord) -> Result<()> {
    let agent = event.agent.as_ref().map_or("", AgentName::as_str);
    let json = serde_json::to_vec(event).map_err(corrupt)?;
    let mut call = store.scripts.record_event.prepare_invoke();
    call.key(store.keys.events())
        .key(store.keys.events_order())
        .key(store.keys.events_current())
        .arg(format!("{agent}/{}", event.reason))
        .arg(event.first_seen.to_string())
        .arg(event.last_seen.as_millisecond())
        .arg(event.count.max(1))
        .arg(json)
        .arg(WINDOW_MS)
        .arg(store.options.events_kept);
    let _id: String = store
        .link
        .run("write of an event", &call, Repeat::Never)
        .await?;
    Ok(())
}

pub(super) async fn latest(
    store: &RedisStore,
    agent: Option<&AgentName>,
    limit: usize,
) -> Result<Vec<EventRecord>> {
    if limit == 0 {
        return Ok(Vec::new());
    }
    let mut command = ::redis::cmd("ZREVRANGE");
    command.arg(store.keys.events_order()).arg(0).arg(-1);
    let ids: Vec<String> = store.link.ask("read of events", &command).await?;
    let prefix = agent.map_or_else(String::new, |agent| format!("{agent}/"));
    let wanted: Vec<&String> = ids
        .iter()
        .filter(|id| id.starts_with(&prefix))
        .take(limit)
        .collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let mut command = ::redis::cmd("HMGET");
    command.arg(store.keys.events()).arg(wanted);
    let texts: Vec<Option<String>> = store.link.ask("read of events", &command).await?;
    texts.iter().flatten().map(|text| parse(text)).collect()
}

fn corrupt(source: serde_json::Error) -> StoreError {
    StoreError::Corrupt {
        what: "an event".to_owned(),
        source,
    }
}

fn parse(text: &str) -> Result<EventRecord> {
    let (head, body) = text.split_once('\n').unwrap_or_default();
    let mut event: EventRecord = serde_json::from_str(body).map_err(corrupt)?;
    let mut parts = head.split(' ');
    let count = parts.next().and_then(|count| count.parse().ok());
    let first = parts.next().and_then(|first| first.parse().ok());
    event.count = count.unwrap_or(event.count);
    event.first_seen = first.unwrap_or(event.first_seen);
    Ok(event)
}
