//! The checks across agents: names given twice, dependencies in a circle, dependencies that nothing here has.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::upstreams;
use super::{ApplyAgent, FieldError, FieldPath, Origin, agent, owner};
use crate::agent::EnvValue;
use crate::names::{AgentName, nearest};

/// The most names that a wrong one is compared with.
const MAX_COMPARED: usize = 1000;

/// Every error and warning of a whole bundle, as `POST /apply` takes it; paths begin with `agents[0]`.
pub fn bundle(name: &str, agents: &[ApplyAgent], origin: Origin) -> Vec<FieldError> {
    let mut found = Vec::new();
    if let Err(message) = owner(name) {
        found.push(FieldError::new(FieldPath::of("owner"), message));
    }
    let at = FieldPath::of("agents");
    for (index, one) in agents.iter().enumerate() {
        let here = at.index(index);
        found.extend(
            agent(one, origin)
                .into_iter()
                .map(|error| error.under(&here)),
        );
    }
    let mut places: BTreeMap<&AgentName, usize> = BTreeMap::new();
    for (index, agent) in agents.iter().enumerate() {
        if let Some(first) = places.get(&agent.name) {
            let message = format!("'{}' is given twice; first as agents[{first}]", agent.name);
            found.push(FieldError::new(at.index(index).key("name"), message));
        } else {
            places.insert(&agent.name, index);
        }
    }
    for (index, error) in graph(agents) {
        found.push(error.under(&at.index(index)));
    }
    found
}

/// What is wrong or odd between agents: the agent's place in the list, and the error seen from that agent.
pub fn graph(agents: &[ApplyAgent]) -> Vec<(usize, FieldError)> {
    let mut found = Vec::new();
    let mut places: BTreeMap<&AgentName, usize> = BTreeMap::new();
    for (index, agent) in agents.iter().enumerate() {
        places.entry(&agent.name).or_insert(index);
    }
    for (index, agent) in agents.iter().enumerate() {
        for (path, dependency) in dependencies(agent) {
            if !places.contains_key(&dependency) {
                // In a very large bundle the search for a near name would take long.
                let names = places.keys().map(|name| name.as_str()).take(MAX_COMPARED);
                let near = nearest(dependency.as_str(), names);
                let help = near.map_or_else(
                    || "it may be on the server already".to_owned(),
                    |near| format!("did you mean '{near}'?"),
                );
                let message = format!("no agent '{dependency}' here");
                let error = FieldError::new(path, message).help(help).as_warning();
                found.push((index, error));
            }
        }
    }
    found.extend(circles(agents, &places));
    found.extend(dangling(agents, &places));
    found
}

/// An agent's dependencies under either name, with their places.
fn dependencies(agent: &ApplyAgent) -> Vec<(FieldPath, AgentName)> {
    let mut all = Vec::new();
    for field in ["dependsOn", "dependencies"] {
        let names = agent.spec.get(field).and_then(Value::as_array);
        for (index, name) in names.into_iter().flatten().enumerate() {
            if let Some(name) = name.as_str().and_then(|name| AgentName::new(name).ok()) {
                all.push((FieldPath::of("spec").key(field).index(index), name));
            }
        }
    }
    all
}

/// Each circle once, at the dependency that closes it. An agent that depends on itself is told by `rules`.
fn circles(
    agents: &[ApplyAgent],
    places: &BTreeMap<&AgentName, usize>,
) -> Vec<(usize, FieldError)> {
    let edges: Vec<Vec<(FieldPath, usize)>> = agents
        .iter()
        .map(|agent| {
            dependencies(agent)
                .into_iter()
                .filter_map(|(path, name)| Some((path, *places.get(&name)?)))
                .collect()
        })
        .collect();
    let mut found = Vec::new();
    let mut done = BTreeSet::new();
    for start in 0..agents.len() {
        // Depth first without recursion: the way to here, and the next edge to try at each step.
        let mut way = vec![(start, 0)];
        while let Some((at, next)) = way.pop() {
            if done.contains(&at) {
                continue;
            }
            let Some((path, to)) = edges.get(at).and_then(|edges| edges.get(next)) else {
                done.insert(at);
                continue;
            };
            way.push((at, next + 1));
            let begins = way.iter().position(|(on_way, _)| on_way == to);
            match begins {
                Some(begins) if at != *to => {
                    let names: Vec<&str> = way
                        .iter()
                        .skip(begins)
                        .map(|(on_way, _)| *on_way)
                        .chain([*to])
                        .filter_map(|index| agents.get(index))
                        .map(|agent| agent.name.as_str())
                        .collect();
                    let message = format!("dependencies go in a circle: {}", names.join(" → "));
                    found.push((at, FieldError::new(path.clone(), message)));
                }
                Some(_) => {}
                None => way.push((*to, 0)),
            }
        }
    }
    found
}

/// URLs that nearly name an agent of the bundle; others may be on the server, which tells of them as a condition.
fn dangling(
    agents: &[ApplyAgent],
    places: &BTreeMap<&AgentName, usize>,
) -> Vec<(usize, FieldError)> {
    let known: BTreeSet<AgentName> = places.keys().map(|name| (*name).clone()).collect();
    if known.len() > MAX_COMPARED {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (index, agent) in agents.iter().enumerate() {
        let env: BTreeMap<String, EnvValue> = agent
            .spec
            .get("env")
            .and_then(|env| serde_json::from_value(env.clone()).ok())
            .unwrap_or_default();
        for dangling in upstreams::of(&agent.name, &env, &known).dangling {
            if let Some(near) = dangling.near {
                let path = FieldPath::of("spec.env").key(&dangling.variable);
                let message = format!("names no agent '{}'", dangling.host);
                let error = FieldError::new(path, message)
                    .help(format!("did you mean '{near}'?"))
                    .as_warning();
                found.push((index, error));
            }
        }
    }
    found
}
