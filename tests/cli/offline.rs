//! What needs no server.

use std::process::Stdio;

use tokio::io::AsyncReadExt;

use crate::rig::{ADMIN, Ran, run};

async fn alone(line: &str, input: &str) -> Ran {
    let home = tempfile::tempdir().unwrap();
    run(home.path(), line, input, &[]).await
}

const MESH: &str = "agents:
  - name: gateway
    env: {UPSTREAMS: [http://auth:8000]}
  - name: auth
";

#[tokio::test]
async fn no_command_at_all_is_a_usage_error_that_shows_the_commands() {
    alone("", "").await.failed(2, "apply");
}

#[tokio::test]
async fn unknown_commands_and_flags_are_usage_errors() {
    alone("aply", "").await.failed(2, "apply");
    alone("get agents --ouput json", "")
        .await
        .failed(2, "--output");
    alone("get agents -o xml", "").await.failed(2, "table");
    alone("apply", "").await.failed(2, "-f FILE");
    alone("delete", "").await.failed(2, "NAME");
    alone("get agents --server ftp://box", "")
        .await
        .failed(2, "http");
}

#[tokio::test]
async fn every_command_shows_examples_in_its_help() {
    for command in [
        "serve",
        "apply",
        "diff",
        "deploy",
        "get",
        "list",
        "describe",
        "logs",
        "events",
        "graph",
        "invoke",
        "wait",
        "start",
        "stop",
        "restart",
        "pause",
        "resume",
        "scale",
        "delete",
        "remove",
        "validate",
        "schema",
        "health",
        "token",
        "version",
        "completion",
    ] {
        let help = alone(&format!("{command} --help"), "").await.ok();
        assert!(help.contains("agentainer "), "{command}: {help}");
        assert!(help.contains("Examples:"), "{command}: {help}");
        alone(&format!("help {command}"), "").await.ok();
    }
}

#[tokio::test]
async fn validate_tells_every_error_with_its_place() {
    let wrong = "agents:\n- name: a\n  replcas: 2\n- name: B_\n";
    let ran = alone("validate -f -", wrong)
        .await
        .failed(1, "did you mean 'replicas'?");
    assert!(ran.err.contains("<stdin>:3:3"), "{ran:?}");
    assert!(ran.err.contains("<stdin>:4:9"), "{ran:?}");
    assert_eq!(ran.out, "");
    assert_eq!(alone("validate -f -", MESH).await.ok(), "valid: 2 agents\n");
}

#[tokio::test]
async fn folders_are_read_by_name_and_deeper_with_r() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(home.path().join("m/deep")).unwrap();
    let agent = |name: &str| format!("agents: [{{name: {name}}}]");
    std::fs::write(home.path().join("m/a.yaml"), agent("a")).unwrap();
    std::fs::write(home.path().join("m/deep/b.yml"), agent("b")).unwrap();
    std::fs::write(home.path().join("m/README.md"), "no manifest").unwrap();
    let run = async |line: &str| run(home.path(), line, "", &[]).await;
    assert_eq!(run("validate -f m").await.ok(), "valid: 1 agent\n");
    assert_eq!(run("validate -f m -R").await.ok(), "valid: 2 agents\n");
    assert_eq!(
        run("validate -f m/a.yaml -f m/deep").await.ok(),
        "valid: 2 agents\n"
    );
    run("validate -f none.yaml")
        .await
        .failed(1, "none.yaml cannot be read");
}

#[tokio::test]
async fn a_graph_of_manifests_needs_no_server() {
    assert_eq!(
        alone("graph -f -", MESH).await.ok(),
        "auth\ngateway\n  -> auth  (UPSTREAMS)\n"
    );
    assert!(
        alone("graph -f - -o mermaid", MESH)
            .await
            .ok()
            .starts_with("graph LR\n")
    );
    assert!(
        alone("graph -f - -o dot", MESH)
            .await
            .ok()
            .starts_with("digraph")
    );
}

#[tokio::test]
async fn schemas_are_printed_and_written() {
    let home = tempfile::tempdir().unwrap();
    let run = async |line: &str| run(home.path(), line, "", &[]).await;
    assert_eq!(run("schema").await.ok(), "agent, agentdeployment, agents\n");
    let printed = run("schema agent").await.ok();
    run("schema --write out").await.ok();
    assert_eq!(
        std::fs::read_to_string(home.path().join("out/agent.json")).unwrap(),
        printed
    );
    run("schema pod")
        .await
        .failed(3, "there is no schema 'pod'");
}

#[tokio::test]
async fn completions_are_made_for_each_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let script = alone(&format!("completion {shell}"), "").await.ok();
        assert!(
            script.contains("agentainer") && script.contains("describe"),
            "{shell}"
        );
    }
}

#[tokio::test]
async fn law_7_the_token_is_printed_when_that_is_asked_for_and_only_then() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("data")).unwrap();
    std::fs::write(home.path().join("data/admin.token"), format!("{ADMIN}\n")).unwrap();
    let run = async |line: &str| run(home.path(), line, "", &[]).await;
    let path = run("token").await.ok();
    assert!(path.ends_with("data/admin.token\n"), "{path}");
    assert_eq!(run("token --show").await.ok(), format!("{ADMIN}\n"));
}

#[tokio::test]
async fn a_reader_that_goes_is_no_error() {
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_agentainer"))
        .args(["schema", "agent"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut told = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut told)
        .await
        .unwrap();
    assert_eq!(
        (child.wait().await.unwrap().code(), told.as_str()),
        (Some(0), "")
    );
}

#[tokio::test]
async fn colours_are_for_people_alone() {
    let ran = alone("validate -f -", "agents:\n- nme: a\n").await;
    assert!(!ran.err.contains('\u{1b}'), "{ran:?}");
    let home = tempfile::tempdir().unwrap();
    let forced = run(
        home.path(),
        "validate -f -",
        "agents:\n- nme: a\n",
        &[("CLICOLOR_FORCE", "1")],
    )
    .await;
    assert!(forced.err.contains('\u{1b}'), "{forced:?}");
    let plain = [("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")];
    let none = run(
        home.path(),
        "validate -f -",
        "agents:\n- nme: a\n",
        &plain[1..],
    )
    .await;
    assert!(!none.err.contains('\u{1b}'), "{none:?}");
}

#[tokio::test]
async fn ctrl_c_ends_a_command_that_waits_for_its_input() {
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_agentainer"))
        .args(["validate", "-f", "-"])
        .stdin(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let pid = child.id().unwrap();
    // Kept open, which `wait` would not do.
    let _input = child.stdin.take();
    // Until it listens for the signal, which would end it all the same, but not with our code.
    let listens = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let mask = status
            .lines()
            .find_map(|line| line.strip_prefix("SigCgt:"))
            .unwrap();
        u64::from_str_radix(mask.trim(), 16).unwrap() & 0b10 != 0
    };
    while !listens() {
        tokio::task::yield_now().await;
    }
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let ended = tokio::time::timeout(std::time::Duration::from_secs(30), child.wait()).await;
    assert_eq!(ended.unwrap().unwrap().code(), Some(130));
}
