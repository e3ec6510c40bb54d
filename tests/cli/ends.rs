//! How commands end when the server is away, refuses, or is something else.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::rig::{ADMIN, Rig, run};

#[tokio::test]
async fn an_unreachable_server_exits_5_with_the_remedy() {
    let home = tempfile::tempdir().unwrap();
    // A port that nobody has: bound, then given back.
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let line = format!("get agents --server http://127.0.0.1:{port}");
    let ran = run(home.path(), &line, "", &[])
        .await
        .failed(5, "agentainer serve");
    assert!(ran.err.contains("connection refused"), "{ran:?}");
    let line = "get agents --server unix:///nowhere/at/all.sock";
    run(home.path(), line, "", &[])
        .await
        .failed(5, "no such socket");
}

#[tokio::test]
async fn what_does_not_exist_exits_3_with_the_nearest_name() {
    let rig = Rig::new().await;
    rig.apply("agents: [{name: users}]").await;
    rig.run("get agent usres")
        .await
        .failed(3, "did you mean 'users'?");
    for line in [
        "describe none",
        "delete none",
        "logs none",
        "stop none",
        "scale none --replicas 1",
        "events none",
    ] {
        rig.run(line).await.failed(3, "there is no agent 'none'");
    }
    let ran = rig.run("get users none -o name").await.failed(3, "'none'");
    assert_eq!(
        ran.out, "agent/users\n",
        "what exists is shown all the same"
    );
    assert_eq!(rig.run("delete none --ignore-not-found").await.ok(), "");
}

#[tokio::test]
async fn law_7_a_viewer_may_look_and_not_act_and_is_told_where_the_token_was_sought() {
    let rig = Rig::new().await;
    rig.apply("agents: [{name: users, env: {PASSWORD: hunter2}}]")
        .await;
    let home = tempfile::tempdir().unwrap();
    // A folder of its own, or the token of a server that runs on this machine would be found.
    let nowhere = home.path().to_string_lossy().into_owned();
    let server = [
        ("AGENTAINER_SERVER", rig.server.as_str()),
        ("AGENTAINER_DATA_DIR", nowhere.as_str()),
    ];
    let viewer = async |line: &str| run(home.path(), line, "", &server).await;
    assert!(viewer("list").await.ok().contains("users"));
    assert!(viewer("graph").await.ok().contains("users"));
    viewer("stop users")
        .await
        .failed(4, "no admin token was found");
    viewer("get agents --reveal-env").await.failed(4, "viewer");
    let wrong = run(home.path(), "list --token wrong", "", &server).await;
    let wrong = wrong.failed(4, "not valid");
    assert!(!wrong.err.contains("no admin token"), "{wrong:?}");
}

#[tokio::test]
async fn the_token_is_found_in_the_data_folder_in_a_file_and_in_the_environment() {
    let rig = Rig::new().await;
    rig.apply("agents: [{name: users}]").await;
    let home = tempfile::tempdir().unwrap();
    let server = ("AGENTAINER_SERVER", rig.server.as_str());
    let path = home.path().join("secret");
    std::fs::write(&path, format!("{ADMIN}\n")).unwrap();
    let file = path.to_str().unwrap();
    let line = "get agents --reveal-env -o name";
    for env in [
        vec![server, ("AGENTAINER_TOKEN", ADMIN)],
        vec![
            server,
            ("AGENTAINER_TOKEN_FILE", file),
            ("AGENTAINER_TOKEN", "wrong"),
        ],
    ] {
        run(home.path(), line, "", &env).await.ok();
    }
    run(
        home.path(),
        &format!("{line} --token {ADMIN}"),
        "",
        &[server, ("AGENTAINER_TOKEN", "wrong")],
    )
    .await
    .ok();
    run(
        home.path(),
        &format!("{line} --token-file none"),
        "",
        &[server],
    )
    .await
    .failed(1, "none");
    std::fs::create_dir(home.path().join("data")).unwrap();
    std::fs::copy(&path, home.path().join("data/admin.token")).unwrap();
    run(home.path(), line, "", &[server]).await.ok();
}

/// Answers one request with this text, and gives what was asked.
async fn stranger(answer: &'static str) -> (String, tokio::task::JoinHandle<String>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    let asked = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = vec![0; 4096];
        let read = stream.read(&mut asked).await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        String::from_utf8_lossy(&asked[..read]).into_owned()
    });
    (server, asked)
}

#[tokio::test]
async fn something_else_on_the_port_is_told_apart_from_a_server() {
    let home = tempfile::tempdir().unwrap();
    let hello = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    let (server, _) = stranger(hello).await;
    run(home.path(), &format!("list --server {server}"), "", &[])
        .await
        .failed(1, "no agentainer server");
    let (server, _) = stranger("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\n\r\noops").await;
    run(home.path(), &format!("list --server {server}"), "", &[])
        .await
        .failed(1, "502 Bad Gateway oops");
    let (server, _) = stranger("").await;
    run(home.path(), &format!("list --server {server}"), "", &[])
        .await
        .failed(5, "nothing answers");
}

#[tokio::test]
async fn law_7_this_machines_token_goes_to_this_machine_alone() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("data")).unwrap();
    std::fs::write(home.path().join("data/admin.token"), ADMIN).unwrap();
    let empty =
        r#"{"apiVersion":"v1","kind":"AgentList","metadata":{"resourceVersion":"1"},"items":[]}"#;
    let answer: &'static str = Box::leak(
        format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{empty}",
            empty.len()
        )
        .into_boxed_str(),
    );
    let (server, asked) = stranger(answer).await;
    run(home.path(), &format!("list --server {server}"), "", &[])
        .await
        .ok();
    assert!(asked.await.unwrap().contains(ADMIN));
    // 0.0.0.0 leads here too, and is not surely this machine.
    let (server, asked) = stranger(answer).await;
    let elsewhere = server.replace("127.0.0.1", "0.0.0.0");
    run(home.path(), &format!("list --server {elsewhere}"), "", &[])
        .await
        .ok();
    let asked = asked.await.unwrap();
    assert!(!asked.to_lowercase().contains("authorization"), "{asked}");
}

#[tokio::test]
async fn verbose_says_each_request_and_no_secret() {
    let rig = Rig::new().await;
    let ran = rig.run("list -v").await;
    assert!(ran.err.contains("GET /agents -> 200 OK"), "{ran:?}");
    assert!(!ran.err.contains(ADMIN), "{ran:?}");
}
