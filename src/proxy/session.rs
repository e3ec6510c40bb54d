//! What a client's session is recognised by, for `balance: hash`: a header field or a cookie that the spec names.
//!
//! A name that the client made is hashed, so each session has one instance. A name that an instance made has to lead back to that very one,
//! which no hash does: so the name goes out to the client with a tag that says whose it is, and comes back to the agent without (HAProxy does so
//! with `cookie … prefix`). Nothing is remembered for it, so it holds on every server and after each restart of ours. An echo of the client's own
//! name goes back as it came.

use http::HeaderMap;
use http::header::{COOKIE, HeaderName, HeaderValue, SET_COOKIE};

use crate::agent::spec::{Balance, Proxy, Session};
use crate::endpoints::Endpoint;

/// How a tag begins; then whose it is (8 digits), and what it and the name add up to (4).
const MARK: &[u8] = b"~a";
const TAG: usize = MARK.len() + 12;

/// The session of a request.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// What is hashed; `None` when it belongs to none.
    pub(super) key: Option<u64>,
    /// Which instance made it, if one did.
    pub(super) home: Option<u32>,
    /// For its answer.
    pub(super) stick: Option<Stick>,
}

/// What has to be told of sessions in an answer.
#[derive(Debug)]
pub(super) struct Stick {
    header: Option<HeaderName>,
    cookie: Option<String>,
    /// The name as the agent got it, and as the client sent it.
    given: Option<(Vec<u8>, Vec<u8>)>,
}

/// Finds a request's session, and takes the tag off its name.
pub(super) fn take(headers: &mut HeaderMap, spec: &Proxy) -> Taken {
    let Some(Session { header, cookie }) = &spec.session else {
        return Taken::default();
    };
    if spec.balance != Some(Balance::Hash) {
        return Taken::default();
    }
    let header = header.as_deref().filter(|name| !name.is_empty());
    let header = header.and_then(|name| HeaderName::try_from(name).ok());
    let cookie = cookie.as_deref().filter(|name| !name.is_empty());
    let given = of_header(headers, header.as_ref());
    let given = given.or_else(|| cookie.and_then(|name| of_cookie(headers, name.as_bytes())));
    let home = given.as_ref().and_then(|(_, _, home)| *home);
    let given = given.map(|(bare, whole, _)| (bare, whole));
    Taken {
        key: given.as_ref().map(|(bare, _)| hash(bare)),
        home,
        stick: Some(Stick {
            header,
            cookie: cookie.map(str::to_owned),
            given,
        }),
    }
}

/// The name as the agent gets it, as it came, and whose it is.
type Given = (Vec<u8>, Vec<u8>, Option<u32>);

fn of_header(headers: &mut HeaderMap, name: Option<&HeaderName>) -> Option<Given> {
    let value = headers.get_mut(name?)?;
    let whole = value.as_bytes().to_vec();
    let (bare, home) = untagged(&whole);
    if home.is_some() {
        *value = HeaderValue::from_bytes(bare).ok()?;
    }
    (!bare.is_empty()).then(|| (bare.to_vec(), whole.clone(), home))
}

fn of_cookie(headers: &mut HeaderMap, name: &[u8]) -> Option<Given> {
    let mut lines: Vec<HeaderValue> = headers.get_all(COOKIE).iter().cloned().collect();
    let mut found = None;
    for line in &mut lines {
        let Some(whole) = cookie(line.as_bytes(), name) else {
            continue;
        };
        let whole = whole.to_vec();
        let (bare, home) = untagged(&whole);
        if home.is_some() {
            let pairs = line.as_bytes().split(|byte| *byte == b';').map(|pair| {
                let ours = cookie(pair, name).is_some_and(|value| value == whole);
                let end = pair.trim_ascii_end().len();
                match pair.get(..end.saturating_sub(TAG)) {
                    Some(before) if ours => before,
                    _ => pair,
                }
            });
            let without = pairs.collect::<Vec<_>>().join(&b';');
            *line = HeaderValue::from_bytes(&without).ok()?;
        }
        if !bare.is_empty() {
            found = Some((bare.to_vec(), whole.clone(), home));
        }
        break;
    }
    if found.as_ref().is_some_and(|(_, _, home)| home.is_some()) {
        headers.remove(COOKIE);
        for line in lines {
            headers.append(COOKIE, line);
        }
    }
    found
}

impl Stick {
    /// Says in an answer whose the session is that an instance made.
    pub(super) fn tell(&self, headers: &mut HeaderMap, endpoint: &Endpoint) {
        if let Some(value) = self.header.as_ref().and_then(|name| headers.get_mut(name))
            && let Ok(told) = HeaderValue::from_bytes(&self.told(value.as_bytes(), endpoint))
        {
            *value = told;
        }
        let Some(name) = self.cookie.as_deref().map(str::as_bytes) else {
            return;
        };
        if !headers.contains_key(SET_COOKIE) {
            return;
        }
        let lines: Vec<HeaderValue> = headers.get_all(SET_COOKIE).iter().cloned().collect();
        headers.remove(SET_COOKIE);
        for line in lines {
            let text = line.as_bytes();
            let end = text.iter().position(|byte| *byte == b';');
            let (pair, rest) = text
                .split_at_checked(end.unwrap_or(text.len()))
                .unwrap_or((text, b""));
            // One between quotation marks stays as it is: its hash has to do.
            let value = cookie(pair, name).filter(|value| !value.starts_with(b"\""));
            let told = value.and_then(|value| {
                let told = self.told(value, endpoint);
                HeaderValue::from_bytes(&[name, b"=", &told, rest].concat()).ok()
            });
            headers.append(SET_COOKIE, told.unwrap_or(line));
        }
    }

    /// A session's name as the client gets it.
    fn told(&self, name: &[u8], endpoint: &Endpoint) -> Vec<u8> {
        match &self.given {
            _ if name.is_empty() => Vec::new(),
            Some((bare, whole)) if bare == name => whole.clone(),
            _ => tagged(name, instance(endpoint)),
        }
    }
}

/// An instance in a tag.
pub(super) fn instance(endpoint: &Endpoint) -> u32 {
    (hash(endpoint.container.0.as_bytes()) >> 32) as u32
}

fn tagged(name: &[u8], instance: u32) -> Vec<u8> {
    let tag = format!("{instance:08x}{:04x}", check(name, instance));
    [name, MARK, tag.as_bytes()].concat()
}

const fn check_of(hash: u64, instance: u32) -> u16 {
    (mix(hash ^ instance as u64) & 0xffff) as u16
}

fn check(name: &[u8], instance: u32) -> u16 {
    check_of(hash(name), instance)
}

/// A name without its tag, and whose it is. What only looks like a tag is the name's own.
fn untagged(whole: &[u8]) -> (&[u8], Option<u32>) {
    let parts = || {
        let (name, tag) = whole.split_at_checked(whole.len().checked_sub(TAG)?)?;
        let digits = std::str::from_utf8(tag.strip_prefix(MARK)?).ok()?;
        let instance = u32::from_str_radix(digits.get(..8)?, 16).ok()?;
        (tagged(name, instance) == whole).then_some((name, Some(instance)))
    };
    parts().unwrap_or((whole, None))
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
#[path = "session_tests.rs"]
mod tests;
