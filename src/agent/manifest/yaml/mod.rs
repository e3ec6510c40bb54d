//! The one place that knows the YAML engine: text → located trees.
//!
//! The engine is the parser of serde-saphyr (imported as `serde_yaml`), driven by its events: they carry the place of
//! every key and value, keep a scalar's text as written (`1.10` stays `1.10`), and let what comes before a syntax
//! error be checked all the same.

mod builder;

use serde_yaml::granit_parser::{self, Parser, Span};

use self::builder::{Builder, fatal};
use super::tree::{Node, Place};

/// The largest input, in bytes.
pub(super) const MAX_BYTES: usize = 4 << 20;
/// The deepest nesting.
const MAX_DEPTH: usize = 64;
/// The most keys and values in one stream, copies by aliases included.
const MAX_NODES: usize = 50_000;
/// The most documents in one stream.
const MAX_DOCUMENTS: usize = 1024;

/// What a stream holds.
#[derive(Default)]
pub(super) struct Stream {
    /// Its documents, those before a syntax error included.
    pub(super) documents: Vec<Node>,
    /// Values that are in no document, since their key was given twice or is none.
    pub(super) dropped: Vec<Place>,
    /// What is wrong with its YAML.
    pub(super) errors: Vec<Wrong>,
}

/// An error in YAML itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) place: Place,
    pub(super) message: String,
    /// The text could not be read beyond this place, so that it is not known what the text there is.
    pub(super) fatal: bool,
}

/// Parses a stream of documents.
pub(super) fn parse(text: &str) -> Stream {
    let mut builder = Builder::default();
    let mut options = granit_parser::options! {
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    options.set_emit_comments(false);
    let mut parser = Parser::new_from_str_with_options(text, options);
    while let Some(next) = parser.next_event() {
        let result = match next {
            Ok((event, span)) => builder.event(event, place(text, span)),
            Err(error) => {
                let message = readable(&error);
                let place = place_of(text, error.marker(), message == TAB);
                Err(fatal(place, message))
            }
        };
        if let Err(wrong) = result {
            builder.stream.errors.push(wrong);
            break;
        }
    }
    builder.stream
}

fn readable(error: &granit_parser::ScanError) -> String {
    use granit_parser::ErrorKind;
    match error.kind() {
        ErrorKind::RecursionLimitExceeded => format!("nested deeper than {MAX_DEPTH} levels"),
        kind if format!("{kind:?}").starts_with("Tab") => TAB.to_owned(),
        ErrorKind::UnknownAnchor => "an alias of an anchor that is not there".to_owned(),
        _ => error.info(),
    }
}

const TAB: &str = "a tab where YAML wants blanks: indent with spaces";

/// The place of an error; of the next tab, when that is the error and the parser saw it late.
fn place_of(text: &str, marker: &granit_parser::Marker, tab: bool) -> Place {
    let start = marker.byte_offset().unwrap_or(0).min(text.len());
    let mut place = Place {
        start,
        end: start,
        line: marker.line(),
        column: marker.col() + 1,
    };
    let next = text.get(start..).and_then(|rest| rest.find('\t'));
    if let (true, Some(next)) = (tab, next)
        && let Some(between) = text.get(start..start + next)
    {
        place.start += next;
        place.end = place.start;
        place.line += between.matches('\n').count();
        place.column = match between.rsplit_once('\n') {
            Some((_, line)) => line.chars().count() + 1,
            None => place.column + between.chars().count(),
        };
    }
    place
}

fn place(text: &str, span: Span) -> Place {
    let start = span.start.byte_offset().unwrap_or(0).min(text.len());
    let end = span.end.byte_offset().unwrap_or(start);
    Place {
        start,
        end: end.clamp(start, text.len()),
        line: span.start.line(),
        column: span.start.col() + 1,
    }
}

#[cfg(test)]
mod tests;
