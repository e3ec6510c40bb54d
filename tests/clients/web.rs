//! An agent that says what it got, and has something large to give.

use std::convert::Infallible;

use bytes::Bytes;
use http::header::{CONTENT_RANGE, CONTENT_TYPE, COOKIE, ETAG, LOCATION, RANGE, SET_COOKIE};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Incoming;
use sha2::{Digest as _, Sha256};

use crate::agents::{self, Agent};

/// How much is behind `/big`: all bytes in turn.
pub const BIG: usize = 4 << 20;

type Body = UnsyncBoxBody<Bytes, Infallible>;

pub fn big() -> Bytes {
    (0..BIG).map(|n| u8::try_from(n % 256).unwrap()).collect()
}

pub fn sum(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

pub async fn agent() -> Agent {
    let big = big();
    agents::http(move |request| answer(request, big.clone())).await
}

async fn answer(request: Request<Incoming>, big: Bytes) -> Response<Body> {
    let text = |headers: &HeaderMap, name: &str| {
        let value = headers
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned());
        value.unwrap_or_default()
    };
    let (parts, body) = request.into_parts();
    let build = Response::builder();
    let answer = match parts.uri.path() {
        "/big" => match range(&parts.headers) {
            None => build.header(ETAG, "\"1\"").body(full(big)),
            Some(from) => build
                .status(StatusCode::PARTIAL_CONTENT)
                .header(ETAG, "\"1\"")
                .header(CONTENT_RANGE, format!("bytes {from}-{}/{BIG}", BIG - 1))
                .body(full(big.slice(from..))),
        },
        "/login" => build
            .status(StatusCode::FOUND)
            .header(LOCATION, "/echo")
            .header(SET_COOKIE, "sid=1; Path=/; HttpOnly")
            .body(full("")),
        "/events" => {
            let events = (0..5).map(|n| Ok(Frame::data(Bytes::from(format!("data: {n}\n\n")))));
            let events = StreamBody::new(futures::stream::iter(events)).boxed_unsync();
            build.header(CONTENT_TYPE, "text/event-stream").body(events)
        }
        _ => {
            let body = body
                .collect()
                .await
                .map(|body| body.to_bytes())
                .unwrap_or_default();
            let seen = serde_json::json!({
                "target": parts.uri.to_string(),
                "proto": text(&parts.headers, "x-forwarded-proto"),
                "cookie": text(&parts.headers, COOKIE.as_str()),
                "sum": sum(&body),
            });
            build.body(full(seen.to_string()))
        }
    };
    answer.unwrap()
}

fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed_unsync()
}

/// From where `Range: bytes=N-` asks.
fn range(headers: &HeaderMap) -> Option<usize> {
    let text = headers.get(RANGE)?.to_str().ok()?;
    text.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
}
