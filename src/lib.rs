//! Agentainer runs LLM agents as containers and keeps them running.
//!
//! This page is the map. Import downward only, never between siblings; `tests/tidy.rs` checks it.
//!
//! | layer | modules | holds |
//! | --- | --- | --- |
//! | 0a | [`clock`], [`keys`], [`names`] | time, every Redis key and label, name rules |
//! | 0b | [`agent`], then [`observed`], [`watch`], [`problem`], [`wire`], [`config`], [`tokens`] | values: what shall be, what was seen, what is said, how we are configured |
//! | 1 | [`plan`], [`telemetry`], [`redis_link`], [`trust`], [`event_stream`], then [`callback`] | decisions: pure, synchronous, total, silent; the log; the way to Redis; whom TLS trusts; streams of events; a result's way to who wants it |
//! | 2 | [`runtime`], [`store`], [`journal`], [`controller`], [`endpoints`], [`probe`], [`redis_server`] | ports with adapters; generic machinery; the supervised Redis |
//! | 3 | [`reconcile`], [`recover`], [`proxy`] | glue: load → observe → plan → execute → status; a lost store made again; the data path |
//! | 4 | [`front`], [`api`], [`cli`] | edges: listeners, management API, command line |
//! | 5 | [`app`], `main` | composition root, ordered start and shutdown |

pub mod agent;
pub mod api;
pub mod app;
pub mod callback;
pub mod cli;
pub mod clock;
pub mod config;
pub mod controller;
pub mod endpoints;
pub mod event_stream;
pub mod front;
pub mod journal;
pub mod keys;
pub mod names;
pub mod observed;
pub mod plan;
pub mod probe;
pub mod problem;
pub mod proxy;
pub mod reconcile;
pub mod recover;
pub mod redis_link;
pub mod redis_server;
pub mod runtime;
pub mod store;
pub mod telemetry;
pub mod tokens;
pub mod trust;
pub mod watch;
pub mod wire;
