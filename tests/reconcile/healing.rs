//! What somebody else does to containers and network is found and mended: by the event at once, without one by the
//! resync.

use agentainer::observed::Limits;
use serde_json::json;

use crate::calls::Trouble;
use crate::world::{RESYNC, World, s};

type Hand = fn(&World);

/// What is done to the only container of `users`.
const HANDS: [(&str, Hand); 10] = [
    ("rm -f", |w| w.engine.remove_by_hand(&w.only("users").id)),
    ("kill", |w| w.engine.kill_by_hand(&w.only("users").id)),
    ("stop", |w| w.engine.stop_by_hand(&w.only("users").id)),
    ("pause", |w| w.engine.pause_by_hand(&w.only("users").id)),
    ("exit 0", |w| w.engine.exit(&w.only("users").id, 0)),
    ("exit 1", |w| w.engine.exit(&w.only("users").id, 1)),
    ("network disconnect", |w| {
        let network = w.port.look_at_network().unwrap().id;
        w.engine.disconnect_by_hand(&w.only("users").id, &network);
    }),
    ("update", |w| {
        w.engine
            .update_by_hand(&w.only("users").id, Limits::default());
    }),
    ("network rm", |w| {
        let network = w.port.look_at_network().unwrap().id;
        w.engine.remove_network_by_hand(&network);
    }),
    ("pause, then rm -f", |w| {
        w.engine.pause_by_hand(&w.only("users").id);
        w.engine.remove_by_hand(&w.only("users").id);
    }),
];

#[tokio::test(start_paused = true)]
async fn law_1_what_somebody_else_does_is_mended_within_a_second() {
    for (word, hand) in HANDS {
        let mut world = World::new(10).await;
        world.apply("users", json!({})).await;
        world.settle_within(s(10)).await;
        hand(&world);
        let took = world.match_within(s(60)).await;
        assert!(took <= s(1), "{word}: {took:?}");
        let limits = world.only("users").limits;
        assert_eq!(limits.pids, 512, "{word}");
        world.settle_within(s(1)).await;
        assert!(world.names_are_right("users"), "{word}");
    }
}

#[tokio::test(start_paused = true)]
async fn law_1_without_any_event_it_is_mended_by_the_resync() {
    for (word, hand) in HANDS {
        let mut world = World::without_server(11).await;
        world
            .calls
            .judge(|call| (call.name == "events").then_some(Trouble::Hangs));
        world.serve().await;
        world.apply("users", json!({})).await;
        world.settle_within(s(30)).await;
        hand(&world);
        let took = world.match_within(RESYNC * 3).await;
        assert!(took <= RESYNC * 2, "{word}: {took:?}");
        assert_eq!(world.only("users").limits.pids, 512, "{word}");
    }
}

