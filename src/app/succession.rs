//! What passes from one server to the next, and when the next one is ready for it.

use std::os::fd::AsFd as _;
use std::time::Duration;

use anyhow::{Result, bail};
use axum::Router;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::activation::Given;
use super::data_folder::DataFolder;
use super::handover::Estate;
use crate::endpoints::Endpoints;
use crate::front::Front;
use crate::observed::Network;

/// How long the first look at all agents may take.
const FIRST_LOOK: Duration = Duration::from_secs(60);
/// How long the listener on the gateway may take.
const GATEWAY: Duration = Duration::from_secs(5);
/// Between two looks at what is waited for.
const PAUSE: Duration = Duration::from_millis(20);

/// What the next server gets: the data folder's lock first, then the sockets that we were given, then every other one.
pub(super) fn estate(
    folder: &DataFolder,
    given: &[Given],
    front: &Front<Router>,
) -> std::io::Result<Estate> {
    let mut all = vec![folder.lock()?];
    for one in given {
        all.push(one.socket.as_fd().try_clone_to_owned()?);
    }
    all.extend(front.sockets()?);
    let names: Vec<&str> = given.iter().map(|one| one.gate.word()).collect();
    Ok(Estate {
        all,
        names: names.join(":"),
    })
}

/// Waits until this server can route to all that the one before it routes to, and has its listeners.
///
/// # Errors
/// When Docker does not tell of the agents in time: the other one, which knows them, had better go on.
pub(super) async fn prepare(
    endpoints: &Endpoints,
    front: &Front<Router>,
    mut network: watch::Receiver<Option<Network>>,
) -> Result<()> {
    let looked = async {
        // Its sender lives as long as the server.
        let _ = network.wait_for(Option::is_some).await;
        while !endpoints.announced().is_empty() {
            sleep(PAUSE).await;
        }
    };
    if timeout(FIRST_LOOK, looked).await.is_err() {
        let unknown = endpoints.announced().len();
        bail!(
            "{unknown} agents could not be looked at within {} s (does Docker answer?); the running server goes on",
            FIRST_LOOK.as_secs()
        );
    }
    let claimed = async {
        while front.unclaimed() > 0 {
            sleep(PAUSE).await;
        }
    };
    // One that nobody wants, as on an address of an earlier configuration, is let go of.
    let _ = timeout(GATEWAY, claimed).await;
    Ok(())
}
