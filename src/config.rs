//! The server's configuration: flags and environment, parsed without opening anything.
//!
//! Layer 0b. `app` opens what is named here; `cli` shows the flags' help.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::agent::quantity::Bytes;
use crate::keys;

/// How `agentainer serve` runs.
#[derive(Args, Clone, Debug)]
pub struct ServeConfig {
    /// Where the server keeps its cluster id, keys, tokens and Redis [default: /var/lib/agentainer for root, else
    /// ~/.local/share/agentainer].
    #[arg(long, value_name = "DIR", env = "AGENTAINER_DATA_DIR")]
    pub data_dir: Option<PathBuf>,

    /// The port of the API and the proxy, on loopback and on the agents' gateway.
    #[arg(long, default_value_t = keys::PORT, value_name = "PORT", env = "AGENTAINER_PORT")]
    pub port: u16,

    /// Listen on this address too, beside loopback and the gateway. May be repeated.
    #[arg(
        long,
        value_name = "ADDR[:PORT]",
        env = "AGENTAINER_LISTEN",
        value_delimiter = ','
    )]
    pub listen: Vec<ListenAddress>,

    /// Speak TLS to clients with this certificate (PEM, its chain behind it); read anew when the file changes.
    #[arg(
        long,
        value_name = "FILE",
        env = "AGENTAINER_TLS_CERT",
        requires = "tls_key",
        value_hint = clap::ValueHint::FilePath
    )]
    pub tls_cert: Option<PathBuf>,

    /// The certificate's private key (PEM).
    #[arg(
        long,
        value_name = "FILE",
        env = "AGENTAINER_TLS_KEY",
        requires = "tls_cert",
        value_hint = clap::ValueHint::FilePath
    )]
    pub tls_key: Option<PathBuf>,

    /// Where TLS is spoken [default: port 8443 of loopback and of the addresses of --listen]. May be repeated. Clear text is
    /// spoken on loopback and the gateway still.
    #[arg(
        long,
        value_name = "ADDR[:PORT]",
        env = "AGENTAINER_TLS_LISTEN",
        value_delimiter = ',',
        requires = "tls_cert"
    )]
    pub tls_listen: Vec<ListenAddress>,

    /// A Host that management requests may name, beside loopback, the gateway and host.docker.internal. May be repeated.
    #[arg(
        long,
        value_name = "HOST",
        env = "AGENTAINER_ALLOW_HOST",
        value_delimiter = ','
    )]
    pub allow_host: Vec<String>,

    /// Route NAME.DOMAIN to the agent NAME, beside /agent/NAME of every host.
    #[arg(long, value_name = "DOMAIN", env = "AGENTAINER_AGENT_DOMAIN", value_parser = domain)]
    pub agent_domain: Option<String>,

    /// How many requests each client may make, as 50/s or 300/m [default: any number].
    #[arg(long, value_name = "N/s|N/m", env = "AGENTAINER_CLIENT_RATE")]
    pub client_rate: Option<Rate>,

    /// How many of them at once after a pause [default: a second's worth].
    #[arg(
        long,
        value_name = "N",
        env = "AGENTAINER_CLIENT_BURST",
        requires = "client_rate"
    )]
    pub client_burst: Option<NonZeroU32>,

    /// The agents' network.
    #[arg(long, default_value = keys::NETWORK, value_name = "NAME", env = "AGENTAINER_NETWORK")]
    pub network: String,

    /// The subnet of the agents' network when it is made, a /20 [default: a free private one].
    #[arg(long, value_name = "CIDR", env = "AGENTAINER_SUBNET")]
    pub subnet: Option<ipnet::Ipv4Net>,

    /// The engine's socket [default: unix:///var/run/docker.sock].
    #[arg(long, value_name = "URL", env = "DOCKER_HOST")]
    pub docker_host: Option<String>,

    /// Let manifests name host folders below this one. May be repeated.
    #[arg(
        long,
        value_name = "DIR",
        env = "AGENTAINER_ALLOW_HOST_PATH",
        value_delimiter = ','
    )]
    pub allow_host_path: Vec<PathBuf>,

    /// An external control Redis [default: a Redis of our own on a private socket]. With a password rather by the variable:
    /// others see a process' arguments.
    #[arg(
        long,
        value_name = "URL",
        env = "AGENTAINER_REDIS_URL",
        hide_env_values = true
    )]
    pub redis_url: Option<String>,

    /// The external control Redis' host, when no URL is given.
    #[arg(long, value_name = "HOST", env = "AGENTAINER_REDIS_HOST", hide = true)]
    pub redis_host: Option<String>,

    /// The external control Redis' port.
    #[arg(
        long,
        value_name = "PORT",
        env = "AGENTAINER_REDIS_PORT",
        default_value_t = 6379,
        hide = true
    )]
    pub redis_port: u16,

    /// The external control Redis' password.
    #[arg(
        long,
        value_name = "TEXT",
        env = "AGENTAINER_REDIS_PASSWORD",
        hide = true,
        hide_env_values = true
    )]
    pub redis_password: Option<String>,

    /// Whether a request that is answered with 202 must be on disk before (fsync), or may be lost with the machine or the control
    /// Redis (memory), which each 202 then says.
    #[arg(
        long,
        default_value = "fsync",
        value_name = "fsync|memory",
        env = "AGENTAINER_DURABILITY"
    )]
    pub durability: Durability,

    /// How much all kept requests and their answers may take in the control Redis.
    #[arg(
        long,
        default_value = "256Mi",
        value_name = "SIZE",
        env = "AGENTAINER_JOURNAL_MEMORY"
    )]
    pub journal_memory: Bytes,

    /// Let callbacks (X-Callback-Url) go to addresses of this network, which are refused else: private, loopback, link-local and
    /// the like. May be repeated.
    #[arg(
        long,
        value_name = "CIDR",
        env = "AGENTAINER_CALLBACK_ALLOW",
        value_delimiter = ','
    )]
    pub callback_allow: Vec<ipnet::IpNet>,

    /// Trust this authority (PEM) too, beside the system's, when a callback is made.
    #[arg(
        long,
        value_name = "FILE",
        env = "AGENTAINER_CALLBACK_CA",
        value_hint = clap::ValueHint::FilePath
    )]
    pub callback_ca: Option<PathBuf>,

    /// Use an external control Redis although agents could reach it without a password.
    #[arg(long, env = "AGENTAINER_ALLOW_OPEN_REDIS")]
    pub allow_open_redis: bool,

    /// The Redis that agents see at host.docker.internal:6379: one of our own, none, or the URL of yours.
    #[arg(
        long,
        default_value = "own",
        value_name = "own|off|URL",
        env = "AGENTAINER_AGENTS_REDIS",
        hide_env_values = true
    )]
    pub agents_redis: AgentsRedis,

    /// The port of the agents' Redis on the gateway.
    #[arg(long, default_value_t = keys::AGENTS_REDIS_PORT, value_name = "PORT", env = "AGENTAINER_AGENTS_REDIS_PORT")]
    pub agents_redis_port: u16,

    /// The well-known token agentainer-default-token, a viewer on loopback and the gateway [default: on; off in a
    /// container].
    #[arg(long, value_name = "on|off", env = "AGENTAINER_DEFAULT_TOKEN")]
    pub default_token: Option<Switch>,

    /// How the log is written.
    #[arg(
        long,
        default_value = "text",
        value_name = "FORMAT",
        env = "AGENTAINER_LOG_FORMAT"
    )]
    pub log_format: LogFormat,

    /// Write a line for each request through the proxy into this file (`-`: standard output), in the log's format [default: none].
    #[arg(long, value_name = "FILE", env = "AGENTAINER_ACCESS_LOG")]
    pub access_log: Option<PathBuf>,

    /// Tell the collector of traces at this address of requests and attempts, over OTLP/HTTP [default: nobody].
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<OtlpEndpoint>,

    /// As what it is told of us.
    #[arg(
        long,
        default_value = "agentainer",
        value_name = "NAME",
        env = "OTEL_SERVICE_NAME"
    )]
    pub otlp_service_name: String,

    /// How many of the traces that begin here it is told of, from 0 to 1; whoever began one elsewhere decided there.
    #[arg(long, default_value_t = 1.0, value_name = "SHARE", value_parser = share, env = "OTEL_TRACES_SAMPLER_ARG")]
    pub otlp_share: f64,

    /// Before anything else, make the agents again that the store lost: from the snapshot in the data folder, failing that from
    /// their containers.
    #[arg(long)]
    pub recover: bool,

    /// With --recover and a lost data folder: the id of the cluster whose containers are to be taken up again, which stands in
    /// their label agentainer.dev/cluster. No other server may be running for it.
    #[arg(long, value_name = "ID", requires = "recover")]
    pub cluster: Option<String>,

    /// Take over from the server that runs on the data folder, if one does: its listening sockets, its lock, its work. It ends
    /// when what is in flight with it has finished; if this one does not start, it goes on.
    #[arg(long)]
    pub takeover: bool,

    /// Start in the background, log to `<data-dir>/server.log`, and return when the server answers.
    #[arg(long)]
    pub detach: bool,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

