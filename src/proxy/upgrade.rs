//! Tunnels: a client and an agent that agreed to speak another protocol (WebSocket, say) on their connections.
//!
//! Bytes are copied both ways until both sides ended; the exchange counts as in flight for as long. hyper hands upgraded
//! connections out of its own care, so they are tracked here, and cut when the drain time is over.

use std::io;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWriteExt as _, copy_bidirectional};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::account::Account;
use super::pool::Lease;

/// All tunnels of one proxy.
#[derive(Debug, Default)]
pub(super) struct Tunnels {
    open: TaskTracker,
    cut: CancellationToken,
}

impl Tunnels {
    /// Joins the two connections once the client's side handed its own over; the account settles at their end.
    pub(super) fn open(&self, client: OnUpgrade, lease: Lease, mut account: Option<Account>) {
        let cut = self.cut.clone();
        self.open.spawn(async move {
            let tunnel = async {
                let mut client = TokioIo::new(client.await.map_err(io::Error::other)?);
                let Some((mut agent, read, _held)) = lease.into_tunnel() else {
                    return Ok(());
                };
                client.write_all(&read).await?;
                // TLS may hold some of it back, and what copies flushes its own alone.
                client.flush().await?;
                let (_, sent) = copy_bidirectional(&mut client, &mut agent).await?;
                let sent = sent + read.len() as u64;
                if let Some(account) = &mut account {
                    account.sent(sent);
                    account.whole();
                }
                Ok::<_, io::Error>(())
            };
            let ended = tokio::select! {
                biased;
                () = cut.cancelled() => return,
                ended = tunnel => ended,
            };
            if let Err(error) = ended {
                tracing::trace!(%error, "tunnel broke off");
            }
        });
    }

    /// Waits until every tunnel ended.
    pub(super) async fn ended(&self) {
        self.open.close();
        self.open.wait().await;
    }

    /// Ends every tunnel now.
    pub(super) fn cut(&self) {
        self.cut.cancel();
    }
}
