//! Keeps the events of a run that streams while they come, so that whoever wants them can come back (`persistence.resumable`).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::keep::Keeping;
use crate::event_stream::{Event, Parser};
use crate::journal::{Addition, Claim, EventJournal, News, Result};

/// What the events of one record may take; the oldest make room.
const MOST: u64 = 4 << 20;
/// What one event may take; a longer one is a gap.
const LONGEST: usize = 256 << 10;
/// Between two tries to keep an event while Redis is away, and how long it is tried. Meanwhile no more is read of the agent.
const AGAIN: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(60));
/// From one try to the next when it was away for longer. Nothing waits for those.
const SELDOM: Duration = Duration::from_secs(5);

/// Keeps the events of one run.
pub(super) struct Recorder {
    events: Arc<dyn EventJournal>,
    news: Arc<News>,
    claim: Claim,
    parser: Parser,
    number: u64,
    /// The claim is lost: another one has the run.
    lost: bool,
    /// Redis was away for too long.
    away: Option<Away>,
}

/// Until Redis is back nothing waits for it any more: what comes meanwhile is a gap.
struct Away {
    next: Instant,
    attempt: Option<AbortOnDropHandle<Result<bool>>>,
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
            away: None,
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
        if !self.is_away(&addition).await {
            self.keep(addition).await;
        }
    }

    /// The stream is over: a gap at its end is told, if that can be.
    pub(super) async fn end(&mut self) {
        if self.away.take().is_some() {
            let addition = Addition {
                events: Vec::new(),
                last: self.number,
                most: MOST,
            };
            self.keep(addition).await;
        }
    }

    /// Whether Redis is away still, or nothing is to be kept any more. Now and then this addition is what it is tried with.
    async fn is_away(&mut self, addition: &Addition) -> bool {
        let Some(away) = &mut self.away else {
            return false;
        };
        if let Some(attempt) = away.attempt.take_if(|attempt| attempt.is_finished())
            && let Ok(Ok(held)) = attempt.await
        {
            self.news.streamed(&self.claim.id);
            (self.lost, self.away) = (!held, None);
            return self.lost;
        }
        let now = Instant::now();
        if away.attempt.is_none() && away.next <= now {
            away.next = now + SELDOM;
            let (events, claim) = (Arc::clone(&self.events), self.claim.clone());
            let addition = addition.clone();
            let attempt = async move { events.append(&claim, &addition).await };
            away.attempt = Some(AbortOnDropHandle::new(tokio::spawn(attempt)));
        }
        true
    }

    async fn keep(&mut self, addition: Addition) {
        let until = Instant::now() + AGAIN.1;
        loop {
            match self.events.append(&self.claim, &addition).await {
                Ok(held) => {
                    self.lost = !held;
                    break;
                }
                Err(error) if Instant::now() < until => {
                    tracing::debug!(%error, request = %self.claim.id, "events are not kept yet");
                    tokio::time::sleep(AGAIN.0).await;
                }
                Err(error) => {
                    tracing::warn!(%error, request = %self.claim.id, "events could not be kept: their stream has a gap");
                    self.away = Some(Away {
                        next: Instant::now() + SELDOM,
                        attempt: None,
                    });
                    break;
                }
            }
        }
        self.news.streamed(&self.claim.id);
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]
    use async_trait::async_trait;
    use parking_lot::Mutex;

    use super::*;
    use crate::event_stream::Place;
    use crate::journal::{EventPage, JournalError, RecordId};
    use crate::redis_link::LinkError;

    /// As the link does it: so long it waits for a Redis that does not answer.
    const DEADLINE: Duration = Duration::from_secs(5);

    /// Keeps the numbers of events, unless it is away: then it says so after this time.
    #[derive(Default)]
    pub(in crate::proxy) struct Numbers {
        pub(in crate::proxy) away: Mutex<Option<Duration>>,
        kept: Mutex<Vec<u64>>,
        last: Mutex<u64>,
    }

    #[async_trait]
    impl EventJournal for Numbers {
        async fn append(&self, _: &Claim, addition: &Addition) -> Result<bool> {
            let away = *self.away.lock();
            if let Some(hangs) = away {
                tokio::time::sleep(hangs).await;
                return Err(JournalError::Link(LinkError::Refused {
                    call: "keeping of events",
                    message: "away".to_owned(),
                }));
            }
            let numbers = addition.events.iter().map(|(number, ..)| *number);
            self.kept.lock().extend(numbers);
            *self.last.lock() = addition.last;
            Ok(true)
        }

        async fn events(&self, _: &RecordId, _: Place, _: usize) -> Result<EventPage> {
            Ok(EventPage::default())
        }
    }

    pub(in crate::proxy) fn recorder(journal: &Arc<Numbers>) -> Recorder {
        Recorder {
            events: Arc::clone(journal) as _,
            news: Arc::default(),
            claim: Claim {
                id: RecordId::random(),
                token: 1,
            },
            parser: Parser::new(LONGEST),
            number: 0,
            lost: false,
            away: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_waited_for_once_and_what_came_meanwhile_is_a_gap() {
        for hangs in [Duration::ZERO, DEADLINE] {
            let journal = Arc::new(Numbers::default());
            let mut recorder = recorder(&journal);
            let mut take = async || {
                let begun = Instant::now();
                recorder.take(b"data: x\n\n").await;
                begun.elapsed()
            };
            assert_eq!(take().await, Duration::ZERO);
            *journal.away.lock() = Some(hangs);
            let waited = take().await;
            assert!(
                (AGAIN.1..=AGAIN.1 + DEADLINE).contains(&waited),
                "{waited:?}"
            );
            for _ in 0..300 {
                assert_eq!(take().await, Duration::ZERO, "hangs for {hangs:?}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            assert_eq!(*journal.kept.lock(), [1]);
            *journal.away.lock() = None;
            tokio::time::sleep(SELDOM + DEADLINE).await;
            // The first is what it is tried with.
            for _ in 0..2 {
                assert_eq!(take().await, Duration::ZERO);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            assert_eq!(*journal.kept.lock(), [1, 303, 304]);
            *journal.away.lock() = Some(hangs);
            assert!(take().await >= AGAIN.1, "it is waited for anew");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_gap_at_the_end_is_told() {
        let journal = Arc::new(Numbers::default());
        let mut recorder = recorder(&journal);
        *journal.away.lock() = Some(DEADLINE);
        for _ in 0..3 {
            recorder.take(b"data: x\n\n").await;
        }
        *journal.away.lock() = None;
        recorder.end().await;
        assert!(journal.kept.lock().is_empty());
        assert_eq!(*journal.last.lock(), 3);
    }
}
