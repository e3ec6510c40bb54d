//! A scene that a rule is tried on: an agent, what is seen of its world, and the present.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use jiff::{SignedDuration, Timestamp};

use crate::agent::status::{Condition, InstanceStatus, condition};
use crate::agent::{
    Agent, AgentSpec, AgentStatus, ClusterId, Metadata, ResourceVersion, Revision, Uid,
};
use crate::names::AgentName;
use crate::observed::*;
use crate::plan::{Action, EndpointState, Input, Plan, plan};

pub(super) const IMAGE: &str = "sha256:one";

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + seconds).unwrap()
}

pub(super) fn uid(text: &str) -> Uid {
    Uid(text.to_owned())
}

pub(super) fn name(text: &str) -> AgentName {
    AgentName::new(text).unwrap()
}

pub(super) fn spec(yaml: &str) -> AgentSpec {
    serde_yaml::from_str(yaml).unwrap()
}

pub(super) fn agent(spec: AgentSpec) -> Agent {
    let metadata = Metadata {
        name: name("users"),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        owner: "default".to_owned(),
        uid: uid("u1"),
        generation: 1,
        resource_version: ResourceVersion(1),
        creation_timestamp: at(-1000),
        deletion_timestamp: None,
        finalizers: vec![crate::keys::FINALIZER.to_owned()],
    };
    Agent::new(metadata, spec)
}

pub(super) fn network() -> Network {
    Network {
        id: NetworkId("net1".to_owned()),
        name: "agentainer-network".to_owned(),
        ours: true,
        subnet: Some("10.0.0.0/20".parse().unwrap()),
        gateway: Some(Ipv4Addr::new(10, 0, 0, 1)),
        addresses_owned: true,
        strangers: Some("10.0.15.0/24".parse().unwrap()),
        members: Default::default(),
    }
}

pub(super) fn ip(ordinal: u32, incarnation: u64) -> Ipv4Addr {
    let low = u8::try_from(incarnation % 250).unwrap() + 2;
    Ipv4Addr::new(10, 0, u8::try_from(ordinal % 14).unwrap(), low)
}

/// A container that runs, attached and within its default limits, of revision `revision`.
pub(super) fn container(revision: &Revision, ordinal: u32, incarnation: u64) -> Container {
    let address = ip(ordinal, incarnation);
    let own = name("users").container(ordinal, incarnation);
    Container {
        id: ContainerId(format!("c{ordinal}-{incarnation}")),
        name: own.clone(),
        identity: Identity {
            cluster: ClusterId("ours".to_owned()),
            agent: name("users"),
            uid: uid("u1"),
            generation: 1,
            revision: revision.clone(),
            ordinal,
            incarnation,
            epoch: 1,
        },
        image: ImageId(IMAGE.to_owned()),
        state: ContainerState::Running,
        created_at: Some(at(-500)),
        started_at: Some(at(-500)),
        exit: None,
        attachment: Some(Attachment {
            network: NetworkId("net1".to_owned()),
            ip: Some(IpAddr::V4(address)),
            asked_ip: Some(address),
            aliases: ["users".to_owned(), own].into(),
        }),
        limits: Limits {
            pids: 512,
            ..Limits::default()
        },
        port: Some(8000),
    }
}

/// The scene.
#[derive(Clone)]
pub(super) struct Scene {
    pub(super) agent: Option<Agent>,
    pub(super) observed: Observed,
    pub(super) tombstones: BTreeSet<Uid>,
    pub(super) frozen: Option<String>,
    pub(super) follows: bool,
    pub(super) now: Timestamp,
}

impl Scene {
    /// An agent of this spec whose image is resolved, on a network, without containers.
    pub(super) fn of(yaml: &str) -> Self {
        let agent = agent(spec(yaml));
        let image = ImageState::Resolved(ImageId(IMAGE.to_owned()));
        let observed = Observed {
            network: Some(network()),
            images: [(agent.revision(), image)].into(),
            ..Observed::default()
        };
        Self {
            agent: Some(agent),
            observed,
            tombstones: BTreeSet::new(),
            frozen: None,
            follows: false,
            now: at(0),
        }
    }

    pub(super) fn asked(&self) -> Revision {
        self.agent.as_ref().unwrap().revision()
    }

    /// With a container, as told; the first of ordinal 0 carries the agent's name.
    pub(super) fn with(mut self, mut container: Container) -> Self {
        let mut others = self.observed.containers.iter();
        if container.identity.ordinal == 0 && !others.any(|other| other.name == "users") {
            container.name = "users".to_owned();
        }
        self.observed.containers.push(container);
        self
    }

    /// With a running, ready container of the asked revision.
    pub(super) fn ready(self, ordinal: u32, incarnation: u64) -> Self {
        let container = container(&self.asked(), ordinal, incarnation);
        self.with(container)
            .probed(ordinal, incarnation, Some(true))
    }

    /// With a running, ready container of an earlier revision.
    pub(super) fn old(self, ordinal: u32, incarnation: u64) -> Self {
        self.with(container(
            &Revision("v1:old".to_owned()),
            ordinal,
            incarnation,
        ))
        .probed(ordinal, incarnation, Some(true))
    }

    pub(super) fn probed(mut self, ordinal: u32, incarnation: u64, ready: Option<bool>) -> Self {
        let probe = Probe {
            ready,
            ..Probe::default()
        };
        let id = ContainerId(format!("c{ordinal}-{incarnation}"));
        self.observed.probes.insert(id, probe);
        self
    }

