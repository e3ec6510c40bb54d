//! The change stream as a stream of changes: a blocking reader on a connection of its own.
//!
//! Versions and entries go together without a gap, so an entry that is not the next one means that some were trimmed. While
//! nothing comes, the position is compared with the store's, since a wiped store tells nobody.

use std::collections::VecDeque;

use ::redis::aio::MultiplexedConnection;
use ::redis::streams::StreamReadReply;
use futures::stream::{self, BoxStream, StreamExt as _};

use super::super::{Change, ChangeKind, Result, StoreError};
use super::{RedisStore, record};
use crate::agent::ResourceVersion;
use crate::names::AgentName;
use crate::redis_link::Repeat;

/// Entries read in one go.
const BATCH: usize = 256;

pub(super) async fn watch(
    store: RedisStore,
    after: ResourceVersion,
) -> Result<BoxStream<'static, Result<Change>>> {
    let watcher = Watcher {
        store,
        connection: None,
        position: after.0,
        ready: VecDeque::new(),
        ended: false,
    };
    watcher.check().await?;
    Ok(stream::unfold(watcher, |mut watcher| async move {
        let item = watcher.next().await?;
        Some((item, watcher))
    })
    .boxed())
}

struct Watcher {
    store: RedisStore,
    connection: Option<MultiplexedConnection>,
    /// The last version read.
    position: u64,
    ready: VecDeque<Change>,
    ended: bool,
}

struct Entry {
    version: u64,
    name: AgentName,
    kind: ChangeKind,
}

impl Watcher {
    async fn next(&mut self) -> Option<Result<Change>> {
        if self.ended {
            return None;
        }
        loop {
            if let Some(change) = self.ready.pop_front() {
                return Some(Ok(change));
            }
            if let Err(error) = self.fill().await {
                self.connection = None;
                self.ended = error.class() != super::super::StoreClass::Transient;
                return Some(Err(error));
            }
        }
    }

    /// Waits for changes for a while; there may be none.
    async fn fill(&mut self) -> Result<()> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let block = self.store.options.block;
                let connection = self.store.link.dedicated(block).await?;
                self.check().await?;
                connection
            }
        };
        let entries = self.read(&mut connection).await?;
        if entries.is_empty() {
            self.check().await?;
        } else {
            self.join(entries).await?;
        }
        self.connection = Some(connection);
        Ok(())
    }

    async fn read(&self, connection: &mut MultiplexedConnection) -> Result<Vec<Entry>> {
        let mut command = ::redis::cmd("XREAD");
        command
            .arg("COUNT")
            .arg(BATCH)
            .arg("BLOCK")
            .arg(u64::try_from(self.store.options.block.as_millis()).unwrap_or(1000))
            .arg("STREAMS")
            .arg(self.store.keys.changes())
            .arg(format!("{}-0", self.position));
        let reply: Option<StreamReadReply> = command
            .query_async(connection)
            .await
            .map_err(|error| self.store.link.error("watch", &error))?;
        let ids = reply.into_iter().flat_map(|reply| reply.keys);
        ids.flat_map(|key| key.ids).map(entry).collect()
    }

    /// Adds the agents to what was read.
    async fn join(&mut self, entries: Vec<Entry>) -> Result<()> {
        let mut last = self.position;
        for entry in &entries {
            if entry.version != last + 1 {
                return Err(StoreError::Expired);
            }
            last = entry.version;
        }
        let mut names: Vec<AgentName> = entries.iter().map(|entry| entry.name.clone()).collect();
        names.sort();
        names.dedup();
        let agents = record::read(&self.store, &names).await?;
        for entry in entries {
            let agent = match (entry.kind, names.binary_search(&entry.name)) {
                (ChangeKind::Object | ChangeKind::Status, Ok(at)) => {
                    agents.get(at).cloned().flatten()
                }
                _ => None,
            };
            self.ready.push_back(Change {
                resource_version: ResourceVersion(entry.version),
                name: entry.name,
                kind: match &agent {
                    Some(_) => entry.kind,
                    None => ChangeKind::Gone,
                },
                agent,
            });
        }
        self.position = last;
        Ok(())
    }

    /// Whether the stream still goes on from our position.
    async fn check(&self) -> Result<()> {
        let mut call = self.store.scripts.reach.prepare_invoke();
        call.key(self.store.keys.version())
            .key(self.store.keys.changes());
        let (version, first): (u64, Option<String>) = self
            .store
            .link
            .run("watch", &call, Repeat::Harmless)
            .await?;
        let first = first.map(|first| number(&first));
        let reaches = match first {
            Some(first) => self.position.saturating_add(1) >= first?,
            None => false,
        };
        if self.position == version || (self.position < version && reaches) {
            Ok(())
        } else {
            Err(StoreError::Expired)
        }
    }
}

fn corrupt(what: &str) -> StoreError {
    StoreError::Corrupt {
        what: "a change".to_owned(),
        source: serde::de::Error::custom(what),
    }
}

fn number(id: &str) -> Result<u64> {
    let number = id.strip_suffix("-0").and_then(|text| text.parse().ok());
    number.ok_or_else(|| corrupt("its id is none of ours"))
}

fn entry(id: ::redis::streams::StreamId) -> Result<Entry> {
    let text = |field: &str| {
        id.get::<String>(field)
            .ok_or_else(|| corrupt("a field is missing"))
    };
    Ok(Entry {
        version: number(&id.id)?,
        name: text("name")?
            .parse()
            .map_err(|_| corrupt("the name is none of ours"))?,
        kind: match text("kind")?.as_str() {
            "object" => ChangeKind::Object,
            "status" => ChangeKind::Status,
            "gone" => ChangeKind::Gone,
            _ => return Err(corrupt("its kind is unknown")),
        },
    })
}
