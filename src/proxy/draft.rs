//! A request's head as it is kept, and back.

use http::header::{CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING};
use http::{Method, Request, Response, StatusCode};

use super::body::ProxyBody;
use super::keep::RESULTS;
use super::keyed::IDEMPOTENCY_KEY;
use super::request::{FORWARDED_HOST, FORWARDED_PROTO};
use crate::journal::{AnswerHead, Capability, Field, Head, JournalError, RecordId};

/// A request's head as it will be kept, and where its client will find it.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) head: Head,
    /// `https://host`, as far as it is known.
    base: String,
    /// Who is told how it ended.
    pub(super) callback: Option<String>,
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
            callback: None,
        }
    }

    /// The same, with who is told how it ended.
    pub(super) fn called(self, callback: Option<String>) -> Self {
        Self { callback, ..self }
    }

    /// The address of its result.
    ///
    /// # Errors
    /// [`JournalError::Corrupt`] when the host that the client named cannot be part of one.
    pub(super) fn location(
        &self,
        id: &RecordId,
        capability: &Capability,
    ) -> Result<HeaderValue, JournalError> {
        let secret = capability.reveal();
        let location = format!("{}{RESULTS}/{id}.{secret}", self.base);
        let mut location =
            HeaderValue::try_from(location).map_err(|_| JournalError::Corrupt("host"))?;
        location.set_sensitive(true);
        Ok(location)
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

/// A kept method.
pub(super) fn method(text: &str) -> Method {
    Method::from_bytes(text.as_bytes()).unwrap_or(Method::POST)
}
