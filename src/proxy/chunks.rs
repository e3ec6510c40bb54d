//! A body in chunks, taken apart (RFC 9112 §7.1): as strictly as hyper does it, so that nothing has two readings.

use bytes::{Buf as _, Bytes, BytesMut};
use http::header::{HeaderMap, HeaderName, HeaderValue};

/// The most bytes of extensions, which say nothing to us, and of trailers in one body.
const ASIDE: usize = 16 * 1024;

/// The most trailer fields.
const FIELDS: usize = 100;

/// Where in the body the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    FurtherSize,
    /// Blanks behind a size.
    Blank,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// At the beginning of a line behind the last chunk.
    Line,
    Trailer,
    TrailerLf,
    EndLf,
    End,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Chunks {
    state: State,
    /// Of the present chunk.
    left: u64,
    extensions: usize,
    trailers: Vec<u8>,
    fields: usize,
}

/// What there is next.
#[derive(Debug)]
pub(super) enum Step {
    Data(Bytes),
    Trailers(HeaderMap),
    End,
    /// Nothing before more bytes come.
    More,
}

impl Chunks {
    pub(super) const fn new() -> Self {
        Self {
            state: State::Size,
            left: 0,
            extensions: 0,
            trailers: Vec::new(),
            fields: 0,
        }
    }

    /// Takes the next piece from what was read.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn step(&mut self, read: &mut BytesMut) -> Result<Step, &'static str> {
        let mut used = 0;
        while !matches!(self.state, State::Data | State::End) {
            let Some(byte) = read.get(used) else {
                read.clear();
                return Ok(Step::More);
            };
            used += 1;
            self.state = self.next(*byte)?;
        }
        read.advance(used);
        if self.state == State::End {
            return match self.trailers.is_empty() {
                true => Ok(Step::End),
                false => {
                    fields(&std::mem::take(&mut self.trailers), self.fields).map(Step::Trailers)
                }
            };
        }
        if read.is_empty() {
            return Ok(Step::More);
        }
        let count = usize::try_from(self.left).map_or(read.len(), |left| left.min(read.len()));
        self.left -= count as u64;
        if self.left == 0 {
            self.state = State::DataCr;
        }
        Ok(Step::Data(read.split_to(count).freeze()))
    }

    fn next(&mut self, byte: u8) -> Result<State, &'static str> {
        Ok(match (self.state, byte) {
            (State::Size | State::FurtherSize, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                let left = self
                    .left
                    .checked_mul(16)
                    .map(|left| left | u64::from(digit));
                self.left = left.ok_or("a chunk's size is too large")?;
                State::FurtherSize
            }
            (State::Size, _) => return Err("a chunk has no size"),
            (State::FurtherSize | State::Blank, b'\t' | b' ') => State::Blank,
            (State::FurtherSize | State::Blank, b';') => State::Extension,
            (State::FurtherSize | State::Blank | State::Extension, b'\r') => State::SizeLf,
            (State::FurtherSize | State::Blank, _) => return Err("a chunk's size is no number"),
            (State::Extension, b'\n') => return Err("a line feed in a chunk's extension"),
            (State::Extension, _) => {
                self.extensions += 1;
                if self.extensions >= ASIDE {
                    return Err("too many chunk extensions");
                }
                State::Extension
            }
            (State::SizeLf, b'\n') if self.left == 0 => State::Line,
            (State::SizeLf, b'\n') => State::Data,
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size,
            (State::Line, b'\r') => {
                if !self.trailers.is_empty() {
                    self.aside(byte)?;
                }
                State::EndLf
            }
            (State::Line | State::Trailer, _) => {
                self.aside(byte)?;
                match (self.state, byte) {
                    (State::Trailer, b'\r') => State::TrailerLf,
                    _ => State::Trailer,
                }
            }
            (State::TrailerLf, b'\n') => {
                if self.fields >= FIELDS {
                    return Err("too many trailers");
                }
                self.fields += 1;
                self.aside(byte)?;
                State::Line
            }
            (State::EndLf, b'\n') => {
                if !self.trailers.is_empty() {
                    self.aside(byte)?;
                }
                State::End
            }
            _ => return Err("a line in a chunked body does not end as one"),
        })
    }

    /// Keeps a byte of the trailers.
    fn aside(&mut self, byte: u8) -> Result<(), &'static str> {
        self.trailers.push(byte);
        match self.trailers.len() < ASIDE {
            true => Ok(()),
            false => Err("the trailers are too long"),
        }
    }
}

fn fields(text: &[u8], count: usize) -> Result<HeaderMap, &'static str> {
    const ODD: &str = "the trailers are no header fields";
    let mut found = vec![httparse::EMPTY_HEADER; count];
    let Ok(httparse::Status::Complete((_, found))) = httparse::parse_headers(text, &mut found)
    else {
        return Err(ODD);
    };
    let mut fields = HeaderMap::with_capacity(found.len());
    for field in found {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let value = HeaderValue::from_bytes(field.value);
        fields.append(name.map_err(|_| ODD)?, value.map_err(|_| ODD)?);
    }
    Ok(fields)
}