/// What a 202 promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Durability {
    /// The request is on disk.
    Fsync,
    /// Redis has it.
    Memory,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The Redis that agents see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentsRedis {
    /// A child of ours at the gateway.
    Own,
    /// None.
    Off,
    /// Somebody's at this URL.
    Url(String),
}

impl FromStr for AgentsRedis {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "own" => Ok(Self::Own),
            "off" => Ok(Self::Off),
            url if url.starts_with("redis://") || url.starts_with("rediss://") => {
                Ok(Self::Url(url.to_owned()))
            }
            _ => Err("expected own, off or a redis:// URL".to_owned()),
        }
    }
}

/// So many in so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: NonZeroU32,
    /// In how long.
    pub within: Duration,
}

impl Rate {
    /// How many that is in a second; one at least.
    pub fn a_second(self) -> NonZeroU32 {
        let seconds = u32::try_from(self.within.as_secs()).unwrap_or(u32::MAX);
        NonZeroU32::new(self.count.get() / seconds.max(1)).unwrap_or(NonZeroU32::MIN)
    }
}

impl FromStr for Rate {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "expected a number a second or a minute, such as 50/s or 300/m".to_owned();
        let (count, unit) = text.split_once('/').unwrap_or((text, "s"));
        let within = match unit {
            "s" => Duration::from_secs(1),
            "m" => Duration::from_secs(60),
            _ => return Err(wrong()),
        };
        let count = count.parse().map_err(|_| wrong())?;
        Ok(Self { count, within })
    }
}

