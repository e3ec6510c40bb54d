//! What is measured, and how long.

use std::time::Duration;

use crate::clients;
use crate::generators::{Throughput, h2load, wrk};
use crate::processor;
use crate::report::Report;
use crate::targets::Target;

/// What the caller can say.
pub struct Settings {
    pub rounds: usize,
    pub seconds: u64,
    /// Requests a second for the latencies.
    pub rate: u32,
    /// Only cells with this in their name.
    pub only: String,
    /// An earlier build of this very program, measured beside.
    pub beside: Option<String>,
    pub workers: usize,
    pub proxy_cores: String,
    pub load_cores: String,
}

impl Settings {
    pub fn from_environment() -> Self {
        let said = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        let number = |name: &str, otherwise: usize| {
            said(name).map_or(otherwise, |text| text.parse().expect(name))
        };
        let quick = said("QUICK").is_some();
        let cores = processor::cores();
        assert!(
            cores > 1,
            "one core is not enough: the proxy has one, the clients another"
        );
        let workers = number("WORKERS", 1);
        assert!(workers < cores, "WORKERS must leave a core for the clients");
        Self {
            rounds: number("ROUNDS", if quick { 1 } else { 5 }),
            seconds: number("SECONDS_EACH", if quick { 1 } else { 2 }) as u64,
            rate: u32::try_from(number("RATE", 4000)).unwrap(),
            only: said("ONLY").unwrap_or_default(),
            beside: said("BESIDE"),
            workers,
            proxy_cores: said("PROXY_CORES").unwrap_or_else(|| format!("0-{}", workers - 1)),
            load_cores: said("LOAD_CORES").unwrap_or_else(|| format!("{workers}-{}", cores - 1)),
        }
    }

    pub fn lasts(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

/// One of the things that are measured.
pub enum Cell {
    /// Idle connections.
    Memory(usize),
    Http1 {
        connections: usize,
        size: usize,
    },
    /// So many connections with so many requests at once each.
    Http2 {
        connections: usize,
        streams: usize,
        size: usize,
    },
    Latency,
    Stream,
    WebSocket,
}

/// How long connections have been idle when their memory is measured.
const IDLE: Duration = Duration::from_secs(10);

const SIZES: [usize; 3] = [100, 10 * 1024, 1024 * 1024];

fn size_name(size: usize) -> &'static str {
    match size {
        100 => "100 B",
        10_240 => "10 KiB",
        _ => "1 MiB",
    }
}

impl Cell {
    /// All that are asked for, in order. Memory comes first: what load leaves behind is no idle connection's.
    pub fn all(settings: &Settings) -> Vec<Self> {
        let mut all = vec![Self::Memory(10_000)];
        for size in SIZES {
            let http1 = |connections| Self::Http1 { connections, size };
            all.extend([1, 64, 512].map(http1));
        }
        all.extend(SIZES.map(|size| Self::Http2 {
            connections: 8,
            streams: 8,
            size,
        }));
        all.extend([Self::Latency, Self::Stream, Self::WebSocket]);
        all.retain(|cell| cell.name().contains(&settings.only));
        all
    }

    fn name(&self) -> String {
        match self {
            Self::Memory(count) => format!("{count} idle connections"),
            Self::Http1 { connections, size } => {
                format!("HTTP/1.1, {}, {connections} connections", size_name(*size))
            }
            Self::Http2 {
                connections,
                streams,
                size,
            } => {
                format!(
                    "HTTP/2, {}, {connections} × {streams} streams",
                    size_name(*size)
                )
            }
            Self::Latency => "latency".to_owned(),
            Self::Stream => "stream".to_owned(),
            Self::WebSocket => "WebSocket".to_owned(),
        }
    }

    pub fn measure(&self, settings: &Settings, target: &Target, report: &mut Report) {
        let name = self.name();
        let url = |address: std::net::SocketAddr, size: usize| {
            format!("http://{address}{}/{size}", target.prefix)
        };
        let mut put = |table: &'static str, row: &str, value: f64| {
            report.put(table, row, &target.name, value);
        };
        match *self {
            Self::Memory(count) => {
                // The agent itself is none of those compared; and what was measured once is known.
                if target.is_agent() || target.was_loaded.replace(true) {
                    return;
                }
                let before = processor::memory(target.pid());
                let path = format!("{}/100", target.prefix);
                let connections = clients::idle(target.http1, &path, 100, count);
                std::thread::sleep(IDLE);
                let after = processor::memory(target.pid());
                drop(connections);
                put(
                    "memory",
                    "without a connection, MiB",
                    before as f64 / 1024.0,
                );
                put("memory", &format!("{name}, MiB"), after as f64 / 1024.0);
                let each = after.saturating_sub(before) as f64 / count as f64;
                put("memory", "each, KiB", each);
            }
            Self::Http1 { connections, size } => {
                let measured = loaded(target, || {
                    wrk(settings, &url(target.http1, size), connections)
                });
                measured.put(&name, target, put);
            }
            Self::Http2 {
                connections,
                streams,
                size,
            } => {
                let Some(address) = target.http2 else { return };
                let url = url(address, size);
                let measured = loaded(target, || h2load(settings, &url, connections, streams));
                measured.put(&name, target, put);
            }
            Self::Latency => {
                let path = format!("{}/100", target.prefix);
                let took =
                    clients::at_rate(target.http1, &path, 100, settings.rate, settings.lasts());
                for (share, row) in [(0.5, "p50"), (0.99, "p99"), (0.999, "p99.9")] {
                    put("latency", row, quantile(&took, share));
                }
            }
            Self::Stream => {
                let path = format!("{}/stream/", target.prefix);
                let (first, further) = clients::streams(target.http1, &path);
                put(
                    "stream",
                    "first event after the request, p50",
                    quantile(&first, 0.5),
                );
                put(
                    "stream",
                    "first event after the request, p99",
                    quantile(&first, 0.99),
                );
                put(
                    "stream",
                    "further events after they were sent, p50",
                    quantile(&further, 0.5),
                );
                put(
                    "stream",
                    "further events after they were sent, p99",
                    quantile(&further, 0.99),
                );
            }
            Self::WebSocket => {
                let path = format!("{}/ws", target.prefix);
                let each_second = clients::messages(target.http1, &path, settings.lasts());
                put(
                    "throughput",
                    "WebSocket messages there and back, 64 connections",
                    each_second,
                );
            }
        }
    }
}

/// A run of a load generator, and what it cost the target.
struct Loaded {
    throughput: Throughput,
    /// Of the target's processes, in nanoseconds.
    processor: u64,
}

fn loaded(target: &Target, load: impl FnOnce() -> Throughput) -> Loaded {
    let before = processor::time(target.pid());
    let throughput = load();
    let processor = processor::time(target.pid()) - before;
    Loaded {
        throughput,
        processor,
    }
}

impl Loaded {
    fn put(&self, row: &str, target: &Target, mut put: impl FnMut(&'static str, &str, f64)) {
        put("throughput", row, self.throughput.each_second);
        if !target.is_agent() {
            let each = self.processor as f64 / 1000.0 / self.throughput.requests as f64;
            put("processor", row, each);
            let lasted = self.throughput.requests as f64 / self.throughput.each_second;
            put("busy", row, self.processor as f64 / 1e7 / lasted);
        }
    }
}

/// The value below which this share of all is.
fn quantile(all: &[f64], share: f64) -> f64 {
    let mut all = all.to_vec();
    all.sort_by(f64::total_cmp);
    let at = (all.len() as f64 * share) as usize;
    all[at.min(all.len() - 1)]
}
