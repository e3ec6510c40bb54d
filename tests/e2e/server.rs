//! A server of the test's own, and the world it lives in.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use serde_json::Value;

use crate::engine::Engine;
use crate::process;

/// How long anything may take that has to happen at all; generous, since these machines are slow and shared.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// The binary under test.
const BINARY: &str = env!("CARGO_BIN_EXE_agentainer");

/// A server with its own data folder, network, ports and cluster.
pub struct Server {
    child: Option<Child>,
    data: tempfile::TempDir,
    pub port: u16,
    pub network: String,
    flags: Vec<String>,
    /// An engine other than the machine's.
    engine: Option<Arc<Engine>>,
    /// Sockets that are passed to its process, and their names.
    pub given: Vec<(&'static str, TcpListener)>,
}

/// Starts a program with its standard input, and its output if there are two, as sockets that listen.
const ACTIVATE: &str = r#"exec 3<&0; [ "$LISTEN_FDS" = 1 ] || exec 4<&1; export LISTEN_PID=$$; exec "$@" </dev/null >&2"#;

/// Between two looks at a value that is waited for.
pub fn pause() {
    std::thread::park_timeout(Duration::from_millis(30));
}

/// Ports that were free a moment ago.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// Builds the examples' image once, if it is not there.
fn images() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for script in ["scripts/images.sh", "scripts/test-image.sh"] {
            let built = Command::new("bash")
                .arg(root().join(script))
                .status()
                .unwrap();
            assert!(built.success(), "{script} failed: is Docker running?");
        }
    });
}

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

impl Server {
    /// Starts one and waits until it is ready.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// The same with more flags for `serve`.
    pub fn with(flags: &[&str]) -> Self {
        Self::prepared(flags, |_| {})
    }

    /// The same, after something was done with the name of its network.
    pub fn prepared(flags: &[&str], prepare: impl FnOnce(&str)) -> Self {
        Self::begun(flags, None, prepare)
    }

    /// One on an engine other than the machine's.
    pub fn on_engine(engine: &Arc<Engine>) -> Self {
        Self::begun(&[], Some(Arc::clone(engine)), |_| {})
    }

    /// One that gets its sockets, the first of them for clear text, from who starts it.
    pub fn activated(flags: &[&str], given: Vec<(&'static str, TcpListener)>) -> Self {
        let mut server = Self::unborn(flags, None);
        server.port = given[0].1.local_addr().unwrap().port();
        server.given = given;
        server
    }

    /// Builds what tests need, once.
    pub fn images() {
        images();
    }

    fn begun(flags: &[&str], engine: Option<Arc<Engine>>, prepare: impl FnOnce(&str)) -> Self {
        let mut server = Self::unborn(flags, engine);
        prepare(&server.network);
        server.launch();
        server
    }

    fn unborn(flags: &[&str], engine: Option<Arc<Engine>>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        images();
        let data = tempfile::Builder::new()
            .prefix("agentainer-e2e-")
            .tempdir()
            .unwrap();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Self {
            child: None,
            data,
            port: free_port(),
            network: format!("agentainer-e2e-{}-{number}", std::process::id()),
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            engine,
            given: Vec::new(),
        }
    }

    /// Starts a second server on the store, the network and the engine of this one, with a data folder and a port of its own.
    pub fn beside(&self) -> Self {
        let data = tempfile::Builder::new()
            .prefix("agentainer-e2e-")
            .tempdir()
            .unwrap();
        let socket = self.data_dir().join("control-redis/data/redis.sock");
        let url = format!("redis+unix://{}", socket.display());
        let flags = ["--redis-url", &url, "--agents-redis", "off"];
        let mut server = Self {
            child: None,
            data,
            port: free_port(),
            network: self.network.clone(),
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            engine: self.engine.clone(),
            given: Vec::new(),
        };
        server.launch();
        server
    }

    /// Starts the server's process and waits until `/ready` says so.
    pub fn launch(&mut self) {
        self.begin();
        self.eventually("the server is ready", |server| {
            super::web::get(&server.url("/ready")).is_some_and(|answer| answer.status == 200)
        });
    }

    /// Starts the server's process, and waits for nothing.
    pub fn begin(&mut self) {
        self.child = Some(self.spawn(&self.given, &[]));
    }

    /// Starts a process that takes over from this server's, with more flags.
    pub fn succeed(&self, flags: &[&str]) -> Child {
        let all: Vec<&str> = ["--takeover"].iter().chain(flags).copied().collect();
        self.spawn(&[], &all)
    }

    /// Takes over with a new process; answers the old one once the new one has the data folder.
    pub fn take_over(&mut self) -> Child {
        let child = self.succeed(&[]);
        let id = child.id();
        self.eventually("the new process has taken over", |server| {
            server.holder() == Some(id)
        });
        self.child.replace(child).unwrap()
    }

    /// The process that has the data folder.
    pub fn holder(&self) -> Option<u32> {
        let text = std::fs::read_to_string(self.data_dir().join("server.lock")).ok()?;
        text.trim().parse().ok()
    }

    fn spawn(&self, given: &[(&str, TcpListener)], flags: &[&str]) -> Child {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.data.path().join("server.log"))
            .unwrap();
        let names: Vec<&str> = given.iter().map(|(name, _)| *name).collect();
        let mut command = match names.as_slice() {
            [] => Command::new(BINARY),
            _ => Command::new("sh"),
        };
        if !names.is_empty() {
            command
                .args(["-c", ACTIVATE, "sh", BINARY])
                .env("LISTEN_FDS", names.len().to_string())
                .env("LISTEN_FDNAMES", names.join(":"));
        }
        let mut passed = given.iter().map(|(_, socket)| socket.try_clone().unwrap());
        let mut passed = || {
            passed
                .next()
                .map(|socket| Stdio::from(OwnedFd::from(socket)))
        };
        let (input, output) = (passed(), passed());
        assert!(passed().is_none(), "two at most");
        command
            .arg("serve")
            .args(["--data-dir", &self.data_dir().to_string_lossy()])
            .args(["--port", &self.port.to_string()])
            .args(["--network", &self.network])
            .args(&self.flags)
            .args(flags)
            .envs(
                self.engine
                    .iter()
                    .map(|engine| ("DOCKER_HOST", engine.host())),
            )
            .env("AGENTAINER_LOG", "info,agentainer=debug")
            .stdin(input.unwrap_or_else(Stdio::null))
            .stdout(output.unwrap_or_else(|| log.try_clone().unwrap().into()))
            .stderr(log)
            .spawn()
            .unwrap()
    }

