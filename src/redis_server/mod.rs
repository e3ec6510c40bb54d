//! The Redis servers that we run ourselves, and a look at one that we do not.
//!
//! Owns two children (design, section 6, "Redis"): the *control* Redis, on a private Unix socket and durable, which holds specs
//! and the journal; and the *agents'* Redis on the gateway of their network, with an ACL without administration. Both are
//! detached: they outlive the server, are found again by socket, run id and pid, and end only by [`stop`]. Must not know what
//! is kept in them. Made by `app`, ended by `app` and `cli`. `redis` is used to administer them.

mod acl;
mod agents;
mod binary;
mod child;
mod control;
mod error;
mod external;
mod folder;
mod link;
mod process;
mod setup;
mod stop;
mod supervisor;
mod torn;

pub use self::agents::{AgentsRedis, AgentsRedisOptions, Listening, Outcome, agents_folder};
pub use self::binary::Binary;
pub use self::child::Identity;
pub use self::control::control;
pub use self::error::{RedisServerClass, RedisServerError};
pub use self::external::{ExternalRedis, look_at};
pub use self::setup::Setup;
pub use self::stop::{Stopped, stop};
pub use self::supervisor::{RedisServer, ServerState};

/// The result of what this module does.
pub type Result<T> = std::result::Result<T, RedisServerError>;
