//! The fake engine's networks, and the places of containers on them. Every step is atomic.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use agentainer::agent::ClusterId;
use agentainer::observed::{ContainerId, Network, NetworkId};
use agentainer::runtime::docker::subnet;
use agentainer::runtime::{Result, RuntimeClass, RuntimeError, RuntimeSettings};

use super::fake_containers::FakeContainer;
use super::fake_engine::{State, conflict, error, missing};
use super::runs;

/// A container's place on a network, which it knows by name, as Docker does.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) name: String,
    pub(super) id: NetworkId,
    pub(super) ip: Option<Ipv4Addr>,
    pub(super) asked: Option<Ipv4Addr>,
    pub(super) aliases: BTreeSet<String>,
}

#[derive(Clone)]
pub(super) struct FakeNetwork {
    pub(super) name: String,
    pub(super) cluster: Option<ClusterId>,
    pub(super) subnet: ipnet::Ipv4Net,
    pub(super) owned: bool,
}

impl State {
    /// Gives a place its network and address.
    pub(super) fn enter(&self, call: &'static str, mut place: Place) -> Result<Place> {
        // The one it was made on, else the present one of that name.
        let found = self.networks.get_key_value(&place.id).or_else(|| {
            let mut all = self.networks.iter();
            all.find(|(_, network)| network.name == place.name)
        });
        let (id, network) =
            found.ok_or_else(|| conflict(call, format!("network {} not found", place.name)))?;
        let gateway = subnet::gateway(network.subnet);
        let taken = |ip: &Ipv4Addr| {
            let holds = |other: &&FakeContainer| {
                let there = other.place.as_ref();
                there.is_some_and(|there| there.id == *id && there.ip == Some(*ip))
            };
            Some(*ip) == gateway || self.containers.values().find(holds).is_some()
        };
        let ip = match place.asked {
            Some(_) if !network.owned => {
                let message =
                    "addresses can be chosen only on a network with a subnet of its own".to_owned();
                return Err(RuntimeError::Refused { call, message });
            }
            Some(asked) if taken(&asked) => return Err(conflict(call, "Address already in use")),
            Some(asked) => asked,
            None => {
                let range = subnet::strangers(network.subnet).unwrap_or(network.subnet);
                let free = range.hosts().find(|ip| !taken(ip));
                free.ok_or_else(|| error(RuntimeClass::Transient, call))?
            }
        };
        place.id = id.clone();
        place.ip = Some(ip);
        Ok(place)
    }

    pub(super) fn connect(
        &mut self,
        id: &ContainerId,
        network: &NetworkId,
        aliases: &BTreeSet<String>,
        address: Option<Ipv4Addr>,
    ) -> Result<()> {
        let container = self.get("connect", id)?;
        let joined = self
            .networks
            .get(network)
            .ok_or_else(|| missing("connect", &network.0))?;
        if container.place.is_some() && runs(container.state) {
            return Err(conflict("connect", "it is on the network already"));
        }
        let mut place = Place {
            name: joined.name.clone(),
            id: network.clone(),
            ip: None,
            asked: address,
            aliases: aliases.clone(),
        };
        let name = place.name.clone();
        if runs(container.state) {
            place = self.enter("connect", place)?;
        }
        self.get_mut("connect", id)?.place = Some(place);
        self.tell_network(&name, "connect", Some(id));
        Ok(())
    }

    pub(super) fn disconnect(&mut self, id: &ContainerId, network: &NetworkId) {
        let Some(container) = self.containers.get_mut(id) else {
            return;
        };
        if container
            .place
            .as_ref()
            .is_some_and(|place| place.id == *network)
        {
            let name = container
                .place
                .take()
                .map(|place| place.name)
                .unwrap_or_default();
            self.tell_network(&name, "disconnect", Some(id));
        }
    }

    pub(super) fn network(&self, settings: &RuntimeSettings) -> Option<Network> {
        let of_name = |(_, network): &(&NetworkId, &FakeNetwork)| network.name == settings.network;
        let ours = |network: &FakeNetwork| network.cluster.as_ref() == Some(&settings.cluster);
        let (id, network) = self
            .networks
            .iter()
            .filter(of_name)
            .min_by_key(|(id, network)| (!ours(network), (*id).clone()))?;
        let members = self.containers.values().filter_map(|container| {
            let place = container.place.as_ref()?;
            let counts = place.ip.is_some() || !ours(network);
            (place.id == *id && counts).then(|| (container.id.0.clone(), place.ip))
        });
        Some(Network {
            id: id.clone(),
            name: network.name.clone(),
            ours: ours(network),
            subnet: Some(network.subnet),
            gateway: subnet::gateway(network.subnet),
            addresses_owned: network.owned,
            strangers: network
                .cluster
                .as_ref()
                .and_then(|_| subnet::strangers(network.subnet)),
            members: Arc::new(members.collect()),
        })
    }

    pub(super) fn create_network(
        &mut self,
        settings: &RuntimeSettings,
        subnet: ipnet::Ipv4Net,
    ) -> Result<Network> {
        let call = "create_network";
        if self
            .networks
            .values()
            .any(|other| other.name == settings.network)
        {
            return Err(conflict(call, "a network of this name exists"));
        }
        let overlaps =
            |other: &FakeNetwork| other.subnet.contains(&subnet) || subnet.contains(&other.subnet);
        if self.networks.values().any(overlaps) {
            return Err(conflict(
                call,
                "Pool overlaps with other one on this address space",
            ));
        }
        let id = NetworkId(self.fresh());
        let made = FakeNetwork {
            name: settings.network.clone(),
            cluster: Some(settings.cluster.clone()),
            subnet: subnet.trunc(),
            owned: true,
        };
        self.networks.insert(id, made);
        self.tell_network(&settings.network, "create", None);
        self.network(settings)
            .ok_or_else(|| missing(call, &settings.network))
    }

    pub(super) fn remove_network(&mut self, id: &NetworkId) -> Result<()> {
        let used = |container: &FakeContainer| {
            let place = container.place.as_ref();
            place.is_some_and(|place| place.id == *id && place.ip.is_some())
        };
        if self.containers.values().any(used) {
            return Err(conflict(
                "remove_network",
                "the network has active endpoints",
            ));
        }
        if let Some(network) = self.networks.remove(id) {
            self.tell_network(&network.name, "destroy", None);
        }
        Ok(())
    }
}
