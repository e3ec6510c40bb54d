//! What must hold at every step: after every effect on the simulated engine, whoever's it was, and whatever is published.
//!
//! It looks at the world itself and at the published table, and knows nothing of how the product decides.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use agentainer::agent::spec::{DesiredState, StrategyKind};
use agentainer::agent::{AgentSpec, Uid};
use agentainer::endpoints::{Endpoints, Table};
use agentainer::observed::{Container, ContainerId, ContainerState};
use agentainer::plan::EndpointState;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::fake_runtime::{Call, FakeRuntime};
use crate::programs::Programs;

/// A request that is given an endpoint just before it drains must have had the time to be counted.
const SETTLE: Duration = Duration::from_millis(200);
/// How long an address rests.
const COOL_DOWN: Duration = Duration::from_secs(60);

/// A container as it was at the last look.
struct Seen {
    container: Container,
    serves: bool,
    /// Since when it does or does not.
    since: Instant,
}

/// What an operator asked for, and when.
#[derive(Clone)]
struct Asked {
    at: Instant,
    /// None: its deletion.
    spec: Option<AgentSpec>,
    uid: Uid,
}

#[derive(Default)]
pub struct Checker {
    seen: BTreeMap<ContainerId, Seen>,
    asked: BTreeMap<String, VecDeque<Asked>>,
    /// Of each container that stopped serving by no hand of ours: whose it was, when that last was, and when the run had
    /// begun that served until then.
    lost: BTreeMap<ContainerId, (Uid, Instant, Option<Timestamp>)>,
    /// Of each that our own hand took (paused it, say): by which server, when that was, and the run that served until then.
    taken: BTreeMap<ContainerId, (usize, Instant, Option<Timestamp>)>,
    /// Since when the table of a server gives a container nothing new; only of those that it once did.
    rests: BTreeMap<(usize, ContainerId), Option<Instant>>,
    /// Since when it says that a container drains.
    drains: BTreeMap<(usize, ContainerId), Instant>,
    /// On their way out, as published: a surge does not count them, as in Kubernetes.
    leaving: BTreeSet<ContainerId>,
    /// Who held an address last, and until when.
    held: BTreeMap<Ipv4Addr, (ContainerId, Instant)>,
    /// Started by somebody else, or by a call that timed out long before: not reckoned with.
    exempt: BTreeSet<ContainerId>,
    /// Requests in flight, by server and container.
    pub in_flight: BTreeMap<(usize, ContainerId), u32>,
    pub violations: Vec<String>,
    began: Option<Instant>,
}

/// What a look is about.
pub struct Look<'a> {
    pub port: &'a FakeRuntime,
    pub programs: &'a mut Programs,
    pub seats: &'a [Seat],
    /// How old the product's knowledge may be by no fault of its own.
    pub horizon: Duration,
}

/// A server that runs, as the checker sees it.
pub struct Seat {
    pub server: usize,
    /// What it publishes.
    pub table: Arc<Endpoints>,
    /// Others wait for it: its signs of life have come without a gap.
    pub waited_for: bool,
    /// It stands still.
    pub still: bool,
    /// It cannot have heard of everything.
    pub behind: bool,
}

/// A call whose effect is looked at.
#[derive(Clone, Copy)]
pub struct Ours<'a> {
    pub call: &'a Call,
    /// Whose it is.
    pub server: usize,
    /// Another one leads by now.
    pub superseded: bool,
}

impl Checker {
    pub fn asks(&mut self, agent: &str, uid: &Uid, spec: Option<AgentSpec>) {
        let history = self.asked.entry(agent.to_owned()).or_default();
        history.push_back(Asked {
            at: Instant::now(),
            spec: spec.map(AgentSpec::normalized),
            uid: uid.clone(),
        });
    }

    /// A server ended: nothing is in flight there any more, and nothing is published.
    pub fn ended(&mut self, server: usize) {
        self.rests.retain(|(of, _), _| *of != server);
        self.drains.retain(|(of, _), _| *of != server);
        self.in_flight.retain(|(of, _), _| *of != server);
    }

