//! Every outcome under every terms; and two workers with three records, explored exhaustively with a crash at each step.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeSet;

use super::*;
use crate::journal::record::{Standing, Step};

const RETRIES: u32 = 1;

fn all_terms() -> Vec<Terms> {
    let both = [false, true];
    let mut all = Vec::new();
    for repeatable in both {
        for replay_unsafe in both {
            for retry_refusals in both {
                all.push(Terms {
                    repeatable,
                    replay_unsafe,
                    retry_refusals,
                    max_retries: RETRIES,
                });
            }
        }
    }
    all
}

fn answered(status: u16) -> Outcome {
    Outcome::Answered {
        status,
        retry_after: None,
    }
}

fn refused(status: u16) -> Outcome {
    Outcome::Answered {
        status,
        retry_after: Some(Duration::from_secs(9)),
    }
}

#[test]
fn law_3_what_may_have_been_received_is_sent_again_only_if_that_is_safe_or_wanted() {
    for terms in all_terms() {
        let again = terms.repeatable || terms.replay_unsafe;
        for outcome in [Outcome::NoAnswer, Outcome::Lapsed] {
            let verdict = judge(outcome, terms, 1);
            assert_eq!(matches!(verdict, Verdict::Retry(_)), again, "{terms:?}");
            if !again {
                assert_eq!(verdict, Verdict::Settle(State::Unknown), "never guessed");
            }
        }
        let failed = judge(answered(500), terms, 1);
        assert_eq!(matches!(failed, Verdict::Retry(_)), again, "{terms:?}");
        if !again {
            assert_eq!(failed, Verdict::Settle(State::Failed));
        }
    }
}

#[test]
fn an_answer_below_500_is_an_outcome() {
    for terms in all_terms() {
        for status in [200, 204, 302, 400, 404, 409, 429] {
            let verdict = judge(answered(status), terms, 1);
            assert_eq!(verdict, Verdict::Settle(State::Completed), "{status}");
        }
    }
}

#[test]
fn law_3_what_its_client_has_the_answer_to_is_never_repeated_behind_its_back() {
    for terms in all_terms() {
        for (status, state) in [
            (200, State::Completed),
            (404, State::Completed),
            (429, State::Completed),
            (500, State::Failed),
            (503, State::Failed),
        ] {
            let verdict = judge(Outcome::Passed { status }, terms, 1);
            assert_eq!(verdict, Verdict::Settle(state), "{terms:?}");
        }
    }
}

#[test]
fn refusals_are_retried_when_they_are_wanted_and_say_when() {
    for terms in all_terms() {
        for status in [429, 503] {
            let verdict = judge(refused(status), terms, 1);
            match (terms.retry_refusals, status) {
                (true, _) => assert_eq!(verdict, Verdict::Retry(Duration::from_secs(9))),
                (false, 429) => assert_eq!(verdict, Verdict::Settle(State::Completed)),
                (false, _) if terms.repeatable || terms.replay_unsafe => {
                    assert!(matches!(verdict, Verdict::Retry(_)));
                }
                (false, _) => assert_eq!(verdict, Verdict::Settle(State::Failed)),
            }
        }
    }
}

#[test]
fn what_was_not_sent_is_tried_again_whatever_it_is_and_in_the_end_is_a_dead_letter() {
    for terms in all_terms() {
        assert_eq!(judge(Outcome::NotBegun, terms, 99), Verdict::Release);
        assert!(matches!(
            judge(Outcome::Unsent, terms, 1),
            Verdict::Retry(_)
        ));
        let last = judge(Outcome::Unsent, terms, RETRIES + 1);
        assert_eq!(last, Verdict::Settle(State::Dead));
    }
}

#[test]
fn waits_double_up_to_a_minute() {
    let waits: Vec<u64> = (1..=9).map(|tries| backoff(tries).as_secs()).collect();
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    assert_eq!(backoff(u32::MAX), LONGEST);
}

/// One record in the small world, with what the agent got of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Watched {
    standing: Standing,
    /// How often the agent may have begun to handle it.
    received: u8,
    /// How often an answer came.
    answers: u8,
}

