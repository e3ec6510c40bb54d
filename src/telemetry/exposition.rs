//! `/metrics`: every metric's name, in OpenMetrics text (Prometheus reads it). Labels hold agents' names, never a value of
//! anybody's request.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::figures::{AgentSample, BUCKETS, CALL_ENDS, PASS_ENDS, PassFigures, Spread};
use super::kept::{self, KeptMetrics};
use super::process::ProcessSample;

/// What a scrape's answer is.
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// One agent at one moment.
#[derive(Debug, Clone, Default)]
pub struct AgentMetrics {
    /// Its name.
    pub name: String,
    /// What the proxy counted.
    pub traffic: AgentSample,
    /// Requests in flight now.
    pub in_flight: u64,
    /// Instances in the routing table, by state.
    pub instances: Vec<(&'static str, u64)>,
    /// Instances that are left alone now.
    pub ejected: u64,
    /// Instances that there shall be.
    pub replicas: u64,
    /// Whether its `Ready` condition holds.
    pub ready: bool,
    /// Restarts of its present instances.
    pub restarts: u64,
    /// Requests that are kept for it.
    pub kept: KeptMetrics,
}

/// One kind of the reconciler's passes at one moment.
#[derive(Debug, Clone, Default)]
pub struct PassMetrics {
    /// `agent` or `host`.
    pub kind: &'static str,
    /// In the order of [`PASS_ENDS`].
    pub ended: [u64; PASS_ENDS.len()],
    /// How long they took.
    pub took: Spread,
    /// How long they waited for their turn.
    pub late: Spread,
}

impl PassMetrics {
    /// Those figures now.
    pub fn of(kind: &'static str, figures: &PassFigures) -> Self {
        let ended = figures
            .ended
            .each_ref()
            .map(|ended| ended.load(std::sync::atomic::Ordering::Relaxed));
        Self {
            kind,
            ended,
            took: figures.took.read(),
            late: figures.late.read(),
        }
    }
}

/// All that a scrape tells.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Our version.
    pub version: String,
    /// All agents.
    pub agents: Vec<AgentMetrics>,
    /// Requests that named no agent, or none that exists.
    pub nobody: AgentSample,
    /// The reconciler's passes.
    pub passes: Vec<PassMetrics>,
    /// Whether this server acts.
    pub leads: bool,
    /// The host's conditions by type, and whether each holds.
    pub conditions: Vec<(String, bool)>,
    /// Clients' connections by where they came in.
    pub connections: Vec<(&'static str, u64)>,
    /// Lines of the access log that were lost, since its file did not keep up.
    pub lines_lost: u64,
    /// Calls of callbacks, in the order of [`CALL_ENDS`].
    pub calls: [u64; CALL_ENDS.len()],
    /// This process.
    pub process: ProcessSample,
}

/// The text of a scrape.
pub fn expose(snapshot: Snapshot) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Told(snapshot)));
    let mut text = String::new();
    // Writing to a string fails only where an encoder refuses a value, of which there is none.
    match text::encode(&mut text, &registry) {
        Ok(()) => text,
        Err(_) => String::new(),
    }
}

#[derive(Debug)]
struct Told(Snapshot);

pub(super) type Labels<'a> = Vec<(&'static str, &'a str)>;

impl Collector for Told {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let Self(told) = self;
        let encoder = &mut encoder;
        gauges(
            encoder,
            "agentainer_build_info",
            "The version that runs.",
            [(vec![("version", told.version.as_str())], 1)],
        )?;
        self.of_agents(encoder)?;
        self.of_traffic(encoder)?;
        kept::encode(&told.agents, encoder)?;
        self.of_passes(encoder)?;
        gauges(
            encoder,
            "agentainer_leader",
            "Whether this server acts; 0 where another one does.",
            [(vec![], u64::from(told.leads))],
        )?;
        let conditions = told.conditions.iter();
        gauges(
            encoder,
            "agentainer_host_condition",
            "The host's own conditions; 1 holds.",
            conditions.map(|(kind, holds)| (vec![("type", kind.as_str())], u64::from(*holds))),
        )?;
        let connections = told.connections.iter();
        gauges(
            encoder,
            "agentainer_front_connections",
            "Clients' connections now, by who comes in there.",
            connections.map(|(from, count)| (vec![("from", *from)], *count)),
        )?;
        counters(
            encoder,
            "agentainer_access_log_lost",
            "Lines of the access log that were lost, since its file did not keep up.",
            [(vec![], told.lines_lost)],
        )?;
        counters(
            encoder,
            "agentainer_callback_calls",
            "Calls to who wants to know how a kept request ended, by how they ended.",
            CALL_ENDS
                .iter()
                .zip(told.calls)
                .map(|(end, count)| (vec![("end", *end)], count)),
        )?;
        self.of_process(encoder)
    }
}

