//! `make bench-journal`: what it costs to keep requests, on a redis-server of its own that writes with `appendfsync always`.
//!
//! Agentainer's data path as it ships, with the journal, is a process of its own; so are the agent and the redis-server. Prints
//! medians over the rounds, and for `mode` the median of each round's ratio to `off`. Prints Markdown, for docs/benchmarks.md.
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
mod clients;
#[path = "../proxy/processor.rs"]
#[allow(dead_code)]
mod processor;
mod redis;
#[path = "../../tests/common/redis_child.rs"]
mod redis_child;
mod under_test;

use std::time::Duration;

use clients::Load;
use redis::Redis;
use under_test::UnderTest;

/// From the environment, or what is usual.
fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap())
}

fn main() {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => measure(),
        ["agent"] => agent::run(),
        ["agentainer", redis, agent] => under_test::run(redis, agent.parse().unwrap()),
        other => panic!("not understood: {other:?}"),
    }
}

/// The median, the least and the greatest.
fn spread(mut all: Vec<f64>) -> (f64, f64, f64) {
    all.sort_by(f64::total_cmp);
    (all[all.len() / 2], all[0], all[all.len() - 1])
}

fn shown(all: &[f64], digits: usize) -> String {
    let (median, least, most) = spread(all.to_vec());
    format!("{median:.digits$} ({least:.digits$} to {most:.digits$})")
}

fn measure() {
    let quick = std::env::var("QUICK").is_ok();
    let rounds = number("ROUNDS", if quick { 1 } else { 5 });
    let lasts = Duration::from_secs(number("SECONDS_EACH", if quick { 1 } else { 2 }));
    println!(
        "{} × {}, kernel {}, load {} before; {rounds} rounds of {lasts:?}; bodies of {} bytes\n",
        processor::cores(),
        processor::model(),
        processor::kernel(),
        processor::load(),
        clients::BODY,
    );
    forwarded(rounds, lasts);
    admitted(rounds, lasts);
    replayed(rounds);
    talked();
}

/// What `mode` costs a request that its agent answers at once.
fn forwarded(rounds: u64, lasts: Duration) {
    const MODES: [&str; 3] = ["off", "auto", "always"];
    let redis = Redis::start();
    let server = UnderTest::start(&redis);
    let mut rates = [const { Vec::new() }; 3];
    let mut ratios = [const { Vec::new() }; 3];
    let mut times = [const { Vec::new() }; 3];
    for round in 0..rounds {
        let mut of_round = [0.0; 3];
        for nth in 0..MODES.len() {
            let mode = (nth + usize::try_from(round).unwrap()) % MODES.len();
            let before = processor::time(server.pid()) + processor::time(redis.pid());
            let load = Load::run(server.address, MODES[mode], 64, 200, lasts);
            let after = processor::time(server.pid()) + processor::time(redis.pid());
            of_round[mode] = load.rate();
            rates[mode].push(load.rate());
            times[mode].push((after - before) as f64 / 1e3 / load.answers as f64);
            redis.flush();
        }
        for mode in 0..MODES.len() {
            ratios[mode].push(of_round[mode] / of_round[0]);
        }
    }
    println!(
        "| `mode`, 64 connections | requests a second | to `off` | µs of a core each, Redis' with it |"
    );
    println!("| --- | --- | --- | --- |");
    for mode in 0..MODES.len() {
        println!(
            "| `{}` | {} | {} | {} |",
            MODES[mode],
            shown(&rates[mode], 0),
            shown(&ratios[mode], 2),
            shown(&times[mode], 1),
        );
    }
    println!();
}

/// How many requests a second are taken for an agent that is stopped, each on disk before its 202.
fn admitted(rounds: u64, lasts: Duration) {
    let redis = Redis::start();
    let server = UnderTest::start(&redis);
    println!("| admission, agent stopped | 202 a second | µs of a core each: agentainer | Redis |");
    println!("| --- | --- | --- | --- |");
    for connections in [1, 64, 512] {
        let (mut rates, mut ours, mut its) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            let before = (processor::time(server.pid()), processor::time(redis.pid()));
            let load = Load::run(server.address, "stopped", connections, 202, lasts);
            let after = (processor::time(server.pid()), processor::time(redis.pid()));
            rates.push(load.rate());
            ours.push((after.0 - before.0) as f64 / 1e3 / load.answers as f64);
            its.push((after.1 - before.1) as f64 / 1e3 / load.answers as f64);
            redis.flush();
        }
        println!(
            "| {connections} connections | {} | {} | {} |",
            shown(&rates, 0),
            shown(&ours, 1),
            shown(&its, 1)
        );
    }
    println!();
}

/// How fast what was kept is delivered once its agent is there.
fn replayed(rounds: u64) {
    println!("| replay | requests a second |");
    println!("| --- | --- |");
    for (concurrency, kept) in [(1, 1000), (4, 2000), (64, 4000)] {
        let mut rates = Vec::new();
        for _ in 0..rounds {
            let redis = Redis::start();
            let mut server = UnderTest::start(&redis);
            let agent = format!("replay-{concurrency}");
            Load::count(server.address, &agent, 64, 202, kept);
            let begun = std::time::Instant::now();
            server.say(&format!("start {agent}"));
            redis.until_completed(&agent, kept);
            rates.push(kept as f64 / begun.elapsed().as_secs_f64());
        }
        println!("| `concurrency: {concurrency}` | {} |", shown(&rates, 0));
    }
    println!();
}

/// What goes between us and Redis for one request.
fn talked() {
    const EACH: u64 = 500;
    let redis = Redis::start();
    let mut server = UnderTest::start(&redis);
    println!(
        "| of one request | calls of Redis | bytes to it | from it | written to disk | memory |"
    );
    println!("| --- | --- | --- | --- | --- | --- |");
    let mut row = |what: &str, count: u64, deed: &mut dyn FnMut(&mut UnderTest)| {
        let before = redis.figures();
        deed(&mut server);
        let after = redis.figures();
        let heard = redis.overhear();
        deed(&mut server);
        let calls = heard.calls() as f64 / count as f64;
        let each = |of: fn(&redis::Figures) -> f64| (of(&after) - of(&before)) / count as f64;
        println!(
            "| {what} | {calls:.2} | {:.0} | {:.0} | {:.0} | {:.0} |",
            each(|it| it.to),
            each(|it| it.from),
            each(|it| it.file),
            each(|it| it.memory),
        );
    };
    for (what, agent, status) in [
        ("forwarded, `auto`", "auto", 200),
        ("forwarded, `always`", "always", 200),
        ("admitted", "stopped", 202),
    ] {
        row(what, EACH, &mut |server| {
            Load::count(server.address, agent, 8, status, EACH);
        });
    }
    let mut done = 0;
    row("admitted and delivered", EACH, &mut |server| {
        server.say("stop replay-4");
        Load::count(server.address, "replay-4", 8, 202, EACH);
        server.say("start replay-4");
        done += EACH;
        redis.until_completed("replay-4", done);
    });
}
