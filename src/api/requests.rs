//! Kept requests, for operators: what waits, what became of the rest, and what to do about it. Never shown to a viewer; header values
//! that may be secrets to nobody.

use axum::Json;
use axum::extract::Path;
use http::StatusCode;

use super::agents::{find, may_see};
use super::refusal::{Answer, Refusal};
use super::{ApiState, Call};
use crate::agent::Agent;
use crate::journal::shown::{self, fields, kept, result};
use crate::journal::{JournalError, Record, RecordId, RequestJournal, State};
use crate::wire::{CallbackKey, KeptAnswer, RequestCount, RequestItem, RequestListBody};

/// How many a page has, usually and at most.
const PAGE: (u64, u64) = (100, 1000);

/// What nobody need look at.
const DONE: [State; 3] = [State::Completed, State::Cancelled, State::Expired];
/// What was tried and did not come to a good end.
const DEAD: [State; 2] = [State::Failed, State::Dead];

/// `GET /agents/{id}/requests`.
pub(super) async fn list(call: Call, Path(id): Path<String>) -> Answer<Json<RequestListBody>> {
    let agent = find(&call.api, &id).await?;
    may_see(&call.role, &agent, "requests")?;
    let states = states(&call, &[])?;
    let limit = call
        .query
        .number("limit")?
        .unwrap_or(PAGE.0)
        .clamp(1, PAGE.1);
    let before = call.query.number("before")?;
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
    let (journal, _) = call.api.requests()?;
    let uid = &agent.metadata.uid;
    let found = journal.list(uid, &states, before, wanted).await?;
    let full = found.len() == wanted;
    let next = found.last().filter(|_| full).map(|record| record.sequence);
    let items = found.iter().map(|record| item(record, false)).collect();
    Ok(Json(RequestListBody { items, next }))
}

/// `GET /agents/{id}/requests/{request}`.
pub(super) async fn get(
    call: Call,
    Path((id, request)): Path<(String, String)>,
) -> Answer<Json<RequestItem>> {
    let agent = find(&call.api, &id).await?;
    may_see(&call.role, &agent, "requests")?;
    let record = of_agent(&call.api, &agent, &request).await?;
    shown(&call.api, &record).await
}

/// `POST /agents/{id}/requests/{request}/replay`.
pub(super) async fn replay(
    call: Call,
    Path((id, request)): Path<(String, String)>,
) -> Answer<Json<RequestItem>> {
    let agent = find(&call.api, &id).await?;
    let record = of_agent(&call.api, &agent, &request).await?;
    let (journal, news) = call.api.requests()?;
    journal.requeue(&record.id).await?;
    news.waits(&record.uid, &record.agent);
    let record = of_agent(&call.api, &agent, &request).await?;
    shown(&call.api, &record).await
}

/// `POST /agents/{id}/requests/{request}/cancel`.
pub(super) async fn cancel(
    call: Call,
    Path((id, request)): Path<(String, String)>,
) -> Answer<Json<RequestItem>> {
    let agent = find(&call.api, &id).await?;
    let record = of_agent(&call.api, &agent, &request).await?;
    let (journal, news) = call.api.requests()?;
    journal
        .cancel(&record.id, "an operator cancelled it")
        .await?;
    news.ended(&record);
    let record = of_agent(&call.api, &agent, &request).await?;
    shown(&call.api, &record).await
}

/// `GET /agents/{id}/callback-key`.
pub(super) async fn callback_key(call: Call, Path(id): Path<String>) -> Answer<Json<CallbackKey>> {
    let agent = find(&call.api, &id).await?;
    let name = agent.metadata.name.as_str();
    Ok(Json(CallbackKey {
        agent: name.to_owned(),
        key: call.api.tokens.callback_key(name),
    }))
}

/// `DELETE /agents/{id}/requests`: what is settled is forgotten, what is not is cancelled.
pub(super) async fn clear(call: Call, Path(id): Path<String>) -> Answer<Json<RequestCount>> {
    let agent = find(&call.api, &id).await?;
    let states = states(&call, &DONE)?;
    let (journal, news) = call.api.requests()?;
    let mut count = 0;
    for (id, state) in all(journal, &agent, &states).await? {
        let done = match state.is_settled() {
            true => journal.forget(&id).await,
            false => journal.cancel(&id, "an operator cancelled it").await,
        };
        count += counted(done)?;
        news.settled(&id);
        news.calls_due();
    }
    Ok(Json(RequestCount { count }))
}

