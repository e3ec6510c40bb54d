use super::*;

#[tokio::test(start_paused = true)]
async fn shutdown_is_heard_while_waiting_for_readiness() {
    let (controller, _) = controller(taking(ms(0)));
    let running = start(controller.ready_when(std::future::pending::<Result<(), WriterGone>>()));
    running.for_ms(10).await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn after_shutdown_what_runs_finishes_and_nothing_begins() {
    let (controller, log) = controller(taking(ms(1000)));
    let running = start(controller.concurrency(2));
    let trigger = running.trigger.clone();
    (1..=4).for_each(|key| trigger.wake(key));
    running.for_ms(100).await;
    trigger.wake(1);
    running.stop().await;
    assert!((1000..1010).contains(&log.1.elapsed().as_millis()));
    assert_eq!(log.keys_begun(), [1, 2]);
    assert_eq!(log.outcomes(), [Outcome::Done, Outcome::Done]);
    trigger.wake(9);
    time::sleep(ms(5000)).await;
    assert_eq!(log.keys_begun(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn after_shutdown_a_failure_is_not_tried_again() {
    let (controller, log) = controller(|_, _| {
        async {
            time::sleep(ms(100)).await;
            failed()
        }
        .boxed()
    });
    let running = start(controller);
    running.trigger.wake(1);
    running.for_ms(10).await;
    running.stop().await;
    time::sleep(ms(60_000)).await;
    assert_eq!(log.begun(1), [0]);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_shut_down_before_it_starts_makes_no_pass() {
    let (controller, log) = controller(taking(ms(0)));
    controller.handle().wake(1);
    let shutdown = CancellationToken::new();
    shutdown.cancel();
    controller.run(shutdown).await.unwrap();
    assert_eq!(log.keys_begun(), [0_u8; 0]);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_run_aborts_its_passes() {
    let (controller, log) = controller(taking(Duration::from_secs(3600)));
    let running = start(controller);
    running.trigger.wake(1);
    running.for_ms(10).await;
    running.run.abort();
    time::sleep(ms(10)).await;
    let log: Vec<_> = log
        .0
        .lock()
        .iter()
        .map(|e| (e.what.clone(), e.at < 30))
        .collect();
    assert_eq!(log, [(Began, true), (Ended, true)]);
}
