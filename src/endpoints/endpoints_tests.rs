#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

fn name(text: &str) -> AgentName {
    AgentName::new(text).unwrap()
}

fn id(text: &str) -> ContainerId {
    ContainerId(text.to_owned())
}

fn at(container: &str, port: u16, state: EndpointState) -> PublishedEndpoint {
    PublishedEndpoint {
        container: id(container),
        address: SocketAddr::from(([172, 30, 0, 2], port)),
        state,
    }
}

fn publication(endpoints: Vec<PublishedEndpoint>) -> Publication {
    Publication {
        uid: Uid("life-1".to_owned()),
        endpoints,
        departed: BTreeSet::new(),
        explanation: String::new(),
        starting: false,
        proxy: crate::agent::spec::Proxy::default(),
        persistence: None,
    }
}

fn route(endpoints: &Endpoints, agent: &str) -> Arc<Route> {
    Arc::clone(endpoints.table().routes.get(agent).unwrap())
}

#[test]
fn the_version_moves_only_when_something_differs() {
    let endpoints = Endpoints::default();
    let users = name("users");
    let now = crate::clock::now();
    endpoints.publish(
        &users,
        publication(vec![at("a", 1, EndpointState::Ready)]),
        now,
    );
    assert_eq!(endpoints.table().version, 1);
    endpoints.publish(
        &users,
        publication(vec![at("a", 1, EndpointState::Ready)]),
        now,
    );
    assert_eq!(endpoints.table().version, 1);
    endpoints.publish(
        &users,
        publication(vec![at("a", 1, EndpointState::Draining)]),
        now,
    );
    assert_eq!(endpoints.table().version, 2);
    let mut waits = publication(vec![at("a", 1, EndpointState::Draining)]);
    waits.starting = true;
    endpoints.publish(&users, waits, now);
    assert_eq!(endpoints.table().version, 3);
    endpoints.withdraw(&name("nobody"));
    assert_eq!(endpoints.table().version, 3);
    endpoints.withdraw(&users);
    assert_eq!(
        (endpoints.table().version, endpoints.table().routes.len()),
        (4, 0)
    );
    assert_eq!(*endpoints.changes().borrow(), 4);
}

#[test]
fn a_count_survives_a_new_publication() {
    let endpoints = Endpoints::default();
    let users = name("users");
    let now = crate::clock::now();
    endpoints.publish(
        &users,
        publication(vec![at("a", 1, EndpointState::Ready)]),
        now,
    );
    let guard = route(&endpoints, "users").endpoints[0].0.enter();
    let both = vec![
        at("b", 2, EndpointState::Ready),
        at("a", 1, EndpointState::Draining),
    ];
    endpoints.publish(&users, publication(both), now);
    let ids = [id("a"), id("b"), id("c")];
    let traffic = endpoints.traffic(&ids);
    assert_eq!(
        traffic[&id("a")],
        Traffic {
            in_flight: 1,
            draining_since: Some(now),
            busy_elsewhere: false,
        }
    );
    assert_eq!(traffic[&id("b")], Traffic::default());
    assert!(!traffic.contains_key(&id("c")));
    drop(guard);
    assert_eq!(endpoints.traffic(&ids)[&id("a")].in_flight, 0);
}

#[test]
fn draining_since_keeps_its_first_moment_and_ends_with_draining() {
    let endpoints = Endpoints::default();
    let users = name("users");
    let first = crate::clock::now();
    let later = first + jiff::SignedDuration::from_secs(9);
    endpoints.publish(
        &users,
        publication(vec![at("a", 1, EndpointState::Draining)]),
        first,
    );
    endpoints.publish(
        &users,
        publication(vec![at("a", 1, EndpointState::Draining)]),
        later,
    );
    assert_eq!(
        endpoints.traffic(&[id("a")])[&id("a")].draining_since,
        Some(first)
    );
    endpoints.publish(
        &users,
        publication(vec![at("a", 1, EndpointState::Ready)]),
        later,
    );
    assert_eq!(endpoints.traffic(&[id("a")])[&id("a")].draining_since, None);
}

#[test]
fn a_container_that_goes_and_comes_back_keeps_its_count() {
    let endpoints = Endpoints::default();
    let users = name("users");
    let now = crate::clock::now();
    endpoints.publish(
        &users,
        publication(vec![at("a", 1, EndpointState::Ready)]),
        now,
    );
    let guard = route(&endpoints, "users").endpoints[0].0.enter();
    endpoints.publish(&users, publication(vec![]), now);
    assert!(guard.endpoint().retired());
    assert_eq!(endpoints.traffic(&[id("a")])[&id("a")].in_flight, 1);
    endpoints.publish(
        &users,
        publication(vec![at("a", 1, EndpointState::Ready)]),
        now,
    );
    assert!(!guard.endpoint().retired());
    assert!(Arc::ptr_eq(
        &route(&endpoints, "users").endpoints[0].0,
        guard.endpoint()
    ));
}

