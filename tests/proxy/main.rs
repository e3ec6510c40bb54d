//! The data path against loopback agents: what passes, what is refused, and what is counted.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs
)]

mod addresses;
mod agents;
mod always;
mod answers;
mod balance;
mod callbacks;
mod departed;
mod durability;
mod failures;
mod frames;
mod framing;
mod front;
mod h2c;
mod hosts;
mod kept;
mod keyed;
mod limits;
mod load;
#[path = "../common/reading.rs"]
mod reading;
#[path = "../common/receiver.rs"]
mod receiver;
mod recorder;
#[path = "../common/redis_child.rs"]
mod redis_child;
mod resumable;
mod rig;
mod seen;
mod sessions;
mod smuggling;
mod streams;
mod tls;
mod traces;
mod transparency;
mod under_load;
