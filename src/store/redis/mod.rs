//! The store in Redis: the adapter of [`AgentStore`].
//!
//! Owns the keys of `keys::Keys` that hold specs, statuses, changes, tombstones, revisions and events; each transition is one
//! script of `scripts/`. The journal's keys are not its business. Made by `app`; works with any Redis from 6.2 on, without
//! a cluster. Nothing connects before the first call, and an outage shows as [`LinkError::Unreachable`](crate::redis_link::LinkError::Unreachable) of each call.

mod commit;
mod events;
mod lives;
mod members;
mod record;
mod watch;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ::redis::Script;
use async_trait::async_trait;
use futures::stream::BoxStream;

use super::{
    AgentList, AgentStore, Beat, Change, ClusterRecord, MemberId, Muster, Reservation, Result,
    StoreError, Write,
};
use crate::agent::{
    Agent, AgentStatus, ClusterId, EventRecord, Metadata, ResourceVersion, Revision,
    RevisionRecord, Uid,
};
use crate::clock;
use crate::keys::Keys;
use crate::names::AgentName;
use crate::redis_link::{Link, Repeat};
use crate::tokens::ServerKey;

/// How the store is kept.
#[derive(Clone, Debug)]
pub struct RedisStoreOptions {
    /// Under which prefix.
    pub keys: Keys,
    /// How many changes a watcher may be behind before it must list again.
    pub changes_kept: u32,
    /// How many events are kept, of all agents.
    pub events_kept: u32,
    /// The longest that one call takes.
    pub deadline: Duration,
    /// The longest that one blocking read takes: a watcher learns of a wiped store after at most this.
    pub block: Duration,
}

impl Default for RedisStoreOptions {
    fn default() -> Self {
        Self {
            keys: Keys::default(),
            changes_kept: 10_000,
            events_kept: 2_000,
            deadline: Duration::from_secs(5),
            block: Duration::from_secs(2),
        }
    }
}

/// How many ends of agents are remembered.
const TOMBSTONES_KEPT: u32 = 100_000;

/// Specs, statuses and events in Redis. Clones share one connection and one lease.
#[derive(Clone)]
pub struct RedisStore {
    link: Link,
    keys: Keys,
    options: std::sync::Arc<RedisStoreOptions>,
    scripts: std::sync::Arc<Scripts>,
    /// The term of the last lease that this server held; 0: it held none yet.
    term: std::sync::Arc<AtomicU64>,
}

impl std::fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisStore")
            .field("address", &self.link.address())
            .field("prefix", &self.keys.prefix())
            .finish_non_exhaustive()
    }
}

struct Scripts {
    read: Script,
    list: Script,
    reach: Script,
    commit: Script,
    put_status: Script,
    found: Script,
    reserve: Script,
    record_event: Script,
    beat: Script,
    leave: Script,
}

impl Scripts {
    fn new() -> Self {
        let with_changes = |text: &str| {
            let shared = include_str!("scripts/changes.lua");
            Script::new(&format!("{shared}\n{text}"))
        };
        Self {
            read: Script::new(include_str!("scripts/read.lua")),
            list: with_changes(include_str!("scripts/list.lua")),
            reach: with_changes(include_str!("scripts/reach.lua")),
            commit: with_changes(include_str!("scripts/commit.lua")),
            put_status: with_changes(include_str!("scripts/put_status.lua")),
            found: with_changes(include_str!("scripts/found.lua")),
            reserve: Script::new(include_str!("scripts/reserve.lua")),
            record_event: Script::new(include_str!("scripts/record_event.lua")),
            beat: Script::new(include_str!("scripts/beat.lua")),
            leave: Script::new(include_str!("scripts/leave.lua")),
        }
    }
}

impl RedisStore {
    /// A store at `url`: `redis://[user[:password]@]host[:port][/db]` or `redis+unix:///path`. Must be called within a tokio
    /// runtime; connects at the first call.
    ///
    /// # Errors
    /// [`LinkError::Address`](crate::redis_link::LinkError::Address) when the URL is none of ours; the text never repeats it.
    pub fn new(url: &str, options: RedisStoreOptions) -> Result<Self> {
        Ok(Self {
            link: Link::new(url, options.deadline)?,
            keys: options.keys.clone(),
            options: std::sync::Arc::new(options),
            scripts: std::sync::Arc::new(Scripts::new()),
            term: std::sync::Arc::default(),
        })
    }

    /// Where the store is, without a password: `host:port` or a path.
    pub fn address(&self) -> String {
        self.link.address().to_owned()
    }
}

