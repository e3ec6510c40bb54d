//! The agents' network: finding it, making it, putting containers on it and taking them off.
//!
//! Names of networks are not unique in Docker (moby #20648): it is found by name once, by id afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use bollard::models::{
    EndpointIpamConfig, EndpointSettings, NetworkConnectRequest, NetworkDisconnectRequest,
};
use http::Method;
use ipnet::Ipv4Net;
use serde_json::{Value, json};

use super::{CHANGE, DockerRuntime, error, filters, in_path, map, subnet};
use crate::keys::label;
use crate::observed::{ContainerId, Network, NetworkId};
use crate::runtime::{Result, RuntimeClass, RuntimeError};

impl DockerRuntime {
    /// Every network of our name, ours first, then the oldest first.
    async fn namesakes(&self) -> Result<Vec<Value>> {
        let name = self.settings.network.as_str();
        // The engine's filter matches parts of names too.
        let filters = filters(&BTreeMap::from([("name", vec![name.to_owned()])]));
        let listed = self
            .get("list networks", &format!("/networks?filters={filters}"))
            .await?;
        let mut found = map::list("list networks", listed)?;
        found.retain(|network| map::text(network, "/Name") == Some(name));
        found.sort_by_key(|network| {
            let created: Option<jiff::Timestamp> =
                map::text(network, "/Created").and_then(|moment| moment.parse().ok());
            (
                !self.is_ours(network),
                created,
                map::text(network, "/Id").map(str::to_owned),
            )
        });
        Ok(found)
    }

    fn is_ours(&self, network: &Value) -> bool {
        network
            .get("Labels")
            .and_then(|labels| labels.get(label::CLUSTER))
            .and_then(Value::as_str)
            == Some(self.settings.cluster.as_str())
    }

    /// The id of the agents' network.
    pub(super) async fn network_id(&self) -> Result<Option<NetworkId>> {
        let found = self.namesakes().await?;
        let id = found.first().and_then(|network| map::text(network, "/Id"));
        Ok(id.map(|id| NetworkId(id.to_owned())))
    }

    pub(super) async fn find_network(&self) -> Result<Option<Network>> {
        let Some(id) = self.network_id().await? else {
            return Ok(None);
        };
        match self.inspect_network(&id).await {
            Ok(inspect) => {
                let mut network = self.to_network(&inspect);
                if let Some(network) = network.as_mut().filter(|network| !network.ours) {
                    self.add_idle_members(network).await?;
                }
                Ok(network)
            }
            Err(RuntimeError::NotFound { .. }) => Ok(None),
            Err(cause) => Err(cause),
        }
    }

    /// Containers that do not run and would start on a network, which the engine does not count among its members.
    async fn add_idle_members(&self, network: &mut Network) -> Result<()> {
        let filters = filters(&BTreeMap::from([("network", vec![network.id.0.clone()])]));
        let path = format!("/containers/json?all=true&filters={filters}");
        let listed = self.get("list containers", &path).await?;
        for container in map::list("list containers", listed)? {
            if let Some(id) = map::text(&container, "/Id") {
                Arc::make_mut(&mut network.members)
                    .entry(id.to_owned())
                    .or_default();
            }
        }
        Ok(())
    }

    pub(super) async fn inspect_network(&self, id: &NetworkId) -> Result<Value> {
        let id = in_path("inspect network", &id.0)?;
        self.get("inspect network", &format!("/networks/{id}"))
            .await
    }

    fn to_network(&self, inspect: &Value) -> Option<Network> {
        to_network(inspect, self.is_ours(inspect))
    }

    /// Makes the network. Two servers may do so at once: engines before API 1.44 check names without a lock, so the
    /// younger twin is taken away again.
    pub(super) async fn make_network(&self, subnet: Ipv4Net) -> Result<Network> {
        let (Some(gateway), Some(strangers)) = (subnet::gateway(subnet), subnet::strangers(subnet))
        else {
            return Err(error::refused(
                "create network",
                format!("the subnet {subnet} is too small: a /23 at least is needed"),
            ));
        };
        let body = json!({
            "Name": self.settings.network,
            "CheckDuplicate": true,
            "Driver": "bridge",
            "EnableIPv6": false,
            "Labels": {label::CLUSTER: self.settings.cluster.as_str()},
            "Options": {"com.docker.network.bridge.enable_icc": "true"},
            "IPAM": {"Driver": "default", "Config": [{
                "Subnet": subnet.trunc().to_string(),
                "IPRange": strangers.to_string(),
                "Gateway": gateway.to_string(),
            }]},
        });
        let create = self
            .transport
            .json(Method::POST, "/networks/create", Some(&body));
        let created = self.within("create network", CHANGE, create).await?;
        let id = NetworkId(map::text(&created, "/Id").unwrap_or_default().to_owned());
        if self.network_id().await?.is_some_and(|chosen| chosen != id) {
            self.drop_network(&id).await?;
        }
        self.find_network()
            .await?
            .ok_or_else(|| RuntimeError::NotFound {
                call: "create network",
                message: "it was removed as soon as it was made".to_owned(),
            })
    }

