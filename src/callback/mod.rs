//! Callbacks: what became of a kept request, posted to who asked for that with `X-Callback-Url`.
//!
//! Owns which addresses may be called ([`Target`], [`Rules`]), how a call is signed ([`signature`]), what its end means ([`judge`]),
//! and the call itself ([`Caller`]). Knows no journal: the proxy's loop takes calls that are due from there and tells how they ended.
//!
//! Whoever may ask an agent names the address, so it is never trusted (server-side request forgery): https to a host that the agent's
//! spec lists; its name is resolved once, every address of it must be a public one, and the connection goes to one of these and
//! nowhere else.

mod address;
mod here;
mod policy;
mod post;
mod signature;
mod target;

pub use self::address::Rules;
pub use self::policy::{Verdict, judge};
pub use self::post::{CallError, Caller, Networks, Resolve, resolver};
pub use self::signature::{SIGNATURE, signature};
pub use self::target::{NotAllowed, Target};
