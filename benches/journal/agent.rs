//! The agent: reads a request with its body and answers with a hundred bytes, as little of a server as can be.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

pub fn run() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            tokio::spawn(serve(stream));
        }
    });
}

async fn serve(mut stream: TcpStream) -> Option<()> {
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{}",
        "x".repeat(100)
    );
    let mut kept = Vec::new();
    loop {
        message(&mut stream, &mut kept).await?;
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
}

/// Reads a message with a `content-length` to its end, and answers its first line.
pub async fn message(stream: &mut TcpStream, kept: &mut Vec<u8>) -> Option<String> {
    loop {
        let head = kept.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(end) = head {
            let text = String::from_utf8_lossy(&kept[..end]).to_ascii_lowercase();
            let length = text
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.map_or(0, |text| text.parse().unwrap());
            if kept.len() >= end + 4 + length {
                kept.drain(..end + 4 + length);
                return text.lines().next().map(str::to_owned);
            }
        }
        if stream.read_buf(kept).await.ok()? == 0 {
            return None;
        }
    }
}
