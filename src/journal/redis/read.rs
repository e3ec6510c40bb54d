//! Records as they stand in Redis, read back.

use std::collections::BTreeMap;

use ::redis::FromRedisValue;
use bytes::Bytes;
use jiff::Timestamp;

use super::super::record::Standing;
use super::super::{
    Admitted, AnswerHead, Backlog, Callback, CallbackState, Head, JournalError, Record, RecordId,
    Result, State,
};
use crate::agent::Uid;
use crate::redis_link::Link;

/// A record's fields in Redis, without its bodies.
pub(super) const FIELDS: [&str; 21] = [
    "uid",
    "agent",
    "sequence",
    "state",
    "token",
    "attempts",
    "forgiven",
    "head",
    "length",
    "capability",
    "admitted",
    "until",
    "settled",
    "reason",
    "answer",
    "live",
    "salt",
    "callback",
    "callback-state",
    "calls",
    "callback-reason",
];

/// Values of some of them.
pub(super) type Row = Vec<Option<Vec<u8>>>;

/// Those of these records that there are.
pub(super) async fn records(link: &Link, prefix: &str, ids: &[String]) -> Result<Vec<Record>> {
    let mut found = Vec::new();
    for id in ids {
        let id = RecordId::parse(id).ok_or(JournalError::Corrupt("id"))?;
        let row: Row = fields(link, prefix, &id, &FIELDS).await?;
        found.extend(record(id, &row)?);
    }
    Ok(found)
}

/// A record as `take.lua` gives it: its id, its body and then its fields.
pub(super) fn taken(mut row: Row) -> Result<(Record, Bytes)> {
    if row.len() < 2 {
        return Err(JournalError::Corrupt("row"));
    }
    let fields = row.split_off(2);
    let body = row.pop().flatten().unwrap_or_default();
    let id = row.pop().flatten();
    let id = id.and_then(|id| RecordId::parse(std::str::from_utf8(&id).ok()?));
    let id = id.ok_or(JournalError::Corrupt("id"))?;
    let record = record(id, &fields)?.ok_or(JournalError::Corrupt("uid"))?;
    if body.len() as u64 != record.body_length {
        return Err(JournalError::Corrupt("body"));
    }
    Ok((record, Bytes::from(body)))
}

/// Bytes of a record, in their field or in a key of their own.
pub(super) async fn bytes(
    link: &Link,
    prefix: &str,
    id: &RecordId,
    field: &str,
    kind: &str,
) -> Result<Option<Bytes>> {
    let row: Row = fields(link, prefix, id, &[field]).await?;
    match row.into_iter().next().flatten() {
        Some(bytes) => Ok(Some(Bytes::from(bytes))),
        None => long(link, prefix, id, kind).await,
    }
}

async fn long(link: &Link, prefix: &str, id: &RecordId, kind: &str) -> Result<Option<Bytes>> {
    let mut command = ::redis::cmd("GET");
    command.arg(format!("{prefix}{kind}:{id}"));
    let bytes: Option<Vec<u8>> = link.ask("read of a body", &command).await?;
    Ok(bytes.map(Bytes::from))
}

async fn fields<T: FromRedisValue>(
    link: &Link,
    prefix: &str,
    id: &RecordId,
    names: &[&str],
) -> Result<T> {
    let mut command = ::redis::cmd("HMGET");
    command.arg(format!("{prefix}record:{id}")).arg(names);
    Ok(link.ask("read of a request", &command).await?)
}

fn record(id: RecordId, row: &[Option<Vec<u8>>]) -> Result<Option<Record>> {
    let text = |name: &'static str| -> Option<&str> {
        let at = FIELDS.iter().position(|field| *field == name)?;
        std::str::from_utf8(row.get(at)?.as_deref()?).ok()
    };
    let given = |name: &'static str| text(name).ok_or(JournalError::Corrupt(name));
    let number = |name: &'static str| -> Result<u64> {
        given(name)?
            .parse()
            .map_err(|_| JournalError::Corrupt(name))
    };
    let small = |name| u32::try_from(number(name)?).map_err(|_| JournalError::Corrupt(name));
    let at = |name| time(given(name)?).ok_or(JournalError::Corrupt(name));
    // Without a state it was never admitted: a Redis that cuts off a half written transaction may bring its first part back.
    if text("uid").is_none() || text("state").is_none() {
        return Ok(None);
    }
    let head: Head =
        serde_json::from_str(given("head")?).map_err(|_| JournalError::Corrupt("head"))?;
    let answer: Option<AnswerHead> = text("answer")
        .map(|text| serde_json::from_str(text).map_err(|_| JournalError::Corrupt("answer")))
        .transpose()?;
    Ok(Some(Record {
        id,
        uid: Uid(given("uid")?.to_owned()),
        agent: given("agent")?.to_owned(),
        sequence: number("sequence")?,
        standing: Standing {
            state: given("state")?
                .parse()
                .map_err(|_| JournalError::Corrupt("state"))?,
            token: number("token")?,
            attempts: small("attempts")?,
            forgiven: small("forgiven")?,
        },
        head,
        body_length: number("length")?,
        capability: given("capability")?.to_owned(),
        admitted: at("admitted")?,
        until: at("until")?,
        settled: text("settled").and_then(time),
        reason: text("reason").unwrap_or_default().to_owned(),
        answer,
        live: text("live").is_some(),
        salt: text("salt").map(str::to_owned),
        callback: text("callback").map(|url| Callback {
            url: url.to_owned(),
            state: CallbackState::of(text("callback-state").unwrap_or_default()),
            calls: text("calls")
                .and_then(|calls| calls.parse().ok())
                .unwrap_or(0),
            reason: text("callback-reason").unwrap_or_default().to_owned(),
        }),
    }))
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
    let (uid, rest) = row.split_first()?;
    let (agent, rest) = rest.split_first()?;
    let (oldest, counts) = rest.split_first()?;
    let (mut by_state, mut ended) = (BTreeMap::new(), BTreeMap::new());
    let mut admitted = 0;
    for pair in counts.chunks_exact(2) {
        let [name, count] = pair else { continue };
        let Ok(count) = count.parse::<u64>() else {
            continue;
        };
        if let Ok(state) = name.parse::<State>() {
            by_state.insert(state, count);
        } else if let Some(Ok(state)) = name.strip_prefix("ended:").map(str::parse::<State>) {
            ended.insert(state, count);
        } else if name == "admitted" {
            admitted = count;
        }
    }
    Some(Backlog {
        uid: Uid(uid.clone()),
        agent: agent.clone(),
        counts: by_state.into_iter().collect(),
        oldest: time(oldest),
        admitted,
        ended: ended.into_iter().collect(),
    })
}
