//! A server on loopback, a home folder, and the program run as a user runs it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agentainer::agent::{Agent, AgentStatus};
use agentainer::api::{ApiState, router};
use agentainer::clock;
use agentainer::names::AgentName;
use agentainer::recover::{Recovery, SnapshotFolder};
use agentainer::store::{AgentStore, ChangeKind, Write};
use agentainer::tokens::{ServerKey, Tokens};
use agentainer::wire::{Listener, Via};
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::engine::Engine;
use crate::fake_store::FakeStore;

pub const ADMIN: &str = "agentainer-admin-of-the-tests-0123456789";
/// No command of a test takes so long.
const BOUND: Duration = Duration::from_secs(60);

pub struct Rig {
    pub store: FakeStore,
    pub engine: Engine,
    pub server: String,
    pub home: tempfile::TempDir,
    pub shutdown: CancellationToken,
    /// Whether passes have looked at the agents since the server began.
    pub looked: Arc<AtomicBool>,
    serving: tokio::task::JoinHandle<()>,
}

/// How the program ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// It ended well; what it wrote.
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    /// It ended with this code, and its error says this.
    pub fn failed(self, code: i32, says: &str) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.err.contains(says), "{says:?} is not in {self:?}");
        self
    }
}

impl Rig {
    pub async fn new() -> Self {
        Self::on(FakeStore::default()).await
    }

    pub async fn on(store: FakeStore) -> Self {
        let engine = Engine::default();
        let home = tempfile::tempdir().unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let mut rig = Self {
            store,
            engine,
            server,
            home,
            shutdown,
            looked: Arc::new(AtomicBool::new(true)),
            serving: tokio::spawn(async {}),
        };
        rig.serve(listener);
        rig
    }

    /// The server ends, and another one on the same store takes its place some time later.
    pub async fn restart(&mut self, meanwhile: impl AsyncFnOnce(&Self)) {
        self.shutdown.cancel();
        self.serving.abort();
        let _ = (&mut self.serving).await;
        meanwhile(self).await;
        let address = self.server.trim_start_matches("http://");
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        self.shutdown = CancellationToken::new();
        self.serve(listener);
    }

    fn serve(&mut self, listener: tokio::net::TcpListener) {
        let tokens = Tokens::new(ServerKey::random(), ADMIN, true);
        let (store, engine) = (self.store.clone(), self.engine.clone());
        let mut state = ApiState::new(Arc::new(store), Arc::new(engine), tokens);
        state.version = "9.9.9".into();
        state.recovery = Some(Recovery {
            store: Arc::clone(&state.store),
            runtime: Arc::clone(&state.runtime),
            snapshot: SnapshotFolder::of(self.home.path()),
        });
        let looked = Arc::clone(&self.looked);
        state.looked_at = Arc::new(move |_| looked.load(Ordering::Relaxed));
        state.shutdown = self.shutdown.clone();
        let via = Via {
            peer: SocketAddr::from(([127, 0, 0, 1], 40_000)),
            listener: Listener::Loopback,
        };
        let app = router(state).layer(axum::Extension(via));
        self.serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    }

    /// Runs the program, its line split at blanks.
    pub async fn run(&self, line: &str) -> Ran {
        self.run_with(line, "", &[]).await
    }

    pub async fn run_with(&self, line: &str, input: &str, env: &[(&str, &str)]) -> Ran {
        let mut all = vec![
            ("AGENTAINER_SERVER", self.server.as_str()),
            ("AGENTAINER_TOKEN", ADMIN),
        ];
        all.extend(env);
        run(self.home.path(), line, input, &all).await
    }

    pub fn file(&self, path: &str, text: &str) -> PathBuf {
        let path = self.home.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Applies these agents; all must be well.
    pub async fn apply(&self, agents: &str) {
        let ran = self.run_with("apply -f -", agents, &[]).await;
        assert_eq!(ran.code, 0, "{ran:?}");
    }

    pub async fn agent(&self, name: &str) -> Agent {
        let name = AgentName::new(name).unwrap();
        self.store.get(&name).await.unwrap().unwrap()
    }

    pub async fn set_status(&self, agent: &Agent, status: Value) {
        set_status(&self.store, agent, status).await;
    }

    /// Makes every agent as its spec asks from now on, and finishes deletions.
    pub fn reconcile(&self) {
        self.reconcile_as(ready);
    }

    /// The same with another status.
    pub fn reconcile_as(&self, status: impl Fn(&Agent) -> Value + Send + 'static) {
        let store = self.store.clone();
        tokio::spawn(async move {
            let list = store.list().await.unwrap();
            for agent in &list.agents {
                set_status(&store, agent, status(agent)).await;
            }
            let mut changes = store.watch(list.resource_version).await.unwrap();
            while let Some(Ok(change)) = changes.next().await {
                let Some(agent) = change.agent.filter(|_| change.kind == ChangeKind::Object) else {
                    continue;
                };
                if agent.metadata.deletion_timestamp.is_some() {
                    let finalize = Write::Finalize {
                        name: agent.metadata.name.clone(),
                        uid: agent.metadata.uid.clone(),
                        at: clock::now(),
                    };
                    store.commit(&[finalize]).await.unwrap();
                } else {
                    set_status(&store, &agent, status(&agent)).await;
                }
            }
        });
    }
}

async fn set_status(store: &FakeStore, agent: &Agent, status: Value) {
    let status: AgentStatus = serde_json::from_value(status).unwrap();
    // The agent may have gone meanwhile, or be another.
    let _ = store.put_status(&agent.metadata, &status).await;
}

/// As the reconciler would say it of an agent that is as its spec asks.
pub fn ready(agent: &Agent) -> Value {
    let replicas = agent.spec.replicas.0;
    let phase = match serde_json::to_value(agent.spec.state).unwrap().as_str() {
        Some("stopped") => "Stopped",
        Some("paused") => "Paused",
        _ => "Running",
    };
    let runs = phase == "Running";
    json!({
        "observedGeneration": agent.metadata.generation,
        "phase": phase,
        "revision": agent.revision(),
        "replicas": replicas,
        "readyReplicas": if runs { replicas } else { 0 },
        "updatedReplicas": if runs { replicas } else { 0 },
        "conditions": [condition("Ready", if runs { "True" } else { "False" }, phase, "")],
    })
}

/// As the reconciler would say it of an agent that cannot be.
pub fn failed(agent: &Agent, reason: &str, message: &str) -> Value {
    json!({
        "observedGeneration": agent.metadata.generation,
        "phase": "Failed",
        "conditions": [condition("Ready", "False", reason, message)],
    })
}

pub fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    })
}

/// Runs the program in a folder with this environment and no other.
pub async fn run(folder: &Path, line: &str, input: &str, env: &[(&str, &str)]) -> Ran {
    let mut child = Command::new(env!("CARGO_BIN_EXE_agentainer"))
        .args(line.split_whitespace())
        .current_dir(folder)
        .env_clear()
        .env("HOME", folder)
        .env("AGENTAINER_DATA_DIR", folder.join("data"))
        .envs(env.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).await.unwrap();
    drop(stdin);
    let ended = tokio::time::timeout(BOUND, child.wait_with_output()).await;
    let output = ended.expect("the program does not end").unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}
