//! The guard's table as text for `nft`.

use std::net::Ipv4Addr;

use crate::agent::ClusterId;

/// An instance's port on the bridge, and what may come in there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Port {
    pub(super) interface: String,
    pub(super) mac: String,
    pub(super) address: Ipv4Addr,
}

/// The table's name: a cluster's own.
pub(super) fn name(cluster: &ClusterId) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let cluster: String = cluster.as_str().chars().map(plain).take(64).collect();
    format!("agentainer_{cluster}")
}

/// The table whole. It replaces the one that is there in one step.
pub(super) fn rules<'a>(table: &str, ports: impl Iterator<Item = &'a Port> + Clone) -> String {
    let set = |name: &str, kind: &str, elements: Vec<String>| match elements.is_empty() {
        true => format!("  set {name} {{ type {kind}; }}\n"),
        false => {
            let elements = elements.join(", ");
            format!("  set {name} {{ type {kind}; elements = {{ {elements} }}; }}\n")
        }
    };
    let each = |word: fn(&Port) -> String| ports.clone().map(word).collect::<Vec<_>>();
    let names = each(|port| format!("\"{}\"", port.interface));
    let macs = each(|port| format!("\"{}\" . {}", port.interface, port.mac));
    let addresses = each(|port| {
        let Port {
            interface,
            mac,
            address,
        } = port;
        format!("\"{interface}\" . {mac} . {address}")
    });
    format!(
        "table bridge {table}\ndelete table bridge {table}\ntable bridge {table} {{\n{}{}{}  chain sent {{\n    \
         type filter hook prerouting priority -300; policy accept;\n    \
         iifname @ports iifname . ether saddr != @macs drop\n    \
         iifname @ports iifname . ether saddr . ip saddr != @addresses drop\n    \
         iifname @ports iifname . ether saddr . arp saddr ip != @addresses drop\n  }}\n}}\n",
        set("ports", "ifname", names),
        set("macs", "ifname . ether_addr", macs),
        set("addresses", "ifname . ether_addr . ipv4_addr", addresses),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_each_port_with_what_may_come_in_there() {
        let name = name(&ClusterId("1f-2e".to_owned()));
        assert_eq!(name, "agentainer_1f_2e");
        let port = Port {
            interface: "veth1".to_owned(),
            mac: "02:42:0a:00:00:02".to_owned(),
            address: Ipv4Addr::new(10, 0, 0, 2),
        };
        let text = rules(&name, [&port].into_iter());
        for line in [
            "delete table bridge agentainer_1f_2e",
            "elements = { \"veth1\" . 02:42:0a:00:00:02 . 10.0.0.2 };",
            "iifname @ports iifname . ether saddr != @macs drop",
        ] {
            assert!(text.contains(line), "{text}");
        }
        assert!(!rules(&name, std::iter::empty()).contains("elements"));
    }
}
