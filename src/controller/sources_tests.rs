use super::*;

#[tokio::test(start_paused = true)]
async fn hints_that_arrive_together_are_gathered_into_one_pass() {
    let (controller, log) = controller(taking(ms(0)));
    let running = start(controller.gather(ms(50)));
    for _ in 0..10 {
        running.trigger.wake(1);
        running.for_ms(4).await;
    }
    running.for_ms(1000).await;
    assert_eq!(log.begun(1), [50]);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_steady_flow_of_hints_does_not_put_a_pass_off_for_ever() {
    let (controller, log) = controller(taking(ms(0)));
    let running = start(controller.gather(ms(50)));
    for _ in 0..100 {
        running.trigger.wake(1);
        running.for_ms(10).await;
    }
    assert!(log.begun(1).len() >= 15, "{:?}", log.begun(1));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn keys_come_from_any_number_of_streams_and_one_that_ends_or_panics_is_missed_by_nobody() {
    let (controller, log) = controller(taking(ms(0)));
    let later = |key, at| {
        stream::once(async move {
            time::sleep(ms(at)).await;
            key
        })
    };
    let controller = controller
        .trigger("ends at once", stream::iter([1, 2]))
        .trigger(
            "panics",
            stream::once(async { panic!("as the test wants it") }),
        )
        .trigger(
            "goes on",
            later(3, 100).chain(later(4, 100)).chain(stream::pending()),
        );
    let running = start(controller);
    running.for_ms(1000).await;
    running.trigger.wake(5);
    running.for_ms(10).await;
    assert_eq!(log.keys_begun(), [1, 2, 3, 4, 5]);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_never_pauses_starves_nobody() {
    let (controller, log) = controller(taking(ms(0)));
    let running = start(controller.trigger("floods", stream::repeat(1)));
    let until = time::timeout(Duration::from_secs(60), async {
        while log.begun(2).is_empty() {
            running.trigger.wake(2);
            tokio::task::yield_now().await;
        }
    });
    until.await.expect("a pass for the other key");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_resync_visits_all_keys_spread_over_the_interval() {
    let (controller, log) = controller(taking(ms(0)));
    let running = start(controller.resync(Duration::from_secs(10), || 0..5));
    running.for_ms(9_000).await;
    assert_eq!(log.keys_begun(), [0_u8; 0]);
    running.for_ms(10_900).await;
    let begun: Vec<_> = (0..5).map(|key| log.begun(key)).collect();
    assert_eq!(begun, [[10_000], [12_000], [14_000], [16_000], [18_000]]);
    running.for_ms(10_000).await;
    assert!((0..5).all(|key| log.begun(key).len() == 2));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_resync_without_keys_or_without_an_interval_does_no_harm() {
    let (controller, log) = controller(taking(ms(0)));
    let controller = controller
        .resync(ms(10), Vec::new)
        .resync(Duration::ZERO, || [1]);
    let running = start(controller);
    running.for_ms(100).await;
    assert!(
        (50..=101).contains(&log.begun(1).len()),
        "{}",
        log.begun(1).len()
    );
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn no_pass_begins_before_readiness_and_what_came_meanwhile_is_one_pass_each() {
    let (mut writer, objects) = cache(|key: &u8| *key);
    let (also, ready) = oneshot::channel::<()>();
    let (controller, log) = controller(taking(ms(0)));
    let controller = controller
        .ready_when({
            let objects = objects.clone();
            async move { objects.wait_until_ready().await }
        })
        .ready_when(ready)
        .trigger("source", stream::iter([1, 2, 1]).chain(stream::pending()));
    let running = start(controller);
    running.trigger.wake(1);
    running.for_ms(1000).await;
    writer.apply(crate::watch::WatchEvent::Init);
    writer.apply(crate::watch::WatchEvent::InitDone);
    running.for_ms(1000).await;
    assert_eq!(log.keys_begun(), [0_u8; 0]);
    also.send(()).unwrap();
    running.for_ms(1000).await;
    assert_eq!(log.keys_begun(), [1, 2]);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_readiness_that_can_never_come_ends_the_run_with_its_cause() {
    let (writer, objects) = cache::<u8, u8>(|key| *key);
    let (controller, log) = controller(taking(ms(0)));
    let running = start(controller.ready_when(async move { objects.wait_until_ready().await }));
    running.trigger.wake(1);
    running.for_ms(10).await;
    drop(writer);
    let RunError::NeverReady(cause) = running.run.await.unwrap().unwrap_err();
    assert!(cause.downcast_ref::<WriterGone>().is_some());
    assert_eq!(log.keys_begun(), [0_u8; 0]);
}

#[tokio::test(start_paused = true)]
async fn thousands_of_keys_that_always_want_another_pass_all_get_it() {
    struct Always(Mutex<BTreeMap<u32, u32>>, Arc<Semaphore>);
    impl Reconciler for Always {
        type Key = u32;
        type Error = io::Error;
        async fn reconcile(&self, key: u32) -> Pass {
            let mut passes = self.0.lock();
            let passes = passes.entry(key).or_default();
            *passes += 1;
            if *passes == 3 {
                self.1.add_permits(1);
            }
            Ok(Requeue::After(Duration::ZERO))
        }
    }
    let thrice = Arc::new(Semaphore::new(0));
    let always = Always(Mutex::default(), Arc::clone(&thrice));
    let controller = Controller::new(always, StdRng::seed_from_u64(1)).concurrency(100);
    let controller = controller.trigger("all", stream::iter(0..5000));
    let shutdown = CancellationToken::new();
    let run = tokio::spawn(controller.run(shutdown.clone()));
    let all = time::timeout(Duration::from_secs(60), thrice.acquire_many(5000)).await;
    all.expect("three passes for every key").unwrap().forget();
    shutdown.cancel();
    run.await.unwrap().unwrap();
}
