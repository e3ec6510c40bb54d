//! The host's own conditions: whether Docker, Redis, the network, the listeners are as they should be. Written by
//! passes and by `app`, read by the API.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::agent::Condition;
use crate::agent::status::ConditionStatus;
use crate::clock;

/// The types of the host's conditions.
pub mod host_condition {
    /// The container engine answers.
    pub const DOCKER: &str = "DockerReachable";
    /// The store answers and is ours.
    pub const STORE: &str = "StoreUsable";
    /// Some server acts: this one, or another one on the same store.
    pub const LEADER: &str = "LeaderKnown";
    /// The agents' network is there.
    pub const NETWORK: &str = "NetworkReady";
    /// We choose the agents' addresses.
    pub const ADDRESSES: &str = "AddressesOwned";
    /// Containers of ours without an object keep running.
    pub const QUARANTINE: &str = "Quarantined";
    /// The front end listens where agents look for it.
    pub const GATEWAY: &str = "GatewayListening";
    /// An agent cannot send from another's address.
    pub const FORGERY: &str = "ForgedAddressesBlocked";
    /// TLS is spoken with the certificate of the configuration. Told only where there is one.
    pub const TLS: &str = "CertificateUsable";
    /// Specs are written down in the data folder. Told only when they cannot be.
    pub const SNAPSHOT: &str = "SnapshotKept";
    /// Agents have a Redis.
    pub const AGENTS_REDIS: &str = "AgentsRedisReady";
}

/// A shared list of conditions, by type.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Mutex<BTreeMap<&'static str, Condition>>>);

impl Board {
    /// Says how it stands with one thing. The time of the last transition is kept while the status is the same.
    pub fn set(&self, kind: &'static str, holds: bool, reason: &str, message: impl Into<String>) {
        let status = if holds {
            ConditionStatus::True
        } else {
            ConditionStatus::False
        };
        let mut all = self.0.lock();
        let before = all.get(kind).filter(|before| before.status == status);
        let since = before.map_or_else(clock::now, |before| before.last_transition_time);
        if before.is_none() {
            tracing::info!(condition = kind, holds, reason, "host condition changed");
        }
        let condition = Condition {
            kind: kind.to_owned(),
            status,
            reason: reason.to_owned(),
            message: message.into(),
            last_transition_time: since,
            last_lines: Vec::new(),
        };
        all.insert(kind, condition);
    }

    /// Takes back what was said of a thing: there is nothing to say any more.
    pub fn clear(&self, kind: &str) {
        self.0.lock().remove(kind);
    }

    /// All of them, by type.
    pub fn list(&self) -> Vec<Condition> {
        self.0.lock().values().cloned().collect()
    }
}
