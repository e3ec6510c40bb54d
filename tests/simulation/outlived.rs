//! A pass that outlives the lease it began under. The server stands still in the middle of it, another one leads meanwhile; on
//! waking it leads again, or does not. What the pass saw is another leader's past by then, so that it acts on nothing.
//!
//! Without the terms of the lease (`reconcile/leadership.rs`: a pass acts by the lease with which it began) the first story makes
//! a second container for one place; without the lease at all the second one does.

use serde_json::json;

use crate::exhaustive::alone;
use crate::trouble::{Moment, Strike, Trouble};
use crate::world::{World, s};

/// An agent with two instances that both servers know; the first one leads.
async fn settled(strikes: Vec<Strike>) -> World {
    let mut world = World::with(2, 1, strikes).await;
    let spec = json!({"image": "users", "replicas": 2, "drain": {"timeout": "5s"}});
    world.apply("users", spec).await;
    world.matched(s(20)).await;
    world.rest(s(10)).await;
    assert_eq!(leader(&world), Some(0));
    world
}

fn leader(world: &World) -> Option<usize> {
    let lives = world.shared.lives();
    let leads = lives.iter().find(|life| life.leads());
    leads.map(|life| life.server)
}

/// Somebody removes an instance, and the leader looks at its agent.
async fn removed(world: &mut World) {
    let one = world.containers("users")[1].id.clone();
    world.hand(|engine| engine.remove_by_hand(&one));
    world.rest(std::time::Duration::from_millis(100)).await;
}

/// Which read of all is the leader's look at the agent after the removal.
async fn look() -> u64 {
    let mut world = settled(Vec::new()).await;
    let from = world.shared.script.lock().made.len();
    removed(&mut world).await;
    let script = world.shared.script.lock();
    let looks = |at: usize| {
        let made = &script.made[at];
        made.by == 0 && made.engine && made.name == "list_agent"
    };
    let at = (from..script.made.len()).find(|at| looks(*at)).unwrap();
    let reads = script.made[..at].iter().filter(|made| !made.writes);
    reads.count() as u64
}

/// How many containers were made, and whether all is well, when the leader's look is answered nine seconds late.
async fn outlived(nth: u64, leads_again: bool) -> usize {
    let late = Strike {
        moment: Moment::Read,
        nth,
        trouble: Trouble::Stale,
    };
    let mut world = settled(vec![late]).await;
    removed(&mut world).await;
    assert_eq!(world.engine.count("create"), 2, "it still looks");
    world.shared.awake(0).unwrap().stand_still(s(5));
    world.rest(s(6)).await;
    // Another one leads and has made it again.
    assert_eq!(leader(&world), Some(1));
    assert_eq!(world.engine.count("create"), 3);
    if leads_again {
        world.resign(1).await;
        world.rest(s(2)).await;
        assert_eq!(leader(&world), Some(0));
    }
    // Now it is told that the instance is missing.
    world.rest(s(5)).await;
    assert_eq!(leader(&world), Some(usize::from(!leads_again)));
    world.settled(s(60), s(130)).await;
    world.engine.count("create")
}

#[test]
fn law_1_a_pass_that_outlives_its_lease_acts_on_nothing() {
    let nth = alone(look()).unwrap();
    for leads_again in [true, false] {
        let made = alone(outlived(nth, leads_again)).unwrap();
        assert_eq!(made, 3, "leads again: {leads_again}");
    }
}
