//! A redis-server of a test's own, on a private socket in a folder of its own, gone with the test.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running redis-server.
pub struct RedisChild {
    child: Child,
    folder: tempfile::TempDir,
    arguments: Vec<String>,
}

impl RedisChild {
    /// Starts one and waits until it answers. `arguments` are options of its own, as on its command line.
    pub fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("agentainer-redis")
            .tempdir()
            .unwrap();
        let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
        let child = spawn(&folder.path().join("redis.sock"), &arguments);
        let redis = Self {
            child,
            folder,
            arguments,
        };
        redis.wait();
        redis
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again in the same folder after [`Self::kill`].
    pub fn start_again(&mut self) {
        let _ = std::fs::remove_file(self.socket());
        self.child = spawn(&self.socket(), &self.arguments);
        self.wait();
    }

    /// Runs one command on a connection of its own.
    pub fn run<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        self.try_run(command).expect("redis-server refused")
    }

    fn try_run<T: redis::FromRedisValue>(&self, words: &[&str]) -> redis::RedisResult<T> {
        let mut connection = redis::Client::open(self.url())?.get_connection()?;
        let (name, arguments) = words.split_first().expect("a command");
        redis::cmd(name).arg(arguments).query(&mut connection)
    }

    fn wait(&self) {
        let until = Instant::now() + Duration::from_secs(20);
        while self.try_run::<String>(&["PING"]).is_err() {
            assert!(
                Instant::now() < until,
                "redis-server did not answer within 20 s"
            );
            std::thread::yield_now();
        }
    }
}

impl Drop for RedisChild {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(socket: &std::path::Path, arguments: &[String]) -> Child {
    Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--unixsocket"])
        .arg(socket)
        .arg("--dir")
        .arg(socket.parent().expect("a folder"))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("these tests need redis-server (apt-get install redis-server, or `make test`): {error}")
        })
}
