//! A request's way into the journal, and what its client is told of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION,
    REFERRER_POLICY, TE, TRANSFER_ENCODING,
};
use http::{Method, Request, Response, StatusCode};

use super::Proxy;
use super::body::{ProxyBody, RequestBody};
use super::capture::{Copy, Room, Unread, gather};
use super::manner::Manner;
use super::prefer::APPLIED;
use super::refusal::Refusal;
use super::request::{FORWARDED_HOST, FORWARDED_PROTO};
use crate::agent::spec::Persistence;
use crate::endpoints::Route;
use crate::journal::policy::{Outcome, Terms, Verdict, judge};
use crate::journal::{
    Admission, AnswerHead, Begin, Bounds, Capability, Field, Head, JournalError, News, RecordId,
    RequestJournal, State,
};
use crate::wire::AdmittedBody;

/// Makes a request that is not idempotent by its method one that may be repeated (the IETF's draft of that name).
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The public path under which a record is shown to whoever holds its capability.
pub const RESULTS: &str = "/results";

/// The default of `persistence.maxBody`.
const MAX_BODY: u64 = 1 << 20;

/// What requests are kept with.
#[derive(Clone)]
pub struct Keeping {
    /// Where they are kept.
    pub journal: Arc<dyn RequestJournal>,
    /// Who wants to know of it.
    pub news: Arc<News>,
    /// The operator is content with a Redis that may lose them (`--durability=memory`); each 202 says so.
    pub in_memory: bool,
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
        let most = route
            .persistence
            .as_ref()
            .map_or(MAX_BODY, |given| given.max_body.bytes);
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
    pub(super) unsent: Option<Request<RequestBody>>,
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
        let kept = keeping.admit(agent, route, request, &self.room).await?;
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
                true => self.keep(agent, route, unsent, manner).await,
                false => Err(refusal),
            };
        }
        let failed = match refusal {
            Refusal::Failed { failed, .. } if failed.may_have_arrived() => failed,
            other => return Err(other),
        };
        let kept = match sketch.body.whole() {
            Some(body) => {
                let draft = Draft::of(&sketch.head);
                let kept = keeping.unanswered(agent, route, draft, body).await;
                kept.map(Box::new)
                    .inspect_err(|error| {
                        tracing::debug!(agent, %error, "a request without an answer is not kept");
                    })
                    .ok()
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

/// A request's head as it will be kept, and where its client will find it.
#[derive(Debug)]
pub(super) struct Draft {
    head: Head,
    /// `https://host`, as far as it is known.
    base: String,
}

impl Draft {
    /// Of a request as its agent gets it.
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        let headers = request.headers();
        // What concerned the connection that it came by.
        let kept = |name: &HeaderName| ![CONNECTION, TE, TRANSFER_ENCODING].contains(name);
        let fields = headers.iter().filter(|(name, _)| kept(name));
        let fields = fields.map(|(name, value)| Field::new(name.as_str(), value.as_bytes()));
        // In HTTP/2 it is part of the target.
        let host = request
            .uri()
            .authority()
            .filter(|_| !headers.contains_key(HOST));
        let host = host.map(|host| Field::new(HOST.as_str(), host.as_str().as_bytes()));
        let fields = fields.chain(host);
        let target = request.uri().path_and_query();
        let keyed = headers.contains_key(IDEMPOTENCY_KEY);
        Self {
            head: Head {
                method: request.method().as_str().to_owned(),
                target: target.map_or_else(|| "/".to_owned(), |target| target.as_str().to_owned()),
                fields: fields.collect(),
                repeatable: keyed || request.method().is_idempotent(),
            },
            base: base(headers),
        }
    }
}

/// Under which address the client reached us.
fn base(headers: &HeaderMap) -> String {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    // Of several the first is the one that the client saw.
    let first = |text: &str| text.split(',').next().unwrap_or(text).trim().to_owned();
    let host = text(FORWARDED_HOST).or_else(|| text(HOST)).map(first);
    let proto = text(FORWARDED_PROTO).map_or_else(|| "http".to_owned(), first);
    host.map_or_else(String::new, |host| format!("{proto}://{host}"))
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
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) id: RecordId,
    pub(super) location: HeaderValue,
    pub(super) state: State,
}

