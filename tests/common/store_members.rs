//! What every `AgentStore` promises several servers: one lease, reports, one key. Cases of the contract suite.

use std::time::Duration;

use agentainer::observed::ContainerId;
use agentainer::store::{AgentStore, Beat, Drained, MemberId, Muster, Report, StoreError};
use agentainer::tokens::ServerKey;

use super::contract::{Fixture, agent, at, name};

/// Ends within a test's patience.
const SHORT: Duration = Duration::from_millis(150);
const LONG: Duration = Duration::from_secs(60);

pub fn beat(server: &str, lease: Duration, life: Duration) -> Beat {
    Beat {
        member: MemberId {
            server: server.to_owned(),
            run: "1".to_owned(),
        },
        report: Report::default(),
        candidate: true,
        only_run: true,
        lease,
        life,
    }
}

pub fn leader(muster: &Muster) -> Option<(String, u64)> {
    let lease = muster.lease.as_ref()?;
    Some((lease.holder.to_string(), lease.term))
}

/// Beats until this server leads.
async fn until_leads(store: &impl AgentStore, beat: &Beat) -> u64 {
    let wait = async {
        loop {
            let muster = store.beat(beat).await.unwrap();
            match leader(&muster) {
                Some((holder, term)) if holder == beat.member.to_string() => return term,
                _ => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait)
        .await
        .expect("the lease is free in time")
}

/// One server leads until its lease ends or it gives it up; then another may, under a higher term.
pub async fn a_lease_is_one_servers_until_it_ends(fixture: &impl Fixture) {
    let (one, two) = (fixture.store(), fixture.store());
    let (mut a, b) = (beat("a", LONG, LONG), beat("b", LONG, LONG));
    let first = leader(&one.beat(&a).await.unwrap()).unwrap();
    assert_eq!(first.0, "a/1");
    let seen = two.beat(&b).await.unwrap();
    assert_eq!(leader(&seen), Some(first.clone()));
    let remaining = seen.lease.unwrap().remaining;
    assert!(remaining > LONG / 2 && remaining <= LONG, "{remaining:?}");
    assert_eq!(
        leader(&one.beat(&a).await.unwrap()),
        Some(first.clone()),
        "renewed, it keeps its term"
    );

    a.candidate = false;
    assert_eq!(leader(&one.beat(&a).await.unwrap()), None, "given up");
    let second = until_leads(&two, &b).await;
    assert!(second > first.1, "{second} after {}", first.1);
    a.candidate = true;
    assert_eq!(
        leader(&one.beat(&a).await.unwrap()).unwrap(),
        ("b/1".to_owned(), second)
    );

    two.leave(&b.member).await.unwrap();
    a.lease = SHORT;
    let third = until_leads(&one, &a).await;
    assert!(third > second);
    let fourth = until_leads(&two, &b).await;
    assert!(fourth > third, "it ended for want of a renewal");
}

/// A server that was started again need not wait for the lease of its earlier run, unless that one still lives.
pub async fn a_restarted_server_has_its_lease_at_once(fixture: &impl Fixture) {
    let store = fixture.store();
    let before = beat("a", LONG, LONG);
    let first = leader(&store.beat(&before).await.unwrap()).unwrap();
    let mut again = before.clone();
    again.member.run = "2".to_owned();
    again.only_run = false;
    let beside = store.beat(&again).await.unwrap();
    assert_eq!(leader(&beside), Some(first.clone()));
    assert!(beside.others.contains_key(&before.member));
    again.only_run = true;
    let muster = store.beat(&again).await.unwrap();
    let (holder, term) = leader(&muster).unwrap();
    assert_eq!(holder, "a/2");
    assert!(term > first.1);
    assert_eq!(muster.others.len(), 0, "the earlier run is forgotten");
}

/// A status of a server whose lease passed on is refused; one of somebody who never led is not.
pub async fn the_status_of_a_superseded_leader_is_refused(fixture: &impl Fixture) {
    let (one, two, api) = (fixture.store(), fixture.store(), fixture.store());
    let users = api
        .commit(&[agentainer::store::Write::Create {
            agent: Box::new(agent("users")),
            applied: None,
        }])
        .await
        .unwrap()
        .remove(0)
        .unwrap();
    let put = async |store: &dyn AgentStore, generation| {
        let status = agentainer::agent::AgentStatus {
            observed_generation: generation,
            ..Default::default()
        };
        store.put_status(&users.metadata, &status).await
    };
    let mut a = beat("a", SHORT, LONG);
    one.beat(&a).await.unwrap();
    put(&one, 1).await.unwrap();
    until_leads(&two, &beat("b", LONG, LONG)).await;
    put(&two, 2).await.unwrap();
    let refused = put(&one, 3).await;
    assert!(
        matches!(refused, Err(StoreError::Superseded)),
        "{refused:?}"
    );
    put(&api, 4).await.unwrap();
    let now = api.get(&name("users")).await.unwrap().unwrap();
    assert_eq!(now.status.observed_generation, 4);
    // Led again, it may write again.
    two.leave(&beat("b", LONG, LONG).member).await.unwrap();
    a.lease = LONG;
    until_leads(&one, &a).await;
    put(&one, 5).await.unwrap();
}

/// What a server says of itself is seen by the others while it lives.
pub async fn reports_are_seen_while_their_server_lives(fixture: &impl Fixture) {
    let (one, two) = (fixture.store(), fixture.store());
    let (a, mut b) = (beat("a", LONG, LONG), beat("b", LONG, LONG));
    let drained = Drained {
        since: at(7),
        in_flight: 3,
    };
    b.report.0.insert(ContainerId("c1".to_owned()), drained);
    assert_eq!(two.beat(&b).await.unwrap().others.len(), 0);
    let seen = one.beat(&a).await.unwrap().others;
    assert_eq!(seen, [(b.member.clone(), b.report.clone())].into());
    let seen = two.beat(&b).await.unwrap().others;
    assert_eq!(seen, [(a.member.clone(), Report::default())].into());
    two.leave(&b.member).await.unwrap();
    assert_eq!(one.beat(&a).await.unwrap().others.len(), 0);

    b.life = SHORT;
    two.beat(&b).await.unwrap();
    let gone = async {
        while !one.beat(&a).await.unwrap().others.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone)
        .await
        .expect("its life ended");
}

/// Whoever offers a key first, all servers sign with it.
pub async fn the_first_token_key_is_everybodys(fixture: &impl Fixture) {
    let (one, two) = (fixture.store(), fixture.store());
    let (first, second) = (ServerKey::random(), ServerKey::random());
    assert_eq!(one.share_key(&first).await.unwrap(), first);
    assert_eq!(two.share_key(&second).await.unwrap(), first);
    fixture.wipe();
    assert_eq!(two.share_key(&first).await.unwrap(), first);
}
