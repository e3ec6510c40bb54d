//! `dependsOn`: gates an agent's first creation and nothing later.

use super::draft::Draft;
use super::instances::Instance;
use crate::agent::Agent;
use crate::agent::spec::AgentSpec;
use crate::names::AgentName;

/// Whether containers may be made as far as other agents go. Once one was ever made, always.
pub(super) fn met(draft: &mut Draft<'_>, agent: &Agent, spec: &AgentSpec, ever_made: bool) -> bool {
    if ever_made {
        return true;
    }
    let mut met = true;
    for name in others(agent, spec) {
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

/// Whether an agent ever had a container, as far as is known.
pub(super) fn ever_made(agent: &Agent, instances: &[Instance<'_>]) -> bool {
    let status = &agent.status;
    !instances.is_empty() || !status.instances.is_empty() || status.rollout.last_good.is_some()
}

/// Whether one of those that it depends on is not Ready, or not there.
pub(super) fn open(draft: &Draft<'_>, agent: &Agent, spec: &AgentSpec) -> bool {
    let ready = |name| draft.input.observed.others.get(name) == Some(&Some(true));
    !others(agent, spec).all(ready)
}

fn others<'a>(agent: &'a Agent, spec: &'a AgentSpec) -> impl Iterator<Item = &'a AgentName> {
    let all = spec.depends_on.iter();
    all.filter(|name| **name != agent.metadata.name)
}
