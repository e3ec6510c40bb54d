//! Why a pass failed; the controller tries it again.

use crate::runtime::RuntimeError;
use crate::store::StoreError;

/// Why a pass failed.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// The store.
    #[error("the store could not be used")]
    Store(#[from] StoreError),
    /// The engine.
    #[error("the container engine could not be used")]
    Runtime(#[from] RuntimeError),
    /// Another server leads, or may.
    #[error("this server does not lead (any more): nothing is done")]
    NotLeading,
    /// Something that a plan rests on is not there any more; the next pass sees it.
    #[error("{0}")]
    Stale(&'static str),
}
