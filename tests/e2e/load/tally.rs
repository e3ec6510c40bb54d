//! What came of a load.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::Kinds;

/// How many failures are shown in full.
const SHOWN: usize = 12;

/// What came of one request.
pub(super) type Outcome = Result<(), Failure>;

/// Why one is not as it should be.
#[derive(Debug)]
pub(super) enum Failure {
    /// No answer, a bad one, or one that broke off.
    Failed(String),
    /// Another agent's answer, or another request's (law 4).
    Wrong(String),
}

/// A kind of client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    KeepAlive,
    NewConnection,
    Slow,
    Stream,
    WebSocket,
}

/// Where a load goes, and what came of it so far.
pub(super) struct Tally {
    pub(super) port: u16,
    pub(super) agent: String,
    pub(super) kinds: Kinds,
    begun: Instant,
    done: [AtomicU64; 5],
    failed: Mutex<Failed>,
    number: AtomicU64,
}

#[derive(Default)]
struct Failed {
    shown: Vec<String>,
    by_kind: BTreeMap<Kind, u64>,
    wrong: u64,
}

impl Tally {
    pub(super) fn new(port: u16, agent: &str, kinds: Kinds) -> Self {
        Self {
            port,
            agent: agent.to_owned(),
            kinds,
            begun: Instant::now(),
            done: Default::default(),
            failed: Mutex::default(),
            number: AtomicU64::new(1),
        }
    }

    /// A number that no other request of this load has.
    pub(super) fn nonce(&self) -> u64 {
        self.number.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn note(&self, kind: Kind, outcome: Outcome) {
        let (cause, wrong) = match outcome {
            Ok(()) => {
                self.done[kind as usize].fetch_add(1, Ordering::Relaxed);
                return;
            }
            Err(Failure::Failed(cause)) => (cause, false),
            Err(Failure::Wrong(cause)) => (cause, true),
        };
        let mut failed = self.failed.lock().unwrap();
        failed.wrong += u64::from(wrong);
        *failed.by_kind.entry(kind).or_default() += 1;
        if failed.shown.len() < SHOWN || wrong {
            let at = self.begun.elapsed().as_millis();
            failed.shown.push(format!("{kind:?} at {at} ms: {cause}"));
        }
    }

    pub(super) fn answered(&self) -> u64 {
        self.done[0].load(Ordering::Relaxed) + self.done[1].load(Ordering::Relaxed)
    }

    /// The report of a load that is about to end: its rate is that of the time until now.
    pub(super) fn report(&self) -> Report {
        let took = self.begun.elapsed();
        Report {
            took,
            #[allow(clippy::cast_precision_loss)]
            rate: self.answered() as f64 / took.as_secs_f64(),
            ..Report::default()
        }
    }
}

/// What came of a whole load.
#[derive(Debug, Default)]
pub struct Report {
    pub took: Duration,
    /// Short requests a second.
    pub rate: f64,
    /// What was answered, by kind.
    pub done: [u64; 5],
    /// How many failed.
    pub failed: u64,
    /// How many got another agent's or another request's answer.
    pub wrong: u64,
    /// The failures, the first in full.
    pub causes: String,
}

impl Report {
    pub(super) fn finish(mut self, tally: &Tally, ended: bool) -> Self {
        self.done = std::array::from_fn(|kind| tally.done[kind].load(Ordering::Relaxed));
        let failed = tally.failed.lock().unwrap();
        self.failed = failed.by_kind.values().sum::<u64>() + u64::from(!ended);
        self.wrong = failed.wrong;
        self.causes = format!("{:?}\n{}", failed.by_kind, failed.shown.join("\n"));
        if !ended {
            self.causes.push_str("\nsome requests did not end");
        }
        self
    }

    /// One line for people.
    pub fn line(&self) -> String {
        let [kept, new, slow, streams, sockets] = self.done;
        format!(
            "{:.0} requests/s over {:.1} s: {kept} on kept connections, {new} on new ones, {slow} slow ones, \
             {streams} streams, {sockets} WebSockets; {} failed",
            self.rate,
            self.took.as_secs_f64(),
            self.failed
        )
    }

    /// Prints it, and fails the test when anything failed.
    pub fn faultless(&self, what: &str) {
        println!("{what}: {}", self.line());
        assert_eq!(self.failed, 0, "{what}: {}\n{}", self.line(), self.causes);
        assert!(
            self.done[0] > 0 && self.done[1] > 0,
            "{what}: nothing was asked"
        );
    }
}
