//! `dependsOn`: gates an agent's first creation and nothing later.

use super::draft::Draft;
use crate::agent::Agent;
use crate::agent::spec::AgentSpec;

/// Whether containers may be made as far as other agents go. Once one was ever made, always.
pub(super) fn met(draft: &mut Draft<'_>, agent: &Agent, spec: &AgentSpec, ever_made: bool) -> bool {
    if ever_made {
        return true;
    }
    let mut met = true;
    for name in spec
        .depends_on
        .iter()
        .filter(|name| **name != agent.metadata.name)
    {
        match draft.input.observed.others.get(name) {
            Some(Some(true)) => continue,
            Some(Some(false)) => draft.wait(
                "WaitingOnDependency",
                format!("waiting on {name}: not Ready"),
            ),
            Some(None) | None => draft.blocked(
                "DependencyMissing",
                format!("waiting on {name}: no such agent; apply it, or take it out of dependsOn"),
            ),
        }
        met = false;
    }
    met
}
