//! Law 5 on the real thing: a server is replaced by another process under load, and neither fails a request nor cuts a stream.
//! `TAKEOVERS=20` (`make soak`) is the same over more rounds.

use std::process::Child;

use tokio::time::Instant;

use crate::load::{Kinds, Load};
use crate::server::{PATIENCE, Server, pause};
use crate::under_load::rounds;
use crate::web::get;

fn manifest(agent: &str) -> String {
    format!(
        "agents: [{{name: {agent}, image: hello, replicas: 2, \
         healthCheck: {{endpoint: /health, interval: 5s}}, drain: {{timeout: 20s}}}}]"
    )
}

/// Waits until the load had the time to meet what was just done.
fn until_asked(server: &Server, load: &Load, more: u64) {
    let from = load.answered();
    server.eventually("the load goes on", |_| load.answered() >= from + more);
}

/// Waits for a process' end.
fn ended(mut child: Child) -> std::process::ExitStatus {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > until {
            let _ = child.kill();
            panic!("the process did not end");
        }
        pause();
    }
}

#[test]
fn law_5_a_server_is_replaced_under_load_and_fails_no_request() {
    let rounds = rounds("TAKEOVERS", 2);
    let mut server = Server::start();
    server.apply(&manifest("handed-on"));
    let before = server.containers("handed-on");
    let load = Load::on(&server, "handed-on", Kinds::ALL);
    until_asked(&server, &load, 300);
    let mut former = Vec::new();
    for round in 1..=rounds {
        let began = Instant::now();
        former.push(server.take_over());
        println!("takeover {round}: {:?}", began.elapsed());
        until_asked(&server, &load, 300);
    }
    for child in former {
        let status = ended(child);
        assert!(status.success(), "the former server ended with {status}");
    }
    let report = load.end();
    if report.failed > 0 {
        eprintln!("--- server log\n{}", server.log_tail());
    }
    report.faultless("the takeovers");
    assert_eq!(
        server.containers("handed-on"),
        before,
        "nobody was replaced"
    );
    // The new one acts.
    server.ok(&["scale", "handed-on", "--replicas", "1"]);
    server.eventually("one is left", |server| {
        server.containers("handed-on").len() == 1
    });
}

#[test]
fn law_5_a_takeover_that_fails_leaves_the_running_server_as_it_is() {
    // An address that the next one takes over before it fails.
    let server = Server::with(&["--listen", "127.0.0.9"]);
    let listens = |server: &Server| {
        let address = format!("http://127.0.0.9:{}/health", server.port);
        get(&address).is_some_and(|answer| answer.status == 200)
    };
    assert!(listens(&server));
    server.apply(&manifest("kept-on"));
    let holder = server.holder();
    let load = Load::on(&server, "kept-on", Kinds::ALL);
    until_asked(&server, &load, 100);
    // TEST-NET-3 (RFC 5737): nobody has this address.
    let status = ended(server.succeed(&["--listen", "203.0.113.7"]));
    assert!(!status.success());
    until_asked(&server, &load, 200);
    load.end().faultless("a takeover that failed");
    assert!(listens(&server), "it listens as before");
    assert_eq!(server.holder(), holder);
    server.ok(&["scale", "kept-on", "--replicas", "1"]);
    server.eventually("it still acts", |server| {
        server.containers("kept-on").len() == 1
    });
    // Without the word, a second server on the folder is refused, and told which word it is.
    let folder = server.data_dir().to_string_lossy().into_owned();
    let refused = server.cli(&["serve", "--data-dir", &folder, "--port", "1"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("--takeover"),
        "{said}"
    );
    assert_eq!(get(&server.url("/health")).unwrap().status, 200);
}
