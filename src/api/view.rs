//! What each role sees of an agent (design, section 8, "Roles").
//!
//! What is shown is built up from what may be seen, never cut down to it, so that a field added later is hidden until it is given
//! its place here.

use std::sync::Arc;

use crate::agent::status::QueueStatus;
use crate::agent::{Agent, AgentSpec, EnvValue, Metadata, Uid};
use crate::journal::{Backlog, State};
use crate::wire::MASK;

use super::Call;
use super::auth::Role;
use super::refusal::{Answer, Refusal};

/// A role's eyes.
#[derive(Clone, Debug)]
pub(super) struct View {
    role: Role,
    reveal: bool,
    /// What is kept for agents; `None` when that is not known.
    backlogs: Option<Arc<Vec<Backlog>>>,
}

impl View {
    /// The view that a request asks for. `?reveal=env` shows an admin the values.
    pub(super) fn of(call: &Call) -> Answer<Self> {
        let role = &call.role;
        let reveal = match call.query.text("reveal") {
            None => false,
            Some("env") => true,
            Some(_) => return Err(Refusal::bad("'reveal' takes 'env' alone")),
        };
        if reveal && *role == Role::Viewer {
            return Err(Refusal::forbidden(
                "a viewer sees the names of environment variables, never their values",
            ));
        }
        Ok(Self {
            role: role.clone(),
            reveal,
            backlogs: call.api.backlogs(),
        })
    }

    /// Whether it shows the values of an agent's environment.
    pub(super) fn reveals(&self, agent: &Agent) -> bool {
        match &self.role {
            Role::Admin => self.reveal,
            Role::Agent(uid) => *uid == agent.metadata.uid,
            Role::Viewer => false,
        }
    }

    /// An agent as this view shows it.
    pub(super) fn show(&self, mut agent: Agent) -> Agent {
        agent.status.queue = self.queue(&agent.metadata.uid);
        match &self.role {
            Role::Admin if self.reveal => agent,
            Role::Admin => masked(agent),
            Role::Agent(uid) if *uid == agent.metadata.uid => agent,
            Role::Agent(_) | Role::Viewer => outline(agent),
        }
    }
}

impl View {
    fn queue(&self, uid: &Uid) -> Option<QueueStatus> {
        let backlogs = self.backlogs.as_ref()?;
        let Some(backlog) = backlogs.iter().find(|one| one.uid == *uid) else {
            return Some(QueueStatus::default());
        };
        Some(QueueStatus {
            pending: backlog.count(&[State::Pending, State::Retrying]),
            in_flight: backlog.count(&[State::Claimed]),
            unknown: backlog.count(&[State::Unknown]),
            dead_lettered: backlog.count(&[State::Failed, State::Dead]),
            oldest: backlog.oldest,
        })
    }
}

fn masked(mut agent: Agent) -> Agent {
    agent.spec = AgentSpec {
        env: names(&agent.spec),
        ..agent.spec
    };
    agent
}

/// Names, labels, status, upstreams and the names of environment variables; of the spec, what the status is read beside.
fn outline(agent: Agent) -> Agent {
    Agent {
        metadata: Metadata {
            annotations: Default::default(),
            finalizers: Vec::new(),
            ..agent.metadata
        },
        spec: AgentSpec {
            env: names(&agent.spec),
            replicas: agent.spec.replicas,
            state: agent.spec.state,
            port: agent.spec.port,
            ..AgentSpec::default()
        },
        status: agent.status.without_lines(),
        ..agent
    }
}

fn names(spec: &AgentSpec) -> std::collections::BTreeMap<String, EnvValue> {
    spec.env
        .keys()
        .map(|name| (name.clone(), EnvValue::from(MASK)))
        .collect()
}
