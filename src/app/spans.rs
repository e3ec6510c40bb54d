//! Tells a collector of traces what the proxy's spans say: OTLP over HTTP, a batch a second at most.
//!
//! A collector that is away or slow costs its spans and a line in the log, never a request.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::config::OtlpEndpoint;
use crate::telemetry::spans::{Span, encoded};

/// Spans of one message.
const BATCH: usize = 512;
/// How long the first of a batch waits for others.
const EVERY: Duration = Duration::from_secs(1);
/// How long the collector may take for one.
const PATIENCE: Duration = Duration::from_secs(5);

/// Tells of spans until `end`, and then of those that are left.
pub async fn tell(
    collector: OtlpEndpoint,
    service: String,
    mut spans: Receiver<Span>,
    end: CancellationToken,
) {
    let mut batch = Vec::new();
    let mut away: Option<usize> = None;
    let mut last = false;
    while !last {
        tokio::select! {
            biased;
            count = spans.recv_many(&mut batch, BATCH) => last = count == 0,
            () = end.cancelled() => last = true,
        }
        let until = Instant::now() + EVERY;
        while !last && batch.len() < BATCH {
            let room = BATCH - batch.len();
            let more = async {
                tokio::select! {
                    biased;
                    count = spans.recv_many(&mut batch, room) => count == 0,
                    () = end.cancelled() => true,
                }
            };
            match timeout_at(until, more).await {
                Ok(ended) => last = ended,
                Err(_) => break,
            }
        }
        if last {
            while let Ok(span) = spans.try_recv() {
                batch.push(span);
            }
        }
        if batch.is_empty() {
            continue;
        }
        let body = encoded(&batch, &service).to_string();
        let sent = timeout(PATIENCE, post(&collector, body)).await;
        let sent = sent.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {PATIENCE:?}")));
        away = match (sent, away) {
            (Ok(()), None) => None,
            (Ok(()), Some(lost)) => {
                tracing::info!(%collector, lost, "the collector of traces takes spans again");
                None
            }
            (Err(error), None) => {
                let error = format!("{error:#}");
                tracing::warn!(%collector, error, "the collector of traces takes no spans; they are lost until it does");
                Some(batch.len())
            }
            (Err(_), Some(lost)) => Some(lost + batch.len()),
        };
        batch.clear();
    }
}

async fn post(collector: &OtlpEndpoint, body: String) -> anyhow::Result<()> {
    let stream = TcpStream::connect((collector.host.as_str(), collector.port)).await;
    let stream = stream.context("it cannot be reached")?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    let request = Request::post(format!("{}/v1/traces", collector.path))
        .header(HOST, format!("{}:{}", collector.host, collector.port))
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))?;
    let asking = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        // What it says beyond is of no use; too much of it neither.
        let mut rest = http_body_util::Limited::new(response.into_body(), 64 * 1024);
        while let Some(Ok(_)) = rest.frame().await {}
        anyhow::Ok(status)
    };
    let status: StatusCode = tokio::select! {
        biased;
        status = asking => status?,
        ended = connection => {
            ended?;
            anyhow::bail!("it closed the connection");
        }
    };
    anyhow::ensure!(status.is_success(), "it answered with {status}");
    Ok(())
}
