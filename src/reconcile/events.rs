//! Events for people, on their way to the store: said by passes without waiting, written one after the other beside
//! them. When the store is slow the oldest that wait are dropped: an event must never hold up the work.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Reconcile;
use crate::agent::{AgentStatus, EventKind, EventRecord};
use crate::clock;
use crate::names::AgentName;
use crate::observed::Observed;
use crate::plan;

/// Events that may wait.
const MOST: usize = 512;
/// How long what waits may take at the end of the server.
const FAREWELL: Duration = Duration::from_secs(1);

/// Events that wait.
#[derive(Debug, Default)]
pub(super) struct Events {
    waiting: Mutex<VecDeque<EventRecord>>,
    arrived: Notify,
}

impl Reconcile {
    /// Says what happened to an agent, or to the host. Never waits.
    pub(super) fn tell(
        &self,
        agent: Option<&AgentName>,
        kind: EventKind,
        reason: &str,
        message: &str,
    ) {
        let about = agent.map_or("host", AgentName::as_str);
        tracing::info!(agent = about, %kind, reason, message, "event");
        let now = clock::now();
        let event = EventRecord {
            agent: agent.cloned(),
            kind,
            reason: reason.to_owned(),
            message: message.to_owned(),
            count: 1,
            first_seen: now,
            last_seen: now,
        };
        let mut waiting = self.events.waiting.lock();
        if waiting.len() >= MOST {
            waiting.pop_front();
        }
        waiting.push_back(event);
        self.events.arrived.notify_one();
    }

    /// Says how an agent's state turned, when the store has the status that shows it.
    pub(super) fn tell_turns(
        &self,
        name: &AgentName,
        before: &AgentStatus,
        after: &AgentStatus,
        observed: &Observed,
    ) {
        for turn in plan::turns(name, before, after, observed) {
            self.tell(Some(name), turn.kind, turn.reason, &turn.message);
        }
    }

    /// Writes events, for ever.
    pub(super) async fn write_events(&self) {
        loop {
            self.write_waiting().await;
            self.events.arrived.notified().await;
        }
    }

    /// Writes what waits, within a moment.
    pub(super) async fn write_last_events(&self) {
        let _ = tokio::time::timeout(FAREWELL, self.write_waiting()).await;
    }

    async fn write_waiting(&self) {
        loop {
            let Some(event) = self.events.waiting.lock().pop_front() else {
                return;
            };
            // Nothing is written to another cluster's store.
            if self.foreign.load(Ordering::Relaxed) {
                continue;
            }
            if let Err(error) = self.parts.store.record_event(&event).await {
                tracing::debug!(reason = event.reason, %error, "event was not recorded");
            }
        }
    }
}
