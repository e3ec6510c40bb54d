//! The four kinds of clients.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::tally::{Failure, Outcome, Tally};

/// No request takes longer, unless it is lost.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a slow answer takes.
const SLOW: Duration = Duration::from_millis(1500);
/// Events of a stream, and messages on a WebSocket: five seconds of them.
const PIECES: u64 = 50;
/// Between two of them.
const BETWEEN: Duration = Duration::from_millis(100);

fn failed(what: &str, cause: impl std::error::Error) -> Failure {
    let mut text = format!("{what}: {cause}");
    let mut source = cause.source();
    while let Some(inner) = source {
        text.push_str(&format!(": {inner}"));
        source = inner.source();
    }
    Failure::Failed(text)
}

async fn bounded<T>(
    what: &str,
    doing: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(PATIENCE, doing).await {
        Ok(done) => done,
        Err(_) => Err(Failure::Failed(format!(
            "{what}: nothing within {PATIENCE:?}"
        ))),
    }
}

async fn dial(tally: &Tally) -> Result<TcpStream, Failure> {
    let stream = TcpStream::connect(("127.0.0.1", tally.port))
        .await
        .map_err(|error| failed("connecting", error))?;
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

async fn connect(tally: &Tally) -> Result<SendRequest<Full<Bytes>>, Failure> {
    let (sender, connection) = handshake(TokioIo::new(dial(tally).await?))
        .await
        .map_err(|error| failed("connecting", error))?;
    tokio::spawn(connection);
    Ok(sender)
}

/// Every second request is a POST, where those are wanted.
fn request(tally: &Tally, nonce: u64) -> Request<Full<Bytes>> {
    let path = format!("/agent/{}/echo?nonce={nonce}.", tally.agent);
    let request = Request::builder().uri(path).header("host", "localhost");
    let post = tally.kinds.posts && nonce.is_multiple_of(2);
    let (request, body) = match post {
        true => (request.method("POST"), format!("body={nonce}.")),
        false => (request, String::new()),
    };
    request.body(Full::from(body)).unwrap()
}

/// Reads an answer whole, which must be a good one.
async fn text_of(response: Response<Incoming>) -> Result<String, Failure> {
    let status = response.status();
    let body = response
        .into_body()
        .collect()
        .await
        .map_err(|error| failed(&format!("the answer ({status}) broke off"), error))?
        .to_bytes();
    let text = String::from_utf8_lossy(&body).into_owned();
    if status != 200 {
        return Err(Failure::Failed(format!("{status}: {text}")));
    }
    Ok(text)
}

fn says_its_name(tally: &Tally, text: &str) -> bool {
    text.contains(&format!("\"agent\":\"{}\"", tally.agent))
        || text.contains(&format!("\"agent\": \"{}\"", tally.agent))
}

/// Reads an answer whole and holds it to its request.
async fn check(tally: &Tally, nonce: u64, response: Response<Incoming>) -> Outcome {
    let text = text_of(response).await?;
    if !says_its_name(tally, &text) || !text.contains(&format!("nonce={nonce}.")) {
        return Err(Failure::Wrong(format!(
            "{}, nonce {nonce}, was answered: {text}",
            tally.agent
        )));
    }
    Ok(())
}

/// A client that keeps its connection.
#[derive(Default)]
pub(super) struct KeepAlive(Option<SendRequest<Full<Bytes>>>);

impl KeepAlive {
    pub(super) async fn ask(&mut self, tally: &Tally) -> Outcome {
        bounded("on a kept connection", self.send(tally)).await
    }

    async fn send(&mut self, tally: &Tally) -> Outcome {
        let nonce = tally.nonce();
        let mut request = request(tally, nonce);
        loop {
            let kept = match self.0.take() {
                // Ready again, unless the server closed it.
                Some(mut sender) => sender.ready().await.is_ok().then_some(sender),
                None => None,
            };
            let fresh = kept.is_none();
            let mut sender = match kept {
                Some(sender) => sender,
                None => connect(tally).await?,
            };
            match sender.try_send_request(request).await {
                Ok(response) => {
                    check(tally, nonce, response).await?;
                    self.0 = Some(sender);
                    return Ok(());
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) if !fresh => request = unsent,
                    _ => return Err(failed("no answer", error.into_error())),
                },
            }
        }
    }
}

/// One request on a connection of its own.
pub(super) async fn fresh(tally: &Tally) -> Outcome {
    bounded("on a new connection", async {
        let nonce = tally.nonce();
        let mut sender = connect(tally).await?;
        let response = sender
            .send_request(request(tally, nonce))
            .await
            .map_err(|error| failed("no answer", error))?;
        check(tally, nonce, response).await
    })
    .await
}

