//! The routing snapshot: agent name → endpoints with their state. Published by `reconcile`, read by `proxy` without a
//! lock; counts what is in flight per container. Layer 2.
//!
//! A container that left the table while requests were on it stays known here until the last of them ended, so that its
//! count is right when it comes back and [`Endpoints::traffic`] can tell of it.

mod departure;
mod doubt;
mod endpoint;
mod routes;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::watch;

pub use self::departure::Departure;
use self::doubt::{Certainty, Doubt};
pub use self::doubt::{Check, Holding};
pub use self::endpoint::{Companion, Endpoint, InFlight};
pub use self::routes::Routes;
use crate::agent::Uid;
use crate::agent::spec::{Persistence, Proxy};
use crate::names::AgentName;
use crate::observed::{ContainerId, Traffic};
use crate::plan::EndpointState;
use crate::telemetry::figures::AgentFigures;

/// One agent as the proxy sees it.
#[derive(Clone, Debug)]
pub struct Route {
    /// Which life of the agent.
    pub uid: Uid,
    /// Its containers with an address, and their state.
    pub endpoints: Vec<(Arc<Endpoint>, EndpointState)>,
    /// Why there may be no ready one, for people: "stopped by its spec; `agentainer start users`".
    pub explanation: String,
    /// Whether a ready one is expected soon.
    pub starting: bool,
    /// How the proxy talks to it.
    pub proxy: Proxy,
    /// What the proxy counted for it, in this life of it.
    pub figures: Arc<AgentFigures>,
    /// What becomes of requests that it cannot answer now; `None`: the defaults.
    pub persistence: Option<Persistence>,
}

/// All agents at one moment.
#[derive(Debug, Default)]
pub struct Table {
    /// By name.
    pub routes: Routes,
    /// Goes up with each publication.
    pub version: u64,
}

/// The published table.
#[derive(Debug)]
pub struct Endpoints {
    table: ArcSwap<Table>,
    writer: Mutex<Writer>,
    version: watch::Sender<u64>,
    doubt: Arc<Doubt>,
}

#[derive(Debug, Default)]
struct Writer {
    kept: BTreeMap<ContainerId, Kept>,
    /// Those among them that are out of use.
    retired: BTreeSet<ContainerId>,
    /// Agents whose containers nobody has looked at yet.
    announced: BTreeSet<AgentName>,
    /// Containers that another server drains: they get nothing new here, whatever is published of them.
    ordered: BTreeMap<AgentName, BTreeSet<ContainerId>>,
}

#[derive(Debug)]
struct Kept {
    endpoint: Arc<Endpoint>,
    draining_since: Option<Timestamp>,
}

/// What a publication says of one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedEndpoint {
    /// Which.
    pub container: ContainerId,
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether it gets requests.
    pub state: EndpointState,
}

/// What a publication says of one agent.
#[derive(Clone, Debug)]
pub struct Publication {
    /// Which life of the agent.
    pub uid: Uid,
    /// Its containers.
    pub endpoints: Vec<PublishedEndpoint>,
    /// Those that surely have no address any more: what is awaited from where they were never comes. One that is
    /// merely not named is no such: it may work on.
    pub departed: BTreeSet<ContainerId>,
    /// See [`Route::explanation`].
    pub explanation: String,
    /// See [`Route::starting`].
    pub starting: bool,
    /// See [`Route::proxy`].
    pub proxy: Proxy,
    /// See [`Route::persistence`].
    pub persistence: Option<Persistence>,
}

impl Default for Endpoints {
    fn default() -> Self {
        Self {
            table: ArcSwap::default(),
            writer: Mutex::default(),
            version: watch::channel(0).0,
            doubt: Arc::default(),
        }
    }
}

impl Endpoints {
    /// The table now; cheap, and consistent for as long as it is held.
    pub fn table(&self) -> arc_swap::Guard<Arc<Table>> {
        self.table.load()
    }

    /// Tells when the version moves on.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Makes known that an agent exists, before anybody looked at its containers: its requests wait rather than get a 404.
    /// Changes nothing about one that is known.
    pub fn announce(
        &self,
        name: &AgentName,
        uid: &Uid,
        proxy: &Proxy,
        persistence: Option<&Persistence>,
    ) {
        let mut writer = self.writer.lock();
        let old = self.table.load();
        if old.routes.contains_key(name) {
            return;
        }
        writer.announced.insert(name.clone());
        let route = Route {
            uid: uid.clone(),
            endpoints: Vec::new(),
            explanation: "its containers are being looked at".to_owned(),
            starting: true,
            proxy: proxy.clone(),
            figures: Arc::default(),
            persistence: persistence.cloned(),
        };
        let mut routes = old.routes.clone();
        routes.insert(name.clone(), Arc::new(route));
        self.swap(&old, routes);
    }