#[async_trait]
impl AgentStore for RedisStore {
    async fn cluster(&self) -> Result<Option<ClusterRecord>> {
        let mut command = ::redis::cmd("HMGET");
        command.arg(self.keys.cluster()).arg("id").arg("epoch");
        let (id, epoch): (Option<String>, Option<u64>) =
            self.link.ask("read of the cluster id", &command).await?;
        Ok(id.map(|id| ClusterRecord {
            id: ClusterId(id),
            epoch: epoch.unwrap_or(0),
        }))
    }

    async fn found(&self, id: &ClusterId, epoch: u64) -> Result<ClusterRecord> {
        // A million versions a second since 1970: above all that a store before this one ever gave, and exact in Lua.
        let first = clock::now().as_microsecond().max(0);
        let mut call = self.scripts.found.prepare_invoke();
        call.key(self.keys.cluster())
            .key(self.keys.version())
            .key(self.keys.changes())
            .arg(id.as_str())
            .arg(epoch)
            .arg(first);
        let (id, epoch): (String, u64) = self.link.run("founding", &call, Repeat::Harmless).await?;
        Ok(ClusterRecord {
            id: ClusterId(id),
            epoch,
        })
    }

    async fn list(&self) -> Result<AgentList> {
        record::list(self).await
    }

    async fn get(&self, name: &AgentName) -> Result<Option<Agent>> {
        let found = record::read(self, std::slice::from_ref(name)).await?;
        Ok(found.into_iter().next().flatten())
    }

    async fn applied(&self, name: &AgentName) -> Result<Option<serde_json::Value>> {
        let mut command = ::redis::cmd("HGET");
        command.arg(self.keys.applied()).arg(name.as_str());
        let text: Option<Vec<u8>> = self.link.ask("read of a manifest", &command).await?;
        text.map(|text| {
            serde_json::from_slice(&text).map_err(|source| StoreError::Corrupt {
                what: format!("agent '{name}' as last applied"),
                source,
            })
        })
        .transpose()
    }

    async fn commit(&self, writes: &[Write]) -> Result<Vec<Option<Agent>>> {
        commit::commit(self, writes).await
    }

    async fn watch(&self, after: ResourceVersion) -> Result<BoxStream<'static, Result<Change>>> {
        watch::watch(self.clone(), after).await
    }

    async fn put_status(&self, read: &Metadata, status: &AgentStatus) -> Result<()> {
        let name = &read.name;
        let mut call = self.scripts.put_status.prepare_invoke();
        call.key(self.keys.agents())
            .key(self.keys.statuses())
            .key(self.keys.version())
            .key(self.keys.changes())
            .key(self.keys.lease())
            .arg(self.options.changes_kept)
            .arg(name.as_str())
            .arg(read.uid.as_str())
            .arg(read.resource_version.0)
            .arg(record::json("status", name, status)?)
            .arg(self.term.load(Ordering::Relaxed));
        let (written, version): (i64, u64) = self
            .link
            .run("write of a status", &call, Repeat::Harmless)
            .await?;
        match written {
            -1 => Err(StoreError::Superseded),
            -2 => Err(StoreError::Conflict {
                name: name.clone(),
                actual: Some(ResourceVersion(version)),
            }),
            _ => Ok(()),
        }
    }

    async fn tombstones(&self, uids: &[Uid]) -> Result<Vec<Uid>> {
        lives::tombstones(self, uids).await
    }

    async fn reserve(&self, uid: &Uid, ordinal: u32, after: u64) -> Result<Reservation> {
        lives::reserve(self, uid, ordinal, after).await
    }

    async fn revisions(&self, uid: &Uid) -> Result<Vec<RevisionRecord>> {
        lives::revisions(self, uid).await
    }

    async fn put_revision(&self, uid: &Uid, record: &RevisionRecord) -> Result<()> {
        lives::put_revision(self, uid, record).await
    }

    async fn forget_revision(&self, uid: &Uid, revision: &Revision) -> Result<()> {
        lives::forget_revision(self, uid, revision).await
    }

    async fn record_event(&self, event: &EventRecord) -> Result<()> {
        events::record(self, event).await
    }

    async fn events(&self, agent: Option<&AgentName>, limit: usize) -> Result<Vec<EventRecord>> {
        events::latest(self, agent, limit).await
    }

    async fn beat(&self, beat: &Beat) -> Result<Muster> {
        members::beat(self, beat).await
    }

    async fn leave(&self, member: &MemberId) -> Result<()> {
        members::leave(self, member).await
    }

    async fn share_key(&self, ours: &ServerKey) -> Result<ServerKey> {
        members::share_key(self, ours).await
    }

    async fn ping(&self) -> Result<()> {
        let mut command = ::redis::cmd("SET");
        command
            .arg(self.keys.ping())
            .arg(clock::now().as_millisecond());
        Ok(self.link.ask("test write", &command).await?)
    }
}
