//! HTTP/2 frame by frame (RFC 9113): what no well-behaved client library would send.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::agents::{self, Agent};
use crate::rig::{Rig, bounded};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Error codes (RFC 9113 §7).
const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const ENHANCE_YOUR_CALM: u32 = 11;

/// A frame.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut all = length[1..].to_vec();
    all.extend([kind, flags]);
    all.extend(stream.to_be_bytes());
    all.extend(payload);
    all
}

/// A field without an index or Huffman's code (RFC 7541 §6.2.2).
fn field(name: &str, value: &str) -> Vec<u8> {
    let mut all = vec![0];
    for text in [name, value] {
        match text.len() {
            length @ 0..127 => all.push(length as u8),
            length => {
                all.push(127);
                let mut rest = length - 127;
                while rest >= 128 {
                    all.push((rest % 128 + 128) as u8);
                    rest /= 128;
                }
                all.push(rest as u8);
            }
        }
        all.extend(text.as_bytes());
    }
    all
}

/// The head of a good request.
pub fn request(method: &str, path: &str) -> Vec<(String, String)> {
    let fields = [
        (":method", method),
        (":scheme", "http"),
        (":authority", "box:8081"),
        (":path", path),
    ];
    fields.map(owned).to_vec()
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn block(fields: &[(String, String)]) -> Vec<u8> {
    let fields = fields.iter();
    fields
        .flat_map(|(name, value)| field(name, value))
        .collect()
}

/// What became of a stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Status(u16),
    /// It was reset, for this reason.
    Reset(u32),
    /// The whole connection ended: the reason, if it was said.
    Away(Option<u32>),
}

/// A client's connection.
pub struct Frames {
    stream: TcpStream,
    /// Of the last answer.
    pub body: String,
}

impl Frames {
    pub async fn connect(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        hello.extend(frame(SETTINGS, 0, 0, &[]));
        stream.write_all(&hello).await.unwrap();
        Self {
            stream,
            body: String::new(),
        }
    }

    /// Sends this; the other side may be gone already.
    async fn send(&mut self, bytes: &[u8]) {
        let _ = bounded(self.stream.write_all(bytes)).await;
    }

    /// Sends a whole request without a body.
    pub async fn head(&mut self, stream: u32, fields: &[(String, String)]) {
        let whole = frame(HEADERS, END_STREAM | END_HEADERS, stream, &block(fields));
        self.send(&whole).await;
    }

    async fn read(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        bounded(self.stream.read_exact(&mut head)).await.ok()?;
        let number = |bytes: &[u8]| {
            bytes
                .iter()
                .fold(0, |all, byte| all << 8 | u32::from(*byte))
        };
        let mut payload = vec![0; number(&head[..3]) as usize];
        bounded(self.stream.read_exact(&mut payload)).await.ok()?;
        Some((head[3], head[4], number(&head[5..]), payload))
    }

    /// What becomes of a stream; of an answer its body is read too.
    pub async fn outcome(&mut self, stream: u32) -> Outcome {
        let code = |bytes: &[u8]| u32::from_be_bytes(bytes[..4].try_into().unwrap());
        let mut status = None;
        self.body.clear();
        loop {
            let Some((kind, flags, of, payload)) = self.read().await else {
                return Outcome::Away(None);
            };
            match kind {
                GOAWAY if code(&payload[4..]) != 0 => {
                    return Outcome::Away(Some(code(&payload[4..])));
                }
                RST_STREAM if of == stream => return Outcome::Reset(code(&payload)),
                HEADERS if of == stream && status.is_none() => {
                    status = Some(status_of(&payload));
                }
                DATA if of == stream => self.body += &String::from_utf8_lossy(&payload),
                _ => {}
            }
            if let Some(status) = status
                && of == stream
                && flags & END_STREAM != 0
            {
                return Outcome::Status(status);
            }
        }
    }
}

/// The first field of an answer's head: an entry of HPACK's table (RFC 7541, appendix A), or a literal.
fn status_of(block: &[u8]) -> u16 {
    match block {
        [byte @ 0x88..=0x8e, ..] => [200, 204, 206, 304, 400, 404, 500][usize::from(byte - 0x88)],
        // By Huffman's code (appendix B).
        [0x48, 0x83, 0x69, 0x90, 0xff, ..] => 431,
        other => panic!("no status: {other:x?}"),
    }
}

async fn rig() -> (Rig, Agent) {
    let rig = Rig::new();
    let agent = agents::mirror().await;
    rig.ready("users", &[("c", agent.address)]);
    (rig, agent)
}

/// That the connection serves on.
async fn goes_on(client: &mut Frames, stream: u32) {
    client
        .head(stream, &request("GET", "/agent/users/on"))
        .await;
    assert_eq!(client.outcome(stream).await, Outcome::Status(200));
}

