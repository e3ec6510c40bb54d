//! Liveness restarts, readiness does not; a crash loop says why and tells no secret; a killed container is back soon.

use jiff::Timestamp;
use serde_json::Value;

use crate::load::{Kinds, Load};
use crate::server::{Server, docker};
use crate::web::{curl, get};

/// An agent whose health can be broken: `/break?hang` answers nothing any more, `/break?503` answers that.
const BREAKABLE: &str = r#"
import http.server, threading, time
broken = ""
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        global broken
        if self.path.startswith("/break?"):
            broken = self.path.split("?")[1]
        elif broken == "hang":
            time.sleep(3600)
        self.send_response(503 if self.path == "/health" and broken == "503" else 200)
        self.send_header("content-length", "0")
        self.end_headers()
http.server.ThreadingHTTPServer(("0.0.0.0", 8000), Handler).serve_forever()
"#;

fn started(name: &str) -> String {
    docker(&["inspect", "-f", "{{.State.StartedAt}}", name])
}

fn ready(server: &Server, name: &str) -> Value {
    let agent = server.agent(name);
    let conditions = agent["status"]["conditions"].as_array().cloned();
    let mut all = conditions.unwrap_or_default().into_iter();
    all.find(|one| one["type"] == "Ready").unwrap_or_default()
}

#[test]
fn a_hanging_agent_is_restarted_and_one_that_answers_503_is_not() {
    let server = Server::start();
    let agent = |name: &str| {
        serde_json::json!({
            "name": name,
            "image": "agentainer-test/python:latest",
            "command": ["python3", "-c", BREAKABLE],
            "healthCheck": {"interval": "500ms", "timeout": "1s", "retries": 3},
        })
    };
    let manifest = serde_json::json!({"agents": [agent("hanging"), agent("unwell")]});
    server.apply(&manifest.to_string());
    let before = [started("hanging"), started("unwell")];
    let broken = |name: &str, how: &str| get(&server.url(&format!("/agent/{name}/break?{how}")));
    assert_eq!(broken("unwell", "503").unwrap().status, 200);
    server.eventually("the unwell one is out of service", |server| {
        ready(server, "unwell")["status"] == "False"
    });
    broken("hanging", "hang");
    let took = server.eventually("the hanging one is restarted", |server| {
        started("hanging") != before[0] && server.is_ready("hanging")
    });
    println!("hanging: restarted and ready {took:?} after it hung");
    assert_eq!(started("unwell"), before[1], "a bad answer is an answer");
    let said = ready(&server, "unwell");
    assert_eq!(said["status"], "False", "{said}");
    assert!(said["message"].as_str().unwrap().contains("503"), "{said}");
    let refused = get(&server.url("/agent/unwell/")).unwrap();
    assert_eq!(refused.status, 503, "it gets no traffic: {}", refused.body);
    let events = server.ok(&["describe", "hanging"]);
    assert!(events.contains("did not answer 3 probes"), "{events}");
    server.eventually("its loss of readiness is told", |server| {
        let events = server.ok(&["events", "unwell"]);
        let mut lines = events.lines();
        lines.any(|line| line.contains("Warning") && line.contains("unwell is not ready: "))
    });
}

#[test]
fn a_crash_loop_ends_says_why_and_law_7_tells_no_secret() {
    let server = Server::start();
    let manifest = "agents: [{name: crasher, image: 'agentainer-test/python:latest', \
        command: [python3, -c, 'import os; print(\"cannot open\", os.environ[\"VAULT\"], flush=True); os.kill(os.getpid(), 11)'], \
        env: {VAULT: 'vault-s3cret'}, restart: {maxRetries: 2, delay: 200ms}}]";
    let output = server.cli_with_input(&["apply", "-f", "-"], manifest);
    assert!(output.status.success());
    server.eventually("it is given up", |server| {
        let said = ready(server, "crasher");
        said["reason"] == "RestartsExhausted" && said["lastLines"].is_array()
    });
    let said = ready(&server, "crasher");
    assert!(
        said["message"].as_str().unwrap().contains("139 (SIGSEGV)"),
        "{said}"
    );
    let lines = said["lastLines"].to_string();
    assert!(lines.contains("cannot open ***"), "{lines}");
    let told = server.ok(&["describe", "crasher"]);
    assert!(
        told.contains("cannot open ***") && !told.contains("vault-s3cret"),
        "{told}"
    );
    let starts = docker(&["inspect", "-f", "{{.State.Status}}", "crasher"]);
    assert_eq!(starts.trim(), "exited");
    // A viewer reads no log, and these lines are of one.
    let viewer = "Authorization: Bearer agentainer-default-token";
    let seen = curl(&["-H", viewer, &server.url("/agents/crasher")]).unwrap();
    assert_eq!(seen.status, 200, "{}", seen.body);
    assert!(!seen.body.contains("cannot open"), "{}", seen.body);
}

