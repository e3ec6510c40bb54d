//! A request's way into the journal, and what its client is told of it.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, REFERRER_POLICY,
};
use http::{Request, Response, StatusCode};

use super::Proxy;
use super::body::{ProxyBody, RequestBody};
use super::capture::{Copy, Room, Unread, gather};
use super::claim::{Claims, tell};
use super::draft::{Draft, response};
use super::keyed::Keyed;
use super::live::claim;
use super::manner::Manner;
use super::prefer::APPLIED;
use super::refusal::Refusal;
use super::repeated::Known;
use super::runs::Runs;
use crate::agent::spec::Persistence;
use crate::callback::Rules;
use crate::endpoints::Route;
use crate::journal::policy::{Outcome, Terms, Verdict, judge};
use crate::journal::{
    Admission, Admitted, Begin, Bounds, Capability, Claim, EventJournal, Head, JournalError, News,
    RecordId, RequestJournal, Settlement, State,
};
use crate::wire::AdmittedBody;

/// The public path under which a record is shown to whoever holds its capability.
pub const RESULTS: &str = "/results";

/// What requests are kept with.
#[derive(Clone)]
pub struct Keeping {
    /// Where they are kept.
    pub journal: Arc<dyn RequestJournal>,
    /// Who wants to know of it.
    pub news: Arc<News>,
    /// The operator is content with a Redis that may lose them (`--durability=memory`); each 202 says so.
    pub in_memory: bool,
    /// Where the events of runs are kept; `None`: nowhere.
    pub events: Option<Arc<dyn EventJournal>>,
    /// What may be called back.
    pub callable: Rules,
}

impl std::fmt::Debug for Keeping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeping").finish_non_exhaustive()
    }
}

/// What is remembered of a request that is on its way to its agent, in case that no answer comes. Its head is not yet written out:
/// nearly all are answered.
#[derive(Debug)]
pub(super) struct Sketch {
    head: Request<()>,
    body: Copy,
}

impl Sketch {
    /// Of a request that is about to be sent; what passes of its body is copied.
    pub(super) fn of(request: &mut Request<RequestBody>, route: &Route, room: &Room) -> Self {
        let most = persistence(route).max_body.bytes;
        let body = room.copy(usize::try_from(most).unwrap_or(usize::MAX));
        request.body_mut().copied(body.clone());
        let mut head = Request::new(());
        *head.method_mut() = request.method().clone();
        *head.uri_mut() = request.uri().clone();
        *head.headers_mut() = request.headers().clone();
        Self { head, body }
    }
}

impl Drop for Sketch {
    fn drop(&mut self) {
        // What is still to pass is not copied any more.
        self.body.give_up();
    }
}

/// A request that was not answered.
pub(super) struct Unanswered<'a> {
    /// Why.
    pub(super) refusal: Refusal<'a>,
    /// The request itself, when nothing of it was sent.
    pub(super) unsent: Option<Box<Request<RequestBody>>>,
    /// What is known of it else, when it may be kept.
    pub(super) sketch: Option<Sketch>,
}

