//! What seldom happens, waited for beside something that moves all the time.
//!
//! A task that waits for several things looks at all of them whenever it is woken by one. Looking at a timer or at a token for the end
//! takes locks; so this remembers whether it was what woke, and else is not looked at.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use parking_lot::Mutex;

/// See the module.
#[derive(Debug)]
pub struct Seldom<F> {
    future: F,
    told: Arc<Told>,
    /// `told` as a waker.
    waker: Waker,
    /// Whom it wakes.
    who: Option<Waker>,
}

#[derive(Debug, Default)]
struct Told {
    woken: AtomicBool,
    who: Mutex<Option<Waker>>,
}

impl Wake for Told {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        if let Some(who) = &*self.who.lock() {
            who.wake_by_ref();
        }
    }
}

impl<F> Seldom<F> {
    /// Nobody looked at it yet.
    pub fn new(future: F) -> Self {
        let told = Arc::new(Told {
            woken: AtomicBool::new(true),
            who: Mutex::default(),
        });
        Self {
            future,
            waker: Waker::from(Arc::clone(&told)),
            told,
            who: None,
        }
    }

    /// What is waited for.
    pub const fn get(&self) -> &F {
        &self.future
    }

    /// To change it; it is looked at when it is next waited for.
    pub fn change(&mut self) -> &mut F {
        self.told.woken.store(true, Ordering::Release);
        &mut self.future
    }
}

impl<F: Future + Unpin> Seldom<F> {
    fn look(&mut self) -> Poll<F::Output> {
        // Woken from here on, it is looked at once more.
        if !self.told.woken.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        let polled = Pin::new(&mut self.future).poll(&mut Context::from_waker(&self.waker));
        if polled.is_ready() {
            // A timer may be asked again.
            self.told.woken.store(true, Ordering::Release);
        }
        polled
    }
}

impl<F: Future + Unpin> Future for Seldom<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        if this
            .who
            .as_ref()
            .is_none_or(|who| !who.will_wake(cx.waker()))
        {
            *this.told.who.lock() = Some(cx.waker().clone());
            this.who = Some(cx.waker().clone());
        }
        this.look()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_looked_at_once_and_when_it_wakes() {
        let (tell, mut told) = oneshot::channel();
        let looks = AtomicUsize::new(0);
        let counted = std::future::poll_fn(|cx| {
            looks.fetch_add(1, Ordering::Relaxed);
            Pin::new(&mut told).poll(cx)
        });
        let mut seldom = Seldom::new(counted);
        let mut often = tokio::time::interval(Duration::from_millis(1));
        for _ in 0..100 {
            tokio::select! {
                biased;
                _ = &mut seldom => unreachable!("nobody told"),
                _ = often.tick() => {}
            }
        }
        assert_eq!(looks.load(Ordering::Relaxed), 1);
        assert!(tell.send(7).is_ok());
        assert_eq!(seldom.await, Ok(7));
        assert_eq!(looks.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn another_task_that_waits_on_is_woken_too() {
        let mut seldom = Seldom::new(Box::pin(tokio::time::sleep(Duration::from_secs(9))));
        let within = tokio::time::timeout(Duration::from_secs(3), &mut seldom);
        assert!(within.await.is_err());
        let other = tokio::spawn(seldom);
        assert!(other.await.is_ok());
    }
}
