//! Law 4 where the engine chooses addresses: after each event a new connection is used only when the container behind it
//! is still the one that is meant.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use agentainer::endpoints::Holding;
use agentainer::observed::ContainerId;
use http::StatusCode;

use crate::agents::{Agent, mirror};
use crate::rig::Rig;

/// A front end before one agent; whether its container holds its address, and how often that was asked.
async fn rig() -> (Rig, Agent, Arc<AtomicBool>, Arc<AtomicUsize>) {
    let (rig, agent) = (Rig::new(), mirror().await);
    let (holds, asked) = (
        Arc::new(AtomicBool::new(true)),
        Arc::<AtomicUsize>::default(),
    );
    let (answer, count) = (Arc::clone(&holds), Arc::clone(&asked));
    rig.endpoints
        .check_with(Arc::new(move |name, container, address| {
            assert_eq!((name.as_str(), container.0.as_str()), ("users", "c1"));
            assert!(address.is_loopback());
            count.fetch_add(1, Ordering::SeqCst);
            let holds = answer.load(Ordering::SeqCst);
            let holding = if holds { Holding::Has } else { Holding::HasNot };
            Box::pin(async move { holding })
        }));
    rig.ready("users", &[("c1", agent.address)]);
    (rig, agent, holds, asked)
}

#[tokio::test]
async fn law_4_on_an_adopted_network_an_address_is_checked_after_each_event_and_not_else() {
    let (rig, agent, holds, asked) = rig().await;
    rig.endpoints.set_adopted(true);
    let id = ContainerId("c1".to_owned());
    for round in 1..=3 {
        for _ in 0..5 {
            assert_eq!(rig.get("/agent/users/").await.status, StatusCode::OK);
            // Another connection for the next one.
            rig.endpoints.let_go(&id);
        }
        assert_eq!(asked.load(Ordering::SeqCst), round, "once for each event");
        rig.endpoints.unsettle();
    }
    assert!(agent.connections() >= 15);
    let before = agent.requests();
    holds.store(false, Ordering::SeqCst);
    let refused = rig.get("/agent/users/").await;
    assert!(refused.status.is_server_error(), "{refused:?}");
    assert_eq!(agent.requests(), before, "not a byte of it was sent");
    // It is asked each time until it is sure again.
    holds.store(true, Ordering::SeqCst);
    assert_eq!(rig.get("/agent/users/").await.status, StatusCode::OK);
}

#[tokio::test]
async fn on_a_network_of_ours_nobody_is_asked() {
    let (rig, _agent, holds, asked) = rig().await;
    holds.store(false, Ordering::SeqCst);
    rig.endpoints.unsettle();
    assert_eq!(rig.get("/agent/users/").await.status, StatusCode::OK);
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn many_connections_at_once_are_one_question() {
    let (rig, _agent, _holds, asked) = rig().await;
    rig.endpoints.set_adopted(true);
    let all = futures::future::join_all((0..50).map(|_| rig.get("/agent/users/"))).await;
    assert!(all.iter().all(|answer| answer.status == StatusCode::OK));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn law_6_a_silent_engine_stops_no_routing_but_to_a_container_whose_end_was_told() {
    let (rig, agent) = (Rig::new(), mirror().await);
    let asked = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&asked);
    rig.endpoints.check_with(Arc::new(move |_, _, _| {
        count.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Holding::Silent })
    }));
    rig.endpoints.set_adopted(true);
    rig.ready("users", &[("c1", agent.address)]);
    let all = futures::future::join_all((0..50).map(|_| rig.get("/agent/users/"))).await;
    assert!(all.iter().all(|answer| answer.status == StatusCode::OK));
    assert_eq!(asked.load(Ordering::SeqCst), 1, "not asked again and again");

    let before = agent.requests();
    rig.endpoints.unsettle();
    rig.endpoints.let_go(&ContainerId("c1".to_owned()));
    let refused = rig.get("/agent/users/").await;
    assert!(refused.status.is_server_error(), "{refused:?}");
    assert_eq!(agent.requests(), before, "law 4 goes first");
}
