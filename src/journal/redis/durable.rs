//! Whether the Redis keeps what it takes. Nothing is set on it: our own is made so, and another one is the operator's.
//!
//! A write is on disk before its answer only with `appendfsync always` (redis.conf: "fsync after every write to the append only
//! log"), also while the file is rewritten, and stays there only if nothing is evicted.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::super::{JournalError, Result};
use crate::redis_link::Link;

/// How long what was seen of it counts. Somebody may change it while it runs.
const FRESH: Duration = Duration::from_secs(30);

/// What must be set, and to what.
const WANTED: [(&str, &str); 4] = [
    ("appendonly", "yes"),
    ("appendfsync", "always"),
    ("no-appendfsync-on-rewrite", "no"),
    ("maxmemory-policy", "noeviction"),
];

/// Remembers whether it does.
#[derive(Debug)]
pub(super) struct Durable {
    not_asked: bool,
    seen: Mutex<Option<(Instant, Vec<String>)>>,
}

impl Durable {
    pub(super) fn new(not_asked: bool) -> Self {
        Self {
            not_asked,
            seen: Mutex::default(),
        }
    }

    /// Refuses one that does not.
    pub(super) async fn check(&self, link: &Link) -> Result<()> {
        if self.not_asked {
            return Ok(());
        }
        let fresh = {
            let seen = self.seen.lock();
            let fresh = seen.as_ref().filter(|(at, _)| at.elapsed() < FRESH);
            fresh.map(|(_, lacks)| lacks.clone())
        };
        let lacks = match fresh {
            Some(lacks) => lacks,
            None => {
                let lacks = lacks(link).await?;
                *self.seen.lock() = Some((Instant::now(), lacks.clone()));
                lacks
            }
        };
        match lacks.is_empty() {
            true => Ok(()),
            false => Err(JournalError::NotDurable(lacks)),
        }
    }
}

/// The lines of its configuration that would have to be others.
pub(super) async fn lacks(link: &Link) -> Result<Vec<String>> {
    let mut lacks = Vec::new();
    for (name, wanted) in WANTED {
        let mut command = ::redis::cmd("CONFIG");
        command.arg("GET").arg(name);
        let said: std::collections::BTreeMap<String, String> =
            link.ask("look at its configuration", &command).await?;
        if said.get(name).is_none_or(|value| value != wanted) {
            lacks.push(format!("{name} {wanted}"));
        }
    }
    Ok(lacks)
}
