//! The fake engine itself: what it holds, what somebody else may do to it, and its faults.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use agentainer::agent::{AgentSpec, ClusterId};
use agentainer::clock;
use agentainer::names::AgentName;
use agentainer::observed::{ContainerId, ContainerState, ImageId, Limits, NetworkId};
use agentainer::runtime::{Result, RuntimeClass, RuntimeError, RuntimeEvent};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::broadcast;

use super::fake_containers::FakeContainer;
use super::fake_networks::FakeNetwork;

/// How an image's program behaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Program {
    /// It runs until it is stopped, and obeys SIGTERM.
    #[default]
    Runs,
    /// It runs and ignores SIGTERM.
    IgnoresTerm,
    /// It ends by itself.
    Ends { after: Duration, code: i64 },
    /// The engine cannot start it.
    CannotStart,
}

/// What a registry says of an image that the machine does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pull {
    Given,
    Denied,
}

/// What goes wrong with one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails and nothing happened.
    Refuse(RuntimeClass),
    /// It happened, and the answer is an error all the same.
    Lose(RuntimeClass),
    /// It happens later.
    Delay(Duration),
    /// It never answers and never happens.
    Hang,
    /// It happens, and the answer never comes: what a caller that died meanwhile saw.
    Mute,
    /// It takes so long to arrive, and its answer so long to come back.
    Slow { before: Duration, after: Duration },
    /// So much later, this.
    Then(Duration, Box<Fault>),
    /// It fails at once, and happens all the same, so much later.
    Late(Duration, RuntimeClass),
    /// It goes out so much later, whatever its caller waits for by then, unless that has died: what one that stood still in
    /// the middle of it does.
    Sent(Duration),
    /// A read: its answer is as old as this caller's own last change.
    Old,
    /// An event: this caller is not told of it.
    Drop,
}

/// What becomes of a call.
pub(super) enum Course {
    /// It takes effect; its answer comes after a while.
    Plain(Duration),
    /// It takes effect, and this is what the caller hears.
    Lost(RuntimeError),
    /// It takes effect, and the caller hears nothing.
    Mute,
    /// The caller hears this, and it takes effect after a while.
    Late(Duration, RuntimeError),
    /// It goes out after a while.
    Sent(Duration),
    /// It is answered from the past.
    Old,
}

/// One caller among several, who sees and may spoil its own calls alone: a server of a simulation.
pub trait Caller: Send + Sync {
    /// Before each call, and before each event (`event`): what goes wrong with it.
    fn judge(&self, call: &Call) -> Option<Fault>;
    /// Right before a call takes effect.
    fn about(&self, call: &Call);
    /// Right after it did, well or not.
    fn done(&self, call: &Call, well: bool);
    /// Right before and after the effect of a call that had timed out long before.
    fn late(&self, call: &Call);
    /// Whether it can send anything still.
    fn lives(&self) -> bool;
}

/// One call, as the fault hook and the record of effects see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The port's method.
    pub name: &'static str,
    /// A name, an id or nothing.
    pub target: String,
}

impl Call {
    /// Whether it changes anything.
    pub fn writes(&self) -> bool {
        writes(self.name)
    }
}

/// Whether a call of this name changes anything.
pub fn writes(name: &str) -> bool {
    const READS: [&str; 10] = [
        "list",
        "list_agent",
        "made_from",
        "holder_of_name",
        "network",
        "image",
        "logs",
        "events",
        "event",
        "ping",
    ];
    !READS.contains(&name)
}

type Hook = Box<dyn FnMut(&Call) -> Option<Fault> + Send>;

/// The engine.
#[derive(Clone)]
pub struct FakeEngine(Arc<Mutex<State>>);

/// An event, before it is known who listens.
#[derive(Clone, Debug)]
pub(super) enum Told {
    Container {
        cluster: ClusterId,
        event: RuntimeEvent,
    },
    Network {
        name: String,
        cluster: Option<ClusterId>,
        event: Option<RuntimeEvent>,
    },
    Gone,
}

