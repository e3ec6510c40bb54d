//! The glue as it ships (controller, planner, passes) on an engine and a store in memory, in virtual time: design laws
//! 1, 4, 6 and 8, and the faults that controllers are known to fail by.
//!
//! Every run can be repeated: time is tokio's, paused, and chance comes from a seed that a failing test prints.
//! `WALKS=10000 cargo test --test reconcile random` tries more, `SEED=17` one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs
)]

#[path = "../common/fake_runtime.rs"]
mod fake_runtime;
#[path = "../common/fake_store.rs"]
mod fake_store;

mod bad_specs;
mod calls;
mod checks;
mod crashes;
mod deletion;
mod events;
mod first;
mod healing;
mod health;
mod leaders;
mod matching;
mod outages;
mod pulls;
mod random;
mod recover;
mod rollouts;
mod settling;
mod world;
