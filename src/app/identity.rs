//! Which cluster this server is of.

use anyhow::{Context as _, Result};

use super::data_folder::DataFolder;
use crate::agent::ClusterId;
use crate::clock;
use crate::store::AgentStore;

/// Which cluster this is: the data folder and the store must agree; what one of them does not know yet it is told.
/// `named` is what the operator says of a folder that was lost.
pub(super) async fn identify(
    folder: &DataFolder,
    store: &dyn AgentStore,
    named: Option<ClusterId>,
) -> Result<(ClusterId, u64)> {
    let kept = folder.cluster()?;
    if let (Some(kept), Some(named)) = (&kept, &named)
        && kept != named
    {
        anyhow::bail!(
            "--cluster {named} is another cluster than the data folder's ({kept}); leave it out, or name an empty --data-dir"
        );
    }
    let kept = kept.or(named);
    let stored = store
        .cluster()
        .await
        .context("the control Redis does not answer")?;
    let record = match (kept, stored) {
        (Some(ours), Some(record)) if record.id != ours => anyhow::bail!(
            "the control Redis belongs to another cluster ({}) than the data folder {} ({ours}); \
             use the Redis that goes with it, or another --data-dir",
            record.id,
            folder.path().display()
        ),
        (_, Some(record)) => record,
        // A store that was wiped, or a new one: ours, from now on in a later epoch.
        (Some(ours), None) => {
            store
                .found(&ours, u64::try_from(clock::now().as_second()).unwrap_or(1))
                .await?
        }
        (None, None) => store.found(&ClusterId::random(), 1).await?,
    };
    folder.keep_cluster(&record.id)?;
    Ok((record.id, record.epoch))
}
