//! Callbacks in Redis.

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
        for pair in said.get(1..).unwrap_or_default().chunks_exact(2) {
            let [id, token] = pair else { continue };
            let token = token
                .parse()
                .map_err(|_| JournalError::Corrupt("callback-token"))?;
            let ids = [id.clone()];
            let found = read::records(&self.link, &self.prefix, &ids).await?;
            let calls = found.into_iter().map(|record| Call { record, token });
            taken.calls.extend(calls);
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
            .arg(reason);
        let held: i64 = self
            .link
            .run("end of a callback", &call, Repeat::Harmless)
            .await?;
        Ok(held == 1)
    }
}
