//! Agentainer's data path with its journal as it ships, by itself.

use std::convert::Infallible;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;

use agentainer::agent::spec::{Persistence, PersistenceMode};
use agentainer::agent::{Uid, spec};
use agentainer::endpoints::{Endpoints, Publication, PublishedEndpoint};
use agentainer::front::{Front, Limits};
use agentainer::journal::News;
use agentainer::journal::redis::{RedisJournal, RedisJournalOptions};
use agentainer::names::AgentName;
use agentainer::observed::ContainerId;
use agentainer::plan::EndpointState;
use agentainer::proxy::{Ended, Keeping, Proxy, Settings};
use agentainer::tokens::{ServerKey, Tokens};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;

use crate::redis::Redis;

/// Its process and its agent's, gone with this.
pub struct UnderTest {
    pub address: SocketAddr,
    server: Child,
    agent: Child,
    said: BufReader<ChildStdout>,
}

impl Drop for UnderTest {
    fn drop(&mut self) {
        for child in [&mut self.server, &mut self.agent] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Starts this program once more, with these words; it says its address first.
fn begin(words: &[&str]) -> (Child, SocketAddr, BufReader<ChildStdout>) {
    let this = std::env::current_exe().unwrap();
    let mut child = Command::new(this)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut said = BufReader::new(child.stdout.take().unwrap());
    said.read_line(&mut line).unwrap();
    (child, line.trim().parse().unwrap(), said)
}

impl UnderTest {
    pub fn start(redis: &Redis) -> Self {
        let (agent, behind, _) = begin(&["agent"]);
        let (server, address, said) = begin(&["agentainer", &redis.url(), &behind.to_string()]);
        Self {
            address,
            server,
            agent,
            said,
        }
    }

    pub fn pid(&self) -> u32 {
        self.server.id()
    }

    /// `start NAME` or `stop NAME`; done when this is.
    pub fn say(&mut self, line: &str) {
        let stdin = self.server.stdin.as_mut().unwrap();
        writeln!(stdin, "{line}").unwrap();
        let mut done = String::new();
        self.said.read_line(&mut done).unwrap();
    }
}

pub fn run(redis: &str, agent: SocketAddr) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let endpoints = Arc::new(Endpoints::default());
        let publish = |name: &str, ready: bool| {
            let publication = publication(name, ready.then_some(agent));
            let name = AgentName::new(name).unwrap();
            endpoints.publish(&name, publication, agentainer::clock::now());
        };
        for name in ["off", "auto", "always"] {
            publish(name, true);
        }
        for name in ["stopped", "replay-1", "replay-4", "replay-64"] {
            publish(name, false);
        }
        let tokens = Tokens::new(ServerKey::random(), "nobody's", true);
        let options = RedisJournalOptions {
            memory: 64 << 30,
            ..RedisJournalOptions::default()
        };
        let keeping = Keeping {
            journal: Arc::new(RedisJournal::new(redis, options).unwrap()),
            news: Arc::new(News::default()),
            in_memory: false,
            events: None,
            callable: agentainer::callback::Rules::default(),
        };
        let proxy = Proxy::new(
            Arc::clone(&endpoints),
            Arc::new(move |value| tokens.is_ours(value)),
            Settings::default(),
        );
        let proxy = Arc::new(proxy.keeping(keeping));
        let ended: Arc<Ended> = Arc::new(|_| Box::pin(std::future::ready(Vec::new())));
        tokio::spawn(Arc::clone(&proxy).deliver(ended, CancellationToken::new()));
        let router = tower::service_fn(|_: Request<Incoming>| {
            std::future::ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())))
        });
        let front = Front::new(proxy, router, Limits::default());
        let address = front.listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        println!("{address}");
        let mut lines =
            tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(tokio::io::stdin()));
        while let Ok(Some(line)) = lines.next_line().await {
            let (what, name) = line.split_once(' ').unwrap();
            publish(name, what == "start");
            println!("done");
        }
    });
}

fn publication(name: &str, agent: Option<SocketAddr>) -> Publication {
    let mut persistence = Persistence {
        mode: match name {
            "off" => PersistenceMode::Off,
            "always" => PersistenceMode::Always,
            _ => PersistenceMode::Auto,
        },
        max_queue: u32::MAX,
        ..Persistence::default()
    };
    persistence.max_bytes.bytes = 64 << 30;
    if let Some((_, concurrency)) = name.split_once('-') {
        persistence.concurrency = concurrency.parse().unwrap();
    }
    Publication {
        uid: Uid(name.to_owned()),
        endpoints: agent
            .map(|address| PublishedEndpoint {
                container: ContainerId(name.to_owned()),
                address,
                state: EndpointState::Ready,
            })
            .into_iter()
            .collect(),
        departed: [].into(),
        explanation: "it is stopped".to_owned(),
        starting: false,
        proxy: spec::Proxy::default(),
        persistence: Some(persistence),
    }
}
