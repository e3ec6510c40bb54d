//! What this process tells of itself: its log (here), the access log, and its metrics.
//!
//! The log is set up once by `main`. Constant messages with fields; no secret is ever a field. What is counted is counted by
//! whoever does it, in [`figures`]; [`exposition`] has every metric's name.

pub mod access;
pub mod exposition;
pub mod figures;
pub mod kept;
pub mod process;
pub mod spans;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::config::LogFormat;

/// The filter when `AGENTAINER_LOG` is not set.
const DEFAULT_FILTER: &str = "info,hyper=warn,bollard=warn,redis=warn";

/// Starts the log on standard error. `filter` is the value of `AGENTAINER_LOG`, in tracing's directives.
///
/// A second call does nothing.
pub fn start(format: LogFormat, filter: Option<&str>) {
    process::begin();
    let filter = filter
        .and_then(|text| EnvFilter::try_new(text).ok())
        .unwrap_or_else(|| EnvFilter::new(DEFAULT_FILTER));
    let builder = fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    // Fails only when a log was started before, which is then the one to use.
    let _ = match format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => builder.with_ansi(false).try_init(),
    };
}
