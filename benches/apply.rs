//! `make bench-apply`: on real Docker, `agentainer apply --wait` of `AGENTS` agents (default 100) until all are Ready, beside
//! the floor: the same containers, on a network of the same kind, created and started through the engine's API alone by a few
//! threads, at the best of some parallelisms. `ROUNDS` (default 3) of each in turn; the medians count.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code,
    unreachable_pub,
    missing_docs
)]

#[path = "../tests/common/docker.rs"]
mod docker;
#[path = "../tests/e2e/engine.rs"]
mod engine;
#[path = "../tests/common/image.rs"]
mod image;
#[path = "../tests/e2e/process.rs"]
mod process;
#[path = "../tests/e2e/server.rs"]
mod server;
#[path = "../tests/e2e/web.rs"]
mod web;

use std::net::Ipv4Addr;
use std::time::Duration;

use agentainer::observed::Network;
use docker::{Corner, STRANGER, by_hand};
use serde_json::{Value, json};
use server::Server;
use tokio::time::Instant;

/// Calls at once that the floor is tried with.
const PARALLEL: [usize; 3] = [4, 8, 16];

#[expect(clippy::disallowed_methods, reason = "how many is the caller's to say")]
fn number(name: &str, otherwise: usize) -> usize {
    let said = std::env::var(name).ok();
    said.map_or(otherwise, |text| text.parse().expect(name))
}

fn main() {
    let (agents, rounds) = (number("AGENTS", 100), number("ROUNDS", 3));
    let timer = tokio::runtime::Runtime::new().unwrap();
    let _entered = timer.enter();
    let server = Server::start();
    let corner = timer.block_on(Corner::new());
    let network = timer.block_on(corner.network());

    let mut ours = Vec::new();
    let mut bare = PARALLEL.map(|_| Vec::new());
    println!("{agents} agents, {rounds} rounds; seconds");
    println!("{:>8} {:>8} {}", "round", "apply", heads());
    for round in 1..=rounds {
        let (took, containers) = apply(&server, agents);
        ours.push(took);
        let bodies: Vec<Value> = containers
            .iter()
            .enumerate()
            .map(|(nth, id)| body(id, nth, &corner, &network))
            .collect();
        clear(&server, agents);
        for (parallel, times) in PARALLEL.iter().zip(&mut bare) {
            times.push(floor(&bodies, *parallel));
        }
        let last: Vec<Duration> = bare.iter().map(|times| times[round - 1]).collect();
        println!("{round:>8} {:>8.2} {}", took.as_secs_f64(), row(&last));
    }
    let (ours, bare) = (median(ours), bare.map(median));
    println!("{:>8} {:>8.2} {}", "median", ours.as_secs_f64(), row(&bare));
    let best = bare.into_iter().min().unwrap();
    println!(
        "apply takes {:.2} times the floor",
        ours.as_secs_f64() / best.as_secs_f64()
    );
}

fn heads() -> String {
    let heads = PARALLEL.map(|parallel| format!("{:>11}", format!("bare, {parallel}")));
    heads.join(" ")
}

fn row(times: &[Duration]) -> String {
    let times = times
        .iter()
        .map(|time| format!("{:>11.2}", time.as_secs_f64()));
    times.collect::<Vec<_>>().join(" ")
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// From the command's start until it says that all are Ready; the containers it made.
fn apply(server: &Server, agents: usize) -> (Duration, Vec<String>) {
    let began = Instant::now();
    command(server, agents, "apply");
    let took = began.elapsed();
    let containers = server.all_containers();
    assert_eq!(containers.len(), agents);
    (took, containers)
}

/// Deletes all agents, until no container is left.
fn clear(server: &Server, agents: usize) {
    command(server, agents, "delete");
    assert!(server.all_containers().is_empty());
}

/// `agentainer apply` or `delete` of all agents, until it is so.
fn command(server: &Server, agents: usize, verb: &str) {
    let entries: String = (0..agents)
        .map(|nth| format!("  - {{name: bench-{nth:03}, image: hello}}\n"))
        .collect();
    let args = [verb, "-f", "-", "--wait", "--timeout", "10m"];
    let output = server.cli_with_input(&args, &format!("agents:\n{entries}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{}", server.log_tail());
}

/// What the engine is to be asked for to have a container like this one, on our corner's network.
fn body(id: &str, nth: usize, corner: &Corner, network: &Network) -> Value {
    let (status, is) = by_hand("GET", &format!("/containers/{id}/json"), None);
    assert_eq!(status, 200, "{is}");
    let mut body = is["Config"].clone();
    let name = corner.settings.network.as_str();
    let mut labels = body["Labels"].clone();
    // Of the same size, and nobody's but ours.
    let labels = labels.as_object_mut().unwrap();
    labels.remove("agentainer.dev/cluster");
    labels.insert(STRANGER.to_owned(), json!(corner.settings.cluster));
    body["Labels"] = json!(labels);
    body["HostConfig"] = is["HostConfig"].clone();
    body["HostConfig"]["NetworkMode"] = json!(name);
    let first = u32::from(network.subnet.unwrap().network());
    let address = Ipv4Addr::from(first + 256 + u32::try_from(nth).unwrap());
    let there = is["NetworkSettings"]["Networks"].as_object().unwrap();
    let aliases = there.values().next().unwrap()["Aliases"].clone();
    body["NetworkingConfig"] = json!({"EndpointsConfig": {name: {
        "NetworkID": network.id.0,
        "IPAMConfig": {"IPv4Address": address},
        "Aliases": aliases,
    }}});
    body
}

/// Creates and starts them, so many at once; they are gone afterwards.
fn floor(bodies: &[Value], parallel: usize) -> Duration {
    let made = parking_lot::Mutex::new(Vec::new());
    let began = Instant::now();
    at_once(bodies, parallel, |body| {
        let (status, answer) = by_hand("POST", "/containers/create", Some(body.clone()));
        assert_eq!(status, 201, "{answer}");
        let id = answer["Id"].as_str().unwrap().to_owned();
        let (status, answer) = by_hand("POST", &format!("/containers/{id}/start"), None);
        assert_eq!(status, 204, "{answer}");
        made.lock().push(id);
    });
    let took = began.elapsed();
    at_once(&made.into_inner(), 4, |id| {
        by_hand(
            "DELETE",
            &format!("/containers/{id}?force=true&v=true"),
            None,
        );
    });
    took
}

fn at_once<T: Sync>(all: &[T], parallel: usize, act: impl Fn(&T) + Sync) {
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..parallel {
            scope.spawn(|| {
                while let Some(one) =
                    all.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
                {
                    act(one);
                }
            });
        }
    });
}
