//! What a snippet may show: one line of a source, with every environment value in it replaced by `***` (law 7).

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::LazyLock;

use serde_json::Value;

use super::tree::{Entry, Kind, Node, Place};
use crate::agent::schema::Form;

/// Every field's name, of whatever form and depth.
static FIELDS: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let mut names = BTreeSet::new();
    for form in [Form::Agent, Form::Deployment, Form::List] {
        collect(form.schema(), &mut names);
    }
    names
});

fn collect(schema: &Value, names: &mut BTreeSet<String>) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::Object(properties)) = fields.get("properties") {
                names.extend(properties.keys().cloned());
            }
            fields.values().for_each(|value| collect(value, names));
        }
        Value::Array(items) => items.iter().for_each(|value| collect(value, names)),
        _ => {}
    }
}

/// The fields under which secrets stand, with what people call them by mistake.
const SECRET_FIELDS: [&str; 7] = [
    "env",
    "environment",
    "envs",
    "envvars",
    "variables",
    "secrets",
    "envfrom",
];

/// The places of all environment values of a document, in bytes.
pub(super) fn secrets(document: &Node, source: &str) -> Vec<Range<usize>> {
    let mut places = Vec::new();
    find(document, &mut places);
    let mut ranges: Vec<Range<usize>> = places
        .into_iter()
        .map(|place: Place| {
            // A block text goes on to the line behind it.
            let text = source.get(place.start..place.end).unwrap_or_default();
            place.start..place.start + text.trim_end().len()
        })
        .filter(|range| !range.is_empty())
        .collect();
    ranges.sort_by_key(|range| range.start);
    ranges
}

fn find(node: &Node, places: &mut Vec<Place>) {
    for item in node.items() {
        find(item, places);
    }
    for Entry { key, value, .. } in node.entries() {
        let name = key.to_lowercase().replace(['_', '-'], "");
        let build_arguments = name == "args" && matches!(value.kind, Kind::Map(_));
        // What a misspelt field holds was meant for another, which may be one of these.
        let unknown = !FIELDS.contains(key.as_str())
            && match value.kind {
                Kind::Map(_) => true,
                Kind::List(_) => SECRET_FIELDS
                    .iter()
                    .any(|field| strsim::damerau_levenshtein(&name, field) <= 2),
                _ => false,
            };
        if SECRET_FIELDS.contains(&name.as_str()) || build_arguments || unknown {
            value.scalars(places);
        } else {
            find(value, places);
        }
    }
}

/// A line that may be shown.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shown {
    /// Its text, without secrets.
    pub(super) text: String,
    /// What to point at, in bytes of `text`; not empty unless the line is.
    pub(super) caret: Range<usize>,
}

/// The line on which `at` begins. `secrets` are sorted by their start.
pub(super) fn line(source: &str, at: &Range<usize>, secrets: &[Range<usize>]) -> Shown {
    let (start, end) = line_of(source, at.start);
    let mut text = String::new();
    let mut caret = (None, None);
    let mut position = start;
    let mut hide_comment = false;
    let here = source.get(start..end).unwrap_or_default();
    let (from, to) = (at.start, at.end.clamp(at.start, end));
    let mut hidden = secrets
        .iter()
        .filter(|range| range.start < end && range.end > start)
        .peekable();
    while position < end {
        // Both ends of what is pointed at, in the text that is shown.
        if position >= from && caret.0.is_none() {
            caret.0 = Some(text.len());
        }
        if position >= to && caret.1.is_none() {
            caret.1 = Some(text.len());
        }
        while hidden.peek().is_some_and(|range| range.end <= position) {
            hidden.next();
        }
        if let Some(range) = hidden.peek()
            && range.start <= position
        {
            let shown = text.len();
            text.push_str("***");
            let behind = range.end.min(end);
            if (position..behind).contains(&from) {
                caret.0 = Some(shown);
            }
            if (position + 1..=behind).contains(&to) {
                caret.1 = Some(text.len());
            }
            position = behind;
            hide_comment = true;
            continue;
        }
        let Some(c) = source.get(position..).and_then(|rest| rest.chars().next()) else {
            break;
        };
        if hide_comment && c == '#' {
            text.push_str("# ***");
            break;
        }
        text.push(if c.is_control() { ' ' } else { c });
        position += c.len_utf8();
    }
    let length = text.len();
    let caret_start = caret.0.unwrap_or(length).min(length);
    let caret_end = caret.1.unwrap_or(length).clamp(caret_start, length);
    let caret = if caret_start < caret_end || here.is_empty() {
        caret_start..caret_end
    } else {
        widen(&text, caret_start)
    };
    Shown { text, caret }
}

