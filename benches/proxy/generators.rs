//! The load generators that are not ours: wrk for HTTP/1.1, h2load for HTTP/2.

use std::process::Command;

use crate::cells::Settings;

/// Requests a second, and how many there were; panics with the generator's own words when one failed.
pub struct Throughput {
    pub requests: u64,
    pub each_second: f64,
}

pub fn wrk(settings: &Settings, url: &str, connections: usize) -> Throughput {
    let text = run(
        settings,
        "wrk",
        &[
            "-t1",
            &format!("-c{connections}"),
            &format!("-d{}s", settings.seconds),
            "--timeout",
            "10s",
            url,
        ],
    );
    assert!(!text.contains("Non-2xx"), "{url}: {text}");
    assert!(!text.contains("Socket errors"), "{url}: {text}");
    let line = |word: &str| text.lines().find(|line| line.contains(word)).expect(&text);
    Throughput {
        requests: number(line(" requests in ")),
        each_second: number(line("Requests/sec:").trim_start_matches("Requests/sec:")),
    }
}

/// `connections` of `streams` requests at once each.
pub fn h2load(settings: &Settings, url: &str, connections: usize, streams: usize) -> Throughput {
    let text = run(
        settings,
        "h2load",
        &[
            &format!("-c{connections}"),
            &format!("-m{streams}"),
            &format!("-D{}", settings.seconds),
            url,
        ],
    );
    // requests: 83036 total, 83100 started, 83036 done, 83036 succeeded, 0 failed, 0 errored, 0 timeout
    let line = |word: &str| {
        text.lines()
            .find(|line| line.starts_with(word))
            .expect(&text)
    };
    let counts = line("requests:");
    assert!(
        counts.contains(" 0 failed, 0 errored, 0 timeout"),
        "{url}: {text}"
    );
    let requests: u64 = number(counts.trim_start_matches("requests:"));
    assert!(requests > 0, "{url}: {text}");
    let finished = line("finished in");
    Throughput {
        requests,
        each_second: number(finished.split(',').nth(1).unwrap_or_default()),
    }
}

/// The first word of a text, as a number.
fn number<T: std::str::FromStr>(text: &str) -> T {
    let word = text.split_whitespace().next().unwrap_or_default();
    word.parse().unwrap_or_else(|_| panic!("no number: {text}"))
}

fn run(settings: &Settings, program: &str, arguments: &[&str]) -> String {
    let output = Command::new("taskset")
        .args(["-c", &settings.load_cores, program])
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("taskset: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {text}{said}");
    text
}
