//! The fake engine's containers. Every step is atomic.

use std::time::Duration;

use agentainer::agent::AgentSpec;
use agentainer::clock;
use agentainer::observed::{
    Attachment, Container, ContainerId, ContainerState, Exit, Identity, ImageId, Limits,
};
use agentainer::runtime::{
    CreateContainer, LogChunk, LogQuery, Origin, Result, RuntimeClass, RuntimeSettings,
};
use jiff::Timestamp;

use super::fake_engine::{Program, State, conflict, error, missing};
use super::fake_networks::Place;
use super::runs;

#[derive(Clone)]
pub(super) struct FakeContainer {
    pub(super) id: ContainerId,
    pub(super) name: String,
    pub(super) identity: Option<Identity>,
    pub(super) limits: Limits,
    pub(super) image: ImageId,
    pub(super) spec: AgentSpec,
    pub(super) origin: Origin,
    pub(super) environment: Vec<(String, String)>,
    pub(super) state: ContainerState,
    pub(super) created_at: Timestamp,
    pub(super) started_at: Option<Timestamp>,
    pub(super) exit: Option<Exit>,
    pub(super) place: Option<Place>,
    pub(super) log: Vec<(Timestamp, bool, String)>,
    /// How often it was started: a timer of an earlier run ends no later one.
    pub(super) runs: u64,
}

impl State {
    /// A container as the list shows it to a cluster.
    pub(super) fn seen(
        &self,
        container: &FakeContainer,
        settings: &RuntimeSettings,
    ) -> Option<Container> {
        let identity = container
            .identity
            .clone()
            .filter(|own| own.cluster == settings.cluster)?;
        let place = container
            .place
            .as_ref()
            .filter(|place| place.name == settings.network);
        Some(Container {
            id: container.id.clone(),
            name: container.name.clone(),
            identity,
            image: container.image.clone(),
            state: container.state,
            created_at: Some(container.created_at),
            started_at: container.started_at,
            exit: container
                .exit
                .filter(|_| container.state == ContainerState::Exited),
            attachment: place.map(|place| Attachment {
                network: place.id.clone(),
                ip: place.ip.map(Into::into),
                asked_ip: place.asked,
                aliases: place.aliases.clone(),
            }),
            limits: container.limits,
            port: Some(container.spec.port.0),
        })
    }

