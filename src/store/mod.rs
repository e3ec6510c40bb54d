//! Where specs, statuses, revisions, tombstones and events are kept: one port, [`AgentStore`], and its adapter for
//! Redis.
//!
//! Owns the layout and the atomicity of every transition: one Lua script each. `redis` appears in the adapter only.
//! Called by `reconcile` and `api`.

pub mod error;
mod members;
pub mod redis;

use async_trait::async_trait;
use futures::stream::BoxStream;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::error::{StoreClass, StoreError};
pub use self::members::{Beat, Drained, Lease, MemberId, Muster, Report};
use crate::agent::{
    Agent, AgentStatus, ClusterId, EventRecord, Metadata, ResourceVersion, Revision,
    RevisionRecord, Uid,
};
use crate::names::AgentName;
use crate::tokens::ServerKey;

/// The result of every call to the store.
pub type Result<T> = std::result::Result<T, StoreError>;

/// The store. Every call has a deadline; after a [`StoreClass::Transient`] error the write may have happened.
#[async_trait]
pub trait AgentStore: Send + Sync + 'static {
    /// Whose store this is; `None`: nobody's yet, or wiped.
    async fn cluster(&self) -> Result<Option<ClusterRecord>>;
    /// Makes the store ours unless it is somebody's already; answers whose it is.
    async fn found(&self, id: &ClusterId, epoch: u64) -> Result<ClusterRecord>;

    /// Every agent with its status, and the position to watch from.
    async fn list(&self) -> Result<AgentList>;
    /// One agent with its status.
    async fn get(&self, name: &AgentName) -> Result<Option<Agent>>;
    /// What the owner's manifest of an agent last named, for a three-way merge; `None`: never applied.
    async fn applied(&self, name: &AgentName) -> Result<Option<serde_json::Value>>;
    /// Carries out all writes or none, each with a version of its own. Answers the objects as they are now, in order;
    /// `None` for what is gone.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] names the first object whose version is not the expected one, or that is named twice
    /// (by more than [`Write::Check`]); nothing is written.
    async fn commit(&self, writes: &[Write]) -> Result<Vec<Option<Agent>>>;
    /// Changes after a position, in order, without end. The stream yields a [`StoreClass::Transient`] error while the
    /// store is away and goes on from where it was when asked again; after any other error it ends.
    ///
    /// # Errors
    /// [`StoreError::Expired`], at once or later, when the stream was trimmed past the position, or the position is
    /// ahead of the store's (it was wiped, or an older backup restored): list again.
    async fn watch(&self, after: ResourceVersion) -> Result<BoxStream<'static, Result<Change>>>;

    /// Publishes a status that rests on the object as it was `read`, if that life of the agent goes on and the status
    /// differs. Wakes watchers; changes no resource version of the object.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the object was written or restored since; [`StoreError::Superseded`] when this server
    /// held the lease once and another one has taken it since.
    async fn put_status(&self, read: &Metadata, status: &AgentStatus) -> Result<()>;

    /// Which of these lives of agents are known to be deleted.
    async fn tombstones(&self, uids: &[Uid]) -> Result<Vec<Uid>>;
    /// Reserves the next incarnation of an ordinal, above `after` and above all reserved before, and moves the
    /// address cursor on by one.
    async fn reserve(&self, uid: &Uid, ordinal: u32, after: u64) -> Result<Reservation>;
    /// The revisions of one life of an agent, oldest first.
    async fn revisions(&self, uid: &Uid) -> Result<Vec<RevisionRecord>>;
    /// Keeps a revision's record; an existing one of the same revision is replaced.
    async fn put_revision(&self, uid: &Uid, record: &RevisionRecord) -> Result<()>;
    /// Forgets a revision; `Ok` when there is none of it.
    async fn forget_revision(&self, uid: &Uid, revision: &Revision) -> Result<()>;

    /// Adds to the capped stream of events; one of the same agent and reason within the hour counts up instead.
    async fn record_event(&self, event: &EventRecord) -> Result<()>;
    /// The latest events, newest first, of one agent or of all.
    async fn events(&self, agent: Option<&AgentName>, limit: usize) -> Result<Vec<EventRecord>>;
    /// A sign of life of one of the servers on this store: says what it reports, takes or renews the lease when it is free or
    /// its own, and answers who else lives. Leases and lives end by the store's own time.
    async fn beat(&self, beat: &Beat) -> Result<Muster>;
    /// A server ends: its lease is free and its report is gone.
    async fn leave(&self, member: &MemberId) -> Result<()>;
    /// The key under which agents' tokens are signed, one for all servers on this store: the first one that was offered.
    async fn share_key(&self, ours: &ServerKey) -> Result<ServerKey>;

    /// Whether the store answers and takes writes.
    async fn ping(&self) -> Result<()>;
}

