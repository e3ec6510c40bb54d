//! A request that is written to the journal before it is forwarded, while its client waits for the answer as usual.
//!
//! Its record begins as claimed by this server. A task of its own keeps the claim, and tells the journal what came of it, so that
//! neither the answer nor its end waits for that. What passes of the answer is copied, as far as it is kept; with
//! `persistence.resumable` its events are kept while they pass, and its client is told where it may come back for them.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::LOCATION;
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::Proxy;
use super::attempt::{KEPT, REQUEST_ID};
use super::capture::Beginning;
use super::claim::{LEASE, held};
use super::keep::{Keeping, Kept, private};
use super::recorder::Recorder;
use super::recording::Recording;
use super::runs::Runs;
use crate::agent::Uid;
use crate::journal::policy::{Outcome, Terms, Verdict, judge};
use crate::journal::{Answer, AnswerHead, Begin, Claim, Field, Record, Settlement, State};

/// How long an answer that depends on what the journal was told waits for that.
const HEARD: Duration = Duration::from_secs(2);

/// Of whom a request is that was written first.
#[derive(Debug)]
pub(super) struct Whose {
    pub(super) uid: Uid,
    pub(super) agent: String,
    /// Whether somebody wants to be told how it ended.
    pub(super) called: bool,
    pub(super) terms: Terms,
    /// Whether the events of its answer are kept.
    pub(super) resumable: bool,
    /// Whether it then goes on without its client, who may come back.
    pub(super) goes_on: bool,
}

/// What is told to who keeps the claim.
struct Told {
    settlement: Settlement,
    /// Ends when all of its events are kept: none is once it is settled.
    recorded: Option<oneshot::Receiver<()>>,
    /// Dropped once the journal heard it.
    _heard: oneshot::Sender<()>,
}

/// A request that was written and is on its way. Dropped before its end, its client went.
#[derive(Debug)]
pub(super) struct Live {
    kept: Kept,
    terms: Terms,
    tell: Option<oneshot::Sender<Told>>,
    /// The answer so far.
    head: Option<AnswerHead>,
    body: Beginning,
    /// With what the events of its answer are kept, if it is one of events.
    records: Option<(Keeping, Runs)>,
    recording: Option<Recording>,
    goes_on: bool,
    /// Ends when it is cancelled.
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Whether this server is ending.
    leaving: Arc<AtomicBool>,
}

impl std::fmt::Debug for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Told").finish_non_exhaustive()
    }
}

/// The claim under which a live request is forwarded.
pub(super) fn claim(kept: &Kept) -> Claim {
    Claim {
        id: kept.id.clone(),
        token: Begin::Live(LEASE).standing().token,
    }
}

impl Proxy {
    /// Keeps the claim of a request that was written just now, from here on until its end.
    pub(super) fn live(&self, keeping: &Keeping, whose: Whose, kept: Kept) -> Box<Live> {
        let (tell, told) = oneshot::channel();
        let cut = CancellationToken::new();
        let live = Live {
            terms: whose.terms,
            tell: Some(tell),
            head: None,
            body: self.room.beginning(KEPT),
            records: whose
                .resumable
                .then(|| (keeping.clone(), self.runs.clone())),
            recording: None,
            goes_on: whose.goes_on,
            cut: Box::pin(cut.clone().cancelled_owned()),
            leaving: Arc::clone(&self.leaving),
            kept,
        };
        let ours = self.claims.ours(&live.kept.id);
        let watch = watch(keeping.clone(), whose, claim(&live.kept), told, cut);
        self.runs.spawn_last(async move {
            watch.await;
            drop(ours);
        });
        Box::new(live)
    }
}

/// Keeps a claim until its end is told, and passes that on to the journal.
async fn watch(
    keeping: Keeping,
    whose: Whose,
    claim: Claim,
    told: oneshot::Receiver<Told>,
    cut: CancellationToken,
) {
    let Whose { uid, agent, .. } = &whose;
    let told = async {
        let mut told = told.await;
        if let Ok(Told { recorded, .. }) = &mut told
            && let Some(recorded) = recorded.take()
        {
            // It is dropped, never sent.
            let _ = recorded.await;
        }
        told
    };
    let Some(told) = held(&keeping, &claim, told).await else {
        let record = keeping.journal.get(&claim.id).await;
        let cancelled = |record: &Record| record.standing.state == State::Cancelled;
        if matches!(record, Ok(record) if record.as_ref().is_none_or(cancelled)) {
            tracing::info!(request = %claim.id, agent, "a request was cut off: it was cancelled");
            cut.cancel();
        } else {
            // The journal was away for longer than a claim holds. That takes no answer from a client that waits for it.
            tracing::info!(request = %claim.id, agent, "another server has the claim of a request that goes on here");
        }
        return;
    };
    // It says how it ended before it goes.
    let Ok(Told {
        settlement, _heard, ..
    }) = told
    else {
        return;
    };
    let verdict = settlement.verdict;
    tracing::debug!(request = %claim.id, agent, ?verdict, reason = settlement.reason, "answered");
    super::claim::tell(&keeping, &claim, settlement).await;
    if !matches!(verdict, Verdict::Settle(_)) {
        keeping.news.waits(uid, agent);
    }
    keeping.news.settled(&claim.id);
    if whose.called {
        keeping.news.calls_due();
    }
}

