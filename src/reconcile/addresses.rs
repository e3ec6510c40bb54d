//! Which addresses are free on a network of ours: chosen by us, outside the engine's own range, and left to rest for a
//! while after their container is gone (law 4). Pure but for the time it is told.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use jiff::{SignedDuration, Timestamp};

use crate::observed::{Container, Network};

/// How long an address rests after its container is gone.
const COOL_DOWN: SignedDuration = SignedDuration::from_secs(60);
/// How long an address that was given may go without a container that has it.
const GRACE: SignedDuration = SignedDuration::from_secs(30);

/// Addresses in use, given and resting.
#[derive(Debug, Default)]
pub(super) struct AddressBook {
    /// Who has them: containers by id, and what else is on the network.
    used: BTreeMap<Ipv4Addr, String>,
    given: BTreeMap<Ipv4Addr, Last>,
    resting: BTreeMap<Ipv4Addr, Last>,
}

/// Who had or gets an address, as far as that is known, and since when.
#[derive(Clone, Debug)]
struct Last {
    at: Timestamp,
    container: Option<String>,
}

impl AddressBook {
    /// Learns what is in use from a full list of our containers and the network's members.
    pub(super) fn refresh(
        &mut self,
        containers: &[Container],
        network: Option<&Network>,
        now: Timestamp,
    ) {
        let asked = containers
            .iter()
            .filter_map(|container| Some((&container.id.0, container.attachment.as_ref()?)))
            .flat_map(|(id, attachment)| {
                let present = attachment.ip.and_then(|ip| match ip {
                    std::net::IpAddr::V4(ip) => Some(ip),
                    std::net::IpAddr::V6(_) => None,
                });
                [(attachment.asked_ip, id), (present, id)]
            });
        let members = network
            .into_iter()
            .flat_map(|network| network.members.iter().map(|(id, address)| (*address, id)));
        // Who has an address comes after who would like it back.
        let all = asked.chain(members);
        let used: BTreeMap<Ipv4Addr, String> = all
            .filter_map(|(address, id)| Some((address?, id.clone())))
            .collect();
        for (address, container) in &self.used {
            if !used.contains_key(address) {
                let container = Some(container.clone());
                self.resting.insert(*address, Last { at: now, container });
            }
        }
        self.given.retain(|address, given| {
            let used = used.contains_key(address);
            let forgotten = now.duration_since(given.at) > GRACE && !used;
            if forgotten {
                let container = given.container.clone();
                self.resting.insert(*address, Last { at: now, container });
            }
            !forgotten && !used
        });
        self.resting.retain(|address, last| {
            !used.contains_key(address) && now.duration_since(last.at) < COOL_DOWN
        });
        self.used = used;
    }

    /// Takes a free address of a network, looking from `cursor` on; `None` when the network is not ours to choose on,
    /// or full.
    pub(super) fn take(
        &mut self,
        network: &Network,
        cursor: u64,
        now: Timestamp,
    ) -> Option<Ipv4Addr> {
        if !network.addresses_owned {
            return None;
        }
        let subnet = network.subnet?;
        let first = u32::from(subnet.network()).checked_add(2)?;
        let last = u32::from(subnet.broadcast()).checked_sub(1)?;
        let span = u64::from(last.checked_sub(first)?) + 1;
        let free = (0..span)
            .filter_map(|step| u32::try_from((cursor % span + step) % span).ok())
            .filter_map(|offset| first.checked_add(offset))
            .map(Ipv4Addr::from)
            .filter(|address| {
                !network
                    .strangers
                    .is_some_and(|range| range.contains(address))
            })
            .filter(|address| network.gateway != Some(*address))
            .find(|address| {
                !self.used.contains_key(address)
                    && !self.given.contains_key(address)
                    && !self.rests(address, now)
            })?;
        let given = Last {
            at: now,
            container: None,
        };
        self.given.insert(free, given);
        Some(free)
    }

