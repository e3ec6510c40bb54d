//! Documents → agents: which of the three forms a document has, whose its agents are, and all checks of them.

mod agent;
mod form;
mod together;

use std::collections::BTreeMap;

use self::form::{Shape, form};
use super::report::{Finding, SourceText};
use super::tree::{Kind, Node, Place};
use super::{Bundle, Inputs, Source, interpolate, mask, yaml};
use crate::agent::schema::Form;
use crate::agent::{ApplyAgent, FieldError, FieldPath, check, validate};

/// The most errors that are kept, and the most warnings: more help nobody.
const MAX_FINDINGS: usize = 500;

/// What has been read so far.
pub(super) struct Documents<'a> {
    default_owner: &'a str,
    pub(super) bundles: Vec<Bundle>,
    /// With the place of their source, for the order.
    pub(super) findings: Vec<(usize, Finding)>,
    pub(super) texts: Vec<SourceText>,
    /// How many of the findings are errors, and warnings.
    errors: usize,
    warnings: usize,
    trees: Vec<Tree>,
    /// Every agent with where it stands, in order, for the checks across all.
    agents: Vec<(ApplyAgent, Stand)>,
}

/// A document and the source that it is from.
struct Tree {
    source: usize,
    file: String,
    node: Node,
}

/// Where an agent stands: its document, its path in it, and whether its spec stands apart (`kind: Agent`).
#[derive(Clone)]
struct Stand {
    tree: usize,
    path: FieldPath,
    apart: bool,
}

/// An agent's part of a document, or the whole of it, with all that is needed to read it.
struct Part<'p> {
    tree: usize,
    node: &'p Node,
    at: FieldPath,
    apart: bool,
    owner: &'p str,
    /// The bundle's metadata, whose labels its agents share.
    shared: Option<&'p Node>,
    source: &'p Source,
    inputs: Inputs<'p>,
}

impl Stand {
    /// A path seen from the agent (`name`, `labels.x`, `spec.port`), seen from the document.
    fn place(&self, path: &FieldPath) -> FieldPath {
        let spec = FieldPath::of("spec");
        match (self.apart, path.below(&spec)) {
            (true, None) => self.path.key("metadata").join(path),
            (false, Some(inner)) => self.path.join(&inner),
            _ => self.path.join(path),
        }
    }
}

impl<'a> Documents<'a> {
    pub(super) fn new(default_owner: &'a str) -> Self {
        Self {
            default_owner,
            bundles: Vec::new(),
            findings: Vec::new(),
            texts: Vec::new(),
            errors: 0,
            warnings: 0,
            trees: Vec::new(),
            agents: Vec::new(),
        }
    }

    /// Reads one source. `left` is how many bytes all may still have.
    pub(super) fn read(&mut self, source: &Source, left: &mut usize, inputs: Inputs<'_>) {
        let number = self.texts.len();
        self.texts.push(SourceText {
            text: String::new(),
            secrets: Vec::new(),
        });
        let Some(rest) = left.checked_sub(source.bytes.len()) else {
            let message = format!(
                "more than {} MiB of manifests: apply them in several steps",
                yaml::MAX_BYTES >> 20
            );
            self.of_source(number, &source.name, Place::default(), message, false);
            return;
        };
        *left = rest;
        let text = match std::str::from_utf8(&source.bytes) {
            Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
            Err(error) => {
                let good = source.bytes.get(..error.valid_up_to()).unwrap_or_default();
                let place = Place {
                    line: good.iter().filter(|byte| **byte == b'\n').count() + 1,
                    column: 1,
                    ..Place::default()
                };
                self.of_source(number, &source.name, place, "is not UTF-8 text", false);
                return;
            }
        };
        let mut stream = yaml::parse(text);
        let documents = stream.documents.iter();
        let mut secrets: Vec<_> = documents
            .flat_map(|node| mask::secrets(node, text))
            .collect();
        secrets.extend(stream.dropped.iter().map(|place| place.start..place.end));
        if let Some(kept) = self.texts.get_mut(number) {
            kept.text = text.to_owned();
            kept.secrets = secrets;
            kept.secrets.sort_by_key(|range| range.start);
        }
        // Where a text is broken, the rest of it is not known.
        let broken = stream.errors.iter().any(|wrong| wrong.fatal);
        // Those within a document are told with their field.
        let (told, others): (Vec<_>, Vec<_>) = stream.errors.into_iter().partition(|wrong| {
            let within = |node: &Node| holds(node, wrong.place);
            !wrong.fatal && stream.documents.iter().any(within)
        });
        for wrong in others {
            self.of_source(number, &source.name, wrong.place, wrong.message, broken);
        }
        for mut node in stream.documents.drain(..) {
            let mut unfilled = Vec::new();
            interpolate::tree(&mut node, text, inputs.lookup, &mut unfilled);
            let told = told
                .iter()
                .filter(|wrong| holds(&node, wrong.place))
                .map(|wrong| (wrong.place, wrong.message.clone(), None));
            let unfilled = unfilled
                .into_iter()
                .map(|(place, it)| (place, it.message, Some(it.help)));
            for (place, message, help) in told.chain(unfilled) {
                let path = node.path_of(place.start);
                let finding = Finding {
                    path: path.to_string(),
                    field: Some((self.trees.len(), path)),
                    help,
                    broken,
                    cause: true,
                    ..finding(&source.name, place, message)
                };
                self.add(number, place, finding);
            }
            self.trees.push(Tree {
                source: number,
                file: source.name.clone(),
                node,
            });
            self.document(self.trees.len() - 1, source, inputs);
        }
    }