/// Whose store this is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterRecord {
    /// The cluster.
    pub id: ClusterId,
    /// Counts foundings and restores; containers carry it, so that an older store is known by it.
    pub epoch: u64,
}

/// All agents at one position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentList {
    /// Sorted by name.
    pub agents: Vec<Agent>,
    /// Watch from here.
    pub resource_version: ResourceVersion,
}

/// One write of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// A new agent; Conflict when one of that name exists. `resource_version` is given by the store. With it goes
    /// `applied`, what its owner's manifest named (for the next three-way merge).
    Create {
        /// The object; its status is ignored.
        agent: Box<Agent>,
        /// The manifest's fields, as written.
        applied: Option<serde_json::Value>,
    },
    /// A changed agent; Conflict when its version is not `expected` or its uid another. A deletion once asked for
    /// stays; an agent being deleted goes when its last finalizer does.
    Update {
        /// The object; its status is ignored.
        agent: Box<Agent>,
        /// The version that the change rests on.
        expected: ResourceVersion,
        /// The manifest's fields, as written; `None` leaves what is kept.
        applied: Option<serde_json::Value>,
    },
    /// An agent as it was before the store lost it, or in place of an older one that it has: with its uid, with a status and
    /// with its revisions, so that nobody ever sees it without them. Conflict as of a [`Write::Create`], or as of a
    /// [`Write::Update`] when a version is expected.
    Restore {
        /// The object and its status.
        agent: Box<Agent>,
        /// The version of the older object; `None`: there is none.
        expected: Option<ResourceVersion>,
        /// The manifest's fields, as written; `None` leaves what is kept.
        applied: Option<serde_json::Value>,
        /// Of its life; those of other revisions that the store has stay.
        revisions: Vec<RevisionRecord>,
    },
    /// Asks for deletion: sets `deletionTimestamp`; removes the object at once when it has no finalizers. Nothing
    /// happens when that was asked before, or when there is no such agent and no version is expected.
    Delete {
        /// Which.
        name: AgentName,
        /// The version that the wish rests on; `None`: whatever it is.
        expected: Option<ResourceVersion>,
        /// When.
        at: Timestamp,
    },
    /// Removes our finalizer from a deleted agent; the object goes and a tombstone comes, in one step. Conflict when
    /// the agent is not of this life or not being deleted.
    Finalize {
        /// Which.
        name: AgentName,
        /// Of which life.
        uid: Uid,
        /// When.
        at: Timestamp,
    },
    /// Nothing changes, but Conflict when the version is not `expected` (so that a bundle is judged as a whole).
    Check {
        /// Which.
        name: AgentName,
        /// The version.
        expected: ResourceVersion,
    },
}

/// One change, as a watcher sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its position.
    pub resource_version: ResourceVersion,
    /// Of which agent.
    pub name: AgentName,
    /// What kind.
    pub kind: ChangeKind,
    /// The agent with its status as read after the change, so perhaps newer; `None` exactly when the kind is
    /// [`ChangeKind::Gone`].
    pub agent: Option<Agent>,
}

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// The object: metadata or spec.
    Object,
    /// The status alone.
    Status,
    /// The object is gone.
    Gone,
}

/// A reserved place for a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// The incarnation.
    pub incarnation: u64,
    /// Where to begin to look for a free address.
    pub address_cursor: u64,
}
