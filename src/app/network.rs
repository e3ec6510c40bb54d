//! What follows the agents' network: the listener on its gateway, the agents' Redis there, and our own container when
//! we run in one.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::redises::AgentsRedisKeeper;
use crate::front::Front;
use crate::observed::{ContainerId, Network};
use crate::reconcile::{Board, host_condition};
use crate::runtime::ContainerRuntime;

/// Between two looks at what is settled: the network's place may stay while what hangs on it is gone.
const SETTLED: Duration = Duration::from_secs(30);
/// Between two tries to listen where listening failed.
const RETRY: Duration = Duration::from_secs(5);

/// Keeps what hangs on the network where the network is.
pub(super) struct Follower {
    pub(super) front: Arc<Front<Router>>,
    pub(super) agents_redis: AgentsRedisKeeper,
    pub(super) board: Board,
    pub(super) runtime: Arc<dyn ContainerRuntime>,
    pub(super) own_container: Option<ContainerId>,
    pub(super) port: u16,
    /// Sockets for the gateway that were said to be elsewhere.
    pub(super) idle: Vec<SocketAddr>,
}

impl Follower {
    /// Adapts whenever the network changes, until shutdown.
    pub(super) async fn follow(
        mut self,
        mut network: watch::Receiver<Option<Network>>,
        shutdown: CancellationToken,
    ) {
        loop {
            let now = network.borrow_and_update().clone();
            let settled = self.adapt(now.as_ref()).await;
            let again = tokio::time::sleep(if settled { SETTLED } else { RETRY });
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                changed = network.changed() => if changed.is_err() { return },
                () = again => {}
            }
        }
    }

    /// Whether all is where it should be.
    async fn adapt(&mut self, network: Option<&Network>) -> bool {
        let Some(network) = network else { return true };
        if let Some(own) = &self.own_container {
            return self.join(own, network).await;
        }
        let place = network.gateway.zip(network.subnet);
        let listening = match self.front.set_gateway(place, self.port) {
            Ok(()) => {
                let at = network.gateway.map_or_else(String::new, |gateway| {
                    format!(" on {gateway}:{}", self.port)
                });
                let idle = self.idle(network.gateway.is_some(), &at);
                self.board.set(
                    host_condition::GATEWAY,
                    true,
                    "Listening",
                    format!("agents reach agentainer{at}{idle}"),
                );
                true
            }
            Err(error) => {
                let cause = std::error::Error::source(&error)
                    .map_or_else(String::new, |cause| format!(": {cause}"));
                self.board.set(
                    host_condition::GATEWAY,
                    false,
                    "NotListening",
                    format!("{error}{cause}"),
                );
                false
            }
        };
        let redis = self.agents_redis.adapt(network.gateway, &self.board).await;
        listening && redis
    }

    /// What is told of sockets that were passed for the gateway and are not there. All others are accepted from long since.
    fn idle(&mut self, known: bool, at: &str) -> String {
        let idle = match known {
            true => self.front.idle(),
            false => Vec::new(),
        };
        if idle.is_empty() {
            self.idle.clear();
            return String::new();
        }
        let sockets: Vec<String> = idle.iter().map(ToString::to_string).collect();
        let sockets = sockets.join(", ");
        if self.idle != idle {
            tracing::warn!(
                "nobody accepts from {sockets}, passed as 'gateway': agents reach agentainer{at}"
            );
            self.idle = idle;
        }
        format!("; nobody accepts from {sockets}, passed as 'gateway'")
    }

    /// In a container: on the agents' network, under the name `agentainer`.
    async fn join(&self, own: &ContainerId, network: &Network) -> bool {
        let aliases = BTreeSet::from(["agentainer".to_owned()]);
        let joined = network
            .members
            .keys()
            .any(|member| member.starts_with(&own.0) || own.0.starts_with(member.as_str()));
        let result = match joined {
            true => Ok(()),
            false => self.runtime.connect(own, &network.id, &aliases, None).await,
        };
        match result {
            Ok(()) => {
                self.board.set(
                    host_condition::GATEWAY,
                    true,
                    "Joined",
                    format!("agentainer is on {}", network.name),
                );
                true
            }
            Err(error) => {
                self.board.set(
                    host_condition::GATEWAY,
                    false,
                    "NotJoined",
                    error.to_string(),
                );
                false
            }
        }
    }
}