    fn of_source(
        &mut self,
        number: usize,
        file: &str,
        place: Place,
        message: impl Into<String>,
        broken: bool,
    ) {
        let mut finding = finding(file, place, message);
        finding.broken = broken;
        self.add(number, place, finding);
    }

    fn add(&mut self, number: usize, place: Place, mut finding: Finding) {
        let kept = if finding.warning {
            &mut self.warnings
        } else {
            &mut self.errors
        };
        if *kept >= MAX_FINDINGS {
            return;
        }
        // One mistake is told once: what follows from it in the same field is left out.
        let told = self.findings.iter().any(|(_, other)| {
            other.field.is_some()
                && other.field == finding.field
                && (other.cause && !finding.cause || other.message == finding.message)
        });
        if told {
            return;
        }
        *kept += 1;
        if place.line > 0 {
            finding.snippet = Some((number, place));
        }
        self.findings.push((number, finding));
    }

    /// A wrong field of a document.
    fn field(&mut self, tree: usize, error: FieldError) {
        let Some(Tree { source, file, node }) = self.trees.get(tree) else {
            return;
        };
        let place = node.locate(&error.path, error.at_key);
        let number = *source;
        let finding = Finding {
            path: error.path.to_string(),
            field: Some((tree, error.path)),
            help: error.help,
            warning: error.warning,
            ..finding(file, place, error.message)
        };
        self.add(number, place, finding);
    }

    fn document(&mut self, tree: usize, source: &Source, inputs: Inputs<'_>) {
        let Some(node) = self.trees.get(tree).map(|tree| tree.node.clone()) else {
            return;
        };
        if matches!(node.kind, Kind::Null) {
            return;
        }
        let whole = Part {
            tree,
            node: &node,
            at: FieldPath::root(),
            apart: true,
            owner: self.default_owner,
            shared: None,
            source,
            inputs,
        };
        match form(&node) {
            Err(error) => self.field(tree, error),
            Ok(Shape::One) => self.one(&whole),
            Ok(Shape::Items) => {
                let items = node.get("items").map(Node::items);
                for (index, item) in items.into_iter().flatten().enumerate() {
                    self.one(&Part {
                        node: item,
                        at: FieldPath::of("items").index(index),
                        ..whole
                    });
                }
            }
            Ok(Shape::Deployment) => {
                self.check(tree, Form::Deployment, &node, &whole.at);
                let metadata = node.get("metadata");
                let name = metadata.and_then(|metadata| metadata.get("name"));
                let owner = name.and_then(Node::as_text).unwrap_or_default();
                self.owner(tree, owner, FieldPath::of("metadata.name"));
                self.list(&Part {
                    at: FieldPath::of("spec.agents"),
                    apart: false,
                    owner,
                    shared: metadata,
                    ..whole
                });
            }
            Ok(Shape::List) => {
                self.check(tree, Form::List, &node, &whole.at);
                self.bundle(self.default_owner);
                self.list(&Part {
                    at: FieldPath::of("agents"),
                    apart: false,
                    ..whole
                });
            }
        }
    }

    /// A `kind: Agent`.
    fn one(&mut self, part: &Part<'_>) {
        self.check(part.tree, Form::Agent, part.node, &part.at);
        let own = part.node.at(&FieldPath::of("metadata.owner"));
        let owner = own.and_then(Node::as_text).unwrap_or(part.owner);
        if own.is_some() {
            let path = part.at.join(&FieldPath::of("metadata.owner"));
            self.owner(part.tree, owner, path);
        } else {
            self.bundle(owner);
        }
        self.agent(&Part {
            owner,
            at: part.at.clone(),
            ..*part
        });
    }

    /// A bundle that a document names.
    fn owner(&mut self, tree: usize, owner: &str, path: FieldPath) {
        if !owner.is_empty()
            && let Err(message) = validate::owner(owner)
        {
            self.field(tree, FieldError::new(path, message));
        }
        self.bundle(owner);
    }

    /// The form of a document, or of a part of it.
    fn check(&mut self, tree: usize, form: Form, node: &Node, at: &FieldPath) {
        for error in check::check(form, &node.to_json()) {
            self.field(tree, error.under(at));
        }
    }

    fn list(&mut self, whole: &Part<'_>) {
        let items = whole.node.at(&whole.at).map(Node::items);
        for (index, item) in items.into_iter().flatten().enumerate() {
            self.agent(&Part {
                node: item,
                at: whole.at.index(index),
                ..*whole
            });
        }
    }

    fn bundle(&mut self, owner: &str) {
        if self.bundles.iter().all(|bundle| bundle.owner != owner) {
            self.bundles.push(Bundle {
                owner: owner.to_owned(),
                agents: Vec::new(),
                builds: BTreeMap::new(),
                locations: BTreeMap::new(),
            });
        }
    }
}

fn holds(node: &Node, place: Place) -> bool {
    node.place.start <= place.start && place.start < node.place.end
}

fn finding(file: &str, place: Place, message: impl Into<String>) -> Finding {
    Finding {
        file: file.to_owned(),
        line: place.line,
        column: place.column,
        path: String::new(),
        message: message.into(),
        help: None,
        warning: false,
        snippet: None,
        broken: false,
        field: None,
        cause: false,
    }
}
