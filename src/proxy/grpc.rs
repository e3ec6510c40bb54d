//! What gRPC clients understand: a refusal of ours as a status of theirs, since they read neither problem+json nor much of
//! HTTP's status ("gRPC over HTTP2" and "HTTP to gRPC Status Code Mapping", grpc/doc).

use std::fmt::Write as _;

use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};

use super::body::ProxyBody;
use crate::problem::Problem;

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// The media type of a call: `application/grpc`, `application/grpc+proto`, `application/grpc-web…`; `None` for all else.
pub(super) fn media_type(headers: &HeaderMap) -> Option<HeaderValue> {
    let value = headers.get(CONTENT_TYPE)?;
    let text = value.to_str().ok()?.to_ascii_lowercase();
    let rest = text.strip_prefix("application/grpc")?;
    (rest.is_empty() || rest.starts_with(['+', ';', '-'])).then(|| value.clone())
}

/// The refusal as trailers-only answer.
pub(super) fn refusal(problem: &Problem, media_type: HeaderValue) -> Response<ProxyBody> {
    let mut response = Response::new(ProxyBody::ours(""));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, media_type);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(STATUS, HeaderValue::from(status(problem.status)));
    if let Ok(message) = HeaderValue::try_from(encoded(&problem.detail)) {
        headers.insert(MESSAGE, message);
    }
    response
}

fn status(http: u16) -> u16 {
    match StatusCode::from_u16(http) {
        Ok(StatusCode::BAD_REQUEST) => 13,
        Ok(StatusCode::NOT_FOUND) => 12,
        Ok(StatusCode::GATEWAY_TIMEOUT) => 4,
        Ok(
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE,
        ) => 14,
        _ => 2,
    }
}

/// Percent-encoded as the protocol wants it: everything but printable ASCII, and the percent sign.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' | ..=0x1f | 0x7f.. => {
                let _ = write!(out, "%{byte:02X}");
            }
            plain => out.push(char::from(plain)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_call_is_known_by_its_media_type() {
        for (given, known) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("Application/gRPC; charset=x", true),
            ("application/grpc-web-text", true),
            ("application/grpcx", false),
            ("application/json", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(given));
            assert_eq!(media_type(&headers).is_some(), known, "{given}");
        }
    }

    #[test]
    fn a_message_is_printable_ascii() {
        assert_eq!(encoded("100 % für `x`\n"), "100 %25 f%C3%BCr `x`%0A");
    }
}
