//! Who is measured: started here, each on the same cores, and ended with us.

use std::cell::Cell;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::cells::Settings;

/// The one whose figures the others are compared with.
pub const MEASURE: &str = "nginx";

/// Who is measured, and what it needs.
pub struct Target {
    pub name: String,
    pub http1: SocketAddr,
    pub http2: Option<SocketAddr>,
    /// Before the agent's own paths.
    pub prefix: &'static str,
    pub was_loaded: Cell<bool>,
    child: Child,
}

impl Target {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it is the agent, with nobody in front.
    pub fn is_agent(&self) -> bool {
        self.prefix.is_empty()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // So that nginx ends its workers, too.
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
        let _ = self.child.wait();
    }
}

pub struct Targets {
    pub all: Vec<Target>,
    _folder: TempDir,
}

impl Targets {
    pub fn start(settings: &Settings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // nginx' worker, which is another user's, goes through it.
        let open = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open).unwrap();
        let this = std::env::current_exe().unwrap().display().to_string();
        let agent = ours(
            "the agent directly",
            "",
            &settings.load_cores,
            &[&this, "agent"],
        );
        let address = agent.http1.to_string();
        let workers = settings.workers.to_string();
        let start = |name: &str, program: &str| {
            let words = [program, "agentainer", &address, &workers];
            let mut target = ours(name, "/agent/bench", &settings.proxy_cores, &words);
            target.http2 = Some(target.http1);
            target
        };
        let configured =
            |template, words| theirs(template, words, settings, agent.http1, folder.path());
        let mut all = vec![
            configured(("nginx", include_str!("nginx.conf")), &["nginx", "-c"]),
            configured(
                ("HAProxy", include_str!("haproxy.cfg")),
                &["haproxy", "-db", "-q", "-f"],
            ),
            start("agentainer", &this),
        ];
        all.extend(
            settings
                .beside
                .as_deref()
                .map(|other| start("the other build", other)),
        );
        all.insert(0, agent);
        Self {
            all,
            _folder: folder,
        }
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(|target| target.name.as_str())
    }
}

/// This program, or another build of it, which says where it listens.
fn ours(name: &str, prefix: &'static str, cores: &str, words: &[&str]) -> Target {
    let mut child = pinned(cores, words)
        .stdout(Stdio::piped())
        .spawn()
        .expect("taskset");
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    Target {
        name: name.to_owned(),
        http1: line
            .trim()
            .parse()
            .unwrap_or_else(|_| panic!("{words:?} did not start")),
        http2: None,
        prefix,
        was_loaded: Cell::new(false),
        child,
    }
}

/// Another's program, with a configuration of ours.
fn theirs(
    (name, template): (&str, &str),
    words: &[&str],
    settings: &Settings,
    agent: SocketAddr,
    folder: &Path,
) -> Target {
    let (http1, http2) = (free(), free());
    let text = template
        .replace("@FOLDER@", &folder.display().to_string())
        .replace("@WORKERS@", &settings.workers.to_string())
        .replace("@AGENT@", &agent.to_string())
        .replace("@HTTP1@", &http1.to_string())
        .replace("@HTTP2@", &http2.to_string());
    let file = folder.join(format!("{name}.conf"));
    std::fs::write(&file, text).unwrap();
    let file = file.display().to_string();
    let words: Vec<&str> = words.iter().copied().chain([file.as_str()]).collect();
    let child = pinned(&settings.proxy_cores, &words)
        .spawn()
        .expect("taskset");
    let end = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(http2).is_err() {
        assert!(Instant::now() < end, "{words:?} did not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    Target {
        name: name.to_owned(),
        http1,
        http2: Some(http2),
        prefix: "/agent/bench",
        was_loaded: Cell::new(false),
        child,
    }
}

fn pinned(cores: &str, words: &[&str]) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", cores]).args(words).stdin(Stdio::null());
    command
}

/// An address that nobody listens on.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

/// The first line that a program says of its version.
pub fn version(words: &[&str]) -> String {
    let output = Command::new(words[0]).args(&words[1..]).output();
    let output =
        output.unwrap_or_else(|error| panic!("{}: {error}; `make bench` installs it", words[0]));
    let both = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&both);
    text.lines().next().unwrap_or_default().to_owned()
}
