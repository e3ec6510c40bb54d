//! The journal in memory: `RequestJournal` with the same meaning as the one in Redis, which the contract suite holds both to.
//!
//! Time is tokio's, so that it can be paused; and each call can be made to fail before or after it took effect.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agentainer::agent::Uid;
use agentainer::journal::policy::Verdict;
use agentainer::journal::record::Step;
use agentainer::journal::{
    Admission, Admitted, Backlog, Begin, Bound, Claim, Claimed, JournalError, Key, Record,
    RecordId, RequestJournal, Result, Settlement, State, Take, Taken,
};
use agentainer::redis_link::LinkError;
use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::time::Instant;

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing happened.
    Before,
    /// It is refused, in so many words.
    Refused,
    /// It took effect, and the answer was lost.
    After,
    /// It takes so long to arrive, and its answer so long to come back.
    Slow { before: Duration, after: Duration },
    /// It fails at once, and happens all the same, so much later.
    Late(Duration),
    /// It never answers and never happens.
    Hang,
    /// It happens, and the answer never comes: what a caller that died meanwhile saw.
    Mute,
    /// A read: its answer is from before the last change.
    Old,
}

type Hook = Box<dyn FnMut(&'static str) -> Option<Fault> + Send>;

/// The journal in memory. Clones are the same journal, seen by the same server.
#[derive(Clone)]
pub struct FakeJournal {
    state: Arc<Mutex<Kept>>,
    /// As it was before the last change.
    past: Arc<Mutex<Kept>>,
    hook: Arc<Mutex<Option<Hook>>>,
    begin: Instant,
    memory: u64,
}

#[derive(Clone, Default)]
struct Kept {
    entries: BTreeMap<RecordId, Entry>,
    /// Who has which key.
    keys: BTreeMap<(Uid, String), RecordId>,
    /// How many were admitted of an agent, and came to each end.
    ever: BTreeMap<Uid, (u64, BTreeMap<State, u64>)>,
    sequence: u64,
}

#[derive(Clone)]
struct Entry {
    record: Record,
    body: Option<Bytes>,
    answer: Option<Bytes>,
    key: Option<Key>,
    /// Ends that it came to and that are not counted yet.
    ends: Vec<State>,
    /// What it takes of the journal's memory, and how much of that is the answer's.
    size: u64,
    answer_size: u64,
    ttl: i64,
    /// When it is due, or until when its claim holds.
    at: i64,
}

/// An arbitrary day at which its clock begins.
const BEGIN: i64 = 1_800_000_000_000;

impl Default for FakeJournal {
    fn default() -> Self {
        Self::new(256 << 20)
    }
}

impl FakeJournal {
    /// An empty one with so much room.
    pub fn new(memory: u64) -> Self {
        Self {
            state: Arc::default(),
            past: Arc::default(),
            hook: Arc::default(),
            begin: Instant::now(),
            memory,
        }
    }

    /// Asks `hook` before each call, by its name, what shall go wrong with it.
    pub fn on_call(&self, hook: impl FnMut(&'static str) -> Option<Fault> + Send + 'static) {
        *self.hook.lock() = Some(Box::new(hook));
    }

    /// The same journal as another server has it, with faults of its own.
    pub fn another(&self) -> Self {
        Self {
            hook: Arc::default(),
            ..self.clone()
        }
    }

    /// All that it keeps, by order of admission, looked at without a call.
    pub fn records(&self) -> Vec<Record> {
        let kept = self.state.lock();
        let mut all: Vec<Record> = kept.entries.values().map(|it| it.record.clone()).collect();
        all.sort_by_key(|record| record.sequence);
        all
    }

    fn now(&self) -> i64 {
        BEGIN + i64::try_from(self.begin.elapsed().as_millis()).unwrap()
    }

    async fn call<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl FnOnce(&mut Kept, i64) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        // Like any call to a Redis, it gives others a turn.
        tokio::task::yield_now().await;
        let fault = self.hook.lock().as_mut().and_then(|hook| hook(name));
        match fault {
            None => self.carry_out(name, work),
            Some(Fault::Before) => Err(lost()),
            Some(Fault::Refused) => Err(JournalError::Link(LinkError::Refused {
                call: "test",
                message: "made so by a test".to_owned(),
            })),
            Some(Fault::After) => {
                let _ = self.carry_out(name, work);
                Err(lost())
            }
            Some(Fault::Slow { before, after }) => {
                tokio::time::sleep(before).await;
                let result = self.carry_out(name, work);
                tokio::time::sleep(after).await;
                result
            }
            Some(Fault::Late(time)) => {
                let later = self.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(time).await;
                    let _ = later.carry_out(name, work);
                });
                Err(lost())
            }
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Mute) => {
                let _ = self.carry_out(name, work);
                std::future::pending().await
            }
            Some(Fault::Old) if reads(name) => work(&mut self.past.lock().clone(), self.now()),
            Some(Fault::Old) => self.carry_out(name, work),
        }
    }

    fn carry_out<T>(
        &self,
        name: &'static str,
        work: impl FnOnce(&mut Kept, i64) -> Result<T>,
    ) -> Result<T> {
        let mut kept = self.state.lock();
        if !reads(name) {
            *self.past.lock() = kept.clone();
        }
        let result = work(&mut kept, self.now());
        kept.count();
        result
    }
}

