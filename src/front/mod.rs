//! The front end: listeners, connections, and who answers.
//!
//! Owns every public socket of the server. `/agent` and all below it go to the [`Proxy`] on hyper's own types; everything else
//! goes to a router that `app` hands in, which finds [`Connected`] among the request's extensions. Knows nothing of either's
//! insides. Listeners come and go at run time, since the gateway's address does.

mod asked;
mod connection;
mod door;
mod hosts;
mod listener;
mod patience;
mod rate;
mod router;
mod tls;
mod wire;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use ipnet::Ipv4Net;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::connection::{End, Serve};
pub use self::hosts::Hosts;
use self::listener::Bound;
pub use self::listener::{BindError, ListenerKind};
pub use self::rate::ClientRate;
pub use self::router::Router;
pub use self::tls::{Certificate, TlsError};
use crate::proxy::Proxy;

/// How long a connection without a request may have for one more when the server ends.
const IDLE: Duration = Duration::from_secs(1);

/// Who is at the other end of a request, and where it came in. Among the extensions of every request that the router gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connected {
    /// The client's address.
    pub peer: SocketAddr,
    /// Our address that it called.
    pub local: SocketAddr,
    /// What kind of listener that is.
    pub listener: ListenerKind,
    /// Whether the connection is encrypted.
    pub tls: bool,
}

/// What a front end lets in.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once by the agents' gateway, and as many by all other listeners, so that agents cannot keep people out; more
    /// wait in the system's queue.
    pub connections: usize,
    /// From the first byte of a request (or the end of the one before) to the end of its head.
    pub head_timeout: Duration,
    /// A TLS handshake, from the connection to its end.
    pub handshake_timeout: Duration,
    /// Without a request for so long, a connection is closed (GOAWAY on HTTP/2). What is in flight finishes.
    pub quiet: Duration,
    /// The largest head, in bytes.
    pub head_size: usize,
    /// The most header fields.
    pub headers: usize,
    /// Requests at once on one HTTP/2 connection.
    pub streams: u32,
    /// How much each client may ask; `None`: as much as it likes.
    pub client_rate: Option<ClientRate>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            head_timeout: Duration::from_secs(60),
            handshake_timeout: Duration::from_secs(10),
            quiet: Duration::from_secs(600),
            head_size: 128 * 1024,
            headers: connection::HYPERS_HEADERS,
            streams: 256,
            client_rate: None,
        }
    }
}

/// The front end; `R` answers what the proxy does not.
#[derive(Debug)]
pub struct Front<R> {
    serve: Arc<Serve<R>>,
    bound: Mutex<Vec<Bound>>,
    most: usize,
    places: Arc<Semaphore>,
    agents_places: Arc<Semaphore>,
    tasks: TaskTracker,
    end: End,
    /// Cancelled: what listens is accepted from.
    doors: CancellationToken,
    /// Sockets of another process that listen already, by their address.
    inherited: Mutex<BTreeMap<SocketAddr, std::net::TcpListener>>,
    /// The same of whoever started this process and keeps them.
    held: BTreeMap<SocketAddr, std::net::TcpListener>,
}

impl<R: Router> Front<R> {
    /// A front end without a listener.
    pub fn new(proxy: Arc<Proxy>, router: R, limits: Limits) -> Self {
        let connections = limits.connections.min(Semaphore::MAX_PERMITS);
        let doors = CancellationToken::new();
        doors.cancel();
        Self {
            serve: Arc::new(Serve::new(proxy, router, &limits)),
            bound: Mutex::default(),
            most: connections,
            places: Arc::new(Semaphore::new(connections)),
            agents_places: Arc::new(Semaphore::new(connections)),
            tasks: TaskTracker::new(),
            end: End::default(),
            doors,
            inherited: Mutex::default(),
            held: BTreeMap::new(),
        }
    }

    /// Agents are at hosts of their own too. To be called before anything listens.
    pub fn route_hosts(mut self, hosts: Hosts) -> Self {
        if let Some(serve) = Arc::get_mut(&mut self.serve) {
            serve.hosts = hosts;
        }
        self
    }

    /// Takes over sockets that listen already: whoever asks for one of their addresses gets that socket. Nothing is accepted
    /// until [`Self::open_doors`]; a front end that ends before leaves them as they were.
    pub fn inherit(mut self, sockets: Vec<std::net::TcpListener>) -> Self {
        self.inherited = Mutex::new(by_address(sockets));
        self.doors = CancellationToken::new();
        self
    }

