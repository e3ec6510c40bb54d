//! Events in Redis: a stream for each record, whose ids are the events' places.

use async_trait::async_trait;
use bytes::Bytes;

use super::super::{
    Addition, Claim, EventJournal, EventPage, JournalError, KeptEvent, RecordId, Result,
};
use super::RedisJournal;
use crate::event_stream::Place;
use crate::redis_link::Repeat;

/// An entry of a stream: its id, and names and values in turn.
type Entry = (String, Vec<Vec<u8>>);

#[async_trait]
impl EventJournal for RedisJournal {
    async fn append(&self, claim: &Claim, addition: &Addition) -> Result<bool> {
        let mut call = self.call(&self.scripts.append);
        call.arg(claim.id.as_str())
            .arg(claim.token)
            .arg(addition.last)
            .arg(addition.most)
            .arg(self.options.memory);
        for (number, lines, id) in &addition.events {
            call.arg(*number).arg(&lines[..]).arg(&id[..]);
        }
        let held: i64 = self
            .link
            .run("keeping of events", &call, Repeat::Harmless)
            .await?;
        Ok(held == 1)
    }

    async fn events(&self, id: &RecordId, behind: Place, most: usize) -> Result<EventPage> {
        let mut call = self.call(&self.scripts.events);
        call.arg(id.as_str()).arg(format!("({behind}")).arg(most);
        let (run, number, entries): (String, String, Vec<Entry>) = self
            .link
            .run("read of events", &call, Repeat::Harmless)
            .await?;
        let place = |text: &str| Place::read(text.as_bytes()).ok_or(JournalError::Corrupt("event"));
        let mut page = EventPage {
            events: Vec::new(),
            last: place(&format!("{run}-{number}"))?,
        };
        for (at, fields) in entries {
            let [_, lines, _, id] = &fields[..] else {
                return Err(JournalError::Corrupt("event"));
            };
            page.events.push(KeptEvent {
                place: place(&at)?,
                lines: Bytes::copy_from_slice(lines),
                id: Bytes::copy_from_slice(id),
            });
        }
        Ok(page)
    }
}
