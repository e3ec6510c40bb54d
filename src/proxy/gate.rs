//! `proxy.maxInFlight`: how many requests an agent has at once. As many again wait in line for a while; more are refused.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A place among the requests that an agent has at once; free again when it is dropped.
pub(super) type Place = OwnedSemaphorePermit;

/// The gates of all agents that have a limit. Those without never come here.
#[derive(Debug, Default)]
pub(super) struct Gates(Mutex<BTreeMap<String, Arc<Gate>>>);

#[derive(Debug)]
struct Gate {
    limit: usize,
    places: Arc<Semaphore>,
    line: Semaphore,
}

impl Gate {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            places: Arc::new(Semaphore::new(limit)),
            line: Semaphore::new(limit),
        }
    }

    fn idle(&self) -> bool {
        self.places.available_permits() == self.limit
    }
}

/// No place came free in time, or the line is full.
#[derive(Debug)]
pub(super) struct Full;

impl Gates {
    /// A place for a request to an agent with this limit, within `patience`. A limit that changes begins anew: what is in flight
    /// under the former one does not count.
    ///
    /// # Errors
    /// [`Full`].
    pub(super) async fn enter(
        &self,
        agent: &str,
        limit: u32,
        patience: Duration,
    ) -> Result<Place, Full> {
        let gate = self.of(agent, limit);
        if let Ok(place) = Arc::clone(&gate.places).try_acquire_owned() {
            return Ok(place);
        }
        let _waits = gate.line.try_acquire().map_err(|_| Full)?;
        let place = Arc::clone(&gate.places).acquire_owned();
        match tokio::time::timeout(patience, place).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(Full),
        }
    }

    fn of(&self, agent: &str, limit: u32) -> Arc<Gate> {
        let limit = usize::try_from(limit)
            .unwrap_or(usize::MAX)
            .min(Semaphore::MAX_PERMITS);
        let mut gates = self.0.lock();
        if let Some(gate) = gates.get(agent).filter(|gate| gate.limit == limit) {
            return Arc::clone(gate);
        }
        // Agents come and go; a gate that nobody is in holds nothing.
        gates.retain(|_, gate| !gate.idle());
        let gate = Arc::new(Gate::new(limit));
        gates.insert(agent.to_owned(), Arc::clone(&gate));
        gate
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn so_many_go_through_as_many_wait_and_more_are_refused_at_once() {
        let gates = Arc::new(Gates::default());
        let first = gates.enter("users", 1, PATIENCE).await.unwrap();
        let waits = tokio::spawn({
            let gates = Arc::clone(&gates);
            async move { gates.enter("users", 1, PATIENCE).await }
        });
        tokio::task::yield_now().await;
        let before = tokio::time::Instant::now();
        assert!(
            gates.enter("users", 1, PATIENCE).await.is_err(),
            "the line is full"
        );
        assert_eq!(before.elapsed(), Duration::ZERO);
        assert!(
            gates.enter("auth", 1, PATIENCE).await.is_ok(),
            "another agent's is another"
        );
        drop(first);
        let second = waits.await.unwrap().unwrap();
        assert!(gates.enter("users", 1, PATIENCE).await.is_err());
        assert_eq!(
            before.elapsed(),
            PATIENCE,
            "it waited for as long as it may"
        );
        drop(second);
        assert!(gates.enter("users", 1, PATIENCE).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_leaves_the_line() {
        let gates = Gates::default();
        let _held = gates.enter("users", 1, PATIENCE).await.unwrap();
        for _ in 0..3 {
            let gone =
                tokio::time::timeout(Duration::from_secs(1), gates.enter("users", 1, PATIENCE));
            assert!(gone.await.is_err(), "it waited and was dropped");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn another_limit_holds_at_once_and_idle_gates_are_forgotten() {
        let gates = Gates::default();
        let _one = gates.enter("users", 1, PATIENCE).await.unwrap();
        let _two = gates.enter("users", 2, PATIENCE).await.unwrap();
        let _three = gates.enter("users", 2, PATIENCE).await.unwrap();
        assert!(gates.enter("users", 2, Duration::ZERO).await.is_err());
        for n in 0..100 {
            drop(gates.enter(&format!("a{n}"), 1, PATIENCE).await.unwrap());
        }
        assert!(gates.0.lock().len() <= 2);
    }
}
