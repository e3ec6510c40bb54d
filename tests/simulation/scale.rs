//! What the reconciler costs, in calls: nothing is written for what exists, and a change costs the same however many agents
//! there are. `make bench-scale` tells what it costs in time.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::exhaustive::alone;
use crate::fleet::{Fleet, writes};

/// The calls of ten quiet minutes, and those of one change.
fn cost(agents: usize) -> (BTreeMap<String, u64>, BTreeMap<String, u64>) {
    alone(async move {
        let fleet = Fleet::new(agents).await;
        fleet.settled(agents).await;
        fleet.calls();
        tokio::time::sleep(Duration::from_secs(600)).await;
        let quiet = fleet.calls();
        // Between two looks at the host, and before the next resync.
        tokio::time::sleep(Duration::from_secs(1)).await;
        fleet.calls();
        fleet.change(3, "blue").await;
        tokio::time::sleep(Duration::from_millis(900)).await;
        let change = fleet.calls();
        (quiet, change)
    })
    .unwrap()
}

#[test]
fn law_1_a_settled_fleet_is_looked_at_and_nothing_is_written() {
    let (quiet, _) = cost(300);
    assert_eq!(writes(&quiet), BTreeMap::new());
    assert!(quiet["engine list_agent"] >= 300 * 9, "{quiet:?}");
    assert!(quiet["engine list_agent"] <= 300 * 11, "{quiet:?}");
}

#[test]
fn a_change_costs_as_many_writes_however_many_agents_there_are() {
    let few = writes(&cost(10).1);
    let many = writes(&cost(300).1);
    assert!(
        few["engine create"] == 1 && few["engine remove"] == 1,
        "{few:?}"
    );
    assert_eq!(few, many);
}
