//! One container as a routing target: its address, what is in flight on it, and what the data path keeps beside it.

use std::any::Any;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::departure::Departure;
use super::doubt::Certainty;
use crate::observed::ContainerId;

/// What the data path keeps beside an endpoint, and what lives and dies with it: its connections. So a connection belongs
/// to a container by construction, and never to a mere address (law 4).
pub trait Companion: Any + Send + Sync + std::fmt::Debug {
    /// The container left the table, or its address changed: let go of everything that is not in use.
    fn retire(&self);

    /// The container is ready and was not: it started, or became well again.
    fn ready(&self) {}
}

/// One container as a routing target. Shared by all snapshots that hold it, so that its count survives them.
#[derive(Debug)]
pub struct Endpoint {
    /// Which container.
    pub container: ContainerId,
    /// Where it listens.
    pub address: SocketAddr,
    in_flight: AtomicU64,
    retired: AtomicBool,
    departure: Arc<Departure>,
    open: AtomicBool,
    companion: OnceLock<Box<dyn Companion>>,
    certainty: Option<Certainty>,
}

impl Endpoint {
    /// An endpoint by itself, in no table.
    pub fn new(container: ContainerId, address: SocketAddr) -> Self {
        Self {
            container,
            address,
            in_flight: AtomicU64::new(0),
            retired: AtomicBool::new(false),
            departure: Arc::default(),
            open: AtomicBool::new(true),
            companion: OnceLock::new(),
            certainty: None,
        }
    }

    /// One of a table.
    pub(super) fn within(
        container: ContainerId,
        address: SocketAddr,
        certainty: Certainty,
    ) -> Self {
        Self {
            certainty: Some(certainty),
            ..Self::new(container, address)
        }
    }

    /// Whether the container has its address still, as far as there is reason to doubt it. To be asked when a new connection
    /// stands, and before anything is sent on it: what holds then held when it was made.
    pub async fn has_its_address(&self) -> bool {
        match &self.certainty {
            Some(certainty) => certainty.holds(&self.container, self.address.ip()).await,
            None => true,
        }
    }

    /// Lets go of everything that is not in use: the container's process ended.
    pub(super) fn let_go(&self) {
        if let Some(certainty) = &self.certainty {
            certainty.leave();
        }
        if let Some(companion) = self.companion.get() {
            companion.retire();
        }
    }

    /// Whether it left the table (or changed its address): nothing new may be sent to it, since its address may be
    /// another container's by now.
    pub fn retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// Whether its container left its address, which is more than to be [retired](Self::retired): what is awaited from there
    /// never comes.
    pub const fn departure(&self) -> &Arc<Departure> {
        &self.departure
    }

    /// Whether something new may be sent to it. To be asked after [`Self::enter`], of an endpoint that was found in a table of
    /// a moment ago: it may have been told to drain since, and whoever told it looks at the count next. Each side writes
    /// before it reads, all in one order, so that one of the two sees the other: nothing enters behind a drain's back.
    pub fn open(&self) -> bool {
        self.open.load(Ordering::SeqCst)
    }

    pub(super) fn set_open(&self, open: bool) {
        let before = self.open.swap(open, Ordering::SeqCst);
        if open
            && !before
            && let Some(companion) = self.companion.get()
        {
            companion.ready();
        }
    }

    /// What the data path keeps beside this endpoint; made at the first call. `None` when it is of another type than the
    /// first caller's.
    pub fn companion<T: Companion>(&self, make: impl FnOnce() -> T) -> Option<&T> {
        let kept: &dyn Any = &**self.companion.get_or_init(|| Box::new(make()));
        kept.downcast_ref()
    }

    pub(super) fn set_retired(&self, retired: bool) {
        self.retired.store(retired, Ordering::Release);
        if retired && let Some(companion) = self.companion.get() {
            companion.retire();
        }
    }

    /// Requests in flight now.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Counts one request until the guard is dropped.
    pub fn enter(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        InFlight(Arc::clone(self))
    }
}

/// A request in flight; dropped when its answer's last byte is through.
#[derive(Debug)]
pub struct InFlight(Arc<Endpoint>);

impl InFlight {
    /// The endpoint it is in flight on.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}
