//! The reconciler as it ships (controller, planner, passes, endpoints, prober) against a simulated Docker and a simulated
//! Redis, in virtual time, with everything going wrong: design laws 1, 4, 5, 6 and 8.
//!
//! ```text
//! scenarios.rs   what happens: create, scale, roll, undo, delete, …           a catalogue, and random walks
//! trouble.rs     what goes wrong at which call: crash, error, time-out, …     planned, or by chance
//! world.rs       the host: engine, store, servers, operator, somebody's hand
//! server.rs      one server or two, that die, stand still and lose the store
//! programs.rs    what agents do: how long they take to start, whether they answer
//! clients.rs     who sends them requests
//! checker.rs     what must hold at every step
//! matching       (tests/reconcile/matching.rs) what must hold at the end
//! ```
//!
//! The fakes are held to the real Docker and the real Redis by `runtime_contract.rs` and `store_contract.rs`. Every run is one
//! thread, paused time, and one seed, which a failing test prints with the command that repeats it. See docs/testing.md.
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
#[path = "../common/fleet.rs"]
mod fleet;
#[path = "../reconcile/matching.rs"]
mod matching;

mod checker;
mod clients;
mod exhaustive;
mod joining;
mod mutations;
mod mutations_of_two;
mod outlived;
mod programs;
mod random;
mod scale;
mod scenarios;
mod server;
mod trouble;
mod world;