/// A worker: which record it delivers under which claim, and how far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Worker {
    Idle,
    Holds {
        record: usize,
        token: u64,
        sent: bool,
        /// Its client waits for the answer.
        live: bool,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct World {
    records: [Watched; 3],
    workers: [Worker; 2],
    crashes: u8,
}

/// Record 0 is a plain POST, 1 carries a key, 2 is a plain POST too.
fn terms(record: usize) -> Terms {
    Terms {
        repeatable: record == 1,
        replay_unsafe: false,
        retry_refusals: false,
        max_retries: RETRIES,
    }
}

fn apply(watched: &mut Watched, token: u64, verdict: Verdict) -> bool {
    let step = match verdict {
        Verdict::Release => Step::Release(token),
        Verdict::Retry(_) => Step::Retry(token),
        Verdict::Settle(state) => Step::Settle(token, state),
    };
    match watched.standing.after(step) {
        Some(after) => {
            watched.standing = after;
            true
        }
        None => false,
    }
}

impl World {
    fn new() -> Self {
        let watched = Watched {
            standing: Standing::NEW,
            received: 0,
            answers: 0,
        };
        Self {
            records: [watched; 3],
            workers: [Worker::Idle; 2],
            crashes: 0,
        }
    }

    /// The same, and the first two are forwarded while their clients wait.
    fn live() -> Self {
        let mut world = Self::new();
        for record in 0..2 {
            world.records[record].standing = Standing::LIVE;
            world.workers[record] = Worker::Holds {
                record,
                token: Standing::LIVE.token,
                sent: false,
                live: true,
            };
        }
        world
    }

    /// Everything that can happen next.
    fn next(&self) -> Vec<Self> {
        let mut found = Vec::new();
        let mut go = |change: &dyn Fn(&mut Self)| {
            let mut world = self.clone();
            change(&mut world);
            found.push(world);
        };
        for (who, worker) in self.workers.iter().enumerate() {
            match *worker {
                Worker::Idle => {
                    for record in 0..3 {
                        let standing = self.records[record].standing;
                        if let Some(after) = standing.after(Step::Claim) {
                            go(&|world| {
                                world.records[record].standing = after;
                                let token = after.token;
                                world.workers[who] = Worker::Holds {
                                    record,
                                    token,
                                    sent: false,
                                    live: false,
                                };
                            });
                        }
                        // Its worker is silent for too long, whether it died or only stands still.
                        if standing.state == State::Claimed {
                            let verdict = judge(Outcome::Lapsed, terms(record), standing.tries());
                            go(&|world| {
                                apply(&mut world.records[record], standing.token, verdict);
                            });
                        }
                    }
                }
                Worker::Holds {
                    record,
                    token,
                    sent,
                    live,
                } => {
                    let tries = self.records[record].standing.tries();
                    let ends = |outcome| {
                        move |world: &mut Self| {
                            let verdict = judge(outcome, terms(record), tries);
                            apply(&mut world.records[record], token, verdict);
                            world.workers[who] = Worker::Idle;
                        }
                    };
                    if sent {
                        go(&|world| {
                            world.records[record].answers += 1;
                            let passed = Outcome::Passed { status: 200 };
                            ends(if live { passed } else { answered(200) })(world);
                        });
                        go(&|world| {
                            world.records[record].answers += 1;
                            let passed = Outcome::Passed { status: 500 };
                            ends(if live { passed } else { answered(500) })(world);
                        });
                        go(&ends(Outcome::NoAnswer));
                        if live {
                            // Its client went, and that cut it off.
                            go(&|world| {
                                let gone = Verdict::Settle(State::Cancelled);
                                apply(&mut world.records[record], token, gone);
                                world.workers[who] = Worker::Idle;
                            });
                        }
                    } else {
                        // It looks at its claim before it sends.
                        let holds = self.records[record].standing.after(Step::Release(token));
                        if holds.is_some() {
                            go(&|world| {
                                world.records[record].received += 1;
                                world.workers[who] = Worker::Holds {
                                    record,
                                    token,
                                    sent: true,
                                    live,
                                };
                            });
                        }
                        // Each makes a claim more; one is enough to see what it does.
                        if token == 1 {
                            go(&ends(Outcome::NotBegun));
                        }
                        go(&ends(Outcome::Unsent));
                    }
                    if self.crashes < 1 {
                        go(&|world| {
                            world.crashes += 1;
                            world.workers[who] = Worker::Idle;
                        });
                    }
                }
            }
        }
        found
    }

    fn check(&self) {
        for (record, watched) in self.records.iter().enumerate() {
            let standing = watched.standing;
            if !terms(record).repeatable {
                assert!(watched.received <= 1, "law 3: sent twice: {self:?}");
            }
            assert!(standing.tries() <= RETRIES + 1, "{self:?}");
            if standing.state == State::Completed {
                assert!(watched.answers > 0, "completed without an answer: {self:?}");
            }
        }
    }
}

#[test]
fn law_3_two_workers_and_three_records_with_a_crash_at_each_step() {
    let mut seen: BTreeSet<World> = BTreeSet::new();
    let mut open = vec![World::new(), World::live()];
    while let Some(world) = open.pop() {
        if !seen.insert(world.clone()) {
            continue;
        }
        world.check();
        let next = world.next();
        // Law 2: whoever is left can bring every record to an end.
        let settled = world
            .records
            .iter()
            .all(|one| one.standing.state.is_settled());
        assert!(settled || !next.is_empty(), "stuck: {world:?}");
        open.extend(next);
    }
    assert!(seen.len() > 10_000, "{}", seen.len());
}

#[test]
fn a_settled_record_takes_no_step_but_by_hand() {
    for state in State::ALL.into_iter().filter(|state| state.is_settled()) {
        let standing = Standing {
            state,
            token: 3,
            attempts: 2,
            forgiven: 0,
        };
        let by_itself = [
            Step::Claim,
            Step::Release(3),
            Step::Retry(3),
            Step::Settle(3, State::Completed),
            Step::Cancel,
            Step::Expire,
        ];
        assert!(
            by_itself.iter().all(|step| standing.after(*step).is_none()),
            "{state}"
        );
        assert_eq!(
            standing.after(Step::Requeue).is_some(),
            state.wants_attention()
        );
    }
}

#[test]
fn who_lost_a_claim_changes_nothing() {
    let first = Standing::NEW.after(Step::Claim).unwrap();
    let again = first.after(Step::Retry(first.token)).unwrap();
    let second = again.after(Step::Claim).unwrap();
    for step in [
        Step::Release(first.token),
        Step::Retry(first.token),
        Step::Settle(first.token, State::Completed),
    ] {
        assert_eq!(second.after(step), None, "{step:?}");
    }
}
