//! `get`, `list`, `describe`, `logs`, `events`, `graph`, `health`, `version`.

use std::process::Stdio;
use std::time::Duration;

use agentainer::agent::{EventKind, EventRecord};
use agentainer::clock;
use agentainer::store::AgentStore;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::fake_store::FakeStore;
use crate::rig::{ADMIN, Rig, condition, failed, ready};

const MESH: &str = "agents:
  - name: gateway
    labels: {tier: edge}
    env: {UPSTREAMS: [http://auth:8000], SECRET: hunter2}
  - name: auth
    image: auth:1.4
    replicas: 2
    labels: {tier: backend}
";

async fn mesh() -> Rig {
    let rig = Rig::new().await;
    rig.apply(MESH).await;
    let auth = rig.agent("auth").await;
    rig.set_status(&auth, ready(&auth)).await;
    let gateway = rig.agent("gateway").await;
    let mut status = failed(&gateway, "ImageNotFound", "no image 'gateway'");
    status["conditions"][0]["message"] =
        json!(format!("no image 'gateway'{}", " and so on".repeat(20)));
    status["upstreams"] = json!(["auth"]);
    rig.set_status(&gateway, status).await;
    rig
}

/// The columns of a table but the age, which changes.
fn columns(table: &str) -> Vec<Vec<&str>> {
    table
        .lines()
        .map(|line| line.split_whitespace().take(4).collect())
        .collect()
}

#[tokio::test]
async fn a_table_shows_what_runs_and_why_not() {
    let rig = mesh().await;
    let expected = [
        vec!["NAME", "READY", "STATUS", "RESTARTS"],
        vec!["auth", "2/2", "Running", "0"],
        vec!["gateway", "0/1", "Failed:ImageNotFound", "0"],
    ];
    for line in ["get agents", "get", "get agent", "list", "ls", "ps"] {
        let table = rig.run(line).await.ok();
        assert_eq!(columns(&table), expected, "{line}");
        assert!(
            table.lines().all(|line| line == line.trim_end()),
            "{table:?}"
        );
    }
    let wide = rig.run("get agents -o wide").await.ok();
    assert!(
        wide.contains("UPSTREAMS") && wide.contains("auth:1.4"),
        "{wide}"
    );
    let bare = rig
        .run("get agents --no-headers -l tier=backend")
        .await
        .ok();
    assert_eq!(columns(&bare), [expected[1].clone()]);
}

#[tokio::test]
async fn names_and_selectors_choose() {
    let rig = mesh().await;
    let names = async |line: &str| rig.run(&format!("get {line} -o name")).await.ok();
    assert_eq!(names("agents").await, "agent/auth\nagent/gateway\n");
    assert_eq!(names("agent auth").await, "agent/auth\n");
    assert_eq!(
        names("agent/gateway auth").await,
        "agent/gateway\nagent/auth\n"
    );
    assert_eq!(names("agents -l tier!=backend").await, "agent/gateway\n");
    assert_eq!(names("agents --owner nobody").await, "");
    rig.run("get auth -l tier=backend")
        .await
        .failed(2, "cannot be combined");
    let none = rig.run("get agents -l tier=none").await;
    assert_eq!(
        (none.code, none.out.as_str(), none.err.as_str()),
        (0, "", "No agents match.\n")
    );
}

#[tokio::test]
async fn law_7_json_and_yaml_show_values_only_when_asked() {
    let rig = mesh().await;
    let one: Value = serde_json::from_str(&rig.run("get gateway -o json").await.ok()).unwrap();
    assert_eq!(one["kind"], "Agent");
    assert_eq!(one["spec"]["env"]["SECRET"], "***");
    let list: Value = serde_json::from_str(&rig.run("get agents -o json").await.ok()).unwrap();
    assert_eq!(
        (&list["kind"], list["items"].as_array().unwrap().len()),
        (&json!("AgentList"), 2)
    );
    let yaml = rig.run("get gateway -o yaml").await.ok();
    assert!(
        yaml.contains("  name: gateway\n") && !yaml.contains("hunter2"),
        "{yaml}"
    );
    assert!(!yaml.contains(">-"), "a long line is broken: {yaml}");
    let revealed = rig.run("get gateway -o yaml --reveal-env").await.ok();
    assert!(revealed.contains("SECRET: hunter2"), "{revealed}");
}

#[tokio::test]
async fn what_get_prints_can_be_applied_again() {
    let rig = mesh().await;
    for format in ["yaml", "json"] {
        let printed = rig
            .run(&format!("get gateway -o {format} --reveal-env"))
            .await
            .ok();
        let again = rig.run_with("apply -f -", &printed, &[]).await.ok();
        assert_eq!(again, "agent/gateway unchanged\n");
    }
}

#[tokio::test]
async fn describe_tells_all_there_is_but_values() {
    let rig = mesh().await;
    let gateway = rig.agent("gateway").await;
    rig.store
        .record_event(&EventRecord {
            agent: Some(gateway.metadata.name.clone()),
            kind: EventKind::Warning,
            reason: "ImageNotFound".to_owned(),
            message: "no image 'gateway'".to_owned(),
            count: 3,
            first_seen: clock::now(),
            last_seen: clock::now(),
        })
        .await
        .unwrap();
    let text = rig.run("describe gateway").await.ok();
    for part in [
        "Name:         gateway\n",
        "Owner:        default\n",
        "Labels:       tier=edge\n",
        "Status:       Failed:ImageNotFound\n",
        "Upstreams:    auth\n",
        "Called by:    -\n",
        "/agent/gateway/ (proxy), http://gateway:8000 (from agents)\n",
        "    SECRET: \"***\"\n",
        "no image 'gateway'",
        "Events:\n",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    assert!(!text.contains("hunter2"), "{text}");
    let auth = rig.run("describe agent auth").await.ok();
    assert!(auth.contains("Called by:    gateway\n"), "{auth}");
    let events = rig.run("events gateway").await.ok();
    assert!(
        events.contains("Warning   agent/gateway   ImageNotFound   no image 'gateway'"),
        "{events}"
    );
}

#[tokio::test]
async fn logs_come_as_they_were_written() {
    let rig = mesh().await;
    let auth = rig.agent("auth").await;
    rig.engine.add(&auth, 0, 1, "one\ntwo\n");
    assert_eq!(rig.run("logs auth").await.ok(), "one\ntwo\n");
    assert_eq!(
        rig.run("logs agent/auth --tail 5 -t --instance 0")
            .await
            .ok(),
        "one\ntwo\n"
    );
    let asked = rig
        .engine
        .ask(|state| state.asked_logs.last().cloned())
        .unwrap();
    assert_eq!((asked.tail, asked.timestamps), (Some(5), true));
    rig.run("logs auth --tail many").await.failed(2, "--tail");
    rig.run("logs auth --since yesterday")
        .await
        .failed(1, "since");
    rig.run("logs auth --instance 7")
        .await
        .failed(3, "no such instance");
}

#[tokio::test]
async fn the_graph_of_a_server_is_that_of_its_manifests() {
    let rig = mesh().await;
    assert_eq!(
        rig.run("graph").await.ok(),
        "auth\ngateway\n  -> auth  (UPSTREAMS)\n"
    );
}

#[tokio::test]
async fn health_and_version_speak_of_the_server() {
    let rig = Rig::new().await;
    let health = rig.run("health").await.ok();
    assert!(
        health.contains("is ready (version 9.9.9)") && health.contains("DockerReachable"),
        "{health}"
    );
    rig.engine.set(|state| state.away = true);
    assert_eq!(
        rig.run("version").await.ok(),
        format!("client {}\nserver 9.9.9\n", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(rig.run("version --client").await.ok().lines().count(), 1);
}

#[tokio::test]
async fn a_server_that_is_not_ready_exits_1_and_says_what_is_wrong() {
    let rig = Rig::new().await;
    rig.engine.set(|state| state.away = true);
    let ran = rig.run("health").await;
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.out.contains("not ready") && ran.out.contains("NoAnswer"),
        "{ran:?}"
    );
}

/// The program while it goes on writing lines.
struct Watch {
    lines: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl Watch {
    fn start(rig: &Rig, args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_agentainer"))
            .args(args)
            .env("AGENTAINER_SERVER", &rig.server)
            .env("AGENTAINER_TOKEN", ADMIN)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self {
            lines: BufReader::new(child.stdout.take().unwrap()).lines(),
            _child: child,
        }
    }

    async fn next(&mut self) -> String {
        let line = tokio::time::timeout(Duration::from_secs(30), self.lines.next_line());
        line.await.unwrap().unwrap().unwrap()
    }
}

#[tokio::test]
async fn a_watch_shows_each_change() {
    let rig = mesh().await;
    let mut watch = Watch::start(&rig, &["get", "agents", "-w"]);
    for start in ["NAME ", "auth ", "gateway "] {
        let line = watch.next().await;
        assert!(line.starts_with(start), "{line}");
    }
    let auth = rig.agent("auth").await;
    let mut status = ready(&auth);
    status["phase"] = json!("Degraded");
    status["conditions"] = json!([condition("Ready", "False", "NotReady", "")]);
    rig.set_status(&auth, status).await;
    let line = watch.next().await;
    assert!(line.contains("Degraded:NotReady"), "{line}");
}

#[tokio::test]
async fn a_watch_goes_on_with_the_next_server_and_tells_nothing_twice() {
    // Whose stream of changes reaches back over three of them.
    let mut rig = Rig::on(FakeStore::new(3, 100)).await;
    rig.apply(MESH).await;
    let mut watch = Watch::start(&rig, &["get", "agents", "-w", "-o", "name"]);
    for name in ["auth", "gateway"] {
        assert_eq!(watch.next().await, format!("agent/{name}"));
    }
    let changes = async |rig: &Rig, name: &str, phase: &str| {
        let agent = rig.agent(name).await;
        let mut status = ready(&agent);
        status["phase"] = json!(phase);
        rig.set_status(&agent, status).await;
    };
    // What happened while no server ran is told by the next one, and what was told before is not.
    rig.restart(async |rig| changes(rig, "gateway", "Degraded").await)
        .await;
    assert_eq!(watch.next().await, "agent/gateway");
    changes(&rig, "auth", "Degraded").await;
    assert_eq!(watch.next().await, "agent/auth");
    // Too much happened to be told one by one: what differs now is told.
    rig.restart(async |rig| {
        for phase in ["Failed", "Running", "Failed", "Running", "Failed"] {
            changes(rig, "gateway", phase).await;
        }
    })
    .await;
    assert_eq!(watch.next().await, "agent/gateway");
    changes(&rig, "auth", "Running").await;
    assert_eq!(watch.next().await, "agent/auth");
}

#[tokio::test]
async fn a_watch_of_events_goes_on_with_what_happens() {
    let mut rig = mesh().await;
    let happened = async |rig: &Rig, reason: &str| {
        let now = agentainer::clock::now();
        let event = EventRecord {
            agent: Some("auth".parse().unwrap()),
            kind: EventKind::Normal,
            reason: reason.to_owned(),
            message: "so it was".to_owned(),
            count: 1,
            first_seen: now,
            last_seen: now,
        };
        rig.store.record_event(&event).await.unwrap();
    };
    happened(&rig, "Created").await;
    let mut watch = Watch::start(&rig, &["events", "auth", "-w"]);
    assert!(watch.next().await.starts_with("AGE "));
    assert!(
        watch
            .next()
            .await
            .contains("Normal   agent/auth   Created   so it was")
    );
    happened(&rig, "Killed").await;
    let line = watch.next().await;
    assert!(line.contains("agent/auth   Killed "), "{line}");
    // The next server's watch begins with what the last one told.
    rig.restart(async |rig| happened(rig, "Started").await)
        .await;
    let line = watch.next().await;
    assert!(line.contains("agent/auth   Started "), "{line}");
}
