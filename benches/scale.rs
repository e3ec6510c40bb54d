//! `make bench-scale`: what the reconciler costs with 50, 500 and 5,000 agents, on a simulated engine and store in virtual
//! time. What is printed is the processor time of this process, the simulators' own share included; one probe of an agent
//! without a healthCheck costs a connection more in the real world.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs
)]

#[path = "../tests/common/fake_runtime.rs"]
mod fake_runtime;
#[path = "../tests/common/fake_store.rs"]
mod fake_store;
#[path = "../tests/common/fleet.rs"]
mod fleet;

use std::fs;
use std::time::Duration;

use fleet::{Fleet, name, writes};

/// Processor time of this thread so far.
fn cpu() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanoseconds = text.split(' ').next().unwrap().parse().unwrap();
    Duration::from_nanos(nanoseconds)
}

/// Resident memory in MiB.
fn memory() -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        / 1024
}

fn main() {
    println!(
        "{:>7} {:>14} {:>12} {:>12} {:>12} {:>14} {:>13} {:>9}",
        "agents",
        "settling each",
        "steady",
        "writes/10 m",
        "a pass",
        "a change",
        "its calls",
        "memory"
    );
    for agents in [50, 500, 5_000] {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(run(agents));
    }
}

async fn run(agents: usize) {
    let before = memory();
    let fleet = Fleet::new(agents).await;
    let began = cpu();
    fleet.settled(agents).await;
    let settling = (cpu() - began) / u32::try_from(agents).unwrap();
    tokio::time::sleep(Duration::from_secs(120)).await;

    // Ten minutes in which nothing happens.
    fleet.calls();
    let began = cpu();
    tokio::time::sleep(Duration::from_secs(600)).await;
    let steady = (cpu() - began).as_secs_f64() / 600.0;
    let idle = fleet.calls();
    let written: u64 = writes(&idle).values().sum();

    // A pass that finds nothing to do.
    let began = cpu();
    for nth in 0..1_000 {
        fleet.handle.wake(&name(nth % agents));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let pass = (cpu() - began) / 1_000;

    // A change of one agent, until its new container is ready and the old one gone.
    const CHANGES: u32 = 20;
    fleet.calls();
    let (mut spent, mut calls) = (Duration::ZERO, 0);
    for nth in 0..CHANGES {
        let began = cpu();
        fleet.change(nth as usize, "blue").await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        spent += cpu() - began;
        calls += fleet.calls().values().sum::<u64>();
    }
    // What two quiet seconds cost is not the change's.
    let change = (spent / CHANGES).saturating_sub(Duration::from_secs_f64(steady * 2.0));
    let quiet = idle.values().sum::<u64>() * 2 / 600;
    let calls = (calls / u64::from(CHANGES)).saturating_sub(quiet);
    println!(
        "{agents:>7} {settling:>14.1?} {:>11.3}% {written:>12} {pass:>12.1?} {change:>14.1?} {calls:>13} {:>6} MiB",
        steady * 100.0,
        memory() - before
    );
    drop(fleet);
}
