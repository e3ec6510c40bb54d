//! The journal in Redis: the adapter of [`RequestJournal`]. Each transition is one script of `scripts/`, on Redis' own time, and
//! admissions and ends of claims are written many at a time (`writer`); all keys are below `keys::Keys::journal`. Made by `app`; works with any Redis from 6.2 on, without a cluster.

mod callbacks;
mod durable;
mod events;
mod read;
mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ::redis::{Script, ScriptInvocation, from_redis_value as value_of};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

use self::durable::Durable;
use self::writer::Writer;
use super::{
    Admission, Admitted, Backlog, Claim, Claimed, JournalError, Record, RecordId, RequestJournal,
    Result, Settlement, State, Take, Taken,
};
use crate::agent::Uid;
use crate::keys::Keys;
use crate::redis_link::{Link, Repeat};

/// How the journal is kept.
#[derive(Clone, Debug)]
pub struct RedisJournalOptions {
    /// Under which prefix.
    pub keys: Keys,
    /// `--journal-memory`: all that it keeps, in bytes of heads, bodies and answers.
    pub memory: u64,
    /// Whether a Redis that does not promise durability is good enough (`--durability=memory`).
    pub in_memory: bool,
    /// The longest that one call takes.
    pub deadline: Duration,
}

impl Default for RedisJournalOptions {
    fn default() -> Self {
        Self {
            keys: Keys::default(),
            memory: 256 << 20,
            in_memory: false,
            deadline: Duration::from_secs(5),
        }
    }
}

/// Requests in Redis. Has a connection of its own: a long body never holds up a spec.
#[derive(Debug)]
pub struct RedisJournal {
    link: Link,
    options: RedisJournalOptions,
    prefix: String,
    scripts: Arc<Scripts>,
    writer: Writer,
    durable: Durable,
    /// Calls to take something that got no answer: what they took is theirs who calls again.
    unheard: Mutex<BTreeMap<Uid, String>>,
    /// Records that cannot be read, of which the log has been told.
    unreadable: Mutex<BTreeSet<RecordId>>,
}

#[derive(Debug)]
struct Scripts {
    admit: Script,
    take: Script,
    renew: Script,
    settle: Script,
    change: Script,
    sweep: Script,
    lapsed: Script,
    backlogs: Script,
    list: Script,
    calls: Script,
    called: Script,
    append: Script,
    events: Script,
}

impl Scripts {
    fn new() -> Self {
        let shared = include_str!("scripts/shared.lua");
        let room = include_str!("scripts/room.lua");
        let of = |text: &str| Script::new(&format!("{shared}\n{text}"));
        let with_room = |text: &str| Script::new(&format!("{shared}\n{room}\n{text}"));
        Self {
            admit: with_room(include_str!("scripts/admit.lua")),
            take: with_room(include_str!("scripts/take.lua")),
            renew: of(include_str!("scripts/renew.lua")),
            settle: of(include_str!("scripts/settle.lua")),
            change: with_room(include_str!("scripts/change.lua")),
            sweep: with_room(include_str!("scripts/sweep.lua")),
            lapsed: of(include_str!("scripts/lapsed.lua")),
            backlogs: of(include_str!("scripts/backlogs.lua")),
            list: of(include_str!("scripts/list.lua")),
            calls: of(include_str!("scripts/calls.lua")),
            called: of(include_str!("scripts/called.lua")),
            append: with_room(include_str!("scripts/append.lua")),
            events: of(include_str!("scripts/events.lua")),
        }
    }
}

impl RedisJournal {
    /// A journal at `url`: `redis://[user[:password]@]host[:port][/db]` or `redis+unix:///path`. Must be called within a tokio
    /// runtime; connects at the first call.
    ///
    /// # Errors
    /// [`JournalError::Link`] when the URL is none of ours; the text never repeats it.
    pub fn new(url: &str, options: RedisJournalOptions) -> Result<Self> {
        let link = Link::new(url, options.deadline)?;
        let prefix = options.keys.journal();
        let scripts = Arc::new(Scripts::new());
        Ok(Self {
            writer: Writer::new(&link, &prefix, options.memory, &scripts),
            link,
            prefix,
            durable: Durable::new(options.in_memory),
            options,
            scripts,
            unheard: Mutex::default(),
            unreadable: Mutex::default(),
        })
    }

    /// What would have to be set on this Redis for it to keep what it takes; empty when it does.
    ///
    /// # Errors
    /// [`JournalError::Link`].
    pub async fn lacks(&self) -> Result<Vec<String>> {
        durable::lacks(&self.link).await
    }

