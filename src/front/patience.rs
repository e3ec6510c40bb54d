//! How long a request's head is waited for on one connection.
//!
//! hyper wants a new timer for each request, from the end of the one before. Handed to the runtime each time, that is its lock
//! twice a request, and its waking whenever nothing else is due sooner. So a connection has one timer, which is left where it is
//! while requests come; when it fires it is set to when the present one is really due.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Sleep, Timer};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::proxy::Seldom;

/// The timer of one connection, of which one part is waited for at a time.
#[derive(Debug, Default)]
pub(super) struct Patience(Arc<Set>);

type Set = Mutex<Option<Seldom<Pin<Box<tokio::time::Sleep>>>>>;

impl Timer for Patience {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: std::time::Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(Until {
            deadline: deadline.into(),
            set: Arc::clone(&self.0),
        })
    }

    fn now(&self) -> std::time::Instant {
        Instant::now().into()
    }
}

/// One head's time.
#[derive(Debug)]
struct Until {
    deadline: Instant,
    set: Arc<Set>,
}

impl Sleep for Until {}

impl Future for Until {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut set = self.set.lock();
        let timer = set
            .get_or_insert_with(|| Seldom::new(Box::pin(tokio::time::sleep_until(self.deadline))));
        if timer.get().deadline() > self.deadline {
            timer.change().as_mut().reset(self.deadline);
        }
        ready!(Pin::new(&mut *timer).poll(cx));
        if timer.get().deadline() < self.deadline {
            timer.change().as_mut().reset(self.deadline);
            ready!(Pin::new(&mut *timer).poll(cx));
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHILE: Duration = Duration::from_secs(60);

    fn seconds(since: Instant) -> u64 {
        since.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn each_part_ends_when_it_is_due_whatever_came_before() {
        let (patience, begun) = (Patience::default(), Instant::now());
        for _ in 0..5 {
            // A request that came in time.
            let part = patience.sleep(WHILE);
            let came = tokio::time::timeout(Duration::from_secs(20), part).await;
            assert!(came.is_err());
        }
        assert_eq!(seconds(begun), 100);
        patience.sleep(WHILE).await;
        assert_eq!(seconds(begun), 160);
        patience.sleep(WHILE).await;
        assert_eq!(seconds(begun), 220, "and again after it fired");
        patience.sleep(WHILE / 2).await;
        assert_eq!(seconds(begun), 250);
        let long = patience.sleep(WHILE);
        assert!(tokio::time::timeout(WHILE / 4, long).await.is_err());
        patience.sleep(WHILE / 4).await;
        assert_eq!(seconds(begun), 280, "one that is due sooner");
    }
}
