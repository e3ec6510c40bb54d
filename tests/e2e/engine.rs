//! An engine of a test's own, that may be killed, stopped and restarted: a second dockerd with its own folders and socket,
//! no rules of its own, and live-restore on. The machine's engine and its containers are never touched.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use tokio::time::Instant;

use crate::server::{PATIENCE, Server, docker, docker_says, pause};

/// A running dockerd.
pub struct Engine {
    folder: tempfile::TempDir,
    /// Its default bridge, made by the machine's engine: one that is told to have none removes `docker0`, which is the
    /// machine's.
    bridge: String,
    child: Mutex<Option<Child>>,
}

impl Engine {
    /// Starts one that has the agents' image.
    pub fn start() -> Arc<Self> {
        Server::images();
        let folder = tempfile::Builder::new()
            .prefix("agentainer-engine-")
            .tempdir()
            .unwrap();
        // Not the machine's settings, except the storage driver that is known to work here.
        std::fs::write(folder.path().join("daemon.json"), "{}").unwrap();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let bridge = format!("agx{}-{number}", std::process::id());
        let name = format!("com.docker.network.bridge.name={bridge}");
        docker(&["network", "create", "-o", &name, &bridge]);
        let engine = Self {
            folder,
            bridge,
            child: Mutex::new(None),
        };
        engine.launch();
        let image = engine.folder.path().join("image.tar");
        docker(&["save", "-o", &image.to_string_lossy(), "hello:latest"]);
        engine.docker(&["load", "-q", "-i", &image.to_string_lossy()]);
        Arc::new(engine)
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_string_lossy().into_owned()
    }

    /// Its `DOCKER_HOST`.
    pub fn host(&self) -> String {
        format!("unix://{}", self.path("docker.sock"))
    }

    /// Runs docker against it, which must succeed; its standard output.
    pub fn docker(&self, args: &[&str]) -> String {
        docker(&[&["-H", &self.host()], args].concat())
    }

    /// A container's first process on this machine.
    pub fn process_of(&self, container: &str) -> u32 {
        let pid = self.docker(&["inspect", "-f", "{{.State.Pid}}", container]);
        pid.trim().parse().unwrap()
    }

    /// Starts dockerd and waits until it answers; once more when it ends at once, since after a kill its containerd may
    /// be on its way out still.
    pub fn launch(&self) {
        let driver = docker(&["info", "-f", "{{.Driver}}"]);
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path("log"))
            .unwrap();
        let until = Instant::now() + PATIENCE;
        loop {
            let child = Command::new("dockerd")
                .args(["--config-file", &self.path("daemon.json")])
                .args(["--data-root", &self.path("data")])
                .args(["--exec-root", &self.path("exec")])
                .args(["--pidfile", &self.path("pid")])
                .args(["--host", &self.host()])
                .args(["--storage-driver", driver.trim()])
                .args(["--live-restore", "--userland-proxy=false"])
                .args(["--bridge", &self.bridge])
                .args(["--iptables=false", "--ip6tables=false", "--ip-masq=false"])
                .stdin(Stdio::null())
                .stdout(log.try_clone().unwrap())
                .stderr(log.try_clone().unwrap())
                .spawn()
                .expect("dockerd is on the PATH");
            // Ours to end, whatever comes of it.
            *self.child.lock().unwrap() = Some(child);
            while !docker_says(&["-H", &self.host(), "version"]).0 {
                assert!(Instant::now() < until, "dockerd: {}", self.log());
                if self.has_ended() {
                    break;
                }
                pause();
            }
            if self.child.lock().unwrap().is_some() {
                return;
            }
        }
    }

    /// Whether its process is no more; it is forgotten then.
    fn has_ended(&self) -> bool {
        let mut child = self.child.lock().unwrap();
        let ended = child.as_mut().unwrap().try_wait().unwrap().is_some();
        if ended {
            *child = None;
        }
        ended
    }

    fn log(&self) -> String {
        let text = std::fs::read_to_string(self.path("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// SIGKILL: its containers go on without it.
    pub fn kill(&self) {
        let mut child = self.child.lock().unwrap().take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM and its end, as a package's upgrade does it.
    pub fn terminate(&self) {
        let mut child = self.child.lock().unwrap().take().unwrap();
        signal("TERM", child.id());
        let until = Instant::now() + PATIENCE;
        while child.try_wait().unwrap().is_none() {
            assert!(
                Instant::now() < until,
                "dockerd does not end: {}",
                self.log()
            );
            pause();
        }
    }

    /// SIGSTOP: it takes connections and answers nothing.
    pub fn freeze(&self) {
        signal("STOP", self.child.lock().unwrap().as_ref().unwrap().id());
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        signal("CONT", self.child.lock().unwrap().as_ref().unwrap().id());
    }

    /// Whatever was done to it: it runs and answers.
    pub fn revive(&self) {
        if self.child.lock().unwrap().is_none() {
            self.launch();
        }
        self.thaw();
    }

    /// The process that stands between the engine and a container.
    pub fn shim_of(&self, container: &str) -> u32 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process_of(container)));
        let status = status.unwrap();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        parent.unwrap().trim().parse().unwrap()
    }
}

/// A process that is stopped until this is dropped.
pub struct Stopped(u32);

impl Stopped {
    pub fn new(process: u32) -> Self {
        signal("STOP", process);
        Self(process)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        signal("CONT", self.0);
    }
}

/// Sends a signal to one process, by its number.
pub fn signal(name: &str, process: u32) {
    let sent = Command::new("kill")
        .args([&format!("-{name}"), &process.to_string()])
        .status()
        .unwrap();
    assert!(sent.success(), "kill -{name} {process}");
}

impl Drop for Engine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- dockerd\n{}", self.log());
        }
        self.revive();
        let host = self.host();
        // One that never answered has nothing to be cleared away.
        let here = |args: &[&str]| match docker_says(&[&["-H", &host], args].concat()) {
            (true, said) => said,
            (false, _) => String::new(),
        };
        for id in here(&["ps", "-aq"]).lines() {
            here(&["rm", "-f", id]);
        }
        for id in here(&["network", "ls", "-q", "--filter", "type=custom"]).lines() {
            here(&["network", "rm", id]);
        }
        self.terminate();
        let _ = docker_says(&["network", "rm", &self.bridge]);
        for mounted in mounts_below(self.folder.path()) {
            let _ = Command::new("umount").arg("-l").arg(mounted).output();
        }
    }
}

/// What is mounted below a folder, the deepest first.
fn mounts_below(folder: &Path) -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let places = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    let mut below: Vec<PathBuf> = places
        .map(PathBuf::from)
        .filter(|place| place.starts_with(folder))
        .collect();
    below.sort();
    below.reverse();
    below
}