/// One character at, or else before, a place.
fn widen(text: &str, at: usize) -> Range<usize> {
    if let Some(c) = text.get(at..).and_then(|rest| rest.chars().next()) {
        return at..at + c.len_utf8();
    }
    let last = text.char_indices().next_back().map_or(0, |(last, _)| last);
    last..text.len()
}

fn line_of(source: &str, at: usize) -> (usize, usize) {
    let at = at.min(source.len());
    let before = source.get(..at).unwrap_or(source);
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let rest = source.get(start..).unwrap_or_default();
    let line = rest.split('\n').next().unwrap_or_default();
    (start, start + line.strip_suffix('\r').unwrap_or(line).len())
}

/// The same for a text that is no YAML, where it is not known what is a value: only what surely is none is shown, a
/// line `key: value` that is not under `env` by its indentation, and of others the part before the first `:`.
pub(super) fn line_of_broken(source: &str, at: usize) -> Shown {
    let (start, end) = line_of(source, at);
    let text = source.get(start..end).unwrap_or_default();
    let open = source.get(..start).is_some_and(suspicious);
    let secret = if open || under_secret(source, start, text) || !simple(text) {
        let keep = match text.find(':') {
            Some(colon) if !open && key_like(text.get(..colon).unwrap_or_default()) => colon + 1,
            _ => text.len() - text.trim_start().len(),
        };
        start + keep..end
    } else {
        end..end
    };
    let secret = if source
        .get(secret.clone())
        .unwrap_or_default()
        .trim()
        .is_empty()
    {
        Vec::new()
    } else {
        let blanks = source
            .get(secret.clone())
            .map_or(0, |text| text.len() - text.trim_start().len());
        std::iter::once(secret.start + blanks..secret.end).collect()
    };
    line(source, &(at..at), &secret)
}

/// Whether a value may have been left open before: a quote that is not closed on its line, or a flow collection.
fn suspicious(before: &str) -> bool {
    before.lines().any(|line| {
        line.matches('"').count() % 2 == 1
            || line.matches('\'').count() % 2 == 1
            || line.contains(['{', '['])
            || line
                .trim_end()
                .trim_end_matches(|c: char| matches!(c, '-' | '+') || c.is_ascii_digit())
                .ends_with(['|', '>'])
    })
}

fn simple(line: &str) -> bool {
    let bare = line.trim_start().trim_start_matches("- ");
    let (key, value) = bare.split_once(':').unwrap_or((bare, ""));
    key_like(key) && !value.contains(['"', '\'', '{', '[', '|', '>', '&', '*', '!', '$'])
}

fn key_like(text: &str) -> bool {
    let key = text.trim().trim_start_matches("- ");
    !key.is_empty()
        && key.len() <= 63
        && key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'))
}

/// Whether a line stands under `env:` by its indentation.
fn under_secret(source: &str, start: usize, line: &str) -> bool {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let is_secret = |line: &str| {
        let key = line.trim_start().trim_start_matches("- ");
        let key = key.split(':').next().unwrap_or_default();
        let key = key.trim().to_lowercase().replace(['_', '-'], "");
        key == "args" || SECRET_FIELDS.contains(&key.as_str())
    };
    let mut least = indent(line);
    if is_secret(line) {
        return true;
    }
    for above in source.get(..start).unwrap_or_default().lines().rev() {
        if above.trim().is_empty() {
            continue;
        }
        // A list may stand as far left as its key.
        if indent(above) < least || (indent(above) == least && is_secret(above)) {
            least = indent(above);
            if is_secret(above) {
                return true;
            }
        }
    }
    false
}

#[cfg(test)]
#[path = "mask_tests.rs"]
mod tests;
