//! Where this server listens, and how the API is told by which door a request came.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use axum::Router;
use http::Request;

use crate::config::ServeConfig;
use crate::front::{Certificate, ClientRate, Connected, Front, Hosts, Limits, ListenerKind};
use crate::keys::TLS_PORT;
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

/// The addresses where TLS is spoken: those that the operator named, else beside each that is listened on in clear text.
pub(super) fn listen_tls(
    front: &Front<Router>,
    config: &ServeConfig,
    certificate: &Arc<Certificate>,
    in_container: bool,
) -> Result<()> {
    let every = IpAddr::from(Ipv4Addr::UNSPECIFIED);
    let named = &config.tls_listen;
    let mut wanted: Vec<SocketAddr> = match named.is_empty() {
        false => named.iter().map(|one| one.or_port(TLS_PORT)).collect(),
        true if in_container => vec![(every, TLS_PORT).into()],
        true => config
            .listen
            .iter()
            .map(|one| SocketAddr::new(one.ip, TLS_PORT))
            .collect(),
    };
    if named.is_empty() && !wanted.iter().any(|one| one.ip().is_unspecified()) {
        wanted.push((Ipv4Addr::LOCALHOST, TLS_PORT).into());
        // Where the machine has it.
        let six = (Ipv6Addr::LOCALHOST, TLS_PORT).into();
        if let Err(error) = front.listen_tls(six, certificate) {
            tracing::debug!(%error, "no IPv6 loopback");
        }
    }
    for address in wanted {
        front.listen_tls(address, certificate).context(
            "--tls-listen: what listens there? `agentainer serve --tls-listen ADDR:PORT` takes another port than 8443",
        )?;
    }
    Ok(())
}

/// What the front end lets in.
pub(super) fn limits(config: &ServeConfig) -> Limits {
    let client_rate = config.client_rate.map(|rate| ClientRate {
        count: rate.count,
        within: rate.within,
        burst: config.client_burst.unwrap_or_else(|| rate.a_second()),
    });
    Limits {
        client_rate,
        ..Limits::default()
    }
}

/// Which hosts are agents'.
pub(super) fn hosts(config: &ServeConfig) -> Hosts {
    let domain = config.agent_domain.as_deref();
    domain.map_or_else(Hosts::default, |domain| {
        Hosts::below(domain, &config.allow_host)
    })
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
