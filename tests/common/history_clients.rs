//! Clients that record what they sent and what they were promised.

use std::net::SocketAddr;
use std::time::Duration;

use agentainer::journal::hash;
use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::history::{Field, Promise, Sent};

/// Longer than anything takes that is answered at all.
const PATIENCE: Duration = Duration::from_secs(120);

/// The fields of a run's own, which must come as they were sent.
pub fn own(headers: &HeaderMap) -> Vec<Field> {
    let own = headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("x-h-"));
    own.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
        .collect()
}

/// A request to be sent.
pub struct Wish {
    pub number: u32,
    pub agent: &'static str,
    pub method: &'static str,
    pub keyed: bool,
    pub prefer: Option<&'static str>,
    /// What its agent does with it.
    pub acts: &'static str,
    pub body: Vec<u8>,
}

/// A request that was sent, and the secret of the address that was given.
pub struct Outcome {
    pub sent: Sent,
    pub secret: Option<String>,
}

/// Sends one, and records it.
pub async fn send(to: Option<SocketAddr>, wish: Wish, now: impl Fn() -> u64) -> Outcome {
    let number = wish.number;
    let target = format!("/w/{number}?q=%20&q=a+b&n={number}&x");
    let mut request = Request::builder()
        .method(wish.method)
        .uri(format!("/agent/{}{target}", wish.agent))
        .header("host", "box:8081")
        .header("x-do", wish.acts)
        .header("x-h-number", number)
        .header("x-h-odd", format!("a{number}"))
        .header("x-h-odd", "b, c")
        .header("x-h-bytes", &b"caf\xe9 \xff"[..])
        .header("x-h-odd", "last");
    if wish.keyed {
        request = request.header("idempotency-key", format!("\"key-{number}\""));
    }
    if let Some(prefer) = wish.prefer {
        request = request.header("prefer", prefer);
    }
    let body = hash(&wish.body);
    let request = request.body(Full::new(Bytes::from(wish.body))).unwrap();
    let mut sent = Sent {
        number,
        agent: wish.agent.to_owned(),
        method: wish.method.to_owned(),
        target,
        fields: own(request.headers()),
        body,
        repeatable: wish.keyed || wish.method != "POST",
        began: now(),
        ended: 0,
        promise: Promise::Nothing,
    };
    let answered = match to {
        Some(to) => tokio::time::timeout(PATIENCE, exchange(to, request))
            .await
            .ok()
            .flatten(),
        None => None,
    };
    let (promise, secret) = answered.unwrap_or((Promise::Nothing, None));
    sent.promise = promise;
    sent.ended = now();
    Outcome { sent, secret }
}

async fn exchange(
    to: SocketAddr,
    request: Request<Full<Bytes>>,
) -> Option<(Promise, Option<String>)> {
    let stream = TcpStream::connect(to).await.ok()?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.ok()?;
    let driven = tokio::spawn(connection);
    let response = sender.send_request(request).await.ok()?;
    let (head, body) = response.into_parts();
    let body = body.collect().await.ok()?.to_bytes();
    driven.abort();
    let text = String::from_utf8(body.to_vec()).unwrap();
    let status = head.status.as_u16();
    if head.headers.contains_key("x-h-agent") {
        let of = text.split(' ').next().and_then(|word| word.parse().ok());
        return Some((Promise::Answer { status, of }, None));
    }
    if let Some(location) = head.headers.get("location") {
        let location = location.to_str().unwrap();
        let (_, name) = location.split_once("/results/").unwrap();
        let (id, secret) = name.split_once('.').unwrap();
        let id = id.to_owned();
        let promise = match status {
            202 => Promise::Kept { id },
            _ => Promise::Unknown { id },
        };
        return Some((promise, Some(secret.to_owned())));
    }
    // Only these say that it is surely not kept.
    let surely = [
        "queue-full",
        "journal-full",
        "body-too-long",
        "durability-unavailable",
    ];
    let refused = surely
        .iter()
        .any(|word| text.contains(&format!("problem:{word}")));
    let promise = match refused {
        true => Promise::Refused { status },
        false => Promise::Nothing,
    };
    Some((promise, None))
}
