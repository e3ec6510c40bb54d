//! Law 4 on the real thing: two agents come and go and their addresses change hands, under load, and no request is answered by
//! the wrong one. `CYCLES=2000` (`make soak`) is the same over more rounds.

use std::collections::BTreeMap;

use crate::load::{Kinds, Load};
use crate::server::{Server, Stray, docker, docker_says};
use crate::under_load::rounds;

/// Two agents.
type Names = [&'static str; 2];
/// Clients that ask for an agent that is away are refused; only what is answered wrongly counts here.
const KINDS: Kinds = Kinds {
    rate: 100,
    posts: true,
    slow: false,
    streams: false,
};

fn manifest(names: Names) -> String {
    let agent = |name: &str| {
        format!(
            "{{name: {name}, image: hello, drain: {{timeout: 0s}}, restart: {{delay: 10ms, maxDelay: 100ms}}}}"
        )
    };
    format!("agents: [{}, {}]", agent(names[0]), agent(names[1]))
}

/// Who has which address now.
fn addresses(server: &Server, names: Names) -> BTreeMap<String, &'static str> {
    let of = |name: &'static str| {
        let format = format!(
            "{{{{with index .NetworkSettings.Networks \"{}\"}}}}{{{{.IPAddress}}}}{{{{end}}}}",
            server.network
        );
        let containers = server.containers(name);
        let (_, text) = docker_says(&["inspect", "-f", &format, containers.first()?]);
        Some((text.trim().to_owned(), name))
    };
    let all = names.into_iter().filter_map(of);
    all.filter(|(address, _)| !address.is_empty()).collect()
}

/// One turn: both end, in one of the ways in which containers do, and come back.
fn turn(server: &Server, names: Names, cycle: u32) {
    let ids: Vec<String> = names
        .into_iter()
        .flat_map(|name| server.containers(name))
        .collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    // Somebody may be quicker than we are: that it fails is no matter.
    let both = |words: &[&str]| docker_says(&[words, &ids].concat());
    match cycle % 4 {
        0 => {
            both(&["rm", "-f"]);
        }
        1 => {
            // At the same moment, so that whoever starts first gets the lower address.
            std::thread::scope(|scope| {
                for id in &ids {
                    scope.spawn(move || docker_says(&["rm", "-f", id]));
                }
            });
        }
        2 => {
            // Started by hand in the other order, beside our own restart.
            both(&["kill"]);
            let turned: Vec<&str> = ids.iter().rev().copied().collect();
            docker_says(&[&["start"], &turned[..]].concat());
        }
        _ => {
            server.ok(&["delete", names[0]]);
            server.ok(&["delete", names[1]]);
            server.eventually("both are gone", |server| server.all_containers().is_empty());
            let applied = server.cli_with_input(&["apply", "-f", "-"], &manifest(names));
            assert!(applied.status.success());
        }
    }
}

/// The cycles; how often an address went from one agent to the other.
fn recycle(server: &Server, names: Names, what: &str, owned: bool) -> u32 {
    let cycles = rounds("CYCLES", 8);
    server.apply(&manifest(names));
    let loads = names.map(|name| Load::on(server, name, KINDS));
    let mut last_owner = addresses(server, names);
    let mut passed_on = 0;
    let began = tokio::time::Instant::now();
    for cycle in 0.. {
        // Who starts first is chance: where addresses may change hands, they shall have done so.
        let proved = owned || passed_on > 0 || cycle >= cycles.saturating_mul(10);
        if cycle >= cycles && proved {
            break;
        }
        turn(server, names, cycle);
        let from = loads.each_ref().map(Load::answered);
        server.eventually("both answer again", |_| {
            loads
                .iter()
                .zip(from)
                .all(|(load, from)| load.answered() >= from + 10)
        });
        println!("{what}, cycle {cycle}: after {:?}", began.elapsed());
        for (address, name) in addresses(server, names) {
            let before = last_owner.insert(address, name);
            passed_on += u32::from(before.is_some_and(|before| before != name));
        }
    }
    let took = began.elapsed();
    let reports = loads.map(Load::end);
    for (name, report) in names.iter().zip(&reports) {
        println!("{what}, {name}: {}", report.line());
    }
    println!(
        "{what}: {cycles} cycles in {took:?}, {} addresses, {passed_on} times one went from one agent to the other",
        last_owner.len()
    );
    for (name, report) in names.iter().zip(&reports) {
        assert_eq!(
            report.wrong, 0,
            "{name} was answered by another: {}",
            report.causes
        );
    }
    passed_on
}

#[test]
fn law_4_recycled_agents_never_answer_for_each_other_on_a_network_of_ours() {
    let server = Server::start();
    recycle(&server, ["east", "west"], "our network", true);
}

#[test]
fn law_4_recycled_agents_never_answer_for_each_other_on_an_adopted_network() {
    // A guest keeps the network from being made again as ours.
    let guest = format!("recycling-guest-{}", std::process::id());
    let server = Server::prepared(&[], |network| {
        docker(&["network", "create", network]);
        docker(&["run", "-d", "--name", &guest, "--network", network, "hello"]);
    });
    // Gone before the server, which then removes the network.
    let _guest = Stray(guest);
    let passed_on = recycle(&server, ["north", "south"], "an adopted network", false);
    assert!(
        passed_on > 0,
        "no address changed hands: nothing was proved"
    );
    assert!(server.ok(&["health"]).contains("AddressesNotOwned"));
}