impl Proxy {
    /// Keeps a request, and answers 202; or its answer, if the client would wait for that and it comes in time.
    pub(super) async fn keep<'a>(
        &self,
        agent: &'a str,
        route: &Route,
        request: Request<RequestBody>,
        manner: &Manner,
    ) -> Result<Response<ProxyBody>, Refusal<'a>> {
        // Whoever decided that it is kept looked for that.
        let Some(keeping) = &self.keeping else {
            return Err(Refusal::Nobody);
        };
        let limit = persistence(route).max_body.bytes;
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        let (parts, body) = request.into_parts();
        let body = gather(body, &self.room, most).await;
        let body = body.map_err(|unread| match unread {
            Unread::TooLong(_) => Refusal::TooLong { agent, limit },
            Unread::Crowded(_) => Refusal::NoRoom { agent },
            Unread::Broken(cause) => Refusal::Upload { agent, cause },
        })?;
        let head = Request::from_parts(parts, ());
        let entry = Entry::of(agent, route, &head, body.bytes, manner, Begin::Pending);
        let entered = self.enter(keeping, entry).await;
        let kept = match entered.map_err(|error| Refusal::NotKept { agent, error })? {
            Entered::Kept(kept) => kept,
            Entered::Known(known) => return keeping.repeated(agent, known, manner),
        };
        if manner.in_background
            && let Some(wait) = manner.wait
            && let Some(mut answer) = keeping.answer_within(&kept, wait).await
        {
            if let Some(applied) = manner.preference.applied() {
                answer.headers_mut().insert(APPLIED, applied);
            }
            return Ok(answer);
        }
        Ok(keeping.accepted(agent, &kept, manner))
    }

    /// Keeps a request whose agent was asked and did not answer, as far as it may be kept.
    pub(super) async fn keep_failed<'a>(
        &self,
        agent: &'a str,
        route: &Route,
        unanswered: Unanswered<'a>,
        manner: &Manner,
    ) -> Result<Response<ProxyBody>, Refusal<'a>> {
        let Unanswered {
            refusal,
            unsent,
            sketch,
        } = unanswered;
        let (Some(keeping), Some(sketch)) = (&self.keeping, sketch) else {
            return Err(refusal);
        };
        if let Some(unsent) = unsent {
            return match refusal.passes() {
                true => self.keep(agent, route, *unsent, manner).await,
                false => Err(refusal),
            };
        }
        let failed = match refusal {
            Refusal::Failed { failed, .. } if failed.may_have_arrived() => failed,
            other => return Err(other),
        };
        let kept = match sketch.body.whole() {
            Some(body) => {
                let draft = Draft::of(&sketch.head).called(manner.callback.clone());
                let terms = terms(&draft.head, persistence(route));
                let begin = match judge(Outcome::NoAnswer, terms, 1) {
                    Verdict::Settle(_) => Begin::Unknown,
                    Verdict::Retry(_) | Verdict::Release => Begin::Pending,
                };
                let entry = Entry {
                    agent,
                    route,
                    draft,
                    body,
                    begin,
                    keyed: None,
                };
                match self.enter(keeping, entry).await {
                    Ok(Entered::Kept(kept)) => Some(Box::new(kept)),
                    Ok(Entered::Known(_)) => None,
                    Err(error) => {
                        tracing::debug!(agent, %error, "a request without an answer is not kept");
                        None
                    }
                }
            }
            None => None,
        };
        match kept {
            Some(kept) if kept.state == State::Pending => {
                Ok(keeping.accepted(agent, &kept, manner))
            }
            kept => Err(Refusal::Lost {
                agent,
                failed,
                kept,
            }),
        }
    }
}

/// What an agent's spec says of repeating this request.
pub(super) fn terms(head: &Head, persistence: &Persistence) -> Terms {
    Terms {
        repeatable: head.repeatable,
        replay_unsafe: persistence.replay_unsafe,
        retry_refusals: persistence.retry_refusals,
        max_retries: persistence.max_retries,
    }
}

/// A request that was kept.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) id: RecordId,
    pub(super) location: HeaderValue,
    pub(super) state: State,
}

/// A request that is to be kept.
pub(super) struct Entry<'a> {
    pub(super) agent: &'a str,
    pub(super) route: &'a Route,
    pub(super) draft: Draft,
    pub(super) body: Bytes,
    pub(super) begin: Begin,
    pub(super) keyed: Option<Keyed>,
}

impl<'a> Entry<'a> {
    /// That of a request whose body was read.
    pub(super) fn of(
        agent: &'a str,
        route: &'a Route,
        head: &Request<()>,
        body: Bytes,
        manner: &Manner,
        begin: Begin,
    ) -> Self {
        Self {
            agent,
            route,
            draft: Draft::of(head).called(manner.callback.clone()),
            keyed: Keyed::of(head, &body),
            body,
            begin,
        }
    }
}

/// What became of that.
pub(super) enum Entered {
    Kept(Kept),
    /// There is one of the same key.
    Known(Known),
}

impl Proxy {
    /// Writes a request to the journal. When this answers, it is on disk.
    pub(super) async fn enter(
        &self,
        keeping: &Keeping,
        entry: Entry<'_>,
    ) -> Result<Entered, JournalError> {
        let mut replaces = None;
        loop {
            let (admitted, kept) = self.admit(keeping, &entry, replaces.take()).await?;
            let (id, same) = match admitted {
                Admitted::Kept => {
                    match entry.begin {
                        Begin::Pending => keeping.news.waits(&entry.route.uid, entry.agent),
                        Begin::Live(_) => {}
                        Begin::Unknown => keeping.news.calls_due(),
                    }
                    return Ok(Entered::Kept(kept));
                }
                Admitted::Known { id, same } => (id, same),
            };
            match Known::of(keeping, &entry, &id, same).await? {
                Some(known) => return Ok(Entered::Known(known)),
                // Whoever is faster has it.
                None => replaces = Some(id),
            }
        }
    }