#[test]
fn what_is_out_of_use_is_forgotten_once_nothing_is_in_flight_on_it() {
    let endpoints = Endpoints::default();
    let users = name("users");
    let now = crate::clock::now();
    endpoints.publish(
        &users,
        publication(vec![at("a", 1, EndpointState::Ready)]),
        now,
    );
    let guard = route(&endpoints, "users").endpoints[0].0.enter();
    endpoints.withdraw(&users);
    drop(guard);
    endpoints.publish(&name("auth"), publication(vec![]), now);
    assert!(endpoints.traffic(&[id("a")]).is_empty());
}

#[test]
fn law_4_a_changed_address_is_another_endpoint() {
    let endpoints = Endpoints::default();
    let users = name("users");
    let now = crate::clock::now();
    endpoints.publish(
        &users,
        publication(vec![at("a", 1, EndpointState::Ready)]),
        now,
    );
    let old = Arc::clone(&route(&endpoints, "users").endpoints[0].0);
    endpoints.publish(
        &users,
        publication(vec![at("a", 2, EndpointState::Ready)]),
        now,
    );
    let new = Arc::clone(&route(&endpoints, "users").endpoints[0].0);
    assert!(!Arc::ptr_eq(&old, &new) && old.retired() && !new.retired());
}

#[derive(Debug, Default)]
struct Counted(Arc<AtomicU32>);

