//! No agent sends from another's address: a table of ours in the kernel's packet filter lets each instance's port on the bridge
//! pass what comes from its own MAC and IPv4 address alone (design, section 6).
//!
//! Agents keep `NET_RAW`, with which a program makes up whole frames. The table is of nftables' family `bridge`, at its first hook,
//! before the bridge learns from a frame: neither another's address nor another's MAC gets in. It is named after the cluster, made
//! again when somebody flushes it, outlives the server as the agents do, and goes with `stop --all`. Where no rule may be set, the
//! host's condition says so. An instance is guarded from a moment after its start; what is not known is let through.

mod table;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures::StreamExt as _;
use jiff::Timestamp;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::table::Port;
use crate::agent::ClusterId;
use crate::names::AgentName;
use crate::observed::{Container, ContainerId, ContainerState};
use crate::reconcile::{Board, host_condition};
use crate::runtime::{ContainerRuntime, RuntimeEvent};

/// Between two looks whether the table is as we left it.
const LOOK: Duration = Duration::from_secs(10);
/// Between two looks at all containers; events tell of each that starts.
const RESYNC: Duration = Duration::from_secs(60);
/// Events that come together are answered together.
const TOGETHER: Duration = Duration::from_millis(50);
/// How long one of the programs that we ask may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What to do where it cannot be had.
const REMEDY: &str = "agents keep NET_RAW and can send from a neighbour's address: run agents that trust each other, or drop it \
                      (security.capabilities.drop: [NET_RAW])";

/// A container whose port is known. Until its next start, and its next change of network, that stays its port.
#[derive(Clone, Debug)]
struct Known {
    agent: AgentName,
    started: Option<Timestamp>,
    port: Port,
}

/// Keeps the table.
pub(super) struct Guard {
    table: String,
    runtime: Arc<dyn ContainerRuntime>,
    board: Board,
    ports: BTreeMap<ContainerId, Known>,
    /// What was last set, and how the kernel shows it.
    set: Option<(String, String)>,
}

/// Removes a cluster's table, if there is one.
pub(super) async fn remove(cluster: &ClusterId) {
    let table = table::name(cluster);
    if let Err(error) = said("nft", &["delete", "table", "bridge", &table], "").await {
        tracing::debug!(error = format!("{error:#}"), "no table to remove");
    }
}

impl Guard {
    pub(super) fn new(
        cluster: &ClusterId,
        runtime: Arc<dyn ContainerRuntime>,
        board: Board,
    ) -> Self {
        Self {
            table: table::name(cluster),
            runtime,
            board,
            ports: BTreeMap::new(),
            set: None,
        }
    }

    /// Keeps it until shutdown.
    pub(super) async fn keep(mut self, shutdown: CancellationToken) {
        shutdown.run_until_cancelled_owned(self.keep_on()).await;
    }

    async fn keep_on(&mut self) {
        loop {
            // Whatever starts from now on is told of; what was missed is not known.
            let events = self.runtime.events().await;
            self.ports.clear();
            self.look_at_all().await;
            match events {
                Ok(mut events) => {
                    let mut looked = Instant::now();
                    loop {
                        match timeout(LOOK, events.next()).await {
                            Ok(Some(Ok(event))) => self.follow(event).await,
                            Ok(_) => break,
                            Err(_) => self.check().await,
                        }
                        if looked.elapsed() >= RESYNC {
                            self.look_at_all().await;
                            looked = Instant::now();
                        }
                    }
                }
                Err(error) => tracing::debug!(%error, "the engine tells no events"),
            }
            sleep(LOOK).await;
        }
    }

    async fn follow(&mut self, event: RuntimeEvent) {
        let RuntimeEvent::Container { agent, id, action } = event else {
            return;
        };
        if !matches!(action.as_str(), "start" | "die" | "destroy") && !action.contains("connect") {
            return;
        }
        if action == "start" {
            sleep(TOGETHER).await;
        }
        self.ports.remove(&id);
        match self.runtime.list_agent(&agent).await {
            Ok(containers) => {
                let others = self.ports.clone().into_iter();
                let others = others.filter(|(_, known)| known.agent != agent);
                self.take(others.collect(), containers).await;
            }
            Err(error) => tracing::debug!(%error, "an agent's ports are not known"),
        }
    }

    async fn look_at_all(&mut self) {
        match self.runtime.list().await {
            Ok(containers) => self.take(BTreeMap::new(), containers).await,
            Err(error) => tracing::debug!(%error, "no port is known"),
        }
    }

    /// These ports, and those of these containers.
    async fn take(&mut self, mut ports: BTreeMap<ContainerId, Known>, containers: Vec<Container>) {
        let mut unknown = None;
        for container in containers {
            if let Some(known) = self.known(&container) {
                ports.insert(container.id, known.clone());
                continue;
            }
            match self.port(&container).await {
                Ok(Some(port)) => {
                    let known = Known {
                        agent: container.identity.agent,
                        started: container.started_at,
                        port,
                    };
                    ports.insert(container.id, known);
                }
                Ok(None) => {}
                Err(error) => unknown = Some(format!("{}: {error:#}", container.name)),
            }
        }
        self.ports = ports;
        self.apply(unknown).await;
    }

    fn known(&self, container: &Container) -> Option<&Known> {
        let known = self.ports.get(&container.id)?;
        let place = container.attachment.as_ref()?;
        let same = known.started == container.started_at
            && place.ip == Some(std::net::IpAddr::V4(known.port.address));
        let runs = matches!(
            container.state,
            ContainerState::Running | ContainerState::Paused
        );
        (same && runs).then_some(known)
    }

