use super::*;

#[tokio::test]
async fn the_cache_is_ready_after_its_first_list_even_if_that_is_empty() {
    let (mut writer, cache) = objects();
    assert_eq!(cache.wait_until_ready().now_or_never(), None);
    apply(&mut writer, &[Apply(("a", 1)), Init, InitApply(("a", 1))]);
    assert_eq!(
        (cache.is_ready(), cache.wait_until_ready().now_or_never()),
        (false, None)
    );
    apply(&mut writer, &[InitDone]);
    assert_eq!(
        (cache.is_ready(), cache.wait_until_ready().await),
        (true, Ok(()))
    );
    apply(&mut writer, &[Init]);
    assert!(cache.is_ready(), "a relist does not make it unready");

    let (mut writer, cache) = objects();
    let waiter = tokio::spawn({
        let cache = cache.clone();
        async move { cache.wait_until_ready().await }
    });
    tokio::task::yield_now().await;
    apply(&mut writer, &[Init, InitDone]);
    assert_eq!(
        timeout(Duration::from_secs(1), waiter)
            .await
            .unwrap()
            .unwrap(),
        Ok(())
    );
}

#[tokio::test]
async fn waiting_for_a_writer_that_is_gone_is_an_error_and_what_was_known_stays() {
    let (mut writer, cache) = objects();
    apply(&mut writer, &[Apply(("a", 1))]);
    drop(writer);
    assert_eq!(cache.wait_until_ready().await, Err(WriterGone));
    assert_eq!(content(&cache), [("a", 1)]);

    let (mut writer, cache) = objects();
    apply(&mut writer, &[Init, InitDone]);
    drop(writer);
    assert_eq!(
        cache.wait_until_ready().await,
        Ok(()),
        "it was ready before"
    );
}

#[tokio::test]
async fn one_can_wait_for_what_the_objects_shall_be() {
    let (mut writer, cache) = objects();
    apply(&mut writer, &[Init, InitDone]);
    let waiter = tokio::spawn({
        let cache = cache.clone();
        async move { cache.wait_until(|objects| objects.len() == 2).await }
    });
    tokio::task::yield_now().await;
    apply(&mut writer, &[Apply(("a", 1)), Apply(("b", 1))]);
    let found = timeout(Duration::from_secs(1), waiter)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(found.keys().copied().collect::<Vec<_>>(), ["a", "b"]);
    drop(writer);
    assert_eq!(
        cache
            .wait_until(|objects| objects.len() == 3)
            .await
            .unwrap_err(),
        WriterGone
    );
}
