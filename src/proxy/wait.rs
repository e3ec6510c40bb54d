//! Waiting for an agent that is starting: its requests are held for a while instead of refused.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::refusal::Refusal;
use crate::endpoints::{Endpoints, Route};
use crate::plan::EndpointState;

/// How long a request is held, and how many are at once.
#[derive(Debug)]
pub(super) struct Waiting {
    hold: Duration,
    places: Semaphore,
}

/// How long after a failed connection the table may still tell that the instance behind it is gone.
const GRACE: Duration = Duration::from_secs(1);

impl Waiting {
    pub(super) fn new(hold: Duration, places: usize) -> Self {
        Self {
            hold,
            places: Semaphore::new(places.min(Semaphore::MAX_PERMITS)),
        }
    }

    /// The agent's route, as soon as one endpoint is ready, at most so long from now.
    ///
    /// # Errors
    /// [`Refusal`]: there is no such agent, or it is not ready and not worth waiting for (any longer).
    pub(super) async fn find<'a>(
        &self,
        endpoints: &Endpoints,
        agent: &'a str,
        patience: Duration,
    ) -> Result<Arc<Route>, Refusal<'a>> {
        let route = look(endpoints, agent)?;
        if has(&route, EndpointState::Ready) {
            return Ok(route);
        }
        Box::pin(self.hold(endpoints, agent, route, patience)).await
    }

    async fn hold<'a>(
        &self,
        endpoints: &Endpoints,
        agent: &'a str,
        route: Arc<Route>,
        patience: Duration,
    ) -> Result<Arc<Route>, Refusal<'a>> {
        if !expected(&route) {
            return Err(Refusal::NotReady { agent, route });
        }
        let Ok(_place) = self.places.try_acquire() else {
            return Err(Refusal::Crowded { agent });
        };
        let _waits = route.figures.waits();
        let mut changes = endpoints.changes();
        let until = Instant::now() + patience;
        loop {
            changes.mark_unchanged();
            let route = look(endpoints, agent)?;
            if has(&route, EndpointState::Ready) {
                return Ok(route);
            }
            if !expected(&route) || !changed(&mut changes, until).await {
                return Err(Refusal::NotReady { agent, route });
            }
        }
    }

    /// Whether the agent's route becomes another one than this within a moment: an instance that just died is still in the
    /// table until its end was heard of.
    pub(super) async fn moves_on(
        &self,
        endpoints: &Endpoints,
        agent: &str,
        route: &Arc<Route>,
    ) -> bool {
        let Ok(_place) = self.places.try_acquire() else {
            return false;
        };
        let mut changes = endpoints.changes();
        let until = Instant::now() + GRACE.min(self.hold);
        loop {
            changes.mark_unchanged();
            match look(endpoints, agent) {
                Ok(now) if Arc::ptr_eq(&now, route) => {}
                Ok(_) | Err(_) => return true,
            }
            if !changed(&mut changes, until).await {
                return false;
            }
        }
    }
}

async fn changed(changes: &mut watch::Receiver<u64>, until: Instant) -> bool {
    matches!(
        tokio::time::timeout_at(until, changes.changed()).await,
        Ok(Ok(()))
    )
}

/// The agent's route as it is.
///
/// # Errors
/// [`Refusal::Unknown`].
pub(super) fn look<'a>(endpoints: &Endpoints, agent: &'a str) -> Result<Arc<Route>, Refusal<'a>> {
    endpoints
        .table()
        .routes
        .get(agent)
        .map(Arc::clone)
        .ok_or(Refusal::Unknown { agent })
}

/// Whether a ready endpoint is expected soon.
fn expected(route: &Route) -> bool {
    route.starting || has(route, EndpointState::Starting)
}

pub(super) fn has(route: &Route, wanted: EndpointState) -> bool {
    route.endpoints.iter().any(|(_, state)| *state == wanted)
}