/// The time at the head of the last line of the log that says this.
fn logged(server: &Server, what: &[&str]) -> Option<Timestamp> {
    let log = server.log_tail();
    let mut lines = log.lines().rev();
    let line = lines.find(|line| what.iter().all(|word| line.contains(word)))?;
    line.split_whitespace().next()?.parse().ok()
}

#[test]
fn a_killed_container_is_started_again_and_how_soon_is_printed() {
    let server = Server::start();
    server.apply("agents: [{name: victim, image: hello}]");
    let mut rests = Vec::new();
    for _ in 0..5 {
        let before = started("victim");
        let killed = agentainer::clock::now();
        docker(&["kill", "victim"]);
        let returned = agentainer::clock::now();
        server.eventually("it is back", |server| {
            started("victim") != before && server.is_ready("victim")
        });
        let ended: Timestamp = docker(&["inspect", "-f", "{{.State.FinishedAt}}", "victim"])
            .trim()
            .parse()
            .unwrap();
        let called = logged(&server, &["acting", "victim", "start"]).unwrap();
        let ms = |from: Timestamp| called.duration_since(from).as_secs_f64() * 1e3;
        println!(
            "start call {:.0} ms after `docker kill` was typed, {:.0} ms after the process's end, {:.0} ms after `docker kill` was done",
            ms(killed),
            ms(ended),
            ms(returned)
        );
        rests.push(called.duration_since(returned));
        // A row of failures backs off: a new revision begins another.
        server.ok(&["restart", "victim", "--wait"]);
        server.eventually("the new one has the name", |server| {
            server.containers("victim").len() == 1 && server.is_ready("victim")
        });
    }
    rests.sort();
    println!(
        "docker kill to the restart's start call, median: {:.0} ms",
        rests[2].as_secs_f64() * 1e3
    );
}

#[test]
fn law_8_a_wrong_check_alone_fails_no_request_says_why_and_is_undone() {
    let (server, agent) = (Server::start(), "rechecked");
    let manifest = |endpoint: &str| {
        format!(
            "agents: [{{name: {agent}, image: hello, replicas: 2, strategy: {{progressDeadline: 4s}}, \
             healthCheck: {{endpoint: {endpoint}, interval: 500ms, timeout: 1s, retries: 2}}}}]"
        )
    };
    server.apply(&manifest("/health"));
    server.eventually("it has proved good", |server| {
        !server.agent(agent)["status"]["rollout"]["lastGood"].is_null()
    });
    let before = server.containers(agent);
    let load = Load::on(&server, agent, Kinds::ALL);
    let args = ["apply", "-f", "-", "--wait", "--timeout", "80s"];
    let ended = server.cli_with_input(&args, &manifest("/not-there"));
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let told = server.cli(&["rollout", "status", agent, "--timeout", "80s"]);
    assert_eq!(told.status.code(), Some(1), "{told:?}");
    let said = String::from_utf8_lossy(&told.stderr).into_owned();
    for part in [
        "GET /not-there answered 404",
        "the former one goes on judging",
        "rollout undo",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(ready(&server, agent)["reason"], "FormerHealthCheck");
    let from = load.answered();
    server.eventually("the load goes on", |_| load.answered() >= from + 200);
    server.ok(&["rollout", "undo", agent, "--wait", "--timeout", "80s"]);
    assert_eq!(
        server.agent(agent)["spec"]["healthCheck"]["endpoint"],
        "/health"
    );
    assert_eq!(ready(&server, agent)["reason"], "Ready");
    // One that passes takes over.
    let applied = server.cli_with_input(&args, &manifest("/"));
    assert!(applied.status.success(), "{applied:?}");
    load.end().faultless("a wrong check and its end");
    assert_eq!(server.containers(agent), before, "no container was touched");
}
