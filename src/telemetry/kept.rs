//! Metrics of requests that are kept for agents. They are the journal's own figures: every server on one journal tells the same.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

use super::exposition::{AgentMetrics, Labels, counters, gauges};

/// What is kept for one agent at one moment.
#[derive(Debug, Clone, Default)]
pub struct KeptMetrics {
    /// How many are in each state.
    pub states: Vec<(&'static str, u64)>,
    /// How many seconds ago the oldest was kept that waits.
    pub oldest: u64,
    /// How many ever were kept.
    pub admitted: u64,
    /// How many ever came to each end.
    pub ended: Vec<(&'static str, u64)>,
}

pub(super) fn encode(agents: &[AgentMetrics], encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    gauges(
        encoder,
        "agentainer_requests_kept",
        "Kept requests, by where they stand.",
        by_state(agents, |kept| &kept.states),
    )?;
    gauges(
        encoder,
        "agentainer_requests_oldest_seconds",
        "For how long the oldest kept request waits.",
        each(agents, |kept| kept.oldest),
    )?;
    counters(
        encoder,
        "agentainer_requests_admitted",
        "Requests that were kept.",
        each(agents, |kept| kept.admitted),
    )?;
    counters(
        encoder,
        "agentainer_requests_settled",
        "Kept requests that came to an end, by which.",
        by_state(agents, |kept| &kept.ended),
    )
}

fn each<'a>(
    agents: &'a [AgentMetrics],
    of: impl Fn(&'a KeptMetrics) -> u64 + 'a,
) -> impl Iterator<Item = (Labels<'a>, u64)> {
    let labelled = agents.iter();
    labelled.map(move |agent| (vec![("agent", agent.name.as_str())], of(&agent.kept)))
}

fn by_state<'a>(
    agents: &'a [AgentMetrics],
    of: impl Fn(&'a KeptMetrics) -> &'a Vec<(&'static str, u64)> + 'a,
) -> impl Iterator<Item = (Labels<'a>, u64)> {
    agents.iter().flat_map(move |agent| {
        let states = of(&agent.kept).iter();
        states.map(|(state, count)| {
            let labels = vec![("agent", agent.name.as_str()), ("state", *state)];
            (labels, *count)
        })
    })
}
