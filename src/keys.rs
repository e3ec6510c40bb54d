//! Every Redis key, Docker label and well-known constant of ours, in one place.
//!
//! Layer 0. Changing anything here replaces containers or forgets data: see `docs/` and the golden tests.

/// Labels on containers, networks and images.
pub mod label {
    /// The random id of the store and data folder that own the object. Another cluster's objects are never ours.
    pub const CLUSTER: &str = "agentainer.dev/cluster";
    /// The agent's name.
    pub const AGENT: &str = "agentainer.dev/agent";
    /// The agent's uid: a re-created agent of the same name has another.
    pub const UID: &str = "agentainer.dev/uid";
    /// The agent's generation when the container was created.
    pub const GENERATION: &str = "agentainer.dev/generation";
    /// The container-shaping revision, see `agent::revision`.
    pub const REVISION: &str = "agentainer.dev/revision";
    /// The place among the replicas, from 0.
    pub const ORDINAL: &str = "agentainer.dev/ordinal";
    /// The place in that ordinal's history, from 1.
    pub const INCARNATION: &str = "agentainer.dev/incarnation";
    /// The spec as canonical JSON without environment values.
    pub const SPEC: &str = "agentainer.dev/spec";
    /// The bundle that applied the agent, for `recover`.
    pub const OWNER: &str = "agentainer.dev/owner";
    /// The agent's annotation of that name when the container was created: it is part of the revision.
    pub const RESTARTED_AT: &str = super::RESTARTED_AT;
    /// The store's epoch when the container was created: a store of a lower epoch is older than the container.
    pub const EPOCH: &str = "agentainer.dev/epoch";
}

/// The finalizer that keeps an agent's object until its containers are gone.
pub const FINALIZER: &str = "agentainer.dev/containers";
/// The annotation whose change makes a new revision with the image resolved anew (`restart`).
pub const RESTARTED_AT: &str = "agentainer.dev/restarted-at";
/// The annotation that holds a rollout while it is `true`.
pub const ROLLOUT_PAUSED: &str = "agentainer.dev/rollout-paused";
/// The annotation that remembers where a `build:` came from.
pub const BUILT_FROM: &str = "agentainer.dev/built-from";
/// The owner of agents applied without a bundle of their own.
pub const DEFAULT_OWNER: &str = "default";
/// The default name of the agents' network.
pub const NETWORK: &str = "agentainer-network";
/// The port of the front end, on loopback and on the agents' gateway.
pub const PORT: u16 = 8081;
/// The port of the front end for TLS.
pub const TLS_PORT: u16 = 8443;
/// The port of the agents' Redis on the gateway.
pub const AGENTS_REDIS_PORT: u16 = 6379;
/// The seed's token: a viewer on the loopback and gateway listeners alone.
pub const DEFAULT_TOKEN: &str = "agentainer-default-token";
/// The variable in which an agent finds its own token: the one secret among those that we set.
pub const TOKEN_VARIABLE: &str = "AGENTAINER_TOKEN";
/// The API version of our kinds.
pub const API_VERSION: &str = "agentainer.dev/v1";

/// Redis keys under one prefix, so that a store can be shared with nothing or moved as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    prefix: String,
}

impl Default for Keys {
    fn default() -> Self {
        Self::new("agentainer:")
    }
}