    /// Sockets that listen for as long as whoever started this process keeps them, whatever becomes of us: who asks for one of their
    /// addresses accepts from that socket, and it is let go of rather than shut. To be called before anything listens.
    pub fn hold(mut self, sockets: Vec<std::net::TcpListener>) -> Self {
        self.held = by_address(sockets);
        self
    }

    /// Inherited sockets that nobody has asked for yet.
    pub fn unclaimed(&self) -> usize {
        self.inherited.lock().len()
    }

    /// Begins to accept; the process that had the inherited sockets has let go of them. Lets go of those that nobody asked for.
    pub fn open_doors(&self) {
        self.inherited.lock().clear();
        self.bound.lock().iter_mut().for_each(Bound::keep);
        self.doors.cancel();
    }

    /// All listening sockets but those that are held, for another process to accept from.
    ///
    /// # Errors
    /// When there are too many open files.
    pub fn sockets(&self) -> std::io::Result<Vec<OwnedFd>> {
        let bound = self.bound.lock();
        let ours = bound.iter().filter(|one| !one.is_held());
        ours.map(Bound::socket).collect()
    }

    /// Connections now: from agents, and from everybody else.
    pub fn connections(&self) -> (u64, u64) {
        let taken =
            |places: &Semaphore| (self.most.saturating_sub(places.available_permits())) as u64;
        (taken(&self.agents_places), taken(&self.places))
    }

    /// Stops accepting; who connects to a socket that is held waits there. Then [`Self::finish`].
    pub fn close(&self) {
        self.bound.lock().clear();
    }

    /// Stops accepting, and leaves the sockets to the process that has them too. Then [`Self::finish`].
    pub fn let_go(&self) {
        let all = std::mem::take(&mut *self.bound.lock());
        all.into_iter().for_each(Bound::let_go);
    }

    /// Listens on 127.0.0.1 and, where the machine has it, on ::1. Port 0 takes any free one. A listener on every address has
    /// loopback among them already. Must be called within tokio.
    ///
    /// # Errors
    /// [`BindError`] for 127.0.0.1; ::1 is best effort.
    pub fn listen_loopback(&self, port: u16) -> Result<SocketAddr, BindError> {
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let covered = covers(&self.bound.lock(), port);
        let local = match covered {
            true => local,
            false => self.open(local, ListenerKind::Loopback, None)?,
        };
        let six = (Ipv6Addr::LOCALHOST, local.port()).into();
        if let Err(error) = self.open(six, ListenerKind::Loopback, None) {
            tracing::debug!(%error, "no IPv6 loopback");
        }
        Ok(local)
    }

