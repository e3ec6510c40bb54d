//! `proxy.onDisconnect: continue`: an exchange that goes on to its end when its client is gone, so that a paid run finishes.
//!
//! From the moment that it is on its way to the agent, such an exchange is a task of its own. What comes for nobody is read and
//! thrown away, within the time-outs that hold anyway; it counts as in flight for as long.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::patience::Limits;
use super::sent::Sent;

/// How long whoever tells the journal how an exchange ended has for it, when all are cut.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// All such exchanges of one proxy.
#[derive(Clone, Debug, Default)]
pub(super) struct Runs(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    open: TaskTracker,
    cut: CancellationToken,
    /// Cuts those who have the last word.
    silence: CancellationToken,
}

impl Runs {
    /// Carries an exchange to its answer's head, and, when nobody waits for that any more, to its end. `None` when it was cut.
    pub(super) async fn carry<E: Send + 'static>(
        &self,
        exchange: impl Future<Output = Result<Sent, E>> + Send + 'static,
        limits: Limits,
    ) -> Option<Result<Sent, E>> {
        let (tell, told) = oneshot::channel();
        self.spawn(async move {
            if let Err(Ok(sent)) = tell.send(exchange.await) {
                tracing::debug!("the client went; its run goes on");
                sent.for_nobody(limits).finish().await;
            }
        });
        told.await.ok()
    }

    /// Does this as one of them.
    pub(super) fn spawn(&self, run: impl Future<Output = ()> + Send + 'static) {
        self.spawn_until(self.0.cut.clone(), run);
    }

    /// The same for what tells how another one ended: it is cut after that, a little later.
    pub(super) fn spawn_last(&self, run: impl Future<Output = ()> + Send + 'static) {
        self.spawn_until(self.0.silence.clone(), run);
    }

    fn spawn_until(&self, cut: CancellationToken, run: impl Future<Output = ()> + Send + 'static) {
        self.0.open.spawn(async move {
            tokio::select! {
                biased;
                () = cut.cancelled() => {}
                () = run => {}
            }
        });
    }

    /// Waits until all ended.
    pub(super) async fn ended(&self) {
        self.0.open.close();
        self.0.open.wait().await;
    }

    /// Ends them now.
    pub(super) async fn cut(&self) {
        self.0.cut.cancel();
        if tokio::time::timeout(LAST_WORDS, self.ended())
            .await
            .is_err()
        {
            self.0.silence.cancel();
            self.ended().await;
        }
    }
}
