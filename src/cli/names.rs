//! Agents as the command line names them: `users`, `agent/users`, `agents/users`.

use clap::Args;

use super::Failure;
use super::client::Client;
use crate::agent::Agent;

/// Which agents are meant.
#[derive(Args, Clone, Debug)]
pub struct Names {
    /// Agents, as NAME or agent/NAME.
    #[arg(value_name = "NAME", required = true)]
    pub names: Vec<String>,
}

/// A name without its kind.
///
/// # Errors
/// The kind is not `agent`.
pub(super) fn bare(name: &str) -> Result<String, Failure> {
    match name.split_once('/') {
        None => Ok(name.to_owned()),
        Some((kind, name)) if is_kind(kind) => Ok(name.to_owned()),
        Some((kind, _)) => Err(Failure::Usage(format!(
            "there is no kind '{kind}'; agents are the only one: agent/NAME"
        ))),
    }
}

/// All of them without their kinds, each once, in the order given. A first word `agent` or `agents` is the kind when more
/// follows, as in kubectl.
pub(super) fn all(names: &[String]) -> Result<Vec<String>, Failure> {
    let names = match names {
        [kind, rest @ ..] if is_kind(kind) && !rest.is_empty() => rest,
        all => all,
    };
    let mut found = Vec::new();
    for name in names {
        let name = bare(name)?;
        if !found.contains(&name) {
            found.push(name);
        }
    }
    Ok(found)
}

/// Whether a word is our kind.
pub(super) fn is_kind(word: &str) -> bool {
    ["agent", "agents"].contains(&word)
}

/// The path of an agent, or below it.
pub(super) fn path(name: &str, below: &str) -> String {
    format!("/agents/{}{below}", super::client::encoded(name))
}

/// One agent.
pub(super) async fn fetch(client: &Client, name: &str) -> Result<Agent, Failure> {
    client.get(&path(name, "")).await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_come_with_or_without_their_kind() {
        let all = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            super::all(&names).unwrap()
        };
        assert_eq!(all(&["users", "agent/auth", "users"]), ["users", "auth"]);
        assert_eq!(all(&["agent", "users"]), ["users"]);
        assert_eq!(all(&["agents"]), ["agents"]);
        assert!(bare("pod/x").is_err());
    }
}
