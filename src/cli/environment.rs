//! The environment of the invoking user: the one place of the command line that reads it.

use std::path::PathBuf;

use crate::config::default_data_dir;

/// A variable; `None` when it is unset or no text.
#[expect(
    clippy::disallowed_methods,
    reason = "the command line reads the environment here alone"
)]
pub(super) fn set(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// A variable; `None` when it is unset, empty or no text.
pub(super) fn variable(name: &str) -> Option<String> {
    set(name).filter(|value| !value.is_empty())
}

/// The data folder of the invoking user's own server: `AGENTAINER_DATA_DIR`, else the default.
pub(super) fn data_dir() -> PathBuf {
    variable("AGENTAINER_DATA_DIR").map_or_else(
        || {
            default_data_dir(
                rustix::process::geteuid().is_root(),
                variable("HOME").as_deref(),
                variable("XDG_DATA_HOME").as_deref(),
            )
        },
        PathBuf::from,
    )
}