    pub(super) fn create(&mut self, request: &CreateContainer) -> Result<ContainerId> {
        if self.names.contains_key(&request.name) {
            return Err(conflict(
                "create",
                format!("the name {} is in use", request.name),
            ));
        }
        if !self.images.contains_key(&request.image) {
            return Err(missing("create", &request.image.0));
        }
        let Some(network) = self.networks.get(&request.network) else {
            return Err(missing("create", &request.network.0));
        };
        let place = Place {
            name: network.name.clone(),
            id: request.network.clone(),
            ip: None,
            asked: request.address,
            aliases: request.aliases.clone(),
        };
        let own = request
            .spec
            .env
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().to_owned()));
        let injected = request.injected_env.iter().cloned();
        let resources = &request.spec.resources;
        let id = ContainerId(self.fresh());
        let made = FakeContainer {
            id: id.clone(),
            name: request.name.clone(),
            identity: Some(request.identity.clone()),
            limits: Limits {
                nano_cpus: resources
                    .cpu
                    .map_or(0, |limit| limit.millis as i64 * 1_000_000),
                memory: resources.memory.map_or(0, |limit| limit.bytes as i64),
                pids: resources.pids.map_or(512, i64::from),
            },
            image: request.image.clone(),
            spec: request.spec.clone(),
            origin: request.origin.clone(),
            environment: own
                .chain(injected.filter(|(name, _)| !request.spec.env.contains_key(name)))
                .collect(),
            state: ContainerState::Created,
            created_at: clock::now(),
            started_at: None,
            exit: None,
            place: Some(place),
            log: Vec::new(),
            runs: 0,
        };
        self.add(made);
        self.tell(&id, "create");
        Ok(id)
    }

    pub(super) fn program(&self, container: &FakeContainer) -> Program {
        match container.spec.args.as_slice() {
            [word, code] if word == "exit" => Program::Ends {
                after: Duration::ZERO,
                code: code.parse().unwrap_or(0),
            },
            _ => self
                .programs
                .get(&container.image)
                .cloned()
                .unwrap_or_default(),
        }
    }

    pub(super) fn ignores_term(&self, id: &ContainerId) -> bool {
        self.containers.get(id).is_some_and(|container| {
            runs(container.state) && self.program(container) == Program::IgnoresTerm
        })
    }

    /// Starts a container; `Some`: when and how this run ends by itself.
    pub(super) fn start(&mut self, id: &ContainerId) -> Result<Option<(u64, Duration, i64)>> {
        let container = self.get("start", id)?;
        match container.state {
            ContainerState::Running => return Ok(None),
            ContainerState::Paused => return Err(conflict("start", "it is paused: unpause it")),
            _ => {}
        }
        let program = self.program(container);
        let place = match container.place.clone() {
            Some(place) => Some(self.enter("start", place)?),
            None => None,
        };
        if program == Program::CannotStart {
            return Err(error(RuntimeClass::Terminal, "start"));
        }
        let instance = container
            .environment
            .iter()
            .find(|(name, _)| name == "AGENT_INSTANCE")
            .map(|(_, value)| value.clone())
            .unwrap_or_default();
        let now = clock::now();
        let container = self.get_mut("start", id)?;
        container.place = place;
        container.state = ContainerState::Running;
        container.started_at = Some(now);
        container.runs += 1;
        container
            .log
            .push((now, false, format!("started {instance}\n")));
        container
            .log
            .push((now, true, "a line on standard error\n".to_owned()));
        let run = container.runs;
        let name = container.place.as_ref().map(|place| place.name.clone());
        if let Some(name) = name {
            self.tell_network(&name, "connect", Some(id));
        }
        self.tell(id, "start");
        Ok(match program {
            Program::Ends { after, code } => Some((run, after, code)),
            _ => None,
        })
    }

    /// The process of a container ends, if there is one.
    pub(super) fn end(&mut self, id: &ContainerId, code: i64, why: &str) {
        let Some(container) = self.containers.get_mut(id) else {
            return;
        };
        if !runs(container.state) {
            return;
        }
        container.state = ContainerState::Exited;
        container.exit = Some(Exit {
            code,
            oom_killed: false,
            at: Some(clock::now()),
        });
        let left = container.place.as_mut().map(|place| {
            place.ip = None;
            place.name.clone()
        });
        if why != "die" {
            self.tell(id, "kill");
        }
        self.tell(id, "die");
        if let Some(name) = left {
            self.tell_network(&name, "disconnect", Some(id));
        }
        if why == "stop" {
            self.tell(id, "stop");
        }
    }

    pub(super) fn freeze(&mut self, id: &ContainerId, freeze: bool) -> Result<()> {
        let container = self.get_mut("pause", id)?;
        let (from, to, word) = match freeze {
            true => (ContainerState::Running, ContainerState::Paused, "pause"),
            false => (ContainerState::Paused, ContainerState::Running, "unpause"),
        };
        if container.state == from {
            container.state = to;
            self.tell(id, word);
        } else if freeze && container.state != to {
            return Err(conflict("pause", "it does not run"));
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, id: &ContainerId) {
        self.end(id, 137, "kill");
        self.tell(id, "destroy");
        let Some(gone) = self.containers.remove(id) else {
            return;
        };
        self.names.remove(&gone.name);
        let agent = gone.identity.map(|identity| identity.agent);
        if let Some(own) = agent.and_then(|agent| self.agents.get_mut(&agent)) {
            own.remove(id);
        }
    }

    pub(super) fn rename(&mut self, id: &ContainerId, name: &str) -> Result<()> {
        self.get("rename", id)?;
        if self.names.contains_key(name) {
            return Err(conflict("rename", format!("the name {name} is in use")));
        }
        let container = self.get_mut("rename", id)?;
        let old = std::mem::replace(&mut container.name, name.to_owned());
        self.names.remove(&old);
        self.names.insert(name.to_owned(), id.clone());
        self.tell(id, "rename");
        Ok(())
    }

    pub(super) fn log(&self, id: &ContainerId, query: &LogQuery) -> Result<Vec<LogChunk>> {
        let log = &self.get("logs", id)?.log;
        let skip = query
            .tail
            .map_or(0, |tail| log.len().saturating_sub(tail as usize));
        let lines = log.iter().skip(skip);
        let lines = lines.filter(|(at, ..)| query.since.is_none_or(|since| *at >= since));
        Ok(lines
            .map(|(at, stderr, line)| {
                let text = if query.timestamps {
                    format!("{at} {line}")
                } else {
                    line.clone()
                };
                LogChunk {
                    stderr: *stderr,
                    bytes: text.into(),
                }
            })
            .collect())
    }
}
