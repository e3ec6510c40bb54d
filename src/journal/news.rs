//! What happens in the journal, told within this process, so that nobody has to ask Redis again and again: that there is work, and
//! that a record was settled. Hints alone: what another server does is not told here, and who waits looks again now and then.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, broadcast};
use tokio::time::Instant;

use super::{Record, RecordId, RequestJournal, Result};
use crate::agent::Uid;

/// How often who waits for a record looks at it without being told: another server may settle it.
const LOOK: Duration = Duration::from_secs(1);

/// News of one process' journal.
#[derive(Debug)]
pub struct News {
    settled: broadcast::Sender<RecordId>,
    waiting: Mutex<BTreeMap<Uid, String>>,
    work: Notify,
}

impl Default for News {
    fn default() -> Self {
        Self {
            settled: broadcast::Sender::new(1024),
            waiting: Mutex::default(),
            work: Notify::new(),
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

    /// Waits until there may be work.
    pub async fn work(&self) {
        self.work.notified().await;
    }

    /// A record was settled.
    pub fn settled(&self, id: &RecordId) {
        // Nobody may wait.
        let _ = self.settled.send(id.clone());
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
