//! An agent that keeps what it gets.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::agents;
use crate::reading;

/// What each of an agent's connections brought, byte for byte.
#[derive(Clone, Default)]
pub struct Record(Arc<Mutex<Vec<Arc<Mutex<Recorded>>>>>);

#[derive(Default)]
struct Recorded {
    bytes: Vec<u8>,
    ended: bool,
}

impl Record {
    fn begin(&self) -> Arc<Mutex<Recorded>> {
        let one = Arc::default();
        self.0.lock().push(Arc::clone(&one));
        one
    }
    /// Takes what came so far. The beginning of a message is told again with its rest.
    pub fn take(&self) -> Vec<Vec<u8>> {
        let mut taken = Vec::new();
        self.0.lock().retain(|one| {
            let mut one = one.lock();
            taken.push(one.bytes.clone());
            let rest = reading::requests(&one.bytes).map_or(0, |(_, rest)| rest.len());
            let whole = one.bytes.len() - rest;
            one.bytes.drain(..whole);
            !one.ended
        });
        taken.retain(|bytes| !bytes.is_empty());
        taken
    }
    /// Connections that stand.
    pub fn open(&self) -> usize {
        self.0.lock().iter().filter(|one| !one.lock().ended).count()
    }
}

/// An agent that keeps every byte it gets, and answers each message once it is whole by the strictest reading there is.
pub async fn recording() -> (agents::Agent, Record) {
    let record = Record::default();
    let kept = record.clone();
    let agent = agents::raw(move |mut stream, agent| {
        let one = kept.begin();
        async move {
            let mut unread = Vec::new();
            let mut piece = [0; 16 * 1024];
            while let Ok(length @ 1..) = stream.read(&mut piece).await {
                one.lock().bytes.extend_from_slice(&piece[..length]);
                unread.extend_from_slice(&piece[..length]);
                let Ok((whole, rest)) = reading::requests(&unread) else {
                    break;
                };
                let bodies = whole.iter().map(|it| {
                    if it.line.starts_with("HEAD ") {
                        ""
                    } else {
                        "ok"
                    }
                });
                let bodies: Vec<_> = bodies.collect();
                unread = rest.to_vec();
                for body in bodies {
                    agent.count();
                    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{body}");
                    // Who does not read it has gone, which the next read tells.
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            }
            one.lock().ended = true;
        }
    })
    .await;
    (agent, record)
}