    /// Changes one container.
    pub(super) fn but(mut self, id: &str, change: impl FnOnce(&mut Container)) -> Self {
        let found = self
            .observed
            .containers
            .iter_mut()
            .find(|container| container.id.0 == id);
        change(found.unwrap());
        self
    }

    /// One container ended so many seconds ago.
    pub(super) fn exited(self, id: &str, code: i64, ago: i64) -> Self {
        let now = self.now;
        self.but(id, |container| {
            container.state = ContainerState::Exited;
            container.exit = Some(Exit {
                code,
                oom_killed: false,
                at: Some(now - SignedDuration::from_secs(ago)),
            });
            if let Some(attachment) = &mut container.attachment {
                attachment.ip = None;
            }
        })
    }

    /// Requests in flight, and since how many seconds it drains.
    pub(super) fn traffic(mut self, id: &str, in_flight: u64, drains: Option<i64>) -> Self {
        let draining_since = drains.map(|ago| self.now - SignedDuration::from_secs(ago));
        let traffic = Traffic {
            in_flight,
            draining_since,
            ..Traffic::default()
        };
        self.observed
            .traffic
            .insert(ContainerId(id.to_owned()), traffic);
        self
    }

    /// With the status that a pass over the scene as it is publishes, as if it had stood for long.
    pub(super) fn settled(mut self) -> Self {
        let status = self.plan().status.unwrap();
        self.agent.as_mut().unwrap().status = status;
        self
    }

    pub(super) fn image(mut self, state: ImageState) -> Self {
        let asked = self.asked();
        self.observed.images.insert(asked, state);
        self
    }

    pub(super) fn change(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    pub(super) fn later(mut self, seconds: i64) -> Self {
        self.now += SignedDuration::from_secs(seconds);
        self
    }

    pub(super) fn plan(&self) -> Plan {
        let cluster = ClusterId("ours".to_owned());
        let name = name("users");
        plan(&Input {
            cluster: &cluster,
            name: &name,
            agent: self.agent.as_ref(),
            tombstones: &self.tombstones,
            frozen: self.frozen.as_deref(),
            follows: self.follows,
            observed: &self.observed,
            now: self.now,
        })
    }

    /// The plan's actions in short.
    pub(super) fn does(&self) -> Vec<String> {
        words(&self.plan())
    }

    pub(super) fn status(&self) -> AgentStatus {
        self.plan().status.unwrap()
    }

    pub(super) fn condition(&self, kind: &str) -> Condition {
        self.status().condition(kind).unwrap().clone()
    }

    pub(super) fn why_not_ready(&self) -> (String, String) {
        let ready = self.condition(condition::READY);
        (ready.reason, ready.message)
    }

    pub(super) fn instance(&self, id: &str) -> InstanceStatus {
        let status = self.status();
        let mut found = status.instances.into_iter();
        found.find(|instance| instance.container_id == id).unwrap()
    }

    pub(super) fn endpoint(&self, id: &str) -> EndpointState {
        let plan = self.plan();
        let mut endpoints = plan.endpoints.iter();
        endpoints
            .find(|endpoint| endpoint.container.0 == id)
            .unwrap()
            .state
    }
}

/// A plan's actions in short.
pub(super) fn words(plan: &Plan) -> Vec<String> {
    plan.actions
        .iter()
        .map(|planned| word(&planned.action))
        .collect()
}

fn word(action: &Action) -> String {
    match action {
        Action::ResolveImage { image, .. } => format!("resolve {image}"),
        Action::KeepRevision { record } => format!("keep {}", record.number),
        Action::ForgetRevision { revision, .. } => format!("forget {revision}"),
        Action::Create(wanted) => {
            let mut text = format!(
                "create {} after {}",
                wanted.ordinal, wanted.after_incarnation
            );
            for (set, word) in [
                (wanted.take_agent_name, " named"),
                (wanted.paused, " paused"),
            ] {
                if set {
                    text.push_str(word);
                }
            }
            text
        }
        Action::Start { container } => format!("start {container}"),
        Action::Stop { container, .. } => format!("stop {container}"),
        Action::Pause { container } => format!("pause {container}"),
        Action::Unpause { container } => format!("unpause {container}"),
        Action::Remove { container } => format!("remove {container}"),
        Action::Rename { container, name } => format!("rename {container} {name}"),
        Action::Connect {
            container,
            address,
            own_address,
            ..
        } => match (address, own_address) {
            (Some(address), _) => format!("connect {container} {address}"),
            (None, true) => format!("connect {container} fresh"),
            (None, false) => format!("connect {container}"),
        },
        Action::Disconnect { container, network } => {
            format!("disconnect {container} {}", network.0)
        }
        Action::UpdateLimits { container, .. } => format!("limits {container}"),
        Action::Finalize { uid } => format!("finalize {uid}"),
    }
}

pub(super) fn failure(reason: &str, attempts: u32, ago: i64) -> Failure {
    Failure {
        reason: reason.to_owned(),
        message: format!("{reason} it did"),
        attempts,
        at: at(-ago),
        retryable: true,
        of: None,
    }
}

/// No actions.
pub(super) fn nothing() -> Vec<String> {
    Vec::new()
}