fn lost() -> JournalError {
    JournalError::Link(LinkError::Unreachable {
        address: "fake".to_owned(),
        source: "made so by a test".into(),
    })
}

fn time(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap()
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap()
}

/// Whether a call changes nothing.
pub fn reads(name: &str) -> bool {
    ["lapsed", "get", "body", "answer_body", "list", "backlogs"].contains(&name)
}

impl Entry {
    fn state(&self) -> State {
        self.record.standing.state
    }

    fn until(&self) -> i64 {
        self.record.until.as_millisecond()
    }

    fn holds(&self, claim: &Claim) -> bool {
        self.state() == State::Claimed && self.record.standing.token == claim.token
    }

    /// Takes a step, if it can.
    fn step(&mut self, step: Step, now: i64) -> bool {
        let Some(after) = self.record.standing.after(step) else {
            return false;
        };
        self.record.standing = after;
        self.record.live = false;
        if after.state.is_settled() {
            self.settled(now);
        }
        true
    }

    fn settled(&mut self, now: i64) {
        self.ends.push(self.state());
        self.record.settled = Some(time(now));
        self.record.until = time(now + self.ttl);
        if !self.state().wants_attention() && self.body.take().is_some() {
            self.size -= self.record.body_length;
        }
    }

    fn expire(&mut self, now: i64) {
        if self.step(Step::Expire, now) {
            self.record.reason = "it waited for longer than persistence.ttl".to_owned();
        }
    }
}

impl Kept {
    fn of(&self, uid: &Uid) -> impl Iterator<Item = &Entry> {
        let uid = uid.clone();
        let all = self.entries.values();
        all.filter(move |entry| entry.record.uid == uid)
    }

    fn bytes(&self) -> u64 {
        self.entries.values().map(|entry| entry.size).sum()
    }

    /// By order of admission.
    fn ids(&self, which: impl Fn(&Entry) -> bool) -> Vec<RecordId> {
        let mut found: Vec<&Entry> = self.entries.values().filter(|entry| which(entry)).collect();
        found.sort_by_key(|entry| entry.record.sequence);
        found.into_iter().map(|it| it.record.id.clone()).collect()
    }

    fn entry(&mut self, id: &RecordId) -> Result<&mut Entry> {
        self.entries.get_mut(id).ok_or(JournalError::Gone)
    }

    fn forget(&mut self, id: &RecordId) {
        self.entries.remove(id);
        self.keys.retain(|_, holder| holder != id);
        let entries = &self.entries;
        self.ever
            .retain(|uid, _| entries.values().any(|entry| entry.record.uid == *uid));
    }

