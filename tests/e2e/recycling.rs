//! Law 4 on the real thing: agents come and go in pairs and their addresses change hands, under load, and no request is answered
//! by the wrong one. `CYCLES=1500` (`make soak`) is the same over more rounds. Several pairs at once: one alone leaves the engine,
//! which starts about five containers a second, idle most of the time.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use crate::load::{Kinds, Load, Report};
use crate::server::{PATIENCE, Server, Stray, docker, docker_says, pause};
use crate::under_load::rounds;

/// Pairs that come and go beside each other.
const PAIRS: u32 = 4;
/// Clients that ask for an agent that is away are refused; only what is answered wrongly counts here.
const KINDS: Kinds = Kinds {
    rate: 40,
    posts: true,
    slow: false,
    streams: false,
};

/// What all pairs of a run share.
struct Run<'a> {
    server: &'a Server,
    what: &'a str,
    /// How many cycles there shall be.
    cycles: u32,
    /// Addresses are chosen, and rest: none need change hands.
    owned: bool,
    begun: AtomicU32,
    /// Who had an address last.
    owners: Mutex<BTreeMap<String, String>>,
    /// How often one went from one agent to another.
    passed_on: AtomicU32,
}

/// Two agents.
struct Pair<'a> {
    run: &'a Run<'a>,
    names: [String; 2],
}

impl Run<'_> {
    /// Whether there is another cycle to begin. Who starts first is chance: where addresses may change hands, they shall have
    /// done so.
    fn another(&self) -> bool {
        let nth = self.begun.fetch_add(1, Ordering::Relaxed);
        let proved = self.owned || self.passed_on.load(Ordering::Relaxed) > 0;
        nth < self.cycles || (!proved && nth < self.cycles.saturating_mul(10))
    }
}

impl Pair<'_> {
    fn manifest(&self) -> String {
        let agent = |name: &String| {
            format!(
                "{{name: {name}, image: hello, drain: {{timeout: 0s}}, restart: {{delay: 10ms, maxDelay: 100ms}}}}"
            )
        };
        format!("agents: [{}]", self.names.each_ref().map(agent).join(", "))
    }

    fn containers(&self) -> Vec<String> {
        let of = |name: &String| self.run.server.containers(name);
        self.names.iter().flat_map(of).collect()
    }

    /// Notes who has which address now.
    fn note_addresses(&self) {
        let server = self.run.server;
        for name in &self.names {
            let format = format!(
                "{{{{with index .NetworkSettings.Networks \"{}\"}}}}{{{{.IPAddress}}}}{{{{end}}}}",
                server.network
            );
            let Some(container) = server.containers(name).into_iter().next() else {
                continue;
            };
            let (_, text) = docker_says(&["inspect", "-f", &format, &container]);
            let address = text.trim();
            if address.is_empty() {
                continue;
            }
            let mut owners = self.run.owners.lock().unwrap();
            let before = owners.insert(address.to_owned(), name.clone());
            if before.is_some_and(|before| before != *name) {
                self.run.passed_on.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// One turn: both end, in one of the ways in which containers do, and come back.
    fn turn(&self, cycle: u32) {
        let server = self.run.server;
        let ids = self.containers();
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
                server.ok(&["delete", &self.names[0]]);
                server.ok(&["delete", &self.names[1]]);
                server.eventually("both are gone", |_| self.containers().is_empty());
                let applied = server.cli_with_input(&["apply", "-f", "-"], &self.manifest());
                assert!(applied.status.success());
            }
        }
    }

    /// Comes and goes until there were cycles enough. Tells what was answered, and by whom it should not have been.
    fn recycle(&self, nth: u32) {
        let Run { server, what, .. } = self.run;
        let applied = server.cli_with_input(&["apply", "-f", "-"], &self.manifest());
        assert!(applied.status.success());
        let loads = self
            .names
            .each_ref()
            .map(|name| Load::on(server, name, KINDS));
        let answer = || {
            let from = loads.each_ref().map(Load::answered);
            server.eventually("both answer again", |_| {
                let mut loads = loads.iter().zip(from);
                loads.all(|(load, from)| load.answered() >= from + 10)
            })
        };
        answer();
        self.note_addresses();
        for cycle in nth.. {
            if !self.run.another() {
                break;
            }
            self.turn(cycle);
            answer();
            self.note_addresses();
        }
        for (name, load) in self.names.iter().zip(loads) {
            let report = load.end();
            println!("{what}, {name}: {}", report.line());
            assert_by_nobody_else(name, &report);
        }
    }
}

