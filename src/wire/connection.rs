//! How a request reached us. The front end sets it as an extension of every request; `api` decides by it what a token
//! is good for, and `proxy` which `Forwarded` lines to write. A value alone.

use std::net::SocketAddr;

/// The connection that a request came on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Via {
    /// Who connected.
    pub peer: SocketAddr,
    /// Where.
    pub listener: Listener,
}

/// Which of our listeners (design, section 6, "Listeners").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Listener {
    /// A loopback address of the host.
    Loopback,
    /// The gateway of the agents' network: only agents come this way.
    Gateway,
    /// What the operator opened with `--listen`.
    Extra,
}
