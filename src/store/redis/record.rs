//! Objects as they stand in Redis: a head that scripts read, and JSON that they do not.

use std::collections::HashMap;

use serde::Serialize;

use super::super::{AgentList, Result, StoreError};
use super::RedisStore;
use crate::agent::{Agent, AgentSpec, AgentStatus, Metadata, ResourceVersion, Uid};
use crate::names::AgentName;
use crate::redis_link::Repeat;

/// An agent without its status.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Stored<'a> {
    api_version: &'a str,
    kind: &'a str,
    metadata: &'a Metadata,
    spec: &'a AgentSpec,
}

/// The object as JSON, without its status.
pub(super) fn object(agent: &Agent) -> Result<Vec<u8>> {
    let stored = Stored {
        api_version: &agent.api_version,
        kind: &agent.kind,
        metadata: &agent.metadata,
        spec: &agent.spec,
    };
    json("object", &agent.metadata.name, &stored)
}

/// A value of an agent as JSON.
pub(super) fn json(what: &str, name: &AgentName, value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|source| StoreError::Corrupt {
        what: format!("the {what} of agent '{name}'"),
        source,
    })
}

/// Puts an agent together: head, object, status.
pub(super) fn agent(name: &str, record: &[u8], status: Option<&[u8]>) -> Result<Agent> {
    let corrupt = |what: &'static str| {
        move |source| StoreError::Corrupt {
            what: format!("the {what} of agent '{name}'"),
            source,
        }
    };
    let at = record.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let (head, body) = record.split_at(at);
    let mut agent: Agent = serde_json::from_slice(body).map_err(corrupt("object"))?;
    let headless = || corrupt("head")(serde::de::Error::custom("it has no head"));
    let head = std::str::from_utf8(head).map_err(|_| headless())?;
    let mut parts = head.split(' ');
    let (Some(version), Some(uid), Some(_finalizers), Some(deletion)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(headless());
    };
    agent.metadata.resource_version = ResourceVersion(version.parse().map_err(|_| headless())?);
    agent.metadata.uid = Uid(uid.to_owned());
    agent.metadata.deletion_timestamp = match deletion {
        "" => None,
        text => Some(text.parse().map_err(|_| headless())?),
    };
    agent.status = match status {
        Some(status) => serde_json::from_slice(status).map_err(corrupt("status"))?,
        None => AgentStatus::default(),
    };
    Ok(agent)
}

/// Some agents, in the order of `names`, in one round trip.
pub(super) async fn read(store: &RedisStore, names: &[AgentName]) -> Result<Vec<Option<Agent>>> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let mut call = store.scripts.read.prepare_invoke();
    call.key(store.keys.agents()).key(store.keys.statuses());
    for name in names {
        call.arg(name.as_str());
    }
    let texts: Vec<Option<Vec<u8>>> = store.link.run("read", &call, Repeat::Harmless).await?;
    names
        .iter()
        .zip(texts.chunks(2))
        .map(|(name, pair)| match pair {
            [Some(record), status] => agent(name.as_str(), record, status.as_deref()).map(Some),
            _ => Ok(None),
        })
        .collect()
}

/// All agents, in one round trip and at one position.
pub(super) async fn list(store: &RedisStore) -> Result<AgentList> {
    let mut call = store.scripts.list.prepare_invoke();
    call.key(store.keys.agents())
        .key(store.keys.statuses())
        .key(store.keys.version())
        .key(store.keys.changes());
    type Records = HashMap<String, Vec<u8>>;
    let (version, records, statuses): (u64, Records, Records) =
        store.link.run("list", &call, Repeat::Harmless).await?;
    let mut agents = records
        .iter()
        .map(|(name, record)| agent(name, record, statuses.get(name).map(Vec::as_slice)))
        .collect::<Result<Vec<Agent>>>()?;
    agents.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    Ok(AgentList {
        agents,
        resource_version: ResourceVersion(version),
    })
}