    /// Notes what must not be.
    pub fn violated(&mut self, law: &str, what: String) {
        let now = Instant::now();
        let passed = now - *self.began.get_or_insert(now);
        self.violations
            .push(format!("{law}: {what}, at {passed:?}"));
    }

    /// Looks at everything. `ours`: the call whose effect this is.
    pub fn step(&mut self, look: &mut Look<'_>, ours: Option<Ours<'_>>) {
        let now = Instant::now();
        self.began.get_or_insert(now);
        let before = std::mem::take(&mut self.seen);
        for container in look.port.look() {
            let serves = look.programs.serves(&container);
            let same = before.get(&container.id).filter(|was| was.serves == serves);
            let seen = Seen {
                serves,
                since: same.map_or(now, |was| was.since),
                container,
            };
            self.seen.insert(seen.container.id.clone(), seen);
        }
        // What was decided by one that leads no more is as good as somebody else's.
        let ours = ours.filter(|ours| !(ours.superseded && takes(ours.call)));
        if let Some(ours) = ours {
            self.our_hand(look, ours, &before, now);
        }
        self.others(look, ours, &before, now);
        self.addresses(look, now);
        self.leaving.clear();
        for seat in look.seats.iter().filter(|seat| !seat.still) {
            self.published(look, seat, now);
        }
    }

    /// What only others can have done.
    fn others(
        &mut self,
        look: &Look<'_>,
        ours: Option<Ours<'_>>,
        before: &BTreeMap<ContainerId, Seen>,
        now: Instant,
    ) {
        let target = ours.map(|ours| ours.call.target.as_str());
        for (id, was) in before
            .iter()
            .filter(|(id, _)| Some(id.0.as_str()) != target)
        {
            let is = self.seen.get(id);
            if was.serves && is.is_none_or(|is| !is.serves) {
                let uid = was.container.identity.uid.clone();
                let run = was.container.started_at;
                self.lost.insert(id.clone(), (uid, now, run));
            }
            let ran = live(was.container.state);
            if !ran && is.is_some_and(|is| live(is.container.state)) {
                self.exempt.insert(id.clone());
            }
        }
        self.lost
            .retain(|_, (_, at, _)| now.duration_since(*at) <= look.horizon);
        self.taken
            .retain(|_, (_, at, _)| now.duration_since(*at) <= look.horizon);
        if let Some(ours) = ours
            && let id = ContainerId(ours.call.target.clone())
            && let Some(was) = before.get(&id).filter(|was| was.serves)
            && self.seen.get(&id).is_none_or(|is| !is.serves)
        {
            let run = was.container.started_at;
            self.taken.insert(id, (ours.server, now, run));
        }
    }

    fn our_hand(
        &mut self,
        look: &Look<'_>,
        ours: Ours<'_>,
        before: &BTreeMap<ContainerId, Seen>,
        now: Instant,
    ) {
        let id = ContainerId(ours.call.target.clone());
        let Some(was) = before.get(&id) else { return };
        match ours.call.name {
            // One that has only just come to answer may be taken for one that does not.
            _ if takes(ours.call)
                && was.serves
                && (now.duration_since(was.since) > look.horizon
                    || self.rests.get(&(ours.server, id.clone())) == Some(&None)) =>
            {
                self.taken(look, ours, was, before, now);
            }
            "start" if !live(was.container.state) => self.started(look, &id),
            _ => {}
        }
    }

