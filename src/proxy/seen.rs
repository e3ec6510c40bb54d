//! What the proxy tells of all agents at one moment, for a scrape.

use super::Proxy;
use super::pick::ejected;
use crate::plan::EndpointState;
use crate::telemetry::exposition::AgentMetrics;
use crate::telemetry::figures::AgentSample;

impl Proxy {
    /// Every agent of the table, in the order of their names; what is not the proxy's to tell is left empty.
    pub fn agents_seen(&self) -> Vec<AgentMetrics> {
        let table = self.endpoints.table();
        let mut all: Vec<AgentMetrics> = table
            .routes
            .iter()
            .map(|(name, route)| {
                let count = |wanted: EndpointState| {
                    let of = route.endpoints.iter().filter(|(_, state)| *state == wanted);
                    of.count() as u64
                };
                AgentMetrics {
                    name: name.to_string(),
                    traffic: route.figures.read(),
                    in_flight: route.endpoints.iter().map(|(one, _)| one.in_flight()).sum(),
                    instances: vec![
                        ("ready", count(EndpointState::Ready)),
                        ("starting", count(EndpointState::Starting)),
                        ("draining", count(EndpointState::Draining)),
                    ],
                    ejected: ejected(&route.endpoints) as u64,
                    ..AgentMetrics::default()
                }
            })
            .collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// What was counted of requests that name no agent, or none that exists.
    pub fn nobody_seen(&self) -> AgentSample {
        self.nobody.read()
    }
}
