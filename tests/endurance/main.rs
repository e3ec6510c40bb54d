//! What lasts: a stream of events that goes on and on arrives event by event, and bodies of any size take no more memory than small ones.
//!
//! An everyday run is short (20 events, each sent as soon as the one before was seen; bodies of 64 MiB). `make endurance` has the whole of it:
//! one event a second for `STREAM_SECONDS=600`, and bodies of `BODY_MIB=2048`. A process of its own, so that its memory is theirs: client, proxy
//! and agent together.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    dead_code,
    unreachable_pub,
    missing_docs
)]

#[path = "../proxy/agents.rs"]
mod agents;
#[path = "../proxy/rig.rs"]
mod rig;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, Channel, Full, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::rig::Rig;

const MIB: u64 = 1 << 20;
const PIECE: usize = 64 * 1024;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number")),
    )
}

/// What the kernel says of this process' memory, in KiB.
fn memory(what: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(what));
    let digits = line.unwrap().trim_start_matches(':').trim();
    digits.trim_end_matches(" kB").parse().unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// One after the other: each measures the whole process.
#[test]
fn streams_arrive_event_by_event_and_bodies_of_any_size_take_no_more_memory() {
    runtime().block_on(events(number("STREAM_SECONDS")));
    let mib = number("BODY_MIB").unwrap_or(64);
    for version in [http::Version::HTTP_11, http::Version::HTTP_2] {
        runtime().block_on(bodies(version, mib * MIB));
    }
}

async fn events(seconds: Option<u64>) {
    let rig = Rig::new();
    let (seen, sees) = watch::channel(0_u64);
    let sent = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&sent);
    let agent = agents::http(move |_: Request<Incoming>| {
        let (count, mut sees) = (Arc::clone(&count), sees.clone());
        let (mut events, body) = Channel::<Bytes>::new(1);
        tokio::spawn(async move {
            let mut pace = tokio::time::interval(Duration::from_secs(1));
            for nth in 1..=seconds.unwrap_or(20) {
                if seconds.is_some() {
                    pace.tick().await;
                } else {
                    sees.wait_for(|seen| seen + 1 == nth).await.unwrap();
                }
                count.store(nth, Ordering::SeqCst);
                let event = format!("id: {nth}\ndata: something\n\n");
                if events.send_data(event.into()).await.is_err() {
                    return;
                }
            }
        });
        async move {
            let mut response = Response::new(body);
            let events = "text/event-stream".parse().unwrap();
            response.headers_mut().insert("content-type", events);
            response
        }
    })
    .await;
    rig.ready("users", &[("c", agent.address)]);
    let request = Request::get("/agent/users/events").header("host", "b");
    let request = request.body(Full::<Bytes>::default()).unwrap();
    let mut body = rig.begin(request).await.into_body();
    let begun = Instant::now();
    let mut all = 0;
    while let Some(frame) = rig::bounded(body.frame()).await {
        let data = frame.unwrap().into_data().unwrap();
        all += 1;
        // It is there before the next one is made.
        assert_eq!(sent.load(Ordering::SeqCst), all);
        assert_eq!(data, format!("id: {all}\ndata: something\n\n"));
        seen.send_replace(all);
    }
    assert_eq!(all, seconds.unwrap_or(20));
    println!("{all} events, one by one, in {:.1?}", begun.elapsed());
}

/// A body of so many bytes, without so much memory.
fn body(length: u64) -> StreamBody<impl futures::Stream<Item = std::io::Result<Frame<Bytes>>>> {
    static PIECES: [u8; PIECE] = [b'x'; PIECE];
    let pieces = (0..length / PIECE as u64).map(|_| Ok(Frame::data(Bytes::from_static(&PIECES))));
    StreamBody::new(futures::stream::iter(pieces))
}

async fn read(mut body: Incoming) -> u64 {
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        length += frame
            .unwrap()
            .into_data()
            .map_or(0, |data| data.len() as u64);
    }
    length
}

/// Keeps a client's connection until it is dropped.
enum Sender<B> {
    Http1(http1::SendRequest<B>),
    Http2(http2::SendRequest<B>),
}

/// Gigabytes take a while, most of all beside other work.
async fn long<T>(waiting: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(Duration::from_secs(300), waiting).await;
    waited.expect("took too long")
}

async fn bodies(version: http::Version, length: u64) {
    let rig = Rig::new();
    let stream = async || TokioIo::new(TcpStream::connect(rig.address).await.unwrap());
    let agent = agents::http(move |request: Request<Incoming>| async move {
        let up = read(request.into_body()).await;
        let down = if up == 0 { length } else { 0 };
        let mut response = Response::new(body(down));
        let header = http::HeaderValue::from(up);
        response.headers_mut().insert("x-up", header);
        response
    })
    .await;
    rig.ready("users", &[("c", agent.address)]);
    let request = |length: u64| {
        let request = Request::put("http://b/agent/users/").header("host", "b");
        request.body(Box::pin(body(length))).unwrap()
    };
    let ask = async |request| match version {
        http::Version::HTTP_2 => {
            let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream().await)
                .await
                .unwrap();
            tokio::spawn(connection);
            let response = long(sender.send_request(request)).await.unwrap();
            (response, Sender::Http2(sender))
        }
        _ => {
            let (mut sender, connection) = http1::handshake(stream().await).await.unwrap();
            tokio::spawn(connection);
            let response = long(sender.send_request(request)).await.unwrap();
            (response, Sender::Http1(sender))
        }
    };
    // What every connection takes, and the allocator keeps, is there from the first.
    for small in [MIB, 0] {
        let (response, _open) = ask(request(small)).await;
        read(response.into_body()).await;
    }
    for (what, up) in [("upload", length), ("download", 0)] {
        // Of what was at most in use, only what comes now counts.
        std::fs::write("/proc/self/clear_refs", "5").unwrap();
        let (before, begun) = (memory("VmRSS"), Instant::now());
        let (response, _open) = ask(request(up)).await;
        assert_eq!(response.headers()["x-up"], up.to_string());
        let down = long(read(response.into_body())).await;
        assert_eq!(down, if up == 0 { length } else { 0 });
        let most = memory("VmHWM").saturating_sub(before);
        println!(
            "{version:?} {what} of {} MiB in {:.1?}: memory {before} KiB before, {} KiB after, at most {most} KiB more",
            length / MIB,
            begun.elapsed(),
            memory("VmRSS"),
        );
        assert!(most < 16 * 1024, "{what}: {most} KiB more");
    }
}
