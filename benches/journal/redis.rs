//! The redis-server, and what it says of itself.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::redis_child::RedisChild;

const DURABLE: [&str; 6] = [
    "--appendonly",
    "yes",
    "--appendfsync",
    "always",
    "--no-appendfsync-on-rewrite",
    "no",
];

pub struct Redis(RedisChild);

/// Totals since it was started.
#[derive(Clone, Copy)]
pub struct Figures {
    pub to: f64,
    pub from: f64,
    pub file: f64,
    pub memory: f64,
}

impl Redis {
    pub fn start() -> Self {
        Self(RedisChild::start(&DURABLE))
    }

    pub fn url(&self) -> String {
        self.0.url()
    }

    pub fn pid(&self) -> u32 {
        self.0.pid()
    }

    pub fn flush(&self) {
        let _: String = self.0.run(&["FLUSHALL"]);
    }

    /// Waits until so many of an agent's requests are completed.
    pub fn until_completed(&self, agent: &str, count: u64) {
        let until = Instant::now() + Duration::from_secs(120);
        loop {
            let sums: Option<String> = self.0.run(&["HGET", "agentainer:journal-2:agents", agent]);
            let done = sums.and_then(|sums| sums.split('\t').nth(3)?.parse::<u64>().ok());
            if done == Some(count) {
                return;
            }
            assert!(
                Instant::now() < until,
                "{done:?} of {count} after two minutes"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Counts the calls that come in from now on. What a script calls itself is none.
    pub fn overhear(&self) -> Overhearing {
        let mut stream = UnixStream::connect(self.0.socket()).unwrap();
        stream.write_all(b"MONITOR\r\n").unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "+OK");
        let ours = |line: &String| {
            line.contains("agentainer:journal-2:")
                && !line.contains(" lua] ")
                && !line.contains("\"HGET\"")
        };
        let counted = std::thread::spawn(move || lines.map_while(Result::ok).filter(ours).count());
        Overhearing { stream, counted }
    }

    pub fn figures(&self) -> Figures {
        let all: String = self.0.run(&["INFO", "all"]);
        let of = |name: &str| {
            let line = all.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.strip_prefix(':'))
                .map(str::to_owned)
        };
        let number = |name| of(name).and_then(|text| text.parse().ok()).unwrap_or(0.0);
        Figures {
            to: number("total_net_input_bytes"),
            from: number("total_net_output_bytes"),
            file: number("aof_current_size"),
            memory: number("used_memory"),
        }
    }
}

/// Somebody who listens to what goes to Redis.
pub struct Overhearing {
    stream: UnixStream,
    counted: JoinHandle<usize>,
}

impl Overhearing {
    pub fn calls(self) -> usize {
        self.stream.shutdown(Shutdown::Read).unwrap();
        self.counted.join().unwrap()
    }
}
