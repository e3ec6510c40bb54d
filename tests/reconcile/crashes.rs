//! Law 1: a server that dies again and again. That one death or one fault at any single moment changes nothing of the end is
//! `tests/simulation`'s to show.

use serde_json::json;

use crate::calls::Trouble;
use crate::world::{World, s};

#[tokio::test(start_paused = true)]
async fn twenty_agents_are_made_once_each_however_often_the_server_dies_meanwhile() {
    for every in [3, 7, 20, 45] {
        let mut world = World::without_server(60).await;
        let mut count = 0;
        world.calls.judge(move |call| {
            count += usize::from(call.writes());
            (call.writes() && count % every == 0).then_some(Trouble::DiesAfter)
        });
        for agent in 0..20 {
            world
                .apply(&format!("agent-{agent}"), json!({"image": "users"}))
                .await;
        }
        world.serve().await;
        if every == 3 {
            // So often that it may get nowhere: for a while alone.
            let _ = tokio::time::timeout(s(30), world.until(s(60), "", async |_| false)).await;
            world.calls.heal();
        }
        world.match_within(s(300)).await;
        world.calls.heal();
        world.settle_within(s(60)).await;
        assert_eq!(world.engine.count("create"), 20, "every {every}");
    }
}
