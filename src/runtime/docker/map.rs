//! The engine's JSON as our values. Total: odd data gives `None` or a default, never a panic.
//!
//! Read from plain JSON rather than from bollard's models, whose closed enums refuse a whole answer for one word that
//! a newer engine has learnt.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use jiff::Timestamp;
use serde_json::Value;

use crate::agent::spec::Port;
use crate::agent::{ClusterId, Revision, Uid};
use crate::keys::label;
use crate::names::AgentName;
use crate::observed::{
    Attachment, Container, ContainerId, ContainerState, Exit, Identity, ImageId, Limits, NetworkId,
};
use crate::runtime::{Result, RuntimeError};

/// One core, in the engine's unit.
const CORE: i64 = 1_000_000_000;

/// What stands for "no memory limit" in an update, which cannot take one away either: more than any machine has.
pub(super) const UNLIMITED_MEMORY: i64 = 1 << 60;

/// A text at a JSON pointer; `None` when it is missing, no text, or empty.
pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
}

/// The first process of an inspected container that runs.
pub(super) fn process(inspect: &Value) -> Option<u32> {
    let process = inspect.pointer("/State/Pid")?.as_u64()?;
    u32::try_from(process).ok().filter(|process| *process > 0)
}

/// The items of a list.
///
/// # Errors
/// Whatever is no list is an error, never an empty list: that would look as if all were gone (law 6).
pub(super) fn list(call: &'static str, value: Value) -> Result<Vec<Value>> {
    match value {
        Value::Array(items) => Ok(items),
        _ => Err(RuntimeError::Engine {
            call,
            message: "its answer is no list".to_owned(),
        }),
    }
}

fn number(value: &Value, pointer: &str) -> i64 {
    value.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

/// A moment; the engine writes the year 1 for "never".
fn moment(value: &Value, pointer: &str) -> Option<Timestamp> {
    let moment: Timestamp = text(value, pointer)?.parse().ok()?;
    (moment > Timestamp::UNIX_EPOCH).then_some(moment)
}

/// What our labels say, when they are of this cluster and whole.
///
/// # Errors
/// The label that is missing or wrong.
pub(super) fn identity(
    labels: &Value,
    cluster: &ClusterId,
) -> std::result::Result<Identity, &'static str> {
    fn get<'a>(
        labels: &'a Value,
        name: &'static str,
    ) -> std::result::Result<&'a str, &'static str> {
        labels.get(name).and_then(Value::as_str).ok_or(name)
    }
    fn parse<T: std::str::FromStr>(
        labels: &Value,
        name: &'static str,
    ) -> std::result::Result<T, &'static str> {
        get(labels, name)?.parse().map_err(|_| name)
    }
    if get(labels, label::CLUSTER)? != cluster.as_str() {
        return Err(label::CLUSTER);
    }
    let uid = get(labels, label::UID)?;
    let revision = get(labels, label::REVISION)?;
    if uid.is_empty() {
        return Err(label::UID);
    }
    if revision.is_empty() {
        return Err(label::REVISION);
    }
    Ok(Identity {
        cluster: cluster.clone(),
        agent: AgentName::new(get(labels, label::AGENT)?).map_err(|_| label::AGENT)?,
        uid: Uid(uid.to_owned()),
        generation: parse(labels, label::GENERATION)?,
        revision: Revision(revision.to_owned()),
        ordinal: parse(labels, label::ORDINAL)?,
        incarnation: parse(labels, label::INCARNATION)?,
        epoch: parse(labels, label::EPOCH)?,
    })
}

/// The engine's word for what a container does.
pub(super) fn state(word: Option<&str>) -> ContainerState {
    match word {
        Some("created") => ContainerState::Created,
        Some("running") => ContainerState::Running,
        Some("paused") => ContainerState::Paused,
        Some("restarting") => ContainerState::Restarting,
        Some("exited") => ContainerState::Exited,
        Some("removing") => ContainerState::Removing,
        Some("dead") => ContainerState::Dead,
        _ => ContainerState::Unknown,
    }
}