impl Told {
    fn each<'a, V>(
        &'a self,
        of: impl Fn(&'a AgentMetrics) -> V + 'a,
    ) -> impl Iterator<Item = (Labels<'a>, V)> + 'a {
        let agents = self.0.agents.iter();
        agents.map(move |agent| (vec![("agent", agent.name.as_str())], of(agent)))
    }

    fn of_agents(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        gauges(
            encoder,
            "agentainer_agent_replicas",
            "Instances that the agent's spec asks for.",
            self.each(|agent| agent.replicas),
        )?;
        gauges(
            encoder,
            "agentainer_agent_ready",
            "Whether the agent is Ready.",
            self.each(|agent| u64::from(agent.ready)),
        )?;
        counters(
            encoder,
            "agentainer_agent_restarts",
            "Restarts of the agent's present instances.",
            self.each(|agent| agent.restarts),
        )?;
        let instances = self.0.agents.iter().flat_map(|agent| {
            let states = agent.instances.iter();
            states.map(|(state, count)| {
                (
                    vec![("agent", agent.name.as_str()), ("state", state)],
                    *count,
                )
            })
        });
        gauges(
            encoder,
            "agentainer_agent_instances",
            "Instances as the proxy sees them.",
            instances,
        )
    }

    /// Every agent's, and those of nobody with an empty name.
    fn traffic(&self) -> impl Iterator<Item = (&str, &AgentSample)> {
        let agents = self
            .0
            .agents
            .iter()
            .map(|agent| (agent.name.as_str(), &agent.traffic));
        agents.chain([("", &self.0.nobody)])
    }

    fn of_traffic(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let codes: Vec<(&str, String, u64)> = self
            .traffic()
            .flat_map(|(agent, of)| {
                of.codes
                    .iter()
                    .map(move |(code, count)| (agent, code.to_string(), *count))
            })
            .collect();
        counters(
            encoder,
            "agentainer_proxy_requests",
            "Requests through the proxy whose answer is over, by its status; without an agent's name: those that named none.",
            codes.iter().map(|(agent, code, count)| {
                (vec![("agent", *agent), ("code", code.as_str())], *count)
            }),
        )?;
        let refused = self.traffic().flat_map(|(agent, of)| {
            of.refused.iter().map(move |(reason, count)| {
                (vec![("agent", agent), ("reason", reason.as_str())], *count)
            })
        });
        counters(
            encoder,
            "agentainer_proxy_refused",
            "Answers that the proxy gave itself, by reason.",
            refused,
        )?;
        spreads(
            encoder,
            "agentainer_proxy_request_duration_seconds",
            "From a request's head to the end of its answer.",
            self.each(|agent| &agent.traffic.duration),
        )?;
        spreads(
            encoder,
            "agentainer_proxy_first_byte_seconds",
            "From a request's head to its answer's.",
            self.each(|agent| &agent.traffic.first_byte),
        )?;
        gauges(
            encoder,
            "agentainer_proxy_in_flight",
            "Requests and tunnels on the agent's instances now.",
            self.each(|agent| agent.in_flight),
        )?;
        gauges(
            encoder,
            "agentainer_proxy_waiting",
            "Requests that wait for the agent to start, or for a place.",
            self.each(|agent| agent.traffic.waiting),
        )?;
        counters(
            encoder,
            "agentainer_proxy_sent_bytes",
            "Bytes of answers' bodies.",
            self.each(|agent| agent.traffic.sent),
        )?;
        counters(
            encoder,
            "agentainer_proxy_cut",
            "Answers that did not reach their end.",
            self.each(|agent| agent.traffic.cut),
        )?;
        counters(
            encoder,
            "agentainer_proxy_retries",
            "Further tries of requests.",
            self.each(|agent| agent.traffic.retries),
        )?;
        counters(
            encoder,
            "agentainer_proxy_ejections",
            "Times that an instance was left alone (proxy.breaker).",
            self.each(|agent| agent.traffic.ejections),
        )?;
        gauges(
            encoder,
            "agentainer_proxy_ejected",
            "Instances that are left alone now.",
            self.each(|agent| agent.ejected),
        )
    }

    fn of_passes(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let passes = &self.0.passes;
        let ended = passes.iter().flat_map(|of| {
            let ends = PASS_ENDS.iter().zip(of.ended);
            ends.map(|(end, count)| (vec![("kind", of.kind), ("end", *end)], count))
        });
        counters(
            encoder,
            "agentainer_reconcile_passes",
            "Passes of the reconciler, by how they ended.",
            ended,
        )?;
        let kind = |of: &'static str| vec![("kind", of)];
        spreads(
            encoder,
            "agentainer_reconcile_pass_seconds",
            "How long the reconciler's passes took.",
            passes.iter().map(|of| (kind(of.kind), &of.took)),
        )?;
        spreads(
            encoder,
            "agentainer_reconcile_late_seconds",
            "How long the reconciler's passes waited for their turn.",
            passes.iter().map(|of| (kind(of.kind), &of.late)),
        )
    }

    /// Under the names that every Prometheus client library gives them.
    fn of_process(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let of = &self.0.process;
        let mut metric = encoder.encode_descriptor(
            "process_cpu_seconds",
            "Time on a processor.",
            None,
            MetricType::Counter,
        )?;
        metric.encode_counter::<NoLabelSet, f64, f64>(&of.cpu_seconds, None)?;
        let mut metric = encoder.encode_descriptor(
            "process_start_time_seconds",
            "When the process began, since 1970.",
            None,
            MetricType::Gauge,
        )?;
        metric.encode_gauge(&of.started)?;
        gauges(
            encoder,
            "process_resident_memory_bytes",
            "Memory in use.",
            [(vec![], of.memory)],
        )?;
        gauges(
            encoder,
            "process_open_fds",
            "Open files and sockets.",
            [(vec![], of.files)],
        )
    }
}

fn each<'a, V>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help, kind): (&str, &str, MetricType),
    values: impl IntoIterator<Item = (Labels<'a>, V)>,
    mut write: impl FnMut(&mut MetricEncoder<'_>, V) -> fmt::Result,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
    for (labels, value) in values {
        match labels.is_empty() {
            true => write(&mut metric, value)?,
            false => write(&mut metric.encode_family(&labels)?, value)?,
        }
    }
    Ok(())
}

pub(super) fn counters<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (Labels<'a>, u64)>,
) -> fmt::Result {
    each(
        encoder,
        (name, help, MetricType::Counter),
        values,
        |metric, value| metric.encode_counter::<NoLabelSet, u64, f64>(&value, None),
    )
}

pub(super) fn gauges<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (Labels<'a>, u64)>,
) -> fmt::Result {
    each(
        encoder,
        (name, help, MetricType::Gauge),
        values,
        |metric, value| metric.encode_gauge(&value),
    )
}

fn spreads<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (Labels<'a>, &'a Spread)>,
) -> fmt::Result {
    each(
        encoder,
        (name, help, MetricType::Histogram),
        values,
        |metric, (sum, counts)| {
            let ends = BUCKETS.into_iter().chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = ends.zip(*counts).collect();
            metric.encode_histogram::<NoLabelSet>(*sum, counts.iter().sum(), &buckets, None)
        },
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::super::figures::AgentFigures;
    use super::*;

    #[test]
    fn what_was_counted_is_told_under_its_name() {
        let figures = AgentFigures::default();
        figures.answered(200, Duration::from_millis(3), 10, true);
        figures.answered(502, Duration::from_secs(700), 0, false);
        figures.refused("no-answer");
        figures.first_byte.observe(Duration::from_millis(2));
        let agent = AgentMetrics {
            name: "users".to_owned(),
            traffic: figures.read(),
            instances: vec![("ready", 2)],
            ready: true,
            kept: KeptMetrics {
                states: vec![("pending", 3)],
                oldest: 61,
                admitted: 7,
                ended: vec![("completed", 4)],
            },
            ..AgentMetrics::default()
        };
        let snapshot = Snapshot {
            version: "1.2.3".to_owned(),
            agents: vec![agent],
            passes: vec![PassMetrics::of("agent", &PassFigures::default())],
            ..Snapshot::default()
        };
        let text = expose(snapshot);
        for line in [
            "# TYPE agentainer_proxy_requests counter",
            "agentainer_build_info{version=\"1.2.3\"} 1",
            "agentainer_proxy_requests_total{agent=\"users\",code=\"200\"} 1",
            "agentainer_proxy_requests_total{agent=\"users\",code=\"502\"} 1",
            "agentainer_proxy_refused_total{agent=\"users\",reason=\"no-answer\"} 1",
            "agentainer_proxy_request_duration_seconds_bucket{le=\"0.005\",agent=\"users\"} 1",
            "agentainer_proxy_request_duration_seconds_bucket{le=\"+Inf\",agent=\"users\"} 2",
            "agentainer_proxy_request_duration_seconds_count{agent=\"users\"} 2",
            "agentainer_proxy_cut_total{agent=\"users\"} 1",
            "agentainer_agent_instances{agent=\"users\",state=\"ready\"} 2",
            "agentainer_requests_kept{agent=\"users\",state=\"pending\"} 3",
            "agentainer_requests_oldest_seconds{agent=\"users\"} 61",
            "agentainer_requests_admitted_total{agent=\"users\"} 7",
            "agentainer_requests_settled_total{agent=\"users\",state=\"completed\"} 4",
            "agentainer_agent_ready{agent=\"users\"} 1",
            "agentainer_reconcile_passes_total{kind=\"agent\",end=\"failed\"} 0",
            "agentainer_leader 0",
        ] {
            assert!(text.lines().any(|told| told == line), "{line}\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn the_dashboard_and_the_documentation_name_metrics_that_there_are() {
        let text = expose(Snapshot::default());
        let families: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
            .collect();
        for (place, told) in [
            (
                "dashboard",
                include_str!("../../manifests/grafana-dashboard.json"),
            ),
            ("documentation", include_str!("../../docs/metrics.md")),
        ] {
            let part = |c: char| !(c.is_ascii_lowercase() || c == '_');
            for name in told
                .split(part)
                .filter(|word| word.starts_with("agentainer_"))
            {
                let name = name.trim_end_matches("_total").trim_end_matches("_bucket");
                assert!(families.contains(&name), "the {place} names {name}");
            }
        }
    }
}
