//! What a container is made of: the spec and our labels as the engine's words, with the security defaults of the
//! first day (design, section 6). Changing a default here changes new containers alone; the revision leaves it out.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bollard::models::{
    ContainerCreateBody, EndpointSettings, HostConfig, HostConfigLogConfig, Mount, MountType,
    NetworkingConfig, RestartPolicy, RestartPolicyNameEnum,
};
use http::Method;
use serde_json::{Value, json};

use super::{CHANGE, DockerRuntime, error, in_path, map, networks};
use crate::agent::AgentSpec;
use crate::agent::redact::Secrets;
use crate::agent::spec::{Volume, VolumeMode};
use crate::agent::validate::MAY_ADD;
use crate::keys::label;
use crate::observed::{ContainerId, Limits};
use crate::runtime::{CreateContainer, Result, RuntimeError};

/// The log driver and its rotation: 30 MB at most for each container.
const LOG: (&str, [(&str, &str); 2]) = ("local", [("max-size", "10m"), ("max-file", "3")]);
/// `/tmp` of a container whose root is read only.
const TMP: &str = "rw,nosuid,nodev,size=64m,mode=1777";

/// What is left of Docker's default list. Gone from it: `MKNOD`, `AUDIT_WRITE`, `SETFCAP`, `SETPCAP`, `SYS_CHROOT`,
/// which no agent needs. `NET_RAW` stays, for `ping` and `tcpdump`.
const CAPABILITIES: [&str; 9] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETGID",
    "SETUID",
];

impl DockerRuntime {
    pub(super) async fn create_container(&self, request: &CreateContainer) -> Result<ContainerId> {
        let name = in_path("create", &request.name)?;
        let network = self.inspect_network(&request.network).await?;
        let network = map::text(&network, "/Name").unwrap_or(&self.settings.network);
        let mut mounts = Vec::new();
        for volume in &request.spec.volumes {
            mounts.push(self.mount(volume).await?);
        }
        let body = body(request, network, mounts)?;
        // Not through bollard, which logs whole requests when asked to trace: this one carries secrets.
        let path = format!("/containers/create?name={name}");
        let create = self.transport.json(Method::POST, &path, Some(&body));
        let secrets = secrets(request);
        let created = self.hiding(&secrets, "create", CHANGE, create).await?;
        let Some(id) = map::text(&created, "/Id") else {
            return Err(RuntimeError::Engine {
                call: "create",
                message: "it told no id".to_owned(),
            });
        };
        let id = ContainerId(id.to_owned());
        let agent = request.identity.agent.clone();
        self.owners.lock().insert(id.clone(), agent);
        Ok(id)
    }

    /// A volume as a mount; what it names exists afterwards.
    async fn mount(&self, volume: &Volume) -> Result<Mount> {
        let (typ, source) = match (&volume.host, &volume.name) {
            (Some(host), None) => {
                let real = self.paths.resolve(host)?;
                (MountType::BIND, real.to_string_lossy().into_owned())
            }
            (None, Some(name)) => (MountType::VOLUME, self.named_volume(name).await?),
            _ => {
                return Err(error::refused(
                    "create",
                    format!(
                        "the volume at '{}' needs exactly one of 'host' and 'name'",
                        volume.container
                    ),
                ));
            }
        };
        Ok(Mount {
            target: Some(volume.container.clone()),
            source: Some(source),
            typ: Some(typ),
            read_only: Some(volume.mode == VolumeMode::Ro || volume.read_only == Some(true)),
            ..Default::default()
        })
    }

    /// A named volume is one for all agents of a cluster that name it, as in compose; in Docker it is
    /// `agentainer-<first 8 of the cluster id>-<name>`. It outlives its agents: data is removed by people alone.
    async fn named_volume(&self, name: &str) -> Result<String> {
        in_path("create", name)?;
        let cluster = self.settings.cluster.as_str();
        let short: String = cluster.chars().take(8).collect();
        let volume = format!("agentainer-{short}-{name}");
        let body = json!({
            "Name": volume,
            "Driver": "local",
            "Labels": {label::CLUSTER: cluster},
        });
        let create = self
            .transport
            .json(Method::POST, "/volumes/create", Some(&body));
        let made = self.within("create volume", CHANGE, create).await?;
        let owner = made
            .get("Labels")
            .and_then(|labels| labels.get(label::CLUSTER));
        if owner.and_then(Value::as_str) != Some(cluster) {
            return Err(error::refused(
                "create volume",
                format!("the volume '{volume}' exists and is not ours: rename or remove it"),
            ));
        }
        Ok(volume)
    }
}

/// What the engine must not be heard to repeat of a request.
fn secrets(request: &CreateContainer) -> Secrets {
    let agent = &request.identity.agent;
    Secrets::whole(&request.spec.env)
        .injected(request.injected_env.iter().cloned())
        .but(request.aliases.iter().cloned())
        .but([
            request.name.clone(),
            agent.to_string(),
            request.spec.image_or(agent).to_owned(),
            request.image.0.clone(),
        ])
}

/// The whole request. Pure.
fn body(
    request: &CreateContainer,
    network: &str,
    mounts: Vec<Mount>,
) -> Result<ContainerCreateBody> {
    let spec = &request.spec;
    let endpoint = EndpointSettings {
        // The engine then looks for no network of that name: there may be two (measured on 20.10: with the id it
        // starts beside a twin, and refuses without).
        network_id: Some(request.network.0.clone()),
        ..networks::endpoint(&request.aliases, request.address)
    };
    Ok(ContainerCreateBody {
        hostname: Some(request.identity.agent.to_string()),
        user: some(spec.user.clone()),
        exposed_ports: Some(vec![format!("{}/tcp", spec.port.0)]),
        env: Some(environment(request)?),
        entrypoint: some(spec.command.clone()),
        cmd: some(spec.args.clone()),
        image: Some(request.image.0.clone()),
        labels: Some(labels(request).into_iter().collect()),
        host_config: Some(host_config(request, network, mounts)?),
        networking_config: Some(NetworkingConfig {
            endpoints_config: Some(HashMap::from([(network.to_owned(), endpoint)])),
        }),
        ..Default::default()
    })
}

