//! Kept requests under faults: the proxy's admission and delivery as they ship, over a journal in memory, in virtual time; a checker that
//! sees only what clients and agents saw and what the journal holds at the end (design laws 2, 3 and 4).
//!
//! ```text
//! world.rs      servers, agents, clients and a story, all from one seed
//! agents.rs     agents on loopback that record what they get
//! wishes.rs     the requests
//! lies.rs       a journal that does what none may
//! told.rs       a journal that does not hear how a delivery ended
//! runs.rs       the story with a fault at each call of the journal, with two servers, with chance
//! mutations.rs  each lie is found out by the checker
//! clients       (tests/common/history_clients.rs) record what they sent and were promised
//! checker       (tests/common/history.rs) what must hold
//! ```
//!
//! The same checker judges real containers in tests/e2e/chaos. See docs/testing.md.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs
)]

#[path = "../common/fake_journal.rs"]
mod fake_journal;
#[path = "../common/history.rs"]
mod history;
#[path = "../common/history_clients.rs"]
mod history_clients;

mod agents;
mod lies;
mod mutations;
#[allow(dead_code)]
#[path = "../proxy/rig.rs"]
mod rig;
mod runs;
mod told;
mod wishes;
mod world;