#[tokio::test]
async fn a_malformed_head_ends_its_stream_alone_and_no_agent_sees_it() {
    let (rig, agent) = rig().await;
    let good = || request("GET", "/agent/users/x");
    let without = |name: &str| {
        let mut fields = good();
        fields.retain(|field| field.0 != name);
        fields
    };
    let with = |name: &str, value: &str| {
        let mut fields = good();
        fields.push(owned((name, value)));
        fields
    };
    let late = {
        let mut fields = good();
        fields.insert(0, owned(("x-first", "1")));
        fields
    };
    for fields in [
        without(":method"),
        without(":path"),
        with(":method", "GET"),
        with(":path", "/agent/users/y"),
        with(":status", "200"),
        with(":mine", "1"),
        late,
        with("connection", "close"),
        with("connection", "x-mine"),
        with("keep-alive", "1"),
        with("proxy-connection", "close"),
        with("transfer-encoding", "chunked"),
        with("upgrade", "h2c"),
        with("te", "gzip"),
        with("X-Upper", "1"),
        with("x-line", "a\r\nb: c"),
        with("x nothing", "1"),
    ] {
        let mut client = Frames::connect(rig.address).await;
        client.head(1, &fields).await;
        let outcome = client.outcome(1).await;
        assert!(
            matches!(
                outcome,
                Outcome::Reset(PROTOCOL_ERROR)
                    | Outcome::Status(400)
                    | Outcome::Away(Some(PROTOCOL_ERROR))
            ),
            "{fields:?}: {outcome:?}"
        );
        if !matches!(outcome, Outcome::Away(_)) {
            let before = agent.requests();
            goes_on(&mut client, 3).await;
            assert_eq!(agent.requests(), before + 1, "{fields:?}");
        }
    }
}

#[tokio::test]
async fn a_head_over_the_limit_is_refused_and_the_connection_goes_on() {
    let (rig, agent) = rig().await;
    let mut client = Frames::connect(rig.address).await;
    let mut fields = request("GET", "/agent/users/x");
    for n in 0..9 {
        fields.push((format!("x-{n}"), "x".repeat(15_000)));
    }
    let whole = block(&fields);
    let pieces: Vec<&[u8]> = whole.chunks(16_384).collect();
    let mut all = Vec::new();
    for (n, piece) in pieces.iter().enumerate() {
        let kind = if n == 0 { HEADERS } else { CONTINUATION };
        let begun = if n == 0 { END_STREAM } else { 0 };
        let ended = if n + 1 == pieces.len() {
            END_HEADERS
        } else {
            0
        };
        all.extend(frame(kind, begun | ended, 1, piece));
    }
    client.send(&all).await;
    assert_eq!(client.outcome(1).await, Outcome::Status(431));
    assert_eq!(agent.requests(), 0);
    goes_on(&mut client, 3).await;
}

#[tokio::test]
async fn a_head_without_an_end_ends_the_connection() {
    let (rig, agent) = rig().await;
    for piece in [&b""[..], &field("x", "y")] {
        let mut client = Frames::connect(rig.address).await;
        let head = block(&request("GET", "/agent/users/x"));
        client.send(&frame(HEADERS, END_STREAM, 1, &head)).await;
        let flood = frame(CONTINUATION, 0, 1, piece).repeat(10_000);
        client.send(&flood).await;
        let outcome = client.outcome(1).await;
        assert!(
            matches!(outcome, Outcome::Away(None | Some(ENHANCE_YOUR_CALM))),
            "{outcome:?}"
        );
    }
    assert_eq!(agent.requests(), 0);
}

#[tokio::test]
async fn data_beyond_the_window_is_an_error_and_takes_no_memory() {
    let rig = Rig::new();
    let deaf = agents::raw(|stream, agent| async move {
        agent.count();
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    rig.ready("users", &[("c", deaf.address)]);
    let mut client = Frames::connect(rig.address).await;
    let head = block(&request("POST", "/agent/users/x"));
    client.send(&frame(HEADERS, END_HEADERS, 1, &head)).await;
    let piece = frame(DATA, 0, 1, &[0; 16_384]);
    // Much more than any window, and than what sockets hold.
    for _ in 0..2_000 {
        client.send(&piece).await;
    }
    let outcome = client.outcome(1).await;
    assert!(
        matches!(
            outcome,
            Outcome::Reset(FLOW_CONTROL_ERROR) | Outcome::Away(None | Some(FLOW_CONTROL_ERROR))
        ),
        "{outcome:?}"
    );
    rig.until_in_flight("c", 0).await;
}
