//! An agent's life by the command line: deploy, stop, start, pause, resume, scale, replace, restart, remove.

use crate::server::{Server, docker};
use crate::web::get;

fn state(id: &str) -> String {
    docker(&["inspect", "-f", "{{.State.Status}}", id])
        .trim()
        .to_owned()
}

fn answers(server: &Server, name: &str) -> bool {
    get(&server.url(&format!("/agent/{name}/"))).is_some_and(|answer| answer.status == 200)
}

#[test]
fn the_documents_verbs_do_what_they_say() {
    let server = Server::start();
    server.ok(&[
        "deploy",
        "--name",
        "dev-agent",
        "--image",
        "hello:latest",
        "--wait",
    ]);
    assert!(answers(&server, "dev-agent"));
    assert!(server.ok(&["list"]).contains("dev-agent"));
    let id = server.containers("dev-agent")[0].clone();

    server.ok(&["pause", "dev-agent", "--wait"]);
    assert_eq!(state(&id), "paused");
    server.ok(&["resume", "dev-agent", "--wait"]);
    assert_eq!(state(&id), "running");
    assert!(answers(&server, "dev-agent"));

    server.ok(&["stop", "dev-agent", "--wait"]);
    assert_eq!(state(&id), "exited");
    server.ok(&["start", "dev-agent", "--wait"]);
    assert_eq!(state(&id), "running", "the same container, started again");
    assert!(answers(&server, "dev-agent"));

    server.ok(&["restart", "dev-agent", "--wait"]);
    server.eventually("it was restarted", |server| {
        let now = server.containers("dev-agent");
        now.len() == 1 && now[0] != id && answers(server, "dev-agent")
    });
    let exec = docker(&[
        "inspect",
        "-f",
        "{{.Name}}",
        &server.containers("dev-agent")[0],
    ]);
    assert_eq!(
        exec.trim(),
        "/dev-agent",
        "`docker exec dev-agent` works on a settled agent"
    );
    assert!(
        !server
            .ok(&["logs", "dev-agent", "--tail", "5"])
            .contains("agentainer-admin")
    );

    server.ok(&["remove", "dev-agent"]);
    server.eventually("it is gone", |server| {
        server.containers("dev-agent").is_empty()
    });
    assert_eq!(
        server.cli(&["get", "agent", "dev-agent"]).status.code(),
        Some(3)
    );
    assert_eq!(get(&server.url("/agent/dev-agent/")).unwrap().status, 404);
}

#[test]
fn scaling_adds_and_takes_the_highest_ordinals() {
    let server = Server::start();
    server.apply("agents: [{name: herd, image: hello, drain: {timeout: 1s}}]");
    let first = server.containers("herd");
    server.ok(&["scale", "herd", "--replicas", "3"]);
    server.eventually("three are ready", |server| {
        server.agent("herd")["status"]["readyReplicas"] == 3
    });
    assert!(
        server.containers("herd").contains(&first[0]),
        "the first one stays"
    );
    server.ok(&["scale", "herd", "--replicas", "1"]);
    server.eventually("one is left", |server| server.containers("herd").len() == 1);
    assert_eq!(server.containers("herd"), first);

    // What `scale` gave stays when a manifest that does not name it is applied again.
    server.ok(&["scale", "herd", "--replicas", "2"]);
    server
        .apply("agents: [{name: herd, image: hello, drain: {timeout: 1s}, labels: {tier: back}}]");
    assert_eq!(server.agent("herd")["spec"]["replicas"], 2);
}

