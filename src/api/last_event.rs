//! Behind which event of a run a client goes on that comes back with a `Last-Event-ID`.
//!
//! That is one of ours, which the stream of a run's events gave; or one of the agent's own, of whoever read the answer itself; or our
//! form of it, by counting. An agent's own may look like one of ours, so what an event has in so many words goes before what could be
//! meant.

use crate::event_stream::Place;
use crate::journal::{EventJournal, RecordId, Result};

/// Events that are read at once.
pub(super) const PAGE: usize = 64;

/// Looks for the event of one `Last-Event-ID`.
pub(super) struct LastEvent<'a> {
    events: Option<&'a dyn EventJournal>,
    id: &'a RecordId,
    last: &'a [u8],
    /// No event up to here has it as the agent's own.
    looked: Place,
}

impl<'a> LastEvent<'a> {
    pub(super) fn new(
        events: Option<&'a dyn EventJournal>,
        id: &'a RecordId,
        last: &'a [u8],
    ) -> Self {
        Self {
            events,
            id,
            last,
            looked: Place::default(),
        }
    }

    /// The place of that event, in a record of this fence; `None`: there is none as yet.
    pub(super) async fn place(&mut self, token: u64) -> Result<Option<Place>> {
        if let Some((place, _)) = Place::read_end(self.last) {
            return Ok(Some(place).filter(|place| place.run <= token));
        }
        let Some(events) = self.events else {
            return Ok(None);
        };
        let mut ours = Place::read(self.last).filter(|ours| (1..=token).contains(&ours.run));
        if let Some((place, number)) =
            ours.and_then(|ours| Some((ours, ours.number.checked_sub(1)?)))
        {
            let before = Place { number, ..place };
            let page = events.events(self.id, before, 1).await?;
            match page.events.first().filter(|event| event.place == place) {
                Some(event) if place.with(&event.id) == self.last => return Ok(ours),
                // This agent's ids look like ours: it is one of them, and nobody's count.
                Some(event) if Place::read(&event.id).is_some() => ours = None,
                _ => {}
            }
        }
        loop {
            let page = events.events(self.id, self.looked, PAGE).await?;
            if let Some(event) = page.events.iter().find(|event| event.id == self.last) {
                return Ok(Some(event.place));
            }
            match page.events.last() {
                Some(event) => self.looked = event.place,
                // What is not there yet may turn out to be the agent's own.
                None => return Ok(ours.filter(|ours| *ours <= page.last)),
            }
        }
    }
}