pub(super) struct State {
    pub(super) containers: BTreeMap<ContainerId, FakeContainer>,
    pub(super) networks: BTreeMap<NetworkId, FakeNetwork>,
    pub(super) images: BTreeMap<ImageId, BTreeSet<String>>,
    pub(super) events: broadcast::Sender<Told>,
    pub(super) effects: Vec<Call>,
    pub(super) programs: BTreeMap<ImageId, Program>,
    pub(super) registry: BTreeMap<String, Pull>,
    pub(super) faults: BTreeMap<&'static str, VecDeque<Fault>>,
    pub(super) hook: Option<Hook>,
    pub(super) down: bool,
    pub(super) count: u64,
    /// Who holds which name.
    pub(super) names: BTreeMap<String, ContainerId>,
    /// Whose containers are whose.
    pub(super) agents: BTreeMap<AgentName, BTreeSet<ContainerId>>,
}

/// What a caller saw last.
#[derive(Clone)]
pub(super) struct Past {
    containers: BTreeMap<ContainerId, FakeContainer>,
    networks: BTreeMap<NetworkId, FakeNetwork>,
    images: BTreeMap<ImageId, BTreeSet<String>>,
    names: BTreeMap<String, ContainerId>,
    agents: BTreeMap<AgentName, BTreeSet<ContainerId>>,
}

pub(super) fn error(class: RuntimeClass, call: &'static str) -> RuntimeError {
    let message = "a fault of the test".to_owned();
    match class {
        RuntimeClass::Transient => RuntimeError::Timeout { call, seconds: 30 },
        RuntimeClass::Conflict => RuntimeError::Conflict { call, message },
        RuntimeClass::NotFound => RuntimeError::NotFound { call, message },
        RuntimeClass::Terminal => RuntimeError::Refused { call, message },
    }
}

pub(super) fn unreachable() -> RuntimeError {
    RuntimeError::Unreachable {
        address: "fake".to_owned(),
        source: "the engine is down".into(),
    }
}

pub(super) fn missing(call: &'static str, what: &str) -> RuntimeError {
    RuntimeError::NotFound {
        call,
        message: format!("no such object: {what}"),
    }
}

pub(super) fn conflict(call: &'static str, message: impl Into<String>) -> RuntimeError {
    RuntimeError::Conflict {
        call,
        message: message.into(),
    }
}

