//! End to end: the real binary, real Docker, real Redis, the examples' agents. Each test has a server, a network and a
//! data folder of its own and cleans up after itself, so that it passes beside a running server and twice in a row.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs
)]

mod activation;
mod adversity;
mod chaos;
mod engine;
mod engine_outages;
mod handover;
mod healing;
mod health;
#[path = "../common/history.rs"]
mod history;
#[path = "../common/history_clients.rs"]
mod history_clients;
mod isolation;
mod lifecycle;
mod load;
mod mesh;
mod process;
#[path = "../common/receiver.rs"]
mod receiver;
mod recover;
mod recycling;
mod redis_outages;
mod requests;
mod rollouts;
mod server;
mod tls;
mod two_servers;
mod under_load;
mod web;
mod written_first;
