//! The agent that all of them stand in front of: as little of a server as can be, so that it is never what limits.
//!
//! `/N` answers with N bytes; `/stream/N` with N events, one each ten milliseconds, each saying when it was sent; `/ws` echoes
//! WebSocket messages of [`MESSAGE`] bytes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A WebSocket message's length.
pub const MESSAGE: usize = 100;

/// Of a WebSocket message from a client: its header, with a mask (RFC 6455 §5.2).
pub const MASKED: usize = 6;

const EVERY: Duration = Duration::from_millis(10);

type Answers = Arc<Mutex<BTreeMap<usize, Bytes>>>;

pub fn run() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        let answers = Answers::default();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let answers = Arc::clone(&answers);
            tokio::spawn(async move {
                let _ = serve(stream, answers).await;
            });
        }
    });
}

async fn serve(mut stream: TcpStream, answers: Answers) -> std::io::Result<()> {
    let mut bytes = vec![0; 16 * 1024];
    let mut filled = 0;
    loop {
        let count = stream.read(&mut bytes[filled..]).await?;
        if count == 0 {
            return Ok(());
        }
        filled += count;
        if !bytes[..filled].ends_with(b"\r\n\r\n") {
            continue;
        }
        let head = std::str::from_utf8(&bytes[..filled]).unwrap();
        let target = head.split(' ').nth(1).unwrap_or_default();
        if let Some(count) = target.strip_prefix("/stream/") {
            let count = count.parse().unwrap();
            events(&mut stream, count).await?;
        } else if target == "/ws" {
            return echo(stream).await;
        } else {
            let size = target.trim_start_matches('/').parse().unwrap_or(0);
            let answer = answers
                .lock()
                .entry(size)
                .or_insert_with(|| whole(size))
                .clone();
            stream.write_all(&answer).await?;
        }
        filled = 0;
    }
}

fn whole(size: usize) -> Bytes {
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: {size}\r\n\
         date: Mon, 23 Nov 2026 00:00:00 GMT\r\n\r\n"
    )
    .into_bytes();
    answer.resize(answer.len() + size, b'x');
    answer.into()
}

async fn events(stream: &mut TcpStream, count: usize) -> std::io::Result<()> {
    let mut head =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n\
                    transfer-encoding: chunked\r\n\r\n"
            .to_owned();
    for _ in 0..count {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap();
        let event = format!("data: {}\n\n", now.as_nanos());
        let piece = format!("{head}{:x}\r\n{event}\r\n", event.len());
        stream.write_all(piece.as_bytes()).await?;
        head.clear();
        tokio::time::sleep(EVERY).await;
    }
    stream.write_all(b"0\r\n\r\n").await
}

/// The clients' mask is zero, so that what they send is what is sent back.
async fn echo(mut stream: TcpStream) -> std::io::Result<()> {
    let head = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    stream.write_all(head.as_bytes()).await?;
    let mut message = [0; MASKED + MESSAGE];
    loop {
        stream.read_exact(&mut message).await?;
        let mut answer = [0; 2 + MESSAGE];
        answer[0] = message[0];
        answer[1] = message[1] & 0x7f;
        answer[2..].copy_from_slice(&message[MASKED..]);
        stream.write_all(&answer).await?;
    }
}
