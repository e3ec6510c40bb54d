//! Whether a container still has its address, on a network where the engine chooses addresses and gives one that came free
//! to the next container at once (law 4). There each event of the engine is a doubt, and the first new connection after
//! it asks the engine before a byte is sent. On a network of ours addresses rest, and nobody is asked.
//!
//! An engine that is silent gives no address away, so that routing goes on (law 6), but for a container whose own end was
//! told before the silence: its address may have been given away by then.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::names::AgentName;
use crate::observed::ContainerId;

/// Asks the engine whether a container of an agent runs under an address now; in bounded time.
pub type Check =
    dyn Fn(AgentName, ContainerId, IpAddr) -> BoxFuture<'static, Holding> + Send + Sync;

/// What the engine says of a container and an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holding {
    /// It runs under it.
    Has,
    /// It does not.
    HasNot,
    /// The engine does not answer.
    Silent,
}

/// A silent engine is not asked again for so long.
const SILENCE: Duration = Duration::from_secs(2);

/// What all endpoints of a table share.
#[derive(Default)]
pub(super) struct Doubt {
    /// Addresses are the engine's to choose.
    pub(super) adopted: AtomicBool,
    /// Goes up with each event; the first connection of all is a doubt too.
    pub(super) events: AtomicU64,
    pub(super) check: OnceLock<Arc<Check>>,
}

impl std::fmt::Debug for Doubt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Doubt")
            .field("adopted", &self.adopted)
            .field("events", &self.events)
            .finish_non_exhaustive()
    }
}

/// One endpoint's certainty.
#[derive(Debug)]
pub(super) struct Certainty {
    agent: AgentName,
    doubt: Arc<Doubt>,
    /// Sure as of which event, and one more; 0: never.
    sure: AtomicU64,
    /// The end of its process, or its leaving the network, was told, and it was not seen there since.
    left: AtomicBool,
    /// How many answers there were.
    answers: AtomicU64,
    last: Mutex<Option<(Holding, Instant)>>,
}

impl Certainty {
    pub(super) fn new(agent: AgentName, doubt: Arc<Doubt>) -> Self {
        Self {
            agent,
            doubt,
            sure: AtomicU64::new(0),
            left: AtomicBool::new(false),
            answers: AtomicU64::new(0),
            last: Mutex::default(),
        }
    }

    /// The container ended or left the network, as an event says.
    pub(super) fn leave(&self) {
        self.left.store(true, Ordering::Release);
    }

    /// Whether it is sure that the container has the address; the engine is asked where it is not.
    pub(super) async fn holds(&self, container: &ContainerId, address: IpAddr) -> bool {
        if !self.doubt.adopted.load(Ordering::Acquire) || self.sure() {
            return true;
        }
        let Some(check) = self.doubt.check.get() else {
            return true;
        };
        // Many connections at once are one question, and have one answer.
        let before = self.answers.load(Ordering::Acquire);
        let mut last = self.last.lock().await;
        if self.sure() {
            return true;
        }
        let shared = self.answers.load(Ordering::Acquire) != before;
        if let Some((holding, at)) = *last
            && (shared || (holding == Holding::Silent && at.elapsed() < SILENCE))
            && holding != Holding::Has
        {
            return self.may(holding);
        }
        let as_of = self.doubt.events.load(Ordering::Acquire);
        let holding = check(self.agent.clone(), container.clone(), address).await;
        *last = Some((holding, Instant::now()));
        self.answers.fetch_add(1, Ordering::AcqRel);
        if holding == Holding::Has {
            self.left.store(false, Ordering::Release);
            self.sure.store(as_of.saturating_add(1), Ordering::Release);
        }
        self.may(holding)
    }

    fn may(&self, holding: Holding) -> bool {
        match holding {
            Holding::Has => true,
            Holding::HasNot => false,
            Holding::Silent => !self.left.load(Ordering::Acquire),
        }
    }

    fn sure(&self) -> bool {
        self.sure.load(Ordering::Acquire) > self.doubt.events.load(Ordering::Acquire)
    }
}