    /// Replaces what is known of one agent. Nothing is published when nothing differs.
    pub fn publish(&self, name: &AgentName, publication: Publication, now: Timestamp) {
        let mut writer = self.writer.lock();
        writer.announced.remove(name);
        let Writer {
            kept,
            ordered,
            retired,
            ..
        } = &mut *writer;
        let ordered = ordered.get(name);
        // Before any of them is forgotten: who found one in an older table learns of it too.
        for id in &publication.departed {
            if let Some(entry) = kept.get(id) {
                entry.endpoint.departure().set(true);
            }
        }
        let endpoints: Vec<_> = publication
            .endpoints
            .iter()
            .map(|wanted| {
                let state = match ordered {
                    Some(ordered) if ordered.contains(&wanted.container) => EndpointState::Draining,
                    _ => wanted.state,
                };
                let entry = kept
                    .entry(wanted.container.clone())
                    .or_insert_with(|| self.fresh(name, wanted));
                if entry.endpoint.address != wanted.address {
                    entry.endpoint.set_retired(true);
                    let moved = entry.endpoint.address.ip() != wanted.address.ip();
                    entry.endpoint.departure().set(moved);
                    *entry = self.fresh(name, wanted);
                    retired.remove(&wanted.container);
                } else {
                    entry.endpoint.departure().set(false);
                    if entry.endpoint.retired() {
                        entry.endpoint.set_retired(false);
                        retired.remove(&wanted.container);
                    }
                }
                entry.draining_since = match state {
                    EndpointState::Draining => entry.draining_since.or(Some(now)),
                    _ => None,
                };
                entry.endpoint.set_open(state == EndpointState::Ready);
                (Arc::clone(&entry.endpoint), state)
            })
            .collect();
        let old = self.table.load();
        let before = old.routes.get(name);
        let gone: Vec<ContainerId> = before.map_or_else(Vec::new, |route| {
            let still = |id: &ContainerId| {
                publication
                    .endpoints
                    .iter()
                    .any(|wanted| wanted.container == *id)
            };
            route
                .endpoints
                .iter()
                .map(|(endpoint, _)| endpoint.container.clone())
                .filter(|id| !still(id))
                .collect()
        });
        writer.retire(gone);
        let route = Route {
            endpoints,
            explanation: publication.explanation,
            starting: publication.starting,
            proxy: publication.proxy,
            figures: figures(before, &publication.uid),
            uid: publication.uid,
            persistence: publication.persistence,
        };
        if before.is_some_and(|before| same(before, &route)) {
            return;
        }
        let mut routes = old.routes.clone();
        routes.insert(name.clone(), Arc::new(route));
        self.swap(&old, routes);
    }

    /// Forgets an agent: it does not exist any more.
    pub fn withdraw(&self, name: &AgentName) {
        let mut writer = self.writer.lock();
        writer.ordered.remove(name);
        writer.announced.remove(name);
        let old = self.table.load();
        let Some(route) = old.routes.get(name) else {
            return;
        };
        let gone = route
            .endpoints
            .iter()
            .map(|(endpoint, _)| endpoint.container.clone());
        writer.retire(gone);
        let mut routes = old.routes.clone();
        routes.remove(name);
        self.swap(&old, routes);
    }

