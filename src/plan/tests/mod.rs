//! Tests of the planner: tables by rule, and a small pure world that its plans are applied to.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod checks;
mod course;
mod deletion;
mod drift;
mod first;
mod fixture;
mod generators;
mod images;
mod lifecycle;
mod naming;
mod properties;
mod quarantine;
mod rollout;
mod status;
mod turns;
mod world;
