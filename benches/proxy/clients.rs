//! The clients that are ours: for what no load generator of the distribution measures.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::agent::{MASKED, MESSAGE};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection without any HTTP of its own.
struct Client {
    stream: TcpStream,
    kept: Vec<u8>,
}

impl Client {
    fn new(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let kept = Vec::with_capacity(16 * 1024);
        Self { stream, kept }
    }

    fn ask(&mut self, path: &str, more: &str) {
        let request = format!("GET {path} HTTP/1.1\r\nhost: bench.local\r\n{more}\r\n");
        self.stream.write_all(request.as_bytes()).unwrap();
    }

    /// Reads until it holds this.
    fn until(&mut self, wanted: impl Fn(&[u8]) -> bool) {
        let mut piece = [0; 16 * 1024];
        while !wanted(&self.kept) {
            let count = self.stream.read(&mut piece).unwrap();
            assert!(
                count > 0,
                "closed after {:?}",
                String::from_utf8_lossy(&self.kept)
            );
            self.kept.extend_from_slice(&piece[..count]);
        }
    }

    /// Reads an answer with a body of so many bytes.
    fn answer(&mut self, size: usize) {
        self.until(|kept| {
            let head = kept.windows(4).position(|four| four == b"\r\n\r\n");
            head.is_some_and(|at| kept.len() >= at + 4 + size)
        });
        assert!(self.kept.starts_with(b"HTTP/1.1 200 "));
        self.kept.clear();
    }
}

/// How long requests took at a fixed rate, in microseconds, from the moment when each was meant to be sent: one that had to
/// wait for the one before counts that wait (no coordinated omission).
pub fn at_rate(
    address: SocketAddr,
    path: &str,
    size: usize,
    rate: u32,
    lasts: Duration,
) -> Vec<f64> {
    const CONNECTIONS: u32 = 32;
    let between = Duration::from_secs(1) * CONNECTIONS / rate;
    let begin = Instant::now() + Duration::from_millis(50);
    let one = |nth: u32| {
        let mut client = Client::new(address);
        // The first one makes the connection behind.
        client.ask(path, "");
        client.answer(size);
        let mut took = Vec::new();
        let mut at = begin + between * nth / CONNECTIONS;
        while at < begin + lasts {
            thread::sleep(at.saturating_duration_since(Instant::now()));
            client.ask(path, "");
            client.answer(size);
            took.push(at.elapsed().as_secs_f64() * 1e6);
            at += between;
        }
        took
    };
    all(CONNECTIONS, one)
}

/// How late the first event of a stream came after the request, and every further one after it was sent; in microseconds.
pub fn streams(address: SocketAddr, path: &str) -> (Vec<f64>, Vec<f64>) {
    const CLIENTS: u32 = 16;
    const TIMES: usize = 4;
    const EVENTS: usize = 20;
    let one = |nth: u32| {
        let mut lags = Vec::new();
        // Not all at once.
        thread::sleep(Duration::from_micros(700) * nth);
        for _ in 0..TIMES {
            let mut client = Client::new(address);
            // The first one makes the connection behind.
            client.ask(&format!("{path}1"), "");
            client.until(|kept| kept.ends_with(b"0\r\n\r\n"));
            client.kept.clear();
            let asked = Instant::now();
            client.ask(&format!("{path}{EVENTS}"), "");
            let mut seen = 0;
            while !client.kept.ends_with(b"0\r\n\r\n") {
                let more = client.kept.len();
                client.until(|kept| kept.len() > more);
                // Several may have come at once.
                let text = String::from_utf8_lossy(&client.kept).into_owned();
                let events = text
                    .split_inclusive("\n\n")
                    .filter(|event| event.ends_with("\n\n"));
                for event in events.skip(seen) {
                    lags.push(match seen {
                        0 => (asked.elapsed().as_secs_f64() * 1e6, true),
                        _ => (since_sent(event).as_secs_f64() * 1e6, false),
                    });
                    seen += 1;
                }
            }
            assert_eq!(seen, EVENTS);
        }
        lags
    };
    let (first, further): (Vec<_>, Vec<_>) = all(CLIENTS, one).into_iter().partition(|lag| lag.1);
    let plain = |lags: Vec<(f64, bool)>| lags.into_iter().map(|lag| lag.0).collect();
    (plain(first), plain(further))
}

fn since_sent(event: &str) -> Duration {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    let sent = event.split("data: ").nth(1).map(str::trim_end);
    let sent = sent.and_then(|text| text.parse().ok()).expect(event);
    now.saturating_sub(Duration::from_nanos(sent))
}

/// WebSocket messages there and back in a second, on so many connections, one at a time on each.
pub fn messages(address: SocketAddr, path: &str, lasts: Duration) -> f64 {
    const CLIENTS: u32 = 64;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let clients = (0..CLIENTS).map(|_| {
        let mut client = Client::new(address);
        client.ask(
            path,
            "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        );
        client.until(|kept| kept.ends_with(b"\r\n\r\n"));
        assert!(client.kept.starts_with(b"HTTP/1.1 101 "));
        client.stream.set_nonblocking(true).unwrap();
        client.stream
    });
    let clients: Vec<_> = clients.collect();
    runtime.block_on(async {
        let begun = Instant::now();
        let talks = clients.into_iter().map(|stream| {
            let stream = tokio::net::TcpStream::from_std(stream).unwrap();
            tokio::spawn(talk(stream, begun + lasts))
        });
        let mut count = 0;
        for talk in talks.collect::<Vec<_>>() {
            count += talk.await.unwrap();
        }
        f64::from(count) / begun.elapsed().as_secs_f64()
    })
}

async fn talk(mut stream: tokio::net::TcpStream, until: Instant) -> u32 {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    // A binary message, with a mask that changes nothing.
    let mut message = [0_u8; MASKED + MESSAGE];
    message[0] = 0x82;
    message[1] = 0x80 | u8::try_from(MESSAGE).unwrap();
    let mut answer = [0; 2 + MESSAGE];
    let mut count = 0;
    while Instant::now() < until {
        stream.write_all(&message).await.unwrap();
        stream.read_exact(&mut answer).await.unwrap();
        count += 1;
    }
    count
}

/// So many connections, on each of which one request was answered; they stand until they are dropped.
pub fn idle(address: SocketAddr, path: &str, size: usize, count: usize) -> Vec<TcpStream> {
    let one = |_| {
        let mut client = Client::new(address);
        client.ask(path, "");
        client.answer(size);
        client.stream
    };
    (0..count).map(one).collect()
}

/// What clients that run at the same time found.
fn all<T: Send>(clients: u32, one: impl Fn(u32) -> Vec<T> + Sync) -> Vec<T> {
    let one = &one;
    thread::scope(|scope| {
        let started: Vec<_> = (0..clients)
            .map(|nth| scope.spawn(move || one(nth)))
            .collect();
        let found = started.into_iter().map(|one| one.join().unwrap());
        found.flatten().collect()
    })
}
