//! What can be set on a proxy.

use std::sync::Arc;
use std::time::Duration;

use crate::telemetry::access::AccessLog;

/// What can be set on a proxy.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long a request for a starting agent is held before it gets 503.
    pub hold: Duration,
    /// How many requests are held at once.
    pub held: usize,
    /// Where the choices of endpoints and the names of requests begin; the same seed gives the same ones.
    pub seed: u64,
    /// Where each request gets a line, if anywhere.
    pub access_log: Option<Arc<AccessLog>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            hold: Duration::from_secs(5),
            held: 4096,
            #[expect(
                clippy::disallowed_methods,
                reason = "this is where the one seed of the data path comes from; a simulation sets its own"
            )]
            seed: rand::random(),
            access_log: None,
        }
    }
}