impl FakeEngine {
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            containers: BTreeMap::new(),
            networks: BTreeMap::new(),
            images: BTreeMap::new(),
            events: broadcast::channel(1024).0,
            effects: Vec::new(),
            programs: BTreeMap::new(),
            registry: BTreeMap::new(),
            faults: BTreeMap::new(),
            hook: None,
            down: false,
            count: 0,
            names: BTreeMap::new(),
            agents: BTreeMap::new(),
        })))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    /// Puts an image on the machine under a name (`:latest` without a tag).
    pub fn add_image(&self, name: &str) -> ImageId {
        self.lock().add_image(name)
    }
    /// The image of a name or id.
    pub fn image_id(&self, reference: &str) -> Option<ImageId> {
        self.lock().image(reference)
    }
    /// Removes an image with all its names, as a prune does.
    pub fn lose_image(&self, id: &ImageId) {
        self.lock().images.remove(id);
    }
    /// What a registry says of a name; names that are not told of have a registry that is away.
    pub fn set_registry(&self, reference: &str, pull: Pull) {
        self.lock().registry.insert(reference.to_owned(), pull);
    }
    /// How an image's program behaves from its next start on.
    pub fn set_program(&self, image: &ImageId, program: Program) {
        self.lock().programs.insert(image.clone(), program);
    }
    /// The next call of a method has this fault; further ones queue.
    pub fn inject(&self, call: &'static str, fault: Fault) {
        self.lock().faults.entry(call).or_default().push_back(fault);
    }
    /// Asked before each call that has no queued fault; for simulations with a seed.
    pub fn set_hook(&self, hook: impl FnMut(&Call) -> Option<Fault> + Send + 'static) {
        self.lock().hook = Some(Box::new(hook));
    }
    pub fn clear_hook(&self) {
        self.lock().hook = None;
    }
    /// The engine goes away (containers run on, event streams end) or comes back.
    pub fn set_down(&self, down: bool) {
        let mut state = self.lock();
        state.down = down;
        if down {
            let _ = state.events.send(Told::Gone);
        }
    }
    /// Every call that had an effect or an answer, in order.
    pub fn effects(&self) -> Vec<Call> {
        self.lock().effects.clone()
    }
    pub fn count(&self, call: &str) -> usize {
        self.lock()
            .effects
            .iter()
            .filter(|effect| effect.name == call)
            .count()
    }
    /// What environment a container was made with.
    pub fn environment(&self, id: &ContainerId) -> Vec<(String, String)> {
        self.lock()
            .containers
            .get(id)
            .map(|c| c.environment.clone())
            .unwrap_or_default()
    }
    /// Whether there is a container of this id, anybody's.
    pub fn is_there(&self, id: &ContainerId) -> bool {
        self.lock().containers.contains_key(id)
    }
    /// Who holds a name.
    pub fn id_of(&self, name: &str) -> Option<ContainerId> {
        self.lock().names.get(name).cloned()
    }
    /// Names and states of all containers there are, everybody's.
    pub fn everything(&self) -> BTreeMap<String, ContainerState> {
        let state = self.lock();
        state
            .containers
            .values()
            .map(|c| (c.name.clone(), c.state))
            .collect()
    }
    /// The program of a container says something.
    pub fn say(&self, id: &ContainerId, stderr: bool, line: &str) {
        if let Some(container) = self.lock().containers.get_mut(id) {
            container
                .log
                .push((clock::now(), stderr, format!("{line}\n")));
        }
    }

    /// Somebody makes a container of this name.
    pub fn create_by_hand(&self, name: &str) -> ContainerId {
        let mut state = self.lock();
        let id = ContainerId(state.fresh());
        let made = FakeContainer {
            id: id.clone(),
            name: name.to_owned(),
            identity: None,
            limits: Limits::default(),
            image: ImageId("sha256:foreign".to_owned()),
            spec: AgentSpec::default(),
            origin: agentainer::runtime::Origin::default(),
            environment: Vec::new(),
            state: ContainerState::Created,
            created_at: clock::now(),
            started_at: None,
            exit: None,
            place: None,
            log: Vec::new(),
            runs: 0,
        };
        state.add(made);
        id
    }
    /// Somebody runs a container on a network under an address that he chose.
    pub fn run_by_hand(&self, name: &str, network: &NetworkId, address: std::net::Ipv4Addr) {
        let id = self.create_by_hand(name);
        let mut state = self.lock();
        let aliases = BTreeSet::new();
        state
            .connect(&id, network, &aliases, Some(address))
            .unwrap();
        state.start(&id).unwrap();
    }
    /// Its program ends with a code, or is killed (137).
    pub fn exit(&self, id: &ContainerId, code: i64) {
        self.lock().end(id, code, "die");
    }
    pub fn kill_by_hand(&self, id: &ContainerId) {
        self.lock().end(id, 137, "kill");
    }
    pub fn stop_by_hand(&self, id: &ContainerId) {
        self.lock().end(id, 143, "stop");
    }
    pub fn start_by_hand(&self, id: &ContainerId) {
        let _ = self.lock().start(id);
    }
    pub fn pause_by_hand(&self, id: &ContainerId) {
        let _ = self.lock().freeze(id, true);
    }
    pub fn unpause_by_hand(&self, id: &ContainerId) {
        let _ = self.lock().freeze(id, false);
    }
    pub fn remove_by_hand(&self, id: &ContainerId) {
        self.lock().remove(id);
    }
    pub fn rename_by_hand(&self, id: &ContainerId, name: &str) {
        let _ = self.lock().rename(id, name);
    }
    pub fn update_by_hand(&self, id: &ContainerId, limits: Limits) {
        if let Some(container) = self.lock().containers.get_mut(id) {
            container.limits = limits;
        }
        self.lock().tell(id, "update");
    }
    pub fn disconnect_by_hand(&self, id: &ContainerId, network: &NetworkId) {
        self.lock().disconnect(id, network);
    }
    pub fn untag_by_hand(&self, name: &str) {
        self.lock()
            .images
            .retain(|_, tags| !tags.remove(name) || !tags.is_empty());
    }
    /// Somebody made a network of this name; addresses can be chosen on it when `owned`.
    pub fn create_network_by_hand(
        &self,
        name: &str,
        subnet: ipnet::Ipv4Net,
        owned: bool,
    ) -> NetworkId {
        let mut state = self.lock();
        let id = NetworkId(state.fresh());
        let made = FakeNetwork {
            name: name.to_owned(),
            cluster: None,
            subnet,
            owned,
        };
        state.networks.insert(id.clone(), made);
        id
    }
    /// Somebody removes a network, everybody on it included.
    pub fn remove_network_by_hand(&self, id: &NetworkId) {
        let mut state = self.lock();
        let members: Vec<_> = state.containers.keys().cloned().collect();
        for member in members {
            state.disconnect(&member, id);
        }
        let _ = state.remove_network(id);
    }

    /// What becomes of a call, after what goes wrong before it takes effect.
    pub(super) async fn before(&self, call: &Call, caller: Option<&dyn Caller>) -> Result<Course> {
        let fault = {
            let mut state = self.lock();
            let queued = state.faults.get_mut(call.name);
            let queued = queued.and_then(VecDeque::pop_front);
            queued.or_else(|| state.hook.as_mut().and_then(|hook| hook(call)))
        };
        let mut fault = fault.or_else(|| caller.and_then(|caller| caller.judge(call)));
        let course = loop {
            break match fault {
                None => Course::Plain(Duration::ZERO),
                Some(Fault::Refuse(class)) => return Err(error(class, call.name)),
                Some(Fault::Lose(class)) => Course::Lost(error(class, call.name)),
                Some(Fault::Mute) => Course::Mute,
                Some(Fault::Delay(time)) => {
                    tokio::time::sleep(time).await;
                    Course::Plain(Duration::ZERO)
                }
                Some(Fault::Slow { before, after }) => {
                    tokio::time::sleep(before).await;
                    Course::Plain(after)
                }
                Some(Fault::Then(time, then)) => {
                    tokio::time::sleep(time).await;
                    fault = Some(*then);
                    continue;
                }
                Some(Fault::Late(time, class)) => Course::Late(time, error(class, call.name)),
                Some(Fault::Sent(time)) => Course::Sent(time),
                Some(Fault::Old) => Course::Old,
                Some(Fault::Hang | Fault::Drop) => std::future::pending().await,
            };
        };
        if self.lock().down {
            return Err(unreachable());
        }
        Ok(course)
    }

    pub(super) fn end_later(&self, id: ContainerId, run: u64, after: Duration, code: i64) {
        let engine = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            let mut state = engine.lock();
            if state
                .containers
                .get(&id)
                .is_some_and(|container| container.runs == run)
            {
                state.end(&id, code, "die");
            }
        });
    }
}