impl Keys {
    /// Keys under `prefix`, which ends with its own separator.
    pub fn new(prefix: impl Into<String>) -> Self {
        Self {
            prefix: prefix.into(),
        }
    }
    /// The prefix itself.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
    /// A hash: `id` and `epoch` of the cluster, and `token-key`, under which agents' tokens are signed.
    pub fn cluster(&self) -> String {
        format!("{}cluster", self.prefix)
    }
    /// A hash: agent name → `<version> <uid> <number of finalizers> <deletion timestamp or nothing>`, a line feed, and the
    /// object as JSON (metadata, spec; no status). The head overrides the JSON, so that scripts never parse JSON.
    pub fn agents(&self) -> String {
        format!("{}agents", self.prefix)
    }
    /// A hash: agent name → what its owner's manifest last named, as JSON.
    pub fn applied(&self) -> String {
        format!("{}applied", self.prefix)
    }
    /// A hash: agent name → status as JSON.
    pub fn statuses(&self) -> String {
        format!("{}statuses", self.prefix)
    }
    /// A counter: the last resource version given.
    pub fn version(&self) -> String {
        format!("{}version", self.prefix)
    }
    /// The capped change stream; an entry's id is `<resource version>-0`.
    pub fn changes(&self) -> String {
        format!("{}changes", self.prefix)
    }
    /// A sorted set: uid, by the time of its end in milliseconds since 1970. Capped.
    pub fn tombstones(&self) -> String {
        format!("{}tombstones", self.prefix)
    }
    /// A hash for each life of an agent: ordinal → last incarnation reserved.
    pub fn incarnations(&self, uid: &str) -> String {
        format!("{}incarnations:{uid}", self.prefix)
    }
    /// A counter that walks over the agents' addresses, so that an address rests before it is given again.
    pub fn address_cursor(&self) -> String {
        format!("{}address-cursor", self.prefix)
    }
    /// A hash per agent: revision → record as JSON.
    pub fn revisions(&self, uid: &str) -> String {
        format!("{}revisions:{uid}", self.prefix)
    }
    /// A hash: event id → `<count> <first seen> <last seen in ms>`, a line feed, and the record as JSON. An id is
    /// `<agent>/<reason>/<ms of its first>`. Capped.
    pub fn events(&self) -> String {
        format!("{}events", self.prefix)
    }
    /// A sorted set: event id, by a counter, so that the latest is known.
    pub fn events_order(&self) -> String {
        format!("{}events-order", self.prefix)
    }
    /// A hash: `<agent>/<reason>` → the event id that counts up.
    pub fn events_current(&self) -> String {
        format!("{}events-current", self.prefix)
    }
    /// A hash: `holder` of the lease (`<server>/<run>`), its `term`, and `until`, in milliseconds of Redis' time.
    pub fn lease(&self) -> String {
        format!("{}lease", self.prefix)
    }
    /// A hash: `<server>/<run>` → until when its sign of life counts in milliseconds of Redis' time, a line feed, and its
    /// report as JSON.
    pub fn members(&self) -> String {
        format!("{}members", self.prefix)
    }
    /// What the journal's keys begin with. Its scripts put them together (`journal/redis/scripts/shared.lua`); below this prefix are
    ///
    /// | key | holds |
    /// | --- | --- |
    /// | `record:<id>` | text: a request without its body, and what became of it; see `journal/redis/read.rs` |
    /// | `body:<id>`, `answer:<id>` | the body of it, and of its answer; none where that is empty |
    /// | `events:<id>` | a stream: the events of its run, each under its place `<run>-<number>` |
    /// | `run:<id>` | a hash: of these events the last `run` and `number`, and their `bytes` |
    /// | `callback:<id>` | a hash: where it is called back (`url`), and how far that is |
    /// | `all:<uid>` | a sorted set of an agent's ids in four parts, told apart by the first of 14 digits: what waits, what waits for its time, what is in delivery, and all else, which is what is forwarded while its client waits too; each by the order of admission |
    /// | `later:<uid>` | a sorted set: ids to be delivered again, by when they are due |
    /// | `times` | a sorted set of all ids in three parts: settled ones that nobody need look at, which make room for new ones; all others; and claimed ones. The last by until when their claim holds, else by when they are forgotten or given up |
    /// | `key:<uid>:<scope>` | the id of the record that has this `Idempotency-Key`, hashed with whose it is |
    /// | `agents` | a hash: uid of an agent that has a record → how many are in each state; `bytes` of what is not settled; how many ever were admitted, and came to each end; and its name. Under the empty uid: bytes of all, and the last place in the order of admission |
    /// | `callbacks` | a sorted set: settled ids that somebody shall be told of, by when the next call is due |
    ///
    /// Times are milliseconds since 1970 of Redis' clock.
    pub fn journal(&self) -> String {
        format!("{}journal-2:", self.prefix)
    }
    /// Written to see whether writes are taken.
    pub fn ping(&self) -> String {
        format!("{}ping", self.prefix)
    }
}
