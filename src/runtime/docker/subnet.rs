//! Which subnet the agents' network gets, and how it is divided.
//!
//! Docker's own pools run out at about 31 networks and its choice allows no chosen addresses, so we give a /20. Pure
//! but for [`host_routes`]. Called by the networks' half of the adapter and by `reconcile`, which tries one candidate
//! after another while the engine answers that it overlaps.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// How large the agents' network is: 4094 addresses.
pub const PREFIX: u8 = 20;
/// How large its range for strangers is.
const STRANGERS: u8 = 24;

/// Private ranges (RFC 1918) that Docker's own pools and usual home and office networks leave alone, best first.
const CANDIDATES: [(Ipv4Addr, u8); 4] = [
    (Ipv4Addr::new(10, 213, 0, 0), 16),
    (Ipv4Addr::new(10, 214, 0, 0), 15),
    (Ipv4Addr::new(172, 30, 0, 0), 15),
    (Ipv4Addr::new(192, 168, 192, 0), 18),
];

/// Subnets of [`PREFIX`] that overlap none of `taken` (the host's routes, other networks' subnets), best first.
pub fn free_subnets(taken: &[Ipv4Net]) -> impl Iterator<Item = Ipv4Net> + '_ {
    CANDIDATES
        .iter()
        .filter_map(|(address, length)| Ipv4Net::new(*address, *length).ok())
        .filter_map(|pool| pool.subnets(PREFIX).ok())
        .flatten()
        .filter(|subnet| !taken.iter().any(|other| overlaps(*subnet, *other)))
}

fn overlaps(a: Ipv4Net, b: Ipv4Net) -> bool {
    // The default route is everywhere and no obstacle.
    b.prefix_len() > 0 && (a.contains(&b) || b.contains(&a))
}

/// The gateway of a subnet: its first address.
pub fn gateway(subnet: Ipv4Net) -> Option<Ipv4Addr> {
    subnet.hosts().next()
}

/// The engine's own range for strangers: the last /24. `None` when the subnet has no room beside it.
pub fn strangers(subnet: Ipv4Net) -> Option<Ipv4Net> {
    if subnet.prefix_len() >= STRANGERS {
        return None;
    }
    subnet.subnets(STRANGERS).ok()?.last()
}

/// Addresses that may be given to agents: within the subnet, not the gateway, not for strangers, not the broadcast.
pub fn for_agents(subnet: Ipv4Net, strangers: Option<Ipv4Net>) -> impl Iterator<Item = Ipv4Addr> {
    let gateway = gateway(subnet);
    subnet.hosts().filter(move |address| {
        Some(*address) != gateway && !strangers.is_some_and(|range| range.contains(address))
    })
}

/// The networks that this host has routes to, from `/proc/net/route`; empty where that cannot be read.
pub fn host_routes() -> Vec<Ipv4Net> {
    parse_routes(&std::fs::read_to_string("/proc/net/route").unwrap_or_default())
}

/// Reads the kernel's table: addresses in hexadecimal, in the machine's byte order (proc(5)).
fn parse_routes(table: &str) -> Vec<Ipv4Net> {
    let address = |text: Option<&str>| {
        let number = u32::from_str_radix(text?, 16).ok()?;
        Some(Ipv4Addr::from(number.to_ne_bytes()))
    };
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            let destination = address(fields.nth(1))?;
            let mask = address(fields.nth(5))?;
            Ipv4Net::with_netmask(destination, mask).ok()
        })
        .filter(|route| route.prefix_len() > 0)
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    #[test]
    fn a_free_subnet_overlaps_nothing_taken() {
        let taken = [
            net("10.213.0.0/19"),
            net("10.213.40.0/24"),
            net("0.0.0.0/0"),
        ];
        let first: Vec<_> = free_subnets(&taken).take(2).collect();
        assert_eq!(first, [net("10.213.48.0/20"), net("10.213.64.0/20")]);
        let all_of_ten = [net("10.0.0.0/8"), net("192.168.0.0/16")];
        assert_eq!(free_subnets(&all_of_ten).next(), Some(net("172.30.0.0/20")));
        assert!(free_subnets(&[]).count() > 50);
    }

    #[test]
    fn the_last_24_is_for_strangers_and_the_first_address_is_the_gateway() {
        let subnet = net("10.213.16.0/20");
        assert_eq!(gateway(subnet), Some(Ipv4Addr::new(10, 213, 16, 1)));
        assert_eq!(strangers(subnet), Some(net("10.213.31.0/24")));
        assert_eq!(strangers(net("10.0.0.0/24")), None);
        let ours: Vec<_> = for_agents(subnet, strangers(subnet)).collect();
        assert_eq!(ours.first(), Some(&Ipv4Addr::new(10, 213, 16, 2)));
        assert_eq!(ours.last(), Some(&Ipv4Addr::new(10, 213, 30, 255)));
    }

    #[test]
    fn the_kernels_routes_are_read() {
        let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
                     eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                     docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n\
                     broken line\n";
        assert_eq!(parse_routes(table), [net("172.17.0.0/16")]);
        assert!(parse_routes("").is_empty());
    }
}
