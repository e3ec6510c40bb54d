//! What is around every request: its id, its line in the log, a caught panic, the headers that every answer has, and problems
//! written out.

use std::panic::AssertUnwindSafe;

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, Method, StatusCode};
use tracing::Instrument;

use super::refusal::{Carried, Refusal};
use crate::problem::MEDIA_TYPE;
use crate::wire::Via;

/// The request's id: the client's own when it is a sound one, else a new one.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Serves a request within its envelope.
pub(super) async fn wrap(request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let method = request.method().clone();
    let peer = request.extensions().get::<Via>().map(|via| via.peer);
    // The path and never the query or a header: those may hold what is nobody's business.
    let span = tracing::info_span!(
        "request",
        id,
        %method,
        path = shown(request.uri().path()),
        peer = peer.map(tracing::field::display),
        role = tracing::field::Empty,
    );
    let mut answer = async {
        let caught = AssertUnwindSafe(next.run(request)).catch_unwind().await;
        let answer = caught.unwrap_or_else(|_| {
            tracing::error!("a handler panicked");
            Refusal::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "Something is wrong with this server",
                "this is a fault of agentainer; its log has more under the request's id",
            )
            .into_response()
        });
        let status = answer.status();
        match status {
            _ if status.is_server_error() => {
                tracing::warn!(status = status.as_u16(), "request failed")
            }
            _ if matches!(method, Method::GET | Method::HEAD) => {
                tracing::debug!(status = status.as_u16(), "request served")
            }
            _ => tracing::info!(status = status.as_u16(), "request served"),
        }
        answer
    }
    .instrument(span)
    .await;
    if let Some(Carried(problem)) = answer.extensions_mut().remove::<Carried>() {
        write_problem(&mut answer, *problem, &id);
    }
    let headers = answer.headers_mut();
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, id);
    }
    answer
}

/// A path as the log has it: whoever reads that gets no capability by it.
fn shown(path: &str) -> &str {
    match path.strip_prefix("/results/") {
        Some(below) => {
            let id = below.find('.').unwrap_or(0);
            path.get(.."/results/".len() + id).unwrap_or("/results/")
        }
        None => path,
    }
}

fn write_problem(answer: &mut Response, problem: crate::problem::Problem, id: &str) {
    let problem = crate::problem::Problem {
        instance: Some(id.to_owned()),
        ..problem
    };
    let text = serde_json::to_vec_pretty(&problem).unwrap_or_default();
    *answer.body_mut() = Body::from(text);
    answer.headers_mut().remove(http::header::CONTENT_LENGTH);
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
}

fn request_id(headers: &HeaderMap) -> String {
    let given = headers
        .get(&REQUEST_ID)
        .and_then(|value| value.to_str().ok());
    let sound = |id: &&str| {
        (1..=64).contains(&id.len())
            && id
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    given
        .filter(sound)
        .map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned)
}
