//! The choice among an agent's ready endpoints: the less busy of two taken at random ("the power of two choices",
//! Mitzenmacher 2001).

use std::sync::Arc;

use super::chance::Chance;
use crate::endpoints::Endpoint;
use crate::plan::EndpointState;

/// A ready endpoint that is not among `tried`; `None` when there is none.
pub(super) fn pick<'a>(
    endpoints: &'a [(Arc<Endpoint>, EndpointState)],
    tried: &[Arc<Endpoint>],
    chance: &Chance,
) -> Option<&'a Arc<Endpoint>> {
    let candidates = || {
        endpoints
            .iter()
            .filter(|(_, state)| *state == EndpointState::Ready)
            .map(|(endpoint, _)| endpoint)
            .filter(|endpoint| !tried.iter().any(|tried| Arc::ptr_eq(tried, endpoint)))
    };
    let count = candidates().count();
    if count < 2 {
        return candidates().next();
    }
    let first = chance.below(count);
    let second = (first + 1 + chance.below(count - 1)) % count;
    let (a, b) = (candidates().nth(first)?, candidates().nth(second)?);
    Some(if b.in_flight() < a.in_flight() { b } else { a })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use std::net::SocketAddr;

    use super::*;
    use crate::observed::ContainerId;

    fn endpoints(states: &[EndpointState]) -> Vec<(Arc<Endpoint>, EndpointState)> {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let endpoint = |n: usize| Arc::new(Endpoint::new(ContainerId(n.to_string()), address));
        states
            .iter()
            .enumerate()
            .map(|(n, state)| (endpoint(n), *state))
            .collect()
    }

    #[test]
    fn only_ready_ones_that_were_not_tried_are_picked() {
        use EndpointState::{Down, Draining, Ready, Starting};
        let all = endpoints(&[Down, Ready, Draining, Ready, Starting]);
        let chance = Chance::new(1);
        for _ in 0..100 {
            let picked = pick(&all, &[], &chance).unwrap();
            assert!(["1", "3"].contains(&picked.container.0.as_str()));
        }
        let tried = [Arc::clone(&all[1].0)];
        assert_eq!(pick(&all, &tried, &chance).unwrap().container.0, "3");
        let tried = [Arc::clone(&all[1].0), Arc::clone(&all[3].0)];
        assert!(pick(&all, &tried, &chance).is_none());
        assert!(pick(&endpoints(&[Draining]), &[], &chance).is_none());
    }

    #[test]
    fn the_less_busy_of_two_is_picked() {
        let all = endpoints(&[EndpointState::Ready; 2]);
        let _busy = all[0].0.enter();
        let chance = Chance::new(1);
        for _ in 0..100 {
            assert_eq!(pick(&all, &[], &chance).unwrap().container.0, "1");
        }
    }

    #[test]
    fn load_spreads_evenly() {
        let all = endpoints(&[EndpointState::Ready; 5]);
        let chance = Chance::new(42);
        let guards: Vec<_> = (0..500)
            .map(|_| pick(&all, &[], &chance).unwrap().enter())
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
}
