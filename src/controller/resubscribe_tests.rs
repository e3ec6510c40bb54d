#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::{collections::VecDeque, io, time::Duration};

use futures::{FutureExt as _, Stream, StreamExt as _, stream};
use rand::{SeedableRng as _, rngs::StdRng};
use tokio::time::{self, Instant};

use super::{Backoff, resubscribe};

type Item = io::Result<u8>;

fn gone() -> io::Error {
    io::Error::other("gone")
}

/// Each subscription yields the next script and then ends, or does not come about. After the last it waits for ever.
fn scripted(scripts: Vec<io::Result<Vec<Item>>>) -> impl Stream<Item = (u8, Duration)> {
    let (mut scripts, start) = (VecDeque::from(scripts), Instant::now());
    let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(8));
    let open = move || {
        let script = scripts.pop_front();
        async move {
            match script {
                Some(script) => script.map(|items| stream::iter(items).left_stream()),
                None => Ok(stream::pending().right_stream()),
            }
        }
    };
    let items = resubscribe("test", backoff, StdRng::seed_from_u64(1), open);
    items.map(move |item| (item, start.elapsed()))
}

#[tokio::test(start_paused = true)]
async fn items_pass_and_errors_and_ends_are_bridged() {
    let scripts = vec![
        Ok(vec![Ok(1), Ok(2), Err(gone()), Ok(99)]),
        Err(gone()),
        Ok(vec![]),
        Ok(vec![Ok(3)]),
        Ok(vec![Ok(4)]),
    ];
    let mut items = Box::pin(scripted(scripts));
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(items.next().await.unwrap().0);
    }
    assert_eq!(
        seen,
        [1, 2, 3, 4],
        "a stream that failed is not asked again"
    );
    assert!(
        time::timeout(Duration::from_secs(3600), items.next())
            .await
            .is_err(),
        "it never ends"
    );
}

#[tokio::test(start_paused = true)]
async fn the_wait_grows_with_each_failure_up_to_its_maximum() {
    let mut scripts: Vec<_> = (0..6).map(|_| Err(gone())).collect();
    scripts.push(Ok(vec![Ok(1)]));
    let mut items = Box::pin(scripted(scripts));
    let (_, waited) = items.next().await.unwrap();
    // 1 + 2 + 4 + 8 + 8 + 8 at most, half of it at least.
    assert!(
        (Duration::from_secs(15)..=Duration::from_secs(32)).contains(&waited),
        "{waited:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_breaks_at_once_again_and_again_does_not_count_as_recovered() {
    let scripts = (0..6).map(|n| Ok(vec![Ok(n), Err(gone())])).collect();
    let waits: Vec<_> = scripted(scripts).take(6).map(|(_, at)| at).collect().await;
    let gaps: Vec<_> = waits.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps[0] <= Duration::from_secs(1), "{gaps:?}");
    assert!(gaps[4] >= Duration::from_secs(4), "{gaps:?}");
}

#[tokio::test(start_paused = true)]
async fn a_long_time_without_failure_forgets_the_earlier_ones() {
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel::<Item>();
    let mut long = Some(stream::unfold(receiver, |mut r| async move {
        r.recv().await.map(|i| (i, r))
    }));
    let mut opened = 0;
    let open = move || {
        opened += 1;
        let stream = match opened {
            1..=5 => Err(gone()),
            6 => Ok(long.take().unwrap().left_stream()),
            _ => Ok(stream::iter([Ok(2)])
                .chain(stream::pending())
                .right_stream()),
        };
        async move { stream }
    };
    let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(8));
    let mut items = Box::pin(resubscribe("test", backoff, StdRng::seed_from_u64(1), open));
    sender.send(Ok(1)).unwrap();
    assert_eq!(items.next().await, Some(1));
    assert_eq!(items.next().now_or_never(), None);
    time::advance(Duration::from_secs(20)).await;
    let start = Instant::now();
    drop(sender);
    assert_eq!(items.next().await, Some(2));
    assert!(
        start.elapsed() <= Duration::from_millis(1002),
        "{:?}",
        start.elapsed()
    );
}
