//! Laws 1 and 6 on the real thing: a wiped store, strangers beside us, a server killed in the middle of its work.

use std::process::Command;

use crate::process::run;
use crate::server::{Server, Stray, docker, docker_says};
use crate::web::get;

#[test]
fn law_6_a_wiped_store_removes_nothing_and_applying_again_adopts() {
    let server = Server::start();
    let manifest = "agents: [{name: kept-1, image: hello}, {name: kept-2, image: hello}]";
    server.apply(manifest);
    let before = server.all_containers();
    assert_eq!(before.len(), 2);

    let socket = find_socket(&server.data_dir()).expect("the control Redis' socket");
    let wiped = run(Command::new("redis-cli").args(["-s", &socket, "FLUSHALL"]));
    assert!(
        wiped.status.success(),
        "{}",
        String::from_utf8_lossy(&wiped.stderr)
    );
    server.eventually("the server has seen that its store is empty", |server| {
        get(&server.url("/ready")).is_some_and(|answer| {
            answer.body.contains("Wiped") || answer.body.contains("ContainersWithoutAgent")
        })
    });
    assert_eq!(server.all_containers(), before, "nothing is removed");
    assert_eq!(
        get(&server.url("/agent/kept-1/")).unwrap().status,
        200,
        "and they are still routed to"
    );

    server.apply(manifest);
    assert_eq!(
        server.all_containers(),
        before,
        "applied again, the same containers are theirs again"
    );
}

pub fn find_socket(dir: &std::path::Path) -> Option<String> {
    for entry in std::fs::read_dir(dir).ok()?.flatten() {
        let path = entry.path();
        if path.is_dir() {
            if let Some(found) = find_socket(&path) {
                return Some(found);
            }
        } else if path.to_string_lossy().ends_with(".sock")
            && path.to_string_lossy().contains("control")
        {
            return Some(path.to_string_lossy().into_owned());
        }
    }
    None
}

#[test]
fn strangers_and_another_clusters_containers_are_never_touched() {
    let server = Server::start();
    let stranger = Stray("namesake-e2e".to_owned());
    docker(&["run", "-d", "--name", &stranger.0, "hello"]);
    let foreign = Stray(format!("other-cluster-{}", std::process::id()));
    docker(&[
        "run",
        "-d",
        "--name",
        &foreign.0,
        "--label",
        "agentainer.dev/cluster=somebody-elses",
        "--label",
        "agentainer.dev/agent=namesake-e2e",
        "hello",
    ]);
    server.apply("agents: [{name: namesake-e2e, image: hello}]");
    assert_eq!(
        get(&server.url("/agent/namesake-e2e/")).unwrap().status,
        200
    );
    server.ok(&["delete", "namesake-e2e"]);
    server.eventually("ours is gone", |server| {
        server.containers("namesake-e2e").is_empty()
    });
    for name in [&stranger.0, &foreign.0] {
        assert_eq!(
            docker(&["inspect", "-f", "{{.State.Status}}", name]).trim(),
            "running",
            "{name} is still there"
        );
    }
}

#[test]
fn law_1_fifty_agents_survive_a_kill_in_the_middle_and_none_is_created_twice() {
    let mut server = Server::start();
    let agents: Vec<String> = (0..50)
        .map(|n| format!("  - {{name: fifty-{n:02}, image: hello}}"))
        .collect();
    let manifest = format!("agents:\n{}\n", agents.join("\n"));
    let output = server.cli_with_input(&["apply", "-f", "-"], &manifest);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    server.eventually("some are there", |server| {
        server.all_containers().len() >= 10
    });
    server.kill();
    let at_the_kill = server.all_containers().len();
    server.launch();
    let took = server.eventually("all fifty are ready", |server| {
        let table = server.cli(&["get", "agents", "-o", "json"]);
        let value: serde_json::Value = serde_json::from_slice(&table.stdout).unwrap_or_default();
        let ready = |item: &serde_json::Value| {
            let conditions = item["status"]["conditions"].as_array();
            conditions.is_some_and(|all| {
                all.iter()
                    .any(|c| c["type"] == "Ready" && c["status"] == "True")
            })
        };
        value["items"]
            .as_array()
            .is_some_and(|items| items.len() == 50 && items.iter().all(ready))
    });
    println!("killed at {at_the_kill} containers; fifty ready {took:?} after the start");
    assert_eq!(server.all_containers().len(), 50, "none created twice");
    let (_, names) = docker_says(&["ps", "--format", "{{.Names}}", "--filter", "name=fifty-"]);
    assert_eq!(names.lines().count(), 50);
}

