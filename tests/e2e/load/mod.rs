//! Load on the proxy: four kinds of clients at once, each of which checks every byte it is answered and counts what fails.
//!
//! | kind | what it does | when it fails |
//! | --- | --- | --- |
//! | keep-alive | GET and POST in turn on a connection that it keeps | any answer but its own 200 |
//! | new connection | the same, each on a connection of its own | the same |
//! | slow | GET that is answered after one and a half seconds: some are in flight at any moment | any answer but 200 |
//! | stream | server-sent events for five seconds | one is missing or out of order, or the end is |
//! | WebSocket | a message every 100 ms for five seconds, each echoed; then a close | a message does not come back |
//!
//! A client does what every HTTP client does and no more: a request of which nothing was sent, because the kept connection was
//! closed before, goes out on a new one. Nothing else is tried twice.

mod clients;
mod tally;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::clients::{KeepAlive, fresh, slow, stream, websocket};
pub use self::tally::Report;
use self::tally::{Kind, Tally};
use crate::server::Server;

/// After the end of a load its last requests have this long to end by themselves.
const LAST: Duration = Duration::from_secs(60);

/// What the clients ask for.
#[derive(Clone, Copy, Debug)]
pub struct Kinds {
    /// Short requests a second that are asked for; what a machine manages is printed.
    pub rate: u64,
    /// POST beside GET: what must not be sent twice.
    pub posts: bool,
    /// Requests that take their time, beside short ones.
    pub slow: bool,
    /// Streams and WebSockets beside them.
    pub streams: bool,
}

impl Kinds {
    pub const ALL: Self = Self {
        rate: 600,
        posts: true,
        slow: true,
        streams: true,
    };
    /// What survives the death of an instance: idempotent, and answered in one piece.
    pub const REPEATABLE: Self = Self {
        rate: 600,
        posts: false,
        slow: true,
        streams: false,
    };
}

/// A load that goes on until it is ended.
pub struct Load {
    runtime: tokio::runtime::Runtime,
    stop: CancellationToken,
    tasks: TaskTracker,
    tally: Arc<Tally>,
}

impl Load {
    /// Begins a load on one agent.
    pub fn on(server: &Server, agent: &str, kinds: Kinds) -> Self {
        Self::at(server.port, agent, kinds)
    }

    /// The same on whoever listens there.
    pub fn at(port: u16, agent: &str, kinds: Kinds) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let load = Self {
            tally: Arc::new(Tally::new(port, agent, kinds)),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            runtime,
        };
        load.begin();
        load
    }

    fn begin(&self) {
        let _inside = self.runtime.enter();
        let (kept, new, long) = (12, 6, if self.tally.kinds.streams { 16 } else { 0 });
        for place in 0..kept {
            let (tally, stop) = (Arc::clone(&self.tally), self.stop.clone());
            self.tasks.spawn(async move {
                let mut client = KeepAlive::default();
                let mut ticks = ticks(tally.kinds.rate * 3 / 4, kept, place).await;
                while ticked(&mut ticks, &stop).await {
                    let outcome = client.ask(&tally).await;
                    tally.note(Kind::KeepAlive, outcome);
                }
            });
        }
        for place in 0..new {
            let (tally, stop) = (Arc::clone(&self.tally), self.stop.clone());
            self.tasks.spawn(async move {
                let mut ticks = ticks(tally.kinds.rate / 4, new, place).await;
                while ticked(&mut ticks, &stop).await {
                    tally.note(Kind::NewConnection, fresh(&tally).await);
                }
            });
        }
        for _ in 0..if self.tally.kinds.slow { 8 } else { 0 } {
            let (tally, stop) = (Arc::clone(&self.tally), self.stop.clone());
            self.tasks.spawn(async move {
                while !stop.is_cancelled() {
                    tally.note(Kind::Slow, slow(&tally).await);
                }
            });
        }
        for place in 0..long {
            // Not all at once: at any moment some begin and some end.
            let offset = Duration::from_millis(place * 100);
            let (tally, stop) = (Arc::clone(&self.tally), self.stop.clone());
            self.tasks.spawn(async move {
                tokio::time::sleep(offset).await;
                while !stop.is_cancelled() {
                    tally.note(Kind::Stream, stream(&tally).await);
                }
            });
            let (tally, stop) = (Arc::clone(&self.tally), self.stop.clone());
            self.tasks.spawn(async move {
                tokio::time::sleep(offset).await;
                while !stop.is_cancelled() {
                    tally.note(Kind::WebSocket, websocket(&tally).await);
                }
            });
        }
    }

    /// How many short requests were answered so far.
    pub fn answered(&self) -> u64 {
        self.tally.answered()
    }

    /// Begins nothing new, lets what was begun end, and tells what came of it all.
    pub fn end(self) -> Report {
        let report = self.tally.report();
        self.stop.cancel();
        self.tasks.close();
        let ended = self
            .runtime
            .block_on(async { tokio::time::timeout(LAST, self.tasks.wait()).await });
        self.runtime.shutdown_background();
        report.finish(&self.tally, ended.is_ok())
    }
}

/// One client's share of the rate, as ticks.
async fn ticks(rate: u64, clients: u64, place: u64) -> tokio::time::Interval {
    let every = Duration::from_micros(clients * 1_000_000 / rate);
    tokio::time::sleep(every * u32::try_from(place).unwrap() / u32::try_from(clients).unwrap())
        .await;
    let mut ticks = tokio::time::interval(every);
    // One that was held up catches up: the rate is kept in the mean.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    ticks
}

async fn ticked(ticks: &mut tokio::time::Interval, stop: &CancellationToken) -> bool {
    tokio::select! {
        biased;
        () = stop.cancelled() => false,
        _ = ticks.tick() => true,
    }
}
