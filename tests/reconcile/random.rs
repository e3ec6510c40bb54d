//! Law 1 against chance: specs change, somebody meddles, calls fail, lie and take their time, servers die, engine and
//! store go away, are wiped or come back older; all at once. After the last fault the world comes to match the specs
//! within a bound, and then nothing is written.

use std::collections::BTreeSet;
use std::time::Duration;

use agentainer::observed::{Container, Limits};
use agentainer::probe::Outcome;
use rand::rngs::StdRng;
use rand::{Rng, RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::calls::{Call, Trouble};
use crate::fake_runtime::Program;
use crate::fake_store::Backup;
use crate::world::{World, s};

const AGENTS: [&str; 3] = ["users", "auth", "orders"];
/// How long a settled world may take at most: two of the longest rests after failures, and a resync.
const BOUND: Duration = s(720);

fn one_of<T: Copy>(rng: &mut impl Rng, of: &[T]) -> T {
    of[rng.random_range(0..of.len())]
}

/// A spec; `good`: one that can be had.
fn a_spec(rng: &mut impl Rng, agent: &str, good: bool) -> Value {
    let image = if good {
        agent
    } else {
        one_of(rng, &[agent, agent, agent, "users", "nowhere", "crash"])
    };
    // What is frozen stays of the revision it is, which may be a bad one: no good end for a comparison.
    let states = ["running", "running", "running", "stopped", "paused"];
    let state = one_of(rng, &states[..if good { 4 } else { 5 }]);
    let mut spec = json!({
        "image": image,
        "replicas": rng.random_range(0..4),
        "state": state,
        "env": {"COLOUR": one_of(rng, &["red", "blue"])},
        "drain": {"timeout": "2s"},
    });
    if rng.random_bool(0.3) {
        spec["volumes"] = json!([{"name": "data", "container": "/data"}]);
    }
    if rng.random_bool(0.3) {
        spec["healthCheck"] = json!({"interval": "5s", "retries": 2});
    }
    if !good && agent != "users" && rng.random_bool(0.2) {
        spec["dependsOn"] = json!(["users"]);
    }
    spec
}

fn trouble(rng: &mut impl Rng, call: &Call, odds: f64) -> Option<Trouble> {
    if !rng.random_bool(odds) {
        return None;
    }
    Some(match rng.random_range(0..12) {
        0..4 => Trouble::Fails,
        4..7 => Trouble::TimesOut,
        7 if call.writes() => Trouble::Conflicts,
        8 => Trouble::DiesBefore,
        9 => Trouble::DiesAfter,
        _ => Trouble::Slow(Duration::from_millis(rng.random_range(1..4000))),
    })
}

fn somebody(world: &World, rng: &mut impl Rng) {
    let all = world.port.look();
    if all.is_empty() {
        return;
    }
    let id = &all[rng.random_range(0..all.len())].id;
    let engine = &world.engine;
    match rng.random_range(0..10) {
        0 | 1 => engine.remove_by_hand(id),
        2 => engine.kill_by_hand(id),
        3 => engine.stop_by_hand(id),
        4 => engine.pause_by_hand(id),
        5 => engine.exit(id, 0),
        6 => engine.update_by_hand(id, Limits::default()),
        7 => engine.rename_by_hand(id, &format!("renamed-{}", rng.random_range(0..99))),
        8 => engine.start_by_hand(id),
        _ => {
            if let Some(network) = world.port.look_at_network() {
                engine.disconnect_by_hand(id, &network.id);
            }
        }
    }
}

async fn step(world: &mut World, rng: &mut StdRng, backup: &mut Option<Backup>) {
    let agent = one_of(rng, &AGENTS);
    match rng.random_range(0..30) {
        0..8 => {
            let spec = a_spec(rng, agent, false);
            world.apply(agent, spec).await;
        }
        8 => world.delete(agent).await,
        9..15 => somebody(world, rng),
        15 => {
            if let Some(network) = world.port.look_at_network() {
                world.engine.remove_network_by_hand(&network.id);
            }
        }
        16 | 17 => {
            world.kill().await;
            if rng.random_bool(0.7) {
                world.serve().await;
            }
        }
        18 => world.engine.set_down(rng.random_bool(0.5)),
        19 => {
            let (sick, answers) = (agent.to_owned(), rng.random_bool(0.5));
            world.answer(move |container| {
                match (container.identity.agent.as_str() == sick, answers) {
                    (false, _) => Outcome::Ready,
                    (true, true) => Outcome::NotReady("GET /health answered 503".to_owned()),
                    (true, false) => Outcome::Unanswered("nothing listens".to_owned()),
                }
            });
        }
        20 => world.answer(|_| Outcome::Ready),
        21 => world.calls.heal(),
        22 | 23 => {
            let (mut chance, odds) = (StdRng::from_rng(rng), one_of(rng, &[0.02, 0.1, 0.3]));
            world
                .calls
                .judge(move |call| trouble(&mut chance, call, odds));
        }
        24 => {
            let store = |call: &Call| (!call.engine).then_some(Trouble::Fails);
            world.calls.judge(store);
        }
        25 => {
            let deaf = |call: &Call| (call.name == "events").then_some(Trouble::Hangs);
            world.calls.judge(deaf);
        }
        26 => *backup = Some(world.store.backup()),
        27 => {
            if let Some(backup) = backup {
                world.store.restore(backup);
            }
        }
        28 if rng.random_bool(0.3) => world.store.wipe(),
        _ => {
            world.roll_if_there(agent).await;
        }
    }
    assert_eq!(
        twice(&world.port.look()),
        None,
        "law 4: an address given twice"
    );
    let most = one_of(rng, &[0, 30, 500, 3_000, 20_000]);
    world
        .pass(Duration::from_millis(rng.random_range(0..=most)))
        .await;
}

/// An address that two containers ask for.
fn twice(containers: &[Container]) -> Option<std::net::Ipv4Addr> {
    let mut seen = BTreeSet::new();
    let places = containers.iter().filter_map(|one| one.attachment.as_ref());
    places
        .filter_map(|place| place.asked_ip)
        .find(|address| !seen.insert(*address))
}

async fn run(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut world = World::new(seed).await;
    let crash = world.engine.add_image("crash");
    let ends = Program::Ends {
        after: s(1),
        code: 1,
    };
    world.engine.set_program(&crash, ends);
    let mut backup = None;
    for _ in 0..rng.random_range(3..25) {
        step(&mut world, &mut rng, &mut backup).await;
    }

    // The faults end.
    world.calls.heal();
    world.engine.set_down(false);
    world.answer(|_| Outcome::Ready);
    if !world.serves() {
        world.serve().await;
    }
    // Long enough for what is frozen or in quarantine to be told.
    world.pass(s(130)).await;
    // The operator does what the conditions say.
    for container in world.port.look() {
        let object = world.agent(container.identity.agent.as_str()).await;
        if object.is_some_and(|object| object.metadata.uid != container.identity.uid) {
            world.engine.remove_by_hand(&container.id);
        }
    }
    for agent in AGENTS {
        let being_deleted = world
            .agent(agent)
            .await
            .is_some_and(|agent| agent.metadata.deletion_timestamp.is_some());
        if !being_deleted {
            let spec = a_spec(&mut rng, agent, true);
            world.apply(agent, spec).await;
            world.roll_if_there(agent).await;
        }
    }
    world.settle_within(BOUND).await;
    assert_eq!(world.writes_in(s(300)).await, []);
}

/// Prints the seed of a failing run.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("failed with SEED={}", self.0);
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "how many runs, and from which seed, is the caller's to say"
)]
pub fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[tokio::test(start_paused = true)]
async fn law_1_after_any_faults_the_world_comes_to_match_and_then_nothing_is_written() {
    let (first, count) = match number("SEED") {
        Some(seed) => (seed, 1),
        None => (0, number("WALKS").unwrap_or(30)),
    };
    for seed in first..first + count {
        let _told = Seed(seed);
        run(seed).await;
    }
}
