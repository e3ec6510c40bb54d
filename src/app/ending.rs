//! The end of a server: when it comes, and how long what is in flight may take to finish.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use axum::Router;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use crate::front::Front;
use crate::proxy::Proxy;

/// How long what is in flight has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grace {
    /// Requests, streams and tunnels.
    within: Duration,
    /// A connection without a request, for one more.
    idle: Duration,
}

/// After SIGTERM.
pub(super) const SHORT: Grace = Grace {
    within: Duration::from_secs(30),
    idle: Duration::from_secs(1),
};
/// After another server took over: nobody waits for us then.
pub(super) const LONG: Grace = Grace {
    within: Duration::from_secs(600),
    idle: Duration::from_secs(10),
};

/// Waits until what is in flight has finished; `false` when some of it was cut off.
pub(super) async fn finish(front: &Arc<Front<Router>>, proxy: &Proxy, grace: Grace) -> bool {
    let until = Instant::now() + grace.within;
    let finished = front.finish(grace.within, grace.idle).await;
    // After the connections: a tunnel may begin on one until it is closed.
    let left = until.saturating_duration_since(Instant::now());
    proxy.drain(left).await;
    finished
}

/// Waits for SIGTERM or SIGINT.
///
/// # Errors
/// When they cannot be listened for.
pub(super) async fn wait_for_the_end() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        biased;
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
