//! Inputs that nobody thought of: each target takes the entries of its committed corpus (`tests/fuzz/corpus/TARGET`) as they are, then
//! changed by chance, and holds what comes out to rules that are always so.
//!
//! An everyday run takes a fixed number from `SEED` (1 unless set), so it is the same every time. `make fuzz` goes on for `SECONDS_EACH`
//! from a new seed. An input that breaks a rule is kept in a file; `INPUT=FILE cargo test --test fuzz TARGET` tries that one alone.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code,
    unreachable_pub,
    missing_docs
)]

#[path = "../proxy/agents.rs"]
mod agents;
mod answers;
mod manifests;
mod mutate;
mod paths;
#[path = "../common/reading.rs"]
mod reading;
#[path = "../proxy/recorder.rs"]
mod recorder;
mod requests;
#[path = "../proxy/rig.rs"]
mod rig;
mod run;
