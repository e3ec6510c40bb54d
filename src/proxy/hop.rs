//! Hop-by-hop header fields: what concerns one connection alone and is not passed on, in either direction
//! (RFC 9110 §7.6.1).

use http::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRANSFER_ENCODING, UPGRADE,
};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const PROXY_AUTHENTICATION_INFO: HeaderName = HeaderName::from_static("proxy-authentication-info");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Those of every message.
static HOP_BY_HOP: [HeaderName; 10] = [
    CONNECTION,
    KEEP_ALIVE,
    PROXY_CONNECTION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHENTICATION_INFO,
    PROXY_AUTHORIZATION,
    HTTP2_SETTINGS,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Removes them, and every field that `Connection` names. `Trailer` stays: trailers are passed on.
pub(super) fn strip(headers: &mut HeaderMap) {
    if !has_any(headers, &HOP_BY_HOP) {
        return;
    }
    for name in named_by_connection(headers) {
        headers.remove(name);
    }
    remove_all(headers, &HOP_BY_HOP);
}

/// Removes these fields, at most 16. Most messages have few of them or none: one look at the fields there are costs less than one for
/// each that could be.
pub(super) fn remove_all(headers: &mut HeaderMap, names: &[HeaderName]) {
    let mut found = 0_u16;
    for name in headers.keys() {
        if let Some(at) = names.iter().position(|one| one == name) {
            found |= 1 << (at & 15);
        }
    }
    for (at, name) in names.iter().enumerate() {
        if found & 1 << (at & 15) != 0 {
            headers.remove(name);
        }
    }
}

/// Whether there is any of these fields.
pub(super) fn has_any(headers: &HeaderMap, names: &[HeaderName]) -> bool {
    headers.keys().any(|name| names.contains(name))
}

/// Words of `Connection` that take no field along: they are options or removed in any case, or say what the message is and whom it
/// is for, and no sender may name those (RFC 9110 §7.6.1).
const NOT_TO_BE_NAMED: [&str; 6] = [
    "close",
    "keep-alive",
    "upgrade",
    "te",
    "content-length",
    "host",
];

fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    tokens(headers, &CONNECTION)
        .filter(|token| {
            !NOT_TO_BE_NAMED
                .iter()
                .any(|known| token.eq_ignore_ascii_case(known.as_bytes()))
        })
        .filter_map(|token| HeaderName::from_bytes(token).ok())
        .collect()
}

/// The comma-separated words of a field, over all its lines.
pub(super) fn tokens<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a [u8]> {
    headers
        .get_all(name)
        .into_iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|token| !token.is_empty())
}

/// Whether a field has this word, in any case.
pub(super) fn has_token(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    tokens(headers, name).any(|token| token.eq_ignore_ascii_case(word.as_bytes()))
}

/// Whether the client takes trailers (`TE: trailers`).
pub(super) fn takes_trailers(headers: &HeaderMap) -> bool {
    has_token(headers, &TE, "trailers")
}

/// The protocol that a message asks or agrees to change to: `Connection: upgrade` with an `Upgrade` that is not HTTP/2, which
/// would let a client speak past us to the agent (RFC 9113 §3.1 dropped that way in).
pub(super) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let value = headers.get(UPGRADE)?;
    if !has_token(headers, &CONNECTION, "upgrade")
        || headers.get_all(UPGRADE).into_iter().count() > 1
    {
        return None;
    }
    let http2 = tokens(headers, &UPGRADE).any(|token| {
        token
            .get(..2)
            .is_some_and(|start| start.eq_ignore_ascii_case(b"h2"))
            || token
                .get(..4)
                .is_some_and(|start| start.eq_ignore_ascii_case(b"http"))
    });
    (!http2).then(|| value.clone())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        map
    }

    #[test]
    fn what_connection_names_goes_with_it() {
        let mut map = headers(&[
            ("connection", "close, X-One, Content-Length"),
            ("content-length", "0"),
            ("connection", " x-two ,,keep-alive"),
            ("x-one", "1"),
            ("x-two", "2"),
            ("x-three", "3"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers, deflate"),
            ("transfer-encoding", "chunked"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic x"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABkAAQ"),
            ("trailer", "x-sum"),
            ("cookie", "a=b"),
        ]);
        strip(&mut map);
        let mut left: Vec<_> = map.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["content-length", "cookie", "trailer", "x-three"]);
    }

    #[test]
    fn an_upgrade_needs_both_fields_and_is_never_to_http() {
        for (lines, expected) in [
            (
                &[
                    ("connection", "keep-alive, Upgrade"),
                    ("upgrade", "websocket"),
                ][..],
                Some("websocket"),
            ),
            (&[("upgrade", "websocket")], None),
            (&[("connection", "upgrade")], None),
            (
                &[
                    ("connection", "upgrade, http2-settings"),
                    ("upgrade", "h2c"),
                ],
                None,
            ),
            (
                &[("connection", "upgrade"), ("upgrade", "websocket, H2C")],
                None,
            ),
            (&[("connection", "upgrade"), ("upgrade", "HTTP/2.0")], None),
            (
                &[
                    ("connection", "upgrade"),
                    ("upgrade", "a"),
                    ("upgrade", "b"),
                ],
                None,
            ),
        ] {
            let found = upgrade(&headers(lines));
            assert_eq!(
                found.as_ref().map(HeaderValue::as_bytes),
                expected.map(str::as_bytes),
                "{lines:?}"
            );
        }
    }
}
