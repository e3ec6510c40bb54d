//! `${NAME}` in texts, filled in from the client's environment, as compose does it.
//!
//! `${NAME}`, `${NAME:-default}` (unset or empty), `${NAME-default}` (unset), `${NAME:?message}`, `${NAME?message}`,
//! `${NAME:+instead}`, `${NAME+instead}`; `$$` is a `$`. A bare `$NAME` stays as it is, for a shell in the container.

use std::ops::Range;

use super::Lookup;
use super::tree::{Entry, Kind, Node, Place};

/// Why a text cannot be filled in. Never holds a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unfilled {
    /// Where in the text, in bytes.
    pub(super) at: Range<usize>,
    pub(super) message: String,
    pub(super) help: String,
}

/// How deep defaults may be within defaults.
const MAX_DEPTH: usize = 16;

/// Fills in every text of a tree; plain ones get the type of what they became (`replicas: ${N}`).
pub(super) fn tree(
    node: &mut Node,
    source: &str,
    lookup: Lookup<'_>,
    wrong: &mut Vec<(Place, Unfilled)>,
) {
    match &mut node.kind {
        Kind::List(items) => {
            for item in items {
                tree(item, source, lookup, wrong);
            }
        }
        Kind::Map(entries) => {
            for Entry { value, .. } in entries {
                tree(value, source, lookup, wrong);
            }
        }
        Kind::Text if node.text.contains('$') => match expand(&node.text, lookup) {
            Ok(text) => {
                *node = Node::scalar(text, node.plain, node.place);
                // An empty value that was filled in is an empty text, not a missing one.
                if matches!(node.kind, Kind::Null) && node.text.is_empty() {
                    node.kind = Kind::Text;
                }
            }
            Err(unfilled) => {
                let place = within(node, source, &unfilled.at);
                wrong.push((place, unfilled));
            }
        },
        _ => {}
    }
}

/// The place of a part of a scalar; the scalar's own when escapes or lines make the two differ.
fn within(node: &Node, source: &str, at: &Range<usize>) -> Place {
    let place = node.place;
    let raw = source.get(place.start..place.end).unwrap_or_default();
    let before = match raw.find(&node.text) {
        Some(before) if !node.text.contains('\n') => before,
        _ => return place,
    };
    let start = place.start + before + at.start;
    let text = source.get(place.start..start).unwrap_or_default();
    Place {
        start,
        end: place.start + before + at.end,
        line: place.line,
        column: place.column + text.chars().count(),
    }
}

/// Fills in one text.
///
/// # Errors
/// The first part that cannot be filled in.
pub(super) fn expand(text: &str, lookup: Lookup<'_>) -> Result<String, Unfilled> {
    expand_at(text, 0, 0, lookup)
}