    /// Listens on a further address, which the operator named (`--listen`). Port 0 takes any free one.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn listen(&self, address: SocketAddr) -> Result<SocketAddr, BindError> {
        self.open(address, kind_of(address), None)
    }

    /// Listens on an address for TLS alone. Port 0 takes any free one.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn listen_tls(
        &self,
        address: SocketAddr,
        certificate: &Arc<Certificate>,
    ) -> Result<SocketAddr, BindError> {
        self.open(address, kind_of(address), Some(Arc::clone(certificate)))
    }

    /// Listens on the agents' network's gateway and there alone lets in only peers from the network's subnet; `None` stops
    /// listening there. The same address again changes nothing; another one replaces it. Connections that stand are kept.
    ///
    /// # Errors
    /// [`BindError`]; then nothing listens on a gateway.
    pub fn set_gateway(
        &self,
        gateway: Option<(Ipv4Addr, Ipv4Net)>,
        port: u16,
    ) -> Result<(), BindError> {
        let wanted = gateway.map(|(address, subnet)| {
            (
                SocketAddr::from((address, port)),
                ListenerKind::Gateway(subnet),
            )
        });
        let mut bound = self.bound.lock();
        let stands = |one: &Bound| wanted == Some((one.local, one.kind));
        if wanted.is_some() && bound.iter().any(stands) {
            return Ok(());
        }
        // The old one closes as it is dropped.
        bound.retain(|one| !matches!(one.kind, ListenerKind::Gateway(_)));
        let Some((address, kind)) = wanted else {
            return Ok(());
        };
        if covers(&bound, port) {
            // Every address is listened on already; who comes in by this one counts as one from outside.
            return Ok(());
        }
        if bound.iter().any(|one| one.local == address) {
            // One socket would be accepted from twice, and let in by chance who may not come in.
            let source = std::io::Error::new(
                std::io::ErrorKind::AddrInUse,
                "it is listened on for everybody; name it in no --listen or --tls-listen, and pass its socket as 'gateway'",
            );
            return Err(BindError { address, source });
        }
        let opened = self.bind(address, kind, None)?;
        bound.push(opened);
        Ok(())
    }

    /// Sockets that are held and not accepted from.
    pub fn idle(&self) -> Vec<SocketAddr> {
        let bound = self.bound.lock();
        let taken = |address: &SocketAddr| bound.iter().any(|one| one.local == *address);
        let held = self.held.keys().copied();
        held.filter(|address| !taken(address)).collect()
    }

    /// Every address that is listened on.
    pub fn listening(&self) -> Vec<(SocketAddr, ListenerKind)> {
        self.bound
            .lock()
            .iter()
            .map(|one| (one.local, one.kind))
            .collect()
    }

    /// Stops accepting, lets what is in flight finish (`Connection: close`, GOAWAY), and cuts what is left after `within`.
    /// Says whether nothing had to be cut. Tunnels are the proxy's ([`Proxy::drain`]).
    pub async fn shutdown(&self, within: Duration) -> bool {
        self.close();
        self.finish(within, IDLE).await
    }

    /// Lets what is in flight finish; closes connections on which nothing was for `idle`, and all that are left after `within`.
    /// Says whether nothing had to be cut.
    pub async fn finish(&self, within: Duration, idle: Duration) -> bool {
        let idle = idle.min(within);
        let ended = async |within| {
            tokio::time::timeout(within, self.tasks.wait())
                .await
                .is_ok()
        };
        self.end.closing.cancel();
        self.tasks.close();
        if ended(idle).await {
            return true;
        }
        self.end.idle.cancel();
        if ended(within.saturating_sub(idle)).await {
            return true;
        }
        self.end.cut.cancel();
        self.tasks.wait().await;
        false
    }

    fn open(
        &self,
        address: SocketAddr,
        kind: ListenerKind,
        tls: Option<Arc<Certificate>>,
    ) -> Result<SocketAddr, BindError> {
        let mut bound = self.bound.lock();
        if let Some(one) = bound.iter().find(|one| one.local == address) {
            let source = std::io::ErrorKind::AddrInUse.into();
            let same = one.tls == tls.is_some();
            return same.then_some(address).ok_or(BindError { address, source });
        }
        let opened = self.bind(address, kind, tls)?;
        let local = opened.local;
        bound.push(opened);
        Ok(local)
    }

    fn bind(
        &self,
        address: SocketAddr,
        kind: ListenerKind,
        tls: Option<Arc<Certificate>>,
    ) -> Result<Bound, BindError> {
        let inherited = self.inherited.lock().remove(&address);
        let mut bound = match (self.held.get(&address), inherited) {
            (Some(socket), _) => listener::held(socket, address, kind)?,
            (None, Some(socket)) => listener::adopt(socket, address, kind)?,
            (None, None) => listener::bind(address, kind)?,
        };
        bound.tls = tls.is_some();
        let places = match kind {
            ListenerKind::Gateway(_) => &self.agents_places,
            ListenerKind::Loopback | ListenerKind::Extra => &self.places,
        };
        let accepting = listener::accept(&bound, self.doors.clone(), Arc::clone(places), {
            let (serve, tasks) = (Arc::clone(&self.serve), self.tasks.clone());
            let end = self.end.clone();
            let local = bound.local;
            move |stream, peer, place| {
                let Some(mut connected) = listener::admit(&stream, peer, local, kind) else {
                    return;
                };
                connected.tls = tls.is_some();
                let (serve, tls) = (Arc::clone(&serve), tls.clone());
                let end = end.child();
                tasks.spawn(async move {
                    match tls {
                        None => serve.connection(stream, connected, end).await,
                        Some(tls) => {
                            Box::pin(serve.encrypted(&tls, stream, connected, end)).await;
                        }
                    }
                    drop(place);
                });
            }
        });
        tokio::spawn(accepting);
        Ok(bound)
    }
}

fn by_address(sockets: Vec<std::net::TcpListener>) -> BTreeMap<SocketAddr, std::net::TcpListener> {
    let addressed = |socket: std::net::TcpListener| Some((socket.local_addr().ok()?, socket));
    sockets.into_iter().filter_map(addressed).collect()
}

/// Whether one of them listens in clear text on every address of this machine, beside which none fits on the same port.
fn covers(bound: &[Bound], port: u16) -> bool {
    bound
        .iter()
        .any(|one| one.local.port() == port && one.local.ip().is_unspecified() && !one.tls)
}

fn kind_of(address: SocketAddr) -> ListenerKind {
    match address.ip().is_loopback() {
        true => ListenerKind::Loopback,
        false => ListenerKind::Extra,
    }
}
