//! What a spec means and may not mean, beyond its form: one small rule a function.

use std::collections::BTreeMap;

use super::super::quantity::Span;
use super::super::spec::StrategyKind;
use super::{AgentSpec, FieldError, FieldPath, Origin, data_path, syntax};
use crate::names::{AgentName, nearest};

/// Capabilities that a manifest may add: Docker's own default list and a few that reach nothing outside the container. What makes
/// containers looks here, too.
pub const MAY_ADD: [&str; 19] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
    "SYS_NICE",
    "WAKE_ALARM",
];

/// The rest of capabilities(7): each reaches the host, its network or other containers (law 7).
const REFUSED: [&str; 22] = [
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "DAC_READ_SEARCH",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "NET_ADMIN",
    "NET_BROADCAST",
    "PERFMON",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_MODULE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
];

/// Every error and warning in the meaning of a spec that has the right form. The server calls it on what a merge or a
/// patch made, too.
pub fn rules(name: &AgentName, spec: &AgentSpec, origin: Origin) -> Vec<FieldError> {
    of(Some(name), spec, origin)
}

/// The same of an agent whose name may be wrong.
pub(super) fn of(name: Option<&AgentName>, spec: &AgentSpec, origin: Origin) -> Vec<FieldError> {
    let mut found = Found::default();
    found.container(spec, origin);
    found.env(spec);
    found.volumes(spec, origin);
    found.capabilities(spec);
    found.limits(spec);
    found.health(spec);
    found.spans(spec);
    found.strategy(spec);
    found.dependencies(name, spec);
    found.0.extend(data_path::rules(&spec.proxy));
    if let Some(persistence) = &spec.persistence {
        found.0.extend(data_path::keeping(persistence));
    }
    found.0
}

#[derive(Default)]
struct Found(Vec<FieldError>);

impl Found {
    fn add(&mut self, path: FieldPath, message: impl Into<String>) {
        self.0.push(FieldError::new(path, message));
    }

    fn verdict(&mut self, path: FieldPath, verdict: Result<(), String>) {
        if let Err(message) = verdict {
            self.add(path, message);
        }
    }

    fn container(&mut self, spec: &AgentSpec, origin: Origin) {
        if let Some(image) = &spec.image {
            self.verdict(FieldPath::of("image"), syntax::image(image));
        }
        if !spec.user.is_empty() {
            self.verdict(FieldPath::of("user"), syntax::user(&spec.user));
        }
        for (field, texts) in [("command", &spec.command), ("args", &spec.args)] {
            for (index, text) in texts.iter().enumerate() {
                if text.contains('\0') {
                    self.add(FieldPath::of(field).index(index), "holds a NUL character");
                }
            }
        }
        if origin == Origin::Api {
            let client = "is worked out by the command line, which sends";
            if spec.build.is_some() {
                let message =
                    format!("{client} `image` instead: POST /builds gives the image's id");
                self.add(FieldPath::of("build"), message);
            }
            if spec.env_file.is_some() {
                self.add(FieldPath::of("envFile"), format!("{client} `env` instead"));
            }
        }
    }

    fn env(&mut self, spec: &AgentSpec) {
        let at = FieldPath::of("env");
        for (name, value) in &spec.env {
            if let Err(message) = syntax::env_name(name) {
                self.0.push(FieldError::new(at.key(name), message).at_key());
            }
            if value.as_str().contains('\0') {
                self.add(at.key(name), "the value holds a NUL character");
            }
            if value.as_str() == "***" {
                let error = FieldError::new(at.key(name), "*** is what stands for a hidden value");
                self.0
                    .push(error.help("`get --reveal` shows it, or leave the variable out"));
            }
        }
    }

    fn volumes(&mut self, spec: &AgentSpec, origin: Origin) {
        let at = FieldPath::of("volumes");
        let mut targets = BTreeMap::new();
        for (index, volume) in spec.volumes.iter().enumerate() {
            let here = at.index(index);
            match (&volume.host, &volume.name) {
                (Some(_), Some(_)) => self.add(
                    here.clone(),
                    "has both `host` (a folder of the host) and `name` (a named volume): leave out one",
                ),
                (None, None) => self.add(
                    here.clone(),
                    "needs `host` (a folder of the host) or `name` (a named volume)",
                ),
                (Some(host), None) => self.host_path(here.key("host"), host, origin),
                (None, Some(name)) => self.verdict(here.key("name"), syntax::volume_name(name)),
            }
            let target = here.key("container");
            self.verdict(target.clone(), syntax::container_path(&volume.container));
            let same = syntax::same_path(&volume.container);
            if let Some(first) = targets.insert(same, index) {
                let message = format!("volumes[{first}] is already mounted there");
                self.add(target, message);
            }
        }
        if spec.has_writable_volume() && spec.replicas.0 > 1 {
            self.0.push(
                FieldError::new(
                    FieldPath::of("replicas"),
                    "several instances write to the same volume",
                )
                .help("`mode: ro` if they only read it")
                .as_warning(),
            );
        }
    }

    fn host_path(&mut self, path: FieldPath, host: &str, origin: Origin) {
        if host.is_empty() || host.chars().any(|c| c.is_control() || c == ':') {
            self.add(path, "is not a folder of the host");
        } else if origin == Origin::Api
            && (!host.starts_with('/') || host.split('/').any(|part| part == ".."))
        {
            self.add(path, "is not absolute, or holds '..'");
        }
    }