impl Live {
    /// Ready once it is cut off: somebody cancelled it.
    pub(super) fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.cut.as_mut().poll(cx)
    }

    /// Its answer's head is there, as its client gets it.
    pub(super) fn answered(&mut self, status: StatusCode, headers: &HeaderMap) {
        let fields = headers.iter();
        let fields = fields.map(|(name, value)| Field::new(name.as_str(), value.as_bytes()));
        self.head = Some(AnswerHead {
            status: status.as_u16(),
            fields: fields.collect(),
            whole: false,
        });
        if let Some((keeping, runs)) = self.records.take() {
            let recorder = Recorder::of(&keeping, claim(&self.kept), status, headers);
            self.recording = recorder.map(|recorder| Recording::begin(recorder, &runs));
        }
    }

    /// Tells its client, for logs, which record it is; and where its events are, if they are kept.
    pub(super) fn mark(&self, headers: &mut HeaderMap) {
        if let Ok(id) = HeaderValue::from_str(self.kept.id.as_str()) {
            headers.insert(REQUEST_ID, id);
        }
        // One of the agent's own means something else.
        if self.recording.is_some() && !headers.contains_key(LOCATION) {
            headers.insert(LOCATION, self.kept.location.clone());
            private(headers);
        }
    }

    /// Whether its answer is read to its end when its client goes, since that may come back.
    pub(super) fn goes_on(&self) -> bool {
        self.goes_on && self.recording.is_some()
    }

    /// Ready once the next piece of its answer may pass.
    pub(super) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let recording = self.recording.as_mut();
        recording.map_or(Poll::Ready(()), |recording| recording.poll_room(cx))
    }

    /// A piece of its answer passes, for which there was room.
    pub(super) fn passes(&mut self, piece: &Bytes) {
        if let Some(recording) = &mut self.recording {
            recording.take(piece.clone());
        }
        self.body.add(piece);
    }

    /// Its answer's end passed, or it broke off.
    pub(super) fn ends(&mut self, whole: bool) {
        let status = self.head.as_ref().map_or(502, |head| head.status);
        let reason = match whole {
            true => format!("the agent answered with {status}"),
            false => format!("the agent answered with {status}, and its answer broke off"),
        };
        let verdict = judge(Outcome::Passed { status }, self.terms, 1);
        drop(self.tell(verdict, reason, whole));
    }

    /// There is no answer for its client but one of ours. Answers once the journal was told, or does not listen for a while, with where
    /// the record stands then.
    pub(super) async fn fails(&mut self, outcome: Outcome, reason: String) -> Kept {
        let verdict = judge(outcome, self.terms, 1);
        let heard = self.tell(verdict, reason, false);
        if let Some(heard) = heard {
            // It is dropped, never sent.
            let _ = tokio::time::timeout(HEARD, heard).await;
        }
        let state = match verdict {
            Verdict::Release => State::Pending,
            Verdict::Retry(_) => State::Retrying,
            Verdict::Settle(state) => state,
        };
        Kept {
            state,
            ..self.kept.clone()
        }
    }

    /// Its answer cannot be passed on; its client is told so.
    pub(super) fn useless(&mut self, reason: &str) {
        let verdict = judge(Outcome::Passed { status: 502 }, self.terms, 1);
        self.head = None;
        drop(self.tell(verdict, format!("the agent {reason}"), false));
    }

    /// Nobody gets an answer of the agent's, for this reason, and it is not to be sent again.
    pub(super) fn given_up(&mut self, reason: String) {
        drop(self.tell(Verdict::Settle(State::Cancelled), reason, false));
    }

    fn tell(
        &mut self,
        verdict: Verdict,
        reason: String,
        whole: bool,
    ) -> Option<oneshot::Receiver<()>> {
        let tell = self.tell.take()?;
        let (body, all) = self.body.take();
        let answer = self.head.take().map(|head| Answer {
            head: AnswerHead {
                whole: whole && all,
                ..head
            },
            body,
        });
        let (heard, hears) = oneshot::channel();
        let settlement = Settlement {
            verdict,
            reason,
            answer,
        };
        let told = Told {
            settlement,
            recorded: self.recording.take().map(Recording::end),
            _heard: heard,
        };
        tell.send(told).ok().map(|()| hears)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if self.tell.is_none() {
            return;
        }
        match (self.leaving.load(Ordering::Acquire), &self.head) {
            // What its client has is an answer, if not a whole one.
            (true, Some(_)) => self.ends(false),
            (true, None) => {
                let verdict = judge(Outcome::NoAnswer, self.terms, 1);
                let reason = "the server ended before the answer came".to_owned();
                drop(self.tell(verdict, reason, false));
            }
            (false, _) => self.given_up(
                "its client went before the answer's end; the agent may have handled it".to_owned(),
            ),
        }
    }
}
