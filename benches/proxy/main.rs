//! `make bench`: the proxy beside nginx and HAProxy, in front of the same agent, on the same cores, in turn and repeatedly.
//!
//! Prints medians over the rounds, and for each cell the median of each round's ratio to nginx: a machine that becomes slower
//! in the middle of it all changes the first and hardly the second. What is measured of agentainer is its data path as it
//! ships (`front`, `proxy`, every default on), in a process of its own, with the agent as a ready instance in its table.
//!
//! This program is all of its parts: without a word it measures; `agent` and `agentainer` are what it starts itself.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    unreachable_pub,
    missing_docs
)]

mod agent;
mod cells;
mod clients;
mod generators;
mod processor;
mod report;
mod targets;
mod under_test;

use cells::{Cell, Settings};
use report::Report;
use targets::Targets;

/// As the server has it.
#[global_allocator]
static MEMORY: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => measure(&Settings::from_environment()),
        ["agent"] => agent::run(),
        ["agentainer", agent, workers] => {
            under_test::run(agent.parse().unwrap(), workers.parse().unwrap());
        }
        other => panic!("not understood: {other:?}"),
    }
}

fn measure(settings: &Settings) {
    // Sleeping clients wake up when they meant to, not up to 50 µs later.
    let _ = std::fs::write("/proc/self/timerslack_ns", "1");
    let targets = Targets::start(settings);
    let mut report = Report::new(settings, &targets);
    let cells = Cell::all(settings);
    for round in 0..settings.rounds {
        eprintln!("round {} of {}", round + 1, settings.rounds);
        for cell in &cells {
            for nth in 0..targets.all.len() {
                // Nobody is always the first after somebody else.
                let target = &targets.all[(nth + round) % targets.all.len()];
                cell.measure(settings, target, &mut report);
            }
        }
    }
    report.print();
}