    /// One more flag from the next launch on.
    pub fn flag(&mut self, flag: &str) {
        self.flags.push(flag.to_owned());
    }

    pub fn data_dir(&self) -> PathBuf {
        self.data.path().join("data")
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// `kill -9`, as the worst that can happen.
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Waits for the end of a process that ends by itself.
    pub fn ended(&mut self) -> std::process::ExitStatus {
        self.child.take().unwrap().wait().unwrap()
    }

    /// SIGTERM and its end.
    pub fn terminate(&mut self) {
        let mut child = self.child.take().unwrap();
        assert!(
            Command::new("kill")
                .arg(child.id().to_string())
                .status()
                .unwrap()
                .success()
        );
        let until = Instant::now() + PATIENCE;
        while child.try_wait().unwrap().is_none() {
            assert!(
                Instant::now() < until,
                "the server did not end after SIGTERM"
            );
            pause();
        }
    }

    /// Runs our command line against this server.
    pub fn cli(&self, args: &[&str]) -> Output {
        self.cli_with_input(args, "")
    }

    pub fn cli_with_input(&self, args: &[&str], input: &str) -> Output {
        let ended = process::ended(&mut self.command(args), input);
        let output = ended.unwrap_or_else(|hung| panic!("{hung}"));
        if args.first() == Some(&"apply") {
            self.claim(&String::from_utf8_lossy(&output.stdout));
        }
        output
    }

    /// Holds each test to agents of its own names, as far as it runs beside others: on one engine the names of containers
    /// are everybody's, and twins would wait for each other.
    fn claim(&self, applied: &str) {
        static TAKEN: Mutex<BTreeMap<(String, String), String>> = Mutex::new(BTreeMap::new());
        let engine = self.engine.as_ref().map(|engine| engine.host());
        let engine = engine.unwrap_or_default();
        let test = std::thread::current().name().unwrap_or_default().to_owned();
        for line in applied.lines() {
            let Some(word) = line.strip_prefix("agent/") else {
                continue;
            };
            let name = word.split(' ').next().unwrap_or_default();
            let place = (engine.clone(), name.to_owned());
            let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
            let owner = taken.entry(place).or_insert_with(|| test.clone()).clone();
            drop(taken);
            assert_eq!(
                owner, test,
                "both have an agent '{name}': give each its own"
            );
        }
    }

    /// Our command line against this server, not yet begun.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command
            .args(args)
            .env("AGENTAINER_SERVER", self.url(""))
            .env("AGENTAINER_DATA_DIR", self.data_dir())
            .envs(
                self.engine
                    .iter()
                    .map(|engine| ("DOCKER_HOST", engine.host())),
            );
        command
    }