    fn count(&mut self) {
        for entry in self.entries.values_mut() {
            let (_, ended) = self.ever.entry(entry.record.uid.clone()).or_default();
            for state in entry.ends.drain(..) {
                *ended.entry(state).or_default() += 1;
            }
        }
    }

    fn admit(&mut self, admission: Admission, now: i64, memory: u64) -> Result<Admitted> {
        if self.entries.contains_key(&admission.id) {
            return Ok(Admitted::Kept);
        }
        if let Some(key) = &admission.key
            && let Some(id) = self.keys.get(&(admission.uid.clone(), key.scope.clone()))
            && key.replaces.as_ref() != Some(id)
        {
            let theirs = self.entries[id].key.as_ref().unwrap();
            return Ok(Admitted::Known {
                id: id.clone(),
                same: theirs.request == key.request,
            });
        }
        let head = serde_json::to_vec(&admission.head).unwrap().len() as u64;
        let size = head + admission.body.len() as u64 + 1024;
        let open = || {
            let all = self.of(&admission.uid);
            all.filter(|entry| !entry.state().is_settled())
        };
        if admission.begin != Begin::Unknown {
            if open().count() as u64 + 1 > admission.bounds.max_queue {
                return Err(JournalError::Full(Bound::Queue));
            }
            if open().map(|entry| entry.size).sum::<u64>() + size > admission.bounds.max_bytes {
                return Err(JournalError::Full(Bound::Bytes));
            }
        }
        let mut done: Vec<_> = self
            .entries
            .values()
            .filter(|entry| entry.state().is_settled() && !entry.state().wants_attention())
            .map(|entry| (entry.record.settled, entry.record.id.clone()))
            .collect();
        done.sort();
        for (_, old) in done {
            if self.bytes() + size <= memory {
                break;
            }
            self.forget(&old);
        }
        if self.bytes() + size > memory {
            return Err(JournalError::Full(Bound::Memory));
        }
        self.sequence += 1;
        let ttl = millis(admission.ttl);
        let standing = admission.begin.standing();
        let (lease, reason) = match admission.begin {
            Begin::Pending => (0, ""),
            Begin::Live(lease) => (millis(lease), ""),
            Begin::Unknown => (
                0,
                "it was sent and no answer came: the agent may have handled it",
            ),
        };
        if let Some(key) = &admission.key {
            let place = (admission.uid.clone(), key.scope.clone());
            self.keys.insert(place, admission.id.clone());
        }
        let record = Record {
            id: admission.id.clone(),
            uid: admission.uid,
            agent: admission.agent,
            sequence: self.sequence,
            standing,
            head: admission.head,
            body_length: admission.body.len() as u64,
            capability: admission.capability,
            admitted: time(now),
            until: time(now + ttl),
            settled: None,
            reason: reason.to_owned(),
            answer: None,
            live: standing.state == State::Claimed,
            salt: admission.key.as_ref().map(|key| key.salt.clone()),
            callback: None,
        };
        let mut entry = Entry {
            record,
            body: Some(admission.body),
            answer: None,
            key: admission.key,
            ends: Vec::new(),
            size,
            answer_size: 0,
            ttl,
            at: now + lease,
        };
        if standing.state.is_settled() {
            entry.settled(now);
        }
        let ever = self.ever.entry(entry.record.uid.clone()).or_default();
        ever.0 += 1;
        self.entries.insert(admission.id, entry);
        Ok(Admitted::Kept)
    }

