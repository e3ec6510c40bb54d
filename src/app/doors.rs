//! Where this server listens, and how the API is told by which door a request came.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use axum::Router;
use http::Request;
use tokio::sync::watch;

use super::activation::{Gate, Given};
use crate::config::ServeConfig;
use crate::front::{Certificate, ClientRate, Connected, Front, Hosts, Limits, ListenerKind};
use crate::keys::TLS_PORT;
use crate::observed::Network;
use crate::wire::{Listener, Via};

/// Opens the sockets that we were given.
///
/// # Errors
/// One for TLS without a certificate; two of one address.
pub(super) fn open_given(
    front: &Front<Router>,
    given: &[Given],
    certificate: Option<&Arc<Certificate>>,
) -> Result<()> {
    let mut addresses = BTreeSet::new();
    for one in given {
        let address = one.socket.local_addr()?;
        if !addresses.insert(address) {
            bail!("two sockets of {address} were passed");
        }
        match (one.gate, certificate) {
            (Gate::Http, _) => front.listen(address),
            (Gate::Https, Some(certificate)) => front.listen_tls(address, certificate),
            (Gate::Https, None) => {
                bail!("the socket {address} was passed as 'https', which takes --tls-cert and --tls-key")
            }
            // Once it is known where that is.
            (Gate::Gateway, _) => Ok(address),
        }
        .with_context(|| format!("a socket that was passed as '{}'", one.gate.word()))?;
    }
    Ok(())
}

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

/// The addresses where TLS is spoken: those that the operator named or has passed to us, else beside each that is listened on in
/// clear text.
pub(super) fn listen_tls(
    front: &Front<Router>,
    config: &ServeConfig,
    given: &[Given],
    certificate: &Arc<Certificate>,
    in_container: bool,
) -> Result<()> {
    if config.tls_listen.is_empty() && given.iter().any(|one| one.gate == Gate::Https) {
        return Ok(());
    }
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

/// The hosts that management requests may name beside those that are ours anyway.
pub(super) fn allowed_hosts(
    config: &ServeConfig,
    given: &[Given],
    network: watch::Receiver<Option<Network>>,
) -> impl Fn() -> Vec<String> + Send + Sync + 'static {
    let named = config.listen.iter().chain(&config.tls_listen);
    let given = given.iter().filter_map(|one| one.socket.local_addr().ok());
    let listened = named.map(|address| address.ip);
    let listened = listened.chain(given.map(|address| address.ip()));
    let listened = listened.filter(|ip| !ip.is_unspecified());
    let listened = listened.map(|ip| ip.to_string());
    let extra: Vec<String> = config.allow_host.iter().cloned().chain(listened).collect();
    move || {
        let gateway = network
            .borrow()
            .as_ref()
            .and_then(|network| network.gateway)
            .map(|ip| ip.to_string());
        extra.iter().cloned().chain(gateway).collect()
    }
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
