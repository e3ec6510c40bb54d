//! This machine's own addresses, and the networks of its bridges: a published port of a container, or a service that listens on all
//! addresses, is reached by these though they may be public ones.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Whether an address is this machine's: only then can a socket have it.
pub(super) fn is_own(address: IpAddr) -> bool {
    UdpSocket::bind(SocketAddr::new(address, 0)).is_ok()
}

/// Networks that a bridge of this machine is on. None where the system does not tell.
pub(super) fn bridges() -> Vec<IpNet> {
    let is_bridge =
        |device: &str| std::path::Path::new(&format!("/sys/class/net/{device}/bridge")).exists();
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let v4 = read("/proc/net/route");
    let v6 = read("/proc/net/ipv6_route");
    v4.lines()
        .filter_map(route_v4)
        .chain(v6.lines().filter_map(route_v6))
        .filter(|(device, _)| is_bridge(device))
        .map(|(_, net)| net)
        .collect()
}

/// A line of `/proc/net/route`: device, destination and mask among others, in the machine's own order of bytes.
fn route_v4(line: &str) -> Option<(&str, IpNet)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let number = |at: usize| u32::from_str_radix(fields.get(at)?, 16).ok();
    let address = |at| number(at).map(|bits| Ipv4Addr::from(bits.to_ne_bytes()));
    let net = Ipv4Net::with_netmask(address(1)?, address(7)?).ok()?;
    let device = *fields.first()?;
    (net.prefix_len() > 0).then_some((device, net.into()))
}

/// A line of `/proc/net/ipv6_route`: destination and its length first, the device last.
fn route_v6(line: &str) -> Option<(&str, IpNet)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let bits = u128::from_str_radix(fields.first()?, 16).ok()?;
    let length = u8::from_str_radix(fields.get(1)?, 16).ok()?;
    let net = Ipv6Net::new(Ipv6Addr::from(bits), length).ok()?;
    let device = *fields.last()?;
    (length > 0).then_some((device, net.into()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn this_machine_knows_its_own_addresses() {
        assert!(is_own(Ipv4Addr::LOCALHOST.into()));
        assert!(!is_own("192.0.2.77".parse().unwrap()), "of documents alone");
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn routes_are_read() {
        let line = "docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0";
        let (device, net) = route_v4(line).unwrap();
        assert_eq!((device, net), ("docker0", "172.17.0.0/16".parse().unwrap()));
        let default = "eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0";
        assert_eq!(route_v4(default), None);
        assert_eq!(route_v4("Iface Destination Gateway"), None);
        let line = "fd000000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001  br-1";
        let (device, net) = route_v6(line).unwrap();
        assert_eq!((device, net), ("br-1", "fd00::/64".parse().unwrap()));
    }
}