/// All that was answered to an agent's clients was its own answer to their own request.
fn assert_by_nobody_else(name: &str, report: &Report) {
    let causes = &report.causes;
    assert_eq!(report.wrong, 0, "{name} was answered by another: {causes}");
}

/// The cycles of all pairs; how often an address went from one agent to another.
fn recycle(server: &Server, names: [&str; 2], what: &str, owned: bool) -> u32 {
    let run = Run {
        server,
        what,
        cycles: rounds("CYCLES", 12),
        owned,
        begun: AtomicU32::new(0),
        owners: Mutex::default(),
        passed_on: AtomicU32::new(0),
    };
    let began = Instant::now();
    std::thread::scope(|scope| {
        let run = &run;
        for nth in 0..PAIRS {
            let names = names.map(|name| format!("{name}-{nth}"));
            scope.spawn(move || Pair { run, names }.recycle(nth));
        }
    });
    let cycles = run.begun.into_inner() - PAIRS;
    let (addresses, passed_on) = (run.owners.into_inner().unwrap(), run.passed_on.into_inner());
    println!(
        "{what}: {cycles} cycles of {PAIRS} pairs in {:?}, {} addresses, {passed_on} times one went from one agent to another",
        began.elapsed(),
        addresses.len()
    );
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

/// What stands where the proxy and the agents behind it do, and now and then answers as it must not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plant {
    Nothing,
    /// Another agent's answer.
    AnotherAgent,
    /// The agent's answer to another request.
    AnotherRequest,
    /// A refusal, as while an agent is away.
    Refusal,
}

/// How many of the answers are planted: one of so many.
const PLANTED: u64 = 10;

/// The load of a run on such a one; what came of it, and how many answers were planted.
fn planted(plant: Plant) -> (Report, u64) {
    let (asked, told) = (AtomicU64::new(0), AtomicU64::new(0));
    let answer = |request: Request<Incoming>| {
        let nth = asked.fetch_add(1, Ordering::Relaxed);
        let planted = nth % PLANTED == PLANTED - 1 && plant != Plant::Nothing;
        told.fetch_add(u64::from(planted), Ordering::Relaxed);
        let path = request.uri().to_string();
        let status = match planted && plant == Plant::Refusal {
            true => 503,
            false => 200,
        };
        let agent = match planted && plant == Plant::AnotherAgent {
            true => "west-0",
            false => "east-0",
        };
        let path = match planted && plant == Plant::AnotherRequest {
            true => path.replace("nonce=", "nonce=9"),
            false => path,
        };
        let text = format!("{{\"agent\": \"{agent}\", \"path\": \"{path}\"}}");
        let answer = Response::builder().status(status);
        async move { Ok::<_, Infallible>(answer.body(Full::new(Bytes::from(text))).unwrap()) }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let report = runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut load = tokio::task::spawn_blocking(move || {
            let load = Load::at(port, "east-0", KINDS);
            let until = Instant::now() + PATIENCE;
            while load.answered() < 5 * PLANTED && Instant::now() < until {
                pause();
            }
            load.end()
        });
        let mut connections = FuturesUnordered::new();
        loop {
            tokio::select! {
                report = &mut load => break report.unwrap(),
                accepted = listener.accept() => {
                    let io = TokioIo::new(accepted.unwrap().0);
                    let http = hyper::server::conn::http1::Builder::new();
                    connections.push(http.serve_connection(io, service_fn(&answer)));
                }
                Some(_) = connections.next() => {}
            }
        }
    });
    (report, told.into_inner())
}

/// The test of the test: each wrong answer is seen, and nothing else is taken for one.
#[test]
fn law_4_an_answer_of_another_agent_or_to_another_request_is_seen() {
    let fails = |report: &Report| {
        let report = std::panic::AssertUnwindSafe(report);
        std::panic::catch_unwind(|| assert_by_nobody_else("east-0", &report)).is_err()
    };
    for plant in [Plant::AnotherAgent, Plant::AnotherRequest] {
        let (report, told) = planted(plant);
        assert!(told >= 5, "{plant:?}: {told} were planted");
        assert_eq!(report.wrong, told, "{plant:?}: {}", report.causes);
        assert!(fails(&report), "{plant:?}");
    }
    let (report, told) = planted(Plant::Refusal);
    assert_eq!(
        (report.wrong, report.failed),
        (0, told),
        "{}",
        report.causes
    );
    let (report, _) = planted(Plant::Nothing);
    assert_eq!((report.wrong, report.failed), (0, 0), "{}", report.causes);
    assert!(!fails(&report));
}