impl Companion for Counted {
    fn retire(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn law_4_what_is_kept_beside_an_endpoint_is_told_when_it_leaves() {
    let endpoints = Endpoints::default();
    let users = name("users");
    let now = crate::clock::now();
    endpoints.publish(
        &users,
        publication(vec![at("a", 1, EndpointState::Ready)]),
        now,
    );
    let endpoint = Arc::clone(&route(&endpoints, "users").endpoints[0].0);
    let retired = Arc::new(AtomicU32::new(0));
    assert!(
        endpoint
            .companion(|| Counted(Arc::clone(&retired)))
            .is_some()
    );
    endpoints.publish(&users, publication(vec![]), now);
    assert_eq!(retired.load(Ordering::SeqCst), 1);
}

#[test]
fn an_announced_agent_is_known_and_starting_until_it_is_published() {
    let endpoints = Endpoints::default();
    let (users, now) = (name("users"), crate::clock::now());
    endpoints.announce(&users, &Uid("life-1".to_owned()), &Proxy::default(), None);
    assert!(route(&endpoints, "users").starting && route(&endpoints, "users").endpoints.is_empty());
    endpoints.publish(
        &users,
        publication(vec![at("a", 1, EndpointState::Ready)]),
        now,
    );
    endpoints.announce(&users, &Uid("life-1".to_owned()), &Proxy::default(), None);
    assert_eq!(
        route(&endpoints, "users").endpoints.len(),
        1,
        "what is known is not taken back"
    );
}

#[test]
fn law_5_what_another_server_drains_gets_nothing_new_whatever_is_published() {
    let (endpoints, users, now) = (Endpoints::default(), name("users"), crate::clock::now());
    let later = now + jiff::SignedDuration::from_secs(1);
    let both = || {
        publication(vec![
            at("a", 1, EndpointState::Ready),
            at("b", 2, EndpointState::Ready),
        ])
    };
    let states = |endpoints: &Endpoints| {
        let route = route(endpoints, "users");
        let all = route.endpoints.iter().map(|(_, state)| *state);
        all.collect::<Vec<_>>()
    };
    use EndpointState::{Draining, Ready};
    endpoints.publish(&users, both(), now);
    let guard = route(&endpoints, "users").endpoints[0].0.enter();
    assert_eq!(endpoints.left(&id("a"), later), None, "it is in service");
    assert_eq!(endpoints.left(&id("unheard"), now), Some(0));
    endpoints.order(&users, [id("a"), id("unheard")].into(), later);
    assert_eq!(states(&endpoints), [Draining, Ready]);
    assert_eq!(endpoints.latest_drain(), Some(later));
    assert_eq!(endpoints.left(&id("a"), now), None, "only just");
    assert_eq!(endpoints.left(&id("a"), later), Some(1));
    endpoints.publish(&users, both(), later);
    assert_eq!(states(&endpoints), [Draining, Ready]);
    drop(guard);
    assert_eq!(endpoints.left(&id("a"), later), Some(0));
    endpoints.order(&users, [].into(), later);
    endpoints.publish(&users, both(), later);
    assert_eq!(states(&endpoints), [Ready, Ready]);
    assert_eq!(endpoints.latest_drain(), None);
    // One that is ordered before it is known is never in service.
    endpoints.order(&users, [id("c")].into(), later);
    let c = publication(vec![at("c", 3, EndpointState::Ready)]);
    endpoints.publish(&users, c, later);
    assert_eq!(states(&endpoints), [Draining]);
}

#[test]
fn law_5_who_found_an_instance_in_an_older_table_sees_that_it_drains_by_now() {
    let (endpoints, users, now) = (Endpoints::default(), name("users"), crate::clock::now());
    let told = |state| endpoints.publish(&users, publication(vec![at("a", 1, state)]), now);
    told(EndpointState::Ready);
    let older = Arc::clone(&endpoints.table().routes.get(&users).unwrap().endpoints[0].0);
    assert!(older.open());
    told(EndpointState::Draining);
    let late = older.enter();
    assert!(!late.endpoint().open());
    told(EndpointState::Ready);
    assert!(older.open());
    endpoints.order(&users, [older.container.clone()].into(), now);
    assert!(!older.open(), "another server drains it");
}

#[test]
fn law_5_only_one_that_surely_left_its_address_has_departed() {
    let (users, now) = (name("users"), crate::clock::now());
    type Change = fn(&mut Publication);
    let elsewhere = |publication: &mut Publication| {
        publication.endpoints[0].address = SocketAddr::from(([172, 30, 0, 3], 1));
    };
    let ways: [(&str, bool, Change); 7] = [
        ("as it was", false, |_| {}),
        ("draining", false, |publication| {
            publication.endpoints[0].state = EndpointState::Draining;
        }),
        ("down", false, |publication| {
            publication.endpoints[0].state = EndpointState::Down;
        }),
        ("not named", false, |publication| {
            publication.endpoints.clear();
        }),
        ("under another port", false, |publication| {
            publication.endpoints[0].address.set_port(2);
        }),
        ("under another address", true, elsewhere),
        ("without an address", true, |publication| {
            publication.endpoints.clear();
            publication.departed = [id("a"), id("unheard")].into();
        }),
    ];
    for (way, departed, change) in ways {
        let endpoints = Endpoints::default();
        let before = || publication(vec![at("a", 1, EndpointState::Ready)]);
        endpoints.publish(&users, before(), now);
        let old = Arc::clone(&route(&endpoints, "users").endpoints[0].0);
        let guard = old.enter();
        let gone = || Departure::gone(old.departure().turns());
        assert!(!gone(), "{way}");
        let mut after = before();
        change(&mut after);
        endpoints.publish(&users, after.clone(), now);
        assert_eq!(gone(), departed, "{way}");
        endpoints.publish(&users, after, now);
        assert_eq!(gone(), departed, "{way}, told twice");
        endpoints.order(&users, [id("a")].into(), now);
        endpoints.withdraw(&users);
        assert_eq!(gone(), departed, "{way}, and its agent forgotten");
        drop(guard);
    }
}

#[test]
fn one_that_left_the_table_first_and_its_address_later_has_departed_and_may_come_back() {
    let (endpoints, users, now) = (Endpoints::default(), name("users"), crate::clock::now());
    let there = || publication(vec![at("a", 1, EndpointState::Ready)]);
    endpoints.publish(&users, there(), now);
    let guard = route(&endpoints, "users").endpoints[0].0.enter();
    let gone = || Departure::gone(guard.endpoint().departure().turns());
    endpoints.publish(&users, publication(vec![]), now);
    assert!(!gone());
    let mut departed = publication(vec![]);
    departed.departed = [id("a")].into();
    endpoints.publish(&users, departed, now);
    assert!(gone());
    endpoints.publish(&users, there(), now);
    assert!(!gone() && !guard.endpoint().retired());
}

#[test]
fn who_finds_one_in_an_older_table_after_it_was_forgotten_learns_that_it_departed() {
    let (endpoints, users, now) = (Endpoints::default(), name("users"), crate::clock::now());
    endpoints.publish(
        &users,
        publication(vec![at("a", 1, EndpointState::Ready)]),
        now,
    );
    let older = route(&endpoints, "users");
    let mut departed = publication(vec![]);
    departed.departed = [id("a")].into();
    endpoints.publish(&users, departed, now);
    let (late, _) = &older.endpoints[0];
    assert!(
        endpoints.traffic(&[id("a")]).is_empty(),
        "nothing was in flight"
    );
    assert!(Departure::gone(late.departure().turns()));
}
