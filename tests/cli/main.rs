//! The command line from outside: the built program against the real API with a store in memory.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    dead_code
)]

#[path = "../api/engine.rs"]
mod engine;
#[path = "../common/fake_store.rs"]
mod fake_store;

mod applying;
mod building;
mod ends;
mod invoking;
mod looking;
mod offline;
mod rig;
mod rollout;
mod waiting;
