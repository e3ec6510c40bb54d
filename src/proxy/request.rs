//! A request's head as the agent gets it.
//!
//! Hop-by-hop fields go; who asked, for which host and under which prefix is told in `X-Forwarded-*` and `Forwarded`
//! (RFC 7239). What a client says there itself is believed only from this very machine (a TLS terminator of the operator's):
//! anybody else could claim to be anybody. A token of ours never reaches an agent, nor does an `X-Agentainer-*` field that
//! somebody outside made up. The `Host` stays the client's, so that links an agent makes lead back to us.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONNECTION, EXPECT, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue, TE,
    UPGRADE,
};

use super::hop;

/// Where a client wants to be told how its request ended; no agent's business.
pub(super) const CALLBACK_URL: HeaderName = HeaderName::from_static("x-callback-url");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(super) const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub(super) const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// Says whether a value of `Authorization` is a token of ours.
pub type IsOurToken = dyn Fn(&HeaderValue) -> bool + Send + Sync;

/// Who asks, and for whom.
pub(super) struct Origin<'a> {
    pub(super) agent: &'a str,
    /// Whether the agent is below `/agent/NAME` of an origin that all share.
    pub(super) prefixed: bool,
    pub(super) peer: SocketAddr,
    pub(super) tls: bool,
    /// The host that the client named.
    pub(super) host: Option<HeaderValue>,
    /// The protocol that it asks to change to.
    pub(super) upgrade: Option<HeaderValue>,
}

/// Makes a client's header fields the agent's.
pub(super) fn rewrite(headers: &mut HeaderMap, origin: &Origin<'_>, is_our_token: &IsOurToken) {
    let trailers = hop::has_any(headers, &[TE]) && hop::takes_trailers(headers);
    hop::strip(headers);
    strip_private(headers);
    if hop::has_any(headers, &[AUTHORIZATION, EXPECT]) {
        strip_tokens(headers, is_our_token);
        if headers
            .get(EXPECT)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
        {
            // Our own connection to the client answers it, when the agent's begins to take the body.
            headers.remove(EXPECT);
        }
    }
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
    if let Some(upgrade) = &origin.upgrade {
        headers.insert(UPGRADE, upgrade.clone());
        headers.append(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    if let Some(host) = &origin.host
        && headers.get(HOST) != Some(host)
    {
        headers.insert(HOST, host.clone());
    }
    forwarded(headers, origin);
}

fn strip_private(headers: &mut HeaderMap) {
    let private: Vec<HeaderName> = headers
        .keys()
        .filter(|name| is_private(name.as_str()))
        .cloned()
        .collect();
    for name in private {
        headers.remove(name);
    }
}

/// Whether a field is ours to set: `X-Agentainer-*`, and every spelling with underscores of a field that we set or that says how long the
/// message is, which a CGI-like agent (WSGI, say) could not tell from the real one.
fn is_private(name: &str) -> bool {
    if name.starts_with("x-agentainer-") || name == CALLBACK_URL.as_str() {
        return true;
    }
    if !name.contains('_') {
        return false;
    }
    let name = name.replace('_', "-");
    ["x-agentainer-", "x-forwarded-"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
        || [
            "x-request-id",
            "x-callback-url",
            "forwarded",
            "content-length",
            "transfer-encoding",
        ]
        .contains(&name.as_str())
}

fn strip_tokens(headers: &mut HeaderMap, is_our_token: &IsOurToken) {
    let ours = headers.get_all(AUTHORIZATION).iter().any(is_our_token);
    if ours {
        let kept: Vec<HeaderValue> = headers
            .get_all(AUTHORIZATION)
            .iter()
            .filter(|value| !is_our_token(value))
            .cloned()
            .collect();
        headers.remove(AUTHORIZATION);
        for value in kept {
            headers.append(AUTHORIZATION, value);
        }
    }
}

fn forwarded(headers: &mut HeaderMap, origin: &Origin<'_>) {
    let peer = origin.peer.ip().to_canonical();
    let proto = if origin.tls { "https" } else { "http" };
    let host = origin.host.as_ref().and_then(|host| host.to_str().ok());
    // Only a neighbour on this machine is believed; what nobody said need not be looked for one by one.
    let said = |name: &HeaderName| *name == FORWARDED || name.as_str().starts_with("x-forwarded-");
    let trusted = peer.is_loopback() && headers.keys().any(said);

    // All values are cut from one piece of memory.
    let mut text = String::with_capacity(128);
    let (quote, unquote) = match peer {
        IpAddr::V4(_) => ("", ""),
        IpAddr::V6(_) => ("\"[", "]\""),
    };
    text.push_str("for=");
    text.push_str(quote);
    let address = text.len();
    push_address(&mut text, peer);
    let address = address..text.len();
    text.push_str(unquote);
    text.push_str(";proto=");
    text.push_str(proto);
    if let Some(host) = host {
        // A host with a port or an IPv6 literal is no token (RFC 7239 §4); it never holds a quote or backslash.
        text.push_str(";host=\"");
        text.push_str(host);
        text.push('"');
    }
    let hop = 0..text.len();
    text.push_str("/agent/");
    text.push_str(origin.agent);
    let prefix = hop.end..text.len();
    let text = Bytes::from(text);

    add(headers, FORWARDED, text.slice(hop), trusted, ", ");
    add(headers, FORWARDED_FOR, text.slice(address), trusted, ", ");
    if origin.prefixed {
        add(headers, FORWARDED_PREFIX, text.slice(prefix), trusted, "");
    } else if !trusted {
        headers.remove(FORWARDED_PREFIX);
    }
    if !(trusted && headers.contains_key(FORWARDED_PROTO)) {
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static(proto));
    }
    if !(trusted && headers.contains_key(FORWARDED_HOST)) {
        match &origin.host {
            Some(host) => headers.insert(FORWARDED_HOST, host.clone()),
            None => headers.remove(FORWARDED_HOST),
        };
    }
}

/// The usual way of writing would take longer than all else here together.
fn push_address(text: &mut String, address: IpAddr) {
    match address {
        IpAddr::V4(ip) => {
            for (nth, octet) in ip.octets().into_iter().enumerate() {
                if nth > 0 {
                    text.push('.');
                }
                for (least, unit) in [(100, 100), (10, 10), (0, 1)] {
                    if octet >= least {
                        text.push(char::from(b'0' + octet / unit % 10));
                    }
                }
            }
        }
        IpAddr::V6(ip) => {
            let _ = write!(text, "{ip}");
        }
    }
}

/// Sets a field, behind what is there already when that is believed.
fn add(headers: &mut HeaderMap, name: HeaderName, ours: Bytes, trusted: bool, between: &str) {
    let mut text = String::new();
    if trusted {
        for value in headers
            .get_all(&name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .filter(|value| !value.is_empty())
        {
            text.push_str(value.trim_end_matches('/'));
            text.push_str(between);
        }
    }
    let value = if text.is_empty() {
        HeaderValue::from_maybe_shared(ours)
    } else {
        text.push_str(&String::from_utf8_lossy(&ours));
        HeaderValue::from_maybe_shared(Bytes::from(text))
    };
    if let Ok(value) = value {
        headers.insert(name, value);
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