impl Keeping {
    /// Reads a request's body and keeps it. When this answers, it is on disk.
    ///
    /// # Errors
    /// Why it is not kept.
    pub(super) async fn admit<'a>(
        &self,
        agent: &'a str,
        route: &Route,
        request: Request<RequestBody>,
        room: &Room,
    ) -> Result<Kept, Refusal<'a>> {
        let draft = Draft::of(&request);
        let limit = persistence(route).max_body.bytes;
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        let body = gather(request.into_body(), room, most).await;
        let body = body.map_err(|unread| match unread {
            Unread::TooLong => Refusal::TooLong { agent, limit },
            Unread::Crowded => Refusal::Crowded { agent },
            Unread::Broken(cause) => Refusal::Upload { agent, cause },
        })?;
        self.write(agent, route, draft, body, Begin::Pending)
            .await
            .map_err(|error| Refusal::NotKept { agent, error })
    }

    /// Keeps a request that was sent and not answered: to be sent again if that is safe, else as one whose end is not known.
    pub(super) async fn unanswered(
        &self,
        agent: &str,
        route: &Route,
        draft: Draft,
        body: Bytes,
    ) -> Result<Kept, JournalError> {
        let terms = terms(&draft.head, &persistence(route));
        let begin = match judge(Outcome::NoAnswer, terms, 1) {
            Verdict::Settle(_) => Begin::Unknown,
            Verdict::Retry(_) | Verdict::Release => Begin::Pending,
        };
        self.write(agent, route, draft, body, begin).await
    }

    async fn write(
        &self,
        agent: &str,
        route: &Route,
        draft: Draft,
        body: Bytes,
        begin: Begin,
    ) -> Result<Kept, JournalError> {
        let persistence = persistence(route);
        let id = RecordId::random();
        let capability = Capability::random();
        let secret = capability.reveal();
        let location = format!("{}{RESULTS}/{id}.{secret}", draft.base);
        let mut location =
            HeaderValue::try_from(location).map_err(|_| JournalError::Corrupt("host"))?;
        location.set_sensitive(true);
        let admission = Admission {
            id: id.clone(),
            uid: route.uid.clone(),
            agent: agent.to_owned(),
            head: draft.head,
            body,
            capability: capability.hash(),
            ttl: persistence.ttl.duration(),
            bounds: Bounds {
                max_queue: u64::from(persistence.max_queue),
                max_bytes: persistence.max_bytes.bytes,
            },
            begin,
        };
        self.journal.admit(admission).await?;
        tracing::debug!(agent, request = %id, ?begin, "request kept");
        let state = match begin {
            Begin::Pending => {
                self.news.waits(&route.uid, agent);
                State::Pending
            }
            Begin::Unknown => State::Unknown,
        };
        Ok(Kept {
            id,
            location,
            state,
        })
    }

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
            status: kept.state.word().to_owned(),
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

/// A kept answer as one.
pub(super) fn response(head: &AnswerHead, body: ProxyBody) -> Response<ProxyBody> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(head.status).unwrap_or(StatusCode::BAD_GATEWAY);
    *response.headers_mut() = headers(&head.fields);
    response
}

/// Kept fields as they were.
pub(super) fn headers(fields: &[Field]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for field in fields {
        if let (Ok(name), Ok(value)) = (
            HeaderName::try_from(field.0.as_str()),
            HeaderValue::from_bytes(&field.value()),
        ) {
            headers.append(name, value);
        }
    }
    headers
}

/// What an agent's spec says of keeping requests.
pub(super) fn persistence(route: &Route) -> Persistence {
    route.persistence.clone().unwrap_or_default()
}

/// A kept method.
pub(super) fn method(text: &str) -> Method {
    Method::from_bytes(text.as_bytes()).unwrap_or(Method::POST)
}
