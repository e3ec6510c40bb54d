//! Where the server is: `http://host:port`, `https://host:port` or `unix:///path`.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// Where the server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A TCP port.
    Tcp {
        /// A name or an address, an IPv6 one without brackets.
        host: String,
        /// The port.
        port: u16,
        /// Whether TLS is spoken there.
        tls: bool,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix://") {
            return if path.starts_with('/') {
                Ok(Self::Unix(PathBuf::from(path)))
            } else {
                Err("a Unix socket is named by its whole path: unix:///run/agentainer.sock".into())
            };
        }
        let (tls, rest) = match text.strip_prefix("https://") {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix("http://").unwrap_or(text)),
        };
        let wrong = || "expected http://host:port, https://host:port or unix:///path".to_owned();
        if rest.contains("://") {
            return Err(wrong());
        }
        let rest = rest.trim_end_matches('/');
        let uri: http::Uri = format!("http://{rest}/").parse().map_err(|_| wrong())?;
        if uri.path() != "/" || rest.contains('@') || rest.contains('?') {
            return Err(wrong());
        }
        let host = uri.host().ok_or_else(wrong)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Ok(Self::Tcp {
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(match text.split_once("://") {
                Some(("https", _)) => 443,
                Some(_) => 80,
                None => crate::keys::PORT,
            }),
            tls,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { tls, .. } => {
                let scheme = if *tls { "https" } else { "http" };
                write!(f, "{scheme}://{}", self.authority())
            }
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

impl Address {
    /// What the `Host` header says.
    pub(super) fn authority(&self) -> String {
        match self {
            Self::Tcp { host, port, .. } if host.contains(':') => format!("[{host}]:{port}"),
            Self::Tcp { host, port, .. } => format!("{host}:{port}"),
            Self::Unix(_) => "localhost".to_owned(),
        }
    }

    /// Whether it is surely this machine: only then is this machine's own token sent there.
    pub(super) fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp { host, .. } => {
                host.eq_ignore_ascii_case("localhost")
                    || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_server_is_named_by_url_or_by_host_and_port() {
        for (given, shown) in [
            ("http://localhost:8081", "http://localhost:8081"),
            ("http://localhost:8081/", "http://localhost:8081"),
            ("box:9000", "http://box:9000"),
            ("box", "http://box:8081"),
            ("http://box", "http://box:80"),
            ("http://[::1]:8081", "http://[::1]:8081"),
            ("https://box", "https://box:443"),
            ("https://[::1]:8443/", "https://[::1]:8443"),
            ("unix:///run/a.sock", "unix:///run/a.sock"),
        ] {
            assert_eq!(
                given.parse::<Address>().unwrap().to_string(),
                shown,
                "{given}"
            );
        }
        for wrong in [
            "https://",
            "ftp://box",
            "unix://a",
            "http://box/x",
            "http://a@b",
            "",
        ] {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn law_7_only_this_machine_is_local() {
        for (server, local) in [
            ("http://localhost:1", true),
            ("http://127.0.0.2:1", true),
            ("http://[::1]:1", true),
            ("https://localhost:1", true),
            ("https://box:1", false),
            ("unix:///a", true),
            ("http://box:1", false),
            ("http://localhost.evil.com:1", false),
            ("http://10.0.0.1:1", false),
        ] {
            assert_eq!(
                server.parse::<Address>().unwrap().is_local(),
                local,
                "{server}"
            );
        }
    }
}
