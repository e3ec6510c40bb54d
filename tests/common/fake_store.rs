//! The store in memory: `AgentStore` with the same meaning as the one in Redis, which the contract suite holds both to.
//!
//! For simulations: deterministic, and each call can be made to fail before or after it took effect.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use agentainer::agent::{
    Agent, AgentStatus, ClusterId, EventRecord, Metadata, ResourceVersion, Revision,
    RevisionRecord, Uid,
};
use agentainer::names::AgentName;
use agentainer::store::{
    AgentList, AgentStore, Beat, Change, ChangeKind, ClusterRecord, Lease, MemberId, Muster,
    Report, Reservation, Result, StoreClass, StoreError, Write,
};
use agentainer::tokens::ServerKey;
use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

/// How a call fails.
#[derive(Debug)]
pub enum Fault {
    /// Nothing happened.
    Before(StoreError),
    /// It took effect, and the answer was lost.
    After(StoreError),
    /// It takes so long to arrive, and its answer so long to come back.
    Slow { before: Duration, after: Duration },
    /// So much later, this.
    Then(Duration, Box<Fault>),
    /// It fails at once, and happens all the same, so much later.
    Late(Duration, StoreError),
    /// It goes out so much later, whatever its caller waits for by then, unless that has died (`sent` hangs): what one that
    /// stood still in the middle of it does.
    Sent(Duration),
    /// It never answers and never happens.
    Hang,
    /// It happens, and the answer never comes: what a caller that died meanwhile saw.
    Mute,
    /// A read: its answer is as old as this caller's own last write.
    Old,
    /// A `change`: this watcher is not told of it.
    Drop,
}

