//! Records as they stand in Redis, read back.
//!
//! A record is text of six lines: what becomes of it and what it is (both the scripts', see `scripts/shared.lua`), why it stands where it
//! does, the head of its answer, who sent it to whom, and its own head.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;

use super::super::record::Standing;
use super::super::{
    Admission, Admitted, Backlog, Callback, CallbackState, JournalError, Record, RecordId, Result,
    State,
};
use crate::agent::Uid;
use crate::redis_link::Link;

/// Fields of a record's callback.
pub(super) const CALLBACK: [&str; 4] = ["url", "state", "calls", "reason"];

/// Values of several keys or fields.
pub(super) type Row = Vec<Option<Vec<u8>>>;

/// The last two lines of a record: what no script has to do with.
pub(super) fn kept(admission: &Admission) -> Result<Vec<u8>> {
    let key = admission.key.as_ref();
    let of_key = key.map_or(("", ""), |key| (&key.request, &key.salt));
    let mut kept = Vec::with_capacity(1024);
    for part in [
        &admission.agent,
        "\t",
        &admission.capability,
        "\t",
        of_key.0,
        "\t",
        of_key.1,
        "\n",
    ] {
        kept.extend_from_slice(part.as_bytes());
    }
    serde_json::to_writer(&mut kept, &admission.head).map_err(|_| JournalError::Corrupt("head"))?;
    Ok(kept)
}

/// Text as one line.
pub(super) fn line(text: &str) -> Cow<'_, str> {
    match text.contains(['\n', '\r']) {
        true => Cow::Owned(text.replace(['\n', '\r'], " ")),
        false => Cow::Borrowed(text),
    }
}

/// Those of these records that there are.
pub(super) async fn records(link: &Link, prefix: &str, ids: &[String]) -> Result<Vec<Record>> {
    readable(link, prefix, ids, |_, error| Err(error)).await
}

/// The same, but of what cannot be read it is `otherwise` that says whether all fails.
pub(super) async fn readable(
    link: &Link,
    prefix: &str,
    ids: &[String],
    otherwise: impl Fn(&RecordId, JournalError) -> Result<()>,
) -> Result<Vec<Record>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut command = ::redis::cmd("MGET");
    for id in ids {
        command.arg(format!("{prefix}record:{id}"));
    }
    let texts: Row = link.ask("read of requests", &command).await?;
    let mut found = Vec::with_capacity(ids.len());
    for (id, text) in ids.iter().zip(texts) {
        let id = RecordId::parse(id).ok_or(JournalError::Corrupt("id"))?;
        match text.map(|text| record(id.clone(), &text)) {
            Some(Ok(record)) => found.push(record),
            Some(Err(error)) => otherwise(&id, error)?,
            None => {}
        }
    }
    let mut called: Vec<&mut Record> = found
        .iter_mut()
        .filter(|record| record.callback.is_some())
        .collect();
    if !called.is_empty() {
        let mut commands = ::redis::pipe();
        for record in &called {
            let key = format!("{prefix}callback:{}", record.id);
            commands.cmd("HMGET").arg(key).arg(&CALLBACK);
        }
        let rows: Vec<Row> = link.ask_all("read of callbacks", &commands).await?;
        for (record, row) in called.iter_mut().zip(rows) {
            record.callback = Some(callback(&row));
        }
    }
    Ok(found)
}

/// A record as `take.lua` gives it: its id, itself, its body, and its callback's fields if it has one.
pub(super) fn taken(mut row: Row) -> Result<(Record, Bytes)> {
    if row.len() < 3 {
        return Err(JournalError::Corrupt("row"));
    }
    let called = row.split_off(3);
    let body = row.pop().flatten().unwrap_or_default();
    let text = row.pop().flatten().ok_or(JournalError::Corrupt("record"))?;
    let id = row.pop().flatten();
    let id = id.and_then(|id| RecordId::parse(std::str::from_utf8(&id).ok()?));
    let mut record = record(id.ok_or(JournalError::Corrupt("id"))?, &text)?;
    if record.callback.is_some() {
        record.callback = Some(callback(&called));
    }
    if body.len() as u64 != record.body_length {
        return Err(JournalError::Corrupt("body"));
    }
    Ok((record, Bytes::from(body)))
}

/// A record's body, as long as it is kept.
pub(super) async fn body(link: &Link, prefix: &str, id: &RecordId) -> Result<Option<Bytes>> {
    bytes(link, prefix, id, "body", |record| {
        let state = record.standing.state;
        record.body_length == 0 && (!state.is_settled() || state.wants_attention())
    })
    .await
}

/// The body of its answer.
pub(super) async fn answer_body(link: &Link, prefix: &str, id: &RecordId) -> Result<Option<Bytes>> {
    bytes(link, prefix, id, "answer", |record| record.answer.is_some()).await
}

