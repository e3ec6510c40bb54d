//! The agents that an agent's environment names: the mesh layout. A dangling one is a warning that harms nothing.

use std::collections::BTreeSet;

use super::Input;
use super::conditions::Finding;
use crate::agent::spec::AgentSpec;
use crate::agent::status::condition;
use crate::agent::upstreams;
use crate::names::AgentName;

/// The upstreams that exist, and what is to be said of all that the environment names; nothing when it names none.
pub(super) fn of(input: &Input<'_>, spec: &AgentSpec) -> (Vec<String>, Option<Finding>) {
    let others = input.observed.others.iter();
    let known: BTreeSet<AgentName> = others
        .filter(|(_, ready)| ready.is_some())
        .map(|(name, _)| name.clone())
        .collect();
    let found = upstreams::of(input.name, &spec.env, &known);
    let names: Vec<String> = found.known.keys().map(ToString::to_string).collect();
    if names.is_empty() && found.dangling.is_empty() {
        return (names, None);
    }
    if found.dangling.is_empty() {
        let message = format!("its environment names {}", names.join(", "));
        let finding = Finding::new(condition::UPSTREAMS_KNOWN, true, "Known", message);
        return (names, Some(finding));
    }
    let dangling: Vec<String> = found.dangling.iter().map(ToString::to_string).collect();
    let finding = Finding::new(
        condition::UPSTREAMS_KNOWN,
        false,
        "Dangling",
        dangling.join("; "),
    );
    (names, Some(finding))
}