impl State {
    pub(super) fn add(&mut self, container: FakeContainer) {
        let id = container.id.clone();
        self.names.insert(container.name.clone(), id.clone());
        if let Some(identity) = &container.identity {
            let own = self.agents.entry(identity.agent.clone()).or_default();
            own.insert(id.clone());
        }
        self.containers.insert(id, container);
    }

    pub(super) fn present(&self) -> Past {
        Past {
            containers: self.containers.clone(),
            networks: self.networks.clone(),
            images: self.images.clone(),
            names: self.names.clone(),
            agents: self.agents.clone(),
        }
    }

    /// Changes places with the past; twice, and all is as it was.
    pub(super) fn swap(&mut self, past: &mut Past) {
        std::mem::swap(&mut self.containers, &mut past.containers);
        std::mem::swap(&mut self.networks, &mut past.networks);
        std::mem::swap(&mut self.images, &mut past.images);
        std::mem::swap(&mut self.names, &mut past.names);
        std::mem::swap(&mut self.agents, &mut past.agents);
    }

    pub(super) fn fresh(&mut self) -> String {
        self.count += 1;
        format!("{:064x}", u128::from(self.count) << 64)
    }

    pub(super) fn get(&self, call: &'static str, id: &ContainerId) -> Result<&FakeContainer> {
        self.containers.get(id).ok_or_else(|| missing(call, &id.0))
    }

