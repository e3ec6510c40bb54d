//! Heads of HTTP/1.1 on a connection to an agent: a request's written, an answer's read.

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
};
use http::{Method, Request, StatusCode, Version};
use hyper::ext::ReasonPhrase;

use super::broke::Broke;
use super::hop;

/// How many header fields an answer may have.
const FIELDS: usize = 100;

/// How long an answer's head may be, with what came behind it.
const LONGEST: usize = 400 * 1024;

/// A head has so many bytes at least when more memory is taken for it.
const USUAL: usize = 512;

/// Writes a request's head, whose body's length is among its fields already.
pub(super) fn write<B>(request: &Request<B>, into: &mut Vec<u8>) {
    into.reserve(USUAL);
    into.extend_from_slice(request.method().as_str().as_bytes());
    into.push(b' ');
    let target = request.uri().path_and_query();
    into.extend_from_slice(target.map_or("/", |target| target.as_str()).as_bytes());
    into.extend_from_slice(b" HTTP/1.1\r\n");
    write_fields(request.headers(), into);
    into.extend_from_slice(b"\r\n");
}

/// Writes header fields, each on its line.
pub(super) fn write_fields(fields: &HeaderMap, into: &mut Vec<u8>) {
    for (name, value) in fields {
        into.extend_from_slice(name.as_str().as_bytes());
        into.extend_from_slice(b": ");
        into.extend_from_slice(value.as_bytes());
        into.extend_from_slice(b"\r\n");
    }
}

/// How an answer's body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// After so many bytes.
    Known(u64),
    Chunked,
    /// With the connection.
    Close,
}

/// An answer's head but its fields.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) version: Version,
    /// When it is not the usual one.
    pub(super) reason: Option<ReasonPhrase>,
    pub(super) length: Length,
    /// Whether the connection can have another exchange after this one.
    pub(super) stays: bool,
}

/// Where in a head a field's name and its value begin and end.
type Place = [usize; 4];

/// Takes an answer's head from what was read, and past those that only inform; `None` while it has not all come. `tried` bytes were looked
/// at before, and `fields` are what is there before it and then the answer's.
///
/// # Errors
/// When it is none.
pub(super) fn read(
    bytes: &mut BytesMut,
    tried: &mut usize,
    method: &Method,
    fields: &mut HeaderMap,
) -> Result<Option<Head>, Broke> {
    loop {
        if *tried > 0 && !may_end(bytes, *tried) {
            return partial(bytes, tried);
        }
        let mut room = [const { MaybeUninit::uninit() }; FIELDS];
        let mut parsed = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        let length = match config.parse_response_with_uninit_headers(&mut parsed, bytes, &mut room)
        {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return partial(bytes, tried),
            Err(error) => return Err(Broke::Foreign(what(error))),
        };
        *tried = 0;
        let code = parsed.code.unwrap_or_default();
        let status = StatusCode::from_u16(code).map_err(|_| Broke::Foreign("no status"))?;
        if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
            let _ = bytes.split_to(length);
            if bytes.is_empty() {
                return Ok(None);
            }
            continue;
        }
        let reason = parsed
            .reason
            .filter(|reason| status.canonical_reason() != Some(*reason));
        let reason = reason.map(|reason| ReasonPhrase::try_from(reason.as_bytes()));
        let reason = reason
            .transpose()
            .map_err(|_| Broke::Foreign("no reason"))?;
        let version = match parsed.version {
            Some(1) => Version::HTTP_11,
            _ => Version::HTTP_10,
        };

        let mut places = [Place::default(); FIELDS];
        let count = parsed.headers.len();
        let begin = bytes.as_ptr().addr();
        for (place, field) in places.iter_mut().zip(&*parsed.headers) {
            let (name, value) = (field.name.as_bytes(), field.value);
            let (name_at, value_at) = (name.as_ptr().addr(), value.as_ptr().addr());
            let (name_at, value_at) = (name_at.wrapping_sub(begin), value_at.wrapping_sub(begin));
            *place = [
                name_at,
                name_at + name.len(),
                value_at,
                value_at + value.len(),
            ];
        }
        let head = bytes.split_to(length).freeze();
        fields.clear();
        for place in places.iter().take(count) {
            let (name, value) = field(&head, *place).ok_or(Broke::Foreign("no header field"))?;
            fields.append(name, value);
        }
        let length = length_of(status, version, method, fields).map_err(Broke::Foreign)?;
        let closes =
            fields.contains_key(CONNECTION) && hop::has_token(fields, &CONNECTION, "close");
        return Ok(Some(Head {
            stays: version == Version::HTTP_11
                && !closes
                && length != Length::Close
                && status != StatusCode::SWITCHING_PROTOCOLS,
            status,
            version,
            reason,
            length,
        }));
    }
}

