//! This process in figures, as Linux tells them (proc(5)).

use std::fs;
use std::sync::LazyLock;

use crate::clock;

/// This process at one moment; zero where the system does not say.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ProcessSample {
    /// Time on a processor, in seconds.
    pub cpu_seconds: f64,
    /// When it began, in seconds since 1970.
    pub started: f64,
    /// Resident memory, in bytes.
    pub memory: u64,
    /// Open files.
    pub files: u64,
}

/// About when the process began: when this was first asked for, which `main` does at once.
static STARTED: LazyLock<f64> = LazyLock::new(|| clock::now().as_millisecond() as f64 / 1000.0);

/// Notes when the process began.
pub fn begin() {
    LazyLock::force(&STARTED);
}

/// This process now.
pub fn sample() -> ProcessSample {
    ProcessSample {
        cpu_seconds: cpu_seconds().unwrap_or_default(),
        started: *STARTED,
        memory: memory().unwrap_or_default(),
        files: fs::read_dir("/proc/self/fd").map_or(0, |all| all.count() as u64),
    }
}

fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // After the command's name, which may hold anything.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    let per_second = rustix::param::clock_ticks_per_second();
    Some((ticks()? + ticks()?) / per_second as f64)
}

fn memory() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_itself() {
        let sample = sample();
        assert!(
            sample.memory > 1 << 20 && sample.files > 2 && sample.started > 1e9,
            "{sample:?}"
        );
    }
}