    pub(super) fn get_mut(
        &mut self,
        call: &'static str,
        id: &ContainerId,
    ) -> Result<&mut FakeContainer> {
        self.containers
            .get_mut(id)
            .ok_or_else(|| missing(call, &id.0))
    }

    pub(super) fn tell(&self, id: &ContainerId, action: &str) {
        let Some(identity) = self.containers.get(id).and_then(|c| c.identity.clone()) else {
            return;
        };
        let event = RuntimeEvent::Container {
            agent: identity.agent,
            id: id.clone(),
            action: action.to_owned(),
        };
        let _ = self.events.send(Told::Container {
            cluster: identity.cluster,
            event,
        });
    }

    pub(super) fn tell_network(&self, name: &str, action: &str, member: Option<&ContainerId>) {
        let container = member.and_then(|id| self.containers.get(id));
        let identity = container.and_then(|container| container.identity.clone());
        let _ = self.events.send(Told::Network {
            name: name.to_owned(),
            cluster: identity.as_ref().map(|identity| identity.cluster.clone()),
            event: identity
                .zip(member)
                .map(|(identity, id)| RuntimeEvent::Container {
                    agent: identity.agent,
                    id: id.clone(),
                    action: format!("network {action}"),
                }),
        });
    }

    pub(super) fn add_image(&mut self, name: &str) -> ImageId {
        let id = ImageId(format!("sha256:{}", self.fresh()));
        let name = full_name(name);
        for tags in self.images.values_mut() {
            tags.remove(&name);
        }
        self.images.insert(id.clone(), BTreeSet::from([name]));
        id
    }

    pub(super) fn image(&self, reference: &str) -> Option<ImageId> {
        let name = full_name(reference);
        let found = self
            .images
            .iter()
            .find(|(id, tags)| id.0 == reference || tags.contains(&name));
        found.map(|(id, _)| id.clone())
    }

    /// An image that loses its last name goes, unless a container was made of it.
    pub(super) fn untag(&mut self, reference: &str) -> Result<()> {
        let name = full_name(reference);
        let Some(id) = self.image(&name) else {
            return Ok(());
        };
        let used = self.containers.values().any(|made| made.image == id);
        let Some(tags) = self.images.get_mut(&id) else {
            return Ok(());
        };
        if tags.len() == 1 && used {
            return Err(conflict("untag", "a container is using it"));
        }
        tags.remove(&name);
        if tags.is_empty() {
            self.images.remove(&id);
        }
        Ok(())
    }

    pub(super) fn pull(&mut self, reference: &str) -> Result<()> {
        let image = reference.to_owned();
        match self.registry.get(reference) {
            Some(Pull::Given) => {
                self.add_image(reference);
                Ok(())
            }
            Some(Pull::Denied) => Err(RuntimeError::ImageNotFound {
                image,
                message: "pull access denied".to_owned(),
            }),
            None => Err(RuntimeError::RegistryUnreachable {
                image,
                message: "no such host".to_owned(),
            }),
        }
    }
}

/// A name with its tag.
fn full_name(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains(':') {
        name.to_owned()
    } else {
        format!("{name}:latest")
    }
}
