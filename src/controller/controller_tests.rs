#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
    time::Duration,
};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};
use parking_lot::Mutex;
use proptest::prelude::*;
use rand::{SeedableRng as _, rngs::StdRng};
use tokio::{
    sync::{Semaphore, oneshot},
    task::JoinHandle,
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;

use super::{
    Backoff, Controller, Observer, Outcome, Reconciler, Requeue, RunError, Trigger, WriterGone,
    cache,
};

#[path = "failures_tests.rs"]
mod failures;
#[path = "history_tests.rs"]
mod history;
#[path = "passes_tests.rs"]
mod passes;
#[path = "shutdown_tests.rs"]
mod shutdown;
#[path = "sources_tests.rs"]
mod sources;

type Pass = Result<Requeue, io::Error>;

/// Does for a key and the number of its pass (from 1) what the test says.
struct Script(
    Box<dyn Fn(u8, usize) -> BoxFuture<'static, Pass> + Send + Sync>,
    Log,
);

/// What passes did and when, in milliseconds from the start of the test.
#[derive(Clone)]
struct Log(Arc<Mutex<Vec<Entry>>>, Instant);

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    key: u8,
    at: u128,
    what: What,
}

#[derive(Clone, Debug, PartialEq)]
enum What {
    Woken,
    Began,
    /// It ended, or was aborted.
    Ended,
    Finished(Outcome),
}
use What::{Began, Ended, Woken};

impl Log {
    fn new() -> Self {
        Self(Arc::default(), Instant::now())
    }

    fn push(&self, key: u8, what: What) {
        self.0.lock().push(Entry {
            key,
            at: self.1.elapsed().as_millis(),
            what,
        });
    }

    /// When the passes of `key` began.
    fn begun(&self, key: u8) -> Vec<u128> {
        self.0
            .lock()
            .iter()
            .filter(|e| e.key == key && e.what == Began)
            .map(|e| e.at)
            .collect()
    }

    fn keys_begun(&self) -> Vec<u8> {
        self.0
            .lock()
            .iter()
            .filter(|e| e.what == Began)
            .map(|e| e.key)
            .collect()
    }

    fn outcomes(&self) -> Vec<Outcome> {
        let outcome = |e: &Entry| {
            if let What::Finished(outcome) = e.what {
                Some(outcome)
            } else {
                None
            }
        };
        self.0.lock().iter().filter_map(outcome).collect()
    }

    /// The most passes that ran at once, of any key and of one key.
    fn most_at_once(&self) -> (usize, usize) {
        let (mut running, mut most, mut most_of_one) = (BTreeMap::<u8, usize>::new(), 0, 0);
        for entry in self.0.lock().iter() {
            let of_key = running.entry(entry.key).or_default();
            match entry.what {
                Began => *of_key += 1,
                Ended => *of_key -= 1,
                _ => {}
            }
            most_of_one = most_of_one.max(*of_key);
            most = most.max(running.values().sum());
        }
        (most, most_of_one)
    }
}

impl Observer<u8> for Log {
    fn finished(&self, key: &u8, outcome: Outcome, _took: Duration) {
        self.push(*key, What::Finished(outcome));
    }
}

impl Reconciler for Script {
    type Key = u8;
    type Error = io::Error;

    async fn reconcile(&self, key: u8) -> Pass {
        struct OnDrop(Log, u8);
        impl Drop for OnDrop {
            fn drop(&mut self) {
                self.0.push(self.1, Ended);
            }
        }
        self.1.push(key, Began);
        let _ended = OnDrop(self.1.clone(), key);
        let nth = self.1.begun(key).len();
        self.0(key, nth).await
    }
}

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn failed() -> Pass {
    Err(io::Error::other("as the test wants it"))
}

/// A controller whose passes do as `script` says; the back-off is one second to eight.
fn controller(
    script: impl Fn(u8, usize) -> BoxFuture<'static, Pass> + Send + Sync + 'static,
) -> (Controller<Script>, Log) {
    let log = Log::new();
    let controller = Controller::new(
        Script(Box::new(script), log.clone()),
        StdRng::seed_from_u64(1),
    );
    let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(8));
    (
        controller
            .concurrency(4)
            .backoff(backoff)
            .observer(log.clone()),
        log,
    )
}

/// Passes that take this long and succeed.
fn taking(took: Duration) -> impl Fn(u8, usize) -> BoxFuture<'static, Pass> + Send + Sync {
    move |_, _| {
        async move {
            time::sleep(took).await;
            Ok(Requeue::Done)
        }
        .boxed()
    }
}

struct Running {
    trigger: Trigger<u8>,
    shutdown: CancellationToken,
    run: JoinHandle<Result<(), RunError>>,
}

fn start(controller: Controller<Script>) -> Running {
    let (trigger, shutdown) = (controller.handle(), CancellationToken::new());
    let run = tokio::spawn(controller.run(shutdown.clone()));
    Running {
        trigger,
        shutdown,
        run,
    }
}

impl Running {
    /// Lets virtual time pass, and all that happens in it happen.
    async fn for_ms(&self, n: u64) {
        time::sleep(ms(n)).await;
    }

    async fn stop(self) {
        self.shutdown.cancel();
        time::timeout(Duration::from_secs(60), self.run)
            .await
            .expect("an end")
            .unwrap()
            .unwrap();
    }
}
