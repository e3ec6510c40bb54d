//! A journal that does what none may: the faults that the checker must find.

use std::sync::Arc;
use std::time::Duration;

use agentainer::agent::Uid;
use agentainer::journal::policy::Verdict;
use agentainer::journal::{
    Admission, Admitted, Answer, Backlog, Begin, Capability, Claim, Claimed, Record, RecordId,
    RequestJournal, Result, Settlement, State, Take, Taken,
};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::fake_journal::FakeJournal;

/// What it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// It answers before the request is on disk, and Redis dies in between.
    AcknowledgesBeforeDurable,
    /// It drops what waits to make room.
    DropsTheOldest,
    /// It keeps one request twice.
    AdmitsTwice,
    /// What was sent and not answered is not kept after all.
    DropsTheUnknown,
    /// A claim whose server died holds for ever.
    ClaimsNeverLapse,
    /// A claim ends while its server delivers.
    ClaimsLapseAtOnce,
    /// A record is given to two.
    GivesTwice,
    /// What was sent and may not be repeated is sent again.
    ReplaysWhatWasSent,
    /// A header field is lost.
    DropsAField,
    /// Repeated fields become one.
    JoinsFields,
    /// The query is lost.
    DropsTheQuery,
    /// A server error counts as done.
    CompletesWithErrors,
    /// How a delivery ended is forgotten.
    LosesASettle,
    /// The second is delivered before the first.
    OutOfOrder,
    /// The address that was given opens nothing.
    ForgetsACapability,
    /// A record is delivered with another's body.
    AnothersBody,
    /// A record is kept with another's answer.
    AnothersAnswer,
}

/// A journal that lies.
pub struct Liar {
    pub journal: FakeJournal,
    pub lie: Option<Lie>,
    pub shared: Arc<Shared>,
}

/// What a lie remembers, of all servers.
#[derive(Default)]
pub struct Shared {
    body: Mutex<Option<Bytes>>,
    answer: Mutex<Option<Answer>>,
    settles: Mutex<u32>,
    admitted: Mutex<Vec<RecordId>>,
    /// When Redis died.
    pub died: Mutex<Option<Instant>>,
}

/// How long the journal that acknowledges too early keeps it in memory.
const IN_MEMORY: Duration = Duration::from_millis(400);

impl Liar {
    fn lies(&self, lie: Lie) -> bool {
        self.lie == Some(lie)
    }

    async fn admit_falsely(&self, mut admission: Admission) -> Result<Admitted> {
        let Some(lie) = self.lie else {
            return self.journal.admit(admission).await;
        };
        match lie {
            Lie::AcknowledgesBeforeDurable => {
                let (journal, shared) = (self.journal.clone(), Arc::clone(&self.shared));
                tokio::spawn(async move {
                    let begun = Instant::now();
                    tokio::time::sleep(IN_MEMORY).await;
                    if shared.died.lock().is_none_or(|died| died < begun) {
                        let _ = journal.admit(admission).await;
                    }
                });
                return Ok(Admitted::Kept);
            }
            Lie::DropsTheOldest => {
                let oldest = {
                    let mut all = self.shared.admitted.lock();
                    all.push(admission.id.clone());
                    (all.len() > 4).then(|| all.remove(0))
                };
                if let Some(oldest) = oldest {
                    let _ = self.journal.cancel(&oldest, "").await;
                    let _ = self.journal.forget(&oldest).await;
                }
            }
            Lie::AdmitsTwice => {
                let id = RecordId::random();
                let again = Admission {
                    id,
                    key: None,
                    ..admission.clone()
                };
                self.journal.admit(again).await?;
            }
            Lie::DropsTheUnknown if admission.begin == Begin::Unknown => return Ok(Admitted::Kept),
            Lie::ReplaysWhatWasSent => admission.begin = Begin::Pending,
            Lie::DropsAField => {
                let odd = admission
                    .head
                    .fields
                    .iter()
                    .position(|field| field.0 == "x-h-odd");
                admission.head.fields.remove(odd.unwrap());
            }
            Lie::JoinsFields => {
                let fields = &mut admission.head.fields;
                let all = fields.iter().filter(|field| field.0 == "x-h-odd");
                let joined: Vec<&str> = all.map(|field| field.1.as_str()).collect();
                let joined = joined.join(", ");
                let first = fields
                    .iter()
                    .position(|field| field.0 == "x-h-odd")
                    .unwrap();
                fields[first].1 = joined;
                let mut seen = 0;
                fields.retain(|field| {
                    seen += u32::from(field.0 == "x-h-odd");
                    field.0 != "x-h-odd" || seen == 1
                });
            }
            Lie::DropsTheQuery => {
                let target = admission.head.target.split('?').next().unwrap();
                admission.head.target = target.to_owned();
            }
            Lie::ForgetsACapability => admission.capability = Capability::random().hash(),
            _ => {}
        }
        self.journal.admit(admission).await
    }

