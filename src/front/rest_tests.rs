#![allow(clippy::unwrap_used)]
use std::convert::Infallible;
use std::net::SocketAddr;

use http_body_util::Full;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::time::{Instant, sleep};

use super::*;
use crate::endpoints::Endpoints;
use crate::front::ListenerKind;
use crate::proxy::Settings;

const HEAD: Duration = Duration::from_secs(60);
const REQUEST: &[u8] = b"GET /x HTTP/1.1\r\nhost: box\r\n\r\n";

/// A client's connection to a router that answers `ok` at once.
struct Rig {
    client: DuplexStream,
    end: End,
    /// Beside the connection's own, what hyper has holds one.
    holds: Box<dyn Fn() -> usize>,
}

impl Rig {
    fn new() -> Self {
        let proxy = Proxy::new(
            Arc::new(Endpoints::default()),
            Arc::new(|_| false),
            Settings::default(),
        );
        let router = tower::service_fn(|_: Request<Incoming>| async {
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"ok"))))
        });
        let limits = Limits {
            head_timeout: HEAD,
            ..Limits::default()
        };
        let serve = Arc::new(Serve::new(Arc::new(proxy), router, &limits));
        let (client, ours) = duplex(1 << 12);
        let end = End::default();
        let asked = Arc::new(Asked::default());
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let door = Arc::new(Door {
            serve: Arc::clone(&serve),
            asked: Arc::clone(&asked),
            closing: end.closing.clone(),
            connected: Connected {
                peer: address,
                local: address,
                listener: ListenerKind::Loopback,
                tls: false,
            },
        });
        let seen = Arc::downgrade(&door);
        let ends = end.clone();
        tokio::spawn(async move { serve.http1(Wire::new(ours, asked), door, &ends).await });
        Self {
            client,
            end,
            holds: Box::new(move || seen.strong_count()),
        }
    }

    async fn asks(&mut self, bytes: &[u8]) {
        self.client.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\nok") {
            answer.push(self.client.read_u8().await.unwrap());
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{answer:?}");
    }

    /// Reads to the end; what came, and how long it took.
    async fn ends(&mut self) -> (String, Duration) {
        let begun = Instant::now();
        let mut rest = Vec::new();
        self.client.read_to_end(&mut rest).await.unwrap();
        (String::from_utf8(rest).unwrap(), begun.elapsed())
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_request_holds_nothing_of_hypers_and_answers_the_next_one() {
    let mut rig = Rig::new();
    rig.asks(REQUEST).await;
    for pause in [0, 500, 5_000, 50_000, 0] {
        sleep(Duration::from_millis(pause)).await;
        assert_eq!((rig.holds)(), if pause > 2_000 { 1 } else { 2 }, "{pause}");
        rig.asks(REQUEST).await;
    }
    sleep(REST * 3).await;
    let (first, second) = REQUEST.split_at(9);
    rig.client.write_all(first).await.unwrap();
    sleep(REST * 3).await;
    assert_eq!((rig.holds)(), 2, "half a head came");
    rig.asks(second).await;
}

#[tokio::test(start_paused = true)]
async fn half_a_head_is_waited_for_no_longer_after_a_rest() {
    let mut rig = Rig::new();
    rig.asks(REQUEST).await;
    sleep(REST * 5).await;
    rig.client.write_all(b"GET /x HT").await.unwrap();
    let (_, took) = rig.ends().await;
    assert!((HEAD..HEAD + REST).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn half_a_head_behind_a_request_has_its_own_time() {
    let mut rig = Rig::new();
    let both = [REQUEST, b"GET /x HT"].concat();
    rig.asks(&both).await;
    let (_, took) = rig.ends().await;
    assert!(took <= HEAD + REST * 3, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn one_that_rests_is_closed_when_its_time_is_over_or_the_server_ends() {
    let mut rig = Rig::new();
    rig.asks(REQUEST).await;
    let (said, took) = rig.ends().await;
    assert!((HEAD - REST..=HEAD + REST).contains(&took), "{took:?}");
    assert_eq!(said, "");

    let mut rig = Rig::new();
    rig.asks(REQUEST).await;
    sleep(REST * 3).await;
    rig.end.closing.cancel();
    sleep(REST).await;
    // Whoever asks in time is answered, and told to come again by another connection.
    rig.client.write_all(REQUEST).await.unwrap();
    let (said, _) = rig.ends().await;
    assert!(said.contains("connection: close"), "{said}");

    let mut rig = Rig::new();
    rig.asks(REQUEST).await;
    sleep(REST * 3).await;
    rig.end.closing.cancel();
    rig.end.idle.cancel();
    assert_eq!(rig.ends().await, (String::new(), Duration::ZERO));
}
