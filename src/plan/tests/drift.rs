//! What somebody else did to a container is mended.

use std::net::IpAddr;

use super::fixture::*;
use crate::observed::*;
use crate::plan::EndpointState;

fn settled() -> Scene {
    Scene::of("{}").ready(0, 1).settled()
}

#[test]
fn limits_go_back_to_the_specs() {
    let scene = settled().but("c0-1", |container| container.limits.memory = 5);
    assert_eq!(scene.does(), ["limits c0-1"]);
    let set = Scene::of("{resources: {cpu: 500m, memory: 1Mi, pids: 9}}")
        .ready(0, 1)
        .but("c0-1", |container| {
            container.limits = Limits {
                nano_cpus: 500_000_000,
                memory: 1 << 20,
                pids: 9,
            };
        });
    assert_eq!(set.does(), nothing());
}

#[test]
fn a_disconnected_container_is_put_back_under_its_address() {
    let scene = settled().but("c0-1", |container| container.attachment = None);
    assert_eq!(scene.does(), ["connect c0-1 10.0.0.3"]);
    assert_eq!(scene.endpoint("c0-1"), EndpointState::Starting);
    let taken = scene.clone().change(|scene| {
        let network = scene.observed.network.as_mut().unwrap();
        let taken = ("other".to_owned(), Some(ip(0, 1)));
        network.members = std::sync::Arc::new([taken].into());
    });
    assert_eq!(taken.does(), ["connect c0-1 fresh"]);
    let not_ours =
        scene.change(|scene| scene.observed.network.as_mut().unwrap().addresses_owned = false);
    assert_eq!(not_ours.does(), ["connect c0-1"]);
}

#[test]
fn a_network_made_anew_is_joined() {
    let scene = settled().change(|scene| {
        let network = scene.observed.network.as_mut().unwrap();
        network.id = NetworkId("net2".to_owned());
        network.subnet = Some("10.9.0.0/20".parse().unwrap());
    });
    assert_eq!(scene.does(), ["disconnect c0-1 net1", "connect c0-1 fresh"]);
    let ended = scene.exited("c0-1", 1, 0);
    assert_eq!(ended.does(), ["connect c0-1 fresh", "start c0-1"]);
}

#[test]
fn a_lost_alias_comes_back_when_another_instance_answers() {
    let two = Scene::of("replicas: 2").ready(0, 1).ready(1, 1);
    let bare = |container: &mut Container| container.attachment.as_mut().unwrap().aliases.clear();
    let scene = two.but("c1-1", bare);
    assert_eq!(
        scene.does(),
        ["disconnect c1-1 net1", "connect c1-1 10.0.1.3"]
    );
    assert_eq!(scene.endpoint("c1-1"), EndpointState::Starting);
    let busy = scene.clone().traffic("c1-1", 1, None);
    assert_eq!(busy.does(), nothing());
    let one = settled().but("c0-1", |container| {
        container
            .attachment
            .as_mut()
            .unwrap()
            .aliases
            .remove("users-0-1");
    });
    assert_eq!(
        one.does(),
        nothing(),
        "a lone one that is reached by its agent's name is left"
    );
}

#[test]
fn law_5_one_has_departed_only_when_it_surely_has_no_address() {
    use ContainerState::{Created, Dead, Exited, Paused, Removing, Restarting, Running, Unknown};
    let off = |container: &mut Container| container.attachment = None;
    let cleared = |container: &mut Container| container.attachment.as_mut().unwrap().ip = None;
    let elsewhere = |container: &mut Container| {
        container.attachment.as_mut().unwrap().network = NetworkId("net2".to_owned());
    };
    type Change = fn(&mut Container);
    let ways: [(&str, Change, &[ContainerState]); 4] = [
        ("attached", |_| {}, &[]),
        (
            "off the network",
            off,
            &[Created, Running, Paused, Restarting, Exited, Removing, Dead],
        ),
        // Of one that runs the engine contradicts itself.
        (
            "without an address on it",
            cleared,
            &[Created, Restarting, Exited, Removing, Dead],
        ),
        ("on another network", elsewhere, &[]),
    ];
    for (way, change, departed) in ways {
        for state in [
            Created, Running, Paused, Restarting, Exited, Removing, Dead, Unknown,
        ] {
            let scene = settled().but("c0-1", |container| {
                container.state = state;
                change(container);
            });
            let plan = scene.plan();
            let expected = departed.contains(&state);
            assert_eq!(plan.endpoints[0].departed, expected, "{state:?}, {way}");
        }
    }
}

#[test]
fn the_address_is_the_one_and_the_port_is_its_own() {
    let scene = settled().but("c0-1", |container| container.port = Some(9));
    let address = scene.plan().endpoints[0].address.unwrap();
    assert_eq!((address.ip(), address.port()), (IpAddr::V4(ip(0, 1)), 9));
    let untold = settled().but("c0-1", |container| container.port = None);
    assert_eq!(untold.plan().endpoints[0].address.unwrap().port(), 8000);
}

#[test]
fn one_without_an_address_is_connected_anew_once() {
    let scene = settled().but("c0-1", |container| {
        let attachment = container.attachment.as_mut().unwrap();
        attachment.ip = None;
        attachment.aliases.clear();
    });
    assert_eq!(
        scene.does(),
        ["disconnect c0-1 net1", "connect c0-1 10.0.0.3"]
    );
    let still = settled().but("c0-1", |container| {
        container.attachment.as_mut().unwrap().ip = None;
    });
    assert_eq!(still.does(), nothing());
    assert!(still.why_not_ready().1.contains("no address"));
}
