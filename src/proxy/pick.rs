//! The choice among an agent's ready endpoints, in the way that its spec asks for.
//!
//! *least-request*: the less busy of two taken at random ("the power of two choices", Mitzenmacher 2001). *round-robin*: the one
//! whose last turn is the longest ago, which needs no place of its own and stays fair when instances come and go. *hash*: the one
//! with the highest hash of session and container (rendezvous hashing, Thaler & Ravishankar 1998), so that one that goes moves
//! its own sessions alone; without a session, as least-request. One whose breaker is open is chosen by none of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::beside::Beside;
use super::breaker::{Standing, Trial};
use super::chance::Chance;
use super::session::{hash, instance, mix};
use crate::agent::spec::Balance;
use crate::endpoints::Endpoint;
use crate::plan::EndpointState;

/// Turns of all agents' endpoints, one after the other.
static TURNS: AtomicU64 = AtomicU64::new(1);

/// How a request wants its endpoint chosen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wish {
    /// The agent's way.
    pub(super) balance: Option<Balance>,
    /// The session that the request belongs to.
    pub(super) session: Option<u64>,
    /// The instance that made it, as a tag has it.
    pub(super) home: Option<u32>,
    /// Whether it can be sent again if it fails, so that one on probation may be tried with it.
    pub(super) repeatable: bool,
}

/// What was chosen.
pub(super) enum Pick<'a> {
    /// This one; with the one place there is on probation, when it is.
    One(&'a Arc<Endpoint>, Option<Trial<'a>>),
    /// All that are left have failed too often; one may be tried again after so long.
    Open(Duration),
    /// None is ready and untried.
    None,
}

type Endpoints = [(Arc<Endpoint>, EndpointState)];

/// Ready ones.
pub(super) fn ready(endpoints: &Endpoints) -> impl Iterator<Item = &Arc<Endpoint>> + Clone {
    endpoints
        .iter()
        .filter(|(_, state)| *state == EndpointState::Ready)
        .map(|(endpoint, _)| endpoint)
}

/// How many ready ones are left alone.
pub(super) fn ejected(endpoints: &Endpoints) -> usize {
    ready(endpoints)
        .filter(|endpoint| standing(endpoint) != Standing::Closed)
        .count()
}

fn standing(endpoint: &Endpoint) -> Standing {
    Beside::of(endpoint).map_or(Standing::Closed, |beside| beside.breaker.standing())
}

/// A ready endpoint that is not among `tried`.
pub(super) fn pick<'a>(
    endpoints: &'a Endpoints,
    tried: &[Arc<Endpoint>],
    wish: &Wish,
    chance: &Chance,
) -> Pick<'a> {
    let untried =
        ready(endpoints).filter(|endpoint| !tried.iter().any(|tried| Arc::ptr_eq(tried, endpoint)));
    let mut probation = None;
    let mut soonest: Option<Duration> = None;
    let mut closed = 0;
    for endpoint in untried.clone() {
        match standing(endpoint) {
            Standing::Closed => closed += 1,
            Standing::Probation => probation = Some(endpoint),
            Standing::Open(left) => {
                soonest = Some(soonest.map_or(left, |soonest| soonest.min(left)));
            }
        }
    }
    // Whoever recovered is found out by a request that loses nothing by it, or by any when nobody else is left.
    if let Some(endpoint) = probation
        && (wish.repeatable || closed == 0)
        && let Some(trial) = Beside::of(endpoint).and_then(|beside| beside.breaker.try_once())
    {
        return Pick::One(endpoint, Some(trial));
    }
    let able = untried.filter(|endpoint| standing(endpoint) == Standing::Closed);
    let chosen = match (wish.balance, wish.session) {
        (Some(Balance::Hash), Some(session)) => {
            let home = wish.home.and_then(|home| {
                let mut able = able.clone();
                able.find(|endpoint| instance(endpoint) == home)
            });
            home.or_else(|| {
                able.max_by_key(|endpoint| mix(session ^ hash(endpoint.container.0.as_bytes())))
            })
        }
        (Some(Balance::RoundRobin), _) => in_turn(able, chance),
        (Some(Balance::LeastRequest | Balance::Hash) | None, _) => less_busy(able, closed, chance),
    };
    match (chosen, probation, soonest) {
        (Some(endpoint), _, _) => Pick::One(endpoint, None),
        // Its one place is taken.
        (None, Some(_), _) => Pick::Open(Duration::ZERO),
        (None, None, Some(left)) => Pick::Open(left),
        (None, None, None) => Pick::None,
    }
}