    pub(super) async fn drop_network(&self, id: &NetworkId) -> Result<()> {
        let remove = self
            .docker
            .remove_network(in_path("remove network", &id.0)?);
        match self.within("remove network", CHANGE, remove).await {
            Err(cause) if cause.class() == RuntimeClass::NotFound => Ok(()),
            other => other,
        }
    }

    pub(super) async fn attach(
        &self,
        id: &ContainerId,
        network: &NetworkId,
        aliases: &BTreeSet<String>,
        address: Option<Ipv4Addr>,
    ) -> Result<()> {
        // The engine says yes to a second place for one that does not run, and keeps the first.
        let inspect = self.inspect(&id.0).await?;
        let running = inspect.pointer("/State/Running").and_then(Value::as_bool);
        if running == Some(false) && map::attachment(&inspect, &self.settings.network).is_some() {
            self.detach(id, network).await?;
        }
        let body = NetworkConnectRequest {
            container: id.0.clone(),
            endpoint_config: Some(endpoint(aliases, address)),
        };
        let connect = self
            .docker
            .connect_network(in_path("connect", &network.0)?, body);
        self.within("connect", CHANGE, connect).await
    }

    pub(super) async fn detach(&self, id: &ContainerId, network: &NetworkId) -> Result<()> {
        let body = NetworkDisconnectRequest {
            container: id.0.clone(),
            force: Some(true),
        };
        let disconnect = self
            .docker
            .disconnect_network(in_path("disconnect", &network.0)?, body);
        match self.within("disconnect", CHANGE, disconnect).await {
            Err(RuntimeError::NotFound { .. }) => Ok(()),
            Err(cause) if cause.to_string().contains("is not connected to") => Ok(()),
            other => other,
        }
    }
}

/// A container's place on the network, as it is asked for.
pub(super) fn endpoint(aliases: &BTreeSet<String>, address: Option<Ipv4Addr>) -> EndpointSettings {
    EndpointSettings {
        aliases: Some(aliases.iter().cloned().collect()),
        ipam_config: address.map(|address| EndpointIpamConfig {
            ipv4_address: Some(address.to_string()),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// A network from its inspection; `None` when it has no id.
///
/// Chosen addresses are allowed by the engine only on a network whose subnet was given by its maker. It does not say
/// so, but shows the maker's words where there were any: without them it fills in a subnet *and* a gateway and no
/// range. So a network of ours, one with a range, or one with a subnet and no gateway is certain. A stranger's with
/// both and no range may be either, and is taken as not owned.
fn to_network(inspect: &Value, ours: bool) -> Option<Network> {
    let configs = inspect.pointer("/IPAM/Config").and_then(Value::as_array);
    let (config, subnet) = configs
        .into_iter()
        .flatten()
        .find_map(|config| {
            Some((
                config,
                map::text(config, "/Subnet")?.parse::<Ipv4Net>().ok()?,
            ))
        })
        .map_or((&Value::Null, None), |(config, subnet)| {
            (config, Some(subnet))
        });
    let told_gateway = map::text(config, "/Gateway")
        .and_then(|text| text.split('/').next())
        .and_then(|text| text.parse::<Ipv4Addr>().ok());
    let strangers = map::text(config, "/IPRange").and_then(|text| text.parse::<Ipv4Net>().ok());
    let members = inspect
        .get("Containers")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(id, member)| {
            let address = map::text(member, "/IPv4Address")
                .and_then(|text| text.split('/').next())
                .and_then(|text| text.parse::<Ipv4Addr>().ok());
            (id.clone(), address)
        })
        .collect();
    Some(Network {
        id: NetworkId(map::text(inspect, "/Id")?.to_owned()),
        name: map::text(inspect, "/Name").unwrap_or_default().to_owned(),
        ours,
        subnet,
        gateway: told_gateway.or_else(|| subnet::gateway(subnet?)),
        addresses_owned: subnet.is_some()
            && (ours || strangers.is_some() || told_gateway.is_none()),
        strangers,
        members: Arc::new(members),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn network(config: Value) -> Network {
        let inspect = json!({"Id": "n1", "Name": "agentainer-network", "IPAM": {"Config": config}});
        to_network(&inspect, false).unwrap()
    }

    #[test]
    fn addresses_are_owned_only_where_the_subnet_was_surely_given() {
        let by_default = network(json!([{"Subnet": "172.18.0.0/16", "Gateway": "172.18.0.1"}]));
        assert!(!by_default.addresses_owned);
        assert_eq!(by_default.gateway, Some(Ipv4Addr::new(172, 18, 0, 1)));
        let given = network(json!([{"Subnet": "10.1.0.0/20"}]));
        assert!(given.addresses_owned);
        assert_eq!(given.gateway, Some(Ipv4Addr::new(10, 1, 0, 1)));
        let ranged = network(json!([
            {"Subnet": "10.1.0.0/20", "Gateway": "10.1.0.1", "IPRange": "10.1.15.0/24"}
        ]));
        assert!(ranged.addresses_owned);
        assert!(!network(Value::Null).addresses_owned);
    }

    #[test]
    fn an_ipv6_subnet_before_the_ipv4_one_is_passed_over() {
        let both = network(json!([{"Subnet": "fd00::/64"}, {"Subnet": "10.2.0.0/20"}]));
        assert_eq!(both.subnet, Some("10.2.0.0/20".parse().unwrap()));
    }
}
