//! Where redis-server is on this machine, and which one.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use super::{RedisServerError, Result};

/// The program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binary {
    /// A path, or a name on the search path.
    pub path: PathBuf,
    /// Major, minor, patch.
    pub version: (u32, u32, u32),
}

/// Looked for in this order; Debian's Redis and its successor Valkey understand the same configuration.
const CANDIDATES: [&str; 5] = [
    "redis-server",
    "/usr/bin/redis-server",
    "/usr/local/bin/redis-server",
    "/usr/sbin/redis-server",
    "valkey-server",
];

impl Binary {
    /// Looks for it on the search path and where packages put it.
    ///
    /// # Errors
    /// [`RedisServerError::Missing`] names the package to install; [`RedisServerError::TooOld`] below 6.2.
    pub async fn find() -> Result<Self> {
        for path in CANDIDATES {
            if let Some(text) = version_text(path).await {
                let version = parse(&text).unwrap_or_default();
                if version < (6, 2, 0) {
                    let (major, minor, patch) = version;
                    return Err(RedisServerError::TooOld {
                        version: format!("{major}.{minor}.{patch}"),
                    });
                }
                return Ok(Self {
                    path: path.into(),
                    version,
                });
            }
        }
        Err(RedisServerError::Missing)
    }
}

async fn version_text(path: &str) -> Option<String> {
    let running = tokio::process::Command::new(path)
        .arg("--version")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(10), running).await;
    let output = output.ok()?.ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `Redis server v=7.0.15 sha=…`
fn parse(text: &str) -> Option<(u32, u32, u32)> {
    let (_, rest) = text.split_once("v=")?;
    let mut parts = rest.split_whitespace().next()?.split('.');
    let mut part = || parts.next().and_then(|part| part.parse().ok());
    Some((part()?, part()?, part().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_version_is_read_from_what_it_prints() {
        let text = "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=ae\n";
        assert_eq!(super::parse(text), Some((7, 0, 15)));
        assert_eq!(super::parse("Valkey server v=8.1 sha=0"), Some((8, 1, 0)));
        assert_eq!(super::parse("hello"), None);
    }
}
