//! The engine killed, restarted, frozen, and odd, under a server that runs on: law 6 on a dockerd of the test's own.

use crate::engine::{Engine, Stopped, signal};
use crate::server::Server;
use crate::web::get;

fn answers(server: &Server, name: &str) -> bool {
    get(&server.url(&format!("/agent/{name}/"))).is_some_and(|answer| answer.status == 200)
}

/// Whether Docker answers, as the server says it.
fn reached(server: &Server) -> Option<bool> {
    let said = get(&server.url("/ready"))?.json();
    let conditions = said["conditions"].as_array()?;
    let docker = conditions
        .iter()
        .find(|one| one["type"] == "DockerReachable")?;
    Some(docker["status"] == "True")
}

/// When a container's process started.
fn started(server: &Server, id: &str) -> String {
    server.docker(&["inspect", "-f", "{{.Id}} {{.State.StartedAt}}", id])
}

/// The process of an agent's only container.
fn process_of(engine: &Engine, server: &Server, name: &str) -> u32 {
    engine.process_of(&server.containers(name)[0])
}

#[test]
fn law_6_a_killed_and_restarted_engine_costs_no_container_and_what_ended_meanwhile_is_mended() {
    let engine = Engine::start();
    let server = Server::on_engine(&engine);
    server.apply("agents: [{name: calm, image: hello}, {name: hurt, image: hello}]");
    let calm = server.containers("calm");
    let before = started(&server, &calm[0]);
    let process = process_of(&engine, &server, "hurt");

    engine.kill();
    server.eventually("the server says that Docker is away", |server| {
        reached(server) == Some(false)
    });
    assert!(
        answers(&server, "calm") && answers(&server, "hurt"),
        "both are routed to"
    );
    // Nobody hears of it: a gap in the events that no list of the last ones fills.
    signal("KILL", process);
    assert!(answers(&server, "calm"), "still");
    engine.launch();
    server.eventually("what ended meanwhile is back", |server| {
        answers(server, "hurt")
    });
    server.eventually("and ready", |server| {
        server.is_ready("hurt") && server.is_ready("calm")
    });
    assert_eq!(server.containers("calm"), calm);
    assert_eq!(started(&server, &calm[0]), before, "never touched");
    assert_eq!(server.containers("hurt").len(), 1);

    // An orderly restart, as an upgrade of Docker makes it: live-restore leaves all as it is.
    let hurt = started(&server, &server.containers("hurt")[0]);
    engine.terminate();
    assert!(answers(&server, "calm") && answers(&server, "hurt"));
    engine.launch();
    server.eventually("Docker is back", |server| reached(server) == Some(true));
    server.eventually("both are ready", |server| {
        server.is_ready("hurt") && server.is_ready("calm")
    });
    assert_eq!(started(&server, &calm[0]), before, "never touched");
    assert_eq!(
        started(&server, &server.containers("hurt")[0]),
        hurt,
        "never touched"
    );
}

#[test]
fn law_6_an_engine_that_hangs_is_not_taken_for_an_empty_one() {
    let engine = Engine::start();
    let server = Server::on_engine(&engine);
    server.apply("agents: [{name: calm, image: hello}, {name: hurt, image: hello}]");
    let before = started(&server, &server.containers("calm")[0]);
    let process = process_of(&engine, &server, "hurt");

    engine.freeze();
    signal("KILL", process);
    server.eventually("the server says that Docker does not answer", |server| {
        reached(server) == Some(false)
    });
    for _ in 0..5 {
        assert!(answers(&server, "calm"), "routing goes on");
    }
    assert!(
        server.is_ready("calm"),
        "the API and the last status are there"
    );
    engine.thaw();
    server.eventually("what ended meanwhile is back", |server| {
        answers(server, "hurt")
    });
    server.eventually("both are ready", |server| {
        server.is_ready("hurt") && server.is_ready("calm")
    });
    assert_eq!(
        started(&server, &server.containers("calm")[0]),
        before,
        "never touched"
    );
    assert_eq!(server.all_containers().len(), 2);
}

