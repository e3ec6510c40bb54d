//! What one request came to: counted when its answer is over, told to the access log, and partly to the client (`Server-Timing`).

use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue, REFERER, USER_AGENT};
use http::{Method, Request, Version};
use tokio::time::Instant;

use crate::clock;
use crate::endpoints::{Endpoint, Route};
use crate::telemetry::access::{AccessLog, Entry};
use crate::telemetry::figures::AgentFigures;

/// How a server says where time went (W3C Server Timing).
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// How much of a container's id is told.
const SHORT: usize = 12;

/// One request's. Settles when it is dropped.
#[derive(Debug)]
pub(super) struct Account {
    figures: Arc<AgentFigures>,
    begun: Instant,
    first_byte: Option<Duration>,
    status: u16,
    sent: u64,
    whole: bool,
    line: Option<Box<Line>>,
}

/// What the access log tells beyond.
#[derive(Debug)]
struct Line {
    log: Arc<AccessLog>,
    peer: std::net::IpAddr,
    method: Method,
    path: String,
    version: Version,
    agent: Option<String>,
    instance: Option<String>,
    request_id: Option<HeaderValue>,
    referer: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
}

impl Account {
    /// Opens one for a request that may name no agent: `nobody` has the figures of those.
    pub(super) fn open<B>(
        nobody: &Arc<AgentFigures>,
        log: Option<&Arc<AccessLog>>,
        request: &Request<B>,
        peer: std::net::IpAddr,
    ) -> Self {
        let headers = request.headers();
        let line = log.map(|log| {
            Box::new(Line {
                log: Arc::clone(log),
                peer,
                method: request.method().clone(),
                path: request.uri().path().to_owned(),
                version: request.version(),
                agent: None,
                instance: None,
                request_id: None,
                referer: headers.get(REFERER).cloned(),
                user_agent: headers.get(USER_AGENT).cloned(),
            })
        });
        Self {
            figures: Arc::clone(nobody),
            begun: Instant::now(),
            first_byte: None,
            status: 0,
            sent: 0,
            whole: false,
            line,
        }
    }

    /// It is for this agent.
    pub(super) fn is_for(&mut self, agent: &str, route: &Route) {
        self.figures = Arc::clone(&route.figures);
        if let Some(line) = &mut self.line {
            line.agent = Some(agent.to_owned());
        }
    }

    /// The agent's answer began, for which `waited` went by.
    pub(super) fn answered(
        &mut self,
        endpoint: &Endpoint,
        waited: Duration,
        headers: &mut HeaderMap,
    ) {
        let first_byte = self.begun.elapsed();
        self.first_byte = Some(first_byte);
        self.figures.first_byte.observe(first_byte);
        if let Some(timing) = timing(first_byte.saturating_sub(waited)) {
            headers.append(SERVER_TIMING, timing);
        }
        if let Some(line) = &mut self.line {
            let id = &endpoint.container.0;
            line.instance = Some(id.get(..SHORT).unwrap_or(id).to_owned());
        }
    }

    /// The proxy answers itself, for this reason.
    pub(super) fn refused(&self, reason: &str) {
        self.figures.refused(reason);
    }

    /// The answer's head is as the client gets it.
    pub(super) fn head(&mut self, status: u16, request_id: Option<&HeaderValue>) {
        self.status = status;
        if let Some(line) = &mut self.line {
            line.request_id = request_id.cloned();
        }
    }

    /// So many bytes of the answer's body passed.
    pub(super) const fn sent(&mut self, bytes: u64) {
        self.sent += bytes;
    }

    /// The answer reached its end.
    pub(super) const fn whole(&mut self) {
        self.whole = true;
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let took = self.begun.elapsed();
        self.figures
            .answered(self.status, took, self.sent, self.whole);
        if let Some(line) = self.line.take() {
            let line = *line;
            line.log.write(Box::new(Entry {
                at: clock::now(),
                peer: line.peer,
                method: line.method,
                path: line.path,
                version: line.version,
                status: self.status,
                sent: self.sent,
                whole: self.whole,
                took,
                first_byte: self.first_byte.unwrap_or_default(),
                agent: line.agent,
                instance: line.instance,
                request_id: line.request_id,
                referer: line.referer,
                user_agent: line.user_agent,
            }));
        }
    }
}

/// `agentainer;dur=0.123`, in milliseconds, without a detour by the machinery of formatting.
fn timing(own: Duration) -> Option<HeaderValue> {
    const NAME: &[u8] = b"agentainer;dur=";
    let micros = own.as_micros().min(99_999_999);
    let mut text = [0_u8; NAME.len() + 9];
    let (name, number) = text.split_at_mut(NAME.len());
    name.copy_from_slice(NAME);
    let mut rest = micros;
    for (place, digit) in number.iter_mut().enumerate().rev() {
        if place == 5 {
            *digit = b'.';
            continue;
        }
        *digit = b'0' + u8::try_from(rest % 10).ok()?;
        rest /= 10;
    }
    // At least one digit stays before the point.
    let zeros = number
        .iter()
        .take(4)
        .take_while(|digit| **digit == b'0')
        .count();
    let mut value = Vec::with_capacity(text.len());
    value.extend_from_slice(NAME);
    value.extend_from_slice(text.get(NAME.len() + zeros..)?);
    HeaderValue::from_maybe_shared(bytes::Bytes::from(value)).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_share_is_told_in_milliseconds() {
        for (micros, expected) in [
            (0, "agentainer;dur=0.000"),
            (7, "agentainer;dur=0.007"),
            (1_500, "agentainer;dur=1.500"),
            (12_345_678, "agentainer;dur=12345.678"),
            (u64::MAX, "agentainer;dur=99999.999"),
        ] {
            assert_eq!(timing(Duration::from_micros(micros)).unwrap(), expected);
        }
    }
}
