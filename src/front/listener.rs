//! Listening sockets: binding them, accepting from them, and who is let in.

use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use ipnet::Ipv4Net;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::Connected;

/// Connections that the system keeps for us before we accept them.
const BACKLOG: u32 = 1024;

/// How long accepting pauses when the process is out of file descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// What kind of address a client came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerKind {
    /// This machine's loopback.
    Loopback,
    /// The agents' network's gateway; only peers from this subnet are let in.
    Gateway(Ipv4Net),
    /// An address that the operator opened.
    Extra,
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct BindError {
    /// Which.
    pub address: SocketAddr,
    /// Why.
    #[source]
    pub source: std::io::Error,
}

/// A bound listener; dropped, it stops listening at once, so that its address can be bound again.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) local: SocketAddr,
    pub(super) kind: ListenerKind,
    /// Whether TLS is spoken there.
    pub(super) tls: bool,
    stop: CancellationToken,
    whose: Whose,
    listener: Arc<TcpListener>,
}

/// Who has a socket beside us: as long as somebody does, it is let go of, and not shut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    /// Nobody.
    Ours,
    /// Another server, which hands it over to us or gets it from us.
    Shared,
    /// Who started us.
    Held,
}

impl Bound {
    /// Whether who started us keeps the socket.
    pub(super) fn is_held(&self) -> bool {
        self.whose == Whose::Held
    }

    /// The socket, for another process.
    pub(super) fn socket(&self) -> std::io::Result<OwnedFd> {
        self.listener.as_fd().try_clone_to_owned()
    }

    /// Lets go of the socket, which another process has too: it listens on.
    pub(super) fn let_go(mut self) {
        self.whose = Whose::Shared;
    }

    /// The other server has let go: from now on the socket ends with us, unless it is held.
    pub(super) fn keep(&mut self) {
        if self.whose == Whose::Shared {
            self.whose = Whose::Ours;
        }
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        self.stop.cancel();
        if self.whose != Whose::Ours {
            return;
        }
        // The accepting task closes the socket when it next runs; until then it is a listener no more. Fails only on a socket
        // that does not listen.
        let _ = rustix::net::shutdown(&*self.listener, rustix::net::Shutdown::Both);
    }
}

/// Binds an address at once: a listener that was just dropped does not stand in the way.
pub(super) fn bind(address: SocketAddr, kind: ListenerKind) -> Result<Bound, BindError> {
    let listen = || {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            let socket = TcpSocket::new_v6()?;
            if address.ip().is_unspecified() {
                // Every address means those of IPv4 too, whatever net.ipv6.bindv6only says.
                rustix::net::sockopt::set_ipv6_v6only(&socket, false)?;
            }
            socket
        };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?;
        let local = listener.local_addr()?;
        Ok((listener, local))
    };
    let (listener, local) = listen().map_err(|source| BindError { address, source })?;
    Ok(bound(listener, local, kind, Whose::Ours))
}

/// Takes over a socket that listens on an address already, for another process as well until [`Bound::keep`].
pub(super) fn adopt(
    socket: std::net::TcpListener,
    address: SocketAddr,
    kind: ListenerKind,
) -> Result<Bound, BindError> {
    let listener = socket
        .set_nonblocking(true)
        .and_then(|()| TcpListener::from_std(socket))
        .map_err(|source| BindError { address, source })?;
    Ok(bound(listener, address, kind, Whose::Shared))
}

/// Accepts from a socket that stays whoever's it is.
pub(super) fn held(
    socket: &std::net::TcpListener,
    address: SocketAddr,
    kind: ListenerKind,
) -> Result<Bound, BindError> {
    let socket = socket
        .try_clone()
        .map_err(|source| BindError { address, source })?;
    let mut bound = adopt(socket, address, kind)?;
    bound.whose = Whose::Held;
    Ok(bound)
}

fn bound(listener: TcpListener, local: SocketAddr, kind: ListenerKind, whose: Whose) -> Bound {
    Bound {
        local,
        kind,
        tls: false,
        stop: CancellationToken::new(),
        whose,
        listener: Arc::new(listener),
    }
}

/// Accepts from the moment when the doors are open until the listener is dropped.
pub(super) fn accept<F>(
    bound: &Bound,
    doors: CancellationToken,
    places: Arc<Semaphore>,
    accepted: F,
) -> impl Future<Output = ()> + use<F>
where
    F: Fn(TcpStream, SocketAddr, OwnedSemaphorePermit),
{
    let (listener, stop) = (Arc::clone(&bound.listener), bound.stop.clone());
    async move {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = doors.cancelled() => {}
        }
        loop {
            let next = async {
                let place = Arc::clone(&places)
                    .acquire_owned()
                    .await
                    .map_err(std::io::Error::other)?;
                let (stream, peer) = listener.accept().await?;
                Ok::<_, std::io::Error>((stream, peer, place))
            };
            let next = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                next = next => next,
            };
            match next {
                Ok((stream, peer, place)) => accepted(stream, peer, place),
                Err(error) if concerns_one_client(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

fn concerns_one_client(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

/// Who this is; `None`: not to be let in.
pub(super) fn admit(
    stream: &TcpStream,
    peer: SocketAddr,
    listening: SocketAddr,
    kind: ListenerKind,
) -> Option<Connected> {
    let local = stream.local_addr().unwrap_or(listening);
    let (peer, local) = (canonical(peer), canonical(local));
    if let ListenerKind::Gateway(subnet) = kind {
        let inside = matches!(peer.ip(), std::net::IpAddr::V4(ip) if subnet.contains(&ip));
        if !inside {
            tracing::debug!(%peer, "a connection to the gateway's address from outside the agents' network was closed");
            return None;
        }
    }
    // A listener on every address has loopback among them.
    let listener = if local.ip().is_loopback() {
        ListenerKind::Loopback
    } else {
        kind
    };
    // Both fail only on a connection that is gone already.
    let _ = stream.set_nodelay(true);
    let _ = rustix::net::sockopt::set_socket_keepalive(stream, true);
    Some(Connected {
        peer,
        local,
        listener,
        tls: false,
    })
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
