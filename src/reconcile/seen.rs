//! What the passes came to, for a scrape.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Key;
use crate::controller::{Observer, Outcome};
use crate::telemetry::exposition::PassMetrics;
use crate::telemetry::figures::PassFigures;

/// Counts the passes of one reconciler.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen(Arc<Kinds>);

#[derive(Debug, Default)]
struct Kinds {
    agent: PassFigures,
    host: PassFigures,
}

impl Seen {
    /// All of it now.
    pub(super) fn read(&self) -> Vec<PassMetrics> {
        vec![
            PassMetrics::of("agent", &self.0.agent),
            PassMetrics::of("host", &self.0.host),
        ]
    }

    fn of(&self, key: &Key) -> &PassFigures {
        match key {
            Key::Agent(_) => &self.0.agent,
            Key::Host => &self.0.host,
        }
    }
}

impl Observer<Key> for Seen {
    fn started(&self, key: &Key, late: Duration) {
        self.of(key).late.observe(late);
    }

    fn finished(&self, key: &Key, outcome: Outcome, took: Duration) {
        let figures = self.of(key);
        figures.took.observe(took);
        let [ok, failed, panicked] = &figures.ended;
        let ended = match outcome {
            Outcome::Done | Outcome::Requeued { .. } => ok,
            Outcome::Failed { .. } => failed,
            Outcome::Panicked { .. } => panicked,
        };
        ended.fetch_add(1, Ordering::Relaxed);
    }
}
