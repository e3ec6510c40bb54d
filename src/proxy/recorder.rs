//! Keeps the events of a run that streams while they come, so that whoever wants them can come back (`persistence.resumable`).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use tokio::time::Instant;

use super::keep::Keeping;
use crate::event_stream::{Event, Parser};
use crate::journal::{Addition, Claim, EventJournal, News};

/// What the events of one record may take; the oldest make room.
const MOST: u64 = 4 << 20;
/// What one event may take; a longer one is a gap.
const LONGEST: usize = 256 << 10;
/// Between two tries to keep an event while Redis is away, and how long it is tried. Meanwhile no more is read of the agent.
const AGAIN: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(60));

/// Keeps the events of one run.
pub(super) struct Recorder {
    events: Arc<dyn EventJournal>,
    news: Arc<News>,
    claim: Claim,
    parser: Parser,
    number: u64,
    /// The claim is lost: another one has the run.
    lost: bool,
    /// Redis was away for too long: until it is back nothing waits for it any more.
    away: bool,
}

impl Recorder {
    /// Of a run whose answer begins so, if it is one of events.
    pub(super) fn of(
        keeping: &Keeping,
        claim: Claim,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Option<Self> {
        let media = headers.get(CONTENT_TYPE)?.to_str().ok()?;
        let media = media.split(';').next().unwrap_or(media).trim();
        let plain = !headers.contains_key(CONTENT_ENCODING);
        if !(media.eq_ignore_ascii_case("text/event-stream") && status.is_success() && plain) {
            return None;
        }
        Some(Self {
            events: Arc::clone(keeping.events.as_ref()?),
            news: Arc::clone(&keeping.news),
            claim,
            parser: Parser::new(LONGEST),
            number: 0,
            lost: false,
            away: false,
        })
    }

    /// Keeps the events that end in this piece; they are on disk when this returns, or are a gap.
    pub(super) async fn take(&mut self, piece: &[u8]) {
        if self.lost {
            return;
        }
        let before = self.number;
        let mut events: Vec<(u64, Bytes, Bytes)> = Vec::new();
        for event in self.parser.push(piece) {
            self.number += 1;
            if let Event::Whole { lines, id } = event {
                events.push((self.number, lines, id));
            }
        }
        if self.number == before {
            return;
        }
        let addition = Addition {
            events,
            last: self.number,
            most: MOST,
        };
        let until = match self.away {
            true => Instant::now(),
            false => Instant::now() + AGAIN.1,
        };
        loop {
            match self.events.append(&self.claim, &addition).await {
                Ok(held) => {
                    (self.lost, self.away) = (!held, false);
                    break;
                }
                Err(error) if Instant::now() < until => {
                    tracing::debug!(%error, request = %self.claim.id, "events are not kept yet");
                    tokio::time::sleep(AGAIN.0).await;
                }
                Err(error) => {
                    tracing::warn!(%error, request = %self.claim.id, "events could not be kept: their stream has a gap");
                    self.away = true;
                    break;
                }
            }
        }
        self.news.streamed(&self.claim.id);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicBool, Ordering};

    use async_trait::async_trait;
    use parking_lot::Mutex;

    use super::*;
    use crate::event_stream::Place;
    use crate::journal::{EventPage, JournalError, RecordId};
    use crate::redis_link::LinkError;

    /// Keeps the numbers of events, unless it is away.
    #[derive(Default)]
    struct Numbers {
        away: AtomicBool,
        kept: Mutex<Vec<u64>>,
    }

    #[async_trait]
    impl EventJournal for Numbers {
        async fn append(&self, _: &Claim, addition: &Addition) -> crate::journal::Result<bool> {
            if self.away.load(Ordering::Relaxed) {
                return Err(JournalError::Link(LinkError::Refused {
                    call: "keeping of events",
                    message: "away".to_owned(),
                }));
            }
            let numbers = addition.events.iter().map(|(number, ..)| *number);
            self.kept.lock().extend(numbers);
            Ok(true)
        }

        async fn events(
            &self,
            _: &RecordId,
            _: Place,
            _: usize,
        ) -> crate::journal::Result<EventPage> {
            Ok(EventPage::default())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_waited_for_once_and_what_came_meanwhile_is_a_gap() {
        let journal = Arc::new(Numbers::default());
        let mut recorder = Recorder {
            events: Arc::clone(&journal) as _,
            news: Arc::default(),
            claim: Claim {
                id: RecordId::random(),
                token: 1,
            },
            parser: Parser::new(LONGEST),
            number: 0,
            lost: false,
            away: false,
        };
        let mut take = async |waits: Duration| {
            let begun = Instant::now();
            recorder.take(b"data: x\n\n").await;
            assert_eq!(begun.elapsed(), waits);
        };
        take(Duration::ZERO).await;
        journal.away.store(true, Ordering::Relaxed);
        take(AGAIN.1).await;
        take(Duration::ZERO).await;
        journal.away.store(false, Ordering::Relaxed);
        take(Duration::ZERO).await;
        journal.away.store(true, Ordering::Relaxed);
        take(AGAIN.1).await;
        assert_eq!(*journal.kept.lock(), [1, 4]);
    }
}
