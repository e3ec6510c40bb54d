//! A small pure world: an engine, a data path and a store, on which plans are carried out while time goes by. It checks
//! at every step what no plan may do.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;

use super::fixture::{at, failure, ip, network, words};
use crate::agent::spec::{DesiredState, StrategyKind};
use crate::agent::{Agent, ClusterId, Revision, RevisionRecord, Uid};
use crate::names::AgentName;
use crate::observed::*;
use crate::plan::{Action, CreateInstance, EndpointState, Input, Plan, plan};

/// How programs of a revision fare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Program {
    Good,
    NeverReady,
    Crashes,
    DoesNotStart,
    NoImage,
}

#[derive(Clone, Debug)]
pub(super) struct Sim {
    pub(super) seen: Container,
    pub(super) in_flight: u64,
    pub(super) finishes: Option<Timestamp>,
    pub(super) ready_at: Option<Timestamp>,
    pub(super) dies_at: Option<Timestamp>,
    /// When a state that lasts only a while is over.
    pub(super) passes: Option<Timestamp>,
    draining_since: Option<Timestamp>,
}

impl Sim {
    pub(super) fn new(seen: Container) -> Self {
        Self {
            seen,
            in_flight: 0,
            finishes: None,
            ready_at: None,
            dies_at: None,
            passes: None,
            draining_since: None,
        }
    }

    fn running(&self) -> bool {
        matches!(
            self.seen.state,
            ContainerState::Running | ContainerState::Paused | ContainerState::Restarting
        )
    }
}

#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) now: Timestamp,
    pub(super) agent: Option<Agent>,
    pub(super) sims: Vec<Sim>,
    pub(super) tombstones: BTreeSet<Uid>,
    pub(super) frozen: Option<String>,
    pub(super) network: Option<Network>,
    pub(super) network_comes: Option<Timestamp>,
    pub(super) images: BTreeMap<Revision, ImageState>,
    pub(super) programs: BTreeMap<Revision, Program>,
    pub(super) failures: BTreeMap<u32, Failure>,
    pub(super) foreign: BTreeSet<String>,
    pub(super) history: Vec<String>,
    pub(super) told: Vec<crate::plan::Turn>,
    pub(super) records: Vec<RevisionRecord>,
    reserved: BTreeMap<(Uid, u32), u64>,
    next: u64,
}

impl World {
    pub(super) fn new(agent: Agent) -> Self {
        Self {
            now: at(0),
            agent: Some(agent),
            sims: Vec::new(),
            tombstones: BTreeSet::new(),
            frozen: None,
            network: Some(network()),
            network_comes: None,
            images: BTreeMap::new(),
            programs: BTreeMap::new(),
            failures: BTreeMap::new(),
            foreign: BTreeSet::new(),
            history: Vec::new(),
            told: Vec::new(),
            records: Vec::new(),
            reserved: BTreeMap::new(),
            next: 0,
        }
    }

    pub(super) fn observe(&self) -> Observed {
        let mut observed = Observed {
            network: self.network.clone(),
            images: self.images.clone(),
            failures: self.failures.clone(),
            foreign_names: self.foreign.clone(),
            records: Some(self.records.clone()),
            ..Observed::default()
        };
        for sim in &self.sims {
            let id = sim.seen.id.clone();
            if sim.seen.state == ContainerState::Running {
                let ready = sim.ready_at.map(|moment| moment <= self.now);
                observed.probes.insert(
                    id.clone(),
                    Probe {
                        ready,
                        ..Probe::default()
                    },
                );
            }
            let traffic = Traffic {
                in_flight: sim.in_flight,
                draining_since: sim.draining_since,
                ..Traffic::default()
            };
            observed.traffic.insert(id, traffic);
            observed.containers.push(sim.seen.clone());
        }
        observed
    }

    fn decide(&self, observed: &Observed) -> Plan {
        let cluster = ClusterId("ours".to_owned());
        let name = AgentName::new("users").unwrap();
        let input = Input {
            cluster: &cluster,
            name: &name,
            agent: self.agent.as_ref(),
            tombstones: &self.tombstones,
            frozen: self.frozen.as_deref(),
            follows: false,
            observed,
            now: self.now,
        };
        let first = plan(&input);
        assert_eq!(first, plan(&input), "the same input gives the same plan");
        first
    }

