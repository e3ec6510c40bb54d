//! Admissions and ends of claims, written together.
//!
//! What comes while a write is under way goes with the next one: a script's own cost, its line in Redis' file and the answer's way
//! back are shared by all of it, and who comes alone waits for nobody.

use std::sync::{Arc, Once};

use ::redis::{Cmd, Script};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::super::policy::Verdict;
use super::super::{
    Admission, Admitted, Begin, Bound, Claim, JournalError, RecordId, Result, Settlement, State,
};
use super::{Scripts, millis, read};
use crate::redis_link::{Link, LinkError, named};

/// The most records that one script writes, and the most bytes: it holds up all others meanwhile.
const MOST: (usize, usize) = (64, 1 << 20);

/// What a record takes beside what was given with it.
const OWN: usize = 1024;

/// A record to be written, and who wants to know what came of it.
#[derive(Debug)]
enum Entry {
    Admit(Box<Admission>, oneshot::Sender<Result<Admitted>>),
    Settle(Claim, Box<Settlement>, oneshot::Sender<Result<bool>>),
}

impl Entry {
    /// Whether somebody waits for it still.
    fn is_wanted(&self) -> bool {
        !match self {
            Self::Admit(_, said) => said.is_closed(),
            Self::Settle(_, _, said) => said.is_closed(),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Admit(admission, _) => admission.body.len(),
            Self::Settle(_, settlement, _) => answered(settlement),
        }
    }
}

/// Where what is to be written is handed in.
#[derive(Debug)]
pub(super) struct Writer {
    link: Link,
    entries: mpsc::UnboundedSender<Entry>,
    /// The log has been told that it ended.
    ended: Once,
}

impl Writer {
    /// Writes until this is dropped.
    pub(super) fn new(link: &Link, prefix: &str, memory: u64, scripts: &Arc<Scripts>) -> Self {
        let (entries, handed_in) = mpsc::unbounded_channel();
        let writing = Writing {
            link: link.clone(),
            prefix: prefix.to_owned(),
            memory,
            scripts: Arc::clone(scripts),
        };
        tokio::spawn(writing.run(handed_in));
        Self {
            link: link.clone(),
            entries,
            ended: Once::new(),
        }
    }

    /// Keeps a request. Dropped, it is not written any more unless it is on its way already.
    pub(super) async fn admit(&self, admission: Admission) -> Result<Admitted> {
        let (said, hears) = oneshot::channel();
        self.hand_in(Entry::Admit(Box::new(admission), said), hears)
            .await
    }

    /// Ends a claim.
    pub(super) async fn settle(&self, claim: Claim, settlement: Settlement) -> Result<bool> {
        let (said, hears) = oneshot::channel();
        self.hand_in(Entry::Settle(claim, Box::new(settlement), said), hears)
            .await
    }

    async fn hand_in<T>(&self, entry: Entry, hears: oneshot::Receiver<Result<T>>) -> Result<T> {
        self.entries.send(entry).map_err(|_| self.ended())?;
        match timeout(self.link.deadline(), hears).await {
            Ok(said) => said.map_err(|_| self.ended())?,
            Err(_elapsed) => Err(JournalError::Link(self.link.late())),
        }
    }

    /// Only a fault of ours ends it before this.
    fn ended(&self) -> JournalError {
        self.ended.call_once(|| {
            tracing::error!("what writes to the journal ended; nothing is kept until a restart");
        });
        let said = "what writes to the journal ended; restart the server";
        JournalError::Link(self.link.unreachable(said))
    }
}

struct Writing {
    link: Link,
    prefix: String,
    memory: u64,
    scripts: Arc<Scripts>,
}

impl Writing {
    async fn run(self, mut entries: mpsc::UnboundedReceiver<Entry>) {
        while let Some(first) = entries.recv().await {
            // Whoever is about to hand something in does.
            tokio::task::yield_now().await;
            let (mut admissions, mut ends, mut bytes) = (Vec::new(), Vec::new(), 0);
            let mut next = Some(first);
            while let Some(entry) = next {
                // Whoever does not wait for an admission any more may have ended its claim already: it must not come to be behind that.
                // Whoever does not for an end asks again: of what piles up while Redis hangs one is enough.
                if entry.is_wanted() {
                    bytes += entry.bytes();
                    match entry {
                        Entry::Admit(admission, said) => admissions.push((admission, said)),
                        Entry::Settle(claim, end, said) => ends.push((claim, end, said)),
                    }
                }
                let full = admissions.len() + ends.len() >= MOST.0 || bytes >= MOST.1;
                next = if full { None } else { entries.try_recv().ok() };
            }
            // What ends makes room, so it goes first.
            futures::join!(self.settle(ends), self.admit(admissions));
        }
    }

    fn command(&self, script: &Script, arguments: usize, bytes: usize) -> Cmd {
        let mut command = named(script, arguments, bytes);
        command.arg(&self.prefix);
        command
    }

