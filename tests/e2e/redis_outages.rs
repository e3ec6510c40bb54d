//! The control Redis gone, slow, hanging, read-only, out of memory, empty, or older than it was, under a server that runs on:
//! law 6 on a redis-server of the test's own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::engine::Stopped;
use crate::process::run;
use crate::server::{PATIENCE, Server, docker, free_port, pause};
use crate::web::{curl, get};

/// A redis-server that keeps what it acknowledged, on loopback alone.
struct Redis {
    folder: tempfile::TempDir,
    port: u16,
    child: Child,
}

impl Redis {
    fn start() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("agentainer-redis-")
            .tempdir()
            .unwrap();
        let port = free_port();
        let child = launch(folder.path(), port);
        Self {
            folder,
            port,
            child,
        }
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn start_again(&mut self) {
        self.child = launch(self.folder.path(), self.port);
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("appendonlydir")
    }

    fn command(&self, words: &[&str]) -> String {
        let port = self.port.to_string();
        let output = run(Command::new("redis-cli").args(["-p", &port]).args(words));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn launch(folder: &Path, port: u16) -> Child {
    let child = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args([
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
            "--save",
            "",
        ])
        .arg("--dir")
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is on the PATH");
    let until = tokio::time::Instant::now() + PATIENCE;
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(
            tokio::time::Instant::now() < until,
            "redis-server does not answer"
        );
        pause();
    }
    child
}

fn answers(server: &Server, name: &str) -> bool {
    get(&server.url(&format!("/agent/{name}/"))).is_some_and(|answer| answer.status == 200)
}

fn manifest(names: &[&str]) -> String {
    let agents: Vec<String> = names
        .iter()
        .map(|name| format!("{{name: {name}, image: hello, drain: {{timeout: 0s}}}}"))
        .collect();
    format!("agents: [{}]", agents.join(", "))
}

/// A change that must be refused, with the reason.
fn refused(server: &Server, name: &str, why: &str) {
    let token = std::fs::read_to_string(server.data_dir().join("admin.token")).unwrap();
    let answer = curl(&[
        "-X",
        "PATCH",
        "-H",
        &format!("authorization: Bearer {}", token.trim()),
        "-H",
        "content-type: application/merge-patch+json",
        "-d",
        r#"{"metadata": {"labels": {"tried": "now"}}}"#,
        &server.url(&format!("/agents/{name}")),
    ])
    .expect("an answer, whatever the store does");
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert!(answer.body.contains(why), "{}", answer.body);
}

/// While the store is as it is now: agents answer, and one that ends is started again.
fn agents_live_on(server: &Server, how: &str) {
    assert!(
        answers(server, "calm") && answers(server, "hurt"),
        "{how}: both are routed to"
    );
    let hurt = server.containers("hurt");
    docker(&["kill", &hurt[0]]);
    server.eventually(&format!("{how}: what ended is started again"), |server| {
        docker(&["inspect", "-f", "{{.State.Running}}", &hurt[0]]).trim() == "true"
            && answers(server, "hurt")
    });
    assert_eq!(server.containers("hurt"), hurt, "{how}: the same container");
}

/// While the store is as it is now, a server that was ended starts again and routes.
fn starts(server: &mut Server, how: &str) {
    server.kill();
    server.begin();
    server.eventually(&format!("{how}: it starts and routes"), |server| {
        answers(server, "calm") && answers(server, "hurt")
    });
}

#[test]
fn law_6_with_the_store_gone_hanging_read_only_or_full_agents_live_on_and_changes_are_refused() {
    let mut redis = Redis::start();
    let mut server = Server::with(&["--redis-url", &redis.url()]);
    server.apply(&manifest(&["calm", "hurt"]));
    let calm = server.containers("calm");
    let started = docker(&["inspect", "-f", "{{.State.StartedAt}}", &calm[0]]);
    let well = |server: &Server, how: &str| {
        server.eventually(&format!("after it was {how} all is well"), |server| {
            server.is_ready("calm") && server.is_ready("hurt")
        });
    };

    redis.kill();
    agents_live_on(&server, "gone");
    refused(&server, "calm", "cannot be reached");
    redis.start_again();
    well(&server, "gone");

    let stopped = Stopped::new(redis.child.id());
    agents_live_on(&server, "hanging");
    refused(&server, "calm", "cannot be reached");
    drop(stopped);
    well(&server, "hanging");

    // A replica of nobody: it can be read and not written.
    assert_eq!(redis.command(&["REPLICAOF", "127.0.0.1", "1"]), "OK");
    agents_live_on(&server, "read-only");
    refused(&server, "calm", "READONLY");
    starts(&mut server, "read-only");
    assert_eq!(redis.command(&["REPLICAOF", "NO", "ONE"]), "OK");
    well(&server, "read-only");

    assert_eq!(redis.command(&["CONFIG", "SET", "maxmemory", "1"]), "OK");
    agents_live_on(&server, "out of memory");
    refused(&server, "calm", "OOM");
    assert_eq!(
        redis.command(&["HDEL", "agentainer:cluster", "token-key"]),
        "1"
    );
    starts(&mut server, "out of memory, and without the token key");
    assert_eq!(redis.command(&["CONFIG", "SET", "maxmemory", "0"]), "OK");
    well(&server, "out of memory");

    // Slow: every write waits a while.
    assert_eq!(redis.command(&["CLIENT", "PAUSE", "1500", "WRITE"]), "OK");
    agents_live_on(&server, "slow");
    server.apply(&manifest(&["calm", "hurt", "late"]));
    assert!(answers(&server, "late"));
    assert_eq!(server.containers("calm"), calm);
    assert_eq!(
        docker(&["inspect", "-f", "{{.State.StartedAt}}", &calm[0]]),
        started,
        "never touched"
    );
}

#[test]
fn law_6_a_store_that_lost_its_data_or_went_back_in_time_removes_nothing() {
    let mut redis = Redis::start();
    let server = Server::with(&["--redis-url", &redis.url()]);
    server.apply(&manifest(&["first"]));
    // A backup, and two changes after it.
    let backup = redis.folder.path().join("backup");
    copy(&redis.data(), &backup);
    server.apply(&manifest(&["first", "second"]));
    server.ok(&["scale", "first", "--replicas", "2"]);
    server.eventually("first has two", |server| {
        server.agent("first")["status"]["readyReplicas"] == 2
    });
    let before = server.all_containers();
    assert_eq!(before.len(), 3);

    redis.kill();
    std::fs::remove_dir_all(redis.data()).unwrap();
    copy(&backup, &redis.data());
    redis.start_again();
    server.eventually("the server has seen that its store is older", |server| {
        get(&server.url("/ready"))
            .is_some_and(|answer| answer.body.contains("ContainersWithoutAgent"))
    });
    assert!(answers(&server, "first") && answers(&server, "second"));
    assert_eq!(server.all_containers(), before, "nothing is removed");

    // And now without any data at all.
    redis.kill();
    std::fs::remove_dir_all(redis.data()).unwrap();
    redis.start_again();
    server.eventually("the server has seen that its store is empty", |server| {
        get(&server.url("/ready")).is_some_and(|answer| {
            answer.body.contains("first") && answer.body.contains("ContainersWithoutAgent")
        })
    });
    assert!(answers(&server, "first") && answers(&server, "second"));
    assert_eq!(server.all_containers(), before, "nothing is removed");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}
