//! A YAML document as a tree in which every key and value knows its place in the text.

use serde_json::{Map, Number, Value};

use super::super::{FieldPath, Step};
use super::scalar::infer;

/// A place in a source: bytes, and line and column (in characters) from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The first byte.
    pub start: usize,
    /// Behind the last byte.
    pub end: usize,
    /// The line of the first byte.
    pub line: usize,
    /// Its column.
    pub column: usize,
}

/// What a node is.
#[derive(Clone, PartialEq)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    Number(Number),
    Text,
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A value with its place. Values may be secrets, so there is no `Debug`.
#[derive(Clone, PartialEq)]
pub(super) struct Node {
    pub(super) kind: Kind,
    /// A scalar's text as written, quotes and escapes undone.
    pub(super) text: String,
    /// Whether a scalar was written without quotes, so that its type is inferred.
    pub(super) plain: bool,
    pub(super) place: Place,
    /// Nodes in it, itself included.
    pub(super) size: usize,
    /// Levels in it, itself included.
    pub(super) depth: usize,
}

/// A field of a map.
#[derive(Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_place: Place,
    pub(super) value: Node,
}

impl Node {
    /// A scalar; the type of a plain one is inferred.
    pub(super) fn scalar(text: String, plain: bool, place: Place) -> Self {
        let kind = if plain { infer(&text) } else { Kind::Text };
        Self {
            kind,
            text,
            plain,
            place,
            size: 1,
            depth: 1,
        }
    }

    /// A list.
    pub(super) fn list(items: Vec<Self>, place: Place) -> Self {
        let size = items.iter().map(|item| item.size).sum::<usize>() + 1;
        let depth = items.iter().map(|item| item.depth).max().unwrap_or(0) + 1;
        Self {
            kind: Kind::List(items),
            text: String::new(),
            plain: false,
            place,
            size,
            depth,
        }
    }

    /// A map.
    pub(super) fn map(entries: Vec<Entry>, place: Place) -> Self {
        let values = || entries.iter().map(|entry| &entry.value);
        let size = values().map(|value| value.size + 1).sum::<usize>() + 1;
        let depth = values().map(|value| value.depth).max().unwrap_or(0) + 1;
        Self {
            kind: Kind::Map(entries),
            text: String::new(),
            plain: false,
            place,
            size,
            depth,
        }
    }

    /// A field of a map.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|entry| &entry.value)
    }

    fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// The fields of a map; none of anything else.
    pub(super) fn entries(&self) -> &[Entry] {
        match &self.kind {
            Kind::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; none of anything else.
    pub(super) fn items(&self) -> &[Self] {
        match &self.kind {
            Kind::List(items) => items,
            _ => &[],
        }
    }

    /// A text's text.
    pub(super) fn as_text(&self) -> Option<&str> {
        matches!(self.kind, Kind::Text).then_some(self.text.as_str())
    }

    /// The node at a path, if it is there.
    pub(super) fn at(&self, path: &FieldPath) -> Option<&Self> {
        path.0.iter().try_fold(self, |node, step| match step {
            Step::Key(key) => node.get(key),
            Step::Index(index) => node.items().get(*index),
        })
    }

    /// The place of a path: of its key when asked for, else of its value; of the nearest thing around it when it is
    /// not there.
    pub(super) fn locate(&self, path: &FieldPath, key: bool) -> Place {
        let mut node = self;
        let mut place = self.first_place();
        let mut steps = path.0.iter().peekable();
        while let Some(step) = steps.next() {
            let next = match step {
                Step::Index(index) => node.items().get(*index),
                Step::Key(name) => match node.entry(name) {
                    Some(entry) => {
                        if key && steps.peek().is_none() || matches!(entry.value.kind, Kind::Null) {
                            return entry.key_place;
                        }
                        // A map or list of many lines is best pointed at by its key.
                        place = match entry.value.kind {
                            Kind::Map(_) | Kind::List(_) => entry.key_place,
                            _ => entry.value.place,
                        };
                        Some(&entry.value)
                    }
                    None => None,
                },
            };
            let Some(next) = next else {
                return place;
            };
            if matches!(step, Step::Index(_)) {
                place = next.first_place();
            }
            node = next;
        }
        place
    }

    /// The path of the innermost field around a byte.
    pub(super) fn path_of(&self, byte: usize) -> FieldPath {
        let holds = |place: Place| place.start <= byte && byte < place.end;
        for (index, item) in self.items().iter().enumerate() {
            if holds(item.place) {
                return FieldPath::root().index(index).join(&item.path_of(byte));
            }
        }
        for entry in self.entries() {
            if holds(entry.key_place) || holds(entry.value.place) {
                return FieldPath::root()
                    .key(&entry.key)
                    .join(&entry.value.path_of(byte));
            }
        }
        FieldPath::root()
    }

    /// Where a reader sees it begin: a map's first key, else itself.
    fn first_place(&self) -> Place {
        self.entries()
            .first()
            .map_or(self.place, |entry| entry.key_place)
    }

    /// As JSON. Fields without a value are left out, since they name nothing, but for environment variables, where an
    /// empty one is a mistake.
    pub(super) fn to_json(&self) -> Value {
        self.json(false)
    }

    fn json(&self, keep_nulls: bool) -> Value {
        match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(value) => Value::Bool(*value),
            Kind::Number(number) => Value::Number(number.clone()),
            Kind::Text => Value::String(self.text.clone()),
            Kind::List(items) => {
                Value::Array(items.iter().map(|item| item.json(keep_nulls)).collect())
            }
            Kind::Map(entries) => Value::Object(
                entries
                    .iter()
                    .filter(|entry| keep_nulls || !matches!(entry.value.kind, Kind::Null))
                    .map(|entry| {
                        let keep = entry.key == "env";
                        (entry.key.clone(), entry.value.json(keep))
                    })
                    .collect::<Map<_, _>>(),
            ),
        }
    }

    /// As the text of an environment value: scalars as they were written, a list joined with commas, a map as compact
    /// JSON.
    pub(super) fn to_env_text(&self) -> String {
        match &self.kind {
            Kind::List(items) => items
                .iter()
                .map(Self::to_env_text)
                .collect::<Vec<_>>()
                .join(","),
            Kind::Map(_) => self.json(true).to_string(),
            _ => self.text.clone(),
        }
    }

    /// The places of all scalars in it.
    pub(super) fn scalars(&self, places: &mut Vec<Place>) {
        match &self.kind {
            Kind::List(items) => items.iter().for_each(|item| item.scalars(places)),
            Kind::Map(entries) => entries.iter().for_each(|entry| entry.value.scalars(places)),
            _ => places.push(self.place),
        }
    }
}
