//! The composition root: builds every part, starts them in order, ends them in the other.
//!
//! The one place that knows all parts. Owns the data folder, the identity of the cluster, the life of the Redis
//! children and of the listeners. `main` calls it; nobody else does.

mod activation;
mod callbacks;
mod certificate;
mod container;
mod data_folder;
mod detach;
mod doors;
mod down;
mod ending;
mod guard;
mod handover;
mod identity;
mod metrics;
mod network;
mod redises;
mod serve;
mod settings;
mod spans;
mod succession;
mod upkeep;

pub use self::down::stop_all;
pub use self::serve::serve;
pub use self::spans::tell as tell_spans;
