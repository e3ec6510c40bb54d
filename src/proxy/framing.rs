//! Which requests are refused because two readers could understand them differently (request smuggling).
//!
//! hyper refuses what its parser can see: bad lengths, unequal repeated lengths, chunked that is not last, obsolete folding,
//! spaces before colons, NUL. Of a message with both lengths it keeps the chunks alone and closes the connection, as RFC
//! 9112 §6.3 allows. Here is what it leaves to us.

use http::header::{CONTENT_LENGTH, HOST, HeaderValue, TRANSFER_ENCODING};
use http::uri::Authority;
use http::{Method, Request, Version};

/// Why a request is refused: a status and a sentence for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ambiguous {
    pub(super) status: u16,
    pub(super) reason: &'static str,
}

const fn refuse<T>(status: u16, reason: &'static str) -> Result<T, Ambiguous> {
    Err(Ambiguous { status, reason })
}

/// Checks a request; gives the host that it names, `None` for an HTTP/1.0 request without one.
///
/// # Errors
/// [`Ambiguous`] with the rule that is broken.
pub(super) fn check<B>(request: &Request<B>) -> Result<Option<HeaderValue>, Ambiguous> {
    let headers = request.headers();
    if request.method() == Method::CONNECT {
        return refuse(
            405,
            "CONNECT opens a tunnel through a proxy of the other kind; an agent is reached by any other method",
        );
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).into_iter();
    if let Some(coding) = codings.next() {
        if codings.next().is_some()
            || !coding
                .as_bytes()
                .trim_ascii()
                .eq_ignore_ascii_case(b"chunked")
        {
            return refuse(
                501,
                "the only transfer coding that is understood is one 'chunked' (RFC 9112 §6.1)",
            );
        }
        if headers.contains_key(CONTENT_LENGTH) {
            return refuse(
                400,
                "a message has a Content-Length or a Transfer-Encoding, not both (RFC 9112 §6.3)",
            );
        }
    }
    let mut hosts = headers.get_all(HOST).into_iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return refuse(400, "more than one Host (RFC 9112 §3.2)");
    }
    if let Some(host) = host
        && !valid_host(host.as_bytes())
    {
        return refuse(
            400,
            "the Host is not a host with an optional port (RFC 9112 §3.2)",
        );
    }
    match (request.uri().authority(), host) {
        (Some(authority), host) => {
            let authority = authority.as_str();
            if !valid_host(authority.as_bytes()) {
                return refuse(
                    400,
                    "the target's authority is not a host with an optional port (RFC 9110 §4.2.4)",
                );
            }
            let differs = host
                .is_some_and(|host| !host.as_bytes().eq_ignore_ascii_case(authority.as_bytes()));
            if differs && request.version() == Version::HTTP_2 {
                return refuse(400, "Host and :authority differ (RFC 9113 §8.3.1)");
            }
            HeaderValue::from_str(authority)
                .map(Some)
                .or(refuse(400, "the target's authority is not valid text"))
        }
        (None, Some(host)) => Ok(Some(host.clone())),
        (None, None) if request.version() == Version::HTTP_10 => Ok(None),
        (None, None) => refuse(400, "no Host (RFC 9112 §3.2)"),
    }
}

fn valid_host(host: &[u8]) -> bool {
    !host.contains(&b'@') && Authority::try_from(host).is_ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn request(version: Version, uri: &str, lines: &[(&str, &str)]) -> Request<()> {
        let mut builder = Request::builder().version(version).uri(uri);
        for (name, value) in lines {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap()
    }

    #[test]
    fn the_host_comes_from_where_the_version_says() {
        for (version, uri, lines, expected) in [
            (
                Version::HTTP_11,
                "/",
                &[("host", "a:81")][..],
                Ok(Some("a:81")),
            ),
            (
                Version::HTTP_11,
                "/",
                &[("host", "[::1]:81")],
                Ok(Some("[::1]:81")),
            ),
            (Version::HTTP_11, "/", &[], Err(400)),
            (Version::HTTP_10, "/", &[], Ok(None)),
            (
                Version::HTTP_11,
                "/",
                &[("host", "a"), ("host", "a")],
                Err(400),
            ),
            (Version::HTTP_11, "/", &[("host", "")], Err(400)),
            (Version::HTTP_11, "/", &[("host", "a b")], Err(400)),
            (Version::HTTP_11, "/", &[("host", "u@a")], Err(400)),
            (Version::HTTP_11, "/", &[("host", "a/b")], Err(400)),
            (
                Version::HTTP_11,
                "http://b/",
                &[("host", "a")],
                Ok(Some("b")),
            ),
            (Version::HTTP_2, "http://b/", &[("host", "a")], Err(400)),
            (
                Version::HTTP_2,
                "http://b/",
                &[("host", "B")],
                Ok(Some("b")),
            ),
            (Version::HTTP_2, "http://b:8/", &[], Ok(Some("b:8"))),
        ] {
            let found = check(&request(version, uri, lines));
            let found = found
                .map(|host| host.map(|host| host.to_str().unwrap().to_owned()))
                .map_err(|e| e.status);
            assert_eq!(
                found,
                expected.map(|host| host.map(str::to_owned)),
                "{uri} {lines:?}"
            );
        }
    }

    #[test]
    fn framing_that_has_two_readings_is_refused() {
        for (lines, expected) in [
            (&[("transfer-encoding", "chunked")][..], None),
            (&[("transfer-encoding", "Chunked ")], None),
            (&[("transfer-encoding", "gzip, chunked")], Some(501)),
            (
                &[
                    ("transfer-encoding", "chunked"),
                    ("transfer-encoding", "chunked"),
                ],
                Some(501),
            ),
            (
                &[("transfer-encoding", "chunked"), ("content-length", "3")],
                Some(400),
            ),
        ] {
            let mut all = vec![("host", "a")];
            all.extend_from_slice(lines);
            let found = check(&request(Version::HTTP_11, "/", &all))
                .err()
                .map(|e| e.status);
            assert_eq!(found, expected, "{lines:?}");
        }
    }
}
