//! The same actions carried out again and again: each time they seemed to work, and each time the world asked for them
//! again (an engine that drops a limit it cannot set, one that never shows a DNS name). Events of their own making would
//! turn that into a busy loop, so they rest longer each time. Pure; told the time.

use std::time::Duration;

use tokio::time::Instant;

use crate::controller::Backoff;
use crate::plan::{Action, Planned};

/// So often in a row they may be carried out at once.
const AT_ONCE: u32 = 3;
/// Between two more tries.
const REST: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(300));

/// What was carried out last, and how often in a row.
#[derive(Clone, Debug, Default)]
pub(super) struct Repeats {
    last: Option<(Vec<Action>, Instant)>,
    times: u32,
}

impl Repeats {
    /// How long these actions have to rest from now on; `None`: not at all. A plan with nothing to do ends the row: what
    /// was carried out before has helped.
    pub(super) fn rest(&mut self, planned: &[Planned], now: Instant) -> Option<Duration> {
        let same = match &self.last {
            Some((actions, _)) => planned.iter().map(|one| &one.action).eq(actions),
            None => false,
        };
        if !same {
            *self = Self::default();
        }
        let (_, at) = self.last.as_ref()?;
        let rest = REST.ceiling(self.times.saturating_sub(AT_ONCE.saturating_sub(1)));
        let left = rest.saturating_sub(now.saturating_duration_since(*at));
        (!left.is_zero()).then_some(left)
    }

    /// These actions, for which there was no rest, were carried out.
    pub(super) fn carried_out(&mut self, planned: &[Planned], now: Instant) {
        if planned.is_empty() {
            return;
        }
        let actions = planned.iter().map(|one| one.action.clone()).collect();
        self.last = Some((actions, now));
        self.times = self.times.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observed::ContainerId;

    fn start(container: &str) -> Vec<Planned> {
        let action = Action::Start {
            container: ContainerId(container.to_owned()),
        };
        vec![Planned {
            action,
            reason: "it ended".to_owned(),
        }]
    }

    /// The rests before `tries` tries in a row, in milliseconds.
    fn rests(repeats: &mut Repeats, planned: &[Planned], tries: u32) -> Vec<u128> {
        let mut now = Instant::now();
        (0..tries)
            .map(|_| {
                let rest = repeats.rest(planned, now).unwrap_or_default();
                now += rest;
                assert_eq!(repeats.rest(planned, now), None, "it has rested");
                repeats.carried_out(planned, now);
                rest.as_millis()
            })
            .collect()
    }

    #[test]
    fn law_1_actions_that_do_not_help_rest_longer_each_time() {
        let mut repeats = Repeats::default();
        assert_eq!(
            rests(&mut repeats, &start("a"), 15),
            [
                0, 0, 0, 500, 1000, 2000, 4000, 8000, 16_000, 32_000, 64_000, 128_000, 256_000,
                300_000, 300_000
            ]
        );
    }

    #[test]
    fn other_actions_or_a_look_with_nothing_to_do_end_the_row() {
        let mut repeats = Repeats::default();
        rests(&mut repeats, &start("a"), 5);
        assert_eq!(rests(&mut repeats, &start("b"), 4), [0, 0, 0, 500]);
        assert_eq!(repeats.rest(&[], Instant::now()), None);
        assert_eq!(rests(&mut repeats, &start("b"), 3), [0, 0, 0]);
    }
}