    /// The port of a container that runs and has an address.
    async fn port(&self, container: &Container) -> Result<Option<Port>> {
        let address = container.attachment.as_ref().and_then(|place| place.ip);
        let (Some(std::net::IpAddr::V4(address)), Some(process)) =
            (address, self.runtime.process(&container.id).await?)
        else {
            return Ok(None);
        };
        let process = process.to_string();
        // What its own network namespace has; nothing of the container's own files is asked.
        let words = ["-t", &process, "-n", "ip", "-j", "addr", "show"];
        let inside = match said("nsenter", &words, "").await {
            Ok(inside) => inside,
            // It may have ended meanwhile.
            Err(_) if self.runtime.process(&container.id).await?.is_none() => return Ok(None),
            Err(error) => return Err(error),
        };
        let found = inside_of(&inside, address)?;
        let (outside, mac) = found.context("it has no interface with its address")?;
        let interface = interface(outside).context("its port on the bridge is not to be seen")?;
        Ok(Some(Port {
            interface,
            mac,
            address,
        }))
    }

    /// Somebody may have flushed it.
    async fn check(&mut self) {
        let Some((_, shown)) = &self.set else {
            return self.apply(None).await;
        };
        let now = said("nft", &["list", "table", "bridge", &self.table], "").await;
        if now.ok().as_ref() != Some(shown) {
            tracing::warn!(
                table = self.table,
                "the guard's table was changed by somebody"
            );
            self.set = None;
            self.apply(None).await;
        }
    }

    /// Sets the rules, where they are others than before, and says how it stands.
    async fn apply(&mut self, unknown: Option<String>) {
        let rules = table::rules(&self.table, self.ports.values().map(|known| &known.port));
        let set = match &self.set {
            Some((set, _)) if *set == rules => Ok(()),
            _ => self.write(rules).await,
        };
        let kind = host_condition::FORGERY;
        match (set, unknown) {
            (Ok(()), None) => {
                let count = self.ports.len();
                let message = format!(
                    "each of {count} instances sends from its own address alone (nft list table bridge {})",
                    self.table
                );
                self.board.set(kind, true, "Blocked", message);
            }
            (Ok(()), Some(unknown)) => {
                let message = format!("{unknown}; {REMEDY}");
                self.board.set(kind, false, "PortUnknown", message);
            }
            (Err(error), _) => {
                let message = format!("no rule can be set: {error:#}; {REMEDY}");
                self.board.set(kind, false, "NoRule", message);
            }
        }
    }

    async fn write(&mut self, rules: String) -> Result<()> {
        self.set = None;
        said("nft", &["-f", "-"], &rules).await?;
        let shown = said("nft", &["list", "table", "bridge", &self.table], "").await?;
        self.set = Some((rules, shown));
        Ok(())
    }
}

/// The interface with this address in what `ip -j addr` says: the index of its other end, and its MAC.
fn inside_of(text: &str, address: Ipv4Addr) -> Result<Option<(u64, String)>> {
    let all: Vec<Value> = serde_json::from_str(text).context("ip tells nothing that is JSON")?;
    let address = address.to_string();
    let has = |one: &&Value| {
        let addresses = one.get("addr_info").and_then(Value::as_array);
        let mut locals = addresses.into_iter().flatten();
        locals.any(|one| one.get("local").and_then(Value::as_str) == Some(&address))
    };
    Ok(all.iter().find(has).and_then(|one| {
        let outside = one.get("link_index")?.as_u64()?;
        let mac = one.get("address")?.as_str()?;
        let plain = |c: char| c.is_ascii_hexdigit() || c == ':';
        mac.chars().all(plain).then(|| (outside, mac.to_owned()))
    }))
}

/// This machine's interface of an index.
fn interface(index: u64) -> Option<String> {
    let all = std::fs::read_dir("/sys/class/net").ok()?;
    all.flatten().find_map(|one| {
        let text = std::fs::read_to_string(one.path().join("ifindex")).ok()?;
        let name = one.file_name().into_string().ok()?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-@".contains(c);
        (text.trim() == index.to_string() && name.chars().all(plain)).then_some(name)
    })
}

/// What a program says to this input.
async fn said(program: &str, words: &[&str], input: &str) -> Result<String> {
    let mut child = Command::new(program)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("{program} cannot be run"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read says why.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    let ended = timeout(PATIENCE, child.wait_with_output()).await;
    let output = ended.with_context(|| format!("{program} does not answer"))??;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        let why = why.lines().next().unwrap_or("without a word");
        bail!("{program}: {why}");
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_port_is_found_by_the_address_that_its_other_end_has() {
        let text = r#"[
            {"ifname": "lo", "address": "00:00:00:00:00:00", "addr_info": [{"local": "127.0.0.1"}]},
            {"ifname": "eth0", "link_index": 17, "address": "02:42:0a:00:00:02", "addr_info": [{"local": "10.0.0.2"}]}
        ]"#;
        let found = inside_of(text, Ipv4Addr::new(10, 0, 0, 2)).unwrap();
        assert_eq!(found, Some((17, "02:42:0a:00:00:02".to_owned())));
        assert_eq!(inside_of(text, Ipv4Addr::LOCALHOST).unwrap(), None);
        assert_eq!(inside_of(text, Ipv4Addr::new(10, 0, 0, 3)).unwrap(), None);
        assert!(inside_of("nonsense", Ipv4Addr::LOCALHOST).is_err());
    }
}
