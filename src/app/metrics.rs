//! A scrape: what the parts of the server tell, put together.

use std::sync::Arc;

use axum::Router;

use crate::agent::status::ConditionStatus;
use crate::front::Front;
use crate::names::AgentName;
use crate::proxy::Proxy;
use crate::reconcile::{Board, Handle};
use crate::telemetry::access::AccessLog;
use crate::telemetry::exposition::{Snapshot, expose};
use crate::telemetry::process;

/// Whoever can tell something.
pub(super) struct Tellers {
    pub(super) proxy: Arc<Proxy>,
    pub(super) front: Arc<Front<Router>>,
    pub(super) reconciler: Handle,
    pub(super) board: Board,
    pub(super) access_log: Option<Arc<AccessLog>>,
}

impl Tellers {
    /// The text of a scrape now.
    pub(super) fn scrape(&self) -> String {
        let known = self.reconciler.agents().snapshot();
        let mut agents = self.proxy.agents_seen();
        for seen in &mut agents {
            let name = AgentName::new(&seen.name).ok();
            let Some(agent) = name.and_then(|name| known.get(&name)) else {
                continue;
            };
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
            process: process::sample(),
        })
    }
}