/// Bytes of a record. There is no key for none at all.
async fn bytes(
    link: &Link,
    prefix: &str,
    id: &RecordId,
    kind: &str,
    has: impl FnOnce(&Record) -> bool,
) -> Result<Option<Bytes>> {
    let mut command = ::redis::cmd("MGET");
    command
        .arg(format!("{prefix}{kind}:{id}"))
        .arg(format!("{prefix}record:{id}"));
    let (bytes, text): (Option<Vec<u8>>, Option<Vec<u8>>) =
        link.ask("read of a body", &command).await?;
    let Some(text) = text else {
        return Ok(None);
    };
    match bytes {
        Some(bytes) => Ok(Some(Bytes::from(bytes))),
        None => Ok(has(&record(id.clone(), &text)?).then(Bytes::new)),
    }
}

/// What stands between tabs, in turn.
struct Parts<'a>(std::str::Split<'a, char>);

impl<'a> Parts<'a> {
    fn next(&mut self, name: &'static str) -> Result<&'a str> {
        self.0.next().ok_or(JournalError::Corrupt(name))
    }

    fn number<T: std::str::FromStr>(&mut self, name: &'static str) -> Result<T> {
        let text = self.next(name)?;
        text.parse().map_err(|_| JournalError::Corrupt(name))
    }

    fn time(&mut self, name: &'static str) -> Result<Option<Timestamp>> {
        let text = self.next(name)?;
        match text.is_empty() {
            true => Ok(None),
            false => Ok(Some(time(text).ok_or(JournalError::Corrupt(name))?)),
        }
    }

    fn given(&mut self, name: &'static str) -> Result<Timestamp> {
        self.time(name)?.ok_or(JournalError::Corrupt(name))
    }
}

fn record(id: RecordId, text: &[u8]) -> Result<Record> {
    let text = std::str::from_utf8(text).map_err(|_| JournalError::Corrupt("record"))?;
    let mut lines = text.splitn(6, '\n');
    let mut line = || lines.next().ok_or(JournalError::Corrupt("record"));
    let mut becomes = Parts(line()?.split('\t'));
    let mut is = Parts(line()?.split('\t'));
    let (reason, answer) = (line()?, line()?);
    let mut from = Parts(line()?.split('\t'));
    let head = serde_json::from_str(line()?).map_err(|_| JournalError::Corrupt("head"))?;
    let standing = Standing {
        state: becomes.number("state")?,
        token: becomes.number("token")?,
        attempts: becomes.number("attempts")?,
        forgiven: becomes.number("forgiven")?,
    };
    let live = becomes.next("live")? == "1";
    becomes.next("taker")?;
    becomes.next("streams")?;
    let until = becomes.given("until")?;
    let settled = becomes.time("settled")?;
    let uid = Uid(is.next("uid")?.to_owned());
    let sequence = is.number("sequence")?;
    let admitted = is.given("admitted")?;
    is.next("ttl")?;
    let body_length = is.number("length")?;
    let called = is.next("called")? == "1";
    let agent = from.next("agent")?.to_owned();
    let capability = from.next("capability")?.to_owned();
    from.next("request")?;
    let salt = from.next("salt")?;
    Ok(Record {
        id,
        uid,
        agent,
        sequence,
        standing,
        head,
        body_length,
        capability,
        admitted,
        until,
        settled,
        reason: reason.to_owned(),
        answer: match answer {
            "" => None,
            text => Some(serde_json::from_str(text).map_err(|_| JournalError::Corrupt("answer"))?),
        },
        live,
        salt: (!salt.is_empty()).then(|| salt.to_owned()),
        // To be read from where it stands.
        callback: called.then(|| callback(&[])),
    })
}

fn callback(row: &[Option<Vec<u8>>]) -> Callback {
    let text = |at: usize| {
        let bytes = row.get(at).and_then(Option::as_deref).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    };
    Callback {
        url: text(0).to_owned(),
        state: CallbackState::of(text(1)),
        calls: text(2).parse().unwrap_or(0),
        reason: text(3).to_owned(),
    }
}

/// What `admit.lua` says of a request whose key there is: `same` or `other`, and whose it is.
pub(super) fn known(said: &str) -> Option<Admitted> {
    let (same, id) = said.split_once(' ')?;
    Some(Admitted::Known {
        id: RecordId::parse(id)?,
        same: same == "same",
    })
}

fn time(text: &str) -> Option<Timestamp> {
    Timestamp::from_millisecond(text.parse().ok()?).ok()
}

/// One row of `backlogs.lua`.
pub(super) fn backlog(row: &[String]) -> Option<Backlog> {
    let [uid, numbers, oldest] = row else {
        return None;
    };
    let mut parts = numbers.split('\t');
    let mut number = || parts.next().and_then(|part| part.parse::<u64>().ok());
    let mut by_state = BTreeMap::new();
    for state in State::ALL {
        by_state.insert(state, number()?);
    }
    let (_bytes, admitted) = (number()?, number()?);
    let mut ended = BTreeMap::new();
    for state in State::ALL.into_iter().filter(|state| state.is_settled()) {
        ended.insert(state, number()?);
    }
    let some = |counts: BTreeMap<State, u64>| counts.into_iter().filter(|(_, count)| *count > 0);
    Some(Backlog {
        uid: Uid(uid.clone()),
        agent: parts.next()?.to_owned(),
        counts: some(by_state).collect(),
        oldest: time(oldest),
        admitted,
        ended: some(ended).collect(),
    })
}