/// One request whose answer takes its time, on a connection of its own.
pub(super) async fn slow(tally: &Tally) -> Outcome {
    bounded("a slow request", async {
        let target = format!("/agent/{}/slow?ms={}", tally.agent, SLOW.as_millis());
        let request = Request::get(target)
            .header("host", "localhost")
            .body(Full::default())
            .unwrap();
        let mut sender = connect(tally).await?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| failed("no answer", error))?;
        let text = text_of(response).await?;
        match says_its_name(tally, &text) {
            true => Ok(()),
            false => Err(Failure::Wrong(format!("{}: {text}", tally.agent))),
        }
    })
    .await
}

/// One stream of server-sent events, to its end.
pub(super) async fn stream(tally: &Tally) -> Outcome {
    bounded("a stream", async {
        let target = format!(
            "/agent/{}/sse?n={PIECES}&ms={}",
            tally.agent,
            BETWEEN.as_millis()
        );
        let request = Request::get(target)
            .header("host", "localhost")
            .body(Full::default())
            .unwrap();
        let mut sender = connect(tally).await?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| failed("a stream did not begin", error))?;
        let status = response.status();
        let mut body = response.into_body();
        let mut text = String::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                failed(
                    &format!("a stream was cut after {} bytes", text.len()),
                    error,
                )
            })?;
            if let Ok(data) = frame.into_data() {
                text.push_str(&String::from_utf8_lossy(&data));
            }
        }
        if status != 200 {
            return Err(Failure::Failed(format!(
                "a stream began with {status}: {text}"
            )));
        }
        let ids: Vec<u64> = text
            .lines()
            .filter_map(|line| line.strip_prefix("id: ")?.parse().ok())
            .collect();
        if ids != (1..=PIECES).collect::<Vec<_>>() {
            return Err(Failure::Failed(format!(
                "a stream ended short: events {ids:?}"
            )));
        }
        Ok(())
    })
    .await
}

/// One WebSocket (RFC 6455): every message comes back, and then the close.
pub(super) async fn websocket(tally: &Tally) -> Outcome {
    bounded("a WebSocket", async {
        let broken = |error| failed("a WebSocket was cut", error);
        let mut stream = dial(tally).await?;
        let head = format!(
            "GET /agent/{}/ws HTTP/1.1\r\nhost: localhost\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            tally.agent
        );
        stream.write_all(head.as_bytes()).await.map_err(broken)?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => answer.push(byte),
                Err(error) => {
                    let text = String::from_utf8_lossy(&answer);
                    return Err(failed(&format!("a WebSocket did not begin: {text}"), error));
                }
            }
        }
        let answer = String::from_utf8_lossy(&answer).to_ascii_lowercase();
        if !answer.starts_with("http/1.1 101") || !answer.contains("s3pplmbitxaq9kygzzhzrbk+xoo=") {
            return Err(Failure::Failed(format!("a WebSocket did not begin: {answer}")));
        }
        if !answer.contains(&format!("x-agent: {}\r", tally.agent)) {
            return Err(Failure::Wrong(format!("{}: {answer}", tally.agent)));
        }
        let nonce = tally.nonce();
        for number in 0..PIECES {
            let message = format!("{nonce}/{number}");
            stream
                .write_all(&frame(0x81, message.as_bytes()))
                .await
                .map_err(broken)?;
            let mut echo = vec![0; 2 + message.len()];
            stream.read_exact(&mut echo).await.map_err(broken)?;
            if echo[..2] != [0x81, u8::try_from(message.len()).unwrap()]
                || echo[2..] != *message.as_bytes()
            {
                return Err(Failure::Wrong(format!("{message} came back as {echo:?}")));
            }
            tokio::time::sleep(BETWEEN).await;
        }
        stream.write_all(&frame(0x88, &[])).await.map_err(broken)?;
        let mut close = [0; 2];
        stream.read_exact(&mut close).await.map_err(broken)?;
        if close != [0x88, 0] {
            return Err(Failure::Wrong(format!("a close came back as {close:?}")));
        }
        Ok(())
    })
    .await
}

/// A short frame as a client sends it: masked.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = vec![first, 0x80 | u8::try_from(payload.len()).unwrap()];
    bytes.extend(MASK);
    bytes.extend(
        payload
            .iter()
            .zip(MASK.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    bytes
}
