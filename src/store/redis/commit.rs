//! Writes of a bundle as arguments of one script, and its answer.

use ::redis::ScriptInvocation;

use super::super::{Result, StoreError, Write};
use super::{RedisStore, TOMBSTONES_KEPT, record};
use crate::agent::{Agent, ResourceVersion};
use crate::clock;
use crate::names::AgentName;
use crate::redis_link::{LinkError, Repeat};

pub(super) async fn commit(store: &RedisStore, writes: &[Write]) -> Result<Vec<Option<Agent>>> {
    if writes.is_empty() {
        return Ok(Vec::new());
    }
    let keys = &store.keys;
    let mut call = store.scripts.commit.prepare_invoke();
    call.key(keys.agents())
        .key(keys.statuses())
        .key(keys.applied())
        .key(keys.version())
        .key(keys.changes())
        .key(keys.tombstones())
        .arg(store.options.changes_kept)
        .arg(TOMBSTONES_KEPT)
        .arg(keys.revisions(""))
        .arg(keys.incarnations(""));
    let now = clock::now().as_millisecond();
    for write in writes {
        add(&mut call, write, now)?;
    }
    let answer: Vec<Option<Vec<u8>>> = store.link.run("commit", &call, Repeat::Never).await?;
    read(writes, &answer)
}

/// The nine arguments of one write, in the order that the script reads them; of a restored one with its status and its
/// revisions behind.
fn add(call: &mut ScriptInvocation<'_>, write: &Write, now: i64) -> Result<()> {
    let common = |call: &mut ScriptInvocation<'_>, op: &str, name: &AgentName, uid: &str| {
        call.arg(op).arg(name.as_str()).arg(uid);
    };
    let object = |call: &mut ScriptInvocation<'_>,
                  agent: &Agent,
                  applied: &Option<serde_json::Value>|
     -> Result<()> {
        let metadata = &agent.metadata;
        let deletion = metadata.deletion_timestamp;
        call.arg(metadata.finalizers.len())
            .arg(deletion.map_or_else(String::new, |at| at.to_string()))
            .arg(now)
            .arg(record::object(agent)?)
            .arg(match applied {
                Some(applied) => record::json("manifest", &metadata.name, applied)?,
                None => Vec::new(),
            });
        Ok(())
    };
    let bare = |call: &mut ScriptInvocation<'_>, deletion: String, ms: i64| {
        call.arg(0).arg(deletion).arg(ms).arg("").arg("");
    };
    match write {
        Write::Create { agent, applied } => {
            let metadata = &agent.metadata;
            common(call, "create", &metadata.name, metadata.uid.as_str());
            call.arg("");
            object(call, agent, applied)?;
        }
        Write::Update {
            agent,
            expected,
            applied,
        } => {
            let metadata = &agent.metadata;
            common(call, "update", &metadata.name, metadata.uid.as_str());
            call.arg(expected.0);
            object(call, agent, applied)?;
        }
        Write::Restore {
            agent,
            expected,
            applied,
            revisions,
        } => {
            let metadata = &agent.metadata;
            common(call, "restore", &metadata.name, metadata.uid.as_str());
            call.arg(expected.map_or_else(String::new, |version| version.to_string()));
            object(call, agent, applied)?;
            call.arg(record::json("status", &metadata.name, &agent.status)?)
                .arg(revisions.len());
            for kept in revisions {
                call.arg(kept.revision.as_str()).arg(record::json(
                    "history",
                    &metadata.name,
                    kept,
                )?);
            }
        }
        Write::Delete { name, expected, at } => {
            common(call, "delete", name, "");
            call.arg(expected.map_or_else(String::new, |version| version.to_string()));
            bare(call, at.to_string(), at.as_millisecond());
        }
        Write::Finalize { name, uid, at } => {
            common(call, "finalize", name, uid.as_str());
            call.arg("");
            bare(call, String::new(), at.as_millisecond());
        }
        Write::Check { name, expected } => {
            common(call, "check", name, "");
            call.arg(expected.0);
            bare(call, String::new(), now);
        }
    }
    Ok(())
}

fn name(write: &Write) -> &AgentName {
    match write {
        Write::Create { agent, .. }
        | Write::Update { agent, .. }
        | Write::Restore { agent, .. } => &agent.metadata.name,
        Write::Delete { name, .. } | Write::Finalize { name, .. } | Write::Check { name, .. } => {
            name
        }
    }
}

fn read(writes: &[Write], answer: &[Option<Vec<u8>>]) -> Result<Vec<Option<Agent>>> {
    let unexpected = || LinkError::Refused {
        call: "commit",
        message: "unexpected answer".to_owned(),
    };
    match answer.split_first() {
        Some((Some(word), rest)) if word == b"ok" => writes
            .iter()
            .zip(rest.chunks(2))
            .map(|(write, pair)| match pair {
                [Some(record), status] => {
                    record::agent(name(write).as_str(), record, status.as_deref()).map(Some)
                }
                _ => Ok(None),
            })
            .collect(),
        Some((Some(word), [Some(refused), version])) if word == b"conflict" => {
            let name = writes
                .iter()
                .map(name)
                .find(|name| name.as_str().as_bytes() == refused)
                .ok_or_else(unexpected)?;
            let version = version
                .as_deref()
                .and_then(|text| std::str::from_utf8(text).ok())
                .and_then(|text| text.parse().ok());
            Err(StoreError::Conflict {
                name: name.clone(),
                actual: version.map(ResourceVersion),
            })
        }
        _ => Err(unexpected().into()),
    }
}
