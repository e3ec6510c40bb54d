//! Agents on loopback that record what they get. What one does with a request stands in the request: `x-do` names an act for its
//! first arrival, its second, and so on.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use agentainer::journal::hash;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::history::{Got, number};
use crate::history_clients::own;

/// What all agents of a run got.
pub struct Recorder {
    begin: Instant,
    got: Mutex<Vec<Got>>,
    /// How often each request came.
    came: Mutex<BTreeMap<u32, usize>>,
}

impl Recorder {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            begin: Instant::now(),
            got: Mutex::default(),
            came: Mutex::default(),
        })
    }

    /// Milliseconds since the run began.
    pub fn now(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_millis()).unwrap()
    }

    pub fn all(&self) -> Vec<Got> {
        self.got.lock().clone()
    }
}

/// Tells when the handling of a request ended, however it did.
struct Arrival {
    recorder: Arc<Recorder>,
    index: usize,
}

impl Arrival {
    fn with(&self, change: impl FnOnce(&mut Got, u64)) {
        let now = self.recorder.now();
        change(&mut self.recorder.got.lock()[self.index], now);
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        self.with(|got, now| got.ended = Some(now));
    }
}

/// One agent, which may be killed and started again.
pub struct Agent {
    pub name: &'static str,
    recorder: Arc<Recorder>,
    life: CancellationToken,
    /// Where it listens, and under which container's name.
    pub place: Option<(String, SocketAddr)>,
    starts: u32,
}

impl Agent {
    pub fn new(name: &'static str, recorder: &Arc<Recorder>) -> Self {
        Self {
            name,
            recorder: Arc::clone(recorder),
            life: CancellationToken::new(),
            place: None,
            starts: 0,
        }
    }

    pub async fn start(&mut self) {
        self.life = CancellationToken::new();
        self.starts += 1;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let container = format!("{}-{}", self.name, self.starts);
        self.place = Some((container, listener.local_addr().unwrap()));
        let (name, recorder, life) = (self.name, Arc::clone(&self.recorder), self.life.clone());
        let accept = async move {
            while let Ok((stream, _)) = listener.accept().await {
                let recorder = Arc::clone(&recorder);
                let service = hyper::service::service_fn(move |request| {
                    handle(name, Arc::clone(&recorder), request)
                });
                let served = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                let life = life.clone();
                tokio::spawn(life.run_until_cancelled_owned(async move {
                    let _ = served.await;
                }));
            }
        };
        tokio::spawn(self.life.clone().run_until_cancelled_owned(accept));
    }

    /// `kill -9`: its connections and its listener are gone at once.
    pub fn kill(&mut self) {
        self.life.cancel();
        self.place = None;
    }
}

async fn handle(
    name: &'static str,
    recorder: Arc<Recorder>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let (head, body) = request.into_parts();
    let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let record = text("x-agentainer-request-id").map(|id| {
        let attempt = text("x-agentainer-attempt").and_then(|text| text.parse().ok());
        (id.to_owned(), attempt.unwrap_or(0))
    });
    let target = head.uri.to_string();
    let number = number(&target).unwrap_or(0);
    let arrival = {
        let mut got = recorder.got.lock();
        got.push(Got {
            agent: name.to_owned(),
            record,
            method: head.method.to_string(),
            target,
            fields: own(&head.headers),
            body: None,
            at: recorder.now(),
            answered: None,
            ended: None,
        });
        Arrival {
            recorder: Arc::clone(&recorder),
            index: got.len() - 1,
        }
    };
    let body = body
        .collect()
        .await
        .map_err(std::io::Error::other)?
        .to_bytes();
    let digest = hash(&body);
    arrival.with(|got, _| got.body = Some(digest.clone()));
    let time = {
        let mut came = recorder.came.lock();
        let time = came.entry(number).or_default();
        *time += 1;
        *time - 1
    };
    let acts: Vec<&str> = text("x-do").unwrap_or("200").split(',').collect();
    let act = acts.get(time).or(acts.last()).copied().unwrap_or("200");
    let status = match act {
        "close" => return Err(std::io::Error::other("asked to")),
        "hang" => {
            tokio::time::sleep(Duration::from_secs(20)).await;
            return Err(std::io::Error::other("asked to"));
        }
        "slow" => {
            tokio::time::sleep(Duration::from_millis(300)).await;
            200
        }
        "long" => {
            tokio::time::sleep(Duration::from_secs(7)).await;
            200
        }
        status => status.parse().unwrap(),
    };
    arrival.with(|got, now| got.answered = Some((now, status)));
    let mut response = Response::new(Full::from(format!("{number} {digest}")));
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
    response
        .headers_mut()
        .insert("x-h-agent", "1".parse().unwrap());
    Ok(response)
}