fn host_config(request: &CreateContainer, network: &str, mounts: Vec<Mount>) -> Result<HostConfig> {
    let spec = &request.spec;
    let (driver, options) = LOG;
    let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let limits = Limits::of(&spec.resources);
    let set = |limit: i64| Some(limit).filter(|limit| *limit != 0);
    let tmp_is_mounted = spec.volumes.iter().any(|volume| volume.container == "/tmp");
    let read_only = spec.security.read_only_root_filesystem;
    Ok(HostConfig {
        // The name, not the id: it is what people look for in `docker inspect`.
        network_mode: Some(network.to_owned()),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        init: Some(true),
        log_config: Some(HostConfigLogConfig {
            typ: Some(driver.to_owned()),
            config: Some(HashMap::from(options)),
        }),
        pids_limit: Some(limits.pids),
        nano_cpus: set(limits.nano_cpus),
        memory: set(limits.memory),
        // No swap beyond it.
        memory_swap: set(limits.memory),
        privileged: Some(false),
        publish_all_ports: Some(false),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        cap_drop: Some(vec!["ALL".to_owned()]),
        cap_add: Some(capabilities(spec)?),
        readonly_rootfs: Some(read_only),
        tmpfs: (read_only && !tmp_is_mounted)
            .then(|| HashMap::from([("/tmp".to_owned(), TMP.to_owned())])),
        mounts: some(mounts),
        extra_hosts: request
            .host_gateway
            .map(|gateway| vec![format!("host.docker.internal:{gateway}")]),
        ..Default::default()
    })
}

fn some<T>(list: T) -> Option<T>
where
    T: Default + PartialEq,
{
    (list != T::default()).then_some(list)
}

/// The user's environment, then ours where the user set none.
fn environment(request: &CreateContainer) -> Result<Vec<String>> {
    let own = &request.spec.env;
    let injected = request
        .injected_env
        .iter()
        .filter(|(name, _)| !own.contains_key(name))
        .map(|(name, value)| (name.as_str(), value.as_str()));
    own.iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .chain(injected)
        .map(|(name, value)| {
            // The engine would repeat the value in its refusal.
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                return Err(error::refused(
                    "create",
                    format!("'{name}' cannot be set in an environment: no '=', no NUL, not empty"),
                ));
            }
            Ok(format!("{name}={value}"))
        })
        .collect()
}

fn capabilities(spec: &AgentSpec) -> Result<Vec<String>> {
    let plain = |name: &String| {
        let upper = name.to_ascii_uppercase();
        upper
            .strip_prefix("CAP_")
            .map(str::to_owned)
            .unwrap_or(upper)
    };
    let asked = &spec.security.capabilities;
    let dropped: BTreeSet<String> = asked.drop.iter().map(plain).collect();
    let mut kept: BTreeSet<String> = CAPABILITIES.map(str::to_owned).into();
    if dropped.contains("ALL") {
        kept.clear();
    }
    kept.retain(|name| !dropped.contains(name));
    for name in asked.add.iter().map(plain) {
        // The others lead out of the container or into its neighbours, and law 7 holds whatever a manifest says.
        if !MAY_ADD.contains(&name.as_str()) {
            return Err(error::refused(
                "create",
                format!(
                    "capability {name} may lead out of the container and is granted to no agent; these can be \
                     added: {}",
                    MAY_ADD.join(", ")
                ),
            ));
        }
        kept.insert(name);
    }
    Ok(kept.into_iter().collect())
}

/// Our labels.
pub(super) fn labels(request: &CreateContainer) -> BTreeMap<String, String> {
    let (identity, origin) = (&request.identity, &request.origin);
    let named = |name: &str, value: &Option<String>| {
        let value = value.clone()?;
        Some((name.to_owned(), value))
    };
    let origin = [
        named(label::OWNER, &origin.owner),
        named(label::RESTARTED_AT, &origin.restarted_at),
    ];
    [
        (label::CLUSTER, identity.cluster.to_string()),
        (label::AGENT, identity.agent.to_string()),
        (label::UID, identity.uid.to_string()),
        (label::GENERATION, identity.generation.to_string()),
        (label::REVISION, identity.revision.to_string()),
        (label::ORDINAL, identity.ordinal.to_string()),
        (label::INCARNATION, identity.incarnation.to_string()),
        (label::EPOCH, identity.epoch.to_string()),
        (label::SPEC, spec_without_values(&request.spec)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into_iter()
    .chain(origin.into_iter().flatten())
    .collect()
}

/// The spec as canonical JSON (maps sorted, defaults left out); environment variables and build arguments keep their
/// names and lose their values, which may be secrets.
fn spec_without_values(spec: &AgentSpec) -> String {
    let mut value = serde_json::to_value(spec).unwrap_or_else(|_| json!({}));
    for map in ["/env", "/build/args"] {
        if let Some(Value::Object(map)) = value.pointer_mut(map) {
            for (_, secret) in map.iter_mut() {
                *secret = Value::from("");
            }
        }
    }
    value.to_string()
}

#[cfg(test)]
#[path = "create_tests.rs"]
mod create_tests;