    /// We took a container that answered requests.
    fn taken(
        &mut self,
        look: &Look<'_>,
        ours: Ours<'_>,
        was: &Seen,
        before: &BTreeMap<ContainerId, Seen>,
        now: Instant,
    ) {
        let by = ours.call.name;
        let container = &was.container;
        let mut found = Vec::new();
        let told = format!("{by} of {} ({})", container.name, short(&container.id));
        let specs = self.specs(container, now, look.horizon);
        let asked_to_go = specs
            .iter()
            .any(|spec| spec.is_none_or(|spec| spec.state != DesiredState::Running));
        if by != "pause" {
            let timeout = specs.iter().flatten();
            let timeout = timeout.map(|spec| spec.drain.timeout.duration()).min();
            // An agent that is deleted drains as its spec says while its object is there; its orphans have the default.
            let timeout = timeout
                .or_else(|| self.last_timeout(container))
                .unwrap_or(Duration::from_secs(30));
            for seat in look.seats {
                let own = seat.server == ours.server;
                // Time is up when it is for who acts.
                let drains = self.drains.get(&(ours.server, container.id.clone()));
                let over = drains.is_some_and(|at| now.duration_since(*at) >= timeout);
                if own || (seat.waited_for && !timeout.is_zero() && !over) {
                    found.extend(self.sent_to(seat.server, &container.id, timeout, now));
                }
            }
        }
        let found = found.into_iter().map(|what| format!("{told}: {what}"));
        let mut found: Vec<String> = found.collect();
        let floor = specs.iter().map(|spec| spec.map_or(0, floor)).min();
        let uid = &container.identity.uid;
        let served = before.values().filter(|seen| seen.serves);
        let served = served.filter(|seen| seen.container.identity.uid == *uid);
        let lost = self.lost.values().filter(|(life, ..)| life == uid);
        let ready = served.count() + lost.count();
        if !asked_to_go && floor.is_some_and(|floor| ready <= floor) {
            let least = floor.unwrap_or(0);
            let what = format!("{told}: only {ready} were ready, and {least} shall be");
            found.push(what);
        }
        for what in found {
            self.violated("law 5", what);
        }
    }

    /// Why a container could not be taken, by what a server sends to it.
    fn sent_to(
        &self,
        server: usize,
        id: &ContainerId,
        timeout: Duration,
        now: Instant,
    ) -> Option<String> {
        let place = (server, id.clone());
        let rests = self.rests.get(&place)?;
        let flying = self.in_flight.get(&place).copied().unwrap_or(0);
        let by = format!("by server {server}");
        match rests.map(|since| now.duration_since(since)) {
            None => Some(format!("it is still given requests {by}")),
            Some(rest) if rest < SETTLE.min(timeout) => {
                Some(format!("it drained for {rest:?} only {by}"))
            }
            Some(rest) if flying > 0 && rest < timeout => Some(format!(
                "{flying} in flight {by}, after {rest:?} of {timeout:?}"
            )),
            Some(_) => None,
        }
    }

    /// We started a container.
    fn started(&mut self, look: &Look<'_>, id: &ContainerId) {
        let now = Instant::now();
        let Some(one) = self.seen.get(id).map(|seen| seen.container.clone()) else {
            return;
        };
        if self.exempt.contains(id) {
            return;
        }
        let specs = self.specs(&one, now, look.horizon);
        let of_agent = |seen: &&Seen| {
            seen.container.identity.agent == one.identity.agent
                && live(seen.container.state)
                && !self.exempt.contains(&seen.container.id)
                && !self.leaving.contains(&seen.container.id)
        };
        let others: Vec<&Container> = self
            .seen
            .values()
            .filter(of_agent)
            .map(|seen| &seen.container)
            .collect();
        let mut places: BTreeMap<u32, usize> = BTreeMap::new();
        for other in &others {
            if other.identity.uid == one.identity.uid {
                *places.entry(other.identity.ordinal).or_default() += 1;
            }
        }
        let extra: usize = places.values().map(|count| count - 1).sum();
        let surge = specs.iter().flatten().map(|spec| surge(spec)).max();
        let mut found = Vec::new();
        if surge.is_some_and(|surge| extra > surge)
            && places
                .get(&one.identity.ordinal)
                .is_some_and(|count| *count > 1)
        {
            let places = others
                .iter()
                .map(|other| format!("{}:{}", other.identity.ordinal, other.identity.incarnation));
            let places: Vec<String> = places.collect();
            found.push(format!(
                "{} was started beside others of its place, beyond a surge of {}: {places:?}",
                one.name,
                surge.unwrap_or(0)
            ));
        }
        let recreate = !specs.is_empty()
            && specs.iter().all(|spec| {
                spec.is_some_and(|spec| spec.strategy_kind() == StrategyKind::Recreate)
            });
        let earlier = others
            .iter()
            .find(|other| other.identity.revision != one.identity.revision);
        if let Some(earlier) = earlier.filter(|_| recreate) {
            found.push(format!(
                "{} was started while {} of another revision runs",
                one.name, earlier.name
            ));
        }
        for what in found {
            self.violated("law 1", what);
        }
    }

