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
mod balance;
mod departed;
mod failures;
mod framing;
mod front;
mod h2c;
mod hosts;
mod kept;
mod limits;
mod load;
#[path = "../common/redis_child.rs"]
mod redis_child;
mod rig;
mod seen;
mod streams;
mod tls;
mod transparency;
