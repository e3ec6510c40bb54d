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
                    break;
                }
            }
        }
        self.news.streamed(&self.claim.id);
    }
}
