//! Callbacks in Redis.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;

use super::super::{
    Call, CallEnd, CallbackJournal, CallbackState, Calls, JournalError, RecordId, Result,
};
use super::{RedisJournal, millis, read};
use crate::redis_link::Repeat;

#[async_trait]
impl CallbackJournal for RedisJournal {
    async fn calls(&self, most: u64, lease: Duration) -> Result<Calls> {
        let mut call = self.call(&self.scripts.calls);
        call.arg(most).arg(millis(lease));
        let said: Vec<String> = self
            .link
            .run("claim of callbacks", &call, Repeat::Never)
            .await?;
        let next = said.first().and_then(|text| text.parse::<u64>().ok());
        let mut taken = Calls {
            calls: Vec::new(),
            next: next.map(Duration::from_millis),
        };
        let pairs = said.get(1..).unwrap_or_default().chunks_exact(2);
        let (mut ids, mut tokens) = (Vec::new(), BTreeMap::new());
        for pair in pairs {
            let [id, token] = pair else { continue };
            let token: u64 = token
                .parse()
                .map_err(|_| JournalError::Corrupt("callback"))?;
            ids.push(id.clone());
            tokens.insert(id.as_str(), token);
        }
        for record in read::records(&self.link, &self.prefix, &ids).await? {
            if let Some(&token) = tokens.get(record.id.as_str()) {
                taken.calls.push(Call { record, token });
            }
        }
        Ok(taken)
    }

    async fn called(&self, id: &RecordId, token: u64, end: CallEnd, reason: &str) -> Result<bool> {
        let (state, after) = match end {
            CallEnd::Done => (CallbackState::Done, Duration::ZERO),
            CallEnd::Again(after) => (CallbackState::Waiting, after),
            CallEnd::GivenUp => (CallbackState::GivenUp, Duration::ZERO),
        };
        let mut call = self.call(&self.scripts.called);
        call.arg(id.as_str())
            .arg(token)
            .arg(state.word())
            .arg(millis(after))
            .arg(read::line(reason).as_ref());
        let held: i64 = self
            .link
            .run("end of a callback", &call, Repeat::Harmless)
            .await?;
        Ok(held == 1)
    }
}