/// Where a collector of traces takes them (OTLP/HTTP): `http://HOST[:PORT][/PATH]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpEndpoint {
    /// A name or an address; one of IPv6 without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// What stands before `/v1/traces`; empty, or with a slash before and none behind.
    pub path: String,
}

impl std::fmt::Display for OtlpEndpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "http://[{}]:{}{}", self.host, self.port, self.path),
            false => write!(f, "http://{}:{}{}", self.host, self.port, self.path),
        }
    }
}

impl FromStr for OtlpEndpoint {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with("https://") {
            return Err("TLS is not spoken to it; send to a collector on this machine, such as http://localhost:4318, and have that one send on".to_owned());
        }
        let uri: Option<http::Uri> = text.parse().ok();
        let plain = uri.filter(|uri| {
            let bare = uri.authority().is_some_and(|it| !it.as_str().contains('@'));
            uri.scheme_str() == Some("http") && bare && uri.query().is_none()
        });
        let found = plain.and_then(|uri| {
            let host = uri.host()?.trim_matches(['[', ']']);
            Some(Self {
                host: host.to_owned(),
                port: uri.port_u16().unwrap_or(80),
                path: uri.path().trim_end_matches('/').to_owned(),
            })
        });
        found.ok_or_else(|| {
            "expected http://HOST[:PORT][/PATH], such as http://localhost:4318".to_owned()
        })
    }
}

fn share(text: &str) -> Result<f64, String> {
    let share: Option<f64> = text.parse().ok();
    let within = share.filter(|share| (0.0..=1.0).contains(share));
    within.ok_or_else(|| "expected a number from 0 to 1, such as 0.1".to_owned())
}

/// A domain's name in lower case: labels of letters, digits and hyphens (RFC 1123 §2.1).
fn domain(text: &str) -> Result<String, String> {
    let name = text.trim_end_matches('.').to_ascii_lowercase();
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let is_name = name.split('.').all(is_label) && name.parse::<IpAddr>().is_err();
    match is_name && name != "localhost" {
        true => Ok(name),
        false if name == "localhost" => Err(
            "localhost is this server's own name; agents.localhost is one that browsers take for this machine too"
                .to_owned(),
        ),
        false => Err("expected a domain's name, such as agents.example.org".to_owned()),
    }
}

/// An address with or without a port; without one it is the server's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenAddress {
    /// The address.
    pub ip: IpAddr,
    /// The port, if one was given.
    pub port: Option<u16>,
}

impl ListenAddress {
    /// With the server's own port where none was given.
    pub fn or_port(self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip, self.port.unwrap_or(port))
    }
}

impl FromStr for ListenAddress {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self {
                ip: address.ip(),
                port: Some(address.port()),
            });
        }
        let bare = text.trim_start_matches('[').trim_end_matches(']');
        let ip = bare.parse().map_err(|_| {
            "expected an IP address, or address:port, such as 0.0.0.0 or [::]:8081".to_owned()
        })?;
        Ok(Self { ip, port: None })
    }
}