fn expand_at(
    text: &str,
    offset: usize,
    depth: usize,
    lookup: Lookup<'_>,
) -> Result<String, Unfilled> {
    let mut out = String::new();
    let mut rest = text;
    let mut at = offset;
    while let Some(dollar) = rest.find('$') {
        let (before, from) = rest.split_at(dollar);
        out.push_str(before);
        at += dollar;
        let taken = if from.starts_with("$$") {
            out.push('$');
            2
        } else if let Some(inner) = from.strip_prefix("${") {
            let fail = |length: usize, message: String, help: &str| Unfilled {
                at: at..at + length,
                message,
                help: help.to_owned(),
            };
            let end = closing(inner).filter(|_| depth < MAX_DEPTH);
            let Some((body, _)) = end.and_then(|end| inner.split_at_checked(end)) else {
                let message = "'${' without its '}'".to_owned();
                return Err(fail(2, message, "write $$ for a '$' that shall stay"));
            };
            let length = body.len() + 3;
            let name_end = body
                .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                .unwrap_or(body.len());
            let (name, operation) = body.split_at(name_end);
            if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
                let message = "'${' is not followed by a variable's name".to_owned();
                return Err(fail(
                    length,
                    message,
                    "write $${ for a '${' that shall stay",
                ));
            }
            let value = lookup(name);
            let (operator, word) = match operation.strip_prefix(':') {
                Some(rest) => (rest.get(..1), rest.get(1..)),
                None => (operation.get(..1), operation.get(1..)),
            };
            let or_empty = operation.starts_with(':');
            let value = value.filter(|value| !(or_empty && value.is_empty()));
            let word = word.unwrap_or_default();
            let word_at = at + 2 + (body.len() - word.len());
            let unset = || format!("the environment variable {name} is not set");
            match (operator, value) {
                (None, Some(value)) if !or_empty => out.push_str(&value),
                (Some("-" | "?"), Some(value)) => out.push_str(&value),
                (None, None) if !or_empty => {
                    let help = format!("set {name}, or write ${{{name}:-a default}}");
                    return Err(fail(length, unset(), &help));
                }
                (Some("-"), None) | (Some("+"), Some(_)) => {
                    out.push_str(&expand_at(word, word_at, depth + 1, lookup)?);
                }
                (Some("+"), None) => {}
                (Some("?"), None) => {
                    let help = if word.is_empty() {
                        format!("set {name}")
                    } else {
                        word.to_owned()
                    };
                    return Err(fail(length, unset(), &help));
                }
                _ => {
                    let message = format!("'${{{name}' is followed by something unknown");
                    let help = format!("write ${{{name}}} or ${{{name}:-a default}}");
                    return Err(fail(length, message, &help));
                }
            }
            length
        } else {
            out.push('$');
            1
        };
        rest = from.get(taken..).unwrap_or_default();
        at += taken;
    }
    out.push_str(rest);
    Ok(out)
}

/// Where the `}` is that ends what began with `${`.
fn closing(inner: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut before = ' ';
    for (at, c) in inner.char_indices() {
        match c {
            '{' if before == '$' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
        before = c;
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "A" => Some("alpha".to_owned()),
            "EMPTY" => Some(String::new()),
            "SECRET" => Some("hunter2".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn every_form_of_compose_is_filled_in() {
        for (text, expected) in [
            ("plain", "plain"),
            ("${A}", "alpha"),
            ("x${A}y${A}z", "xalphayalphaz"),
            ("${B:-beta}", "beta"),
            ("${B-beta}", "beta"),
            ("${EMPTY:-beta}", "beta"),
            ("${EMPTY-beta}", ""),
            ("${EMPTY}", ""),
            ("${B:-}", ""),
            ("${B:-${A}}", "alpha"),
            ("${B:-a}b}", "ab}"),
            ("${A:+set}", "set"),
            ("${B:+set}", ""),
            ("${A:?needed}", "alpha"),
            ("$$A $${A} $A $1 $", "$A ${A} $A $1 $"),
            ("100$", "100$"),
            ("ü${A}ü", "üalphaü"),
        ] {
            assert_eq!(expand(text, &lookup).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_filled_in_is_told_with_its_place() {
        for (text, at, part) in [
            ("ab${B}", 2..6, "B is not set"),
            ("${A", 0..2, "without its '}'"),
            ("${}", 0..3, "not followed by a variable's name"),
            ("${1A}", 0..5, "not followed by a variable's name"),
            ("${A!x}", 0..6, "something unknown"),
            ("${A:}", 0..5, "something unknown"),
            ("${B:?say so}", 0..12, "B is not set"),
            ("${X:-${B}}", 5..9, "B is not set"),
        ] {
            let unfilled = expand(text, &lookup).unwrap_err();
            assert_eq!(unfilled.at, at, "{text}");
            assert!(unfilled.message.contains(part), "{text}: {unfilled:?}");
        }
        assert!(expand(&"${A:-".repeat(10_000), &lookup).is_err());
        let deep = format!("{}{}", "${X:-".repeat(40), "}".repeat(40));
        assert!(expand(&deep, &lookup).is_err());
    }
}
