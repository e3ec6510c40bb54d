//! Requests through the proxy, as far as routing goes: an endpoint is picked among the ready ones, the request is counted
//! on it, and lasts for a while.

use std::sync::Arc;
use std::time::Duration;

use agentainer::names::AgentName;
use agentainer::plan::EndpointState;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::sleep;

use crate::world::Shared;

/// Sends requests to an agent by way of a server for ever; often while something changes, seldom while nothing does.
pub async fn requests(shared: Arc<Shared>, server: usize, agent: AgentName, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut version, mut calm) = (0, 0);
    loop {
        let pause = 150 << std::cmp::min(calm, 7);
        sleep(Duration::from_millis(rng.random_range(pause / 2..=pause))).await;
        let Some(life) = shared.awake(server) else {
            calm = 0;
            continue;
        };
        let table = &life.table;
        let now = table.table().version;
        calm = if now == version { calm + 1 } else { 0 };
        version = now;
        let picked = {
            let table = table.table();
            let route = table.routes.get(&agent);
            let ready: Vec<_> = route
                .iter()
                .flat_map(|route| &route.endpoints)
                .filter(|(_, state)| *state == EndpointState::Ready)
                .map(|(endpoint, _)| Arc::clone(endpoint))
                .collect();
            match ready.len() {
                0 => continue,
                count => Arc::clone(&ready[rng.random_range(0..count)]),
            }
        };
        let lasts = match rng.random_range(0..10) {
            0 => rng.random_range(2_000..8_000),
            _ => rng.random_range(10..500),
        };
        let flying = picked.enter();
        let place = (server, picked.container.clone());
        *shared
            .checker
            .lock()
            .in_flight
            .entry(place.clone())
            .or_default() += 1;
        shared.step(None);
        let shared = Arc::downgrade(&shared);
        tokio::spawn(async move {
            sleep(Duration::from_millis(lasts)).await;
            // Its end is not noticed by one that stands still.
            life.wakes().await;
            drop(flying);
            if let Some(shared) = shared.upgrade() {
                let mut checker = shared.checker.lock();
                if let Some(count) = checker.in_flight.get_mut(&place) {
                    *count = count.saturating_sub(1);
                }
            }
        });
    }
}
