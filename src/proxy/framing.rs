//! Which messages are refused because two readers could understand them differently (request smuggling, response splitting).
//!
//! What a parser can see is refused by hyper, and of an answer by `heads`: bad lengths, unequal repeated lengths, chunked that is
//! not last, obsolete folding, spaces before colons, NUL. Of a request with both lengths hyper keeps the chunks alone and closes the
//! connection, as RFC 9112 §6.3 allows. Here is what is left to us.

use http::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING};
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
    if request.uri().path() == "*" && request.method() != Method::OPTIONS {
        return refuse(400, "the target '*' is for OPTIONS (RFC 9112 §3.2.4)");
    }
    match (request.uri().scheme_str(), request.uri().authority()) {
        (Some(scheme), _) if !is_http(scheme) => {
            return refuse(
                400,
                "the target's scheme is neither http nor https (RFC 9110 §4.2)",
            );
        }
        (None, Some(_)) => {
            return refuse(
                400,
                "a target that is an authority alone is for CONNECT (RFC 9112 §3.2.3)",
            );
        }
        _ => {}
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).into_iter();
    if let Some(coding) = codings.next() {
        if codings.next().is_some() || !is_chunked(coding) {
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

/// Checks an agent's answer, and has it say its length once. `heads` refuses lengths that differ or are none; of an answer with both a
/// length and chunks it reads the chunks, while the length would still be told to the client.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check_answer(headers: &mut HeaderMap) -> Result<(), &'static str> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).into_iter();
    if let Some(coding) = codings.next() {
        if codings.next().is_some() || !is_chunked(coding) {
            return Err("answered with a transfer coding other than one 'chunked'");
        }
        if headers.contains_key(CONTENT_LENGTH) {
            return Err("answered with both a Content-Length and a Transfer-Encoding");
        }
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).into_iter();
    if let Some(length) = lengths.next() {
        let text = length.as_bytes();
        let first = text.iter().position(|byte| *byte == b',');
        if first.is_some() || lengths.next().is_some() {
            // All the same, or it would not have come this far.
            let first = text.get(..first.unwrap_or(text.len())).unwrap_or(text);
            let one = HeaderValue::from_bytes(first.trim_ascii());
            headers.insert(
                CONTENT_LENGTH,
                one.map_err(|_| "answered with a Content-Length that is none")?,
            );
        }
    }
    Ok(())
}

/// In any case (RFC 3986 §3.1).
pub(super) fn is_http(scheme: &str) -> bool {
    ["http", "https"]
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known))
}

fn is_chunked(coding: &HeaderValue) -> bool {
    coding
        .as_bytes()
        .trim_ascii()
        .eq_ignore_ascii_case(b"chunked")
}

/// The grammar allows a comma, and no name has one; in `X-Forwarded-Host` it would make two of it.
fn valid_host(host: &[u8]) -> bool {
    plain_host(host)
        || !host.iter().any(|byte| b"@,".contains(byte)) && Authority::try_from(host).is_ok()
}

/// Whether it is a name or an IPv4 address with an optional port, as nearly all are: found out without memory of its own.
fn plain_host(host: &[u8]) -> bool {
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    let end = host.iter().position(|byte| !is_name(byte));
    let (name, port) = host
        .split_at_checked(end.unwrap_or(host.len()))
        .unwrap_or_default();
    let is_port =
        |port: &[u8]| (1..=5).contains(&port.len()) && port.iter().all(u8::is_ascii_digit);
    !name.is_empty() && (port.is_empty() || port.strip_prefix(b":").is_some_and(is_port))
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
    fn a_plain_host_is_one_by_the_grammar_too() {
        for (host, plain) in [
            ("box", true),
            ("127.0.0.1:8081", true),
            ("a-b.example:1", true),
            ("a:99999", true),
            ("", false),
            (":80", false),
            ("a:", false),
            ("a:123456", false),
            ("a:b", false),
            ("a:1:2", false),
            ("a b", false),
            ("u@h", false),
            ("[::1]:80", false),
        ] {
            assert_eq!(plain_host(host.as_bytes()), plain, "{host}");
            assert!(!plain || Authority::try_from(host).is_ok(), "{host}");
        }
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
