//! The mesh as a graph: who calls whom, as text, Mermaid or DOT (`agentainer graph`).
//!
//! Pure. Edges come from the URLs in each agent's environment (`upstreams`) and from `dependsOn`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::upstreams::{self, Upstreams};
use super::{AgentSpec, EnvValue};
use crate::names::AgentName;

/// Agents and what their environments say of each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graph {
    nodes: BTreeMap<AgentName, Node>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Node {
    upstreams: Upstreams,
    depends_on: BTreeSet<AgentName>,
}

impl Graph {
    /// The graph of agents with their specs.
    pub fn of_specs<'a>(agents: impl IntoIterator<Item = (&'a AgentName, &'a AgentSpec)>) -> Self {
        Self::new(
            agents
                .into_iter()
                .map(|(name, spec)| (name, &spec.env, spec.depends_on.as_slice())),
        )
    }

    /// The graph of agents with their environments and dependencies.
    pub fn new<'a>(
        agents: impl IntoIterator<
            Item = (
                &'a AgentName,
                &'a BTreeMap<String, EnvValue>,
                &'a [AgentName],
            ),
        >,
    ) -> Self {
        let agents: Vec<_> = agents.into_iter().collect();
        let known: BTreeSet<AgentName> =
            agents.iter().map(|(name, _, _)| (*name).clone()).collect();
        let nodes = agents
            .into_iter()
            .map(|(name, env, depends_on)| {
                let node = Node {
                    upstreams: upstreams::of(name, env, &known),
                    depends_on: depends_on.iter().cloned().collect(),
                };
                (name.clone(), node)
            })
            .collect();
        Self { nodes }
    }

    /// Whom an agent calls.
    pub fn upstreams(&self, name: &AgentName) -> impl Iterator<Item = &AgentName> {
        self.nodes
            .get(name)
            .into_iter()
            .flat_map(|node| node.upstreams.known.keys())
    }

    /// Who calls an agent.
    pub fn dependants(&self, name: &AgentName) -> impl Iterator<Item = &AgentName> {
        self.nodes
            .iter()
            .filter(move |(_, node)| node.upstreams.known.contains_key(name))
            .map(|(caller, _)| caller)
    }

    /// One agent a paragraph: whom it calls, by which variables, and what dangles.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for (name, node) in &self.nodes {
            let _ = writeln!(out, "{name}");
            for (upstream, variables) in &node.upstreams.known {
                let _ = writeln!(out, "  -> {upstream}  ({})", list(variables));
            }
            for dependency in only_waits(node) {
                let _ = writeln!(out, "  .. {dependency}  (dependsOn)");
            }
            for dangling in &node.upstreams.dangling {
                let _ = writeln!(out, "  ?? {dangling}");
            }
        }
        out
    }

    /// For a Markdown page: `graph LR` with a node an agent.
    pub fn mermaid(&self) -> String {
        // Names hold no '_', so that this maps them one to one; a prefix keeps words such as `end` from meaning
        // something to Mermaid.
        let id = |name: &str| format!("a_{}", name.replace('-', "_"));
        let mut out = String::from("graph LR\n");
        for name in self.nodes.keys() {
            let _ = writeln!(out, "    {}[\"{name}\"]", id(name.as_str()));
        }
        for (name, node) in &self.nodes {
            let from = id(name.as_str());
            for (upstream, variables) in &node.upstreams.known {
                let to = id(upstream.as_str());
                let _ = writeln!(out, "    {from} -->|{}| {to}", list(variables));
            }
            for dependency in only_waits(node) {
                let _ = writeln!(out, "    {from} -.-> {}", id(dependency.as_str()));
            }
            for dangling in &node.upstreams.dangling {
                let host = &dangling.host;
                let _ = writeln!(
                    out,
                    "    {from} -->|{}| missing_{}[\"{host} ?\"]",
                    dangling.variable,
                    host.replace('-', "_")
                );
            }
        }
        out
    }

    /// For Graphviz.
    pub fn dot(&self) -> String {
        let mut out = String::from("digraph agents {\n    rankdir=LR;\n    node [shape=box];\n");
        for name in self.nodes.keys() {
            let _ = writeln!(out, "    \"{name}\";");
        }
        for (name, node) in &self.nodes {
            for (upstream, variables) in &node.upstreams.known {
                let _ = writeln!(
                    out,
                    "    \"{name}\" -> \"{upstream}\" [label=\"{}\"];",
                    quoted(&list(variables))
                );
            }
            for dependency in only_waits(node) {
                let _ = writeln!(out, "    \"{name}\" -> \"{dependency}\" [style=dashed];");
            }
            for dangling in &node.upstreams.dangling {
                let _ = writeln!(
                    out,
                    "    \"{name}\" -> \"{} ?\" [label=\"{}\", color=red];",
                    dangling.host,
                    quoted(&dangling.variable)
                );
            }
        }
        out.push_str("}\n");
        out
    }
}

