//! The story with one fault at each call of the journal, on two servers, and with more by chance: nothing is lost, nothing repeated.

use std::time::Duration;

use crate::fake_journal::Fault;
use crate::history::{Verdict, check};
use crate::world::{How, Plan, Strike, run};

fn number(name: &str, usual: usize) -> usize {
    #[expect(
        clippy::disallowed_methods,
        reason = "how long a test runs is its caller's choice"
    )]
    let given = std::env::var(name);
    given.map_or(usual, |text| text.parse().unwrap())
}

fn clean(plan: &Plan) -> Verdict {
    let verdict = check(&run(plan).history);
    assert!(verdict.faults.is_empty(), "{plan:?}\n{verdict}");
    verdict
}

const FAULTS: [How; 7] = [
    How::DiesBefore,
    How::DiesAfter,
    How::Fails(Fault::Before),
    How::Fails(Fault::After),
    How::Fails(Fault::Old),
    How::Fails(Fault::Slow {
        before: Duration::from_secs(2),
        after: Duration::from_secs(2),
    }),
    How::Fails(Fault::Late(Duration::from_secs(8))),
];

/// Each fault at every so many-th call, beginning with another one for each.
fn one_fault_at_each_call(servers: usize, every: usize) {
    let plan = Plan {
        seed: 1,
        servers,
        ..Plan::default()
    };
    println!("{}", clean(&plan));
    let calls = run(&plan).calls[0];
    let mut runs = 0;
    for (n, how) in FAULTS.into_iter().enumerate() {
        for call in (n % every..calls).step_by(every) {
            let strike = Strike {
                server: 0,
                call,
                how,
            };
            clean(&Plan {
                strike: Some(strike),
                ..plan.clone()
            });
            runs += 1;
        }
    }
    println!("{servers} server(s): {runs} runs, {calls} calls");
}

#[test]
fn law_2_one_fault_at_each_call_of_the_journal_loses_and_repeats_nothing() {
    one_fault_at_each_call(1, number("EVERY", 8));
}

#[test]
fn law_3_of_two_servers_on_one_journal_one_dies_at_each_call_and_the_other_takes_up_what_lapsed() {
    one_fault_at_each_call(2, number("EVERY", 8));
}

#[test]
fn law_2_after_any_faults_each_promise_is_kept_once() {
    let first = number("FROM", 0) as u64;
    for seed in first..first + number("HISTORIES", 40) as u64 {
        clean(&Plan {
            seed,
            servers: 1 + (seed % 2) as usize,
            chaos: true,
            ..Plan::default()
        });
    }
}
