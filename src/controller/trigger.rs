//! The handle that wakes keys from anywhere.
//!
//! An inbox shared between any number of wakers and one controller. It keeps the earliest time per key, so its size is bounded
//! by the number of keys however often they are woken, and waking never waits.

use std::{collections::BTreeMap, fmt, mem, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

/// Wakes keys of one controller. Cheap to clone; every clone wakes the same controller.
///
/// # Guarantees
///
/// - After a wake-up, a pass for its key *begins*, at the time asked for or as soon after as the limit, a running pass or a
///   floor after a failure allow. So that pass sees all that was true when the key was woken.
/// - Wake-ups of one key that no pass has answered yet are one wake-up.
/// - Waking is never refused and never waits. Before the controller runs, wake-ups are kept; after it ended they do nothing.
pub struct Trigger<K> {
    inbox: Arc<Inbox<K>>,
}

struct Inbox<K> {
    wanted: Mutex<Wanted<K>>,
    arrived: Notify,
}

struct Wanted<K> {
    keys: BTreeMap<K, Instant>,
    gather: Duration,
}

impl<K: Ord> Trigger<K> {
    pub(super) fn new() -> Self {
        let wanted = Wanted {
            keys: BTreeMap::new(),
            gather: Duration::ZERO,
        };
        Self {
            inbox: Arc::new(Inbox {
                wanted: Mutex::new(wanted),
                arrived: Notify::new(),
            }),
        }
    }

    /// Wants a pass for `key` now.
    pub fn wake(&self, key: K) {
        self.want(key, None);
    }

    /// Wants a pass for `key` at `at`; a time in the past is now.
    pub fn wake_at(&self, key: K, at: Instant) {
        self.want(key, Some(at));
    }

    fn want(&self, key: K, at: Option<Instant>) {
        {
            let mut wanted = self.inbox.wanted.lock();
            let at = at.unwrap_or_else(|| later(Instant::now(), wanted.gather));
            wanted
                .keys
                .entry(key)
                .and_modify(|held| *held = at.min(*held))
                .or_insert(at);
        }
        self.inbox.arrived.notify_one();
    }

    /// How long a wake-up for *now* waits for others of its key.
    pub(super) fn set_gather(&self, gather: Duration) {
        self.inbox.wanted.lock().gather = gather;
    }

    /// Empties the inbox.
    pub(super) fn take(&self) -> BTreeMap<K, Instant> {
        mem::take(&mut self.inbox.wanted.lock().keys)
    }

    /// Waits until something was wanted since the last wait. For one waiter.
    pub(super) async fn arrived(&self) {
        self.inbox.arrived.notified().await;
    }
}

impl<K> Clone for Trigger<K> {
    fn clone(&self) -> Self {
        Self {
            inbox: Arc::clone(&self.inbox),
        }
    }
}

impl<K> fmt::Debug for Trigger<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trigger").finish_non_exhaustive()
    }
}

/// `now + after`, or a year from now where that is beyond what the clock can say.
pub(super) fn later(now: Instant, after: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    now.checked_add(after)
        .or_else(|| now.checked_add(YEAR))
        .unwrap_or(now)
}
