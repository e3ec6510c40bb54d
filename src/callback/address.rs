//! Which addresses may be called. Pure.
//!
//! By IANA's registries of special-purpose addresses (RFC 6890, with what was added to them): whatever is not reachable from
//! everywhere is refused, in each form that an IPv4 address can take within an IPv6 one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// What an operator's own configuration says, beside what is never called.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Called although it would be refused (`--callback-allow`).
    pub allowed: Vec<IpNet>,
}

impl Rules {
    /// Whether this address may be called, which is within none of these networks; else why not.
    ///
    /// # Errors
    /// What kind of address it is.
    pub fn check(&self, address: IpAddr, networks: &[IpNet]) -> Result<(), &'static str> {
        let plain = address.to_canonical();
        let within = |nets: &[IpNet]| {
            nets.iter()
                .any(|net| net.contains(&plain) || net.contains(&address))
        };
        if within(&self.allowed) {
            return Ok(());
        }
        let inner = v4_within(address);
        let special = match (address, inner) {
            (IpAddr::V4(v4), _) | (IpAddr::V6(_), Some(v4)) => special_v4(v4),
            (IpAddr::V6(v6), None) => special_v6(v6),
        };
        if let Some(kind) = special {
            return Err(kind);
        }
        let inner_within =
            inner.is_some_and(|v4| networks.iter().any(|net| net.contains(&IpAddr::V4(v4))));
        match within(networks) || inner_within {
            true => Err("one of a network of containers"),
            false => Ok(()),
        }
    }
}

/// The IPv4 address within an IPv6 one: mapped and compatible (RFC 4291 §2.5.5), NAT64 (RFC 6052), 6to4 (RFC 3056).
fn v4_within(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(v6) = address else {
        return None;
    };
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let of = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match [a, b, c, d, e, f] {
        [0, 0, 0, 0, 0, 0xffff] | [0x64, 0xff9b, 0, 0, 0, 0] => Some(of(g, h)),
        [0, 0, 0, 0, 0, 0] if !v6.is_unspecified() && !v6.is_loopback() => Some(of(g, h)),
        [0x2002, high, low, ..] => Some(of(high, low)),
        _ => None,
    }
}

fn special_v4(v4: Ipv4Addr) -> Option<&'static str> {
    let [a, b, c, _] = v4.octets();
    Some(match (a, b, c) {
        (0, ..) => "an unspecified one",
        (127, ..) => "a loopback one",
        (10, ..) | (172, 16..=31, _) | (192, 168, _) => "a private one",
        (169, 254, _) => "a link-local one",
        (100, 64..=127, _) => "one of a carrier's NAT",
        (224..=239, ..) => "a multicast one",
        (240..=255, ..)
        | (192, 0, 0 | 2)
        | (192, 88, 99)
        | (198, 18 | 19, _)
        | (198, 51, 100)
        | (203, 0, 113) => "a reserved one",
        _ => return None,
    })
}

fn special_v6(v6: Ipv6Addr) -> Option<&'static str> {
    let [a, b, c, ..] = v6.segments();
    Some(match (a, b, c) {
        _ if v6.is_unspecified() => "an unspecified one",
        _ if v6.is_loopback() => "a loopback one",
        (0xfc00..=0xfdff, ..) => "a private one",
        (0xfe80..=0xfebf, ..) => "a link-local one",
        (0xfec0..=0xfeff, ..) => "a private one",
        (0xff00..=0xffff, ..) => "a multicast one",
        (0x64, 0xff9b, 1) => "a private one",
        // 2001::/23 are protocols' own (Teredo, ORCHID and others), 2001:db8::/32 and 3fff::/20 are for documents.
        (0x2001, 0..=0x1ff | 0xdb8, _) | (0x3fff, 0..=0xfff, _) => "a reserved one",
        (0x2000..=0x3fff, ..) => return None,
        _ => "a reserved one",
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn law_7_no_address_but_a_public_one_is_called() {
        let bridge = [
            "198.60.0.0/24".parse().unwrap(),
            "2600:1::/64".parse().unwrap(),
        ];
        let rules = Rules::default();
        let kinds = [
            ("unspecified", "0.0.0.0 0.1.2.3 :: ::0.0.0.0"),
            (
                "loopback",
                "127.0.0.1 127.9.9.9 ::1 ::ffff:127.0.0.1 ::127.0.0.1 64:ff9b::7f00:1 2002:7f00:1::",
            ),
            (
                "private",
                "10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 fc00::1 fdff::1 fec0::1 ::ffff:10.0.0.1 64:ff9b::10.0.0.1 2002:c0a8:101::1 64:ff9b:1::1",
            ),
            (
                "link-local",
                "169.254.169.254 fe80::1 febf::1 ::ffff:169.254.169.254 64:ff9b::a9fe:a9fe",
            ),
            ("carrier", "100.64.0.1 100.127.255.255 ::ffff:100.64.0.1"),
            (
                "multicast",
                "224.0.0.1 239.255.255.255 ff02::1 ::ffff:224.0.0.1",
            ),
            (
                "reserved",
                "255.255.255.255 240.0.0.1 192.0.0.8 192.0.2.1 198.18.0.1 198.19.0.1 198.51.100.1 203.0.113.9 192.88.99.1 2001::1 2001:db8::1 3fff::1 100::1 5f00::1 4000::1 ::ffff:0:8.8.8.8",
            ),
            (
                "containers",
                "198.60.0.7 2600:1::7 ::ffff:198.60.0.7 64:ff9b::198.60.0.7",
            ),
        ];
        for (kind, addresses) in kinds {
            for text in addresses.split(' ') {
                let why = rules.check(text.parse().unwrap(), &bridge).unwrap_err();
                assert!(why.contains(kind), "{text}: {why}");
            }
        }
        let public = "1.1.1.1 172.15.0.1 172.32.0.1 100.63.0.1 100.128.0.1 192.1.0.1 198.60.1.1 2606:4700::1111 ::ffff:1.1.1.1 64:ff9b::1.1.1.1 2001:4860::8888";
        for text in public.split(' ') {
            assert_eq!(
                rules.check(text.parse().unwrap(), &bridge),
                Ok(()),
                "{text}"
            );
        }
    }

    #[test]
    fn what_an_operator_allows_is_called_and_nothing_beside_it() {
        let rules = Rules {
            allowed: vec![
                "127.0.0.0/8".parse().unwrap(),
                "10.1.0.0/16".parse().unwrap(),
            ],
        };
        let check = |text: &str| rules.check(text.parse().unwrap(), &[]).is_ok();
        assert!(check("127.0.0.1") && check("10.1.2.3") && check("::ffff:10.1.2.3"));
        assert!(!check("10.2.0.1") && !check("::1") && !check("192.168.0.1"));
    }

    proptest::proptest! {
        #[test]
        fn law_7_no_form_of_a_refused_address_is_called(bits: u32) {
            let v4 = Ipv4Addr::from(bits);
            let rules = Rules::default();
            let plain = rules.check(IpAddr::V4(v4), &[]);
            let [a, b, c, d] = v4.octets();
            let pair = |high: u8, low: u8| (u16::from(high) << 8) | u16::from(low);
            let forms = [
                v4.to_ipv6_mapped(),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, pair(a, b), pair(c, d)),
                Ipv6Addr::new(0x2002, pair(a, b), pair(c, d), 0, 0, 0, 0, 1),
            ];
            for form in forms {
                proptest::prop_assert_eq!(rules.check(IpAddr::V6(form), &[]), plain, "{}", form);
            }
        }
    }
}
