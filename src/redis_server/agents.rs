//! The agents' Redis: on the gateway of their network, where the seed looks for it, with an ACL and a user of its own.
//!
//! It listens where it can: an address that somebody else holds is theirs, and a fact to report, never a failure.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::sync::{Mutex, watch};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::task::AbortOnDropHandle;

use super::folder::{self, Owner};
use super::link::Login;
use super::process::Process;
use super::supervisor::{RedisServer, ServerState};
use super::{Binary, RedisServerError, Result, Setup, Stopped, acl};

/// The largest value that an agent may write, in bytes.
const LARGEST_VALUE: u64 = 64 << 20;
/// How often it is asked whether it still answers.
const LOOK: Duration = Duration::from_secs(2);

/// How the agents' Redis is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentsRedisOptions {
    /// In bytes. A full one evicts what has an expiry, then refuses writes.
    pub memory: u64,
    /// The port, on the gateway and on loopback.
    pub port: u16,
}

impl Default for AgentsRedisOptions {
    fn default() -> Self {
        Self {
            memory: 256 << 20,
            port: crate::keys::AGENTS_REDIS_PORT,
        }
    }
}

/// What became of one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// We listen there.
    Bound,
    /// Somebody else does: agents see theirs.
    Taken,
    /// This machine has no such address now.
    Absent,
    /// We could, but have no use for it: loopback follows the gateway.
    Unused,
}

/// Where the agents' Redis listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listening {
    /// On the gateway; `None` while there is none.
    pub gateway: Option<(SocketAddr, Outcome)>,
    /// On loopback.
    pub loopback: (SocketAddr, Outcome),
}

impl Listening {
    /// Where agents reach it, if they do.
    pub fn bound(&self) -> Option<SocketAddr> {
        match self.gateway {
            Some((address, Outcome::Bound)) => Some(address),
            _ => None,
        }
    }
}

/// The folder for the agents' Redis: in the data folder, or under `/var/lib` when its user could not get there.
pub fn agents_folder(data: &Path) -> PathBuf {
    match Owner::of_agents_redis() {
        Some(owner) if !folder::is_reachable(data, &owner) => {
            let hash = Sha256::digest(data.as_os_str().as_encoded_bytes());
            let short: String = hash
                .iter()
                .take(4)
                .map(|byte| format!("{byte:02x}"))
                .collect();
            PathBuf::from(format!("/var/lib/agentainer-redis-{short}"))
        }
        _ => data.join("agents-redis"),
    }
}

/// The agents' Redis, kept running and listening.
#[derive(Debug)]
pub struct AgentsRedis {
    server: RedisServer,
    binder: Arc<Binder>,
    listening: watch::Receiver<Listening>,
    _follower: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct Binder {
    setup: Arc<Setup>,
    port: u16,
    /// The gateway that is wanted; held while binding.
    gateway: Mutex<Option<IpAddr>>,
    tell: watch::Sender<Listening>,
}

impl AgentsRedis {
    /// What is left of one in `folder`, for [`stop`](super::stop); `None`: there never was one. Makes nothing.
    ///
    /// # Errors
    /// When our password file cannot be read.
    pub fn remains(folder: &Path) -> Result<Option<Setup>> {
        let password = folder::read(&folder.join("admin-password"))?;
        Ok(password.map(|password| Setup {
            folder: folder.to_owned(),
            settings: Vec::new(),
            owner: Owner::of_agents_redis(),
            acl: None,
            login: Some(Login {
                user: acl::ADMIN,
                password,
            }),
        }))
    }

    async fn setup(folder: &Path, options: &AgentsRedisOptions) -> Result<Setup> {
        let binary = Binary::find().await?;
        let owner = Owner::of_agents_redis();
        folder::prepare(folder, owner.as_ref())?;
        let password = password(folder)?;
        let mut settings = vec![
            ("protected-mode", "no".to_owned()),
            ("appendonly", "yes".to_owned()),
            ("appendfsync", "everysec".to_owned()),
            ("save", String::new()),
            ("maxmemory", options.memory.to_string()),
            ("maxmemory-policy", "volatile-lru".to_owned()),
            // One client cannot make it take the machine's memory by what it sends.
            ("proto-max-bulk-len", LARGEST_VALUE.to_string()),
            ("client-query-buffer-limit", (2 * LARGEST_VALUE).to_string()),
        ];
        if binary.version >= (7, 0, 0) {
            settings.push(("maxmemory-clients", options.memory.to_string()));
        }
        Ok(Setup {
            folder: folder.to_owned(),
            settings,
            owner,
            acl: Some(acl::text(binary.version, &password)),
            login: Some(Login {
                user: acl::ADMIN,
                password,
            }),
        })
    }

    /// Adopts or starts it. It listens nowhere new until [`Self::listen`].
    ///
    /// # Errors
    /// As [`RedisServer::start`].
    pub async fn start(folder: &Path, options: &AgentsRedisOptions) -> Result<Self> {
        let setup = Self::setup(folder, options).await?;
        let server = RedisServer::start(setup).await?;
        let loopback = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), options.port);
        let (tell, listening) = watch::channel(Listening {
            gateway: None,
            loopback: (loopback, Outcome::Unused),
        });
        let binder = Arc::new(Binder {
            setup: Arc::clone(server.setup()),
            port: options.port,
            gateway: Mutex::new(None),
            tell,
        });
        let follower = tokio::spawn(follow(Arc::clone(&binder), server.state()));
        Ok(Self {
            server,
            binder,
            listening,
            _follower: AbortOnDropHandle::new(follower),
        })
    }

    /// Listens on the gateway and loopback, and nowhere else any more; to be called again whenever the gateway's address
    /// comes, changes or goes, and now and then while it is taken. Connections that are open stay open.
    ///
    /// # Errors
    /// When the server does not answer; it is tried again when it runs again.
    pub async fn listen(&self, gateway: Option<IpAddr>) -> Result<Listening> {
        let mut wanted = self.binder.gateway.lock().await;
        *wanted = gateway;
        self.binder.bind(gateway).await
    }

    /// Where it listens, now and later.
    pub fn listening(&self) -> watch::Receiver<Listening> {
        self.listening.clone()
    }

    /// The server.
    pub fn server(&self) -> &RedisServer {
        &self.server
    }

    /// Ends the keeping and the server.
    ///
    /// # Errors
    /// See [`stop`](super::stop).
    pub async fn stop(self) -> Result<Stopped> {
        drop(self._follower);
        self.server.stop().await
    }
}