    /// What the data path says of these containers; one that left the table is told of while something is in flight on it.
    pub fn traffic<'a>(
        &self,
        containers: impl IntoIterator<Item = &'a ContainerId>,
    ) -> BTreeMap<ContainerId, Traffic> {
        let kept = &self.writer.lock().kept;
        containers
            .into_iter()
            .filter_map(|id| {
                let entry = kept.get(id)?;
                let traffic = Traffic {
                    in_flight: entry.endpoint.in_flight(),
                    draining_since: entry.draining_since,
                    busy_elsewhere: false,
                };
                Some((id.clone(), traffic))
            })
            .collect()
    }

    /// How to ask whether a container has its address still. The first one given counts.
    pub fn check_with(&self, check: Arc<Check>) {
        let _ = self.doubt.check.set(check);
    }

    /// Whether the engine chooses the agents' addresses, so that one that came free is given again at once.
    pub fn set_adopted(&self, adopted: bool) {
        self.doubt.adopted.store(adopted, Ordering::Release);
    }

    /// Something happened to a container or the network: who has which address is in doubt.
    pub fn unsettle(&self) {
        self.doubt.events.fetch_add(1, Ordering::AcqRel);
    }

    /// A container's process ended, or it left the network: its idle connections are of no use.
    pub fn let_go(&self, container: &ContainerId) {
        if let Some(kept) = self.writer.lock().kept.get(container) {
            kept.endpoint.let_go();
        }
    }

    /// Sets which containers of an agent another server drains: from now on they get nothing new here. One that is named no
    /// longer is again what the next publication says.
    pub fn order(&self, name: &AgentName, containers: BTreeSet<ContainerId>, now: Timestamp) {
        let mut writer = self.writer.lock();
        let Writer { kept, ordered, .. } = &mut *writer;
        if containers.is_empty() {
            ordered.remove(name);
            return;
        }
        let old = self.table.load();
        if let Some(before) = old.routes.get(name) {
            let mut route = Route::clone(before);
            let drains = |endpoint: &Endpoint| containers.contains(&endpoint.container);
            for (endpoint, state) in &mut route.endpoints {
                if drains(endpoint) && *state != EndpointState::Draining {
                    *state = EndpointState::Draining;
                    endpoint.set_open(false);
                    if let Some(entry) = kept.get_mut(&endpoint.container) {
                        entry.draining_since = Some(now);
                    }
                }
            }
            if !same(before, &route) {
                let mut routes = old.routes.clone();
                routes.insert(name.clone(), Arc::new(route));
                self.swap(&old, routes);
            }
        }
        ordered.insert(name.clone(), containers);
    }

    /// Agents that are known by name alone: nobody has looked at their containers yet.
    pub fn announced(&self) -> Vec<AgentName> {
        self.writer.lock().announced.iter().cloned().collect()
    }

    /// What is in flight on a container that got nothing new since `before`; `None` when it may have.
    pub fn left(&self, container: &ContainerId, before: Timestamp) -> Option<u64> {
        let kept = &self.writer.lock().kept;
        let Some(entry) = kept.get(container) else {
            return Some(0);
        };
        let out = entry.endpoint.retired() || entry.draining_since.is_some_and(|at| at <= before);
        out.then(|| entry.endpoint.in_flight())
    }

    /// When the latest of the drains that go on here began.
    pub fn latest_drain(&self) -> Option<Timestamp> {
        let kept = &self.writer.lock().kept;
        let drains = kept.values().filter(|entry| !entry.endpoint.retired());
        drains.filter_map(|entry| entry.draining_since).max()
    }

    fn fresh(&self, name: &AgentName, wanted: &PublishedEndpoint) -> Kept {
        let certainty = Certainty::new(name.clone(), Arc::clone(&self.doubt));
        let container = wanted.container.clone();
        Kept {
            endpoint: Arc::new(Endpoint::within(container, wanted.address, certainty)),
            draining_since: None,
        }
    }

    fn swap(&self, old: &Table, routes: Routes) {
        let version = old.version + 1;
        self.table.store(Arc::new(Table { routes, version }));
        self.version.send_replace(version);
    }
}

impl Writer {
    /// Takes these out of use, and forgets every one that is out of use and has nothing in flight.
    fn retire(&mut self, gone: impl IntoIterator<Item = ContainerId>) {
        for id in gone {
            if let Some(entry) = self.kept.get(&id) {
                entry.endpoint.set_retired(true);
                self.retired.insert(id);
            }
        }
        let kept = &mut self.kept;
        self.retired.retain(|id| {
            let busy = kept
                .get(id)
                .is_some_and(|entry| entry.endpoint.in_flight() > 0);
            if !busy {
                kept.remove(id);
            }
            busy
        });
    }
}

/// Those that were kept, while it is the same life of the agent.
fn figures(before: Option<&Arc<Route>>, uid: &Uid) -> Arc<AgentFigures> {
    let same = before.filter(|before| before.uid == *uid);
    same.map_or_else(Arc::default, |before| Arc::clone(&before.figures))
}

fn same(a: &Route, b: &Route) -> bool {
    a.uid == b.uid
        && a.explanation == b.explanation
        && a.starting == b.starting
        && a.proxy == b.proxy
        && a.persistence == b.persistence
        && a.endpoints.len() == b.endpoints.len()
        && a.endpoints
            .iter()
            .zip(&b.endpoints)
            .all(|(a, b)| a.1 == b.1 && Arc::ptr_eq(&a.0, &b.0))
}

#[cfg(test)]
#[path = "endpoints_tests.rs"]
mod tests;
