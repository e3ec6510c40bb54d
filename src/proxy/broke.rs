//! Why an exchange with an agent came to nothing, or broke off.

use std::error::Error as _;
use std::io;

use super::h2c;
use super::patience::BodyError;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum Broke {
    /// The connection failed.
    #[error("the connection failed")]
    Io(#[from] io::Error),
    /// The connection ended in the middle of a message, or before it.
    #[error("the connection ended before the message did")]
    Ended,
    /// What came has no reading as HTTP/1.1.
    #[error("what came is not HTTP/1.1: {0}")]
    Foreign(&'static str),
    /// The request's own body did.
    #[error("the request's body did not arrive whole")]
    Upload(#[source] Box<BodyError>),
    /// On HTTP/2.
    #[error(transparent)]
    Http2(#[from] hyper::Error),
}

impl Broke {
    /// What was wrong with the request's own body, when that was it.
    pub(super) fn upload(&self) -> Option<&BodyError> {
        match self {
            Self::Upload(cause) => Some(cause),
            Self::Http2(error) => error.source().and_then(|cause| cause.downcast_ref()),
            _ => None,
        }
    }

    /// Whether the agent's container is not to be reached any more: it left its address (`line`), or its kernel is silent (`pool`).
    pub(super) fn is_cut_off(&self) -> bool {
        use io::ErrorKind::{HostUnreachable, TimedOut};
        let cause = match self {
            Self::Io(error) => Some(error),
            Self::Http2(error) => error.source().and_then(|cause| cause.downcast_ref()),
            _ => None,
        };
        cause.is_some_and(|cause| matches!(cause.kind(), HostUnreachable | TimedOut))
    }

    /// The protocol that was asked for and not answered in, when that was it.
    pub(super) fn foreign(&self) -> Option<&'static str> {
        match self {
            Self::Foreign(_) => Some("HTTP/1.1 (proxy.protocol)"),
            Self::Http2(error) if h2c::is_foreign(error) => Some("HTTP/2 (proxy.protocol: h2c)"),
            _ => None,
        }
    }
}
