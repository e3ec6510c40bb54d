//! Where this server listens, and how the API is told by which door a request came.

use anyhow::{Context as _, Result};
use axum::Router;
use http::Request;

use crate::config::ServeConfig;
use crate::front::{Connected, Front, ListenerKind};
use crate::wire::{Listener, Via};

/// Loopback always, what the operator named, and everything of our own namespace when we are in a container.
pub(super) fn listen(
    front: &Front<Router>,
    config: &ServeConfig,
    in_container: bool,
) -> Result<()> {
    let remedy = || {
        format!(
            "is another server running? `agentainer serve --port` takes another port than {}",
            config.port
        )
    };
    if in_container {
        front
            .listen((std::net::Ipv4Addr::UNSPECIFIED, config.port).into())
            .with_context(remedy)?;
    }
    for address in &config.listen {
        front
            .listen(address.or_port(config.port))
            .with_context(|| format!("--listen: {}", remedy()))?;
    }
    // Last: one of those may be every address, with loopback among them.
    if !in_container {
        front.listen_loopback(config.port).with_context(remedy)?;
    }
    Ok(())
}

/// Tells the API how a request came, in its own words.
pub(super) async fn with_via(mut request: Request<axum::body::Body>) -> Request<axum::body::Body> {
    if let Some(connected) = request.extensions().get::<Connected>().copied() {
        let listener = match connected.listener {
            ListenerKind::Loopback => Listener::Loopback,
            ListenerKind::Gateway(_) => Listener::Gateway,
            ListenerKind::Extra => Listener::Extra,
        };
        request.extensions_mut().insert(Via {
            peer: connected.peer,
            listener,
        });
    }
    request
}
