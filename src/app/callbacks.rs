//! What callbacks are made with, as the operator's flags say.

use anyhow::{Context as _, Result};
use std::sync::Arc;

use ipnet::IpNet;

use crate::callback::{Caller, Rules, resolver};
use crate::config::ServeConfig;
use crate::reconcile::Handle;
use crate::trust;

/// What may be called, beside all that is public (`--callback-allow`).
pub(super) fn rules(config: &ServeConfig) -> Rules {
    Rules {
        allowed: config.callback_allow.clone(),
    }
}

/// Who makes the calls. Never to the agents' network.
pub(super) fn caller(config: &ServeConfig, reconciler: &Handle) -> Result<Caller> {
    let mut roots = trust::of_system();
    if let Some(path) = &config.callback_ca {
        let given = trust::of_file(path).context("--callback-ca")?;
        roots.extend(given.roots);
    }
    let network = reconciler.network();
    Ok(Caller {
        rules: rules(config),
        networks: Arc::new(move || {
            let network = network.borrow();
            let subnet = network.as_ref().and_then(|network| network.subnet);
            subnet.map(IpNet::from).into_iter().collect()
        }),
        tls: trust::config(roots)?,
        resolve: resolver(),
    })
}