#[test]
fn an_external_control_redis_is_used_with_its_password_and_an_open_one_is_refused() {
    let (with_password, open) = (
        Redis::start(&["--requirepass", "pass/word"]),
        Redis::start(&[]),
    );
    let url = format!("redis://:pass%2Fword@127.0.0.1:{}", with_password.port);
    let mut server = Server::with(&["--redis-url", &url]);
    server.apply("agents: [{name: external, image: hello}]");
    server.kill();
    server.launch();
    server.eventually("the agent is known after a restart", |server| {
        server.is_ready("external")
    });
    assert_eq!(server.all_containers().len(), 1);
    assert!(
        !server.log_tail().contains("word"),
        "the password is not in the log"
    );

    let data = tempfile::tempdir().unwrap();
    let refused = run(Command::new(env!("CARGO_BIN_EXE_agentainer"))
        .args(["serve", "--port", "0", "--data-dir"])
        .arg(data.path().join("data"))
        .args(["--redis-url", &format!("redis://127.0.0.1:{}", open.port)]));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(
        !refused.status.success() && said.contains("--allow-open-redis"),
        "{said}"
    );
}

#[test]
fn a_network_that_somebody_made_is_adopted_and_made_again_when_it_is_empty() {
    let made = |network: &str| {
        docker(&["network", "create", network]);
    };
    let server = Server::prepared(&[], made);
    server.apply("agents: [{name: settler, image: hello}]");
    let said = server.ok(&["health"]);
    assert!(
        said.contains("AddressesOwned") && !said.contains("AddressesNotOwned"),
        "{said}"
    );

    let guest = Stray(format!("guest-{}", std::process::id()));
    let server = Server::prepared(&[], |network| {
        made(network);
        docker(&[
            "run",
            "-d",
            "--name",
            &guest.0,
            "--network",
            network,
            "hello",
        ]);
    });
    server.apply("agents: [{name: lodger, image: hello}]");
    assert_eq!(get(&server.url("/agent/lodger/")).unwrap().status, 200);
    let said = server.ok(&["health"]);
    assert!(said.contains("AddressesNotOwned"), "{said}");
    server.ok(&["delete", "lodger"]);
    drop(guest);
    server.eventually(
        "the empty network is made again with a subnet of its own",
        |server| {
            let said = server.cli(&["health"]);
            !String::from_utf8_lossy(&said.stdout).contains("AddressesNotOwned")
        },
    );
    server.apply("agents: [{name: settler, image: hello}]");
    assert_eq!(get(&server.url("/agent/settler/")).unwrap().status, 200);
}

/// A Redis that agents could reach, on every address of this machine; ended with the test.
struct Redis {
    child: std::process::Child,
    port: u16,
}

impl Redis {
    fn start(flags: &[&str]) -> Self {
        let port = crate::server::free_port();
        let child = Command::new("redis-server")
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "0.0.0.0",
                "--protected-mode",
                "no",
                "--save",
                "",
                "--dir",
                "/tmp",
            ])
            .args(flags)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let until = tokio::time::Instant::now() + crate::server::PATIENCE;
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(
                tokio::time::Instant::now() < until,
                "redis-server does not answer"
            );
            crate::server::pause();
        }
        Self { child, port }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn make_stops_command_ends_everything_and_keeps_data() {
    let mut server = Server::start();
    server.apply("agents: [{name: ended, image: hello}]");
    server.ok(&["stop", "--all"]);
    assert!(
        server.all_containers().is_empty(),
        "its containers are gone"
    );
    assert!(
        !docker_says(&["network", "inspect", &server.network]).0,
        "its network is gone"
    );
    assert!(get(&server.url("/health")).is_none(), "it does not answer");
    assert!(
        server.data_dir().join("cluster").exists(),
        "its data is kept"
    );
    server.launch();
    let first = get(&server.url("/agent/ended/")).unwrap();
    assert_eq!(
        first.status, 200,
        "asked at once it is waited for, not unknown: {}",
        first.body
    );
    server.eventually("the agent is back from its spec", |server| {
        server.is_ready("ended")
    });
}
