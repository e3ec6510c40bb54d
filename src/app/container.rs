//! Running in a container ourselves: which one we are.

use std::path::Path;

use crate::observed::ContainerId;

/// The container we run in, when we do and it has a network of its own. `/.dockerenv` proves nothing: a machine whose image was
/// made from a container's has it too.
pub(crate) fn own_container() -> Option<ContainerId> {
    if sees_the_engines_bridges(Path::new("/sys/class/net")) {
        return None;
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    id_in_mounts(&mounts).map(ContainerId)
}

/// Whether the engine's bridges are in our network, and so its gateways addresses of ours: then we listen as on a host. So it is in
/// a container on the host's network (a DaemonSet's `hostNetwork`), which can join no other, and where every address would be
/// the node's own.
fn sees_the_engines_bridges(interfaces: &Path) -> bool {
    let made_by_the_engine = |name: &str| {
        let of_a_network = |id: &str| id.len() == 12 && id.chars().all(|c| c.is_ascii_hexdigit());
        name == "docker0" || name.strip_prefix("br-").is_some_and(of_a_network)
    };
    std::fs::read_dir(interfaces).is_ok_and(|entries| {
        entries.filter_map(Result::ok).any(|entry| {
            entry.file_name().to_str().is_some_and(made_by_the_engine)
                && entry.path().join("bridge").exists()
        })
    })
}

/// The id in the paths from which the engine mounts `/etc/hostname` and its like: `…/containers/<64 digits>/hostname`.
fn id_in_mounts(mounts: &str) -> Option<String> {
    mounts.lines().find_map(|line| {
        let (_, rest) = line.split_once("/containers/")?;
        let id = rest.split('/').next()?;
        (id.len() == 64 && id.chars().all(|c| c.is_ascii_hexdigit())).then(|| id.to_owned())
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn law_7_on_the_hosts_network_we_listen_as_a_host() {
        for (name, is_bridge, seen) in [
            ("eth0", false, false),
            ("br-lan", true, false),
            ("br-0123456789ab", false, false),
            ("br-0123456789ab", true, true),
            ("docker0", true, true),
        ] {
            let folder = tempfile::tempdir().unwrap();
            std::fs::create_dir(folder.path().join(name)).unwrap();
            if is_bridge {
                std::fs::create_dir(folder.path().join(name).join("bridge")).unwrap();
            }
            assert_eq!(sees_the_engines_bridges(folder.path()), seen, "{name}");
        }
        assert!(!sees_the_engines_bridges(Path::new("/nonexistent")));
    }

    #[test]
    fn the_engines_mounts_name_our_container() {
        let id = "ab".repeat(32);
        let mounts = format!(
            "1 2 8:1 / / rw - ext4\n3 2 8:1 /var/lib/docker/containers/{id}/hostname /etc/hostname rw - ext4 /dev/sda rw\n"
        );
        assert_eq!(id_in_mounts(&mounts), Some(id));
        assert_eq!(id_in_mounts("1 2 8:1 /containers/short/x / rw"), None);
    }
}
