//! Circles of dependencies: agents that wait for each other for ever.

use std::collections::{BTreeMap, BTreeSet};

use super::ApiState;
use super::refusal::{Answer, Refusal};
use crate::agent::Agent;
use crate::names::AgentName;
use crate::problem::FieldProblem;
use crate::store::Write;

/// Refuses dependencies of one agent that lead back to it. Answers what must not have changed when they are written: every
/// agent that they lead to.
pub(super) async fn guard(
    api: &ApiState,
    name: &AgentName,
    wanted: &[AgentName],
) -> Answer<Vec<Write>> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let agents = api.store.list().await?.agents.into_iter();
    let live: BTreeMap<AgentName, Agent> = agents
        .map(|agent| (agent.metadata.name.clone(), agent))
        .collect();
    let needs = |of: &AgentName| match live.get(of) {
        _ if of == name => wanted,
        Some(agent) => agent.spec.depends_on.as_slice(),
        None => &[],
    };
    if let Some(circle) = through(name, needs) {
        let path = "spec.dependsOn".to_owned();
        return Err(Refusal::invalid(vec![problem(path, &circle)]));
    }
    let mut seen = BTreeSet::new();
    let mut open: Vec<&AgentName> = wanted.iter().collect();
    while let Some(next) = open.pop() {
        if seen.insert(next) {
            open.extend(needs(next));
        }
    }
    let checks = seen.into_iter().filter_map(|name| {
        Some(Write::Check {
            name: name.clone(),
            expected: live.get(name)?.metadata.resource_version,
        })
    });
    Ok(checks.collect())
}

/// What is told of a circle.
pub(super) fn problem(path: String, circle: &str) -> FieldProblem {
    FieldProblem {
        path,
        message: format!("goes in a circle, so that none could ever start: {circle}"),
    }
}

/// A circle that leads from an agent back to itself, as `a → b → a`; `None`: there is none.
pub(super) fn through<'a>(
    start: &'a AgentName,
    needs: impl Fn(&AgentName) -> &'a [AgentName],
) -> Option<String> {
    let mut seen = BTreeSet::new();
    let mut open: Vec<(Vec<&AgentName>, &AgentName)> = vec![(Vec::new(), start)];
    while let Some((path, name)) = open.pop() {
        for next in needs(name) {
            let mut way = path.clone();
            way.push(name);
            if next == start {
                way.push(next);
                let words: Vec<&str> = way.iter().map(|name| name.as_str()).collect();
                return Some(words.join(" → "));
            }
            if seen.insert(next) {
                open.push((way, next));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_circle_is_found_from_each_of_its_members_alone() {
        let name = |text: &str| AgentName::new(text).unwrap();
        let edges: BTreeMap<AgentName, Vec<AgentName>> = [
            ("a", vec!["b", "x"]),
            ("b", vec!["c"]),
            ("c", vec!["a"]),
            ("x", vec![]),
        ]
        .into_iter()
        .map(|(from, to)| (name(from), to.into_iter().map(name).collect()))
        .collect();
        let none: &[AgentName] = &[];
        let needs = |from: &AgentName| edges.get(from).map_or(none, Vec::as_slice);
        let start = name("a");
        assert_eq!(through(&start, needs).unwrap(), "a → b → c → a");
        assert_eq!(through(&name("x"), needs), None);
        let own = [name("y")];
        let start = name("y");
        assert_eq!(through(&start, |_| &own).unwrap(), "y → y");
    }
}