type Hook = Box<dyn FnMut(&'static str) -> Option<Fault> + Send>;

/// What is known of a server: what it last said, until when that counts, and when it took effect.
type Sign = (Report, Instant, Instant);

/// The store in memory. Clones are the same store, seen by the same server.
#[derive(Clone)]
pub struct FakeStore {
    state: Arc<Mutex<State>>,
    hook: Arc<Mutex<Option<Hook>>>,
    moved: Arc<watch::Sender<u64>>,
    /// The highest version that a store before a wipe gave.
    given: Arc<Mutex<u64>>,
    /// One of several callers.
    one_of_several: bool,
    /// The store as it was after this caller's last write, where it may be answered from that.
    past: Option<Arc<Mutex<State>>>,
    /// The term of the last lease that this handle's server held.
    term: Arc<Mutex<u64>>,
    /// Whether it was told of another server by the last answer to a sign of life.
    company: Arc<Mutex<bool>>,
    changes_kept: usize,
    events_kept: usize,
}

#[derive(Clone, Default)]
struct State {
    cluster: Option<ClusterRecord>,
    version: u64,
    /// Without statuses.
    objects: BTreeMap<AgentName, Agent>,
    statuses: BTreeMap<AgentName, AgentStatus>,
    applied: BTreeMap<AgentName, serde_json::Value>,
    changes: VecDeque<(u64, AgentName, ChangeKind)>,
    tombstones: BTreeSet<Uid>,
    incarnations: BTreeMap<(Uid, u32), u64>,
    address_cursor: u64,
    revisions: BTreeMap<Uid, Vec<RevisionRecord>>,
    /// Oldest first.
    events: Vec<EventRecord>,
    /// Holder, and until when.
    lease: Option<(MemberId, Instant)>,
    term: u64,
    members: BTreeMap<MemberId, Sign>,
    /// How fast its clock runs, in hundredths of what everybody else's does.
    pace: Option<u32>,
    key: Option<ServerKey>,
}

impl Default for FakeStore {
    fn default() -> Self {
        Self::new(10_000, 2_000)
    }
}

impl FakeStore {
    /// An empty store that keeps so many changes and events.
    pub fn new(changes_kept: usize, events_kept: usize) -> Self {
        Self {
            state: Arc::default(),
            hook: Arc::default(),
            moved: Arc::new(watch::channel(0).0),
            given: Arc::default(),
            one_of_several: false,
            past: None,
            term: Arc::default(),
            company: Arc::default(),
            changes_kept,
            events_kept,
        }
    }

    /// Asks `hook` before each call (by its name; `next` for each step of a watch, and `change` for each that it tells)
    /// what shall go wrong with it.
    pub fn on_call(&self, hook: impl FnMut(&'static str) -> Option<Fault> + Send + 'static) {
        *self.hook.lock() = Some(Box::new(hook));
    }

    /// No more faults.
    pub fn heal(&self) {
        *self.hook.lock() = None;
    }

    /// The same store without the faults: what somebody else and the test itself see and do.
    pub fn by_hand(&self) -> Self {
        Self {
            hook: Arc::default(),
            ..self.clone()
        }
    }

    /// The same store as one of several callers has it: with faults of its own; whether it may be given old answers.
    pub fn caller(&self, remembers: bool) -> Self {
        let past = || Arc::new(Mutex::new(self.state.lock().clone()));
        Self {
            one_of_several: true,
            past: remembers.then(past),
            term: Arc::default(),
            company: Arc::default(),
            ..self.by_hand()
        }
    }

    /// The same store as another server has it, with the same faults.
    pub fn another(&self) -> Self {
        Self {
            term: Arc::default(),
            company: Arc::default(),
            ..self.clone()
        }
    }

    /// Its clock runs faster or slower from now on: in hundredths of what everybody else's does.
    pub fn set_pace(&self, pace: u32) {
        self.state.lock().pace = Some(pace);
    }

    /// Somebody deletes the lease.
    pub fn delete_lease(&self) {
        self.state.lock().lease = None;
    }

    /// Who holds the lease now, looked at without a call.
    pub fn holder(&self) -> Option<MemberId> {
        let state = self.state.lock();
        let lease = state.lease.as_ref();
        let held = lease.filter(|(_, until)| *until > Instant::now());
        held.map(|(holder, _)| holder.clone())
    }

    /// Whether this handle's server was told of another one when it was last answered.
    pub fn has_company(&self) -> bool {
        *self.company.lock()
    }

    /// When a server's last sign of life took effect, looked at without a call.
    pub fn last_sign(&self, member: &MemberId) -> Option<Instant> {
        let state = self.state.lock();
        state.members.get(member).map(|(_, _, at)| *at)
    }

    /// Forgets everything, as FLUSHALL does.
    pub fn wipe(&self) {
        let old = std::mem::take(&mut *self.state.lock());
        let mut given = self.given.lock();
        *given = old.version.max(*given);
        drop(given);
        self.moved.send_modify(|moves| *moves += 1);
    }

    /// What is there now, to go back to.
    pub fn backup(&self) -> Backup {
        Backup(self.state.lock().clone())
    }

    /// Goes back to a backup.
    pub fn restore(&self, backup: &Backup) {
        *self.state.lock() = backup.0.clone();
        self.moved.send_modify(|moves| *moves += 1);
    }

    fn remember(&self, state: &State) {
        if let Some(past) = &self.past {
            *past.lock() = state.clone();
        }
    }

    /// What is old for this caller is as it is now.
    pub fn catch_up(&self) {
        self.remember(&self.state.lock());
    }

    fn judge(&self, name: &'static str) -> Option<Fault> {
        self.hook.lock().as_mut().and_then(|hook| hook(name))
    }

    async fn call<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl FnOnce(&mut State) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let mut fault = self.judge(name);
        loop {
            return match fault {
                None => self.carry_out(name, work),
                Some(Fault::Before(error)) => Err(error),
                Some(Fault::After(error)) => {
                    let _ = self.carry_out(name, work);
                    Err(error)
                }
                Some(Fault::Slow { before, after }) => {
                    tokio::time::sleep(before).await;
                    let result = self.carry_out(name, work);
                    tokio::time::sleep(after).await;
                    result
                }
                Some(Fault::Then(time, then)) => {
                    tokio::time::sleep(time).await;
                    fault = Some(*then);
                    continue;
                }
                Some(Fault::Late(time, error)) => {
                    let later = self.clone();
                    tokio::spawn(async move {
                        tokio::time::sleep(time).await;
                        let _ = later.carry_out(name, work);
                    });
                    Err(error)
                }
                Some(Fault::Sent(time)) => {
                    let (tell, told) = tokio::sync::oneshot::channel();
                    let later = self.clone();
                    tokio::spawn(async move {
                        tokio::time::sleep(time).await;
                        if !matches!(later.judge("sent"), Some(Fault::Hang)) {
                            let _ = tell.send(later.carry_out(name, work));
                        }
                    });
                    match told.await {
                        Ok(answer) => answer,
                        Err(_) => std::future::pending().await,
                    }
                }
                Some(Fault::Hang | Fault::Drop) => std::future::pending().await,
                Some(Fault::Mute) => {
                    let _ = self.carry_out(name, work);
                    std::future::pending().await
                }
                Some(Fault::Old) => match self.past.as_ref().filter(|_| !writes(name)) {
                    Some(past) => work(&mut past.lock()),
                    None => self.carry_out(name, work),
                },
            };
        }
    }

    fn carry_out<T>(
        &self,
        name: &'static str,
        work: impl FnOnce(&mut State) -> Result<T>,
    ) -> Result<T> {
        let mut state = self.state.lock();
        let before = state.version;
        let result = work(&mut state);
        while state.changes.len() > self.changes_kept {
            state.changes.pop_front();
        }
        if changes(name) {
            self.remember(&state);
        }
        let moved = state.version != before;
        drop(state);
        if moved {
            self.moved.send_modify(|moves| *moves += 1);
        }
        result
    }
}

/// Whether a call changes anything.
pub fn writes(name: &str) -> bool {
    const READS: [&str; 10] = [
        "cluster",
        "list",
        "get",
        "applied",
        "watch",
        "next",
        "tombstones",
        "revisions",
        "events",
        "ping",
    ];
    !READS.contains(&name)
}

/// Whether a call changes what is read: a sign of life does not, whatever there is, and `change` is told, not asked.
pub fn changes(name: &str) -> bool {
    writes(name) && !["beat", "change"].contains(&name)
}

/// A store as it was.
#[derive(Clone)]
pub struct Backup(State);

impl State {
    fn get(&self, name: &AgentName) -> Option<Agent> {
        let mut agent = self.objects.get(name)?.clone();
        agent.status = self.statuses.get(name).cloned().unwrap_or_default();
        Some(agent)
    }

    fn change(&mut self, name: &AgentName, kind: ChangeKind) -> ResourceVersion {
        self.version += 1;
        self.changes.push_back((self.version, name.clone(), kind));
        ResourceVersion(self.version)
    }

    fn put(&mut self, agent: &Agent) {
        let name = agent.metadata.name.clone();
        let mut agent = agent.clone();
        agent.status = AgentStatus::default();
        agent.metadata.resource_version = self.change(&name, ChangeKind::Object);
        self.objects.insert(name, agent);
    }

    fn remove(&mut self, name: &AgentName) {
        if let Some(agent) = self.objects.remove(name) {
            let uid = agent.metadata.uid;
            self.statuses.remove(name);
            self.applied.remove(name);
            self.revisions.remove(&uid);
            self.incarnations.retain(|(life, _), _| *life != uid);
            self.tombstones.insert(uid);
            self.change(name, ChangeKind::Gone);
        }
    }

    fn fits(&self, write: &Write) -> bool {
        let now = self
            .objects
            .get(name_of(write))
            .map(|agent| &agent.metadata);
        match write {
            Write::Create { .. } => now.is_none(),
            Write::Update {
                agent, expected, ..
            } => now.is_some_and(|now| {
                now.resource_version == *expected && now.uid == agent.metadata.uid
            }),
            Write::Restore {
                agent, expected, ..
            } => match (now, expected) {
                (Some(now), Some(expected)) => {
                    now.resource_version == *expected && now.uid == agent.metadata.uid
                }
                (now, expected) => now.is_none() && expected.is_none(),
            },
            Write::Delete { expected, .. } => match (now, expected) {
                (Some(now), Some(expected)) => now.resource_version == *expected,
                (None, Some(_)) => false,
                (_, None) => true,
            },
            Write::Finalize { uid, .. } => {
                now.is_some_and(|now| now.uid == *uid && now.deletion_timestamp.is_some())
            }
            Write::Check { expected, .. } => {
                now.is_some_and(|now| now.resource_version == *expected)
            }
        }
    }

    fn carry_out(&mut self, write: &Write) {
        let keep = |state: &mut Self, name: &AgentName, value: &Option<serde_json::Value>| {
            if let Some(value) = value {
                state.applied.insert(name.clone(), value.clone());
            }
        };
        match write {
            Write::Create { agent, applied } => {
                self.put(agent);
                self.applied.remove(&agent.metadata.name);
                keep(self, &agent.metadata.name, applied);
            }
            Write::Update { agent, applied, .. } => {
                let mut agent = agent.clone();
                let name = agent.metadata.name.clone();
                let asked = self.objects.get(&name);
                if let Some(at) = asked.and_then(|asked| asked.metadata.deletion_timestamp) {
                    agent.metadata.deletion_timestamp = Some(at);
                }
                let metadata = &agent.metadata;
                if metadata.deletion_timestamp.is_some() && metadata.finalizers.is_empty() {
                    self.remove(&name);
                } else {
                    self.put(&agent);
                    keep(self, &name, applied);
                }
            }
            Write::Restore {
                agent,
                expected,
                applied,
                revisions,
            } => {
                let (agent, applied) = (agent.clone(), applied.clone());
                let (name, uid) = (agent.metadata.name.clone(), agent.metadata.uid.clone());
                let status = agent.status.clone();
                self.carry_out(&match *expected {
                    None => Write::Create { agent, applied },
                    Some(expected) => Write::Update {
                        agent,
                        expected,
                        applied,
                    },
                });
                if self.objects.contains_key(&name) {
                    self.statuses.insert(name, status);
                    let records = self.revisions.entry(uid).or_default();
                    for record in revisions {
                        records.retain(|kept| kept.revision != record.revision);
                        records.push(record.clone());
                    }
                }
            }
            Write::Delete { name, at, .. } => {
                let Some(mut agent) = self.objects.get(name).cloned() else {
                    return;
                };
                if agent.metadata.finalizers.is_empty() {
                    self.remove(name);
                } else if agent.metadata.deletion_timestamp.is_none() {
                    agent.metadata.deletion_timestamp = Some(*at);
                    self.put(&agent);
                }
            }
            Write::Finalize { name, .. } => self.remove(name),
            Write::Check { .. } => {}
        }
    }

    fn beat(&mut self, beat: &Beat, now: Instant) -> Muster {
        let former =
            |id: &MemberId| beat.only_run && id.server == beat.member.server && *id != beat.member;
        self.members
            .retain(|id, (_, until, _)| *until > now && !former(id));
        self.lease
            .take_if(|(holder, until)| *until <= now || former(holder));
        let mine = self
            .lease
            .as_ref()
            .map(|(holder, _)| *holder == beat.member);
        match (beat.candidate, mine) {
            (true, None | Some(true)) => {
                if mine.is_none() {
                    let wall = agentainer::clock::now().as_millisecond();
                    self.term = (self.term + 1).max(u64::try_from(wall).unwrap_or(0));
                }
                self.lease = Some((beat.member.clone(), now + self.lasts(beat.lease)));
            }
            (false, Some(true)) => self.lease = None,
            _ => {}
        }
        let sign = (beat.report.clone(), now + self.lasts(beat.life), now);
        self.members.insert(beat.member.clone(), sign);
        let term = self.term;
        let others = self.members.iter().filter(|(id, _)| **id != beat.member);
        Muster {
            lease: self.lease.as_ref().map(|(holder, until)| Lease {
                holder: holder.clone(),
                term,
                remaining: self.told(*until - now),
            }),
            others: others
                .map(|(id, (report, ..))| (id.clone(), report.clone()))
                .collect(),
        }
    }

    /// How long a time of the store's clock is for everybody else, and the other way round.
    fn lasts(&self, time: Duration) -> Duration {
        time * 100 / self.pace.unwrap_or(100)
    }

    fn told(&self, time: Duration) -> Duration {
        time * self.pace.unwrap_or(100) / 100
    }

    /// The change after a position.
    fn after(&self, position: u64) -> Result<Option<Change>> {
        if position == self.version {
            return Ok(None);
        }
        let first = self.changes.front().map(|(version, ..)| *version);
        if position > self.version || first.is_none_or(|first| position + 1 < first) {
            return Err(StoreError::Expired);
        }
        let told = self
            .changes
            .partition_point(|(version, ..)| *version <= position);
        let next = self.changes.get(told);
        Ok(next.map(|(version, name, kind)| {
            let agent = match kind {
                ChangeKind::Gone => None,
                ChangeKind::Object | ChangeKind::Status => self.get(name),
            };
            Change {
                resource_version: ResourceVersion(*version),
                name: name.clone(),
                kind: agent.as_ref().map_or(ChangeKind::Gone, |_| *kind),
                agent,
            }
        }))
    }
}

fn name_of(write: &Write) -> &AgentName {
    match write {
        Write::Create { agent, .. }
        | Write::Update { agent, .. }
        | Write::Restore { agent, .. } => &agent.metadata.name,
        Write::Delete { name, .. } | Write::Finalize { name, .. } | Write::Check { name, .. } => {
            name
        }
    }
}

#[async_trait]
impl AgentStore for FakeStore {
    async fn cluster(&self) -> Result<Option<ClusterRecord>> {
        self.call("cluster", |state| Ok(state.cluster.clone()))
            .await
    }

    async fn found(&self, id: &ClusterId, epoch: u64) -> Result<ClusterRecord> {
        let first = *self.given.lock();
        let id = id.clone();
        self.call("found", move |state| {
            if state.cluster.is_none() {
                state.version = state.version.max(first);
            }
            let record = ClusterRecord { id, epoch };
            Ok(state.cluster.get_or_insert(record).clone())
        })
        .await
    }

    async fn list(&self) -> Result<AgentList> {
        self.call("list", |state| {
            Ok(AgentList {
                agents: state
                    .objects
                    .keys()
                    .filter_map(|name| state.get(name))
                    .collect(),
                resource_version: ResourceVersion(state.version),
            })
        })
        .await
    }

    async fn get(&self, name: &AgentName) -> Result<Option<Agent>> {
        let name = name.clone();
        self.call("get", move |state| Ok(state.get(&name))).await
    }

    async fn applied(&self, name: &AgentName) -> Result<Option<serde_json::Value>> {
        let name = name.clone();
        self.call("applied", move |state| {
            Ok(state.applied.get(&name).cloned())
        })
        .await
    }

    async fn commit(&self, writes: &[Write]) -> Result<Vec<Option<Agent>>> {
        let writes = writes.to_vec();
        self.call("commit", move |state| {
            let mut seen = BTreeSet::new();
            for write in &writes {
                let name = name_of(write);
                let again = !matches!(write, Write::Check { .. }) && !seen.insert(name);
                if again || !state.fits(write) {
                    let now = state.objects.get(name);
                    return Err(StoreError::Conflict {
                        name: name.clone(),
                        actual: now.map(|agent| agent.metadata.resource_version),
                    });
                }
            }
            for write in &writes {
                state.carry_out(write);
            }
            Ok(writes
                .iter()
                .map(|write| state.get(name_of(write)))
                .collect())
        })
        .await
    }

    async fn watch(&self, after: ResourceVersion) -> Result<BoxStream<'static, Result<Change>>> {
        self.call("watch", move |state| state.after(after.0).map(|_| ()))
            .await?;
        let start = (self.clone(), self.moved.subscribe(), after.0, false);
        Ok(stream::unfold(
            start,
            |(store, mut moved, mut position, ended)| async move {
                if ended {
                    return None;
                }
                loop {
                    moved.borrow_and_update();
                    match store.call("next", move |state| state.after(position)).await {
                        Ok(Some(change)) => {
                            position = change.resource_version.0;
                            if store.one_of_several
                                && matches!(store.judge("change"), Some(Fault::Drop))
                            {
                                continue;
                            }
                            return Some((Ok(change), (store, moved, position, false)));
                        }
                        Ok(None) => {
                            if moved.changed().await.is_err() {
                                return None;
                            }
                        }
                        Err(error) => {
                            let ended = error.class() != StoreClass::Transient;
                            return Some((Err(error), (store, moved, position, ended)));
                        }
                    }
                }
            },
        )
        .boxed())
    }

    async fn put_status(&self, read: &Metadata, status: &AgentStatus) -> Result<()> {
        let (read, status) = (read.clone(), status.clone());
        let term = *self.term.lock();
        self.call("put_status", move |state| {
            if term != 0 && state.term > term {
                return Err(StoreError::Superseded);
            }
            let name = &read.name;
            let alive = state.objects.get(name).map(|agent| &agent.metadata);
            let Some(now) = alive.filter(|now| now.uid == read.uid) else {
                return Ok(());
            };
            if state.statuses.get(name) == Some(&status) {
                return Ok(());
            }
            if now.resource_version != read.resource_version {
                return Err(StoreError::Conflict {
                    name: name.clone(),
                    actual: Some(now.resource_version),
                });
            }
            state.statuses.insert(name.clone(), status);
            state.change(name, ChangeKind::Status);
            Ok(())
        })
        .await
    }

    async fn tombstones(&self, uids: &[Uid]) -> Result<Vec<Uid>> {
        let uids = uids.to_vec();
        self.call("tombstones", move |state| {
            let known = uids.iter().filter(|uid| state.tombstones.contains(uid));
            Ok(known.cloned().collect())
        })
        .await
    }

    async fn reserve(&self, uid: &Uid, ordinal: u32, after: u64) -> Result<Reservation> {
        let uid = uid.clone();
        self.call("reserve", move |state| {
            let last = state.incarnations.entry((uid, ordinal)).or_default();
            *last = (*last).max(after) + 1;
            let incarnation = *last;
            state.address_cursor += 1;
            Ok(Reservation {
                incarnation,
                address_cursor: state.address_cursor,
            })
        })
        .await
    }

    async fn revisions(&self, uid: &Uid) -> Result<Vec<RevisionRecord>> {
        let uid = uid.clone();
        self.call("revisions", move |state| {
            let mut records = state.revisions.get(&uid).cloned().unwrap_or_default();
            records.sort_by_key(|record| (record.at, record.generation));
            Ok(records)
        })
        .await
    }

    async fn forget_revision(&self, uid: &Uid, revision: &Revision) -> Result<()> {
        let (uid, revision) = (uid.clone(), revision.clone());
        self.call("forget_revision", move |state| {
            if let Some(records) = state.revisions.get_mut(&uid) {
                records.retain(|kept| kept.revision != revision);
            }
            Ok(())
        })
        .await
    }
    async fn put_revision(&self, uid: &Uid, record: &RevisionRecord) -> Result<()> {
        let (uid, record) = (uid.clone(), record.clone());
        self.call("put_revision", move |state| {
            let records = state.revisions.entry(uid).or_default();
            records.retain(|kept| kept.revision != record.revision);
            records.push(record);
            Ok(())
        })
        .await
    }

    async fn record_event(&self, event: &EventRecord) -> Result<()> {
        let kept = self.events_kept;
        let mut event = event.clone();
        self.call("record_event", move |state| {
            event.count = event.count.max(1);
            let same = state
                .events
                .iter()
                .rposition(|old| old.agent == event.agent && old.reason == event.reason);
            if let Some(at) = same {
                let apart = event.last_seen.duration_since(state.events[at].last_seen);
                if apart.as_millis() < 3_600_000 {
                    let old = state.events.remove(at);
                    event.count += old.count;
                    event.first_seen = old.first_seen;
                }
            }
            state.events.push(event);
            let over = state.events.len().saturating_sub(kept);
            state.events.drain(..over);
            Ok(())
        })
        .await
    }

    async fn events(&self, agent: Option<&AgentName>, limit: usize) -> Result<Vec<EventRecord>> {
        let agent = agent.cloned();
        self.call("events", move |state| {
            let newest = state.events.iter().rev();
            Ok(newest
                .filter(|event| agent.is_none() || event.agent == agent)
                .take(limit)
                .cloned()
                .collect())
        })
        .await
    }

    async fn beat(&self, beat: &Beat) -> Result<Muster> {
        let of = beat.clone();
        let muster = self
            .call("beat", move |state| Ok(state.beat(&of, Instant::now())))
            .await?;
        *self.company.lock() = !muster.others.is_empty();
        if let Some(lease) = &muster.lease
            && lease.holder == beat.member
        {
            *self.term.lock() = lease.term;
        }
        Ok(muster)
    }

    async fn leave(&self, member: &MemberId) -> Result<()> {
        let member = member.clone();
        self.call("leave", move |state| {
            state.members.remove(&member);
            state.lease.take_if(|(holder, _)| *holder == member);
            Ok(())
        })
        .await
    }

    async fn share_key(&self, ours: &ServerKey) -> Result<ServerKey> {
        let ours = ours.clone();
        self.call("share_key", move |state| {
            Ok(state.key.get_or_insert(ours).clone())
        })
        .await
    }

    async fn ping(&self) -> Result<()> {
        self.call("ping", |_| Ok(())).await
    }
}