    /// Takes a certain address for a container; whether it may have it: nobody else has it, and nobody else had it until a
    /// moment ago.
    pub(super) fn claim(&mut self, address: Ipv4Addr, container: &str, now: Timestamp) -> bool {
        let anothers = |last: &Last| last.container.as_deref() != Some(container);
        if self.used.get(&address).is_some_and(|id| id != container)
            || self.given.get(&address).is_some_and(anothers)
            || (self.rests(&address, now) && self.resting.get(&address).is_some_and(anothers))
        {
            return false;
        }
        let container = Some(container.to_owned());
        self.given.insert(address, Last { at: now, container });
        true
    }

    fn rests(&self, address: &Ipv4Addr, now: Timestamp) -> bool {
        let last = self.resting.get(address);
        last.is_some_and(|last| now.duration_since(last.at) < COOL_DOWN)
    }

    /// An address whose container was removed by us: it rests from now on.
    pub(super) fn release(&mut self, address: Ipv4Addr, now: Timestamp) {
        self.used.remove(&address);
        self.given.remove(&address);
        let last = Last {
            at: now,
            container: None,
        };
        self.resting.insert(address, last);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use super::*;
    use crate::observed::NetworkId;

    fn network() -> Network {
        Network {
            id: NetworkId("n".into()),
            name: "net".into(),
            ours: true,
            subnet: Some("10.9.0.0/20".parse().unwrap()),
            gateway: Some("10.9.0.1".parse().unwrap()),
            addresses_owned: true,
            strangers: Some("10.9.15.0/24".parse().unwrap()),
            members: Default::default(),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    #[test]
    fn law_4_no_address_is_given_twice_nor_one_of_the_strangers() {
        let mut book = AddressBook::default();
        let mut given = BTreeSet::new();
        while let Some(address) = book.take(&network(), 77, at(0)) {
            assert!(given.insert(address), "{address} was given twice");
            assert!(!network().strangers.unwrap().contains(&address));
            assert_ne!(Some(address), network().gateway);
        }
        assert_eq!(
            given.len(),
            15 * 256 - 2,
            "all but the network's own, the gateway's and the strangers'"
        );
    }

    #[test]
    fn law_4_an_address_rests_after_its_container_is_gone() {
        let mut book = AddressBook::default();
        let address = book.take(&network(), 0, at(0)).unwrap();
        book.release(address, at(10));
        assert_ne!(book.take(&network(), 0, at(60)).unwrap(), address);
        assert_eq!(book.take(&network(), 0, at(71)).unwrap(), address);
    }

    #[test]
    fn law_4_a_certain_address_is_for_who_had_it_last_alone() {
        let mut book = AddressBook::default();
        let address = book.take(&network(), 0, at(0)).unwrap();
        assert!(!book.claim(address, "b", at(1)), "it was given to another");
        let mut held = network();
        std::sync::Arc::make_mut(&mut held.members).insert("a".into(), Some(address));
        book.refresh(&[], Some(&held), at(2));
        assert!(!book.claim(address, "b", at(3)), "another has it");
        assert!(book.claim(address, "a", at(3)));
        book.refresh(&[], Some(&held), at(4));
        book.refresh(&[], Some(&network()), at(5));
        assert!(!book.claim(address, "b", at(30)), "another had it");
        assert!(book.claim(address, "a", at(30)), "it takes its own again");
        book.refresh(&[], Some(&network()), at(90));
        book.refresh(&[], Some(&network()), at(200));
        assert!(book.claim(address, "b", at(200)), "it has rested");
    }

    #[test]
    fn an_address_without_a_container_comes_back_after_a_while() {
        let mut book = AddressBook::default();
        let address = book.take(&network(), 0, at(0)).unwrap();
        book.refresh(&[], Some(&network()), at(31));
        book.refresh(&[], Some(&network()), at(100));
        assert_eq!(book.take(&network(), 0, at(100)).unwrap(), address);
    }

    #[test]
    fn none_is_chosen_on_a_network_that_is_not_ours_to_choose_on() {
        let adopted = Network {
            addresses_owned: false,
            ..network()
        };
        assert_eq!(AddressBook::default().take(&adopted, 0, at(0)), None);
    }
}
