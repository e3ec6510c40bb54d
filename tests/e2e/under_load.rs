//! Law 5 on the real thing: what is done to an agent under load fails no request and cuts no stream.
//!
//! The load is of `load`: requests on kept and new connections, streams of five seconds and WebSockets, all at once.
//! `ROLLOUTS=20` (`make soak`) is the same over more rounds.

use crate::engine::Stopped;
use crate::load::{Kinds, Load, Report};
use crate::server::{Server, docker};

/// How many rounds, as the environment says; printed, so that a run can be repeated.
#[allow(clippy::disallowed_methods)] // the environment of the test, not of the server
pub fn rounds(variable: &str, everyday: u32) -> u32 {
    let rounds = match std::env::var(variable) {
        Ok(text) => text.parse().expect(variable),
        Err(_) => everyday,
    };
    println!("{variable}={rounds}");
    rounds
}

fn manifest(agent: &str, replicas: u32, round: u32) -> String {
    format!(
        "agents: [{{name: {agent}, image: hello, replicas: {replicas}, env: {{ROUND: '{round}'}}, \
         resources: {{memory: 64Mi}}, \
         healthCheck: {{endpoint: /health, interval: 5s}}}}]"
    )
}

/// Waits until the agent has so many containers, all ready, and none of these.
fn until_only(server: &Server, agent: &str, count: usize, none_of: &[String]) {
    server.eventually(&format!("{count} containers, all of them new"), |server| {
        let now = server.containers(agent);
        now.len() == count && !now.iter().any(|id| none_of.contains(id))
    });
    server.eventually("all of them are ready", |server| {
        server.agent(agent)["status"]["readyReplicas"] == count
    });
}

/// Waits until the load had the time to meet what was just done.
fn until_asked(server: &Server, load: &Load, more: u64) {
    let from = load.answered();
    server.eventually("the load goes on", |_| load.answered() >= from + more);
}

fn check(report: &Report, what: &str, server: &Server, agent: &str) {
    if report.failed > 0 {
        eprintln!("--- server log\n{}", server.log_of(agent));
    }
    report.faultless(what);
}

#[test]
fn law_5_rollouts_under_load_fail_no_request_and_cut_no_stream() {
    let rounds = rounds("ROLLOUTS", 2);
    let (server, agent) = (Server::start(), "rolled");
    server.apply(&manifest(agent, 2, 0));
    let load = Load::on(&server, agent, Kinds::ALL);
    until_asked(&server, &load, 500);
    for round in 1..=rounds {
        let before = server.containers(agent);
        let began = tokio::time::Instant::now();
        server.apply(&manifest(agent, 2, round));
        until_only(&server, agent, 2, &before);
        println!("rollout {round}: {:?}", began.elapsed());
    }
    until_asked(&server, &load, 500);
    check(&load.end(), &format!("{rounds} rollouts"), &server, agent);
}

#[test]
fn law_5_scaling_under_load_fails_no_request_and_cuts_no_stream() {
    let rounds = rounds("SCALES", 1);
    let (server, agent) = (Server::start(), "scaled");
    server.apply(&manifest(agent, 1, 0));
    let load = Load::on(&server, agent, Kinds::ALL);
    for _ in 0..rounds {
        server.apply(&manifest(agent, 3, 0));
        until_only(&server, agent, 3, &[]);
        until_asked(&server, &load, 500);
        server.apply(&manifest(agent, 1, 0));
        until_only(&server, agent, 1, &[]);
    }
    until_asked(&server, &load, 500);
    check(
        &load.end(),
        &format!("{rounds} times from 3 to 1"),
        &server,
        agent,
    );
}

#[test]
fn law_5_mending_one_of_two_under_load_fails_no_request() {
    let (server, agent) = (Server::start(), "mended");
    server.apply(&manifest(agent, 2, 0));
    // What is mended without an end of the instance: nothing at all may fail.
    let load = Load::on(&server, agent, Kinds::ALL);
    until_asked(&server, &load, 200);
    let harmless: [&[&str]; 3] = [
        &["rename", "ID", "e2e-renamed-by-hand"],
        &["update", "--memory", "32m", "--memory-swap", "32m", "ID"],
        &["pause", "ID"],
    ];
    for injury in harmless {
        injure(&server, agent, &load, injury);
    }
    check(&load.end(), "mended with its work going on", &server, agent);

    // What ends the instance takes the work in it along; whatever can be asked of the other one is.
    let load = Load::on(&server, agent, Kinds::REPEATABLE);
    until_asked(&server, &load, 200);
    let network = server.network.clone();
    let deadly: [&[&str]; 4] = [
        &["kill", "ID"],
        &["rm", "-f", "ID"],
        &["stop", "-t", "1", "ID"],
        &["network", "disconnect", "-f", &network, "ID"],
    ];
    for injury in deadly {
        injure(&server, agent, &load, injury);
    }
    injured(&server, agent, &load, "moved to another address", |id| {
        move_away(&server, id);
    });
    check(&load.end(), "one of two ended and mended", &server, agent);
}

/// Has docker do this to the second of the two containers, and waits until all is well.
fn injure(server: &Server, agent: &str, load: &Load, injury: &[&str]) {
    injured(server, agent, load, &format!("{injury:?}"), |id| {
        let words: Vec<&str> = injury
            .iter()
            .map(|word| if *word == "ID" { id } else { *word })
            .collect();
        docker(&words);
    });
}

/// Takes a container off the network and puts it back under another address, before the server could under its own: what
/// is in flight there is never answered, and no packet says so.
fn move_away(server: &Server, id: &str) {
    let place = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    let address = || docker(&["inspect", "-f", place, id]);
    let before = address();
    let _stopped = Stopped::new(server.holder().unwrap());
    docker(&["network", "disconnect", "-f", &server.network, id]);
    // The engine's choice is of another range than ours.
    docker(&["network", "connect", &server.network, id]);
    assert_ne!(address(), before);
}

/// Does this to the second of the two containers, and waits until all is well.
fn injured(server: &Server, agent: &str, load: &Load, injury: &str, harm: impl FnOnce(&str)) {
    let id = second(server, agent);
    let began = tokio::time::Instant::now();
    harm(&id);
    until_asked(server, load, 20);
    server.eventually(&format!("mended after {injury}"), |server| {
        let all = server.containers(agent);
        all.len() == 2 && all.iter().all(|id| well(server, agent, id))
    });
    server.eventually("both are ready", |server| {
        server.agent(agent)["status"]["readyReplicas"] == 2
    });
    println!("{injury}: mended after {:?}", began.elapsed());
    until_asked(server, load, 100);
}

fn second(server: &Server, agent: &str) -> String {
    let agent = server.agent(agent);
    let instances = agent["status"]["instances"].as_array().unwrap();
    let second = instances.iter().max_by_key(|one| one["ordinal"].as_u64());
    second.unwrap()["containerId"].as_str().unwrap().to_owned()
}

fn well(server: &Server, agent: &str, id: &str) -> bool {
    let format = format!(
        "{{{{.State.Status}}}} {{{{.HostConfig.Memory}}}} {{{{.Name}}}} \
         {{{{with index .NetworkSettings.Networks \"{}\"}}}}{{{{.IPAddress}}}}{{{{end}}}}",
        server.network
    );
    let (found, text) = crate::server::docker_says(&["inspect", "-f", &format, id]);
    let words: Vec<&str> = text.split_whitespace().collect();
    found
        && matches!(words[..], ["running", "67108864", name, _] if name.trim_start_matches('/').starts_with(agent))
}
