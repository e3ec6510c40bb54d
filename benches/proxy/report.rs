//! What was measured, as tables for people (Markdown, so that they can be kept in `docs/benchmarks.md`).

use std::collections::BTreeMap;

use crate::cells::Settings;
use crate::processor;
use crate::targets::{MEASURE, Targets, version};

/// Name, and how its figures are to be read.
const TABLES: [(&str, &str); 6] = [
    (
        "throughput",
        "Throughput, requests a second; more is better",
    ),
    (
        "processor",
        "Processor time of the proxy for each request, µs; less is better",
    ),
    (
        "busy",
        "How busy the proxy's cores were, %; well below 100 for each worker: somebody else was the limit",
    ),
    (
        "latency",
        "Latency at a fixed rate, 100 B, µs from when each request was meant to be sent; less is better",
    ),
    ("stream", "Server-sent events, µs; less is better"),
    ("memory", "Memory; less is better"),
];

pub struct Report {
    head: String,
    targets: Vec<String>,
    /// By table, then row in the order of their first values, then target: one value a round.
    rows: Vec<(&'static str, String)>,
    values: BTreeMap<(usize, String), Vec<f64>>,
}

impl Report {
    pub fn new(settings: &Settings, targets: &Targets) -> Self {
        let versions = [
            version(&["nginx", "-v"]),
            version(&["haproxy", "-v"]),
            version(&["wrk", "-v"]),
            version(&["h2load", "--version"]),
        ];
        let head = format!(
            "{} ({} cores), Linux {}, load {} before the start. Proxies: {} worker(s) on core {}; the agent and the load \
             generators on core {}. {} rounds, {} s each; latencies at {} requests a second on 32 connections.\n\n{}",
            processor::model(),
            processor::cores(),
            processor::kernel(),
            processor::load(),
            settings.workers,
            settings.proxy_cores,
            settings.load_cores,
            settings.rounds,
            settings.seconds,
            settings.rate,
            versions.join("; "),
        );
        Self {
            head,
            targets: targets.names().map(str::to_owned).collect(),
            rows: Vec::new(),
            values: BTreeMap::new(),
        }
    }

    pub fn put(&mut self, table: &'static str, row: &str, target: &str, value: f64) {
        let known = self
            .rows
            .iter()
            .position(|one| one.0 == table && one.1 == row);
        let at = known.unwrap_or_else(|| {
            self.rows.push((table, row.to_owned()));
            self.rows.len() - 1
        });
        eprintln!("  {table}, {row}, {target}: {value:.1}");
        self.values
            .entry((at, target.to_owned()))
            .or_default()
            .push(value);
    }

    pub fn print(&self) {
        println!("{}\n", self.head);
        for (table, title) in TABLES {
            let rows = self
                .rows
                .iter()
                .enumerate()
                .filter(|(_, row)| row.0 == table);
            let rows: Vec<_> = rows.collect();
            if rows.is_empty() {
                continue;
            }
            println!("**{title}**\n");
            let compared = self
                .targets
                .iter()
                .filter(|name| *name != MEASURE && !self.is_agent(name));
            let compared: Vec<&String> = compared.collect();
            let mut heads: Vec<String> = self.targets.clone();
            heads.extend(compared.iter().map(|name| format!("{name} : {MEASURE}")));
            println!("| | {} |", heads.join(" | "));
            println!("| --- |{}", " ---: |".repeat(heads.len()));
            for (at, (_, row)) in rows {
                let mut columns: Vec<String> = self
                    .targets
                    .iter()
                    .map(|name| self.median(at, name))
                    .collect();
                columns.extend(compared.iter().map(|name| self.ratio(at, name)));
                println!("| {row} | {} |", columns.join(" | "));
            }
            println!();
        }
    }

    fn is_agent(&self, name: &str) -> bool {
        self.targets.first().is_some_and(|agent| agent == name)
    }

    fn of(&self, at: usize, target: &str) -> &[f64] {
        self.values
            .get(&(at, target.to_owned()))
            .map_or(&[], Vec::as_slice)
    }

    fn median(&self, at: usize, target: &str) -> String {
        let values = self.of(at, target);
        if values.is_empty() {
            return "–".to_owned();
        }
        let median = middle(values);
        match median {
            1000.0.. => thousands(median),
            100.0.. => format!("{median:.0}"),
            _ => format!("{median:.1}"),
        }
    }

    /// The median of the rounds' ratios, and the least and the greatest of them.
    fn ratio(&self, at: usize, target: &str) -> String {
        let pairs = self.of(at, target).iter().zip(self.of(at, MEASURE));
        let mut ratios: Vec<f64> = pairs.map(|(one, other)| one / other).collect();
        ratios.sort_by(f64::total_cmp);
        match ratios.as_slice() {
            [] => "–".to_owned(),
            [only] => format!("{only:.2}"),
            [least, .., greatest] => {
                format!("**{:.2}** ({least:.2}–{greatest:.2})", middle(&ratios))
            }
        }
    }
}

fn middle(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.len() % 2 {
        0 => f64::midpoint(values[half - 1], values[half]),
        _ => values[half],
    }
}

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
