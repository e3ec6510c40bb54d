//! A request's own names: `X-Request-Id` and W3C Trace Context's `traceparent`.

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::chance::Chance;
use super::hop;

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(super) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
static OF_A_TRACE: [HeaderName; 2] = [TRACEPARENT, TRACESTATE];

/// Keeps the client's request id when it is one line of plain characters, else sets a new one; gives it.
pub(super) fn request_id(headers: &mut HeaderMap, chance: &Chance) -> Option<HeaderValue> {
    let mut given = headers.get_all(&REQUEST_ID).into_iter();
    if let (Some(id), None) = (given.next(), given.next())
        && sane(id.as_bytes())
    {
        return Some(id.clone());
    }
    let uuid = uuid::Builder::from_random_bytes(chance.wide().to_be_bytes()).into_uuid();
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    let id = HeaderValue::from_str(uuid.as_hyphenated().encode_lower(&mut text)).ok()?;
    headers.insert(REQUEST_ID, id.clone());
    Some(id)
}

fn sane(id: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(byte);
    (1..=128).contains(&id.len()) && id.iter().all(plain)
}

/// What a `traceparent` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Context {
    pub(super) trace: u128,
    /// Whose message it is.
    pub(super) span: u64,
    /// Whether who sent it tells of it.
    pub(super) sampled: bool,
}

impl Context {
    /// The one that header fields give; `None` when it is not valid.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut given = headers.get_all(&TRACEPARENT).into_iter();
        let (Some(parent), None) = (given.next(), given.next()) else {
            return None;
        };
        let parts = parts(parent.as_bytes())?;
        let [trace, span, flags] = parts.map(|part| std::str::from_utf8(part).unwrap_or_default());
        Some(Self {
            trace: u128::from_str_radix(trace, 16).ok()?,
            span: u64::from_str_radix(span, 16).ok()?,
            sampled: u8::from_str_radix(flags, 16).ok()? & 1 == 1,
        })
    }

    /// As a value of version 00.
    pub(super) fn text(&self) -> [u8; 55] {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(&self.trace.to_be_bytes(), text.iter_mut().skip(3));
        write_hex(&self.span.to_be_bytes(), text.iter_mut().skip(36));
        write_hex(&[u8::from(self.sampled)], text.iter_mut().skip(53));
        text
    }
}

/// Passes a valid trace context on as it came (where no span of our own is told, changing the parent would cut the trace); else
/// begins a trace, marked as recorded, since agents that follow their parent would otherwise record nothing.
pub(super) fn trace_context(headers: &mut HeaderMap, chance: &Chance) {
    if hop::has_any(headers, &OF_A_TRACE) {
        let mut given = headers.get_all(&TRACEPARENT).into_iter();
        if let (Some(parent), None) = (given.next(), given.next())
            && parts(parent.as_bytes()).is_some()
        {
            return;
        }
        headers.remove(&TRACESTATE);
    }
    let begun = Context {
        trace: chance.wide() | 1,
        span: chance.next() | 1,
        sampled: true,
    };
    match HeaderValue::from_bytes(&begun.text()) {
        Ok(value) => headers.insert(TRACEPARENT, value),
        Err(_) => headers.remove(&TRACEPARENT),
    };
}

fn write_hex<'a>(bytes: &[u8], places: impl Iterator<Item = &'a mut u8>) {
    let digit = |half: u8| half + if half < 10 { b'0' } else { b'a' - 10 };
    let digits = bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]);
    for (place, digit) in places.zip(digits) {
        *place = digit;
    }
}

/// Trace, span and flags of a `traceparent` (W3C Trace Context §3.2.2): any version but ff, nothing all zero, version 00 of exact
/// length.
fn parts(parent: &[u8]) -> Option<[&[u8]; 3]> {
    let mut parts = parent.splitn(5, |byte| *byte == b'-');
    let mut part = |length: usize| {
        let part = parts.next()?;
        let hex = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
        (part.len() == length && part.iter().all(hex)).then_some(part)
    };
    let (version, trace, span, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
    let zero = |part: &[u8]| part.iter().all(|byte| *byte == b'0');
    let valid =
        version != b"ff" && !zero(trace) && !zero(span) && (version != b"00" || parent.len() == 55);
    valid.then_some([trace, span, flags])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn with(name: &HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name.clone(), HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn a_sane_request_id_is_kept_and_any_other_replaced() {
        let long = "x".repeat(129);
        for (given, kept) in [
            ("abc-1:2/3", true),
            ("", false),
            ("a b", false),
            ("a\"b", false),
            (&long, false),
        ] {
            let mut headers = with(&REQUEST_ID, given);
            let id = request_id(&mut headers, &Chance::new(1)).unwrap();
            assert_eq!(id == given, kept, "{given}");
            assert_eq!(headers.get(&REQUEST_ID), Some(&id));
            assert!(kept || uuid::Uuid::parse_str(id.to_str().unwrap()).is_ok());
        }
    }

    #[test]
    fn a_trace_context_is_read_as_it_is_written() {
        for text in [
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-0000000000000000000000000000000a-f0f067aa0ba902b7-00",
        ] {
            let read = Context::of(&with(&TRACEPARENT, text)).unwrap();
            assert_eq!(read.text(), text.as_bytes());
        }
        let further = "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03-x";
        assert!(Context::of(&with(&TRACEPARENT, further)).unwrap().sampled);
        assert_eq!(Context::of(&with(&TRACEPARENT, "00-x")), None);
        let mut two = with(&TRACEPARENT, further);
        two.append(&TRACEPARENT, HeaderValue::from_static("x"));
        assert_eq!(Context::of(&two), None);
    }

    #[test]
    fn a_valid_trace_is_continued_and_any_other_begun_anew() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
        for (given, kept) in [
            (good, true),
            (
                "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
                true,
            ),
            (
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
                false,
            ),
            (
                "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                false,
            ),
            (
                "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
                false,
            ),
            (
                "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
                false,
            ),
            (
                "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
                false,
            ),
            ("nonsense", false),
        ] {
            let mut headers = with(&TRACEPARENT, given);
            headers.insert(TRACESTATE, HeaderValue::from_static("a=b"));
            trace_context(&mut headers, &Chance::new(1));
            let now = headers.get(&TRACEPARENT).unwrap();
            assert_eq!(
                (now == given, headers.contains_key(&TRACESTATE)),
                (kept, kept),
                "{given}"
            );
            assert!(parts(now.as_bytes()).is_some(), "{now:?}");
        }
    }
}
