//! Upstreams: the agents that an agent's environment names in URLs, which is the layout of the mesh (design, section 3).
//!
//! Pure. The planner turns dangling ones into a condition, `get` and `describe` show them, `graph` draws them.

use std::collections::{BTreeMap, BTreeSet};

use super::EnvValue;
use crate::names::{AgentName, nearest};

/// What an agent's environment says of others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upstreams {
    /// Known agents, with the variables that name them.
    pub known: BTreeMap<AgentName, BTreeSet<String>>,
    /// Single-label hosts that are no known agent's name.
    pub dangling: Vec<Dangling>,
}

/// A host in a URL that looks like an agent's name and is none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dangling {
    /// The variable whose value names it.
    pub variable: String,
    /// The host.
    pub host: String,
    /// A known agent of nearly that name.
    pub near: Option<AgentName>,
}

impl std::fmt::Display for Dangling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "env {} names no agent '{}'", self.variable, self.host)?;
        match &self.near {
            Some(near) => write!(f, " (did you mean '{near}'?)"),
            None => Ok(()),
        }
    }
}

/// The upstreams of `name`, whose environment is `env`, among the agents for which `known` has a name. Its own name is
/// none. Hosts that are addresses, have a dot or mean this machine (`localhost`, `host.docker.internal`) are left out;
/// so are user names and passwords. A URL through the proxy (`http://host.docker.internal:8081/agent/users/`) counts.
pub fn of(
    name: &AgentName,
    env: &BTreeMap<String, EnvValue>,
    known: &BTreeSet<AgentName>,
) -> Upstreams {
    let mut upstreams = Upstreams::default();
    for (variable, value) in env {
        for host in hosts(value.as_str()) {
            if host == name.as_str() {
                continue;
            }
            if let Some(agent) = known.get(host.as_str()) {
                upstreams
                    .known
                    .entry(agent.clone())
                    .or_default()
                    .insert(variable.clone());
            } else {
                let near = nearest(&host, known.iter().map(AgentName::as_str));
                let found = Dangling {
                    variable: variable.clone(),
                    near: near.and_then(|near| known.get(near)).cloned(),
                    host,
                };
                if !upstreams.dangling.contains(&found) {
                    upstreams.dangling.push(found);
                }
            }
        }
    }
    upstreams
}

/// Every agent that the environment of `name` names, whether there is one of that name or not; see [`of`].
pub fn named<'a>(
    name: &'a AgentName,
    env: &'a BTreeMap<String, EnvValue>,
) -> impl Iterator<Item = AgentName> + 'a {
    let hosts = env.values().flat_map(|value| hosts(value.as_str()));
    let names = hosts.filter_map(|host| AgentName::new(host).ok());
    names.filter(move |other| other != name)
}

/// The hosts of all URLs in a value that may be agents' names, in order, lower case.
fn hosts(value: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = value;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at);
        let after = after.strip_prefix("://").unwrap_or_default();
        let has_scheme = before
            .chars()
            .next_back()
            .is_some_and(|c| c.is_ascii_alphanumeric());
        let end = after
            .find(|c: char| c.is_whitespace() || "/?#,;\"'<>{}|\\".contains(c))
            .unwrap_or(after.len());
        let (authority, path) = after.split_at(end);
        if has_scheme && let Some(host) = host_of(authority, path) {
            found.push(host);
        }
        rest = path;
    }
    found
}

fn host_of(authority: &str, path: &str) -> Option<String> {
    let host_and_port = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    if host_and_port.starts_with('[') {
        return None;
    }
    let host = host_and_port
        .split_once(':')
        .map_or(host_and_port, |(host, _)| host)
        .to_lowercase();
    if host == "host.docker.internal" {
        // Through our own proxy: `/agent/<name>/…`.
        let name: String = path
            .strip_prefix("/agent/")?
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '-')
            .collect();
        return AgentName::new(name).ok().map(String::from);
    }
    let label = !host.is_empty()
        && host
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    let number = host.chars().all(|c| c.is_ascii_digit());
    (label && !number && host != "localhost").then_some(host)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn known() -> BTreeSet<AgentName> {
        ["gateway", "auth", "users", "orders", "billing"]
            .map(|name| AgentName::new(name).unwrap())
            .into()
    }

    fn upstreams(value: &str) -> Upstreams {
        let env = BTreeMap::from([("X".to_owned(), EnvValue::from(value))]);
        of(&AgentName::new("gateway").unwrap(), &env, &known())
    }

    fn names(value: &str) -> Vec<String> {
        upstreams(value)
            .known
            .keys()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn urls_name_upstreams_in_every_form_that_people_write() {
        assert_eq!(
            names("http://auth:8000,http://users:8000,http://orders:8000"),
            ["auth", "orders", "users"]
        );
        for one in [
            "http://auth",
            "http://auth/",
            "HTTP://AUTH:8000/path?x=http",
            "redis://:secret@auth:6379/0",
            "postgres://user:pass@auth/db",
            "see http://auth:8000 for more",
            r#"{"url":"http://auth:8000"}"#,
            "http://host.docker.internal:8081/agent/auth/api",
        ] {
            assert_eq!(names(one), ["auth"], "{one}");
        }
    }

    #[test]
    fn what_is_no_agent_is_left_alone() {
        for none in [
            "redis://host.docker.internal:6379",
            "postgres://host.docker.internal:5432/users",
            "http://172.18.0.3:8000",
            "http://[::1]:8000",
            "https://api.example.com/auth",
            "http://localhost:3000",
            "http://gateway:8000",
            "auth",
            "auth:8000",
            "://auth",
            "http://",
            "",
        ] {
            assert_eq!(upstreams(none), Upstreams::default(), "{none}");
        }
    }

    #[test]
    fn a_dangling_one_gets_a_near_match() {
        let found = upstreams("http://biling:8000,http://biling:8000/x").dangling;
        assert_eq!(found.len(), 1);
        let text = found.first().map(ToString::to_string).unwrap();
        assert_eq!(
            text,
            "env X names no agent 'biling' (did you mean 'billing'?)"
        );
        assert_eq!(
            upstreams("http://elsewhere:1")
                .dangling
                .first()
                .unwrap()
                .near,
            None
        );
    }
}
