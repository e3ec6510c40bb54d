//! `/results/{capability}`: what became of a kept request, for whoever was given its address. The address is all that it takes: 128
//! random bits, of which a hash is kept. An unknown one, a wrong one and one that was forgotten look the same.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequestParts, Path};
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY};
use http::request::Parts;
use http::{HeaderMap, StatusCode};

use super::ApiState;
use super::query::Query;
use super::refusal::{Answer, Refusal};
use super::requests::answer;
use crate::journal::shown::result;
use crate::journal::{Capability, Record, RecordId};

/// A request of somebody who need not be anybody we know.
pub(super) struct Visit {
    pub(super) api: ApiState,
    query: Query,
}

impl FromRequestParts<ApiState> for Visit {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, api: &ApiState) -> Answer<Self> {
        Ok(Self {
            api: api.clone(),
            query: parts.extensions.get::<Query>().cloned().unwrap_or_default(),
        })
    }
}

/// The longest that `wait` waits, in seconds.
const LONGEST: u64 = 60;

/// `GET /results/{capability}`; `wait=30` waits for so long for it to be settled.
pub(super) async fn get(call: Visit, Path(capability): Path<String>) -> Answer<Response> {
    let mut record = opened(&call, &capability).await?;
    if let Some(seconds) = call.query.number("wait")? {
        let (journal, news) = call.api.requests()?;
        let within = Duration::from_secs(seconds.min(LONGEST));
        let waited = news.wait(journal, &record.id, within);
        let waited = tokio::select! {
            biased;
            () = call.api.shutdown.cancelled() => None,
            waited = waited => waited?,
        };
        record = waited.unwrap_or(record);
    }
    let answer = answer(&call.api, &record, false).await?;
    Ok(private(Json(result(&record, answer)).into_response()))
}

/// `GET /results/{capability}/answer`: the agent's answer as it was, 409 while there is none.
pub(super) async fn answered(call: Visit, Path(capability): Path<String>) -> Answer<Response> {
    let record = opened(&call, &capability).await?;
    let Some(head) = &record.answer else {
        let state = record.standing.state;
        return Err(Refusal::conflict(
            "no-answer-yet",
            format!("the request is {state}, and there is no answer of its agent"),
        ));
    };
    let (journal, _) = call.api.requests()?;
    let body = journal.answer_body(&record.id).await?.unwrap_or_default();
    let mut response = Body::from(body).into_response();
    *response.status_mut() = StatusCode::from_u16(head.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let headers = response.headers_mut();
    // Only what describes the bytes: the rest was meant for another path.
    for field in &head.fields {
        if (field.0.starts_with("content-") && field.0 != "content-length")
            && let (Ok(name), Ok(value)) = (
                HeaderName::try_from(field.0.as_str()),
                HeaderValue::from_bytes(&field.value()),
            )
        {
            headers.insert(name, value);
        }
    }
    if !head.fields.iter().any(|field| field.0 == "content-type") {
        headers.remove(CONTENT_TYPE);
    }
    confine(headers);
    Ok(private(response))
}

/// `DELETE /results/{capability}`: it is not wanted any more.
pub(super) async fn cancel(call: Visit, Path(capability): Path<String>) -> Answer<Response> {
    let record = opened(&call, &capability).await?;
    let (journal, news) = call.api.requests()?;
    journal
        .cancel(&record.id, "its client cancelled it")
        .await?;
    news.ended(&record);
    let record = opened(&call, &capability).await?;
    Ok(private(Json(result(&record, None)).into_response()))
}

pub(super) async fn opened(call: &Visit, capability: &str) -> Answer<Record> {
    let (journal, _) = call.api.requests()?;
    let parts = capability.split_once('.');
    let found = match parts.and_then(|(id, secret)| Some((RecordId::parse(id)?, secret))) {
        Some((id, secret)) => {
            let shown = Capability::shown(secret);
            let record = journal.get(&id).await?;
            record.filter(|record| shown.opens(&record.capability))
        }
        None => None,
    };
    found.ok_or_else(|| Refusal::no_request(None))
}

/// An agent's bytes are shown under our own origin here: they may not act as a page of it.
fn confine(headers: &mut HeaderMap) {
    headers.insert(
        http::header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("sandbox; default-src 'none'"),
    );
}

pub(super) fn private(mut response: Response) -> Response {
    let no_referrer = HeaderValue::from_static("no-referrer");
    response.headers_mut().insert(REFERRER_POLICY, no_referrer);
    response
}
