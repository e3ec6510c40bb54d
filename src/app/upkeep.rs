//! Small things that a server sees to while it runs: open files, the clock, the key that servers share, the snapshot.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::agent::{ClusterId, Uid};
use crate::clock;
use crate::proxy::Ended;
use crate::reconcile::{Board, host_condition};
use crate::recover::{Keeper, Recovery};
use crate::redis_link::LinkError;
use crate::store::{AgentStore, StoreError};
use crate::tokens::ServerKey;

/// As many open files as we may have: each request through the proxy is two, and the usual soft limit of 1024 is soon used up by a
/// single agent.
pub(super) fn allow_many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: now.maximum,
        maximum: now.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, wanted) {
        tracing::debug!(%error, "the limit of open files stays");
    }
}

/// Tells which lives of agents surely ended: those that left a tombstone (law 6).
pub(super) fn ended_lives(store: &Arc<dyn AgentStore>) -> Arc<Ended> {
    let store = Arc::clone(store);
    Arc::new(move |uids: Vec<Uid>| {
        let store = Arc::clone(&store);
        Box::pin(async move { store.tombstones(&uids).await.unwrap_or_default() })
    })
}

/// Reads the machine's clock again once a minute.
pub(super) async fn keep_time(shutdown: CancellationToken) {
    let mut minute = tokio::time::interval(Duration::from_secs(60));
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            _ = minute.tick() => clock::resync(),
        }
    }
}

/// Who keeps the snapshot that recovery reads, and says on the board when it cannot.
pub(super) fn keeper(recovery: &Recovery, cluster: &ClusterId, board: &Board) -> Keeper {
    let board = board.clone();
    Keeper {
        folder: recovery.snapshot.clone(),
        cluster: cluster.clone(),
        store: Arc::clone(&recovery.store),
        told: Box::new(move |trouble| match trouble {
            Some(message) => {
                board.set(host_condition::SNAPSHOT, false, "NotWritten", message);
            }
            None => board.clear(host_condition::SNAPSHOT),
        }),
    }
}

/// The key that all servers on a store sign agents' tokens with. One that takes no writes now, and holds none, gets ours later
/// ([`keep_key`]).
pub(super) async fn shared_key(
    store: &dyn AgentStore,
    ours: &ServerKey,
) -> Result<ServerKey, StoreError> {
    match store.share_key(ours).await {
        Err(error @ StoreError::Link(LinkError::Refused { .. })) => {
            tracing::warn!(
                %error,
                "the control Redis holds no key for agents' tokens and takes none now: this server's own signs them; other servers \
                 do not know them until it is taken"
            );
            Ok(ours.clone())
        }
        other => other,
    }
}

/// Keeps the key of agents' tokens in the store: one that was wiped must not make another one up when the next server
/// comes.
pub(super) async fn keep_key(
    store: Arc<dyn AgentStore>,
    key: ServerKey,
    shutdown: CancellationToken,
) {
    let mut often = tokio::time::interval(Duration::from_secs(15));
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            _ = often.tick() => {}
        }
        if matches!(store.share_key(&key).await, Ok(shared) if shared != key) {
            tracing::warn!(
                "the control Redis holds another key for agents' tokens than this server signs with; restart this server"
            );
        }
    }
}
