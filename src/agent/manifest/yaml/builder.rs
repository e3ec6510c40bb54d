//! Events → located trees: keys and values, aliases, merge keys, tags, and the limits on all of them.

use std::collections::BTreeMap;

use serde_yaml::granit_parser::{Event, ScalarStyle, Tag};

use super::super::tree::{Entry, Kind, Node, Place};
use super::{MAX_DEPTH, MAX_DOCUMENTS, MAX_NODES, Stream, Wrong};
use crate::agent::check;

/// A collection that is being read.
enum Open {
    List {
        items: Vec<Node>,
        place: Place,
        anchor: usize,
    },
    Map {
        entries: Vec<Entry>,
        key: Option<Key>,
        merged: Vec<Node>,
        place: Place,
        anchor: usize,
    },
}

/// A key whose value is not read yet.
enum Key {
    Text(String, Place),
    /// `<<`
    Merge,
    /// None of ours: its value is read and dropped.
    None,
}

/// Builds the trees of a stream, one event after the other, within the limits.
#[derive(Default)]
pub(super) struct Builder {
    pub(super) stream: Stream,
    open: Vec<Open>,
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
}

impl Builder {
    /// Takes the next event.
    ///
    /// # Errors
    /// What cannot be read on from.
    pub(super) fn event(&mut self, event: Event<'_>, place: Place) -> Result<(), Wrong> {
        match event {
            Event::DocumentStart(..) => {
                self.anchors.clear();
                if self.stream.documents.len() >= MAX_DOCUMENTS {
                    return Err(fatal(place, format!("more than {MAX_DOCUMENTS} documents")));
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                let mut plain = style == ScalarStyle::Plain;
                if let Some(tag) = tag {
                    plain &= !self.is_text(&tag, place);
                }
                let node = Node::scalar(text.into_owned(), plain, place);
                self.add(node, anchor, place)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.tag(tag.as_deref(), place);
                self.open(place)?;
                self.open.push(Open::List {
                    items: Vec::new(),
                    place,
                    anchor,
                });
                Ok(())
            }
            Event::MappingStart(_, anchor, tag) => {
                self.tag(tag.as_deref(), place);
                self.open(place)?;
                self.open.push(Open::Map {
                    entries: Vec::new(),
                    key: None,
                    merged: Vec::new(),
                    place,
                    anchor,
                });
                Ok(())
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(place),
            Event::Alias(id) => match self.anchors.get(&id).cloned() {
                Some(node) => self.add(node, 0, place),
                None => Err(fatal(place, "an alias within its own anchor")),
            },
            Event::UnresolvedAlias(_) => {
                Err(fatal(place, "an alias of an anchor that is not there"))
            }
            _ => Ok(()),
        }
    }

    /// Counts a collection's start, before anything is kept of it.
    fn open(&mut self, place: Place) -> Result<(), Wrong> {
        if self.open.len() >= MAX_DEPTH {
            return Err(fatal(
                place,
                format!("nested deeper than {MAX_DEPTH} levels"),
            ));
        }
        self.count(1, place)
    }

    fn count(&mut self, nodes: usize, place: Place) -> Result<(), Wrong> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES {
            let message =
                format!("more than {MAX_NODES} keys and values, those of aliases counted");
            return Err(fatal(place, message));
        }
        Ok(())
    }

    /// A node is complete: it becomes a key, a value, an item or a document.
    fn add(&mut self, node: Node, anchor: usize, at: Place) -> Result<(), Wrong> {
        self.count(node.size, at)?;
        if self.open.len() + node.depth > MAX_DEPTH + 1 {
            return Err(fatal(at, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        self.put(node, anchor, at);
        Ok(())
    }

    fn put(&mut self, node: Node, anchor: usize, at: Place) {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            None => self.stream.documents.push(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map {
                entries,
                key,
                merged,
                ..
            }) => match key.take() {
                None => {
                    if matches!(node.kind, Kind::List(_) | Kind::Map(_)) {
                        node.scalars(&mut self.stream.dropped);
                        self.stream
                            .errors
                            .push(told(at, "a key is a text, not a list or a map"));
                        *key = Some(Key::None);
                    } else if node.plain && node.text == "<<" {
                        *key = Some(Key::Merge);
                    } else {
                        *key = Some(Key::Text(node.text, at));
                    }
                }
                Some(Key::None) => node.scalars(&mut self.stream.dropped),
                Some(Key::Merge) => match node.kind {
                    Kind::List(items) => merged.extend(items),
                    _ => merged.push(node),
                },
                Some(Key::Text(key, key_place)) => {
                    let first = entries.iter().find(|entry| entry.key == key);
                    if let Some(first) = first {
                        let message = format!(
                            "the key '{}' is given twice; first on line {}",
                            check::short(&key),
                            first.key_place.line
                        );
                        self.stream.errors.push(told(key_place, message));
                        node.scalars(&mut self.stream.dropped);
                    } else {
                        entries.push(Entry {
                            key,
                            key_place,
                            value: node,
                        });
                    }
                }
            },
        }
    }

    fn close(&mut self, end: Place) -> Result<(), Wrong> {
        let (node, anchor) = match self.open.pop() {
            Some(Open::List {
                items,
                place,
                anchor,
            }) => (Node::list(items, whole(place, end)), anchor),
            Some(Open::Map {
                mut entries,
                merged,
                place,
                anchor,
                ..
            }) => {
                for source in merged {
                    if !matches!(source.kind, Kind::Map(_)) {
                        let message = "'<<' takes a map, or a list of maps";
                        self.stream.errors.push(told(source.place, message));
                    }
                    if let Kind::Map(more) = source.kind {
                        for entry in more {
                            if entries.iter().all(|own| own.key != entry.key) {
                                self.count(entry.value.size, end)?;
                                entries.push(entry);
                            } else {
                                entry.value.scalars(&mut self.stream.dropped);
                            }
                        }
                    }
                }
                (Node::map(entries, whole(place, end)), anchor)
            }
            None => return Ok(()),
        };
        let at = node.place;
        // Its parts were counted one by one.
        self.put(node, anchor, at);
        Ok(())
    }

    fn tag(&mut self, tag: Option<&Tag>, place: Place) {
        if let Some(tag) = tag {
            self.is_text(tag, place);
        }
    }

    /// Whether a tag makes its scalar a text; other tags than YAML's own are an error.
    fn is_text(&mut self, tag: &Tag, place: Place) -> bool {
        let original = tag.original();
        if original == "!" {
            return true;
        }
        match tag.core_suffix() {
            Some("str") => true,
            Some("int" | "float" | "bool" | "null" | "seq" | "map") => false,
            _ => {
                let tag = check::short(&original);
                self.stream
                    .errors
                    .push(told(place, format!("the tag {tag} means nothing here")));
                // Whatever it was meant to say, `!secret x` may be one.
                self.stream.dropped.push(place);
                false
            }
        }
    }
}

fn whole(start: Place, end: Place) -> Place {
    Place {
        end: end.end.max(start.end),
        ..start
    }
}

pub(super) fn fatal(place: Place, message: impl Into<String>) -> Wrong {
    Wrong {
        place,
        message: message.into(),
        fatal: true,
    }
}

fn told(place: Place, message: impl Into<String>) -> Wrong {
    Wrong {
        place,
        message: message.into(),
        fatal: false,
    }
}
