//! Instances that die or hang under load, with nobody telling the proxy.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use agentainer::agent::quantity::Span;
use agentainer::agent::spec::{Breaker, Timeouts};
use http::StatusCode;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::rig::{Rig, bounded, read_until, until};

/// One that can be killed, as a container is: nothing listens any more, and every connection breaks off. Or it hangs: it reads, and says
/// nothing.
struct Mortal {
    address: std::net::SocketAddr,
    killed: CancellationToken,
    hangs: CancellationToken,
}

impl Mortal {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let this = Self {
            address: listener.local_addr().unwrap(),
            killed: CancellationToken::new(),
            hangs: CancellationToken::new(),
        };
        let (killed, hangs) = (this.killed.clone(), this.hangs.clone());
        tokio::spawn(killed.clone().run_until_cancelled_owned(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = serve(stream, hangs.clone());
                tokio::spawn(killed.clone().run_until_cancelled_owned(serving));
            }
        }));
        this
    }
}

async fn serve(mut stream: TcpStream, hangs: CancellationToken) {
    while !read_until(&mut stream, "\r\n\r\n").await.is_empty() {
        if hangs.is_cancelled() {
            return std::future::pending().await;
        }
        // As if it worked for a moment: some are always in flight.
        tokio::task::yield_now().await;
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        if stream.write_all(answer).await.is_err() {
            return;
        }
    }
}

async fn three() -> [Mortal; 3] {
    [
        Mortal::start().await,
        Mortal::start().await,
        Mortal::start().await,
    ]
}

fn places(all: &[Mortal; 3]) -> Vec<(&'static str, std::net::SocketAddr)> {
    let names = ["a", "b", "c"].into_iter();
    names.zip(all.iter().map(|one| one.address)).collect()
}

/// What many clients have seen so far.
#[derive(Default)]
struct Seen {
    answered: AtomicUsize,
    failed: AtomicUsize,
    since: AtomicUsize,
}

/// Clients that ask one thing after another until they are told to stop.
fn clients(rig: &Arc<Rig>, seen: &Arc<Seen>, stop: &CancellationToken) -> tokio::task::JoinSet<()> {
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (rig, seen, stop) = (Arc::clone(rig), Arc::clone(seen), stop.clone());
        all.spawn(async move {
            while !stop.is_cancelled() {
                let answer = rig.get("/agent/users/").await;
                if answer.status == StatusCode::OK {
                    seen.answered.fetch_add(1, Ordering::SeqCst);
                    seen.since.fetch_add(1, Ordering::SeqCst);
                } else {
                    seen.failed.fetch_add(1, Ordering::SeqCst);
                    seen.since.store(0, Ordering::SeqCst);
                }
            }
        });
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn law_5_one_of_three_is_killed_under_load_and_no_idempotent_request_fails() {
    let rig = Arc::new(Rig::new());
    let all = three().await;
    rig.ready("users", &places(&all));
    let (seen, stop) = (Arc::<Seen>::default(), CancellationToken::new());
    let mut clients = clients(&rig, &seen, &stop);
    until(|| seen.answered.load(Ordering::SeqCst) > 300).await;
    all[1].killed.cancel();
    until(|| seen.answered.load(Ordering::SeqCst) > 1200).await;
    stop.cancel();
    while let Some(client) = bounded(clients.join_next()).await {
        client.unwrap();
    }
    assert_eq!(seen.failed.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_two_of_three_hanging_the_third_serves_all_once_they_are_left_alone() {
    let rig = Arc::new(Rig::new());
    let all = three().await;
    const FAILURES: u32 = 5;
    let publish = |first_byte: u64| {
        rig.publish("users", &places(&all), |publication| {
            publication.proxy.breaker = Some(Breaker {
                failures: FAILURES,
                cooldown: Span { millis: 600_000 },
                max_ejected: "100%".parse().unwrap(),
            });
            publication.proxy.timeouts = Some(Timeouts {
                first_byte: Span { millis: first_byte },
                ..Timeouts::default()
            });
        });
    };
    publish(0);
    let (seen, stop) = (Arc::<Seen>::default(), CancellationToken::new());
    let mut clients = clients(&rig, &seen, &stop);
    until(|| seen.answered.load(Ordering::SeqCst) > 300).await;
    assert_eq!(seen.failed.load(Ordering::SeqCst), 0);
    // Long for an answer that takes no time, whatever else this machine does.
    publish(2000);
    // What was on its way without that limit would wait for ever.
    let begun = seen.answered.load(Ordering::SeqCst);
    until(|| seen.answered.load(Ordering::SeqCst) > begun + 1000).await;
    all[0].hangs.cancel();
    all[2].hangs.cancel();
    // The time it takes to leave both alone is that of the failures that it takes; from then on not one in a hundred is slow: none is.
    until(|| seen.failed.load(Ordering::SeqCst) > 0).await;
    until(|| seen.since.load(Ordering::SeqCst) > 500).await;
    stop.cancel();
    while let Some(client) = bounded(clients.join_next()).await {
        client.unwrap();
    }
    // As many as it takes, and those that were on their way when it was so.
    let failed = seen.failed.load(Ordering::SeqCst);
    assert!(failed <= 2 * FAILURES as usize + 16, "{failed}");
}