    /// One pass: look, decide, publish, carry out at most `most` actions. Answers the plan.
    pub(super) fn pass(&mut self, most: usize) -> Plan {
        let observed = self.observe();
        let plan = self.decide(&observed);
        self.history
            .push(format!("{} {:?}", self.now, words(&plan)));
        for endpoint in &plan.endpoints {
            let now = self.now;
            let Some(sim) = self.sim(&endpoint.container) else {
                continue;
            };
            sim.draining_since = match endpoint.state {
                EndpointState::Draining => sim.draining_since.or(Some(now)),
                _ => None,
            };
        }
        let before = self.doubles();
        for planned in plan.actions.iter().take(most) {
            self.allowed(&planned.action);
            if !self.carry_out(&planned.action) {
                break;
            }
        }
        let surge = self.surge();
        assert!(
            self.doubles() <= before.max(surge),
            "beyond surge: {:#?}",
            self.history
        );
        if let (Some(agent), Some(status)) = (&mut self.agent, &plan.status) {
            let name = &agent.metadata.name;
            let told = crate::plan::turns(name, &agent.status, status, &observed);
            self.told.extend(told);
            agent.status = status.clone();
        }
        plan
    }

    fn surge(&self) -> usize {
        let Some(agent) = &self.agent else { return 0 };
        if agent.spec.strategy_kind() == StrategyKind::Recreate {
            return 0;
        }
        let strategy = &agent.spec.strategy;
        let least = usize::from(strategy.max_unavailable.unwrap_or(0) == 0);
        usize::try_from(strategy.max_surge.unwrap_or(1))
            .unwrap()
            .max(least)
    }

    /// Running containers beside another of their ordinal.
    fn doubles(&self) -> usize {
        let mut by_ordinal: BTreeMap<u32, usize> = BTreeMap::new();
        for sim in self.own().filter(|sim| sim.running()) {
            *by_ordinal.entry(sim.seen.identity.ordinal).or_default() += 1;
        }
        by_ordinal.values().map(|count| count - 1).sum()
    }

    pub(super) fn own(&self) -> impl Iterator<Item = &Sim> {
        let uid = self.agent.as_ref().map(|agent| agent.metadata.uid.clone());
        self.sims.iter().filter(move |sim| {
            let identity = &sim.seen.identity;
            identity.cluster.0 == "ours"
                && identity.agent.as_str() == "users"
                && Some(&identity.uid) == uid.as_ref()
        })
    }

    fn serves(&self, sim: &Sim) -> bool {
        sim.seen.state == ContainerState::Running
            && sim.ready_at.is_some_and(|moment| moment <= self.now)
            && sim.seen.attachment.as_ref().is_some_and(|attachment| {
                let present = self.network.as_ref().map(|network| &network.id);
                attachment.ip.is_some()
                    && present.is_none_or(|present| *present == attachment.network)
            })
    }