/// `POST /agents/{id}/requests/requeue`: dead letters are delivered again.
pub(super) async fn requeue(call: Call, Path(id): Path<String>) -> Answer<Json<RequestCount>> {
    let agent = find(&call.api, &id).await?;
    let states = states(&call, &DEAD)?;
    if let Some(other) = states.iter().find(|state| !state.wants_attention()) {
        return Err(Refusal::bad(format!(
            "what is {other} is not delivered again; 'state' is failed, dead or unknown"
        )));
    }
    let (journal, news) = call.api.requests()?;
    let mut count = 0;
    for (id, _) in all(journal, &agent, &states).await? {
        count += counted(journal.requeue(&id).await)?;
    }
    news.waits(&agent.metadata.uid, agent.metadata.name.as_str());
    Ok(Json(RequestCount { count }))
}

/// All of an agent's records in these states.
async fn all(
    journal: &dyn RequestJournal,
    agent: &Agent,
    states: &[State],
) -> Answer<Vec<(RecordId, State)>> {
    let mut found = Vec::new();
    let mut before = None;
    loop {
        let uid = &agent.metadata.uid;
        let page = journal.list(uid, states, before, 500).await?;
        let Some(last) = page.last() else {
            return Ok(found);
        };
        before = Some(last.sequence);
        found.extend(page.into_iter().map(|one| (one.id, one.standing.state)));
    }
}

/// 1 when it was done; one that moved on meanwhile is left alone.
fn counted(done: Result<(), JournalError>) -> Answer<u64> {
    match done {
        Ok(()) => Ok(1),
        Err(JournalError::Gone | JournalError::Conflict(_)) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

fn states(call: &Call, usual: &[State]) -> Answer<Vec<State>> {
    let Some(text) = call.query.text("state").filter(|text| !text.is_empty()) else {
        return Ok(usual.to_vec());
    };
    text.split(',')
        .map(|word| {
            word.trim()
                .parse()
                .map_err(|error| Refusal::bad(format!("{error}")))
        })
        .collect()
}

async fn of_agent(api: &ApiState, agent: &Agent, request: &str) -> Answer<Record> {
    let (journal, _) = api.requests()?;
    let found = match RecordId::parse(request) {
        Some(id) => journal.get(&id).await?,
        None => None,
    };
    found
        .filter(|record| record.uid == agent.metadata.uid)
        .ok_or_else(|| Refusal::no_request(Some(agent.metadata.name.as_str())))
}

async fn shown(api: &ApiState, record: &Record) -> Answer<Json<RequestItem>> {
    let mut item = item(record, true);
    item.record.answer = answer(api, record, true).await?;
    Ok(Json(item))
}

fn item(record: &Record, with_fields: bool) -> RequestItem {
    RequestItem {
        record: result(record, record.answer.as_ref().map(|head| kept(head, true))),
        method: record.head.method.clone(),
        target: record.head.target.clone(),
        body_length: record.body_length,
        headers: match with_fields {
            true => fields(&record.head.fields, true),
            false => Vec::new(),
        },
        sequence: record.sequence,
    }
}

/// What the agent answered, with its body where that is text.
pub(super) async fn answer(
    api: &ApiState,
    record: &Record,
    masked: bool,
) -> Answer<Option<KeptAnswer>> {
    let (journal, _) = api.requests()?;
    Ok(shown::answer(journal, record, masked).await?)
}

impl From<JournalError> for Refusal {
    fn from(error: JournalError) -> Self {
        let detail = error.to_string();
        match error {
            JournalError::Gone => Self::no_request(None),
            JournalError::Conflict(_) => Self::conflict("request-settled", detail),
            JournalError::Link(_) | JournalError::Full(_) | JournalError::NotDurable(_) => {
                tracing::warn!(error = %error, "the journal refused a request's call");
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "journal-unavailable",
                    "The journal of requests is not available",
                    format!("{detail}; look at GET /ready and repeat"),
                )
                .header(http::header::RETRY_AFTER, "2")
            }
            JournalError::Corrupt(_) => {
                tracing::error!(error = %error, "the journal's contents cannot be used");
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "journal-corrupt",
                    "The journal's contents cannot be used",
                    detail,
                )
            }
        }
    }
}
