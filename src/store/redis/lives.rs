//! What belongs to one life of an agent: incarnations reserved, revisions seen, its tombstone.

use super::super::{Reservation, Result, StoreError};
use super::RedisStore;
use crate::agent::{Revision, RevisionRecord, Uid};
use crate::redis_link::Repeat;

pub(super) async fn tombstones(store: &RedisStore, uids: &[Uid]) -> Result<Vec<Uid>> {
    if uids.is_empty() {
        return Ok(Vec::new());
    }
    let mut command = ::redis::cmd("ZMSCORE");
    command.arg(store.keys.tombstones());
    for uid in uids {
        command.arg(uid.as_str());
    }
    let ends: Vec<Option<f64>> = store.link.ask("read of tombstones", &command).await?;
    Ok(uids
        .iter()
        .zip(ends)
        .filter_map(|(uid, end)| end.map(|_| uid.clone()))
        .collect())
}

pub(super) async fn reserve(
    store: &RedisStore,
    uid: &Uid,
    ordinal: u32,
    after: u64,
) -> Result<Reservation> {
    let mut call = store.scripts.reserve.prepare_invoke();
    call.key(store.keys.incarnations(uid.as_str()))
        .key(store.keys.address_cursor())
        .arg(ordinal)
        .arg(after);
    // Carried out twice it leaves an incarnation and an address unused.
    let (incarnation, address_cursor) = store
        .link
        .run("reservation", &call, Repeat::Harmless)
        .await?;
    Ok(Reservation {
        incarnation,
        address_cursor,
    })
}

pub(super) async fn revisions(store: &RedisStore, uid: &Uid) -> Result<Vec<RevisionRecord>> {
    let mut command = ::redis::cmd("HVALS");
    command.arg(store.keys.revisions(uid.as_str()));
    let texts: Vec<Vec<u8>> = store.link.ask("read of revisions", &command).await?;
    let mut records = texts
        .iter()
        .map(|text| serde_json::from_slice(text).map_err(|source| corrupt(uid, source)))
        .collect::<Result<Vec<RevisionRecord>>>()?;
    records.sort_by_key(|record| (record.at, record.generation));
    Ok(records)
}

pub(super) async fn put_revision(
    store: &RedisStore,
    uid: &Uid,
    record: &RevisionRecord,
) -> Result<()> {
    let mut command = ::redis::cmd("HSET");
    command
        .arg(store.keys.revisions(uid.as_str()))
        .arg(record.revision.as_str())
        .arg(serde_json::to_vec(record).map_err(|source| corrupt(uid, source))?);
    let _new: i64 = store.link.ask("write of a revision", &command).await?;
    Ok(())
}

pub(super) async fn forget_revision(
    store: &RedisStore,
    uid: &Uid,
    revision: &Revision,
) -> Result<()> {
    let mut command = ::redis::cmd("HDEL");
    command
        .arg(store.keys.revisions(uid.as_str()))
        .arg(revision.as_str());
    let _gone: i64 = store.link.ask("removal of a revision", &command).await?;
    Ok(())
}

fn corrupt(uid: &Uid, source: serde_json::Error) -> StoreError {
    StoreError::Corrupt {
        what: format!("a revision of agent {uid}"),
        source,
    }
}
