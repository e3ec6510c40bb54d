//! What a client's session is recognised by, for `balance: hash`: a header field or a cookie that the spec names.

use http::HeaderMap;
use http::header::COOKIE;

use crate::agent::spec::Session;

/// The session's key; `None` when the request belongs to none.
pub(super) fn key(headers: &HeaderMap, session: Option<&Session>) -> Option<u64> {
    let session = session?;
    let header = session.header.as_deref().filter(|name| !name.is_empty());
    let by_header = header
        .and_then(|name| headers.get(name))
        .map(|value| value.as_bytes());
    let by_cookie = || {
        let name = session.cookie.as_deref().filter(|name| !name.is_empty())?;
        headers
            .get_all(COOKIE)
            .iter()
            .find_map(|value| cookie(value.as_bytes(), name.as_bytes()))
    };
    by_header
        .or_else(by_cookie)
        .filter(|value| !value.is_empty())
        .map(hash)
}

/// A cookie's value (RFC 6265 §4.2.1).
fn cookie<'a>(all: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    all.split(|byte| *byte == b';').find_map(|pair| {
        let pair = pair.trim_ascii();
        let at = pair.iter().position(|byte| *byte == b'=')?;
        let (found, value) = pair.split_at_checked(at)?;
        (found == name).then(|| value.get(1..)).flatten()
    })
}

/// FNV-1a with a finish that spreads it: the same in every run and on every server.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    });
    mix(hash)
}

/// Spreads a number over all bits (SplitMix64's finish, Steele et al. 2014).
pub(super) const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, value.parse().unwrap());
        }
        map
    }

    fn session(header: Option<&str>, cookie: Option<&str>) -> Session {
        Session {
            header: header.map(str::to_owned),
            cookie: cookie.map(str::to_owned),
        }
    }

    #[test]
    fn a_header_names_the_session() {
        let by = session(Some("Mcp-Session-Id"), None);
        let one = key(&headers(&[("mcp-session-id", "a")]), Some(&by));
        assert!(one.is_some());
        assert_eq!(one, key(&headers(&[("mcp-session-id", "a")]), Some(&by)));
        assert_ne!(one, key(&headers(&[("mcp-session-id", "b")]), Some(&by)));
        assert_eq!(key(&headers(&[("mcp-session-id", "")]), Some(&by)), None);
        assert_eq!(key(&headers(&[]), Some(&by)), None);
        assert_eq!(key(&headers(&[("mcp-session-id", "a")]), None), None);
    }

    #[test]
    fn a_cookie_names_the_session() {
        let by = session(None, Some("sid"));
        let expected = Some(hash(b"x=1"));
        for given in ["sid=x=1", "a=b; sid=x=1", "notsid=2; sid=x=1 ;c"] {
            assert_eq!(
                key(&headers(&[("cookie", given)]), Some(&by)),
                expected,
                "{given}"
            );
        }
        let two = headers(&[("cookie", "a=b"), ("cookie", "sid=x=1")]);
        assert_eq!(key(&two, Some(&by)), expected, "HTTP/2 splits cookies");
        assert_eq!(key(&headers(&[("cookie", "sid")]), Some(&by)), None);
        assert_eq!(key(&headers(&[("cookie", "SID=x=1")]), Some(&by)), None);
    }

    #[test]
    fn the_header_comes_before_the_cookie() {
        let by = session(Some("x-session"), Some("sid"));
        let both = headers(&[("x-session", "h"), ("cookie", "sid=c")]);
        assert_eq!(key(&both, Some(&by)), Some(hash(b"h")));
        assert_eq!(
            key(&headers(&[("cookie", "sid=c")]), Some(&by)),
            Some(hash(b"c"))
        );
    }
}
