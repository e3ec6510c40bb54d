//! What a redis-server of ours is: its folder, its settings, and the configuration that says so.

use std::path::{Path, PathBuf};

use super::folder::Owner;
use super::link::Login;

/// What a redis-server of ours is.
#[derive(Clone, Debug)]
pub struct Setup {
    pub(super) folder: PathBuf,
    /// Settings beside those that every child has; set again on one that is adopted.
    pub(super) settings: Vec<(&'static str, String)>,
    pub(super) owner: Option<Owner>,
    pub(super) login: Option<Login>,
    /// The text of its ACL file.
    pub(super) acl: Option<String>,
}

impl Setup {
    /// Its Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("data/redis.sock")
    }
    /// Its log.
    pub fn log(&self) -> PathBuf {
        self.folder.join("data/redis.log")
    }
    pub(super) fn pid_file(&self) -> PathBuf {
        self.folder.join("data/redis.pid")
    }
    pub(super) fn config_file(&self) -> PathBuf {
        self.folder.join("redis.conf")
    }
    pub(super) fn acl_file(&self) -> PathBuf {
        self.folder.join("users.acl")
    }
    pub(super) fn run_file(&self) -> PathBuf {
        self.folder.join("run.json")
    }

    /// The configuration file's text.
    pub(super) fn config(&self) -> String {
        let quoted = |path: &Path| quote(&path.to_string_lossy());
        let mut text = String::from("# Written by agentainer at each start; changes are lost.\n");
        let mut set = |name: &str, value: &str| {
            text.push_str(name);
            text.push(' ');
            text.push_str(value);
            text.push('\n');
        };
        set("daemonize", "yes");
        // By its command line we know a process of ours that does not answer.
        set("set-proc-title", "no");
        set("port", "0");
        set("unixsocket", &quoted(&self.socket()));
        set("unixsocketperm", "600");
        set("pidfile", &quoted(&self.pid_file()));
        set("logfile", &quoted(&self.log()));
        set("dir", &quoted(&self.folder.join("data")));
        if self.acl.is_some() {
            set("aclfile", &quoted(&self.acl_file()));
        }
        for (name, value) in &self.settings {
            set(name, &quote(value));
        }
        text
    }
}

/// A value as redis.conf takes it.
fn quote(value: &str) -> String {
    let mut text = String::from("\"");
    for c in value.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '\n' => text.push_str("\\n"),
            _ => text.push(c),
        }
    }
    text.push('"');
    text
}
