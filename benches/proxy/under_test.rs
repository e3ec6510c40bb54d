//! Agentainer's data path as it ships, by itself: the front end and the proxy over a table that holds the one agent.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use agentainer::agent::{Uid, spec};
use agentainer::endpoints::{Endpoints, Publication, PublishedEndpoint};
use agentainer::front::{Front, Limits};
use agentainer::names::AgentName;
use agentainer::observed::ContainerId;
use agentainer::plan::EndpointState;
use agentainer::proxy::{Proxy, Settings};
use agentainer::tokens::{ServerKey, Tokens};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;

pub fn run(agent: SocketAddr, workers: usize) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let endpoints = Arc::new(Endpoints::default());
        let name = AgentName::new("bench").unwrap();
        endpoints.publish(&name, publication(agent), agentainer::clock::now());
        let tokens = Tokens::new(ServerKey::random(), "nobody's", true);
        let proxy = Arc::new(Proxy::new(
            endpoints,
            Arc::new(move |value| tokens.is_ours(value)),
            Settings::default(),
        ));
        let router = tower::service_fn(|_: Request<Incoming>| {
            std::future::ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())))
        });
        let front = Front::new(proxy, router, Limits::default());
        let address = front.listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        println!("{address}");
        std::future::pending::<()>().await;
    });
}

fn publication(agent: SocketAddr) -> Publication {
    Publication {
        uid: Uid("life".to_owned()),
        endpoints: vec![PublishedEndpoint {
            container: ContainerId("container".to_owned()),
            address: agent,
            state: EndpointState::Ready,
        }],
        departed: [].into(),
        explanation: String::new(),
        starting: false,
        proxy: spec::Proxy::default(),
        persistence: None,
    }
}