#[test]
fn a_changed_spec_replaces_and_a_changed_label_does_not() {
    let server = Server::start();
    server.apply(
        "agents: [{name: chameleon, image: hello, env: {COLOUR: red}, drain: {timeout: 1s}}]",
    );
    let red = server.containers("chameleon");
    server.apply("agents: [{name: chameleon, image: hello, env: {COLOUR: red}, drain: {timeout: 2s}, labels: {a: b}}]");
    assert_eq!(
        server.containers("chameleon"),
        red,
        "labels and drain replace nothing"
    );

    let manifest =
        "agents: [{name: chameleon, image: hello, env: {COLOUR: blue}, drain: {timeout: 1s}}]";
    let dry = server.cli_with_input(&["diff", "-f", "-"], manifest);
    assert_eq!(dry.status.code(), Some(1), "diff tells a difference");
    assert_eq!(server.containers("chameleon"), red, "diff changes nothing");
    server.apply(manifest);
    server.eventually("only the blue one is left", |server| {
        let now = server.containers("chameleon");
        now.len() == 1 && now != red
    });
    let env = docker(&[
        "inspect",
        "-f",
        "{{.Config.Env}}",
        &server.containers("chameleon")[0],
    ]);
    assert!(env.contains("COLOUR=blue"), "{env}");
    server.eventually("docker exec chameleon works", |_| {
        docker(&["ps", "--format", "{{.Names}}"])
            .lines()
            .any(|name| name == "chameleon")
    });
}

#[test]
fn law_8_a_bad_revision_leaves_the_last_good_one_serving_and_reverting_recovers() {
    let server = Server::start();
    let good = "agents: [{name: faithful, image: hello}]";
    server.apply(good);
    let before = server.containers("faithful");
    let output = server.cli_with_input(
        &["apply", "-f", "-", "--wait", "--timeout", "20s"],
        "agents: [{name: faithful, image: no-such-image-anywhere, pullPolicy: never}]",
    );
    assert!(
        !output.status.success(),
        "a bad image must not look like success"
    );
    let said = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("no-such-image-anywhere"), "{said}");
    assert!(answers(&server, "faithful"), "the good one goes on serving");
    assert_eq!(server.containers("faithful"), before);
    server.apply(good);
    assert_eq!(
        server.containers("faithful"),
        before,
        "A→B→A touches nothing"
    );
}

#[test]
fn prune_removes_what_the_bundle_no_longer_names_and_nothing_else() {
    let server = Server::start();
    server.apply("agents: [{name: one, image: hello}, {name: two, image: hello}]");
    server.ok(&["deploy", "--name", "other", "--image", "hello"]);
    let output = server.cli_with_input(
        &["apply", "-f", "-", "--prune", "--wait"],
        "agents: [{name: one, image: hello}]",
    );
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("agent/two pruned"),
        "{said}"
    );
    server.eventually("two is gone", |server| server.containers("two").is_empty());
    assert_eq!(server.containers("one").len(), 1);

    let bad = server.cli_with_input(
        &["apply", "-f", "-", "--prune"],
        "agents: [{name: one, imagee: hello}]",
    );
    assert!(!bad.status.success());
    assert!(
        String::from_utf8_lossy(&bad.stderr).contains("did you mean 'image'"),
        "{}",
        String::from_utf8_lossy(&bad.stderr)
    );
    assert_eq!(
        server.containers("one").len(),
        1,
        "a bundle that failed to parse prunes nothing"
    );
}

#[test]
fn a_dependency_is_waited_for_and_an_image_is_built_from_its_context() {
    let server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("Dockerfile"),
        "FROM hello\nENV BUILT=here\n",
    )
    .unwrap();
    std::fs::write(
        dir.path().join("agents.yaml"),
        "agents:\n  - {name: base, image: hello}\n  - {name: built, build: ., dependencies: [base]}\n",
    )
    .unwrap();
    server.ok(&[
        "apply",
        "-f",
        &dir.path().join("agents.yaml").to_string_lossy(),
        "--wait",
        "--timeout",
        "90s",
    ]);
    let id = &server.containers("built")[0];
    assert!(docker(&["inspect", "-f", "{{.Config.Env}}", id]).contains("BUILT=here"));
    let created =
        |name: &str| docker(&["inspect", "-f", "{{.Created}}", &server.containers(name)[0]]);
    assert!(
        created("base") < created("built"),
        "the dependency came first"
    );
}
