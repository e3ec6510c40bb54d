//! What happens in the journal, told within this process, so that nobody has to ask Redis again and again: that there is work, and
//! that a record was settled. Hints alone: what another server does is not told here, and who waits looks again now and then.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, broadcast};
use tokio::time::Instant;

use super::{Backlog, Record, RecordId, RequestJournal, Result};
use crate::agent::Uid;

/// How often who waits for a record looks at it without being told: another server may settle it.
const LOOK: Duration = Duration::from_secs(1);

/// News of one process' journal.
#[derive(Debug)]
pub struct News {
    settled: broadcast::Sender<RecordId>,
    streamed: broadcast::Sender<RecordId>,
    waiting: Mutex<BTreeMap<Uid, String>>,
    backlogs: Mutex<Option<Arc<Vec<Backlog>>>>,
    work: Notify,
    calls: Notify,
}

impl Default for News {
    fn default() -> Self {
        Self {
            settled: broadcast::Sender::new(1024),
            streamed: broadcast::Sender::new(1024),
            waiting: Mutex::default(),
            backlogs: Mutex::default(),
            work: Notify::new(),
            calls: Notify::new(),
        }
    }
}

impl News {
    /// A record of this agent waits to be delivered.
    pub fn waits(&self, uid: &Uid, agent: &str) {
        self.waiting.lock().insert(uid.clone(), agent.to_owned());
        self.work.notify_one();
    }

    /// Something about the work changed: a delivery ended, say.
    pub fn stir(&self) {
        self.work.notify_one();
    }

    /// Agents that records were said to wait for, since this was asked last.
    pub fn taken(&self) -> BTreeMap<Uid, String> {
        std::mem::take(&mut *self.waiting.lock())
    }

    /// The backlogs were looked at.
    pub fn looked(&self, backlogs: Vec<Backlog>) {
        *self.backlogs.lock() = Some(Arc::new(backlogs));
    }

    /// The backlogs as they were seen last, a few seconds ago at most while the journal can be looked at; `None` when they never were.
    pub fn backlogs(&self) -> Option<Arc<Vec<Backlog>>> {
        self.backlogs.lock().clone()
    }

    /// Waits until there may be work.
    pub async fn work(&self) {
        self.work.notified().await;
    }

    /// A call may be due.
    pub fn calls_due(&self) {
        self.calls.notify_one();
    }

    /// Waits until one may be.
    pub async fn calls(&self) {
        self.calls.notified().await;
    }

    /// This record was settled just now.
    pub fn ended(&self, record: &Record) {
        self.settled(&record.id);
        if record.callback.is_some() {
            self.calls_due();
        }
    }

    /// A record's run has a new event, or ended.
    pub fn streamed(&self, id: &RecordId) {
        // Nobody may listen.
        let _ = self.streamed.send(id.clone());
    }

    /// Hears of runs' events from now on.
    pub fn listen(&self) -> broadcast::Receiver<RecordId> {
        self.streamed.subscribe()
    }

    /// A record was settled.
    pub fn settled(&self, id: &RecordId) {
        // Nobody may wait.
        let _ = self.settled.send(id.clone());
        self.streamed(id);
    }

    /// A record once it is settled, at the latest as it is after so long; `None` when there is none.
    ///
    /// # Errors
    /// Those of [`RequestJournal::get`].
    pub async fn wait(
        &self,
        journal: &dyn RequestJournal,
        id: &RecordId,
        within: Duration,
    ) -> Result<Option<Record>> {
        let until = Instant::now() + within;
        let mut told = self.settled.subscribe();
        loop {
            let record = journal.get(id).await?;
            let over = Instant::now() >= until;
            if over
                || record
                    .as_ref()
                    .is_none_or(|it| it.standing.state.is_settled())
            {
                return Ok(record);
            }
            let look = until.min(Instant::now() + LOOK);
            let hears = async { while told.recv().await.is_ok_and(|settled| settled != *id) {} };
            let _ = tokio::time::timeout_at(look, hears).await;
        }
    }
}