    /// What no plan may do.
    fn allowed(&self, action: &Action) {
        let story = || format!("{action:?}\n{:#?}", self.history);
        let (target, takes) = match action {
            Action::Stop { container, .. } | Action::Pause { container } => (container, true),
            Action::Remove { container }
            | Action::Disconnect { container, .. }
            | Action::Rename { container, .. }
            | Action::UpdateLimits { container, .. } => (container, true),
            Action::Start { container }
            | Action::Unpause { container }
            | Action::Connect { container, .. } => (container, false),
            Action::Finalize { .. } => {
                assert!(
                    self.frozen.is_none() && self.own().next().is_none(),
                    "{}",
                    story()
                );
                return;
            }
            Action::ResolveImage { .. }
            | Action::KeepRevision { .. }
            | Action::ForgetRevision { .. }
            | Action::Create(_) => return,
        };
        assert!(!(takes && self.frozen.is_some()), "frozen: {}", story());
        let found = self.sims.iter().find(|sim| sim.seen.id == *target);
        let sim = found.unwrap_or_else(|| panic!("no such container: {}", story()));
        let identity = &sim.seen.identity;
        let present = self.agent.as_ref().map(|agent| &agent.metadata.uid);
        let ours = identity.cluster.0 == "ours" && identity.agent.as_str() == "users";
        let proven = Some(&identity.uid) == present || self.tombstones.contains(&identity.uid);
        assert!(ours && proven, "no proof: {}", story());
        if let (Action::Stop { .. } | Action::Disconnect { .. }, Some(agent)) =
            (action, &self.agent)
        {
            let rolling = agent.spec.strategy_kind() == StrategyKind::Rolling;
            let runs = agent.spec.state == DesiredState::Running
                && agent.metadata.deletion_timestamp.is_none();
            if rolling && runs && Some(&identity.uid) == present && self.serves(sim) {
                let ready = self.own().filter(|sim| self.serves(sim)).count();
                let floor = agent
                    .spec
                    .replicas
                    .0
                    .min(100)
                    .saturating_sub(agent.spec.strategy.max_unavailable.unwrap_or(0));
                let enough = ready > usize::try_from(floor).unwrap();
                let moves = matches!(action, Action::Disconnect { .. });
                assert!(enough || moves, "too few left: {}", story());
            }
            if runs && sim.in_flight > 0 && sim.seen.state == ContainerState::Running {
                let timeout = agent.spec.drain.timeout.duration();
                let addressed = sim
                    .seen
                    .attachment
                    .as_ref()
                    .is_some_and(|attachment| attachment.ip.is_some());
                let waited = sim
                    .draining_since
                    .is_some_and(|since| crate::plan::draft::later(since, timeout) <= self.now);
                let on_net = addressed
                    && self.network.as_ref().is_none_or(|network| {
                        sim.seen
                            .attachment
                            .as_ref()
                            .is_some_and(|attachment| attachment.network == network.id)
                    });
                assert!(
                    waited || !on_net || timeout.is_zero(),
                    "cut short: {}",
                    story()
                );
            }
        }
    }

    pub(super) fn sim(&mut self, id: &ContainerId) -> Option<&mut Sim> {
        self.sims.iter_mut().find(|sim| sim.seen.id == *id)
    }

    fn name_taken(&self, name: &str) -> bool {
        self.foreign.contains(name) || self.sims.iter().any(|sim| sim.seen.name == name)
    }

    fn fail(&mut self, ordinal: u32, revision: &Revision, reason: &str) {
        let attempts = self
            .failures
            .get(&ordinal)
            .map_or(0, |failure| failure.attempts)
            + 1;
        let mut failure = failure(reason, attempts, 0);
        failure.at = self.now;
        failure.of = Some(revision.clone());
        self.failures.insert(ordinal, failure);
    }

    fn program(&self, revision: &Revision) -> Program {
        self.programs
            .get(revision)
            .copied()
            .unwrap_or(Program::Good)
    }