#[tokio::test(start_paused = true)]
async fn containers_are_connected_again_when_the_network_was_made_again() {
    let mut world = World::new(12).await;
    world.apply("users", json!({"replicas": 3})).await;
    world.apply("auth", json!({})).await;
    world.settle_within(s(10)).await;
    let before = (world.untouched("users"), world.untouched("auth"));
    for _ in 0..3 {
        let network = world.port.look_at_network().unwrap().id;
        world.engine.remove_network_by_hand(&network);
        let took = world.match_within(s(10)).await;
        assert!(took <= s(1), "{took:?}");
        assert_ne!(world.port.look_at_network().unwrap().id, network);
    }
    world.settle_within(s(1)).await;
    assert_eq!((world.untouched("users"), world.untouched("auth")), before);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_killed_again_and_again_comes_back_every_time() {
    let mut world = World::new(13).await;
    world.apply("users", json!({})).await;
    world.settle_within(s(10)).await;
    for round in 0..6_u64 {
        world.engine.kill_by_hand(&world.only("users").id);
        // 1 s, doubled each time; a tenth of a minute apart, so never longer than 32 s.
        world.match_within(s(40)).await;
        tokio::time::sleep(s(round)).await;
    }
    world.settle_within(s(1)).await;
    assert_eq!(world.engine.count("create"), 1);
}

#[tokio::test(start_paused = true)]
async fn law_4_one_whose_address_somebody_took_while_it_was_down_gets_another() {
    let mut world = World::new(14).await;
    world.apply("users", json!({})).await;
    world.settle_within(s(10)).await;
    let network = world.port.look_at_network().unwrap().id;
    let address = |world: &World| {
        let place = world.only("users").attachment.unwrap();
        (place.asked_ip.unwrap(), place.ip.unwrap())
    };
    let (before, _) = address(&world);
    // Whether or not the host's pass hears of it before the start.
    for told in [true, false] {
        let (before, _) = address(&world);
        world.apply("users", json!({"state": "stopped"})).await;
        world.match_within(s(60)).await;
        world
            .engine
            .run_by_hand(&format!("squatter-{told}"), &network, before);
        if told {
            tokio::time::sleep(s(5)).await;
        }
        world.apply("users", json!({})).await;
        let took = world.match_within(s(60)).await;
        assert!(took <= s(5), "told: {told}, {took:?}");
        let (asked, present) = address(&world);
        assert_ne!(asked, before);
        assert_eq!(std::net::IpAddr::V4(asked), present);
        assert_eq!(world.engine.count("create"), 1, "it is the same container");
    }
    assert_ne!(address(&world).0, before);
    world.settle_within(s(10)).await;
}

#[tokio::test(start_paused = true)]
async fn law_4_one_that_was_disconnected_does_not_come_back_under_an_address_that_another_got() {
    let mut world = World::new(15).await;
    world.apply("users", json!({})).await;
    world.settle_within(s(10)).await;
    let network = world.port.look_at_network().unwrap().id;
    let container = world.only("users");
    let before = container.attachment.unwrap().asked_ip.unwrap();
    world.engine.disconnect_by_hand(&container.id, &network);
    world.engine.run_by_hand("squatter", &network, before);
    let took = world.match_within(s(60)).await;
    assert!(took <= s(5), "{took:?}");
    assert_ne!(
        world.only("users").attachment.unwrap().asked_ip.unwrap(),
        before
    );
    world.settle_within(s(10)).await;
}

#[tokio::test(start_paused = true)]
async fn law_5_what_is_in_flight_is_given_up_only_where_the_container_lost_its_address() {
    let more: [(&str, Hand); 3] = [
        ("the engine away", |w| w.engine.set_down(true)),
        ("the store away", |w| {
            w.calls
                .judge(|call| (!call.engine).then_some(Trouble::Fails));
        }),
        ("the store wiped", |w| w.store.wipe()),
    ];
    let gone = ["kill", "stop", "exit 0", "exit 1", "network disconnect"];
    let stays = ["pause", "update"];
    let ways = HANDS
        .into_iter()
        .filter(|(word, _)| gone.contains(word) || stays.contains(word))
        .chain(more);
    for (word, hand) in ways {
        let mut world = World::new(16).await;
        world.apply("users", json!({})).await;
        world.settle_within(s(10)).await;
        let in_flight = world.endpoint(&world.only("users")).enter();
        hand(&world);
        world.pass(s(20)).await;
        let turns = in_flight.endpoint().departure().turns();
        assert_eq!(turns > 0, gone.contains(&word), "{word}: {turns}");
    }
    // Nor by a drain, for as long as it goes on.
    let mut world = World::new(17).await;
    world.apply("users", json!({})).await;
    world.settle_within(s(10)).await;
    let in_flight = world.endpoint(&world.only("users")).enter();
    world.roll("users").await;
    world.pass(s(20)).await;
    assert_eq!(world.containers("users").len(), 2, "it drains");
    assert_eq!(in_flight.endpoint().departure().turns(), 0);
}