    /// No address goes from one container to another within the cool-down.
    fn addresses(&mut self, look: &Look<'_>, now: Instant) {
        let owned = look
            .port
            .look_at_network()
            .is_some_and(|network| network.addresses_owned);
        let mut found = Vec::new();
        for seen in self.seen.values() {
            let Some(address) = address(&seen.container) else {
                continue;
            };
            let id = &seen.container.id;
            if let Some((last, until)) = self.held.get(&address)
                && last != id
                && owned
                && now.duration_since(*until) < COOL_DOWN
            {
                let rest = now.duration_since(*until);
                found.push(format!(
                    "{address} went from {} to {} after {rest:?}",
                    short(last),
                    seen.container.name
                ));
            }
            self.held.insert(address, (id.clone(), now));
        }
        for what in found {
            self.violated("law 4", what);
        }
    }

    /// Requests go to what is theirs, and to what answered at least once.
    fn published(&mut self, look: &Look<'_>, seat: &Seat, now: Instant) {
        let table = seat.table.table();
        let place = |id: &ContainerId| (seat.server, id.clone());
        let mut found = Vec::new();
        for (agent, route) in table.routes.iter() {
            for (endpoint, state) in &route.endpoints {
                let id = &endpoint.container;
                if *state == EndpointState::Draining {
                    self.leaving.insert(id.clone());
                    self.drains.entry(place(id)).or_insert(now);
                } else {
                    self.drains.remove(&place(id));
                }
                if *state != EndpointState::Ready {
                    if let Some(rests) = self.rests.get_mut(&place(id)) {
                        rests.get_or_insert(now);
                    }
                    continue;
                }
                self.rests.insert(place(id), None);
                let IpAddr::V4(at) = endpoint.address.ip() else {
                    continue;
                };
                let holder = self
                    .seen
                    .values()
                    .find(|seen| address(&seen.container) == Some(at));
                match holder {
                    Some(holder) if holder.container.identity.agent != *agent => found.push((
                        "law 4",
                        format!("{agent} is routed to {}", holder.container.name),
                    )),
                    Some(holder) if holder.container.id != *id => found.push((
                        "law 4",
                        format!("{agent} is routed to {at} for {}", short(id)),
                    )),
                    Some(holder) => {
                        let run = (id.clone(), holder.container.started_at);
                        // One that ended a moment ago and runs again, by a start that took effect late: nobody can
                        // have heard of it yet. Nor another server of what one of ours took and started again.
                        let lost = self.lost.get(id);
                        let taken = self.taken.get(id);
                        let news = lost.is_some_and(|(.., earlier)| *earlier != run.1)
                            || taken.is_some_and(|(by, _, earlier)| {
                                *by != seat.server && *earlier != run.1
                            });
                        if !holder.serves && !news && !look.programs.well.contains(&run) {
                            let name = &holder.container.name;
                            found
                                .push(("law 5", format!("{name} is routed to and never answered")));
                        }
                    }
                    None => {
                        let gone = self.lost.get(id);
                        let long = self.held.get(&at).is_none_or(|(_, until)| {
                            now.duration_since(*until) > look.horizon.max(Duration::from_secs(3))
                        });
                        if gone.is_none() && long && !seat.behind {
                            let what = format!("{agent} is routed to {}, which is gone", short(id));
                            found.push(("law 5", what));
                        }
                    }
                }
            }
        }
        if !seat.behind {
            found.extend(self.too_many(&table, look.horizon, now));
        }
        let there: BTreeSet<&ContainerId> = table
            .routes
            .iter()
            .flat_map(|(_, route)| &route.endpoints)
            .map(|(endpoint, _)| &endpoint.container)
            .collect();
        for ((server, id), rests) in &mut self.rests {
            if *server == seat.server && !there.contains(id) {
                rests.get_or_insert(now);
            }
        }
        for (law, what) in found {
            self.violated(law, what);
        }
    }