    fn carry_out(&mut self, action: &Action) -> bool {
        let now = self.now;
        match action {
            Action::KeepRevision { record } => {
                let mut record = record.as_ref().clone();
                record.tag.get_or_insert_default();
                self.keep(record);
            }
            Action::ForgetRevision { revision, .. } => {
                self.records.retain(|kept| kept.revision != *revision);
            }
            Action::ResolveImage {
                revision,
                image,
                number,
                shape,
                proven,
                ..
            } => {
                let state = if self.program(revision) == Program::NoImage {
                    let attempts = match self.images.get(revision) {
                        Some(ImageState::Failed(failure)) => failure.attempts + 1,
                        _ => 1,
                    };
                    let mut failure = failure("ImageNotFound", attempts, 0);
                    failure.at = now;
                    ImageState::Failed(failure)
                } else {
                    self.keep(RevisionRecord {
                        revision: revision.clone(),
                        number: *number,
                        image_id: "sha256:one".to_owned(),
                        image: image.clone(),
                        tag: Some(String::new()),
                        generation: 1,
                        at: now,
                        shape: shape.clone(),
                        proven: proven.clone(),
                    });
                    ImageState::Resolved(ImageId("sha256:one".to_owned()))
                };
                self.images.insert(revision.clone(), state);
            }
            Action::Create(wanted) => self.create(wanted),
            Action::Start { container } => self.start(container),
            Action::Stop { container, .. } => self.end(container, 143),
            Action::Pause { container } => {
                self.sim(container).unwrap().seen.state = ContainerState::Paused
            }
            Action::Unpause { container } => {
                self.sim(container).unwrap().seen.state = ContainerState::Running
            }
            Action::Remove { container } => self.sims.retain(|sim| sim.seen.id != *container),
            Action::Rename { container, name } => {
                if !self.name_taken(name) {
                    self.sim(container).unwrap().seen.name = name.clone();
                }
            }
            Action::Connect {
                container,
                network,
                aliases,
                address,
                ..
            } => {
                let address = *address;
                let sim = self.sim(container).unwrap();
                let identity = &sim.seen.identity;
                let address =
                    address.unwrap_or_else(|| ip(identity.ordinal, identity.incarnation + 60));
                let running = sim.seen.state == ContainerState::Running;
                sim.seen.attachment = Some(Attachment {
                    network: network.clone(),
                    ip: running.then_some(IpAddr::V4(address)),
                    asked_ip: Some(address),
                    aliases: aliases.clone(),
                });
            }
            Action::Disconnect { container, .. } => {
                self.sim(container).unwrap().seen.attachment = None
            }
            Action::UpdateLimits { container, limits } => {
                self.sim(container).unwrap().seen.limits = *limits
            }
            Action::Finalize { uid } => {
                self.tombstones.insert(uid.clone());
                self.agent = None;
            }
        }
        true
    }

    fn keep(&mut self, record: RevisionRecord) {
        self.records.retain(|kept| kept.revision != record.revision);
        self.records.push(record);
        self.records.sort_by_key(|record| record.number);
    }

    fn create(&mut self, wanted: &CreateInstance) {
        let place = self
            .reserved
            .entry((wanted.uid.clone(), wanted.ordinal))
            .or_default();
        *place = (*place).max(wanted.after_incarnation) + 1;
        let incarnation = *place;
        self.next += 1;
        let id = format!("n{}", self.next);
        let mut seen = super::fixture::container(&wanted.revision, wanted.ordinal, incarnation);
        if self.name_taken(&seen.name) {
            self.fail(wanted.ordinal, &wanted.revision, "CreateFailed");
            return;
        }
        seen.id = ContainerId(id);
        seen.identity.uid = wanted.uid.clone();
        seen.identity.generation = wanted.generation;
        seen.state = ContainerState::Created;
        seen.created_at = Some(self.now);
        seen.started_at = None;
        seen.limits = crate::observed::Limits::of(&wanted.spec.resources);
        if let (Some(attachment), Some(network)) = (&mut seen.attachment, &self.network) {
            attachment.network = network.id.clone();
            attachment.ip = None;
        }
        if wanted.take_agent_name && !self.name_taken("users") {
            seen.name = "users".to_owned();
        }
        let id = seen.id.clone();
        self.sims.push(Sim::new(seen));
        self.start(&id);
        if wanted.paused {
            self.sim(&id).unwrap().seen.state = ContainerState::Paused;
        }
    }

    fn start(&mut self, id: &ContainerId) {
        let now = self.now;
        let network = self.network.clone();
        let sim = self.sim(id).unwrap();
        if matches!(
            sim.seen.state,
            ContainerState::Running | ContainerState::Paused
        ) {
            return;
        }
        let (ordinal, revision) = (
            sim.seen.identity.ordinal,
            sim.seen.identity.revision.clone(),
        );
        if self.program(&revision) == Program::DoesNotStart {
            self.fail(ordinal, &revision, "StartFailed");
            return;
        }
        let program = self.program(&revision);
        let sim = self.sim(id).unwrap();
        sim.seen.state = ContainerState::Running;
        sim.seen.started_at = Some(now);
        sim.seen.exit = None;
        sim.ready_at = match program {
            Program::Good => Some(now + Duration::from_secs(1)),
            _ => Some(Timestamp::MAX),
        };
        sim.dies_at = (program == Program::Crashes).then(|| now + Duration::from_secs(3));
        if let (Some(attachment), Some(network)) = (&mut sim.seen.attachment, network) {
            attachment.network = network.id;
            attachment.ip = attachment.asked_ip.map(IpAddr::V4);
        }
        self.failures.remove(&ordinal);
    }

