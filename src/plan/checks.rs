//! Which health check judges the instances of a revision, and which is tried beside it (design, law 8).
//!
//! Probes are no part of a revision, so that a changed check meets instances that are well by another one. Until it has passed on
//! one of them nobody knows whether it is the instances or the check that is wrong. So the instances of a revision are judged by
//! the last check that has passed on one of them, and what the spec asks for is on trial until it has, at the spec's revision
//! alone. Where no check has passed yet, as on a revision that is new, the spec's judges. On trial is only what is asked: what is
//! made of the answers is for the spec to say at once.

use std::collections::BTreeMap;

use super::Input;
use super::course::rollouts_paused;
use super::instances::Instance;
use crate::agent::spec::{AgentSpec, DesiredState, HealthCheck};
use crate::agent::{Agent, Check, Revision};
use crate::observed::Observed;

/// The reason for which a rollout has failed whose check did not pass.
pub(super) const NOT_PASSED: &str = "HealthCheckNotPassed";

/// The checks of an agent's instances.
pub(super) struct Checks {
    /// The spec's.
    own: Check,
    /// The revision that the spec asks for; `None`: there is no object.
    asked: Option<Revision>,
    /// The last one that has passed, by revision.
    proven: BTreeMap<Revision, Check>,
}

impl Checks {
    /// Those that are on record, and what has passed since.
    pub(super) fn of(input: &Input<'_>) -> Self {
        let Some(agent) = input.agent else {
            return Self {
                own: Check::default(),
                asked: None,
                proven: BTreeMap::new(),
            };
        };
        let (own, asked) = (Check::of(&agent.spec), agent.revision());
        let records = input.observed.records.as_deref().unwrap_or_default();
        let recorded = records
            .iter()
            .filter_map(|record| Some((record.revision.clone(), record.proven.clone()?)));
        let mut proven: BTreeMap<Revision, Check> = recorded.collect();
        for container in &input.observed.containers {
            let identity = &container.identity;
            let probe = input.observed.probes.get(&container.id);
            let Some(passed) = probe.and_then(|probe| probe.passed.as_ref()) else {
                continue;
            };
            if identity.uid != agent.metadata.uid {
                continue;
            }
            if identity.revision == asked && passed.asks_like(&own) {
                proven.insert(asked.clone(), own.clone());
            } else if !proven.contains_key(&identity.revision) {
                proven.insert(identity.revision.clone(), passed.clone());
            }
        }
        if let Some(proven) = proven.get_mut(&asked)
            && proven.asks_like(&own)
        {
            proven.clone_from(&own);
        }
        Self {
            own,
            asked: Some(asked),
            proven,
        }
    }

    /// The last one that has passed on an instance of a revision.
    pub(super) fn proven(&self, revision: &Revision) -> Option<&Check> {
        self.proven.get(revision)
    }

    /// What says whether an instance of a revision is ready and alive.
    pub(super) fn judging(&self, revision: &Revision) -> Option<&HealthCheck> {
        let judging = self.proven(revision).unwrap_or(&self.own);
        judging.health_check.as_ref()
    }

    /// What is tried on an instance of a revision beside that.
    pub(super) fn tried(&self, revision: &Revision) -> Option<&Check> {
        let another = self
            .proven(revision)
            .is_some_and(|proven| *proven != self.own);
        (another && self.asked.as_ref() == Some(revision)).then_some(&self.own)
    }
}

/// The spec's check, on trial at the revision that the spec asks for.
#[derive(Clone, Debug)]
pub(super) struct Trial {
    /// What is tried.
    pub(super) check: Check,
    /// An instance that is well by the former one, and what it answered the new one.
    said: Option<String>,
}

impl Trial {
    /// That of an agent with instances to try it on.
    pub(super) fn of(
        checks: &Checks,
        agent: &Agent,
        spec: &AgentSpec,
        seen: &[Instance<'_>],
        observed: &Observed,
    ) -> Option<Self> {
        let check = checks.tried(checks.asked.as_ref()?)?.clone();
        let shall_run = spec.state == DesiredState::Running && spec.replicas.0 > 0;
        if !shall_run || agent.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let mut tried = seen.iter().filter(|one| one.current && one.serving);
        let said = tried.find_map(|one| {
            let tried = &observed.probes.get(&one.container.id)?.tried;
            (!tried.is_empty()).then(|| format!("{}: {tried}", one.name()))
        });
        Some(Self { check, said })
    }

    /// Whether it was answered, and did not pass.
    pub(super) fn answered(&self) -> bool {
        self.said.is_some()
    }

    /// How it stands, in half a sentence.
    pub(super) fn stands(&self) -> String {
        match &self.said {
            Some(said) => format!("the new healthCheck has not passed yet: {said}"),
            None => "the new healthCheck is being tried".to_owned(),
        }
    }

    /// The same with what goes on, and the remedy.
    pub(super) fn message(&self, agent: &Agent) -> String {
        let (stands, name) = (self.stands(), &agent.metadata.name);
        match self.said {
            Some(_) if rollouts_paused(agent) => format!(
                "{stands}; the former one goes on judging; mend it, or bring the former one back: `agentainer rollout resume {name}`, \
                 then `agentainer rollout undo {name}`"
            ),
            Some(_) => format!(
                "{stands}; the former one goes on judging; mend it, or `agentainer rollout undo {name}` brings the former one back"
            ),
            None => format!("{stands}; the former one judges until it passes"),
        }
    }
}
