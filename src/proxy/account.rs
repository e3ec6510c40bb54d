//! What one request came to: counted when its answer is over, told to the access log, and partly to the client (`Server-Timing`).

use std::sync::Arc;
use std::time::Duration;

use http::Request;
use http::header::{HeaderMap, HeaderName, HeaderValue, REFERER, USER_AGENT};
use tokio::time::Instant;

use super::spans::Trace;
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
    status: u16,
    sent: u64,
    whole: bool,
    line: Option<(Arc<AccessLog>, Box<Entry>)>,
    trace: Option<Arc<Trace>>,
}

impl Account {
    /// Opens one for a request that may name no agent: `nobody` has the figures of those.
    pub(super) fn open<B>(
        nobody: &Arc<AgentFigures>,
        log: Option<&Arc<AccessLog>>,
        trace: Option<Arc<Trace>>,
        request: &Request<B>,
        peer: std::net::IpAddr,
    ) -> Self {
        let headers = request.headers();
        let line = log.map(|log| {
            let entry = Entry {
                at: clock::now(),
                peer,
                method: request.method().clone(),
                path: request.uri().path().to_owned(),
                version: request.version(),
                status: 0,
                sent: 0,
                whole: false,
                took: Duration::ZERO,
                first_byte: Duration::ZERO,
                agent: None,
                instance: None,
                request_id: None,
                referer: headers.get(REFERER).cloned(),
                user_agent: headers.get(USER_AGENT).cloned(),
            };
            (Arc::clone(log), Box::new(entry))
        });
        Self {
            figures: Arc::clone(nobody),
            begun: Instant::now(),
            status: 0,
            sent: 0,
            whole: false,
            line,
            trace,
        }
    }

    /// Its place in a trace, if it is told.
    pub(super) fn trace(&self) -> Option<&Arc<Trace>> {
        self.trace.as_ref()
    }

    /// It is for this agent.
    pub(super) fn is_for(&mut self, agent: &str, route: &Route) {
        self.figures = Arc::clone(&route.figures);
        if let Some((_, entry)) = &mut self.line {
            entry.agent = Some(agent.to_owned());
        }
        if let Some(trace) = &self.trace {
            trace.is_for(agent);
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
        self.figures.first_byte.observe(first_byte);
        if let Some(timing) = timing(first_byte.saturating_sub(waited)) {
            headers.append(SERVER_TIMING, timing);
        }
        if let Some((_, entry)) = &mut self.line {
            let id = &endpoint.container.0;
            entry.instance = Some(id.get(..SHORT).unwrap_or(id).to_owned());
            entry.first_byte = first_byte;
        }
    }

    /// The proxy answers itself, for this reason.
    pub(super) fn refused(&self, reason: &str) {
        self.figures.refused(reason);
        if let Some(trace) = &self.trace {
            trace.refused(reason);
        }
    }

    /// The answer's head is as the client gets it.
    pub(super) fn head(&mut self, status: u16, request_id: Option<&HeaderValue>) {
        self.status = status;
        if let Some((_, entry)) = &mut self.line {
            entry.request_id = request_id.cloned();
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
        if let Some((log, mut entry)) = self.line.take() {
            entry.at = clock::now();
            entry.status = self.status;
            entry.sent = self.sent;
            entry.whole = self.whole;
            entry.took = took;
            log.write(entry);
        }
        if let Some(trace) = &self.trace {
            trace.ended(Some(self.status), self.whole);
        }
    }
}

/// `agentainer;dur=0.123`, in milliseconds.
fn timing(own: Duration) -> Option<HeaderValue> {
    let millis = own.as_secs_f64() * 1000.0;
    HeaderValue::try_from(format!("agentainer;dur={millis:.3}")).ok()
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
            (u64::MAX, "agentainer;dur=18446744073709552.000"),
        ] {
            assert_eq!(timing(Duration::from_micros(micros)).unwrap(), expected);
        }
    }
}
