//! Claims to records that this server has: kept while their delivery goes on, then ended by telling the journal what came of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::keep::Keeping;
use crate::journal::{Claim, RecordId, Settlement};

/// How long a claim holds. One that is not renewed for so long was its server's last word.
pub(super) const LEASE: Duration = Duration::from_secs(15);
/// How often it is renewed.
const RENEWED: Duration = Duration::from_secs(4);
/// Between two tries to tell the journal how a delivery ended.
const TOLD_AGAIN: Duration = Duration::from_millis(500);
/// For so long it is tried. Then the claim lapses, and what is known is lost.
const TOLD_FOR: Duration = Duration::from_secs(600);

/// The records that this server delivers: a claim of ours does not lapse while we have it.
#[derive(Clone, Debug, Default)]
pub(super) struct Claims(Arc<Mutex<BTreeSet<RecordId>>>);

/// That this server delivers a record; until it is dropped.
#[derive(Debug)]
pub(super) struct Ours(Claims, RecordId);

impl Claims {
    /// This server delivers it from now on.
    pub(super) fn ours(&self, id: &RecordId) -> Ours {
        self.0.lock().insert(id.clone());
        Ours(self.clone(), id.clone())
    }

    /// Whether this server delivers it.
    pub(super) fn has(&self, id: &RecordId) -> bool {
        self.0.lock().contains(id)
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        self.0.0.lock().remove(&self.1);
    }
}

/// Keeps a claim while this goes on; `None` when the claim was lost, and then it was cut off.
pub(super) async fn held<T>(
    keeping: &Keeping,
    claim: &Claim,
    delivery: impl Future<Output = T>,
) -> Option<T> {
    tokio::pin!(delivery);
    loop {
        let renewed = tokio::time::sleep(RENEWED);
        tokio::select! {
            biased;
            ended = &mut delivery => return Some(ended),
            () = renewed => {}
        }
        // A Redis that cannot be asked takes no claim away either.
        if let Ok(false) = keeping.journal.renew(claim, LEASE).await {
            return None;
        }
    }
}

/// Tells the journal how a claim ended, for as long as it takes; `false` when the claim was lost. Meanwhile the claim is kept, as far as the
/// journal hears that.
pub(super) async fn tell(keeping: &Keeping, claim: &Claim, settlement: Settlement) -> bool {
    let until = Instant::now() + TOLD_FOR;
    let mut renewed: Option<Instant> = None;
    loop {
        match keeping.journal.settle(claim, settlement.clone()).await {
            Ok(held) => return held,
            Err(error) if Instant::now() < until => {
                tracing::debug!(%error, request = %claim.id, "the journal does not hear how a delivery ended");
                if renewed.is_none_or(|at| at.elapsed() >= RENEWED) {
                    renewed = Some(Instant::now());
                    // If it is lost, or ended and nobody heard that, the next try says so.
                    let _ = keeping.journal.renew(claim, LEASE).await;
                }
                tokio::time::sleep(TOLD_AGAIN).await;
            }
            Err(error) => {
                tracing::warn!(%error, request = %claim.id, "the journal could not be told how a delivery ended; it will count as unknown or be tried again");
                return false;
            }
        }
    }
}
