//! The journal in Redis: the adapter of [`RequestJournal`]. Each transition is one script of `scripts/`, on Redis' own time; all keys
//! are below `keys::Keys::journal`. Made by `app`; works with any Redis from 6.2 on, without a cluster.

mod callbacks;
mod durable;
mod events;
mod read;

use std::sync::Arc;
use std::time::Duration;

use ::redis::{Script, ScriptInvocation, from_redis_value as value_of};
use async_trait::async_trait;
use bytes::Bytes;

use self::durable::Durable;
use super::policy::Verdict;
use super::{
    Admission, Admitted, Backlog, Begin, Bound, Claim, Claimed, JournalError, Key, Record,
    RecordId, RequestJournal, Result, Settlement, State, Take, Taken,
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
    durable: Durable,
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
        let of = |text: &str| {
            let shared = include_str!("scripts/shared.lua");
            Script::new(&format!("{shared}\n{text}"))
        };
        Self {
            admit: of(include_str!("scripts/admit.lua")),
            take: of(include_str!("scripts/take.lua")),
            renew: of(include_str!("scripts/renew.lua")),
            settle: of(include_str!("scripts/settle.lua")),
            change: of(include_str!("scripts/change.lua")),
            sweep: of(include_str!("scripts/sweep.lua")),
            lapsed: of(include_str!("scripts/lapsed.lua")),
            backlogs: of(include_str!("scripts/backlogs.lua")),
            list: of(include_str!("scripts/list.lua")),
            calls: of(include_str!("scripts/calls.lua")),
            called: of(include_str!("scripts/called.lua")),
            append: of(include_str!("scripts/append.lua")),
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
        Ok(Self {
            link: Link::new(url, options.deadline)?,
            prefix: options.keys.journal(),
            durable: Durable::new(options.in_memory),
            options,
            scripts: Arc::new(Scripts::new()),
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
        call.arg(id.as_str()).arg(what).arg(reason);
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
        let head =
            serde_json::to_vec(&admission.head).map_err(|_| JournalError::Corrupt("head"))?;
        let (lease, reason) = match admission.begin {
            Begin::Pending => (Duration::ZERO, ""),
            Begin::Live(lease) => (lease, ""),
            Begin::Unknown => (
                Duration::ZERO,
                "it was sent and no answer came: the agent may have handled it",
            ),
        };
        let standing = admission.begin.standing();
        let key = admission.key.as_ref();
        let of_key = |part: fn(&Key) -> &str| key.map_or("", part);
        let mut call = self.call(&self.scripts.admit);
        call.arg(admission.id.as_str())
            .arg(admission.uid.as_str())
            .arg(&admission.agent)
            .arg(standing.state.word())
            .arg(head)
            .arg(&admission.body[..])
            .arg(&admission.capability)
            .arg(millis(admission.ttl))
            .arg(admission.bounds.max_queue)
            .arg(admission.bounds.max_bytes)
            .arg(self.options.memory)
            .arg(reason)
            .arg(standing.token)
            .arg(standing.attempts)
            .arg(millis(lease))
            .arg(of_key(|key| &key.scope))
            .arg(of_key(|key| &key.request))
            .arg(of_key(|key| &key.salt))
            .arg(of_key(|key| {
                key.replaces.as_ref().map_or("", RecordId::as_str)
            }))
            .arg(admission.callback.unwrap_or_default());
        let said: String = self
            .link
            .run("admission of a request", &call, Repeat::Harmless)
            .await?;
        match said.as_str() {
            "queue" => Err(JournalError::Full(Bound::Queue)),
            "bytes" => Err(JournalError::Full(Bound::Bytes)),
            "memory" => Err(JournalError::Full(Bound::Memory)),
            "ok" => Ok(Admitted::Kept),
            other => read::known(other).ok_or(JournalError::Corrupt("key")),
        }
    }

    async fn take(&self, take: &Take) -> Result<Taken> {
        let mut call = self.call(&self.scripts.take);
        call.arg(take.uid.as_str())
            .arg(take.most)
            .arg(take.concurrency)
            .arg(u8::from(take.strict))
            .arg(millis(take.lease));
        for field in read::FIELDS {
            call.arg(field);
        }
        let said: Vec<::redis::Value> = self
            .link
            .run("claim of requests", &call, Repeat::Never)
            .await?;
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
        let (state, after) = match settlement.verdict {
            Verdict::Release => (State::Pending, Duration::ZERO),
            Verdict::Retry(after) => (State::Retrying, after),
            Verdict::Settle(state) => (state, Duration::ZERO),
        };
        let (head, body) = match settlement.answer {
            Some(answer) => (
                serde_json::to_vec(&answer.head).map_err(|_| JournalError::Corrupt("answer"))?,
                answer.body,
            ),
            None => (Vec::new(), Bytes::new()),
        };
        let mut call = self.call(&self.scripts.settle);
        call.arg(claim.id.as_str())
            .arg(claim.token)
            .arg(state.word())
            .arg(millis(after))
            .arg(&settlement.reason)
            .arg(head)
            .arg(&body[..]);
        let held: i64 = self
            .link
            .run("settling of a request", &call, Repeat::Harmless)
            .await?;
        Ok(held == 1)
    }

    async fn lapsed(&self) -> Result<Vec<Record>> {
        let call = self.call(&self.scripts.lapsed);
        let ids: Vec<String> = self
            .link
            .run("look for lapsed claims", &call, Repeat::Harmless)
            .await?;
        read::records(&self.link, &self.prefix, &ids).await
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
        read::bytes(&self.link, &self.prefix, id, "body", "body").await
    }

    async fn answer_body(&self, id: &RecordId) -> Result<Option<Bytes>> {
        read::bytes(&self.link, &self.prefix, id, "answer-body", "answer").await
    }

    async fn list(
        &self,
        uid: &Uid,
        states: &[State],
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Record>> {
        let mut call = self.call(&self.scripts.list);
        call.arg(uid.as_str())
            .arg(before.map_or_else(|| "+inf".to_owned(), |before| format!("({before}")))
            .arg(limit);
        for state in states {
            call.arg(state.word());
        }
        let ids: Vec<String> = self
            .link
            .run("list of requests", &call, Repeat::Harmless)
            .await?;
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