fn field(
    head: &Bytes,
    [name, name_end, value, value_end]: Place,
) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::from_bytes(head.get(name..name_end)?).ok()?;
    let value = match value < value_end {
        true => HeaderValue::from_maybe_shared(head.slice(value..value_end)).ok()?,
        false => HeaderValue::from_static(""),
    };
    Some((name, value))
}

fn partial(bytes: &BytesMut, tried: &mut usize) -> Result<Option<Head>, Broke> {
    if bytes.len() >= LONGEST {
        return Err(Broke::Foreign("its head is too long"));
    }
    *tried = bytes.len();
    Ok(None)
}

/// Whether a head may end in what came behind the bytes that were tried.
fn may_end(bytes: &[u8], tried: usize) -> bool {
    let new = bytes.get(tried.saturating_sub(3)..).unwrap_or_default();
    new.windows(2).any(|two| two == b"\n\n") || new.windows(3).any(|three| three == b"\n\r\n")
}

const fn what(error: httparse::Error) -> &'static str {
    use httparse::Error;
    match error {
        Error::HeaderName => "no name of a header field",
        Error::HeaderValue => "no value of a header field",
        Error::NewLine => "no end of a line",
        Error::Status => "no status",
        Error::Token => "no token",
        Error::TooManyHeaders => "too many header fields",
        Error::Version => "another version",
    }
}

/// How an answer's body ends (RFC 9112 §6.3).
fn length_of(
    status: StatusCode,
    version: Version,
    method: &Method,
    fields: &HeaderMap,
) -> Result<Length, &'static str> {
    let bodiless = status == StatusCode::SWITCHING_PROTOCOLS
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
        || method == Method::HEAD;
    if bodiless {
        return Ok(Length::Known(0));
    }
    if fields.contains_key(TRANSFER_ENCODING) {
        return match (version, is_chunked(fields)) {
            (Version::HTTP_11, true) => Ok(Length::Chunked),
            (Version::HTTP_11, false) => Ok(Length::Close),
            _ => Err("a transfer coding in HTTP/1.0"),
        };
    }
    match content_length(fields) {
        Ok(Some(length)) if length > u64::MAX - 2 => Err("a Content-Length that is too large"),
        Ok(length) => Ok(length.map_or(Length::Close, Length::Known)),
        Err(odd) => Err(odd),
    }
}

/// Whether the last transfer coding is `chunked`.
pub(super) fn is_chunked(fields: &HeaderMap) -> bool {
    let last = fields.get_all(TRANSFER_ENCODING).into_iter().next_back();
    let last = last.and_then(|value| value.to_str().ok()?.rsplit(',').next());
    last.is_some_and(|coding| coding.trim().eq_ignore_ascii_case("chunked"))
}

/// What `Content-Length` says, once or several times the same.
///
/// # Errors
/// When it says anything else.
pub(super) fn content_length(fields: &HeaderMap) -> Result<Option<u64>, &'static str> {
    const ODD: &str = "a Content-Length that is none, or several";
    let mut length = None;
    for value in fields.get_all(CONTENT_LENGTH) {
        for one in value.to_str().map_err(|_| ODD)?.split(',') {
            let digits = one.trim();
            if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(ODD);
            }
            let one: u64 = digits.parse().map_err(|_| ODD)?;
            if length.is_some_and(|length| length != one) {
                return Err(ODD);
            }
            length = Some(one);
        }
    }
    Ok(length)
}