/// A container from its inspection. `None` when it has no id, which no engine ever sent.
pub(super) fn container(inspect: &Value, identity: Identity, network: &str) -> Option<Container> {
    let state = state(text(inspect, "/State/Status"));
    let ended = matches!(
        state,
        ContainerState::Exited | ContainerState::Removing | ContainerState::Dead
    );
    let started_at = moment(inspect, "/State/StartedAt");
    Some(Container {
        id: ContainerId(text(inspect, "/Id")?.to_owned()),
        name: text(inspect, "/Name")
            .unwrap_or_default()
            .trim_start_matches('/')
            .to_owned(),
        identity,
        image: ImageId(text(inspect, "/Image").unwrap_or_default().to_owned()),
        state,
        created_at: moment(inspect, "/Created"),
        started_at,
        exit: ended.then(|| Exit {
            code: number(inspect, "/State/ExitCode"),
            oom_killed: inspect
                .pointer("/State/OOMKilled")
                .and_then(Value::as_bool)
                .unwrap_or(false),
            at: moment(inspect, "/State/FinishedAt"),
        }),
        attachment: attachment(inspect, network),
        limits: limits(inspect.get("HostConfig").unwrap_or(&Value::Null)),
        port: port(inspect.get("Config").unwrap_or(&Value::Null)),
    })
}

/// A container from the engine's list alone, for one whose inspection got no answer: its state is not known.
pub(super) fn container_from_summary(
    summary: &Value,
    identity: Identity,
    network: &str,
) -> Option<Container> {
    Some(Container {
        id: ContainerId(text(summary, "/Id")?.to_owned()),
        name: text(summary, "/Names/0")
            .unwrap_or_default()
            .trim_start_matches('/')
            .to_owned(),
        identity,
        image: ImageId(text(summary, "/ImageID").unwrap_or_default().to_owned()),
        state: ContainerState::Unknown,
        created_at: summary
            .get("Created")
            .and_then(Value::as_i64)
            .and_then(|seconds| Timestamp::from_second(seconds).ok()),
        started_at: None,
        exit: None,
        attachment: attachment(summary, network),
        limits: Limits::default(),
        port: port(summary),
    })
}

/// A container's place on the network of this name.
pub(super) fn attachment(inspect: &Value, network: &str) -> Option<Attachment> {
    let endpoint = inspect
        .pointer("/NetworkSettings/Networks")?
        .get(network)
        .filter(|endpoint| endpoint.is_object())?;
    let id = text(inspect, "/Id").unwrap_or_default();
    let aliases: BTreeSet<String> = endpoint
        .get("Aliases")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        // Engines before API 1.45 list the short id among the aliases.
        .filter(|alias| !(alias.len() == 12 && id.starts_with(alias)))
        .map(str::to_owned)
        .collect();
    Some(Attachment {
        network: NetworkId(text(endpoint, "/NetworkID").unwrap_or_default().to_owned()),
        ip: text(endpoint, "/IPAddress").and_then(|ip| ip.parse::<IpAddr>().ok()),
        asked_ip: text(endpoint, "/IPAMConfig/IPv4Address")
            .and_then(|ip| ip.parse::<Ipv4Addr>().ok()),
        aliases,
    })
}

/// Where the agent listens: as its own spec says (the default there when it does not), else the only exposed port.
fn port(config: &Value) -> Option<u16> {
    let spec = config
        .get("Labels")
        .and_then(|labels| labels.get(label::SPEC))
        .and_then(Value::as_str)
        .and_then(|spec| serde_json::from_str::<Value>(spec).ok());
    if let Some(Value::Object(spec)) = spec {
        return match spec.get("port") {
            Some(port) => u16::try_from(port.as_u64()?).ok(),
            None => Some(Port::default().0),
        };
    }
    let mut exposed = config.get("ExposedPorts")?.as_object()?.keys();
    let only = exposed.next()?.strip_suffix("/tcp")?.parse().ok();
    exposed.next().map_or(only, |_| None)
}

fn limits(host_config: &Value) -> Limits {
    let nano_cpus = number(host_config, "/NanoCpus");
    Limits {
        // See `unlimited_cpus`.
        nano_cpus: if nano_cpus % CORE == CORE - 1 {
            0
        } else {
            nano_cpus.max(0)
        },
        memory: match number(host_config, "/Memory") {
            limit @ 1..UNLIMITED_MEMORY => limit,
            _ => 0,
        },
        pids: number(host_config, "/PidsLimit").max(0),
    }
}

/// What stands for "no CPU limit" in an update: the engine cannot take such a limit away again, so it is raised to
/// one billionth below all cores, which no spec can say (specs count in thousandths) and which reads as 0 here.
pub(super) fn unlimited_cpus(cores: i64) -> i64 {
    cores.max(1).saturating_mul(CORE) - 1
}

#[cfg(test)]
#[path = "map_tests.rs"]
mod map_tests;
