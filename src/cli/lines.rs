//! An answer's body as lines: NDJSON of watches and builds.

use bytes::BytesMut;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use super::Failure;

/// No line of ours is longer.
const LONGEST: usize = 64 << 20;

/// A stream of lines.
#[derive(Debug)]
pub(super) struct Lines {
    body: Incoming,
    buffer: BytesMut,
    server: String,
}

impl Lines {
    pub(super) fn new(body: Incoming, server: String) -> Self {
        Self {
            body,
            buffer: BytesMut::new(),
            server,
        }
    }

    /// The next line that is not empty as a value; `None` at the end.
    pub(super) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Failure> {
        loop {
            let line = match self.buffer.iter().position(|byte| *byte == b'\n') {
                Some(end) => self.buffer.split_to(end.saturating_add(1)),
                None if self.fill().await? => continue,
                None => std::mem::take(&mut self.buffer),
            };
            let line = line.trim_ascii();
            if !line.is_empty() {
                return serde_json::from_slice(line).map(Some).map_err(|error| {
                    Failure::error(format!(
                        "what answers at {} is no agentainer server, or one of another version: {error}",
                        self.server
                    ))
                });
            }
            if self.buffer.is_empty() && !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// Waits for more; false at the end.
    async fn fill(&mut self) -> Result<bool, Failure> {
        let broken = |cause: String| Failure::Unreachable {
            server: self.server.clone(),
            cause,
        };
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|error| broken(format!("its answer broke off: {error}")))?;
            if let Ok(data) = frame.into_data() {
                if self.buffer.len().saturating_add(data.len()) > LONGEST {
                    return Err(broken("it sends a line without end".to_owned()));
                }
                self.buffer.extend_from_slice(&data);
                if !data.is_empty() {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}