    fn call<'a>(&self, script: &'a Script) -> ScriptInvocation<'a> {
        let mut call = script.prepare_invoke();
        call.arg(&self.prefix);
        call
    }

    async fn change(&self, id: &RecordId, what: &str, reason: &str) -> Result<()> {
        let mut call = self.call(&self.scripts.change);
        call.arg(id.as_str())
            .arg(what)
            .arg(read::line(reason).as_ref());
        // Sent twice, the second would find it done and call that a conflict.
        let said: String = self
            .link
            .run("change of a request", &call, Repeat::Never)
            .await?;
        match said.as_str() {
            "ok" => Ok(()),
            "gone" => Err(JournalError::Gone),
            state => Err(JournalError::Conflict(
                state.parse().map_err(|_| JournalError::Corrupt("state"))?,
            )),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[async_trait]
impl RequestJournal for RedisJournal {
    async fn admit(&self, admission: Admission) -> Result<Admitted> {
        self.durable.check(&self.link).await?;
        self.writer.admit(admission).await
    }

    async fn take(&self, take: &Take) -> Result<Taken> {
        // Whether an answer was lost is known by the next call, which gets what that one took.
        let lost = self.unheard.lock().remove(&take.uid);
        let again = lost.is_some();
        let name = lost.unwrap_or_else(|| uuid::Uuid::new_v4().simple().to_string());
        let mut call = self.call(&self.scripts.take);
        call.arg(take.uid.as_str())
            .arg(take.most)
            .arg(take.concurrency)
            .arg(u8::from(take.strict))
            .arg(millis(take.lease))
            .arg(&name)
            .arg(u8::from(again))
            .arg(&read::CALLBACK);
        let said: std::result::Result<Vec<::redis::Value>, _> = self
            .link
            .run("claim of requests", &call, Repeat::Never)
            .await;
        let said = said.inspect_err(|_| {
            self.unheard.lock().insert(take.uid.clone(), name);
        })?;
        let mut said = said.into_iter();
        let mut number = || said.next().and_then(|value| value_of::<i64>(value).ok());
        let mut taken = Taken {
            more: number().is_some_and(|more| more > 0),
            next: number()
                .and_then(|next| u64::try_from(next).ok())
                .map(Duration::from_millis),
            claimed: Vec::new(),
        };
        for row in said {
            let row = value_of(row).map_err(|_| JournalError::Corrupt("row"))?;
            let (record, body) = read::taken(row)?;
            taken.claimed.push(Claimed { record, body });
        }
        Ok(taken)
    }

    async fn renew(&self, claim: &Claim, lease: Duration) -> Result<bool> {
        let mut call = self.call(&self.scripts.renew);
        call.arg(claim.id.as_str())
            .arg(claim.token)
            .arg(millis(lease));
        let held: i64 = self
            .link
            .run("renewal of a claim", &call, Repeat::Harmless)
            .await?;
        Ok(held == 1)
    }

    async fn settle(&self, claim: &Claim, settlement: Settlement) -> Result<bool> {
        self.writer.settle(claim.clone(), settlement).await
    }

    async fn lapsed(&self) -> Result<Vec<Record>> {
        let call = self.call(&self.scripts.lapsed);
        let ids: Vec<String> = self
            .link
            .run("look for lapsed claims", &call, Repeat::Harmless)
            .await?;
        read::readable(&self.link, &self.prefix, &ids, |id, error| {
            // It holds up no other.
            if self.unreadable.lock().insert(id.clone()) {
                tracing::error!(%error, request = %id, "a claim lapsed, and its record cannot be read");
            }
            Ok(())
        })
        .await
    }

    async fn sweep(&self) -> Result<u64> {
        let call = self.call(&self.scripts.sweep);
        Ok(self
            .link
            .run("sweep of the journal", &call, Repeat::Harmless)
            .await?)
    }

    async fn get(&self, id: &RecordId) -> Result<Option<Record>> {
        let ids = [id.as_str().to_owned()];
        let found = read::records(&self.link, &self.prefix, &ids).await?;
        Ok(found.into_iter().next())
    }

    async fn body(&self, id: &RecordId) -> Result<Option<Bytes>> {
        read::body(&self.link, &self.prefix, id).await
    }

    async fn answer_body(&self, id: &RecordId) -> Result<Option<Bytes>> {
        read::answer_body(&self.link, &self.prefix, id).await
    }

    async fn list(
        &self,
        uid: &Uid,
        states: &[State],
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Record>> {
        let mut before = before.map_or_else(String::new, |before| before.to_string());
        let mut ids = Vec::new();
        loop {
            let mut call = self.call(&self.scripts.list);
            call.arg(uid.as_str()).arg(&before).arg(limit - ids.len());
            for state in states {
                call.arg(state.word());
            }
            let said: Vec<String> = self
                .link
                .run("list of requests", &call, Repeat::Harmless)
                .await?;
            let mut said = said.into_iter();
            before = said.next().unwrap_or_default();
            ids.extend(said);
            if before.is_empty() || ids.len() >= limit {
                break;
            }
        }
        read::records(&self.link, &self.prefix, &ids).await
    }

    async fn cancel(&self, id: &RecordId, reason: &str) -> Result<()> {
        self.change(id, "cancel", reason).await
    }

    async fn requeue(&self, id: &RecordId) -> Result<()> {
        self.change(id, "requeue", "it is to be delivered again")
            .await
    }

    async fn forget(&self, id: &RecordId) -> Result<()> {
        self.change(id, "forget", "").await
    }

    async fn backlogs(&self) -> Result<Vec<Backlog>> {
        let call = self.call(&self.scripts.backlogs);
        let rows: Vec<Vec<String>> = self
            .link
            .run("look at the backlogs", &call, Repeat::Harmless)
            .await?;
        Ok(rows.iter().filter_map(|row| read::backlog(row)).collect())
    }
}