    async fn admit(&self, all: Vec<(Box<Admission>, oneshot::Sender<Result<Admitted>>)>) {
        if all.is_empty() {
            return;
        }
        let bytes: usize = all.iter().map(|(one, _)| one.body.len() + 1500).sum();
        let mut command = self.command(&self.scripts.admit, 2 + 15 * all.len(), bytes);
        command.arg(self.memory);
        let mut waiting = Vec::with_capacity(all.len());
        for (admission, said) in all {
            match read::kept(&admission) {
                Ok(kept) => {
                    add_admission(&mut command, &admission, &kept);
                    waiting.push(said);
                }
                Err(error) => drop(said.send(Err(error))),
            }
        }
        let answers: std::result::Result<Vec<String>, LinkError> = self
            .link
            .run_named("admission of a request", &self.scripts.admit, &command)
            .await;
        tell(waiting, answers, |said| match said.as_str() {
            "queue" => Err(JournalError::Full(Bound::Queue)),
            "bytes" => Err(JournalError::Full(Bound::Bytes)),
            "memory" => Err(JournalError::Full(Bound::Memory)),
            "ok" => Ok(Admitted::Kept),
            other => read::known(other).ok_or(JournalError::Corrupt("key")),
        });
    }

    async fn settle(&self, all: Vec<(Claim, Box<Settlement>, oneshot::Sender<Result<bool>>)>) {
        if all.is_empty() {
            return;
        }
        let bytes: usize = all.iter().map(|(_, one, _)| answered(one) + 600).sum();
        let mut command = self.command(&self.scripts.settle, 1 + 8 * all.len(), bytes);
        let mut waiting = Vec::with_capacity(all.len());
        for (claim, settlement, said) in all {
            match add_end(&mut command, &claim, *settlement) {
                Ok(()) => waiting.push(said),
                Err(error) => drop(said.send(Err(error))),
            }
        }
        let answers: std::result::Result<Vec<i64>, LinkError> = self
            .link
            .run_named("settling of a request", &self.scripts.settle, &command)
            .await;
        tell(waiting, answers, |held| Ok(held == 1));
    }
}

/// How many bytes of a body a claim's end has with it.
fn answered(settlement: &Settlement) -> usize {
    let answer = settlement.answer.as_ref();
    answer.map_or(0, |answer| answer.body.len())
}

/// Tells each what came of its record.
fn tell<S, T>(
    waiting: Vec<oneshot::Sender<Result<T>>>,
    answers: std::result::Result<Vec<S>, LinkError>,
    read: impl Fn(S) -> Result<T>,
) {
    match answers {
        Ok(answers) => {
            for (said, answer) in waiting.into_iter().zip(answers) {
                // Whoever went needs no answer.
                drop(said.send(read(answer)));
            }
        }
        Err(error) => {
            for said in waiting {
                drop(said.send(Err(JournalError::Link(error.again()))));
            }
        }
    }
}

fn add_admission(command: &mut Cmd, admission: &Admission, kept: &[u8]) {
    let lease = match admission.begin {
        Begin::Live(lease) => millis(lease),
        Begin::Pending | Begin::Unknown => 0,
    };
    let key = admission.key.as_ref();
    let replaces = key.and_then(|key| key.replaces.as_ref());
    let callback = admission.callback.as_deref().unwrap_or_default();
    let length = admission.body.len();
    command
        .arg(admission.id.as_str())
        .arg(admission.uid.as_str())
        .arg(&admission.agent)
        .arg(admission.begin.standing().state.word())
        .arg(&admission.body[..])
        .arg(length)
        .arg(kept)
        .arg(kept.len() + length + callback.len() + OWN)
        .arg(millis(admission.ttl))
        .arg(admission.bounds.max_queue)
        .arg(admission.bounds.max_bytes)
        .arg(lease)
        .arg(key.map_or("", |key| &key.scope))
        .arg(replaces.map_or("", RecordId::as_str))
        .arg(callback);
}

fn add_end(command: &mut Cmd, claim: &Claim, settlement: Settlement) -> Result<()> {
    let (state, after) = match settlement.verdict {
        Verdict::Release => (State::Pending, 0),
        Verdict::Retry(after) => (State::Retrying, millis(after)),
        Verdict::Settle(state) => (state, 0),
    };
    let (head, body) = match settlement.answer {
        Some(answer) => (
            serde_json::to_vec(&answer.head).map_err(|_| JournalError::Corrupt("answer"))?,
            answer.body,
        ),
        None => (Vec::new(), Bytes::new()),
    };
    command
        .arg(claim.id.as_str())
        .arg(claim.token)
        .arg(state.word())
        .arg(after)
        .arg(read::line(&settlement.reason).as_ref())
        .arg(&head)
        .arg(&body[..])
        .arg(head.len() + body.len());
    Ok(())
}