    /// The same, which must succeed; its standard output.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.cli(args);
        self.check(args, &output)
    }

    /// Applies a manifest from standard input and waits until it is ready.
    pub fn apply(&self, manifest: &str) -> String {
        let args = ["apply", "-f", "-", "--wait", "--timeout", "90s"];
        let output = self.cli_with_input(&args, manifest);
        self.check(&args, &output)
    }

    fn check(&self, args: &[&str], output: &Output) -> String {
        assert!(
            output.status.success(),
            "agentainer {args:?} failed ({}):\n{}\n{}\n--- server log\n{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
            self.log_tail()
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(self.data.path().join("server.log")).unwrap_or_default();
        // The test's own questions would drive all else out.
        let asked = |line: &&str| !line.contains("DEBUG request");
        let lines: Vec<&str> = text.lines().filter(asked).collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    /// All that the log says of one agent.
    pub fn log_of(&self, agent: &str) -> String {
        let text = std::fs::read_to_string(self.data.path().join("server.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().filter(|line| line.contains(agent)).collect();
        lines[lines.len().saturating_sub(200)..].join("\n")
    }

    /// One agent as the API tells it.
    pub fn agent(&self, name: &str) -> Value {
        let text = self.ok(&["get", "agent", name, "-o", "json"]);
        serde_json::from_str(&text).unwrap()
    }

    /// Runs docker against this server's engine, which must succeed; its standard output.
    pub fn docker(&self, args: &[&str]) -> String {
        match &self.engine {
            Some(engine) => engine.docker(args),
            None => docker(args),
        }
    }

    /// Docker's ids of an agent's containers, by creation.
    pub fn containers(&self, name: &str) -> Vec<String> {
        let cluster = std::fs::read_to_string(self.data_dir().join("cluster")).unwrap();
        let output = self.docker(&[
            "ps",
            "-aq",
            "--no-trunc",
            "--filter",
            &format!("label=agentainer.dev/cluster={}", cluster.trim()),
            "--filter",
            &format!("label=agentainer.dev/agent={name}"),
        ]);
        let mut all: Vec<String> = output.lines().map(str::to_owned).collect();
        all.sort();
        all
    }

    /// How our names of images end.
    pub fn tag_suffix(&self) -> String {
        let cluster = std::fs::read_to_string(self.data_dir().join("cluster")).unwrap_or_default();
        let plain = |c: &char| c.is_ascii_alphanumeric();
        cluster.chars().filter(plain).take(8).collect()
    }

    /// All containers of this cluster.
    pub fn all_containers(&self) -> Vec<String> {
        let cluster = std::fs::read_to_string(self.data_dir().join("cluster")).unwrap_or_default();
        let filter = format!("label=agentainer.dev/cluster={}", cluster.trim());
        let mut all: Vec<String> = self
            .docker(&["ps", "-aq", "--no-trunc", "--filter", &filter])
            .lines()
            .map(str::to_owned)
            .collect();
        all.sort();
        all
    }

    pub fn is_ready(&self, name: &str) -> bool {
        let output = self.cli(&["get", "agent", name, "-o", "json"]);
        let value: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        value["status"]["conditions"].as_array().is_some_and(|all| {
            all.iter()
                .any(|c| c["type"] == "Ready" && c["status"] == "True")
        })
    }

    /// Waits, within bounds, until something is so; tells the log when it does not come.
    pub fn eventually(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) -> Duration {
        let begin = Instant::now();
        while !holds(self) {
            assert!(
                begin.elapsed() < PATIENCE,
                "not within {PATIENCE:?}: {what}\n--- server log\n{}",
                self.log_tail()
            );
            pause();
        }
        begin.elapsed()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- server log\n{}", self.log_tail());
        }
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(engine) = &self.engine {
            engine.revive();
        }
        if let Err(hung) = process::ended(&mut self.command(&["stop", "--all"]), "") {
            eprintln!("{hung}");
        }
        // One that the test made itself is not the server's to remove.
        let _ = docker_says(&["network", "rm", &self.network]);
        // Data is kept by `stop --all`; a test's is nobody's.
        if let Ok(cluster) = std::fs::read_to_string(self.data_dir().join("cluster")) {
            let label = format!("label=agentainer.dev/cluster={}", cluster.trim());
            let (format, filter) = (
                "{{.Repository}}:{{.Tag}}",
                format!("reference=agentainer/*:*-{}", self.tag_suffix()),
            );
            let (_, names) = docker_says(&["images", "--format", format, "--filter", &filter]);
            for name in names.lines() {
                let _ = docker_says(&["rmi", "--no-prune", name]);
            }
            let (_, volumes) = docker_says(&["volume", "ls", "-q", "--filter", &label]);
            for volume in volumes.lines() {
                let _ = docker_says(&["volume", "rm", volume]);
            }
        }
    }
}

/// Runs docker, which must succeed; its standard output.
pub fn docker(args: &[&str]) -> String {
    let output = process::run(Command::new("docker").args(args));
    assert!(
        output.status.success(),
        "docker {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs docker and tells whether it succeeded, with all it said.
pub fn docker_says(args: &[&str]) -> (bool, String) {
    says("docker", args)
}

/// The same with another program.
pub fn says(program: &str, args: &[&str]) -> (bool, String) {
    let output = match process::ended(Command::new(program).args(args), "") {
        Ok(output) => output,
        // Also said while a test is cleared away, where a panic would end all the others.
        Err(hung) => return (false, hung),
    };
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// A container of the test's own, removed at its end.
pub struct Stray(pub String);

impl Drop for Stray {
    fn drop(&mut self) {
        let _ = docker_says(&["rm", "-f", &self.0]);
    }
}
