use super::*;

#[tokio::test(start_paused = true)]
async fn a_woken_key_gets_one_pass() {
    let (controller, log) = controller(taking(ms(0)));
    let running = start(controller);
    running.for_ms(5).await;
    running.trigger.wake(1);
    running.for_ms(1000).await;
    assert_eq!(log.keys_begun(), [1]);
    assert_eq!(log.begun(1)[0], 5);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_woken_before_the_run_is_kept() {
    let (controller, log) = controller(taking(ms(0)));
    controller.handle().wake(1);
    time::sleep(ms(50)).await;
    let running = start(controller);
    running.for_ms(1).await;
    assert_eq!(log.keys_begun(), [1]);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn many_wake_ups_of_one_key_are_one_pass() {
    let (controller, log) = controller(taking(ms(10)));
    let running = start(controller);
    for key in [1, 2, 1, 1, 2] {
        running.trigger.wake(key);
    }
    running.for_ms(1000).await;
    assert_eq!(log.keys_begun(), [1, 2]);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_key_woken_during_its_pass_gets_exactly_one_more_after_it() {
    let (controller, log) = controller(taking(ms(100)));
    let running = start(controller);
    running.trigger.wake(1);
    for _ in 0..3 {
        running.for_ms(20).await;
        running.trigger.wake(1);
    }
    running.for_ms(1000).await;
    assert_eq!(log.begun(1).len(), 2);
    assert!((100..105).contains(&log.begun(1)[1]), "{:?}", log.begun(1));
    assert_eq!(log.most_at_once(), (1, 1));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_key_whose_pass_is_long_holds_up_no_other() {
    let (controller, log) = controller(|key, _| {
        async move {
            time::sleep(ms(if key == 1 { 10_000 } else { 1 })).await;
            Ok(Requeue::Done)
        }
        .boxed()
    });
    let running = start(controller.concurrency(2));
    running.trigger.wake(1);
    running.for_ms(1).await;
    running.trigger.wake(1);
    running.trigger.wake(2);
    running.for_ms(100).await;
    assert_eq!(log.keys_begun(), [1, 2]);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn no_more_passes_run_at_once_than_the_limit_and_all_run_in_the_end() {
    for limit in [1, 2, 5] {
        let (controller, log) = controller(taking(ms(10)));
        let running = start(controller.concurrency(limit));
        (0..12).for_each(|key| running.trigger.wake(key));
        running.for_ms(1000).await;
        assert_eq!(log.most_at_once(), (limit, 1));
        assert_eq!(log.keys_begun(), (0..12).collect::<Vec<_>>());
        running.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_none_is_a_limit_of_one() {
    let (controller, log) = controller(taking(ms(10)));
    let running = start(controller.concurrency(0));
    (0..3).for_each(|key| running.trigger.wake(key));
    running.for_ms(1000).await;
    assert_eq!(
        (log.keys_begun(), log.most_at_once()),
        (vec![0, 1, 2], (1, 1))
    );
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_pass_may_ask_for_another_and_a_wake_up_comes_first() {
    let (controller, log) = controller(|_, nth| {
        async move {
            Ok(if nth < 4 {
                Requeue::After(Duration::from_secs(10))
            } else {
                Requeue::Done
            })
        }
        .boxed()
    });
    let running = start(controller);
    running.trigger.wake(1);
    running.for_ms(15_000).await;
    running.trigger.wake(1);
    running.for_ms(100_000).await;
    let begun: Vec<_> = log.begun(1).iter().map(|at| at / 1000).collect();
    assert_eq!(
        begun,
        [0, 10, 15, 25],
        "the wake-up at 15 s replaced the pass at 20 s"
    );
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_key_can_be_wanted_at_a_time_and_the_earliest_wins() {
    let (controller, log) = controller(taking(ms(0)));
    let running = start(controller);
    let now = Instant::now();
    running.trigger.wake_at(1, now + ms(500));
    running.trigger.wake_at(1, now + ms(200));
    running.trigger.wake_at(2, now + ms(200));
    running.trigger.wake_at(2, now + ms(500));
    running.for_ms(10).await;
    running.trigger.wake_at(1, now + ms(300));
    running.trigger.wake_at(2, now + ms(100));
    running.for_ms(1000).await;
    assert_eq!((log.begun(1), log.begun(2)), (vec![200], vec![100]));
    running.trigger.wake_at(3, now);
    running.trigger.wake_at(3, now + ms(9000));
    running.for_ms(1).await;
    assert_eq!(log.begun(3).len(), 1, "a time in the past is now");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_time_beyond_all_time_harms_nobody() {
    let (controller, log) = controller(|key, _| {
        async move {
            Ok(if key == 1 {
                Requeue::After(Duration::MAX)
            } else {
                Requeue::Done
            })
        }
        .boxed()
    });
    let running = start(controller);
    running.trigger.wake(1);
    running.for_ms(1000 * 3600 * 48).await;
    running.trigger.wake(2);
    running.for_ms(10).await;
    assert_eq!(log.keys_begun(), [1, 2]);
    running.stop().await;
}
