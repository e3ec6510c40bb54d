//! An answer's head as the client gets it.
//!
//! All agents share one origin, so an agent's answer speaks for `/agent/{id}/` alone: its cookies are confined to that
//! path and to our host, an absolute path in `Location` and `Content-Location` gets the prefix back that the request lost,
//! and fields that speak for the whole origin do not pass.

use http::header::{
    CONTENT_LOCATION, HeaderMap, HeaderName, HeaderValue, LOCATION, SET_COOKIE,
    STRICT_TRANSPORT_SECURITY,
};

use http::uri::Authority;

use super::{framing, hop};

/// Fields that speak for the whole origin, which is not one agent's.
static ORIGIN_WIDE: [HeaderName; 6] = [
    STRICT_TRANSPORT_SECURITY,
    HeaderName::from_static("alt-svc"),
    HeaderName::from_static("clear-site-data"),
    HeaderName::from_static("service-worker-allowed"),
    // Would have browsers tell one agent of the requests to all others (Network Error Logging).
    HeaderName::from_static("nel"),
    HeaderName::from_static("report-to"),
];

/// Fields that may name a place below the agent.
static OUR_PLACES: [HeaderName; 3] = [LOCATION, CONTENT_LOCATION, SET_COOKIE];

/// Where an answer comes from.
pub(super) struct Source<'a> {
    /// The agent's name.
    pub(super) agent: &'a str,
    /// The host that the client asked.
    pub(super) host: Option<&'a HeaderValue>,
    /// Whether a path below `/agent/` names an agent that exists: a redirect there is meant.
    pub(super) is_agent: &'a dyn Fn(&str) -> bool,
}

/// Makes an agent's header fields the client's.
pub(super) fn rewrite(headers: &mut HeaderMap, source: &Source<'_>) {
    hop::strip(headers);
    hop::remove_all(headers, &ORIGIN_WIDE);
    if !hop::has_any(headers, &OUR_PLACES) {
        return;
    }
    for name in [LOCATION, CONTENT_LOCATION] {
        if let Some(moved) = headers
            .get(&name)
            .and_then(|value| relocated(value, source))
        {
            headers.insert(name, moved);
        }
    }
    if headers.contains_key(SET_COOKIE) {
        let cookies: Vec<HeaderValue> = headers
            .get_all(SET_COOKIE)
            .iter()
            .map(|cookie| confined(cookie, source.agent))
            .collect();
        headers.remove(SET_COOKIE);
        for cookie in cookies {
            headers.append(SET_COOKIE, cookie);
        }
    }
}

/// Makes header fields of an agent that has an origin of its own the client's: they pass, but a cookie is for that host alone.
/// One with a `Domain` would reach the other agents below the same domain, too.
pub(super) fn of_its_own(headers: &mut HeaderMap, host: Option<&HeaderValue>) {
    hop::strip(headers);
    if headers.contains_key(SET_COOKIE) {
        let host = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
        let host = host.as_ref().map_or("", Authority::host);
        let cookies: Vec<HeaderValue> = headers
            .get_all(SET_COOKIE)
            .iter()
            .map(|cookie| narrowed(cookie, host))
            .collect();
        headers.remove(SET_COOKIE);
        for cookie in cookies {
            headers.append(SET_COOKIE, cookie);
        }
    }
}

