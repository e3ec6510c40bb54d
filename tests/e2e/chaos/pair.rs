//! Two servers on one journal: both deliver, one dies in the middle of it, and the other takes up what lapsed.

use std::net::SocketAddr;

use super::{agent, clock, evidence, folder};
use crate::history::{Promise, check};
use crate::history_clients::{Wish, send};
use crate::server::{Server, pause};

const AGENT: &str = "hist-shared";
const REQUESTS: u32 = 40;

/// Half of them may be repeated.
fn wish(number: u32) -> Wish {
    Wish {
        number,
        agent: AGENT,
        method: "POST",
        keyed: number.is_multiple_of(4) || number % 4 == 3,
        prefer: None,
        acts: "slow",
        body: vec![number as u8; 100 + number as usize],
    }
}

#[test]
fn law_3_of_two_servers_that_deliver_one_dies_and_the_other_takes_up_what_lapsed() {
    let folder = folder();
    let path = folder.path().display().to_string();
    let mut first = Server::with(&["--allow-host-path", &path]);
    let manifest = agent(&path, AGENT, "persistence: {concurrency: 6}");
    first.apply(&format!("agents:\n{manifest}"));
    let second = first.beside();
    first.ok(&["stop", AGENT, "--wait"]);

    let begin = clock();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let ports = [first.port, second.port];
    let outcomes = runtime.block_on(async {
        let mut all = Vec::new();
        for n in 0..REQUESTS {
            let to = SocketAddr::from(([127, 0, 0, 1], ports[n as usize % 2]));
            all.push(send(Some(to), wish(n), || clock() - begin).await);
        }
        all
    });
    for outcome in &outcomes {
        let promise = &outcome.sent.promise;
        assert!(matches!(promise, Promise::Kept { .. }), "{promise:?}");
    }
    first.ok(&["start", AGENT]);
    // Both are at it: what is on its way is more than one of them would have.
    let got = || evidence::got(folder.path(), begin);
    second.eventually("some are delivered", |_| got().len() >= 8);
    let killed = clock() - begin;
    first.kill();
    let until = clock() + 90_000;
    while !runtime.block_on(evidence::settled(&second, &[AGENT])) {
        assert!(
            clock() < until,
            "not all are settled\n{}",
            second.log_tail()
        );
        pause();
    }
    let troubles = vec![(killed, killed)];
    let history = evidence::gathered(&second, &[AGENT], folder.path(), begin, outcomes, troubles);
    let verdict = check(&runtime.block_on(history));
    println!("killed after {killed} ms\n{verdict}");
    assert!(verdict.faults.is_empty(), "{verdict}");
    let ends = |state: &str| verdict.counts.get(&format!("records: {state}")).copied();
    let (completed, unknown) = (ends("completed").unwrap_or(0), ends("unknown").unwrap_or(0));
    assert_eq!(completed + unknown, u64::from(REQUESTS), "{verdict}");
    assert!(unknown <= 6, "no more than were on their way: {verdict}");
}
