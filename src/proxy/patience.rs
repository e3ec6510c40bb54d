//! How long a body is waited for: between two pieces, and in all.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::broke::Broke;

/// Why a body ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The peer's message broke off or was malformed.
    #[error("the message broke off")]
    Broken(#[from] hyper::Error),
    /// The agent's answer broke off.
    #[error("the answer broke off")]
    Cut(#[source] Broke),
    /// It ended before its length.
    #[error("it is shorter than its Content-Length")]
    Short,
    /// No piece of it came within `proxy.timeouts.idle`.
    #[error("nothing came for {0:?} (proxy.timeouts.idle)")]
    Idle(Duration),
    /// The whole exchange took longer than `proxy.timeouts.total`.
    #[error("the exchange took longer than proxy.timeouts.total")]
    Total,
    /// The request was cancelled while its answer came.
    #[error("the request was cancelled")]
    Cancelled,
    /// It was taken back from the connection that it was lent to.
    #[error("the body was taken back")]
    TakenBack,
}

/// When a body is given up.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limits {
    /// Between two pieces; zero: never.
    pub(super) idle: Duration,
    /// At the latest.
    pub(super) deadline: Option<Instant>,
}

/// Watches [`Limits`] while a body has nothing to give. A body that flows never touches a timer.
#[derive(Debug)]
pub(super) struct Patience {
    limits: Limits,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    pub(super) const fn new(limits: Limits) -> Self {
        Self {
            limits,
            waiting: None,
        }
    }

    /// Ready with the reason once it waited for too long. To be asked whenever nothing is there.
    pub(super) fn lost(&mut self, cx: &mut Context<'_>) -> Poll<BodyError> {
        let sleep = match &mut self.waiting {
            Some(sleep) => sleep,
            none => {
                let idle = (!self.limits.idle.is_zero()).then(|| Instant::now() + self.limits.idle);
                let Some(until) = [idle, self.limits.deadline].into_iter().flatten().min() else {
                    return Poll::Pending;
                };
                none.insert(Box::pin(tokio::time::sleep_until(until)))
            }
        };
        ready!(sleep.as_mut().poll(cx));
        let total = self
            .limits
            .deadline
            .is_some_and(|deadline| sleep.deadline() >= deadline);
        Poll::Ready(if total {
            BodyError::Total
        } else {
            BodyError::Idle(self.limits.idle)
        })
    }

    /// Something came.
    pub(super) fn moved(&mut self) {
        self.waiting = None;
    }
}