    fn take(&mut self, take: &Take, now: i64) -> Taken {
        let of = |entry: &Entry| entry.record.uid == take.uid;
        let later = |entry: &Entry| of(entry) && entry.state() == State::Retrying && entry.at > now;
        let waits = |entry: &Entry| {
            let state = entry.state();
            of(entry) && matches!(state, State::Pending | State::Retrying) && !later(entry)
        };
        let taken = |it: &&Entry| it.state() == State::Claimed && !it.record.live;
        let busy = self.of(&take.uid).filter(taken);
        let busy = busy.count() as u64;
        let mut room = take.most.min(take.concurrency.saturating_sub(busy));
        if take.strict {
            room = room.min(1_u64.saturating_sub(busy));
            if self.entries.values().any(later) {
                room = 0;
            }
        }
        let mut claimed = Vec::new();
        for id in self.ids(waits) {
            if claimed.len() as u64 == room {
                break;
            }
            let entry = self.entries.get_mut(&id).unwrap();
            if entry.until() <= now {
                entry.expire(now);
                continue;
            }
            assert!(entry.step(Step::Claim, now), "what waits can be claimed");
            entry.at = now + millis(take.lease);
            claimed.push(Claimed {
                record: entry.record.clone(),
                body: entry.body.clone().unwrap(),
            });
        }
        let due = self.entries.values().filter(|entry| later(entry));
        let due = due.map(|entry| entry.at).min();
        Taken {
            claimed,
            more: self.entries.values().any(waits),
            next: due.map(|at| Duration::from_millis(u64::try_from(at - now).unwrap())),
        }
    }

    fn settle(&mut self, claim: &Claim, settlement: Settlement, now: i64) -> bool {
        let Some(entry) = self.entries.get_mut(&claim.id) else {
            return false;
        };
        let (step, to) = match settlement.verdict {
            Verdict::Release => (Step::Release(claim.token), State::Pending),
            Verdict::Retry(_) => (Step::Retry(claim.token), State::Retrying),
            Verdict::Settle(state) => (Step::Settle(claim.token, state), state),
        };
        if !entry.holds(claim) {
            return entry.record.standing.token == claim.token && entry.state() == to;
        }
        if let Some(answer) = settlement.answer {
            let head = serde_json::to_vec(&answer.head).unwrap().len();
            let size = (head + answer.body.len()) as u64;
            entry.size = entry.size - entry.answer_size + size;
            entry.answer_size = size;
            entry.record.answer = Some(answer.head);
            entry.answer = Some(answer.body);
        }
        entry.record.reason = settlement.reason;
        if let Verdict::Retry(after) = settlement.verdict {
            entry.at = now + millis(after);
        }
        entry.step(step, now)
    }

    fn sweep(&mut self, now: i64) -> u64 {
        let over = |entry: &Entry| entry.state() != State::Claimed && entry.until() <= now;
        let found = self.ids(over);
        for id in found.iter().take(200) {
            let entry = self.entries.get_mut(id).unwrap();
            if entry.state().is_settled() {
                self.forget(id);
            } else {
                entry.expire(now);
            }
        }
        found.len().min(200) as u64
    }

    fn backlogs(&self) -> Vec<Backlog> {
        let mut all: BTreeMap<Uid, Backlog> = BTreeMap::new();
        for entry in self.entries.values() {
            let record = &entry.record;
            let backlog = all.entry(record.uid.clone()).or_insert_with(|| Backlog {
                uid: record.uid.clone(),
                agent: record.agent.clone(),
                counts: Vec::new(),
                oldest: None,
                admitted: self.ever[&record.uid].0,
                ended: self.ever[&record.uid].1.clone().into_iter().collect(),
            });
            let state = entry.state();
            match backlog.counts.iter_mut().find(|(of, _)| *of == state) {
                Some((_, count)) => *count += 1,
                None => backlog.counts.push((state, 1)),
            }
            backlog.counts.sort();
            if matches!(state, State::Pending | State::Retrying) {
                let oldest = backlog.oldest.unwrap_or(record.admitted);
                backlog.oldest = Some(oldest.min(record.admitted));
            }
        }
        all.into_values().collect()
    }
}

#[async_trait]
impl RequestJournal for FakeJournal {
    async fn admit(&self, admission: Admission) -> Result<Admitted> {
        let memory = self.memory;
        self.call("admit", move |kept, now| kept.admit(admission, now, memory))
            .await
    }

    async fn take(&self, take: &Take) -> Result<Taken> {
        let take = take.clone();
        self.call("take", move |kept, now| Ok(kept.take(&take, now)))
            .await
    }

