//! What a bundle makes of the world. Pure: told the world and the time, it answers every write and every result, or why there is none.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::agent::merge;
use crate::agent::{Agent, ApplyAgent, FieldPath, canonical, upstreams};
use crate::api::agents::{new_agent, refuse_deleted, with_parts};
use crate::api::circle;
use crate::api::refusal::{Answer, Refusal};
use crate::api::spec;
use crate::names::{AgentName, nearest};
use crate::problem::FieldProblem;
use crate::reconcile::FormerLife;
use crate::store::Write;
use crate::wire::{ApplyOutcome, ApplyRequest, ApplyResult};

/// A prune of more than this many agents, and more than half of its owner's, needs force (fluxcd/flux #738).
const LARGE_PRUNE: usize = 3;

/// All that an outcome rests on.
pub(super) struct World {
    /// Every agent there is.
    pub(super) live: BTreeMap<AgentName, Agent>,
    /// What was applied last of those that the bundle names.
    pub(super) applied: BTreeMap<AgentName, ApplyAgent>,
    /// Who those that the bundle names and the store does not know were before it forgot them.
    pub(super) former: BTreeMap<AgentName, FormerLife>,
    /// The present.
    pub(super) now: Timestamp,
}

/// What is to be written, and what is then told. One write for each result, in the same order.
pub(super) struct Outcome {
    pub(super) writes: Vec<Write>,
    pub(super) results: Vec<ApplyResult>,
}

/// Works it out. Every wrong field of the bundle is named at once.
pub(super) fn of(
    request: &ApplyRequest,
    world: &World,
    owner: Option<FieldProblem>,
) -> Answer<Outcome> {
    let mut errors: Vec<FieldProblem> = owner.into_iter().collect();
    let mut seen = BTreeSet::new();
    let mut wanted = Vec::new();
    for (index, agent) in request.agents.iter().enumerate() {
        let at = FieldPath::of("agents").index(index);
        if !seen.insert(&agent.name) {
            errors.push(FieldProblem {
                path: at.key("name").to_string(),
                message: format!("'{}' is in this bundle twice", agent.name),
            });
        }
        let mut agent = agent.clone();
        let live = world.live.get(&agent.name);
        spec::unmask(&mut agent.spec, live);
        errors.extend(spec::check(&agent, None, &at));
        canonical(&mut agent.spec);
        wanted.push(agent);
    }
    if !errors.is_empty() {
        return Err(Refusal::invalid(errors));
    }
    refuse_others(request, world)?;
    let mut outcome = Outcome {
        writes: Vec::new(),
        results: Vec::new(),
    };
    for (index, agent) in wanted.iter().enumerate() {
        let (write, result) = one(request, world, agent, index)?;
        outcome.writes.push(write);
        outcome.results.push(result);
    }
    if request.prune {
        prune(request, world, &seen, &mut outcome)?;
    }
    judge_together(world, &mut outcome)?;
    Ok(outcome)
}

/// Agents of other owners are theirs, unless forced; nothing is written to those that are being deleted.
fn refuse_others(request: &ApplyRequest, world: &World) -> Answer<()> {
    let named = || {
        request
            .agents
            .iter()
            .filter_map(|agent| world.live.get(&agent.name))
    };
    for agent in named() {
        refuse_deleted(agent)?;
    }
    let others: Vec<&Agent> = named()
        .filter(|agent| agent.metadata.owner != request.owner)
        .collect();
    let Some(first) = others.first().filter(|_| !request.force) else {
        return Ok(());
    };
    let list: Vec<String> = others
        .iter()
        .map(|agent| {
            format!(
                "'{}' belongs to '{}'",
                agent.metadata.name, agent.metadata.owner
            )
        })
        .collect();
    let detail = format!(
        "agent {}; nothing was changed, 'agentainer apply --force' takes over",
        list.join(", agent ")
    );
    Err(Refusal::conflict("owned-by-another", detail).about(&first.metadata.name))
}

fn one(
    request: &ApplyRequest,
    world: &World,
    wanted: &ApplyAgent,
    index: usize,
) -> Answer<(Write, ApplyResult)> {
    let live = world.live.get(&wanted.name);
    let last = world.applied.get(&wanted.name);
    let parts = live.map(spec::parts);
    let merged = merge::apply(last, wanted, parts.as_ref()).map_err(|error| {
        Refusal::invalid(vec![FieldProblem {
            path: format!("agents[{index}].spec"),
            message: error.to_string(),
        }])
    })?;
    let wrong = spec::check_merged(&wanted.name, &merged, &FieldPath::of("agents").index(index));
    if !wrong.is_empty() {
        return Err(Refusal::invalid(wrong));
    }
    // Nothing in it can fail to be JSON: its maps have text for keys.
    let applied = serde_json::to_value(wanted).ok();
    let Some(live) = live else {
        let after = new_agent(
            &wanted.name,
            &request.owner,
            merged,
            world.former.get(&wanted.name).cloned(),
        );
        let write = Write::Create {
            agent: Box::new(after.clone()),
            applied,
        };
        return Ok((write, result(ApplyOutcome::Created, None, after)));
    };
    let mut after = with_parts(live, merged);
    after.metadata.owner.clone_from(&request.owner);
    let (name, expected) = (wanted.name.clone(), live.metadata.resource_version);
    let outcome = if after == *live {
        ApplyOutcome::Unchanged
    } else {
        ApplyOutcome::Configured
    };
    let write = if outcome == ApplyOutcome::Unchanged && last == Some(wanted) {
        Write::Check { name, expected }
    } else {
        Write::Update {
            agent: Box::new(after.clone()),
            expected,
            applied,
        }
    };
    let mut result = result(outcome, Some(live.clone()), after);
    if live.metadata.owner != request.owner {
        result
            .warnings
            .push(format!("taken over from '{}'", live.metadata.owner));
    }
    Ok((write, result))
}

