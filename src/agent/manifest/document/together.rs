//! The checks across all documents of all sources.

use std::collections::BTreeMap;

use super::{Documents, Stand};
use crate::agent::{ApplyAgent, FieldError, FieldPath, Step, validate};
use crate::names::AgentName;

impl Documents<'_> {
    /// Names given twice, dependencies in a circle, what nothing here has.
    pub(in crate::agent::manifest) fn check_together(&mut self) {
        let mut first: BTreeMap<AgentName, String> = BTreeMap::new();
        let mut errors = Vec::new();
        for (agent, stand) in &self.agents {
            let path = stand.place(&FieldPath::of("name"));
            let Some(tree) = self.trees.get(stand.tree) else {
                continue;
            };
            let line = tree.node.locate(&path, false).line;
            if let Some(first) = first.get(&agent.name) {
                let message = format!("'{}' is given twice; first at {first}", agent.name);
                errors.push((stand.tree, FieldError::new(path, message)));
            } else {
                first.insert(agent.name.clone(), format!("{}:{line}", tree.file));
            }
        }
        let agents: Vec<ApplyAgent> = self.agents.iter().map(|(agent, _)| agent.clone()).collect();
        for (index, error) in validate::graph(&agents) {
            if let Some((_, stand)) = self.agents.get(index) {
                let path = stand.place(&error.path);
                let error = self.as_written(stand, FieldError { path, ..error });
                errors.push((stand.tree, error));
            }
        }
        for (tree, error) in errors {
            self.field(tree, error);
        }
    }

    /// `dependsOn` may have been written as `dependencies`.
    fn as_written(&self, stand: &Stand, error: FieldError) -> FieldError {
        let at = |field: &str| stand.place(&FieldPath::of("spec").key(field));
        let Some(index) = error.path.below(&at("dependsOn")) else {
            return error;
        };
        let node = self.trees.get(stand.tree).map(|tree| &tree.node);
        let is_there = |path: &FieldPath| node.is_some_and(|node| node.at(path).is_some());
        if is_there(&error.path) {
            return error;
        }
        let written = node
            .and_then(|node| node.at(&at("dependsOn")))
            .map_or(0, |list| list.items().len());
        let path = match index.0.first() {
            Some(Step::Index(index)) => at("dependencies").index(index.saturating_sub(written)),
            _ => at("dependencies"),
        };
        FieldError { path, ..error }
    }
}
