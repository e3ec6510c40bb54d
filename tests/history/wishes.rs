//! The requests of a run.

use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _};

use crate::history_clients::Wish;

/// One by chance, to one of the run's agents.
pub fn by_chance(number: u32, chance: &mut StdRng) -> Wish {
    let (agent, method, keyed, prefer) = match chance.random_range(0..8) {
        0..3 => ("users", "POST", false, None),
        3 => ("users", "POST", true, None),
        4 => ("users", "PUT", false, None),
        5 => ("users", "POST", false, Some("respond-async")),
        6 => ("ledger", "POST", false, None),
        _ => ("ledger", "POST", true, Some("respond-async")),
    };
    let acts = match chance.random_range(0..20) {
        0..10 => "200",
        10..12 => "500,200",
        12..14 => "close,200",
        14..17 => "slow",
        17 => "502",
        18 => "hang,200",
        _ => "long",
    };
    let mut body = vec![0; chance.random_range(1..3000)];
    chance.fill_bytes(&mut body);
    Wish {
        number,
        agent,
        method,
        keyed,
        prefer,
        acts,
        body,
    }
}
