//! A scrape: what the parts of the server tell, put together.

use std::sync::Arc;

use axum::Router;

use crate::agent::status::ConditionStatus;
use crate::clock;
use crate::front::Front;
use crate::journal::{Backlog, News, State};
use crate::names::AgentName;
use crate::proxy::Proxy;
use crate::reconcile::{Board, Handle};
use crate::telemetry::access::AccessLog;
use crate::telemetry::exposition::{Snapshot, expose};
use crate::telemetry::figures::CallFigures;
use crate::telemetry::kept::KeptMetrics;
use crate::telemetry::process;

/// Whoever can tell something.
pub(super) struct Tellers {
    pub(super) proxy: Arc<Proxy>,
    pub(super) front: Arc<Front<Router>>,
    pub(super) reconciler: Handle,
    pub(super) board: Board,
    pub(super) calls: Arc<CallFigures>,
    pub(super) news: Arc<News>,
    pub(super) access_log: Option<Arc<AccessLog>>,
}

impl Tellers {
    /// The text of a scrape now.
    pub(super) fn scrape(&self) -> String {
        let known = self.reconciler.agents().snapshot();
        let mut agents = self.proxy.agents_seen();
        let backlogs = self.news.backlogs().unwrap_or_default();
        for seen in &mut agents {
            let name = AgentName::new(&seen.name).ok();
            let Some(agent) = name.and_then(|name| known.get(&name)) else {
                continue;
            };
            let uid = &agent.metadata.uid;
            if let Some(backlog) = backlogs.iter().find(|one| one.uid == *uid) {
                seen.kept = kept(backlog);
            }
            seen.replicas = u64::from(agent.spec.replicas.0);
            seen.ready = agent.status.is_ready();
            let instances = agent.status.instances.iter();
            seen.restarts = instances.map(|one| u64::from(one.restarts)).sum();
        }
        let conditions = self.board.list().into_iter();
        let (from_agents, from_others) = self.front.connections();
        expose(Snapshot {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            agents,
            nobody: self.proxy.nobody_seen(),
            passes: self.reconciler.passes(),
            leads: self.reconciler.leads(),
            conditions: conditions
                .map(|one| (one.kind.clone(), one.status == ConditionStatus::True))
                .collect(),
            connections: vec![("agents", from_agents), ("others", from_others)],
            lines_lost: self.access_log.as_ref().map_or(0, |log| log.lost()),
            calls: self.calls.read(),
            process: process::sample(),
        })
    }
}

/// What is kept for an agent. States that it never had are told too, so that a rate has something to begin with.
fn kept(backlog: &Backlog) -> KeptMetrics {
    let of = |counts: &[(State, u64)], state| {
        let found = counts.iter().find(|(one, _)| *one == state);
        (State::word(state), found.map_or(0, |(_, count)| *count))
    };
    let age = |oldest| clock::now().duration_since(oldest).as_secs();
    let ends = State::ALL.into_iter().filter(|state| state.is_settled());
    KeptMetrics {
        states: State::ALL.map(|state| of(&backlog.counts, state)).into(),
        oldest: backlog
            .oldest
            .map_or(0, |oldest| u64::try_from(age(oldest)).unwrap_or_default()),
        admitted: backlog.admitted,
        ended: ends.map(|state| of(&backlog.ended, state)).collect(),
    }
}