    /// Agents of which more containers are ready for one place than a surge allows.
    fn too_many(
        &self,
        table: &Table,
        horizon: Duration,
        now: Instant,
    ) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        for (agent, route) in table.routes.iter() {
            let ready = route.endpoints.iter();
            let ready = ready.filter(|(_, state)| *state == EndpointState::Ready);
            let ready = ready.filter_map(|(endpoint, _)| self.seen.get(&endpoint.container));
            let ready = ready.filter(|seen| !self.exempt.contains(&seen.container.id));
            let ready: Vec<&Container> = ready.map(|seen| &seen.container).collect();
            let Some(first) = ready.first() else { continue };
            let places: BTreeSet<u32> = ready.iter().map(|one| one.identity.ordinal).collect();
            let extra = ready.len() - places.len();
            if extra == 0 {
                continue;
            }
            let specs = self.specs(first, now, horizon);
            let most = specs.iter().flatten().map(|spec| surge(spec)).max();
            if most.is_some_and(|most| extra > most) {
                let names: Vec<&str> = ready.iter().map(|one| one.name.as_str()).collect();
                let what = format!("of {agent} {extra} serve beside others: {names:?}");
                found.push(("law 1", what));
            }
        }
        found
    }

    /// How long an instance may drain by the last spec of its agent's present life, that of a deletion left out.
    fn last_timeout(&self, container: &Container) -> Option<Duration> {
        let history = self.asked.get(container.identity.agent.as_str())?;
        let own = history
            .iter()
            .rev()
            .filter(|asked| asked.uid == container.identity.uid);
        let last = own.filter_map(|asked| asked.spec.as_ref()).next()?;
        Some(last.drain.timeout.duration())
    }

    /// What was asked for of a container's agent, now and as far back as nobody can be blamed for not knowing better.
    fn specs(
        &self,
        container: &Container,
        now: Instant,
        horizon: Duration,
    ) -> Vec<Option<&AgentSpec>> {
        let Some(history) = self.asked.get(container.identity.agent.as_str()) else {
            return vec![None];
        };
        if history
            .back()
            .is_some_and(|last| last.uid != container.identity.uid)
        {
            return vec![None];
        }
        let mut specs = Vec::new();
        for asked in history.iter().rev() {
            specs.push(asked.spec.as_ref());
            if now.duration_since(asked.at) > horizon {
                break;
            }
        }
        specs
    }
}

/// How many shall be ready at least.
fn floor(spec: &AgentSpec) -> usize {
    if spec.strategy_kind() == StrategyKind::Recreate {
        return 0;
    }
    let unavailable = spec.strategy.max_unavailable.unwrap_or(0);
    spec.replicas.0.saturating_sub(unavailable) as usize
}

/// How many may run beside others of their place.
fn surge(spec: &AgentSpec) -> usize {
    if spec.strategy_kind() == StrategyKind::Recreate {
        return 0;
    }
    let surge = spec.strategy.max_surge.unwrap_or(1);
    match spec.strategy.max_unavailable.unwrap_or(0) {
        0 => surge.max(1) as usize,
        _ => surge as usize,
    }
}

/// Whether a call takes a container from who uses it.
fn takes(call: &Call) -> bool {
    matches!(call.name, "stop" | "remove" | "pause" | "disconnect")
}

fn live(state: ContainerState) -> bool {
    matches!(state, ContainerState::Running | ContainerState::Paused)
}

fn address(container: &Container) -> Option<Ipv4Addr> {
    match container.attachment.as_ref()?.ip? {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

fn short(id: &ContainerId) -> &str {
    id.0.trim_start_matches('0')
        .split("0000")
        .next()
        .unwrap_or(&id.0)
}