    async fn take_falsely(&self, take: &Take) -> Result<Taken> {
        if self.lies(Lie::OutOfOrder) && take.strict {
            let two = Take {
                most: 2,
                concurrency: 2,
                strict: false,
                ..take.clone()
            };
            let mut taken = self.journal.take(&two).await?;
            if let [first, _] = &taken.claimed[..] {
                let back = ends(Verdict::Release);
                self.journal.settle(&first.claim(), back).await?;
                taken.claimed.remove(0);
            }
            return Ok(taken);
        }
        let mut take = take.clone();
        if self.lies(Lie::ClaimsLapseAtOnce) {
            take.lease = Duration::from_millis(1);
        }
        let mut taken = self.journal.take(&take).await?;
        if self.lies(Lie::GivesTwice) {
            let first = |claimed: &&Claimed| claimed.record.standing.token == 1;
            for claimed in taken.claimed.iter().filter(first) {
                let back = ends(Verdict::Release);
                self.journal.settle(&claimed.claim(), back).await?;
            }
        }
        if self.lies(Lie::AnothersBody) {
            for claimed in &mut taken.claimed {
                let mine = claimed.body.clone();
                if let Some(other) = self.shared.body.lock().replace(mine) {
                    claimed.body = other;
                }
            }
        }
        Ok(taken)
    }

    async fn settle_falsely(&self, claim: &Claim, mut end: Settlement) -> Result<bool> {
        let error = end
            .answer
            .as_ref()
            .is_some_and(|answer| answer.head.status >= 500);
        match self.lie {
            Some(Lie::ReplaysWhatWasSent) if end.verdict == Verdict::Settle(State::Unknown) => {
                end.verdict = Verdict::Retry(Duration::from_secs(1));
            }
            Some(Lie::CompletesWithErrors) if error => {
                end.verdict = Verdict::Settle(State::Completed);
            }
            Some(Lie::LosesASettle) => {
                let mut settles = self.shared.settles.lock();
                *settles += 1;
                if settles.is_multiple_of(3) {
                    return Ok(true);
                }
            }
            Some(Lie::AnothersAnswer) => {
                if let Some(mine) = &end.answer
                    && let Some(other) = self.shared.answer.lock().replace(mine.clone())
                {
                    end.answer = Some(other);
                }
            }
            _ => {}
        }
        self.journal.settle(claim, end).await
    }
}

fn ends(verdict: Verdict) -> Settlement {
    Settlement {
        verdict,
        reason: String::new(),
        answer: None,
    }
}

#[async_trait]
impl RequestJournal for Liar {
    async fn admit(&self, admission: Admission) -> Result<Admitted> {
        self.admit_falsely(admission).await
    }
    async fn take(&self, take: &Take) -> Result<Taken> {
        self.take_falsely(take).await
    }
    async fn renew(&self, claim: &Claim, lease: Duration) -> Result<bool> {
        let lease = match self.lies(Lie::ClaimsLapseAtOnce) {
            true => Duration::from_millis(1),
            false => lease,
        };
        self.journal.renew(claim, lease).await
    }
    async fn settle(&self, claim: &Claim, settlement: Settlement) -> Result<bool> {
        self.settle_falsely(claim, settlement).await
    }
    async fn lapsed(&self) -> Result<Vec<Record>> {
        match self.lies(Lie::ClaimsNeverLapse) {
            true => Ok(Vec::new()),
            false => self.journal.lapsed().await,
        }
    }
    async fn sweep(&self) -> Result<u64> {
        self.journal.sweep().await
    }
    async fn get(&self, id: &RecordId) -> Result<Option<Record>> {
        self.journal.get(id).await
    }
    async fn body(&self, id: &RecordId) -> Result<Option<Bytes>> {
        self.journal.body(id).await
    }
    async fn answer_body(&self, id: &RecordId) -> Result<Option<Bytes>> {
        self.journal.answer_body(id).await
    }
    async fn list(
        &self,
        uid: &Uid,
        states: &[State],
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Record>> {
        self.journal.list(uid, states, before, limit).await
    }
    async fn cancel(&self, id: &RecordId, reason: &str) -> Result<()> {
        self.journal.cancel(id, reason).await
    }
    async fn requeue(&self, id: &RecordId) -> Result<()> {
        self.journal.requeue(id).await
    }
    async fn forget(&self, id: &RecordId) -> Result<()> {
        self.journal.forget(id).await
    }
    async fn backlogs(&self) -> Result<Vec<Backlog>> {
        self.journal.backlogs().await
    }
}
