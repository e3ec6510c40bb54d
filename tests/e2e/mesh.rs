//! The main job: the network document's mesh, applied as written, answers through one curl.

use crate::server::{Server, docker, docker_says, root};
use crate::web::{curl, get};

/// The mesh block of the network document, exactly as written.
fn documented_mesh() -> String {
    let text = std::fs::read_to_string(root().join("docs/network-architecture.md")).unwrap();
    let from = text
        .find("agents:\n  # API Gateway")
        .expect("the document has its mesh");
    let block = &text[from..];
    block[..block.find("```").unwrap()].to_owned()
}

#[test]
fn the_documents_mesh_applied_as_written_answers_through_one_curl() {
    let server = Server::start();
    let printed = server.apply(&documented_mesh());
    for name in ["gateway", "auth", "users", "orders"] {
        assert!(
            printed.contains(&format!("agent/{name} created")),
            "{printed}"
        );
    }
    let answer = get(&server.url("/agent/gateway/")).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    let said = answer.json();
    let text = said.to_string();
    for name in ["auth", "users", "orders"] {
        assert!(
            text.contains(name),
            "the gateway did not reach {name}: {text}"
        );
    }
    for (path, method) in [
        ("/agent/gateway/api/endpoint?a=1&a=2", "GET"),
        ("/agent/gateway/process", "POST"),
    ] {
        let answer = curl(&["-X", method, "-d", "{...}", &server.url(path)]).unwrap();
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.body);
    }

    // Applied again, nothing changes, and no container is touched.
    let before = server.all_containers();
    let again = server.apply(&documented_mesh());
    assert!(
        again.contains("agent/gateway unchanged") && !again.contains("configured"),
        "{again}"
    );
    assert_eq!(server.all_containers(), before);

    let table = server.ok(&["get", "agents"]);
    assert!(
        table.contains("gateway") && table.contains("Running"),
        "{table}"
    );
    let graph = server.ok(&["graph"]);
    assert!(graph.contains("auth"), "{graph}");
    the_documents_docker_lines_work(&server);
}

/// Every `docker` line of the document that can be tried on a `FROM scratch` image; the others are in `isolation`.
fn the_documents_docker_lines_work(server: &Server) {
    let (listed, text) = docker_says(&["ps", "--filter", "name=gateway"]);
    assert!(listed && text.contains("gateway"), "{text}");
    let network = docker(&["network", "inspect", &server.network]);
    assert!(network.contains("gateway"), "{network}");
    let id = &server.containers("auth")[0];
    let inspected = docker(&["inspect", id]);
    assert!(inspected.contains("8000/tcp"), "the port is exposed");
    assert!(
        inspected.contains(&format!("\"NetworkMode\": \"{}\"", server.network)),
        "NetworkMode names the network"
    );
    let ports = docker(&["inspect", "-f", "{{json .HostConfig.PortBindings}}", id]);
    assert!(
        matches!(ports.trim(), "{}" | "null"),
        "law 7: no host port, {ports}"
    );
}

#[test]
fn a_path_reaches_the_agent_byte_for_byte_and_errors_say_what_to_do() {
    let server = Server::start();
    server.apply("agents: [{name: echo-1, image: hello, healthCheck: {endpoint: /health}}]");
    let answer = curl(&[
        "--path-as-is",
        &server.url("/agent/echo-1/echo/a%2Fb/../c//d?x=%20&y=1&y=2"),
    ])
    .unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(
        answer.body.contains("/echo/a%2Fb/../c//d"),
        "{}",
        answer.body
    );
    assert!(answer.body.contains("x=%20&y=1&y=2"), "{}", answer.body);

    let unknown = get(&server.url("/agent/nobody/")).unwrap();
    assert_eq!(unknown.status, 404);
    assert!(
        unknown.head.contains("application/problem+json") && unknown.body.contains("nobody"),
        "{}",
        unknown.body
    );

    server.ok(&["stop", "echo-1", "--wait"]);
    let stopped = get(&server.url("/agent/echo-1/")).unwrap();
    assert_eq!(stopped.status, 503, "{}", stopped.body);
    assert!(
        stopped.head.contains("retry-after") && stopped.body.contains("agentainer start echo-1"),
        "{}",
        stopped.body
    );
}

#[test]
fn a_stream_comes_event_by_event_through_the_proxy() {
    let server = Server::start();
    server.apply("agents: [{name: streamer, image: hello}]");
    let answer = curl(&["-N", &server.url("/agent/streamer/sse?n=5&ms=100")]).unwrap();
    assert!(answer.head.contains("text/event-stream"), "{}", answer.head);
    assert_eq!(answer.body.matches("data:").count(), 5, "{}", answer.body);
}

#[test]
fn the_event_driven_pair_hears_each_other() {
    let server = Server::start();
    let manifest = std::fs::read_to_string(root().join("examples/pubsub/agents.yaml")).unwrap();
    server.apply(&manifest);
    let sent = curl(&[
        "-X",
        "POST",
        "-d",
        "{\"id\": 41}",
        &server.url("/agent/publisher/publish?type=order"),
    ])
    .unwrap();
    assert!(sent.status < 300, "{} {}", sent.status, sent.body);
    server.eventually("the subscriber heard the order", |server| {
        get(&server.url("/agent/subscriber/"))
            .is_some_and(|answer| answer.body.contains("events:order"))
    });
}

#[test]
fn the_other_two_input_forms_are_applied_too() {
    let server = Server::start();
    for example in ["examples/hello/agent.yaml", "examples/bundle"] {
        let path = root().join(example);
        server.ok(&[
            "apply",
            "-f",
            &path.to_string_lossy(),
            "-R",
            "--wait",
            "--timeout",
            "90s",
        ]);
    }
    assert!(server.is_ready("hello"));
}
