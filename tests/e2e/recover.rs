//! Law 6 to its end: a store that was wiped, or is older than it was, is made whole again and no container notices.

use std::process::Command;

use serde_json::Value;

use crate::process::run;
use crate::server::{Server, docker};
use crate::web::get;

/// Names are each test's own: the containers carry them.
const MANIFEST: &str = "apiVersion: v1
kind: AgentDeployment
metadata: {name: mesh}
spec:
  agents:
    - {name: lost-1, image: hello, env: {SECRET: hunter2}, replicas: 2}
    - {name: lost-2, image: hello, labels: {tier: back}}
";

impl Server {
    fn redis(&self, args: &[&str]) {
        let socket =
            crate::adversity::find_socket(&self.data_dir()).expect("the control Redis' socket");
        let ran = run(Command::new("redis-cli").args(["-s", &socket]).args(args));
        assert!(
            ran.status.success(),
            "{}",
            String::from_utf8_lossy(&ran.stderr)
        );
    }

    fn snapshot(&self, name: &str) -> Option<Value> {
        let path = self.data_dir().join(format!("snapshot/{name}.json"));
        serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok()
    }

    /// The snapshot has every agent as the store has it.
    fn written_down(&self, names: &[&str]) {
        for name in names {
            self.eventually("the spec is written down", |server| {
                let version = &server.agent(name)["metadata"]["resourceVersion"];
                server
                    .snapshot(name)
                    .is_some_and(|kept| kept["agent"]["metadata"]["resourceVersion"] == *version)
            });
        }
    }

    fn settled(&self, prefix: &str, before: &[String]) {
        for name in [format!("{prefix}-1"), format!("{prefix}-2")] {
            self.eventually("it is ready", |server| server.is_ready(&name));
            assert_eq!(
                get(&self.url(&format!("/agent/{name}/"))).unwrap().status,
                200
            );
        }
        assert_eq!(
            self.all_containers(),
            before,
            "the same containers, none new"
        );
        let env = docker(&["inspect", "-f", "{{.Config.Env}}", &format!("{prefix}-1")]);
        assert!(env.contains("SECRET=hunter2"), "{env}");
    }
}

#[test]
fn law_6_a_wiped_store_is_recovered_from_the_snapshot_with_its_values() {
    let mut server = Server::start();
    server.apply(&MANIFEST.replace("lost", "wiped"));
    server.written_down(&["wiped-1", "wiped-2"]);
    let (before, old) = (server.all_containers(), server.agent("wiped-1"));
    assert_eq!(before.len(), 3);

    server.redis(&["FLUSHALL"]);
    server.eventually("the store is seen to be empty", |server| {
        get(&server.url("/ready")).is_some_and(|answer| answer.body.contains("agentainer recover"))
    });
    assert!(
        server.snapshot("wiped-1").is_some(),
        "a wiped store wipes no snapshot"
    );
    let told = server.ok(&["recover", "--dry-run"]);
    assert!(
        told.contains("agent/wiped-2") && told.contains("created (dry run)"),
        "{told}"
    );
    let told = server.ok(&["recover"]);
    assert!(
        told.contains("snapshot") && !told.contains("hunter2"),
        "{told}"
    );
    server.settled("wiped", &before);
    let new = server.agent("wiped-1");
    assert_eq!(new["metadata"]["uid"], old["metadata"]["uid"]);
    assert_eq!(new["metadata"]["owner"], "mesh");
    let unchanged = server.apply(&MANIFEST.replace("lost", "wiped"));
    assert!(unchanged.contains("unchanged"), "{unchanged}");

    // Once more, with the server down meanwhile.
    server.kill();
    server.redis(&["FLUSHALL"]);
    server.flag("--recover");
    server.launch();
    server.settled("wiped", &before);

    // What was deleted leaves the snapshot, and is not made again.
    server.ok(&["delete", "wiped-2"]);
    server.eventually("it left the snapshot", |server| {
        server.snapshot("wiped-2").is_none()
    });
}

#[test]
fn law_6_without_store_and_snapshot_the_containers_tell_their_specs() {
    let mut server = Server::start();
    server.apply(&MANIFEST.replace("lost", "bare"));
    let before = server.all_containers();
    server.redis(&["FLUSHALL"]);
    server.kill();
    std::fs::remove_dir_all(server.data_dir().join("snapshot")).unwrap();
    server.launch();
    server.eventually("they are in quarantine", |server| {
        get(&server.url("/ready"))
            .is_some_and(|answer| answer.body.contains("ContainersWithoutAgent"))
    });
    let told = server.ok(&["recover"]);
    assert!(told.contains("containers"), "{told}");
    server.settled("bare", &before);
    let again = server.agent("bare-1");
    assert_eq!(
        (&again["spec"]["replicas"], &again["metadata"]["owner"]),
        (&2.into(), &"mesh".into())
    );
}

#[test]
fn law_6_an_older_backup_touches_nothing_and_is_brought_forward() {
    let server = Server::start();
    server.apply(&MANIFEST.replace("lost", "older"));
    let socket = crate::adversity::find_socket(&server.data_dir()).unwrap();
    let dump = |key: &str| -> Vec<u8> {
        run(Command::new("redis-cli").args(["-s", &socket, "--raw", "HGETALL", key])).stdout
    };
    let old = dump("agentainer:agents");
    server.apply(
        &MANIFEST
            .replace("hunter2", "hunter3")
            .replace("lost", "older"),
    );
    server.ok(&["scale", "older-2", "--replicas", "2", "--wait"]);
    server.written_down(&["older-1", "older-2"]);
    let before = server.all_containers();
    assert_eq!(before.len(), 4);

    // The objects as they were; each is a name, a head line and the JSON.
    let old = String::from_utf8(old).unwrap();
    let lines: Vec<&str> = old.lines().collect();
    for record in lines.chunks_exact(3) {
        let value = format!("{}\n{}", record[1], record[2]);
        server.redis(&["HSET", "agentainer:agents", record[0], &value]);
    }
    server.ok(&["get", "agents"]);
    let told = server.ok(&["recover"]);
    assert_eq!(told.matches("updated").count(), 2, "{told}");
    for name in ["older-1", "older-2"] {
        server.eventually("it is ready", |server| server.is_ready(name));
    }
    assert_eq!(
        server.all_containers(),
        before,
        "nobody was stopped or made"
    );
    assert_eq!(server.agent("older-2")["spec"]["replicas"], 2);
}
