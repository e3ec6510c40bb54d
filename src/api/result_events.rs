//! `GET /results/{capability}/events`: the events of a run that streams, those so far and then live, and at last how it ended.
//!
//! Each has an id of ours, which a client that comes back sends as `Last-Event-ID`; it misses nothing and gets nothing twice, from
//! whichever server. What is not there any more is told as an event of its own, never left out in silence.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::Stream;
use http::header::{CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use tokio::sync::broadcast;
use tokio::time::Instant;

use super::ApiState;
use super::last_event::{LastEvent, PAGE};
use super::refusal::{Answer, Refusal};
use super::results::{Visit, opened, private};
use crate::event_stream::{Place, ours, written};
use crate::journal::shown::{kept, result};
use crate::journal::{EventJournal, KeptEvent, Record, RecordId, RequestJournal, State};

/// From where a client goes on.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// How often a run is looked at without being told: another server may have it.
const LOOK: Duration = Duration::from_millis(250);
/// After so long without an event a comment goes out, so that a dead connection is noticed on both sides.
const QUIET: Duration = Duration::from_secs(15);
/// How long a client waits for the event that it has to be kept.
const TRAILS: Duration = Duration::from_secs(3);

/// Some events were lost.
const GAP: &str = "agentainer.gap";
/// The request is delivered anew: what came before counts no more.
const RESTART: &str = "agentainer.restart";
/// How it ended.
const END: &str = "agentainer.end";

pub(super) async fn get(
    call: Visit,
    Path(capability): Path<String>,
    headers: HeaderMap,
) -> Answer<Response> {
    let record = opened(&call, &capability).await?;
    let Some((journal, news)) = call.api.requests.clone() else {
        return Err(Refusal::no_request(None));
    };
    let last = headers.get(LAST_EVENT_ID).map(|value| value.as_bytes());
    let last = last.filter(|last| !last.is_empty());
    let ended = last.and_then(Place::read_end);
    let same = ended.is_some_and(|(_, token)| token == record.standing.token);
    if same && record.standing.state.is_settled() {
        // Which tells an `EventSource` not to come again.
        return Ok(private(StatusCode::NO_CONTENT.into_response()));
    }
    let mut told = news.listen();
    let behind = match last {
        None => Place::default(),
        Some(last) => behind(&call.api, record.clone(), &mut told, last).await?,
    };
    let reader = Reader {
        told,
        journal,
        events: call.api.events.clone(),
        id: record.id,
        behind,
        ready: VecDeque::from([Bytes::from_static(b":\n\n")]),
        over: false,
        spoke: Instant::now(),
    };
    let shutdown = call.api.shutdown.clone().cancelled_owned();
    let pieces = futures::StreamExt::take_until(pieces(reader), shutdown);
    let fields = [(CONTENT_TYPE, "text/event-stream"), (NO_BUFFER, "no")];
    Ok(private((fields, Body::from_stream(pieces)).into_response()))
}

/// Some servers in front of us hold back what is small.
const NO_BUFFER: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Behind which place a client goes on that has this id. While the run lives, events are kept a little after their client has them.
async fn behind(
    api: &ApiState,
    mut record: Record,
    told: &mut broadcast::Receiver<RecordId>,
    last: &[u8],
) -> Answer<Place> {
    let id = record.id.clone();
    let mut event = LastEvent::new(api.events.as_deref(), &id, last);
    let until = Instant::now() + TRAILS;
    loop {
        if let Some(place) = event.place(record.standing.token).await? {
            return Ok(place);
        }
        if record.standing.state != State::Claimed {
            return Err(Refusal::bad(
                "Last-Event-ID is of no event that there is; leave it out to begin anew",
            ));
        }
        let now = Instant::now();
        if now >= until {
            let refusal = Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "event-not-kept",
                "That event is not kept yet",
                "the event that Last-Event-ID names is not kept yet, or it is lost; repeat, or leave it out to begin anew",
            );
            return Err(refusal.header(RETRY_AFTER, "2"));
        }
        hears(told, &id, until.min(now + LOOK)).await;
        // The record first: once it is settled nothing is added.
        record = match &api.requests {
            Some((journal, _)) => journal.get(&id).await?,
            None => None,
        }
        .ok_or_else(|| Refusal::no_request(None))?;
    }
}