/// The cookie without a `Domain` that is not this host.
fn narrowed(cookie: &HeaderValue, host: &str) -> HeaderValue {
    let wider = |part: &&[u8]| {
        let at = part.iter().position(|byte| *byte == b'=');
        let (name, value) = part
            .split_at_checked(at.unwrap_or(part.len()))
            .unwrap_or_default();
        let value = value.strip_prefix(b"=").unwrap_or(value).trim_ascii();
        let value = value.strip_prefix(b".").unwrap_or(value);
        name.trim_ascii().eq_ignore_ascii_case(b"domain")
            && !value.eq_ignore_ascii_case(host.as_bytes())
    };
    let mut parts = cookie.as_bytes().split(|byte| *byte == b';');
    let first = parts.next().unwrap_or_default();
    let kept: Vec<&[u8]> = std::iter::once(first)
        .chain(parts.filter(|part| !wider(part)))
        .collect();
    HeaderValue::from_bytes(&kept.join(&b';')).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// The place with our prefix; `None` when it is right as it is: relative, elsewhere, or prefixed by an agent that knows of
/// `X-Forwarded-Prefix`.
fn relocated(value: &HeaderValue, source: &Source<'_>) -> Option<HeaderValue> {
    let text = value.to_str().ok()?;
    let (before, path) = match text.split_once("//") {
        Some((scheme, rest))
            if scheme.is_empty() || scheme.strip_suffix(':').is_some_and(framing::is_http) =>
        {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let (authority, path) = rest.split_at_checked(end)?;
            let ours = source
                .host
                .is_some_and(|host| host.as_bytes().eq_ignore_ascii_case(authority.as_bytes()));
            if !ours {
                return None;
            }
            (text.get(..text.len() - path.len())?, path)
        }
        _ if text.starts_with('/') => ("", text),
        _ => return None,
    };
    if names_an_agent(path, source) {
        return None;
    }
    let slash = if path.starts_with('/') { "" } else { "/" };
    HeaderValue::try_from(format!("{before}/agent/{}{slash}{path}", source.agent)).ok()
}

fn names_an_agent(path: &str, source: &Source<'_>) -> bool {
    path.strip_prefix("/agent/").is_some_and(|below| {
        let name = below.split(['/', '?', '#']).next().unwrap_or(below);
        name == source.agent || (source.is_agent)(name)
    })
}

/// The cookie without `Domain` and with each `Path` below the agent's. Attributes are taken apart as browsers do
/// (RFC 6265 §5.2). Without a `Path` the browser takes the request's, which is below the agent's already.
fn confined(cookie: &HeaderValue, agent: &str) -> HeaderValue {
    let mut parts = cookie.as_bytes().split(|byte| *byte == b';');
    let mut text = parts.next().unwrap_or_default().to_vec();
    for part in parts {
        let (name, value) = match part.iter().position(|byte| *byte == b'=') {
            Some(at) => (
                part.get(..at).unwrap_or_default(),
                part.get(at + 1..).unwrap_or_default(),
            ),
            None => (part, &b""[..]),
        };
        let name = name.trim_ascii();
        if name.eq_ignore_ascii_case(b"domain") {
            continue;
        }
        text.push(b';');
        if !name.eq_ignore_ascii_case(b"path") {
            text.extend_from_slice(part);
            continue;
        }
        let path = value.trim_ascii();
        text.extend_from_slice(b" Path=");
        if !below(path, agent) {
            text.extend_from_slice(format!("/agent/{agent}").as_bytes());
        }
        text.extend_from_slice(if path.starts_with(b"/") { path } else { b"/" });
    }
    HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Whether a cookie's path is below the agent's already.
fn below(path: &[u8], agent: &str) -> bool {
    path.strip_prefix(b"/agent/")
        .and_then(|rest| rest.strip_prefix(agent.as_bytes()))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn source() -> Source<'static> {
        static HOST: HeaderValue = HeaderValue::from_static("box:8081");
        Source {
            agent: "users",
            host: Some(&HOST),
            is_agent: &|name| name == "auth",
        }
    }

    #[test]
    fn cookies_are_confined_to_their_agent() {
        for (given, expected) in [
            ("a=b", "a=b"),
            ("a=b; Path=/", "a=b; Path=/agent/users/"),
            ("a=b; path = /x ;Secure", "a=b; Path=/agent/users/x;Secure"),
            ("a=b; Path=/agent/users/x", "a=b; Path=/agent/users/x"),
            ("a=b; Path=/agent/users", "a=b; Path=/agent/users"),
            (
                "a=b; Path=/agent/usersx",
                "a=b; Path=/agent/users/agent/usersx",
            ),
            (
                "a=b; Path=/agent/auth/",
                "a=b; Path=/agent/users/agent/auth/",
            ),
            ("a=b; Path", "a=b; Path=/agent/users/"),
            ("a=b; Path=x", "a=b; Path=/agent/users/"),
            (
                "a=b; Path=/agent/users/; Path=/",
                "a=b; Path=/agent/users/; Path=/agent/users/",
            ),
            (
                "a=b; Domain=example.org; HttpOnly; SameSite=Lax",
                "a=b; HttpOnly; SameSite=Lax",
            ),
            ("a=b;DOMAIN=x;Max-Age=3", "a=b;Max-Age=3"),
        ] {
            let cookie = confined(&HeaderValue::from_static(given), "users");
            assert_eq!(cookie.to_str().unwrap(), expected, "{given}");
        }
    }

    #[test]
    fn law_4_a_cookie_of_an_origin_of_its_own_stays_there() {
        for (given, expected) in [
            ("a=b; Path=/; Secure", "a=b; Path=/; Secure"),
            ("domain=b; HttpOnly", "domain=b; HttpOnly"),
            ("a=b; Domain=example.org; Path=/x", "a=b; Path=/x"),
            ("a=b; domain = .Example.org", "a=b"),
            ("a=b; Domain", "a=b"),
            (
                "a=b; Domain=Users.example.org; Path=/",
                "a=b; Domain=Users.example.org; Path=/",
            ),
        ] {
            let cookie = narrowed(&HeaderValue::from_static(given), "users.example.org");
            assert_eq!(cookie.to_str().unwrap(), expected, "{given}");
        }
    }

    #[test]
    fn absolute_paths_get_the_prefix_back_and_all_else_stays() {
        for (given, expected) in [
            ("/x?y#z", Some("/agent/users/x?y#z")),
            ("/", Some("/agent/users/")),
            ("/agent/run", Some("/agent/users/agent/run")),
            ("/agent/users/x", None),
            ("/agent/auth/x", None),
            ("x/y", None),
            ("?page=2", None),
            ("../up", None),
            ("http://box:8081/x", Some("http://box:8081/agent/users/x")),
            ("https://BOX:8081", Some("https://BOX:8081/agent/users/")),
            ("http://box:8081?q", Some("http://box:8081/agent/users/?q")),
            ("//box:8081/x", Some("//box:8081/agent/users/x")),
            ("http://box:8081/agent/users/x", None),
            ("http://elsewhere/x", None),
            ("//elsewhere/x", None),
            ("mailto:a@b", None),
            ("app://box:8081/x", None),
            (
                "/x?next=http://box:8081/",
                Some("/agent/users/x?next=http://box:8081/"),
            ),
        ] {
            let moved = relocated(&HeaderValue::from_static(given), &source());
            assert_eq!(
                moved.as_ref().map(|value| value.to_str().unwrap()),
                expected,
                "{given}"
            );
        }
    }

    #[test]
    fn what_speaks_for_the_whole_origin_does_not_pass() {
        let mut headers = HeaderMap::new();
        for name in &ORIGIN_WIDE {
            headers.insert(name, HeaderValue::from_static("x"));
        }
        headers.insert("connection", HeaderValue::from_static("x-a"));
        headers.insert("x-a", HeaderValue::from_static("1"));
        headers.insert("etag", HeaderValue::from_static("1"));
        headers.append(SET_COOKIE, HeaderValue::from_static("a=1; Path=/"));
        headers.append(SET_COOKIE, HeaderValue::from_static("b=2"));
        rewrite(&mut headers, &source());
        assert_eq!(headers.len(), 3);
        assert_eq!(headers.get_all(SET_COOKIE).iter().count(), 2);
    }
}