fn less_busy<'a>(
    able: impl Iterator<Item = &'a Arc<Endpoint>> + Clone,
    count: usize,
    chance: &Chance,
) -> Option<&'a Arc<Endpoint>> {
    if count < 2 {
        return able.clone().next();
    }
    let first = chance.below(count);
    let second = (first + 1 + chance.below(count - 1)) % count;
    let nth = |n| able.clone().nth(n);
    match (nth(first), nth(second)) {
        (Some(a), Some(b)) => Some(if load(b, a) < load(a, b) { b } else { a }),
        // One was ejected since they were counted.
        (a, b) => a.or(b).or_else(|| able.clone().next()),
    }
}

/// How busy one is, made comparable with another that gets another share.
fn load(one: &Endpoint, other: &Endpoint) -> u64 {
    let share = Beside::of(other).map_or(1, Beside::share);
    (one.in_flight() + 1).saturating_mul(share)
}

/// The one that waited longest for its turn; one that starts slowly lets some of its turns pass.
fn in_turn<'a>(
    able: impl Iterator<Item = &'a Arc<Endpoint>> + Clone,
    chance: &Chance,
) -> Option<&'a Arc<Endpoint>> {
    let turn = |endpoint: &Endpoint| {
        Beside::of(endpoint).map_or(0, |beside| beside.turn.load(Ordering::Relaxed))
    };
    let count = able.clone().count();
    let mut last = None;
    for _ in 0..=count {
        let endpoint = able.clone().min_by_key(|endpoint| turn(endpoint))?;
        last = Some(endpoint);
        let Some(beside) = Beside::of(endpoint) else {
            break;
        };
        let before = beside.turn.load(Ordering::Relaxed);
        let now = TURNS.fetch_add(1, Ordering::Relaxed);
        // Somebody else's request may have taken this turn in between: then it is the next one's.
        let taken = beside
            .turn
            .compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed);
        let passes = count > 1 && (chance.below(100) as u64) >= beside.share();
        if taken.is_ok() && !passes {
            break;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use std::collections::BTreeMap;
    use std::net::SocketAddr;

    use super::*;
    use crate::observed::ContainerId;
    use crate::proxy::breaker::Rule;

    fn endpoints(states: &[EndpointState]) -> Vec<(Arc<Endpoint>, EndpointState)> {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let endpoint = |n: usize| Arc::new(Endpoint::new(ContainerId(n.to_string()), address));
        states
            .iter()
            .enumerate()
            .map(|(n, state)| (endpoint(n), *state))
            .collect()
    }

    fn wish(balance: Balance) -> Wish {
        Wish {
            balance: Some(balance),
            ..Wish::default()
        }
    }

    fn chosen(
        all: &Endpoints,
        tried: &[Arc<Endpoint>],
        wish: &Wish,
        chance: &Chance,
    ) -> Option<Arc<Endpoint>> {
        match pick(all, tried, wish, chance) {
            Pick::One(endpoint, _) => Some(Arc::clone(endpoint)),
            Pick::Open(_) | Pick::None => None,
        }
    }

    fn eject(endpoint: &Arc<Endpoint>) {
        let breaker = &Beside::of(endpoint).unwrap().breaker;
        for _ in 0..5 {
            breaker.failed(Rule::of(None), 1, || 0);
        }
    }

    const WAYS: [Balance; 3] = [Balance::LeastRequest, Balance::RoundRobin, Balance::Hash];

    #[test]
    fn only_ready_ones_that_were_not_tried_are_picked() {
        use EndpointState::{Down, Draining, Ready, Starting};
        let all = endpoints(&[Down, Ready, Draining, Ready, Starting]);
        let chance = Chance::new(1);
        for way in WAYS {
            for session in [None, Some(1), Some(2)] {
                let wish = Wish {
                    session,
                    ..wish(way)
                };
                for _ in 0..100 {
                    let picked = chosen(&all, &[], &wish, &chance).unwrap();
                    assert!(["1", "3"].contains(&picked.container.0.as_str()));
                }
                let tried = [Arc::clone(&all[1].0)];
                let other = chosen(&all, &tried, &wish, &chance).unwrap();
                assert_eq!(other.container.0, "3");
                let tried = [Arc::clone(&all[1].0), Arc::clone(&all[3].0)];
                assert!(chosen(&all, &tried, &wish, &chance).is_none());
                assert!(chosen(&endpoints(&[Draining]), &[], &wish, &chance).is_none());
            }
        }
    }

    #[test]
    fn the_less_busy_of_two_is_picked() {
        let all = endpoints(&[EndpointState::Ready; 2]);
        let _busy = all[0].0.enter();
        let chance = Chance::new(1);
        for _ in 0..100 {
            let picked = chosen(&all, &[], &Wish::default(), &chance).unwrap();
            assert_eq!(picked.container.0, "1");
        }
    }

    #[test]
    fn load_spreads_evenly() {
        let all = endpoints(&[EndpointState::Ready; 5]);
        let chance = Chance::new(42);
        let guards: Vec<_> = (0..500)
            .map(|_| {
                chosen(&all, &[], &Wish::default(), &chance)
                    .unwrap()
                    .enter()
            })
            .collect();
        for (endpoint, _) in &all {
            assert!(
                (90..=110).contains(&endpoint.in_flight()),
                "{}",
                endpoint.in_flight()
            );
        }
        drop(guards);
    }

    #[test]
    fn each_has_its_turn_and_a_new_one_at_once() {
        let mut all = endpoints(&[EndpointState::Ready; 3]);
        let chance = Chance::new(1);
        let round = |all: &Endpoints, count: usize| -> Vec<String> {
            let one = |_| chosen(all, &[], &wish(Balance::RoundRobin), &chance).unwrap();
            (0..count)
                .map(one)
                .map(|one| one.container.0.clone())
                .collect()
        };
        assert_eq!(round(&all, 7), ["0", "1", "2", "0", "1", "2", "0"]);
        all.extend(endpoints(&[EndpointState::Ready]));
        assert_eq!(round(&all, 1), ["0"], "it never had a turn");
        assert_eq!(round(&all, 4), ["1", "2", "0", "0"]);
    }

    #[test]
    fn a_session_stays_where_it_is_and_only_those_of_one_that_goes_move() {
        let all = endpoints(&[EndpointState::Ready; 5]);
        let chance = Chance::new(1);
        let place = |all: &Endpoints, session: u64| {
            let wish = Wish {
                session: Some(hash(&session.to_be_bytes())),
                ..wish(Balance::Hash)
            };
            chosen(all, &[], &wish, &chance)
                .unwrap()
                .container
                .0
                .clone()
        };
        let before: Vec<String> = (0..1000).map(|session| place(&all, session)).collect();
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for place in &before {
            *counts.entry(place).or_default() += 1;
        }
        assert!(
            counts.len() == 5 && counts.values().all(|count| (150..=250).contains(count)),
            "{counts:?}"
        );
        let fewer: Vec<_> = all
            .iter()
            .filter(|(one, _)| one.container.0 != "2")
            .cloned()
            .collect();
        for (session, before) in (0..1000).zip(&before) {
            let now = place(&fewer, session);
            assert!(
                now == *before || before == "2",
                "{session} moved from {before} to {now}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_failed_too_often_is_left_alone_and_tried_again_with_what_can_be_repeated() {
        let all = endpoints(&[EndpointState::Ready; 2]);
        eject(&all[0].0);
        let chance = Chance::new(1);
        for way in WAYS {
            for _ in 0..50 {
                let picked = chosen(&all, &[], &wish(way), &chance).unwrap();
                assert_eq!(picked.container.0, "1", "{way:?}");
            }
        }
        tokio::time::advance(Duration::from_secs(10)).await;
        let picked = chosen(&all, &[], &Wish::default(), &chance).unwrap();
        assert_eq!(
            picked.container.0, "1",
            "what cannot be repeated takes no chances"
        );
        let repeatable = Wish {
            repeatable: true,
            ..Wish::default()
        };
        let Pick::One(tried, Some(trial)) = pick(&all, &[], &repeatable, &chance) else {
            unreachable!("it is on probation")
        };
        assert_eq!(tried.container.0, "0");
        let beside = chosen(&all, &[], &repeatable, &chance).unwrap();
        assert_eq!(beside.container.0, "1", "one at a time");
        drop(trial);
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_are_left_alone_it_says_for_how_long() {
        let all = endpoints(&[EndpointState::Ready]);
        eject(&all[0].0);
        let chance = Chance::new(1);
        tokio::time::advance(Duration::from_secs(3)).await;
        let Pick::Open(left) = pick(&all, &[], &Wish::default(), &chance) else {
            unreachable!("the circuit is open")
        };
        assert_eq!(left, Duration::from_secs(7));
        tokio::time::advance(left).await;
        let picked = pick(&all, &[], &Wish::default(), &chance);
        let Pick::One(_, Some(_trial)) = picked else {
            unreachable!("there is nobody else to ask")
        };
        assert!(matches!(
            pick(&all, &[], &Wish::default(), &chance),
            Pick::Open(_)
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_just_became_ready_gets_less_at_first() {
        use crate::endpoints::Companion as _;
        for way in [Balance::LeastRequest, Balance::RoundRobin] {
            let all = endpoints(&[EndpointState::Ready; 2]);
            let chance = Chance::new(7);
            // Each keeps some requests in flight, as under load.
            let mut held = Vec::new();
            Beside::of(&all[1].0).unwrap().ready();
            for _ in 0..200 {
                held.push(chosen(&all, &[], &wish(way), &chance).unwrap().enter());
            }
            let (old, new) = (all[0].0.in_flight(), all[1].0.in_flight());
            assert!(new > 0 && new * 4 < old, "{way:?}: {old} to {new}");
        }
    }
}
