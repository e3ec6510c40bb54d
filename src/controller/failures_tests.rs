use super::*;

#[tokio::test(start_paused = true)]
async fn failures_back_off_and_success_forgets_them() {
    let (controller, log) = controller(|_, nth| {
        async move {
            if nth == 6 || nth == 8 {
                Ok(Requeue::Done)
            } else {
                failed()
            }
        }
        .boxed()
    });
    let running = start(controller);
    running.trigger.wake(1);
    running.for_ms(100_000).await;
    running.trigger.wake(1);
    running.for_ms(100_000).await;
    let counts: Vec<_> = log
        .outcomes()
        .iter()
        .map(|outcome| match outcome {
            Outcome::Failed { failures, retry_in } => (*failures, *retry_in),
            _ => (0, Duration::ZERO),
        })
        .collect();
    assert_eq!(
        counts
            .iter()
            .map(|(failures, _)| *failures)
            .collect::<Vec<_>>(),
        [1, 2, 3, 4, 5, 0, 1, 0]
    );
    let begun = log.begun(1);
    for (pass, longest) in [1000, 2000, 4000, 8000, 8000].into_iter().enumerate() {
        let waited = begun[pass + 1] - begun[pass];
        assert!(
            (longest / 2..=longest + 5).contains(&waited),
            "{waited} after failure {}",
            pass + 1
        );
        assert!(
            waited.abs_diff(counts[pass].1.as_millis()) <= 2,
            "the observer is told the wait"
        );
    }
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_hint_cuts_a_back_off_short_but_not_below_its_base() {
    let (controller, log) = controller(|_, _| async { failed() }.boxed());
    let running = start(controller.backoff(Backoff::new(ms(100), Duration::from_secs(100))));
    running.trigger.wake(1);
    let last = || log.begun(1).last().copied();
    // Until the wait after a failure is about a minute.
    while log.begun(1).len() < 11 {
        running.for_ms(1000).await;
    }
    running.for_ms(10_000).await;
    assert_eq!(log.begun(1).len(), 11);
    running.trigger.wake(1);
    running.for_ms(5).await;
    let at = log.1.elapsed().as_millis();
    assert!(
        last().is_some_and(|begun| at - begun <= 6),
        "the hint is answered at once"
    );
    let failed_at = last().unwrap();
    running.trigger.wake(1);
    running.for_ms(200).await;
    let waited = last().unwrap() - failed_at;
    assert!(
        (100..105).contains(&waited),
        "{waited}: the next hint waits for the base"
    );
    running.for_ms(10_000).await;
    assert_eq!(log.begun(1).len(), 13, "hints forgive no failure");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_events_that_a_failing_pass_causes_make_no_busy_loop() {
    let trigger: Arc<Mutex<Option<Trigger<u8>>>> = Arc::default();
    let own = Arc::clone(&trigger);
    let (controller, log) = controller(move |key, _| {
        own.lock().as_ref().unwrap().wake(key);
        async { failed() }.boxed()
    });
    *trigger.lock() = Some(controller.handle());
    let running = start(controller);
    running.trigger.wake(1);
    running.for_ms(60_000).await;
    let passes = log.begun(1).len();
    assert!(
        (55..=125).contains(&passes),
        "{passes} in a minute, with a base of one second"
    );
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failure_of_its_key_alone() {
    let (controller, log) = controller(|key, nth| {
        async move {
            assert!(key != 1 || nth > 2, "as the test wants it");
            Ok(Requeue::Done)
        }
        .boxed()
    });
    let running = start(controller);
    running.trigger.wake(1);
    running.trigger.wake(2);
    running.for_ms(60_000).await;
    assert_eq!((log.begun(1).len(), log.begun(2).len()), (3, 1));
    let panics = log
        .outcomes()
        .iter()
        .filter(|o| matches!(o, Outcome::Panicked { .. }))
        .count();
    assert_eq!(panics, 2);
    running.trigger.wake(1);
    running.for_ms(10).await;
    assert_eq!(log.begun(1).len(), 4, "the key is as good as before");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn keys_that_fail_together_do_not_come_back_together() {
    let (controller, log) = controller(|_, nth| {
        async move { if nth > 1 { Ok(Requeue::Done) } else { failed() } }.boxed()
    });
    let running = start(controller.concurrency(50));
    (0..20).for_each(|key| running.trigger.wake(key));
    running.for_ms(10_000).await;
    let second: BTreeSet<_> = (0..20).map(|key| log.begun(key)[1]).collect();
    assert!(second.len() > 10, "{second:?}");
    running.stop().await;
}
