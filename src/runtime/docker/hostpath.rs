//! Which folders of the host an agent may have (law 7): none but those below a root that the operator opened.
//!
//! A path is followed one component at a time without symbolic links below the root, since an agent that may write
//! there could otherwise lead the next one anywhere. What holds the Docker socket or our own data is refused always,
//! and so is all that lies above or within.

use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::transport::Address;
use crate::runtime::{Result, RuntimeError, RuntimeSettings};

/// Sockets that are as good as root on the host, wherever ours is.
const SOCKETS: [&str; 4] = [
    "/var/run/docker.sock",
    "/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/run/podman/podman.sock",
];

/// The operator's answer to which host folders agents may have.
#[derive(Clone, Debug)]
pub(super) struct HostPaths {
    roots: Vec<PathBuf>,
    denied: Vec<PathBuf>,
    /// With an engine elsewhere, our file system says nothing about its.
    local: bool,
}

impl HostPaths {
    pub(super) fn new(settings: &RuntimeSettings, address: &Address) -> Self {
        let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let own_socket = match address {
            Address::Unix(path) => Some(path.clone()),
            Address::Tcp(_) => None,
        };
        let denied = settings
            .denied_host_paths
            .iter()
            .cloned()
            .chain(SOCKETS.map(PathBuf::from))
            .chain(own_socket)
            .flat_map(|path| [real(&path), path])
            .collect();
        Self {
            roots: settings
                .allowed_host_paths
                .iter()
                .map(|root| real(root))
                .collect(),
            denied,
            local: matches!(address, Address::Unix(_)),
        }
    }

    /// The real path of a folder that a manifest names; it is made when it is missing.
    ///
    /// # Errors
    /// [`RuntimeError::HostPathDenied`] with the reason and, where there is one, the flag that opens it.
    pub(super) fn resolve(&self, path: &str) -> Result<PathBuf> {
        let denied = |why: String| RuntimeError::HostPathDenied {
            message: format!("host path '{path}' is refused: {why}"),
        };
        if !self.local {
            return Err(denied(
                "host folders need an engine on this machine (a unix:// DOCKER_HOST); use a named volume".to_owned(),
            ));
        }
        let given = Path::new(path);
        let plain = |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
        if !given.is_absolute() || !given.components().all(plain) {
            return Err(denied("it must be absolute and without '..'".to_owned()));
        }
        let Some((root, rest)) = self.split(given) else {
            return Err(denied(format!(
                "no host folder is open to agents unless the operator says so; start the server with \
                 --allow-host-path {path} (or a folder above it), or use a named volume"
            )));
        };
        let real = root.join(&rest);
        if self
            .denied
            .iter()
            .any(|secret| secret.starts_with(&real) || real.starts_with(secret))
        {
            return Err(denied(
                "it holds the Docker socket or the server's own data, which no --allow-host-path opens".to_owned(),
            ));
        }
        walk(&root, &rest).map_err(denied)?;
        Ok(real)
    }

    /// The opened root above a path, and the way from there. The path may reach the root itself over links, which are
    /// the operator's; below it none is followed.
    fn split(&self, given: &Path) -> Option<(PathBuf, PathBuf)> {
        given.ancestors().find_map(|above| {
            let root = self.roots.iter().find(|root| {
                root.as_path() == above
                    || std::fs::canonicalize(above).is_ok_and(|real| real == **root)
            })?;
            Some((root.clone(), given.strip_prefix(above).ok()?.to_owned()))
        })
    }
}

/// Follows `rest` below `root`, making folders that are missing.
fn walk(root: &Path, rest: &Path) -> std::result::Result<OwnedFd, String> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut here = rustix::fs::open(root, flags | OFlags::DIRECTORY, Mode::empty())
        .map_err(|cause| format!("'{}' cannot be opened: {cause}", root.display()))?;
    let mut so_far = root.to_owned();
    for part in rest.components() {
        so_far.push(part);
        let shown = so_far.display();
        let name = part.as_os_str();
        let next = match rustix::fs::openat(&here, name, flags, Mode::empty()) {
            Err(Errno::NOENT) => {
                match rustix::fs::mkdirat(&here, name, Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(cause) => return Err(format!("'{shown}' cannot be made: {cause}")),
                }
                rustix::fs::openat(&here, name, flags, Mode::empty())
            }
            other => other,
        };
        here = next.map_err(|cause| format!("'{shown}' cannot be opened: {cause}"))?;
        let stat = rustix::fs::fstat(&here).map_err(|cause| format!("'{shown}': {cause}"))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory | FileType::RegularFile => {}
            FileType::Symlink => {
                return Err(format!(
                    "'{shown}' is a symbolic link, and none is followed below an opened folder; name the folder itself"
                ));
            }
            _ => return Err(format!("'{shown}' is neither a folder nor a file")),
        }
    }
    Ok(here)
}

#[cfg(test)]
#[path = "hostpath_tests.rs"]
mod hostpath_tests;
