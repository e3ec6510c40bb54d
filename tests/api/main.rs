//! The management API from outside: requests into the router, with a store in memory and an engine that says what it is told.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs
)]

#[path = "../common/fake_store.rs"]
mod fake_store;

#[path = "../common/redis_child.rs"]
mod redis_child;

mod apply;
mod builds;
mod engine;
mod envelope;
mod harness;
mod health;
mod logs;
mod objects;
mod openapi;
mod over_redis;
mod properties;
mod recover;
mod requests;
mod result_events;
mod roles;
mod rollout;
mod watch;
mod wire;