    async fn admit(
        &self,
        keeping: &Keeping,
        entry: &Entry<'_>,
        replaces: Option<RecordId>,
    ) -> Result<(Admitted, Kept), JournalError> {
        let persistence = persistence(entry.route);
        let id = RecordId::random();
        let salt = Capability::random();
        let key = entry.keyed.as_ref();
        let capability = match key {
            Some(key) => key.capability(salt.reveal()),
            None => Capability::random(),
        };
        let kept = Kept {
            location: entry.draft.location(&id, &capability)?,
            state: entry.begin.standing().state,
            id,
        };
        let admission = Admission {
            id: kept.id.clone(),
            uid: entry.route.uid.clone(),
            agent: entry.agent.to_owned(),
            head: entry.draft.head.clone(),
            body: entry.body.clone(),
            capability: capability.hash(),
            key: key.map(|key| key.key(salt.reveal(), replaces)),
            callback: entry.draft.callback.clone(),
            ttl: persistence.ttl.duration(),
            bounds: Bounds {
                max_queue: u64::from(persistence.max_queue),
                max_bytes: persistence.max_bytes.bytes,
            },
            begin: entry.begin,
        };
        let doubt =
            matches!(entry.begin, Begin::Live(_)).then(|| Doubt::of(keeping, self, claim(&kept)));
        let admitted = keeping.journal.admit(admission).await;
        if let Some(doubt) = doubt
            && !matches!(admitted, Err(JournalError::Link(_)))
        {
            doubt.ends();
        }
        let admitted = admitted?;
        tracing::debug!(agent = entry.agent, request = %kept.id, begin = ?entry.begin, ?admitted, "request kept");
        Ok((admitted, kept))
    }
}

/// Whether a request was written that will not be forwarded under the claim that it may have: its client went, or the journal did
/// not say. Unless that ends, the claim is given up, so that it is not taken for one that may have been handled.
struct Doubt(Option<(Keeping, Runs, Claims, Claim)>);

impl Doubt {
    fn of(keeping: &Keeping, proxy: &Proxy, claim: Claim) -> Self {
        let (runs, claims) = (proxy.runs.clone(), proxy.claims.clone());
        Self(Some((keeping.clone(), runs, claims, claim)))
    }

    fn ends(mut self) {
        self.0 = None;
    }
}

impl Drop for Doubt {
    fn drop(&mut self) {
        if let Some((keeping, runs, claims, claim)) = self.0.take() {
            let ours = claims.ours(&claim.id);
            runs.spawn_last(async move {
                let settlement = Settlement {
                    verdict: Verdict::Settle(State::Cancelled),
                    reason: "it was not forwarded under this id: its client went, or the journal was too slow to take it".to_owned(),
                    answer: None,
                };
                tell(&keeping, &claim, settlement).await;
                drop(ours);
            });
        }
    }
}

impl Keeping {
    /// The answer to a request that was kept: `202 Accepted`.
    pub(super) fn accepted(
        &self,
        agent: &str,
        kept: &Kept,
        manner: &Manner,
    ) -> Response<ProxyBody> {
        let body = AdmittedBody {
            id: kept.id.to_string(),
            agent: agent.to_owned(),
            status: State::Pending.word().to_owned(),
            durability: self.in_memory.then(|| "memory".to_owned()),
        };
        let mut text = serde_json::to_vec(&body).unwrap_or_default();
        text.push(b'\n');
        let mut response = Response::new(ProxyBody::ours(text));
        *response.status_mut() = StatusCode::ACCEPTED;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        private(headers);
        headers.insert(LOCATION, kept.location.clone());
        if let Some(applied) = manner.preference.applied() {
            headers.insert(APPLIED, applied);
        }
        response
    }

    /// The agent's answer, if it comes in time and is kept whole.
    pub(super) async fn answer_within(
        &self,
        kept: &Kept,
        within: Duration,
    ) -> Option<Response<ProxyBody>> {
        let journal = self.journal.as_ref();
        let record = self.news.wait(journal, &kept.id, within).await.ok()??;
        let head = record.answer.filter(|answer| answer.whole)?;
        if !record.standing.state.is_settled() {
            return None;
        }
        let body = journal.answer_body(&kept.id).await.ok()??;
        Some(response(&head, ProxyBody::ours(body)))
    }
}

/// Headers of what is meant for one client alone.
pub(super) fn private(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
}

/// What holds of keeping requests where no spec says anything.
pub(super) static UNSAID: LazyLock<Persistence> = LazyLock::new(Persistence::default);

/// What an agent's spec says of keeping requests.
pub(super) fn persistence(route: &Route) -> &Persistence {
    route.persistence.as_ref().unwrap_or(&UNSAID)
}