/// Ends when something is told of this record, or then.
async fn hears(told: &mut broadcast::Receiver<RecordId>, id: &RecordId, until: Instant) {
    let hears = async {
        loop {
            match told.recv().await {
                Ok(of) if of != *id => {}
                // Whoever was told too much looks too.
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => return,
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        }
    };
    let _ = tokio::time::timeout_at(until, hears).await;
}

/// One client's way through a run's events.
struct Reader {
    journal: Arc<dyn RequestJournal>,
    events: Option<Arc<dyn EventJournal>>,
    told: broadcast::Receiver<RecordId>,
    id: RecordId,
    /// What it has.
    behind: Place,
    ready: VecDeque<Bytes>,
    over: bool,
    spoke: Instant,
}

fn pieces(reader: Reader) -> impl Stream<Item = crate::journal::Result<Bytes>> + Send {
    futures::stream::unfold(reader, |mut reader| async move {
        loop {
            if let Some(piece) = reader.ready.pop_front() {
                reader.spoke = Instant::now();
                return Some((Ok(piece), reader));
            }
            if reader.over {
                return None;
            }
            match reader.look().await {
                Ok(true) => {}
                Ok(false) => reader.wait().await,
                Err(error) => {
                    // Its client comes back.
                    tracing::debug!(%error, request = %reader.id, "a stream of events breaks off");
                    reader.over = true;
                    return Some((Err(error), reader));
                }
            }
        }
    })
}

impl Reader {
    /// Makes ready what there is; `false` when there is nothing new.
    async fn look(&mut self) -> crate::journal::Result<bool> {
        // The record first: once it is settled nothing is added.
        let Some(record) = self.journal.get(&self.id).await? else {
            self.over = true;
            return Ok(true);
        };
        let page = match &self.events {
            Some(events) => events.events(&self.id, self.behind, PAGE).await?,
            None => Default::default(),
        };
        for event in &page.events {
            self.tell(event);
        }
        if !page.events.is_empty() {
            return Ok(true);
        }
        let settled = record.standing.state.is_settled();
        if settled && self.behind < page.last {
            self.gap(page.last);
        }
        if settled {
            self.end(&record);
        }
        Ok(settled)
    }

    async fn wait(&mut self) {
        let quiet = self.spoke + QUIET;
        let until = quiet.min(Instant::now() + LOOK);
        hears(&mut self.told, &self.id, until).await;
        if Instant::now() >= quiet {
            self.ready.push_back(Bytes::from_static(b":\n\n"));
        }
    }

    fn tell(&mut self, event: &KeptEvent) {
        let place = event.place;
        if place.run != self.behind.run {
            let begin = Place {
                run: place.run,
                number: 0,
            };
            if self.behind.run != 0 {
                let data = format!(r#"{{"run":{}}}"#, place.run);
                self.ready
                    .push_back(ours(RESTART, &data, &begin.to_string()));
            }
            self.behind = begin;
        }
        if place.number > self.behind.number + 1 {
            self.gap(Place {
                number: place.number - 1,
                ..place
            });
        }
        self.ready
            .push_back(written(&event.lines, &place.with(&event.id)));
        self.behind = place;
    }

    /// Tells that what is behind the place of the client and up to this one is lost.
    fn gap(&mut self, up_to: Place) {
        let lost = match up_to.run == self.behind.run {
            true => up_to.number - self.behind.number,
            false => up_to.number,
        };
        let data = format!(r#"{{"lost":{lost}}}"#);
        self.ready.push_back(ours(GAP, &data, &up_to.to_string()));
        self.behind = up_to;
    }

    fn end(&mut self, record: &Record) {
        let answer = record.answer.as_ref().map(|head| kept(head, false));
        let data = serde_json::to_string(&result(record, answer)).unwrap_or_default();
        self.ready
            .push_back(ours(END, &data, &self.behind.end(record.standing.token)));
        self.over = true;
    }
}