    pub(super) fn end(&mut self, id: &ContainerId, code: i64) {
        let now = self.now;
        let Some(sim) = self.sim(id) else { return };
        if !sim.running() {
            return;
        }
        sim.seen.state = ContainerState::Exited;
        sim.seen.exit = Some(Exit {
            code,
            oom_killed: false,
            at: Some(now),
        });
        (sim.ready_at, sim.dies_at, sim.in_flight, sim.finishes) = (None, None, 0, None);
        // What ended while it was restarted does not come to run by itself.
        sim.passes = None;
        if let Some(attachment) = &mut sim.seen.attachment {
            attachment.ip = None;
        }
    }

    /// The next moment when something happens by itself.
    fn next_event(&self) -> Option<Timestamp> {
        let sims = self.sims.iter().flat_map(|sim| {
            let ready = sim.ready_at.filter(|moment| *moment != Timestamp::MAX);
            let ready = ready.filter(|_| sim.seen.state == ContainerState::Running);
            [ready, sim.dies_at, sim.finishes, sim.passes]
        });
        let moments = sims.chain([self.network_comes]).flatten();
        moments.filter(|moment| *moment > self.now).min()
    }

    pub(super) fn advance(&mut self, to: Timestamp) {
        self.now = self.now.max(to);
        let now = self.now;
        let due = |moment: Option<Timestamp>| moment.is_some_and(|moment| moment <= now);
        if due(self.network_comes) {
            self.network_comes = None;
            let fresh = Network {
                id: NetworkId("net2".to_owned()),
                ..network()
            };
            self.network.get_or_insert(fresh);
        }
        let dead: Vec<ContainerId> = self
            .sims
            .iter()
            .filter(|sim| due(sim.dies_at))
            .map(|sim| sim.seen.id.clone())
            .collect();
        for id in dead {
            self.end(&id, 1);
        }
        self.sims
            .retain(|sim| !(sim.seen.state == ContainerState::Removing && due(sim.passes)));
        for sim in &mut self.sims {
            if due(sim.finishes) {
                (sim.in_flight, sim.finishes) = (0, None);
            }
            if due(sim.passes) {
                sim.passes = None;
                sim.seen.state = ContainerState::Running;
                sim.seen.started_at = sim.seen.started_at.or(Some(now));
                // One that was put on the network before it ran has its address now.
                if let Some(attachment) = &mut sim.seen.attachment {
                    attachment.ip = attachment.ip.or(attachment.asked_ip.map(IpAddr::V4));
                }
            }
        }
    }

    /// Passes until nothing is left to do and nothing will happen by itself. Answers how many it took.
    pub(super) fn settle(&mut self, bound: usize) -> usize {
        for pass in 0..bound {
            let before = self.agent.as_ref().map(|agent| agent.status.clone());
            let plan = self.pass(usize::MAX);
            let event = self.next_event();
            let recheck = plan.recheck.map(|rest| self.now + rest);
            if !plan.actions.is_empty() {
                self.advance(self.now + Duration::from_millis(50));
                continue;
            }
            match event.into_iter().chain(recheck).min() {
                Some(moment) => self.advance(moment),
                None => {
                    if before == self.agent.as_ref().map(|agent| agent.status.clone()) {
                        return pass;
                    }
                }
            }
        }
        let tail = self
            .history
            .split_off(self.history.len().saturating_sub(12));
        panic!(
            "not settled after {bound} passes: {tail:#?}\n{:#?}",
            self.sims
        );
    }

    /// Passes for a while.
    pub(super) fn run_for(&mut self, rest: Duration) {
        let until = self.now + rest;
        for _ in 0..2000 {
            let plan = self.pass(usize::MAX);
            let recheck = plan.recheck.map(|rest| self.now + rest);
            let acted = (!plan.actions.is_empty()).then(|| self.now + Duration::from_millis(50));
            let next = self
                .next_event()
                .into_iter()
                .chain(recheck)
                .chain(acted)
                .min();
            match next {
                Some(moment) if moment < until => self.advance(moment),
                _ => break,
            }
        }
        self.advance(until);
    }
}
