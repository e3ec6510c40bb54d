//! Clients that send the same POST over and over, each on a connection of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::agent::message;

/// A body's length.
pub const BODY: usize = 100;

/// What they got.
pub struct Load {
    pub answers: u64,
    took: Duration,
}

impl Load {
    pub fn rate(&self) -> f64 {
        self.answers as f64 / self.took.as_secs_f64()
    }

    /// For so long.
    pub fn run(
        to: SocketAddr,
        agent: &str,
        connections: u32,
        status: u16,
        lasts: Duration,
    ) -> Self {
        let until = Instant::now() + lasts;
        Self::with(to, agent, connections, status, move || {
            Instant::now() < until
        })
    }

    /// So many in all.
    pub fn count(to: SocketAddr, agent: &str, connections: u32, status: u16, count: u64) {
        let left = AtomicU64::new(count);
        let one = move || {
            let less = |left: u64| left.checked_sub(1);
            left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
                .is_ok()
        };
        let load = Self::with(to, agent, connections, status, one);
        assert_eq!(load.answers, count);
    }

    fn with(
        to: SocketAddr,
        agent: &str,
        connections: u32,
        status: u16,
        more: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let request = format!(
            "POST /agent/{agent}/orders?from=bench HTTP/1.1\r\nhost: bench.local\r\n\
             content-type: application/json\r\nuser-agent: bench\r\ncontent-length: {BODY}\r\n\r\n{}",
            "x".repeat(BODY)
        );
        let (request, more) = (Arc::new(request), Arc::new(more));
        let wanted = format!("http/1.1 {status} ");
        runtime.block_on(async {
            let begun = Instant::now();
            let mut clients = tokio::task::JoinSet::new();
            for _ in 0..connections {
                let (request, more, wanted) =
                    (Arc::clone(&request), Arc::clone(&more), wanted.clone());
                clients.spawn(async move {
                    let mut stream = TcpStream::connect(to).await.unwrap();
                    stream.set_nodelay(true).unwrap();
                    let mut kept = Vec::new();
                    let mut answers = 0;
                    while more() {
                        stream.write_all(request.as_bytes()).await.unwrap();
                        let line = message(&mut stream, &mut kept).await.expect("an answer");
                        assert!(line.starts_with(&wanted), "{line}");
                        answers += 1;
                    }
                    answers
                });
            }
            let answers: u64 = clients.join_all().await.into_iter().sum();
            Self {
                answers,
                took: begun.elapsed(),
            }
        })
    }
}