/// A server that was started again listens nowhere: binds it anew. And ends what keeps all agents waiting.
async fn follow(binder: Arc<Binder>, mut state: watch::Receiver<ServerState>) {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let changed = tokio::select! {
            biased;
            changed = state.changed() => Some(changed),
            _ = looks.tick() => None,
        };
        let up = match &*state.borrow_and_update() {
            ServerState::Up { identity, .. } => Some(identity.pid),
            ServerState::Down { .. } => None,
        };
        match (changed, up) {
            (Some(Err(_ended)), _) => return,
            (Some(Ok(())), Some(_)) => {
                let wanted = binder.gateway.lock().await;
                if let Err(error) = binder.bind(*wanted).await {
                    tracing::warn!(%error, "the agents' Redis does not listen again");
                }
            }
            (None, Some(pid)) => binder.unblock(pid).await,
            (_, None) => {}
        }
    }
}

impl Binder {
    /// Ends a script of an agent's that has run for longer than Redis allows (`lua-time-limit`, 5 s): it serves nobody else
    /// meanwhile. A script that wrote cannot be ended alone; then the server goes, and is started again without its writes.
    async fn unblock(&self, pid: u32) {
        let looked: Result<()> = async {
            let mut link = self.setup.link().await?;
            let busy = |answer: &Result<redis::Value>| matches!(answer, Err(RedisServerError::Refused { message, .. }) if message.starts_with("BUSY"));
            if busy(&link.ask("PING", &redis::cmd("PING")).await) {
                tracing::warn!("a script of an agent keeps the agents' Redis from answering; it is ended");
                let mut command = redis::cmd("SCRIPT");
                let ended: Result<redis::Value> = link.ask("SCRIPT KILL", command.arg("KILL")).await;
                if matches!(&ended, Err(RedisServerError::Refused { message, .. }) if message.starts_with("UNKILLABLE"))
                    && let Some(process) = Process::open(pid)
                {
                    process.signal(rustix::process::Signal::KILL);
                }
            }
            Ok(())
        }
        .await;
        if let Err(error) = looked {
            tracing::debug!(%error, "the agents' Redis does not answer");
        }
    }

    async fn bind(&self, gateway: Option<IpAddr>) -> Result<Listening> {
        let mut link = self.setup.link().await?;
        let on_port = link.config("port").await? == self.port.to_string();
        let held = link.config("bind").await?;
        let held: Vec<&str> = held.split_whitespace().collect();
        let look = |address: IpAddr| {
            if on_port && held.contains(&address.to_string().as_str()) {
                Outcome::Bound
            } else {
                probe(SocketAddr::new(address, self.port))
            }
        };
        let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
        let mut on_gateway = gateway.map(|address| (address, look(address)));
        let mut on_loopback = look(loopback);
        if !on_port {
            // Else it would first listen on the new addresses with the old port.
            link.set_config("port", "0").await?;
        }
        match on_gateway {
            Some((address, Outcome::Bound)) => {
                let mut list = address.to_string();
                if on_loopback == Outcome::Bound {
                    list.push_str(" 127.0.0.1");
                }
                let bound = async {
                    link.set_config("bind", &list).await?;
                    link.set_config("port", &self.port.to_string()).await
                };
                if bound.await.is_err() {
                    // Somebody was quicker. Closed, so that it is clear what we hold.
                    link.set_config("port", "0").await?;
                    on_gateway = Some((address, Outcome::Taken));
                    on_loopback = Outcome::Unused;
                }
            }
            _ => {
                link.set_config("port", "0").await?;
                if on_loopback == Outcome::Bound {
                    on_loopback = Outcome::Unused;
                }
            }
        }
        let at = |address| SocketAddr::new(address, self.port);
        let listening = Listening {
            gateway: on_gateway.map(|(address, outcome)| (at(address), outcome)),
            loopback: (at(loopback), on_loopback),
        };
        self.tell.send_replace(listening.clone());
        Ok(listening)
    }
}

/// Whether an address can be listened on: by trying.
fn probe(address: SocketAddr) -> Outcome {
    match TcpListener::bind(address) {
        Ok(_closed_at_once) => Outcome::Bound,
        Err(error) if error.kind() == ErrorKind::AddrNotAvailable => Outcome::Absent,
        Err(_) => Outcome::Taken,
    }
}

/// Our password there: 256 random bits, made once.
fn password(folder: &Path) -> Result<String> {
    let path = folder.join("admin-password");
    if let Some(kept) = folder::read(&path)?
        && kept.len() == 64
    {
        return Ok(kept);
    }
    #[expect(clippy::disallowed_methods, reason = "a secret, not a decision")]
    let random: [u8; 32] = rand::random();
    let made: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    folder::write(&path, &made, None)?;
    Ok(made)
}