#[test]
fn law_1_an_engine_killed_in_the_middle_of_its_work_leaves_each_container_made_once() {
    let engine = Engine::start();
    let server = Server::on_engine(&engine);
    let names: Vec<String> = (0..6).map(|n| format!("half-{n}")).collect();
    let agents: Vec<String> = names
        .iter()
        .map(|name| format!("{{name: {name}, image: hello}}"))
        .collect();
    let manifest = format!("agents: [{}]", agents.join(", "));
    let applied = server.cli_with_input(&["apply", "-f", "-"], &manifest);
    assert!(applied.status.success());
    server.eventually("some are made", |server| server.all_containers().len() >= 2);
    // Some are created and not started, some started and not answered for.
    engine.kill();
    engine.launch();
    server.eventually("all are ready", |server| {
        names.iter().all(|name| server.is_ready(name))
    });
    assert_eq!(server.all_containers().len(), names.len(), "each once");
}

#[test]
fn one_container_that_hangs_the_engine_holds_up_no_other() {
    let engine = Engine::start();
    let server = Server::on_engine(&engine);
    server.apply(
        "agents: [{name: stuck, image: hello, drain: {timeout: 0s}}, {name: other, image: hello}]",
    );
    let shim = engine.shim_of(&server.containers("stuck")[0]);
    let stopped = Stopped::new(shim);
    // The engine's stop of it hangs; that of another is heard of, and mended, all the same.
    server.ok(&["delete", "stuck", "--wait=false"]);
    let other = server.containers("other")[0].clone();
    server.docker(&["kill", &other]);
    server.eventually("the other one is back", |server| answers(server, "other"));
    assert_eq!(server.containers("stuck").len(), 1, "it hangs still");
    drop(stopped);
    server.eventually("the hung one is gone", |server| {
        server.containers("stuck").is_empty()
    });
}

/// A folder that not even root removes until this is dropped: the engine calls a container with such a one dead.
struct Immutable(String);

impl Immutable {
    fn new(folder: &str) -> Self {
        let (done, said) = chattr("+i", folder);
        assert!(done, "{said}");
        Self(folder.to_owned())
    }
}

impl Drop for Immutable {
    fn drop(&mut self) {
        let (done, said) = chattr("-i", &self.0);
        if !done {
            eprintln!("{} stays immutable: {said}", self.0);
        }
    }
}

fn chattr(flag: &str, folder: &str) -> (bool, String) {
    let output = std::process::Command::new("chattr")
        .args([flag, folder])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.success(), said)
}

#[test]
fn one_that_the_engine_cannot_remove_is_gone_on_beside() {
    let engine = Engine::start();
    let server = Server::on_engine(&engine);
    server.apply("agents: [{name: leaf, image: hello, env: {ROUND: '1'}, drain: {timeout: 0s}}]");
    let old = server.containers("leaf")[0].clone();
    let upper = server.docker(&["inspect", "-f", "{{.GraphDriver.Data.UpperDir}}", &old]);
    let immutable = Immutable::new(upper.trim());
    let applied = server.cli_with_input(
        &["apply", "-f", "-", "--wait", "--timeout", "60s"],
        "agents: [{name: leaf, image: hello, env: {ROUND: '2'}, drain: {timeout: 0s}}]",
    );
    server.eventually("the new one answers beside it", |server| {
        answers(server, "leaf") && server.containers("leaf").len() == 2
    });
    server.eventually("the old one is dead", |server| {
        server
            .docker(&["inspect", "-f", "{{.State.Status}}", &old])
            .trim()
            != "running"
    });
    assert!(
        applied.status.success(),
        "{}",
        String::from_utf8_lossy(&applied.stderr)
    );
    assert_eq!(server.containers("leaf").len(), 2, "one more is not made");
    drop(immutable);
    server.ok(&["delete", "leaf"]);
    assert!(
        server.all_containers().is_empty(),
        "and it goes when it can"
    );
}
