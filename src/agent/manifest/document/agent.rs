//! One agent of a document: checked in itself, resolved and put into its bundle.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::super::tree::{Node, Place};
use super::super::{Location, resolve};
use super::{Documents, Part, Stand, finding};
use crate::agent::schema::ENTRY_FIELDS;
use crate::agent::validate::{self, Origin};
use crate::agent::{ApplyAgent, FieldError, FieldPath};
use crate::names::AgentName;

impl Documents<'_> {
    /// Takes one agent in.
    pub(super) fn agent(&mut self, part: &Part<'_>) {
        let tree = part.tree;
        let stand = Stand {
            tree,
            path: part.at.clone(),
            apart: part.apart,
        };
        let empty = Node::map(Vec::new(), part.node.place);
        let (metadata, spec) = if part.apart {
            let field = |name: &str| part.node.get(name).unwrap_or(&empty);
            (field("metadata"), field("spec"))
        } else {
            (part.node, part.node)
        };
        let mut errors = Vec::new();
        let name = match metadata.get("name").and_then(Node::as_text) {
            Some(text) => AgentName::new(text)
                .map_err(|error| {
                    errors.push(FieldError::new(FieldPath::of("name"), error.to_string()));
                })
                .ok(),
            // The schema's check told of it.
            None => None,
        };
        let mut sparse = match spec.to_json() {
            Value::Object(fields) => fields,
            _ => Map::new(),
        };
        if !part.apart {
            for field in ENTRY_FIELDS {
                sparse.remove(field);
            }
        }
        let labels = texts(part.shared, metadata, "labels");
        let annotations = texts(part.shared, metadata, "annotations");
        errors.extend(validate::metadata(&labels, &annotations));
        let wrong = self.wrong_fields(&stand);
        let meaning = validate::meaning(name.as_ref(), &sparse, &wrong, Origin::File);
        let resolved = resolve::agent(spec, sparse, &part.source.folder, part.inputs);
        let at = FieldPath::of("spec");
        let of_spec = meaning.into_iter().chain(resolved.errors);
        errors.extend(of_spec.map(|error| error.under(&at)));
        for error in errors {
            let path = stand.place(&error.path);
            self.field(tree, FieldError { path, ..error });
        }
        for (file, line, message) in resolved.file_errors {
            let place = Place {
                line,
                column: 1,
                ..Place::default()
            };
            let number = self.texts.len() - 1;
            // No snippet: the file holds values and nothing else.
            self.findings.push((number, finding(&file, place, message)));
        }
        let Some(name) = name else {
            return;
        };
        let agent = ApplyAgent {
            name: name.clone(),
            labels,
            annotations,
            spec: resolved.spec,
        };
        let path = stand.place(&FieldPath::of("name"));
        let place = self
            .trees
            .get(tree)
            .map_or(Place::default(), |tree| tree.node.locate(&path, false));
        if let Some(bundle) = self.bundles.iter_mut().find(|it| it.owner == part.owner) {
            if let Some(build) = resolved.build {
                bundle.builds.insert(name.clone(), build);
            }
            let location = Location {
                file: part.source.name.clone(),
                line: place.line,
                column: place.column,
            };
            bundle.locations.entry(name).or_insert(location);
            bundle.agents.push(agent.clone());
        }
        self.agents.push((agent, stand));
    }

    /// The fields of a spec that were found wrong already, seen from the spec.
    fn wrong_fields(&self, stand: &Stand) -> Vec<FieldPath> {
        let spec = stand.place(&FieldPath::of("spec"));
        self.findings
            .iter()
            .filter(|(_, finding)| !finding.warning)
            .filter_map(|(_, finding)| finding.field.as_ref())
            .filter(|(of, path)| *of == stand.tree && *path != spec)
            .filter_map(|(_, path)| path.below(&spec))
            .collect()
    }
}

/// Labels or annotations: the bundle's, then the agent's own. What is not text was told by the schema's check.
fn texts(shared: Option<&Node>, own: &Node, field: &str) -> BTreeMap<String, String> {
    shared
        .into_iter()
        .chain([own])
        .filter_map(|node| node.get(field))
        .flat_map(Node::entries)
        .filter_map(|entry| Some((entry.key.clone(), entry.value.as_text()?.to_owned())))
        .collect()
}