    fn capabilities(&mut self, spec: &AgentSpec) {
        let capabilities = &spec.security.capabilities;
        let at = FieldPath::of("security.capabilities");
        let known = || MAY_ADD.iter().chain(&REFUSED).copied();
        for (field, names, adding) in [
            ("add", &capabilities.add, true),
            ("drop", &capabilities.drop, false),
        ] {
            for (index, given) in names.iter().enumerate() {
                let path = at.key(field).index(index);
                let bare = given.to_ascii_uppercase();
                let bare = bare.strip_prefix("CAP_").unwrap_or(&bare);
                if adding && (bare == "ALL" || REFUSED.contains(&bare)) {
                    let message = format!(
                        "{bare} is refused: it reaches the host or other agents, whatever a manifest says"
                    );
                    self.0.push(
                        FieldError::new(path, message)
                            .help("leave it out: no manifest can grant it"),
                    );
                } else if bare != "ALL" && !known().any(|name| name == bare) {
                    let help = match nearest(bare, known()) {
                        Some(near) => format!("did you mean '{near}'?"),
                        None => format!("there are {}", MAY_ADD.join(", ")),
                    };
                    let error = FieldError::new(path, "is not a Linux capability");
                    self.0.push(error.help(help));
                }
            }
        }
    }

    fn limits(&mut self, spec: &AgentSpec) {
        let at = FieldPath::of("resources");
        if spec.resources.cpu.is_some_and(|cpu| cpu.millis < 10) {
            self.add(at.key("cpu"), "is less than Docker's least, 10m");
        }
        let least = 6 << 20;
        if spec.resources.memory.is_some_and(|it| it.bytes < least) {
            let error = FieldError::new(at.key("memory"), "is less than Docker's least, 6Mi");
            self.0.push(error.help("512Mi is 512 × 2^20 bytes"));
        }
        if spec.replicas.0 > 100 {
            self.add(FieldPath::of("replicas"), "must be from 0 to 100");
        }
        if spec.port.0 == 0 {
            self.add(FieldPath::of("port"), "must be from 1 to 65535");
        }
    }

    fn health(&mut self, spec: &AgentSpec) {
        let Some(check) = &spec.health_check else {
            return;
        };
        let at = FieldPath::of("healthCheck");
        self.verdict(at.key("endpoint"), syntax::endpoint(&check.endpoint));
        if check.interval.millis < 100 {
            self.add(at.key("interval"), "must be at least 100ms");
        }
        if check.timeout.millis == 0 {
            self.add(at.key("timeout"), "must be more than 0s");
        }
        if check.retries == 0 {
            self.add(at.key("retries"), "must be from 1 to 1000");
        }
    }

    fn spans(&mut self, spec: &AgentSpec) {
        if spec.restart.delay.millis == 0 {
            self.add(
                FieldPath::of("restart.delay"),
                "must be more than 0s: a crash loop would take the whole machine",
            );
        }
        if spec.restart.max_delay < spec.restart.delay {
            self.add(
                FieldPath::of("restart.maxDelay"),
                format!("is less than restart.delay, {}", spec.restart.delay),
            );
        }
        // Beyond this, sums of times overflow what Docker takes.
        let most = Span::seconds(30 * 24 * 3600);
        let connect = spec.proxy.timeouts.map(|it| it.connect);
        let cooldown = spec.proxy.breaker.as_ref().map(|it| it.cooldown);
        let check = spec.health_check.as_ref();
        for (path, span) in [
            ("drain.timeout", Some(spec.drain.timeout)),
            ("restart.delay", Some(spec.restart.delay)),
            ("restart.maxDelay", Some(spec.restart.max_delay)),
            ("healthCheck.interval", check.map(|it| it.interval)),
            ("healthCheck.timeout", check.map(|it| it.timeout)),
            ("healthCheck.startPeriod", check.map(|it| it.start_period)),
            ("proxy.timeouts.connect", connect),
            ("proxy.breaker.cooldown", cooldown),
        ] {
            if span.is_some_and(|span| span > most) {
                self.add(FieldPath::of(path), "is more than 30 days");
            }
        }
    }

    fn strategy(&mut self, spec: &AgentSpec) {
        let strategy = &spec.strategy;
        let at = FieldPath::of("strategy");
        if spec.strategy_kind() == StrategyKind::Recreate {
            for (field, given) in [
                ("maxSurge", strategy.max_surge),
                ("maxUnavailable", strategy.max_unavailable),
            ] {
                if given.is_some() {
                    let error = if strategy.kind.is_some() {
                        FieldError::new(at.key(field), "means nothing with `type: recreate`")
                    } else {
                        FieldError::new(
                            at.key(field),
                            "means nothing here: a writable volume makes the strategy recreate",
                        )
                        .help("`type: rolling` lets two instances write to it at once")
                    };
                    self.0.push(error);
                }
            }
        } else if strategy.max_surge == Some(0) && strategy.max_unavailable.unwrap_or(0) == 0 {
            self.0.push(
                FieldError::new(
                    at.key("maxSurge"),
                    "with maxUnavailable 0 no instance could ever be replaced",
                )
                .help("make one of the two at least 1"),
            );
        }
    }

    fn dependencies(&mut self, name: Option<&AgentName>, spec: &AgentSpec) {
        for (field, names) in [
            ("dependsOn", &spec.depends_on),
            ("dependencies", &spec.dependencies),
        ] {
            for (index, dependency) in names.iter().enumerate() {
                if Some(dependency) == name {
                    let path = FieldPath::of(field).index(index);
                    self.add(path, "an agent cannot depend on itself");
                }
            }
        }
    }
}