fn result(outcome: ApplyOutcome, before: Option<Agent>, after: Agent) -> ApplyResult {
    ApplyResult {
        name: after.metadata.name.clone(),
        outcome,
        replaces_containers: before
            .as_ref()
            .is_some_and(|before| before.revision() != after.revision()),
        before,
        after: Some(after),
        warnings: Vec::new(),
    }
}

/// This owner's agents that the bundle does not name go, in the same commit as all the rest.
fn prune(
    request: &ApplyRequest,
    world: &World,
    named: &BTreeSet<&AgentName>,
    outcome: &mut Outcome,
) -> Answer<()> {
    let alive = |agent: &&Agent| agent.metadata.deletion_timestamp.is_none();
    let owned = || {
        world
            .live
            .values()
            .filter(|agent| agent.metadata.owner == request.owner)
            .filter(alive)
    };
    let gone: Vec<&Agent> = owned()
        .filter(|agent| !named.contains(&agent.metadata.name))
        .collect();
    let all = owned().count();
    if gone.len() > LARGE_PRUNE && gone.len() * 2 > all && !request.force {
        let names: Vec<&str> = gone
            .iter()
            .map(|agent| agent.metadata.name.as_str())
            .collect();
        let detail = format!(
            "pruning would delete {} of the {all} agents of '{}' ({}); nothing was changed. If that is meant, force it: 'agentainer apply --prune --force'",
            gone.len(),
            request.owner,
            names.join(", ")
        );
        return Err(Refusal::conflict("large-prune", detail));
    }
    for agent in gone {
        outcome.writes.push(Write::Delete {
            name: agent.metadata.name.clone(),
            expected: Some(agent.metadata.resource_version),
            at: world.now,
        });
        let mut after = agent.clone();
        after.metadata.deletion_timestamp = Some(world.now);
        outcome.results.push(ApplyResult {
            replaces_containers: false,
            ..result(ApplyOutcome::Pruned, Some(agent.clone()), after)
        });
    }
    Ok(())
}

/// What only the whole shows: circles of dependencies, and names of agents that there are none of.
fn judge_together(world: &World, outcome: &mut Outcome) -> Answer<()> {
    let mut after: BTreeMap<&AgentName, &Agent> = world.live.iter().collect();
    for result in &outcome.results {
        match (&result.after, result.outcome) {
            (_, ApplyOutcome::Pruned) | (None, _) => after.remove(&result.name),
            (Some(agent), _) => after.insert(&result.name, agent),
        };
    }
    let known: BTreeSet<AgentName> = after.keys().map(|name| (*name).clone()).collect();
    let needs = |name: &AgentName| {
        after
            .get(name)
            .map_or(&[] as &[AgentName], |agent| &agent.spec.depends_on)
    };
    let mut errors = Vec::new();
    let mut warnings = Vec::new();
    for (index, result) in outcome.results.iter().enumerate() {
        let Some(agent) = after.get(&result.name) else {
            warnings.push(Vec::new());
            continue;
        };
        if let Some(circle) = circle::through(&result.name, needs) {
            errors.push(circle::problem(
                format!("agents[{index}].spec.dependsOn"),
                &circle,
            ));
        }
        let clash = || result.name.clash(&known);
        if let Some(message) = (result.outcome == ApplyOutcome::Created)
            .then(clash)
            .flatten()
        {
            errors.push(FieldProblem {
                path: format!("agents[{index}].name"),
                message,
            });
        }
        let mut odd: Vec<String> = upstreams::of(&result.name, &agent.spec.env, &known)
            .dangling
            .iter()
            .map(ToString::to_string)
            .collect();
        for missing in agent
            .spec
            .depends_on
            .iter()
            .filter(|name| !known.contains(*name))
        {
            let near = nearest(missing.as_str(), known.iter().map(AgentName::as_str));
            let hint = near
                .map(|near| format!(" (did you mean '{near}'?)"))
                .unwrap_or_default();
            odd.push(format!(
                "dependsOn names no agent '{missing}'{hint}; it waits until there is one"
            ));
        }
        warnings.push(odd);
    }
    if !errors.is_empty() {
        return Err(Refusal::invalid(errors));
    }
    for (result, odd) in outcome.results.iter_mut().zip(warnings) {
        result.warnings.extend(odd);
    }
    Ok(())
}
