//! What the proxy tells of all agents at one moment, for a scrape.

use std::net::SocketAddr;
use std::time::Duration;

use http::{Request, Response};

use super::account::Account;
use super::body::ProxyBody;
use super::path::{self, Target};
use super::pick::ejected;
use super::refusal::Refusal;
use super::{Proxy, grpc};
use crate::plan::EndpointState;
use crate::telemetry::exposition::AgentMetrics;
use crate::telemetry::figures::AgentSample;

impl Proxy {
    /// Refuses a request of a client that asks more than it may, and tells of it as of any other: under its agent, if it names one that is
    /// there.
    pub fn too_many<B>(
        &self,
        agent: Option<&str>,
        request: &Request<B>,
        peer: SocketAddr,
        wait: Duration,
    ) -> Response<ProxyBody> {
        let log = self.access_log.as_ref();
        let mut account = Account::open(&self.nobody, log, None, request, peer.ip());
        let target = request.uri().path_and_query().and_then(path::parse);
        let named = agent.or(match target {
            Some(Target::Within { agent, .. } | Target::Bare { agent, .. }) => Some(agent),
            Some(Target::Nobody) | None => None,
        });
        if let Some(agent) = named
            && let Some(route) = self.endpoints.table().routes.get(agent)
        {
            account.is_for(agent, route);
        }
        let refusal = Refusal::TooMany(wait);
        let problem = refusal.problem();
        account.refused(problem.word());
        let call = grpc::media_type(request.headers());
        let mut response = refusal.response(problem, request.method(), call, None);
        account.head(response.status().as_u16(), None);
        response.body_mut().settle(account);
        response
    }

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