    async fn renew(&self, claim: &Claim, lease: Duration) -> Result<bool> {
        let claim = claim.clone();
        self.call("renew", move |kept, now| {
            let entry = kept.entries.get_mut(&claim.id);
            let Some(entry) = entry.filter(|entry| entry.holds(&claim)) else {
                return Ok(false);
            };
            entry.at = now + millis(lease);
            Ok(true)
        })
        .await
    }

    async fn settle(&self, claim: &Claim, settlement: Settlement) -> Result<bool> {
        let claim = claim.clone();
        self.call("settle", move |kept, now| {
            Ok(kept.settle(&claim, settlement, now))
        })
        .await
    }

    async fn lapsed(&self) -> Result<Vec<Record>> {
        self.call("lapsed", |kept, now| {
            let lapsed = |entry: &&Entry| entry.state() == State::Claimed && entry.at <= now;
            let found = kept.entries.values().filter(lapsed);
            Ok(found.map(|entry| entry.record.clone()).collect())
        })
        .await
    }

    async fn sweep(&self) -> Result<u64> {
        self.call("sweep", |kept, now| Ok(kept.sweep(now))).await
    }

    async fn get(&self, id: &RecordId) -> Result<Option<Record>> {
        let id = id.clone();
        self.call("get", move |kept, _| {
            Ok(kept.entries.get(&id).map(|entry| entry.record.clone()))
        })
        .await
    }

    async fn body(&self, id: &RecordId) -> Result<Option<Bytes>> {
        let id = id.clone();
        self.call("body", move |kept, _| {
            Ok(kept.entries.get(&id).and_then(|entry| entry.body.clone()))
        })
        .await
    }

    async fn answer_body(&self, id: &RecordId) -> Result<Option<Bytes>> {
        let id = id.clone();
        self.call("answer_body", move |kept, _| {
            Ok(kept.entries.get(&id).and_then(|entry| entry.answer.clone()))
        })
        .await
    }

    async fn list(
        &self,
        uid: &Uid,
        states: &[State],
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Record>> {
        let (uid, states) = (uid.clone(), states.to_vec());
        self.call("list", move |kept, _| {
            let mut found: Vec<Record> = kept.of(&uid).map(|it| it.record.clone()).collect();
            found.retain(|it| states.is_empty() || states.contains(&it.standing.state));
            found.retain(|it| before.is_none_or(|before| it.sequence < before));
            found.sort_by_key(|it| std::cmp::Reverse(it.sequence));
            found.truncate(limit);
            Ok(found)
        })
        .await
    }

    async fn cancel(&self, id: &RecordId, reason: &str) -> Result<()> {
        let (id, reason) = (id.clone(), reason.to_owned());
        self.call("cancel", move |kept, now| {
            let entry = kept.entry(&id)?;
            let state = entry.state();
            if !entry.step(Step::Cancel, now) {
                return Err(JournalError::Conflict(state));
            }
            entry.record.reason = reason;
            Ok(())
        })
        .await
    }

    async fn requeue(&self, id: &RecordId) -> Result<()> {
        let id = id.clone();
        self.call("requeue", move |kept, now| {
            let entry = kept.entry(&id)?;
            let state = entry.state();
            if !entry.step(Step::Requeue, now) {
                return Err(JournalError::Conflict(state));
            }
            entry.record.until = time(now + entry.ttl);
            entry.record.settled = None;
            entry.record.reason = "it is to be delivered again".to_owned();
            Ok(())
        })
        .await
    }

    async fn forget(&self, id: &RecordId) -> Result<()> {
        let id = id.clone();
        self.call("forget", move |kept, _| {
            let state = kept.entry(&id)?.state();
            if !state.is_settled() {
                return Err(JournalError::Conflict(state));
            }
            kept.forget(&id);
            Ok(())
        })
        .await
    }

    async fn backlogs(&self) -> Result<Vec<Backlog>> {
        self.call("backlogs", |kept, _| Ok(kept.backlogs())).await
    }
}
