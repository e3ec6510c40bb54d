//! The servers on this store: their signs of life, the lease, the key that they share.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::super::{Beat, Lease, MemberId, Muster, Report, Result, StoreError};
use super::RedisStore;
use crate::redis_link::Repeat;
use crate::tokens::ServerKey;

/// Where the token key is, in the cluster's hash.
const TOKEN_KEY: &str = "token-key";

pub(super) async fn beat(store: &RedisStore, beat: &Beat) -> Result<Muster> {
    let flag = |on: bool| if on { "1" } else { "0" };
    let mut call = store.scripts.beat.prepare_invoke();
    call.key(store.keys.lease())
        .key(store.keys.members())
        .arg(&beat.member.server)
        .arg(&beat.member.run)
        .arg(flag(beat.candidate))
        .arg(flag(beat.only_run))
        .arg(milliseconds(beat.lease))
        .arg(milliseconds(beat.life))
        .arg(serde_json::to_vec(&beat.report).map_err(corrupt)?);
    let answer: Vec<String> = store
        .link
        .run("sign of life", &call, Repeat::Harmless)
        .await?;
    let muster = read(&answer)?;
    if let Some(lease) = muster
        .lease
        .as_ref()
        .filter(|lease| lease.holder == beat.member)
    {
        store.term.store(lease.term, Ordering::Relaxed);
    }
    Ok(muster)
}

pub(super) async fn leave(store: &RedisStore, member: &MemberId) -> Result<()> {
    let mut call = store.scripts.leave.prepare_invoke();
    call.key(store.keys.lease())
        .key(store.keys.members())
        .arg(member.to_string());
    let _left: i64 = store.link.run("farewell", &call, Repeat::Harmless).await?;
    Ok(())
}

pub(super) async fn share_key(store: &RedisStore, ours: &ServerKey) -> Result<ServerKey> {
    // Read first: a Redis that is full or read-only refuses even an offer that changes nothing.
    if let Some(kept) = token_key(store).await? {
        return Ok(kept);
    }
    let mut offer = ::redis::cmd("HSETNX");
    offer
        .arg(store.keys.cluster())
        .arg(TOKEN_KEY)
        .arg(ours.to_hex());
    let _first: i64 = store.link.ask("offer of the token key", &offer).await?;
    token_key(store).await?.ok_or_else(odd_key)
}

async fn token_key(store: &RedisStore) -> Result<Option<ServerKey>> {
    let mut command = ::redis::cmd("HGET");
    command.arg(store.keys.cluster()).arg(TOKEN_KEY);
    let kept: Option<String> = store.link.ask("read of the token key", &command).await?;
    kept.map(|kept| ServerKey::from_hex(&kept).ok_or_else(odd_key))
        .transpose()
}

fn odd_key() -> StoreError {
    StoreError::Corrupt {
        what: "the token key".to_owned(),
        source: serde::de::Error::custom("it is none of ours"),
    }
}

fn read(answer: &[String]) -> Result<Muster> {
    let odd = || corrupt(serde::de::Error::custom("a part is missing"));
    let [holder, term, remaining, others @ ..] = answer else {
        return Err(odd());
    };
    let number = |text: &String| text.parse::<u64>().map_err(|_| odd());
    let lease = match MemberId::parse(holder) {
        Some(holder) => Some(Lease {
            holder,
            term: number(term)?,
            remaining: Duration::from_millis(number(remaining)?),
        }),
        None => None,
    };
    let mut members = BTreeMap::new();
    for pair in others.chunks_exact(2) {
        if let [id, report] = pair {
            let id = MemberId::parse(id).ok_or_else(odd)?;
            let report: Report = serde_json::from_str(report).map_err(corrupt)?;
            members.insert(id, report);
        }
    }
    Ok(Muster {
        lease,
        others: members,
    })
}

fn corrupt(source: serde_json::Error) -> StoreError {
    StoreError::Corrupt {
        what: "the servers on this store".to_owned(),
        source,
    }
}

fn milliseconds(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
