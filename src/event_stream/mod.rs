//! Streams of server-sent events (WHATWG HTML, "Server-sent events"), cut into their events and put together again with ids of our
//! own. Pure.
//!
//! An event is kept byte for byte as its fields' lines, but for its line ends, which become line feeds, and its `id`, which goes into
//! ours. Comments are nobody's events and fall away.

mod place;

use std::mem;

use bytes::{Bytes, BytesMut};

pub use self::place::Place;

/// The byte order mark that a stream may begin with.
const MARK: &[u8] = b"\xef\xbb\xbf";
/// An agent's own id is passed on up to here: its client sends it back in a header field.
const LONGEST_ID: usize = 512;

/// One event of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Its lines but for `id`, each with a line feed at its end.
    Whole {
        /// Those lines.
        lines: Bytes,
        /// The id that the agent gave last, to this event or to one before it; may be empty.
        id: Bytes,
    },
    /// It was longer than may be.
    TooLong,
}

/// Cuts a stream into events, whatever pieces it comes in.
#[derive(Debug)]
pub struct Parser {
    /// No event is longer.
    longest: usize,
    line: BytesMut,
    lines: BytesMut,
    id: Bytes,
    /// The event has a field.
    some: bool,
    too_long: bool,
    /// The line feed behind it ends nothing more.
    after_return: bool,
    first_line: bool,
}

impl Parser {
    /// Of a stream from its beginning, with events of at most so many bytes.
    pub fn new(longest: usize) -> Self {
        Self {
            longest,
            line: BytesMut::new(),
            lines: BytesMut::new(),
            id: Bytes::new(),
            some: false,
            too_long: false,
            after_return: false,
            first_line: true,
        }
    }

    /// Takes the next piece, and gives the events that end in it. What has no empty line behind it at the stream's end is no event.
    pub fn push(&mut self, mut piece: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        if let (true, [first, rest @ ..]) = (self.after_return, piece) {
            self.after_return = false;
            if *first == b'\n' {
                piece = rest;
            }
        }
        while let Some(at) = piece.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
            let (head, tail) = piece.split_at(at);
            self.add(head);
            events.extend(self.end_line());
            piece = match tail {
                [b'\r', b'\n', rest @ ..] => rest,
                [b'\r'] => {
                    self.after_return = true;
                    &[]
                }
                [_, rest @ ..] => rest,
                [] => &[],
            };
        }
        self.add(piece);
        events
    }

    fn add(&mut self, part: &[u8]) {
        if self.line.len() + self.lines.len() + part.len() > self.longest {
            self.too_long = true;
            self.lines.clear();
        }
        // Of a line that is too long its beginning is kept: it may be a comment.
        let room = self.longest.saturating_sub(self.line.len());
        self.line
            .extend_from_slice(part.get(..room).unwrap_or(part));
    }

    fn end_line(&mut self) -> Option<Event> {
        let whole = self.line.split();
        let first = mem::replace(&mut self.first_line, false);
        let line = match whole.strip_prefix(MARK) {
            Some(rest) if first => rest,
            _ => &whole[..],
        };
        if line.is_empty() {
            return self.end_event();
        }
        let (name, value) = match line.iter().position(|byte| *byte == b':') {
            Some(0) => return self.end_comment(),
            Some(at) => {
                let (name, value) = line.split_at(at);
                let value = value.strip_prefix(b":").unwrap_or(value);
                (name, value.strip_prefix(b" ").unwrap_or(value))
            }
            None => (line, &b""[..]),
        };
        self.some = true;
        if name == b"id" {
            if !value.contains(&0) && value.len() <= LONGEST_ID {
                self.id = Bytes::copy_from_slice(value);
            }
        } else if !self.too_long && !line.starts_with(MARK) {
            // (A line with a mark before its name has no name that a client knows, and would have one at the head of a stream.)
            self.lines.extend_from_slice(line);
            self.lines.extend_from_slice(b"\n");
        }
        None
    }

    /// A comment makes nothing too long that was not so before.
    fn end_comment(&mut self) -> Option<Event> {
        if !self.some {
            self.too_long = false;
        }
        None
    }

    fn end_event(&mut self) -> Option<Event> {
        let lines = self.lines.split().freeze();
        let some = mem::take(&mut self.some);
        match mem::take(&mut self.too_long) {
            _ if !some => None,
            true => Some(Event::TooLong),
            false => Some(Event::Whole {
                lines,
                id: self.id.clone(),
            }),
        }
    }
}

/// An event as it is sent, with this id.
pub fn written(lines: &[u8], id: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(lines.len() + id.len() + 6);
    out.extend_from_slice(lines);
    out.extend_from_slice(b"id: ");
    out.extend_from_slice(id);
    out.extend_from_slice(b"\n\n");
    out.freeze()
}

/// An event of ours: its type and its data, which has no line ends.
pub fn ours(kind: &str, data: &str, id: &str) -> Bytes {
    written(
        format!("event: {kind}\ndata: {data}\n").as_bytes(),
        id.as_bytes(),
    )
}

#[cfg(test)]
#[path = "event_stream_tests.rs"]
mod tests;
