use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use tokio::sync::Notify;

use super::*;

/// What a generated pass does, and for how long.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Done,
    After(u64),
    Fail,
    Panic,
}

#[derive(Debug, Clone)]
struct History {
    seed: u64,
    limit: usize,
    gather: u64,
    deeds: Vec<(Deed, u64)>,
    wakes: Vec<(u8, u64, u64)>,
}

fn history() -> impl Strategy<Value = History> {
    let deed = prop_oneof![
        4 => Just(Deed::Done),
        1 => (0..3000_u64).prop_map(Deed::After),
        2 => Just(Deed::Fail),
        1 => Just(Deed::Panic),
    ];
    let deeds = prop::collection::vec((deed, 0..200_u64), 1..20);
    // A key, how long after the wake-up before it, and how far ahead it is wanted.
    let wakes = prop::collection::vec(
        (
            0..5_u8,
            0..100_u64,
            prop_oneof![3 => Just(0), 1 => 0..500_u64],
        ),
        1..60,
    );
    (
        any::<u64>(),
        1..4_usize,
        prop_oneof![Just(0), Just(20_u64)],
        deeds,
        wakes,
    )
        .prop_map(|(seed, limit, gather, deeds, wakes)| History {
            seed,
            limit,
            gather,
            deeds,
            wakes,
        })
}

/// Plays a history on a runtime of its own and returns what happened.
fn play(history: &History) -> Vec<Entry> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let log = Log::new();
        let deeds = history.deeds.clone();
        let script = move |key: u8, nth: usize| {
            // Every key comes to the end of its deeds, and is good from then on.
            let (deed, took) = deeds
                .get(nth + usize::from(key))
                .copied()
                .unwrap_or((Deed::Done, 1));
            async move {
                time::sleep(ms(took)).await;
                match deed {
                    Deed::Done => Ok(Requeue::Done),
                    Deed::After(after) => Ok(Requeue::After(ms(after))),
                    Deed::Fail => failed(),
                    Deed::Panic => std::panic::resume_unwind(Box::new("as the test wants it")),
                }
            }
            .boxed()
        };
        let controller = Controller::new(
            Script(Box::new(script), log.clone()),
            StdRng::seed_from_u64(history.seed),
        )
        .concurrency(history.limit)
        .gather(ms(history.gather))
        .backoff(Backoff::new(ms(100), ms(2000)))
        .observer(log.clone());
        let running = start(controller);
        for (key, after, ahead) in &history.wakes {
            time::sleep(ms(*after)).await;
            log.push(*key, Woken);
            match ahead {
                0 => running.trigger.wake(*key),
                ahead => running.trigger.wake_at(*key, Instant::now() + ms(*ahead)),
            }
        }
        running.for_ms(1_000_000).await;
        running.stop().await;
        log.0.lock().clone()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_schedule_runs_no_key_twice_at_once_and_loses_no_wake_up(history in history()) {
        let entries = play(&history);
        let (most, most_of_one) = Log(Arc::new(Mutex::new(entries.clone())), Instant::now()).most_at_once();
        prop_assert!(most_of_one <= 1, "two passes of one key at once");
        prop_assert!(most <= history.limit, "{most} passes at once");
        for (place, woken) in entries.iter().enumerate().filter(|(_, entry)| entry.what == Woken) {
            let answer = entries[place..].iter().find(|entry| entry.key == woken.key && entry.what == Began);
            prop_assert!(answer.is_some(), "no pass began after {woken:?}");
        }
        for key in 0..5 {
            let last = entries.iter().rev().find_map(|entry| match &entry.what {
                What::Finished(outcome) if entry.key == key => Some(*outcome),
                _ => None,
            });
            prop_assert!(matches!(last, None | Some(Outcome::Done)), "key {key} was left with {last:?}");
        }
    }

    #[test]
    fn one_seed_and_one_history_give_one_run(history in history()) {
        prop_assert_eq!(play(&history), play(&history));
    }
}

/// Counts what is wanted and what was seen, per key.
struct Counters {
    wanted: Vec<AtomicUsize>,
    seen: Vec<AtomicUsize>,
    running: Vec<AtomicBool>,
    overlapped: AtomicBool,
    progress: Notify,
}

impl Reconciler for Arc<Counters> {
    type Key = usize;
    type Error = io::Error;

    async fn reconcile(&self, key: usize) -> Pass {
        if self.running[key].swap(true, SeqCst) {
            self.overlapped.store(true, SeqCst);
        }
        let wanted = self.wanted[key].load(SeqCst);
        tokio::task::yield_now().await;
        self.seen[key].store(wanted, SeqCst);
        self.running[key].store(false, SeqCst);
        self.progress.notify_one();
        Ok(Requeue::Done)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn wakers_on_many_threads_are_all_answered_and_no_pass_overlaps() {
    const KEYS: usize = 8;
    let zeros = || (0..KEYS).map(|_| AtomicUsize::new(0)).collect();
    let counters = Arc::new(Counters {
        wanted: zeros(),
        seen: zeros(),
        running: (0..KEYS).map(|_| AtomicBool::new(false)).collect(),
        overlapped: AtomicBool::new(false),
        progress: Notify::new(),
    });
    let controller =
        Controller::new(Arc::clone(&counters), StdRng::seed_from_u64(1)).concurrency(3);
    let (trigger, shutdown) = (controller.handle(), CancellationToken::new());
    let run = tokio::spawn(controller.run(shutdown.clone()));
    let wakers = (0..4).map(|_| {
        let (trigger, counters) = (trigger.clone(), Arc::clone(&counters));
        tokio::spawn(async move {
            for n in 0..2000 {
                let key = n % KEYS;
                counters.wanted[key].fetch_add(1, SeqCst);
                trigger.wake(key);
                tokio::task::yield_now().await;
            }
        })
    });
    futures::future::join_all(wakers).await;
    let all_seen = async {
        while (0..KEYS)
            .any(|key| counters.seen[key].load(SeqCst) != counters.wanted[key].load(SeqCst))
        {
            counters.progress.notified().await;
        }
    };
    time::timeout(Duration::from_secs(30), all_seen)
        .await
        .expect("every wake-up answered");
    assert!(
        !counters.overlapped.load(SeqCst),
        "two passes of one key at once"
    );
    shutdown.cancel();
    run.await.unwrap().unwrap();
}