/// Dependencies that no URL names too.
fn only_waits(node: &Node) -> impl Iterator<Item = &AgentName> {
    node.depends_on
        .iter()
        .filter(|name| !node.upstreams.known.contains_key(name.as_str()))
}

fn list(variables: &BTreeSet<String>) -> String {
    variables.iter().cloned().collect::<Vec<_>>().join(", ")
}

fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn mesh() -> Graph {
        let agents: Vec<(AgentName, AgentSpec)> = [
            (
                "gateway",
                json!({"env": {"UPSTREAM_SERVICES": ["http://auth:8000", "http://users:8000"]}}),
            ),
            ("auth", json!({"env": {"REDIS_URL": "redis://host.docker.internal:6379"}})),
            (
                "users",
                json!({"env": {"AUTH_SERVICE": "http://auth:8000", "B": "http://biling:1"}, "dependsOn": ["auth", "gateway"]}),
            ),
        ]
        .map(|(name, spec)| {
            (
                AgentName::new(name).unwrap(),
                serde_json::from_value(spec).unwrap(),
            )
        })
        .into();
        Graph::of_specs(agents.iter().map(|(name, spec)| (name, spec)))
    }

    #[test]
    fn text_shows_who_calls_whom_and_what_dangles() {
        assert_eq!(
            mesh().text(),
            "auth\n\
             gateway\n  -> auth  (UPSTREAM_SERVICES)\n  -> users  (UPSTREAM_SERVICES)\n\
             users\n  -> auth  (AUTH_SERVICE)\n  .. gateway  (dependsOn)\n  ?? env B names no agent 'biling'\n"
        );
    }

    #[test]
    fn mermaid_and_dot_hold_the_same_edges() {
        let mermaid = mesh().mermaid();
        assert!(mermaid.starts_with("graph LR\n"), "{mermaid}");
        assert!(
            mermaid.contains("a_gateway -->|UPSTREAM_SERVICES| a_auth"),
            "{mermaid}"
        );
        assert!(mermaid.contains("a_users -.-> a_gateway"), "{mermaid}");
        let dot = mesh().dot();
        assert!(
            dot.contains("\"gateway\" -> \"auth\" [label=\"UPSTREAM_SERVICES\"];"),
            "{dot}"
        );
        assert!(dot.contains("\"users\" -> \"biling ?\""), "{dot}");
    }

    #[test]
    fn dependants_are_the_upstreams_seen_from_the_other_end() {
        let auth = AgentName::new("auth").unwrap();
        let graph = mesh();
        let callers: Vec<&str> = graph.dependants(&auth).map(AgentName::as_str).collect();
        assert_eq!(callers, ["gateway", "users"]);
        let users = AgentName::new("users").unwrap();
        assert_eq!(
            graph
                .upstreams(&users)
                .map(AgentName::as_str)
                .collect::<Vec<_>>(),
            ["auth"]
        );
    }
}
