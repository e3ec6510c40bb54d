//! Law 6 to its end: a store that was wiped, or is older than it was, is made whole again and no container notices.

use std::process::Command;

use serde_json::Value;

use crate::process::run;
use crate::rollouts::{CRASHES, apply_only, manifest};
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
    fn redis(&self, args: &[&str]) -> String {
        let socket =
            crate::adversity::find_socket(&self.data_dir()).expect("the control Redis' socket");
        let ran = run(Command::new("redis-cli").args(["-s", &socket]).args(args));
        assert!(
            ran.status.success(),
            "{}",
            String::from_utf8_lossy(&ran.stderr)
        );
        String::from_utf8_lossy(&ran.stdout).trim().to_owned()
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

/// A rollout that failed, and what is known of it.
struct Failed<'a> {
    name: &'a str,
    state: &'a str,
    rollout: Value,
    history: String,
    containers: Vec<String>,
}

impl<'a> Failed<'a> {
    /// Rolls out what crashes, and waits until that has failed and is written down.
    fn bring(server: &Server, name: &'a str, strategy: &str, state: &'a str) -> Self {
        server.apply(&manifest(name, "good", "A: b", strategy));
        server.eventually("it has proved good", |server| {
            !server.agent(name)["status"]["rollout"]["lastGood"].is_null()
        });
        apply_only(server, &manifest(name, "bad", CRASHES, strategy));
        let count = if state == "RolledBack" { 2 } else { 3 };
        server.eventually("it has failed", |server| {
            server.agent(name)["status"]["rollout"]["state"] == state
                && server.containers(name).len() == count
        });
        let rollout = server.agent(name)["status"]["rollout"].clone();
        server.eventually("that is written down", |server| {
            server.snapshot(name).is_some_and(|kept| {
                kept["agent"]["status"]["rollout"]["failed"] == rollout["failed"]
                    && kept["revisions"]
                        .as_array()
                        .is_some_and(|all| all.len() == 2)
            })
        });
        Self {
            name,
            state,
            rollout,
            history: server.ok(&["rollout", "history", name, "-o", "json"]),
            containers: server.containers(name),
        }
    }

    /// As it was, and nobody tried anything else meanwhile.
    fn stands(&self, server: &Server) {
        let name = self.name;
        server.eventually("the server has looked at it", |server| {
            let agent = server.agent(name);
            let conditions = agent["status"]["conditions"].as_array().cloned();
            let frozen = |one: &Value| one["type"] == "Quarantined";
            agent["status"]["observedGeneration"] == agent["metadata"]["generation"]
                && conditions.is_some_and(|all| !all.iter().any(frozen))
        });
        let agent = server.agent(name);
        let said = |kind: &str| {
            let all = agent["status"]["conditions"].as_array().unwrap();
            all.iter().find(|one| one["type"] == kind).cloned()
        };
        let rollout = &agent["status"]["rollout"];
        assert_eq!(rollout["state"], self.state, "{agent:#}");
        for field in ["failed", "lastGood", "lastGoodNumber", "number"] {
            assert_eq!(rollout[field], self.rollout[field], "{field}: {agent:#}");
        }
        let back = said("RolledBack");
        assert_eq!(back.is_some(), self.state == "RolledBack", "{back:?}");
        let history = server.ok(&["rollout", "history", name, "-o", "json"]);
        assert_eq!(history, self.history);
        assert_eq!(server.containers(name), self.containers);
        // Each try to make a container reserves its place first.
        let uid = agent["metadata"]["uid"].as_str().unwrap();
        let places = server.redis(&["EXISTS", &format!("agentainer:incarnations:{uid}")]);
        assert_eq!(places, "0", "somebody made a container");
        let answer = get(&server.url(&format!("/agent/{name}/"))).unwrap();
        assert_eq!(answer.status, 200);
    }
}

#[test]
fn law_8_a_rollout_that_failed_is_not_tried_again_because_the_store_was_wiped() {
    let mut server = Server::start();
    let back = Failed::bring(&server, "gone-back", "rollback: true", "RolledBack");
    let held = Failed::bring(&server, "stood-still", "rollback: false", "Failed");

    server.redis(&["FLUSHALL"]);
    server.ok(&["recover"]);
    back.stands(&server);
    held.stands(&server);

    // Once more, with the server down meanwhile.
    server.kill();
    server.redis(&["FLUSHALL"]);
    server.flag("--recover");
    server.launch();
    back.stands(&server);
    held.stands(&server);

    // The way back is known too.
    let last_good = server.agent("stood-still")["status"]["rollout"]["lastGood"].clone();
    server.ok(&[
        "rollout",
        "undo",
        "stood-still",
        "--wait",
        "--timeout",
        "80s",
    ]);
    assert_eq!(server.agent("stood-still")["status"]["revision"], last_good);
    assert_eq!(server.containers("stood-still").len(), 2);
}
