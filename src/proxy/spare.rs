//! A copy of what can be sent a second time: a request without a body whose method is idempotent (RFC 9110 §9.2.2).
//!
//! Nearly none is ever needed. So it is one piece of memory, and is taken apart only then: a second map of header fields would be
//! dearer than anything else that is done for a request.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Uri};

use super::body::RequestBody;

/// See the module.
#[derive(Debug)]
pub(super) struct Spare {
    method: Method,
    uri: Uri,
    /// For each field the lengths of its name and its value in four bytes each, then both.
    fields: Vec<u8>,
}

/// Of two lengths.
const LENGTHS: usize = 8;

impl Spare {
    /// A copy, when it can be sent again.
    pub(super) fn of(request: &Request<RequestBody>) -> Option<Self> {
        if !request.body().is_empty() || !request.method().is_idempotent() {
            return None;
        }
        let headers = request.headers();
        let length = |(name, value): (&HeaderName, &HeaderValue)| {
            LENGTHS + name.as_str().len() + value.len()
        };
        let mut fields = Vec::with_capacity(headers.iter().map(length).sum());
        for (name, value) in headers {
            let name = name.as_str().as_bytes();
            fields.extend(u32::try_from(name.len()).ok()?.to_ne_bytes());
            fields.extend(u32::try_from(value.len()).ok()?.to_ne_bytes());
            fields.extend_from_slice(name);
            fields.extend_from_slice(value.as_bytes());
        }
        Some(Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            fields,
        })
    }

    /// The request once more.
    pub(super) fn request(self) -> Option<Request<RequestBody>> {
        let mut headers = HeaderMap::new();
        let mut rest = self.fields.as_slice();
        while !rest.is_empty() {
            let name = length(&mut rest)?;
            let value = length(&mut rest)?;
            let name = HeaderName::from_bytes(rest.split_off(..name)?).ok()?;
            let value = HeaderValue::from_bytes(rest.split_off(..value)?).ok()?;
            headers.append(name, value);
        }
        let mut request = Request::new(RequestBody::empty());
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.headers_mut() = headers;
        Some(request)
    }
}

fn length(rest: &mut &[u8]) -> Option<usize> {
    let (bytes, behind) = rest.split_first_chunk()?;
    *rest = behind;
    usize::try_from(u32::from_ne_bytes(*bytes)).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytes::Bytes;

    use super::*;

    #[test]
    fn what_is_sent_again_is_what_was_sent() {
        let request = |method: Method| {
            Request::builder()
                .method(method)
                .uri("/run?x=%20y")
                .header("host", "box:8081")
                .header("cookie", "a=1")
                .header("x-empty", "")
                .header("cookie", &b"b=\xe4"[..])
                .body(RequestBody::empty())
                .unwrap()
        };
        let again = Spare::of(&request(Method::DELETE))
            .unwrap()
            .request()
            .unwrap();
        let expected = request(Method::DELETE);
        assert_eq!(again.method(), expected.method());
        assert_eq!(again.uri(), expected.uri());
        assert_eq!(again.headers(), expected.headers());
        assert!(Spare::of(&request(Method::POST)).is_none());
        let body = RequestBody::kept(Bytes::from_static(b"x"));
        assert!(Spare::of(&request(Method::PUT).map(|_| body)).is_none());
    }
}