/// The data folder when none is named: the system's for root, the user's own else.
///
/// `home` and `xdg_data_home` are the environment's variables of those names.
pub fn default_data_dir(is_root: bool, home: Option<&str>, xdg_data_home: Option<&str>) -> PathBuf {
    if is_root {
        return PathBuf::from("/var/lib/agentainer");
    }
    match (xdg_data_home.filter(|dir| dir.starts_with('/')), home) {
        (Some(data), _) => Path::new(data).join("agentainer"),
        (None, Some(home)) => Path::new(home).join(".local/share/agentainer"),
        (None, None) => PathBuf::from("/var/tmp/agentainer"),
    }
}

impl ServeConfig {
    /// The external control Redis' URL, from its own flag or put together from the seed's three variables; `None`: our
    /// own Redis.
    pub fn control_redis(&self) -> Option<String> {
        if let Some(url) = &self.redis_url {
            return Some(url.clone());
        }
        let host = self.redis_host.as_ref()?;
        let password = self
            .redis_password
            .as_ref()
            .map(|password| format!(":{}@", percent_encoded(password)));
        Some(format!(
            "redis://{}{host}:{}",
            password.unwrap_or_default(),
            self.redis_port
        ))
    }
}

/// A password as a URL's part (RFC 3986, section 2.1).
fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        config: ServeConfig,
    }

    fn parse(args: &[&str]) -> ServeConfig {
        Line::try_parse_from(std::iter::once(&"serve").chain(args))
            .unwrap()
            .config
    }

    #[test]
    fn without_flags_everything_is_our_own() {
        let config = parse(&[]);
        assert_eq!(
            (config.port, config.network.as_str()),
            (8081, "agentainer-network")
        );
        assert_eq!(config.control_redis(), None);
        assert_eq!(config.agents_redis, AgentsRedis::Own);
    }

    #[test]
    fn the_seeds_redis_variables_make_a_url() {
        let config = parse(&["--redis-host", "redis", "--redis-password", "p@ss/word"]);
        assert_eq!(
            config.control_redis().unwrap(),
            "redis://:p%40ss%2Fword@redis:6379"
        );
    }

    #[test]
    fn an_address_may_go_without_a_port() {
        assert_eq!(
            "0.0.0.0"
                .parse::<ListenAddress>()
                .unwrap()
                .or_port(8081)
                .to_string(),
            "0.0.0.0:8081"
        );
        assert_eq!(
            "[::]:9"
                .parse::<ListenAddress>()
                .unwrap()
                .or_port(8081)
                .to_string(),
            "[::]:9"
        );
        assert_eq!(
            "::".parse::<ListenAddress>()
                .unwrap()
                .or_port(8081)
                .to_string(),
            "[::]:8081"
        );
        assert!("here".parse::<ListenAddress>().is_err());
    }

    #[test]
    fn rates_and_domains_are_checked() {
        let rate = |text: &str| {
            text.parse::<Rate>()
                .map(|rate| (rate.count.get(), rate.a_second().get()))
        };
        assert_eq!(rate("50/s"), Ok((50, 50)));
        assert_eq!(rate("7"), Ok((7, 7)));
        assert_eq!(rate("300/m"), Ok((300, 5)));
        assert_eq!(rate("3/m"), Ok((3, 1)));
        for wrong in ["0/s", "-1/s", "5/h", "x/s", "", "5/"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
        assert_eq!(
            domain("Agents.Example.org."),
            Ok("agents.example.org".to_owned())
        );
        for wrong in [
            "",
            "localhost",
            "10.0.0.1",
            "*.example.org",
            "a b",
            "-a.b",
            "a..b",
            "http://a",
            "a:1",
        ] {
            assert!(domain(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_data_folder_is_the_users_own_unless_root() {
        assert_eq!(
            default_data_dir(true, Some("/root"), None),
            Path::new("/var/lib/agentainer")
        );
        assert_eq!(
            default_data_dir(false, Some("/home/a"), None),
            Path::new("/home/a/.local/share/agentainer")
        );
        assert_eq!(
            default_data_dir(false, Some("/home/a"), Some("/d")),
            Path::new("/d/agentainer")
        );
    }

    #[test]
    fn where_spans_are_told() {
        for (text, expected) in [
            ("http://localhost:4318", "http://localhost:4318"),
            ("http://collector/", "http://collector:80"),
            ("http://[::1]:4318/base/", "http://[::1]:4318/base"),
        ] {
            let found: OtlpEndpoint = text.parse().unwrap();
            assert_eq!(found.to_string(), expected);
        }
        for wrong in [
            "",
            "localhost:4318",
            "https://x",
            "grpc://x",
            "http://u:p@x",
            "http://x/?a",
        ] {
            assert!(wrong.parse::<OtlpEndpoint>().is_err(), "{wrong}");
        }
        assert_eq!(share("0.25"), Ok(0.25));
        for wrong in ["-1", "2", "NaN", "much"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }
}
