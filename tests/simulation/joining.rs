//! A second server comes at every moment of a roll: what drains is drained on it too, however little it knows yet.

use std::time::Duration;

use serde_json::json;

use crate::exhaustive::{all_well, alone, number, on_all_cores};
use crate::world::{World, s};

async fn roll(after: Duration, seed: u64) {
    let mut world = World::with(2, seed, Vec::new()).await;
    world.shared.script.lock().vary(seed);
    let spec = |colour: &str| {
        json!({
            "image": "users", "replicas": 2, "env": {"COLOUR": colour}, "drain": {"timeout": "5s"},
        })
    };
    world.apply("users", spec("red")).await;
    world.matched(s(60)).await;
    world.kill_one(1).await;
    world.rest(s(10)).await;
    world.apply("users", spec("blue")).await;
    world.rest(after).await;
    world.serve();
    world.matched(s(60)).await;
    world.rest(s(5)).await;
}

#[test]
fn law_5_a_server_that_comes_at_any_moment_of_a_roll_is_waited_for() {
    let runs: u64 = number("JOINS").unwrap_or(60);
    let jobs: Vec<u64> = (0..runs).collect();
    let wrong = on_all_cores(&jobs, |nth| {
        let after = Duration::from_millis(nth * 3_000 / runs);
        let why = alone(roll(after, 2 + nth)).err()?;
        Some(format!("after {after:?}, seed {nth}\n{why}"))
    });
    all_well(jobs.len(), &wrong);
}
