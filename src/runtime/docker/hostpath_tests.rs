//! Tests of which host folders are refused (law 7).
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::agent::ClusterId;

fn paths(allowed: &[&Path], denied: &[&Path]) -> HostPaths {
    let settings = RuntimeSettings {
        cluster: ClusterId("c".to_owned()),
        network: "n".to_owned(),
        allowed_host_paths: allowed.iter().map(|path| path.to_path_buf()).collect(),
        denied_host_paths: denied.iter().map(|path| path.to_path_buf()).collect(),
    };
    HostPaths::new(&settings, &Address::Unix("/var/run/docker.sock".into()))
}

fn refusal(paths: &HostPaths, path: impl AsRef<Path>) -> String {
    paths
        .resolve(path.as_ref().to_str().unwrap())
        .expect_err("must be refused")
        .to_string()
}

#[test]
fn law_7_nothing_is_open_by_default_and_the_refusal_prints_the_flag() {
    let none = paths(&[], &[]);
    for path in ["/", "/etc", "/home/me/data", "/var/run/docker.sock"] {
        let message = refusal(&none, path);
        assert!(
            message.contains(&format!("--allow-host-path {path}")),
            "{message}"
        );
    }
}

#[test]
fn below_an_opened_root_missing_folders_are_made() {
    let root = tempfile::tempdir().unwrap();
    let open = paths(&[root.path()], &[]);
    let wanted = root.path().join("a/b");
    let real = open.resolve(wanted.to_str().unwrap()).unwrap();
    assert!(real.is_dir());
    assert_eq!(real, std::fs::canonicalize(&wanted).unwrap());
    assert!(open.resolve(root.path().to_str().unwrap()).is_ok());
}

#[test]
fn law_7_a_sibling_whose_name_begins_alike_is_not_below_the_root() {
    let root = tempfile::tempdir().unwrap();
    let open = root.path().join("data");
    std::fs::create_dir(&open).unwrap();
    let message = refusal(&paths(&[&open], &[]), root.path().join("data-of-others"));
    assert!(message.contains("--allow-host-path"), "{message}");
}

#[test]
fn law_7_no_symbolic_link_is_followed_below_the_root() {
    let root = tempfile::tempdir().unwrap();
    let open = paths(&[root.path()], &[]);
    std::os::unix::fs::symlink("/etc", root.path().join("way-out")).unwrap();
    std::fs::create_dir(root.path().join("real")).unwrap();
    std::os::unix::fs::symlink("real", root.path().join("within")).unwrap();
    for path in ["way-out", "way-out/ssl", "within"] {
        let message = refusal(&open, root.path().join(path));
        assert!(message.contains("symbolic link"), "{message}");
    }
    let message = refusal(&open, root.path().join("a/../../etc"));
    assert!(message.contains("without '..'"), "{message}");
}

#[test]
fn law_7_the_socket_our_data_and_all_above_them_are_refused_always() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("var/agentainer");
    std::fs::create_dir_all(data.join("within")).unwrap();
    let open = paths(&[Path::new("/"), root.path()], &[&data]);
    let everything = [
        PathBuf::from("/"),
        PathBuf::from("/run"),
        PathBuf::from("/var"),
        PathBuf::from("/var/run"),
        PathBuf::from("/var/run/docker.sock"),
        PathBuf::from("/run/containerd"),
        root.path().to_path_buf(),
        root.path().join("var"),
        data.clone(),
        data.join("within"),
    ];
    for path in everything {
        let message = refusal(&open, &path);
        assert!(
            message.contains("no --allow-host-path opens") || message.contains("symbolic link"),
            "{message}"
        );
    }
    assert!(
        open.resolve(root.path().join("var/other").to_str().unwrap())
            .is_ok()
    );
}

#[test]
fn the_root_itself_may_be_reached_over_the_operators_own_link() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("disk/agents/x")).unwrap();
    let link = root.path().join("agents");
    std::os::unix::fs::symlink("disk/agents", &link).unwrap();
    let open = paths(&[&link], &[]);
    let real = open.resolve(link.join("x").to_str().unwrap()).unwrap();
    assert!(real.ends_with("disk/agents/x"), "{}", real.display());
}

#[test]
fn law_7_sockets_and_devices_are_no_folders() {
    let root = tempfile::tempdir().unwrap();
    let socket = root.path().join("some.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let message = refusal(&paths(&[root.path()], &[]), &socket);
    assert!(message.contains("neither a folder nor a file"), "{message}");
}

#[test]
fn an_engine_elsewhere_has_other_folders() {
    let mut far = paths(&[Path::new("/tmp")], &[]);
    far.local = false;
    assert!(refusal(&far, "/tmp").contains("named volume"));
}
