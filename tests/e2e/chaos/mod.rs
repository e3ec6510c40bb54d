//! Kept requests while everything is killed: the real server with its Redis, real agents in Docker, and clients all the while. What
//! clients were promised, what agents wrote down and the records at the end are judged by tests/common/history.rs.
//!
//! `SECONDS` (60) says how long, `SEED` which run; `make history` is the long one.

mod evidence;
mod pair;
mod steps;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

use self::steps::Steps;
use crate::history::check;
use crate::history_clients::{Outcome, Wish, send};
use crate::server::{Server, pause};

/// Answers at once and in turn, in strict order, and written down before it is asked.
const AGENTS: [&str; 3] = ["hist-users", STRICT, "hist-always"];
/// The one that gets what is kept in order.
const STRICT: &str = "hist-ledger";
/// Between two requests.
const EVERY: Duration = Duration::from_millis(40);

#[expect(
    clippy::disallowed_methods,
    reason = "how long it runs, and which run, is its caller's choice"
)]
fn number(name: &str) -> Option<u64> {
    let given = std::env::var(name).ok()?;
    Some(given.parse().unwrap())
}

/// Milliseconds since 1970.
fn clock() -> u64 {
    u64::try_from(agentainer::clock::now().as_millisecond()).unwrap()
}

/// One agent that writes down what it gets in this folder.
fn agent(folder: &str, name: &str, more: &str) -> String {
    format!(
        "- {{name: {name}, image: \"agentainer-test/python:latest\", command: [python3, /record/agent.py], \
             volumes: [{{host: {folder}, container: /record}}], strategy: {{type: rolling}}, \
             healthCheck: {{endpoint: /health, interval: 2s, timeout: 5s}}, drain: {{timeout: 5s}}, \
             restart: {{policy: always, delay: 1s, maxDelay: 1s}}, {more}}}\n"
    )
}

fn manifest(folder: &str) -> String {
    let waits = "proxy: {timeouts: {firstByte: 6s}}";
    let strict = format!("persistence: {{order: strict}}, {waits}");
    [
        "agents:\n".to_owned(),
        agent(folder, AGENTS[0], &format!("replicas: 2, {waits}")),
        agent(folder, AGENTS[1], &strict),
        agent(
            folder,
            AGENTS[2],
            &format!("persistence: {{mode: always}}, {waits}"),
        ),
    ]
    .concat()
}

/// Where agents write, and find their program.
fn folder() -> tempfile::TempDir {
    let mut folder = tempfile::Builder::new();
    let folder = folder.prefix("agentainer-history").tempdir().unwrap();
    let open = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o777);
    std::fs::set_permissions(folder.path(), open).unwrap();
    std::fs::write(folder.path().join("agent.py"), include_str!("agent.py")).unwrap();
    folder
}

fn wish(number: u32, chance: &mut StdRng) -> Wish {
    let (agent, method, keyed, prefer) = match chance.random_range(0..12) {
        0..3 => (AGENTS[0], "POST", false, None),
        3 => (AGENTS[0], "POST", true, None),
        4 => (AGENTS[0], "PUT", false, None),
        5 => (AGENTS[0], "POST", false, Some("respond-async")),
        6 => (AGENTS[1], "POST", false, None),
        7 => (AGENTS[1], "POST", false, Some("respond-async")),
        8 => (AGENTS[1], "POST", true, Some("respond-async")),
        9..11 => (AGENTS[2], "POST", false, None),
        _ => (AGENTS[2], "POST", true, None),
    };
    let acts = match chance.random_range(0..100) {
        0..72 => "200",
        72..78 => "500,200",
        78..84 => "close,200",
        84..86 => "die,200",
        86..88 if agent == AGENTS[0] => "hang,200",
        88..92 => "502",
        _ => "slow",
    };
    let most = if chance.random_bool(0.02) {
        200_000
    } else {
        3000
    };
    let mut body = vec![0; chance.random_range(1..most)];
    chance.fill_bytes(&mut body);
    Wish {
        number,
        agent,
        method,
        keyed,
        prefer,
        acts,
        body,
    }
}

/// Sends until it is told to end, and waits for all answers.
async fn clients(to: SocketAddr, seed: u64, begin: u64, over: Arc<AtomicBool>) -> Vec<Outcome> {
    let mut chance = StdRng::seed_from_u64(seed);
    let mut all = tokio::task::JoinSet::new();
    let mut tick = tokio::time::interval(EVERY);
    for n in 0.. {
        if over.load(Ordering::SeqCst) {
            break;
        }
        tick.tick().await;
        all.spawn(send(Some(to), wish(n, &mut chance), move || {
            clock() - begin
        }));
    }
    all.join_all().await
}

#[test]
fn law_2_and_law_3_hold_while_server_agents_and_redis_are_killed() {
    let seconds = number("SECONDS").unwrap_or(60);
    let seed = number("SEED").unwrap_or_else(|| clock() % 1_000_000);
    println!("SEED={seed} SECONDS={seconds}");
    let folder = folder();
    let path = folder.path().display().to_string();
    let mut server = Server::with(&["--allow-host-path", &path]);
    server.apply(&manifest(&path));

    let begin = clock();
    let over = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let to = SocketAddr::from(([127, 0, 0, 1], server.port));
    let sending = runtime.spawn(clients(to, seed, begin, Arc::clone(&over)));
    let mut steps = Steps::new(begin, StdRng::seed_from_u64(!seed));
    while clock() < begin + 1000 * seconds {
        steps.one(&mut server);
    }
    over.store(true, Ordering::SeqCst);
    steps.all_is_mended(&server);
    let outcomes = runtime.block_on(sending).unwrap();
    let until = clock() + 240_000;
    while !runtime.block_on(evidence::settled(&server, &AGENTS)) {
        assert!(
            clock() < until,
            "not all are settled\n{}",
            server.log_tail()
        );
        pause();
    }
    let history = evidence::gathered(
        &server,
        &AGENTS,
        folder.path(),
        begin,
        outcomes,
        steps.troubles,
    );
    let verdict = check(&runtime.block_on(history));
    println!("{verdict}");
    let faults = verdict.faults.len();
    assert_eq!(faults, 0, "SEED={seed} SECONDS={seconds}: these faults");
    for what in [
        "records: completed",
        "got by agents",
        "sent: promised (202)",
    ] {
        assert!(
            verdict.counts.contains_key(what),
            "nothing was shown\n{verdict}"
        );
    }
}
