//! The data folder: ours alone, one server at a time, with the cluster's id in it.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{
    DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::agent::ClusterId;

/// An opened data folder; nobody else's until it is dropped.
#[derive(Debug)]
pub(crate) struct DataFolder {
    path: PathBuf,
    /// Holds the lock for as long as the server lives.
    lock: File,
}

impl DataFolder {
    /// Makes the folder (mode 0700) where it is missing and takes it for this server.
    ///
    /// # Errors
    /// When it cannot be made, when others may write to it, or when another server has it.
    pub(crate) fn open(path: PathBuf) -> Result<Self> {
        let path = prepare(path)?;
        let lock_path = path.join("server.lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(&lock_path)
            .with_context(|| format!("{} cannot be opened", lock_path.display()))?;
        if rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
            let holder = fs::read_to_string(&lock_path).unwrap_or_default();
            bail!(
                "another server (process {}) has the data folder {}; `agentainer serve --takeover` takes over from it and fails no \
                 request, `agentainer stop --all` ends it, and --data-dir names another folder",
                holder.trim(),
                path.display()
            );
        }
        let folder = Self { path, lock };
        folder.claim()?;
        Ok(folder)
    }

    /// Takes part in the lock of a server that hands over. The folder is ours alone when that one has ended.
    ///
    /// # Errors
    /// When the lock is not this folder's.
    pub(crate) fn adopt(path: PathBuf, lock: File) -> Result<Self> {
        let path = prepare(path)?;
        let (ours, theirs) = (fs::metadata(path.join("server.lock"))?, lock.metadata()?);
        if (ours.dev(), ours.ino()) != (theirs.dev(), theirs.ino()) {
            bail!(
                "the server that hands over has another data folder than {}",
                path.display()
            );
        }
        Ok(Self { path, lock })
    }

    /// The lock, for another process.
    pub(crate) fn lock(&self) -> std::io::Result<OwnedFd> {
        self.lock.as_fd().try_clone_to_owned()
    }

    /// Says in the lock's file that this process has the folder.
    pub(crate) fn claim(&self) -> Result<()> {
        // Written over what is there, so that a full disk takes it.
        let text = format!("{}\n", std::process::id());
        self.lock.write_all_at(text.as_bytes(), 0)?;
        self.lock.set_len(u64::try_from(text.len())?)?;
        Ok(())
    }

    /// Where it is, absolute and without links.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The cluster's id, if one was kept.
    pub(crate) fn cluster(&self) -> Result<Option<ClusterId>> {
        Ok(read(&self.path, CLUSTER)?.map(ClusterId))
    }

    /// Keeps the cluster's id.
    pub(crate) fn keep_cluster(&self, id: &ClusterId) -> Result<()> {
        self.keep(CLUSTER, id.as_str())
    }

    /// This server's own id, made at its first start: it tells its runs from those of other servers on the same store. A copy
    /// of a data folder is another server's, and gets another one.
    pub(crate) fn server_id(&self) -> Result<String> {
        let folder = fs::metadata(&self.path)?;
        let place = format!("{}:{}", folder.dev(), folder.ino());
        let kept = read(&self.path, SERVER)?;
        match kept.as_deref().and_then(|kept| kept.split_once(' ')) {
            Some((id, of)) if of == place => return Ok(id.to_owned()),
            _ => {}
        }
        let id = uuid::Uuid::new_v4().to_string();
        self.keep(SERVER, &format!("{id} {place}"))?;
        Ok(id)
    }

    /// Keeps the name of the agents' network, for `stop --all`.
    pub(crate) fn keep_network(&self, name: &str) -> Result<()> {
        self.keep(NETWORK, name)
    }

    fn keep(&self, name: &str, text: &str) -> Result<()> {
        let (target, fresh) = (self.path.join(name), self.path.join(format!("{name}.new")));
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&fresh)?;
        writeln!(file, "{text}")?;
        file.sync_all()?;
        fs::rename(&fresh, &target)
            .with_context(|| format!("{} cannot be written", target.display()))
    }
}

/// Makes the folder where it is missing; nobody else may write to it.
fn prepare(path: PathBuf) -> Result<PathBuf> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&path)
        .with_context(|| {
            format!(
                "the data folder {} cannot be made; name another with --data-dir",
                path.display()
            )
        })?;
    let path = path
        .canonicalize()
        .with_context(|| format!("the data folder {} cannot be opened", path.display()))?;
    let mode = fs::metadata(&path)?.permissions().mode();
    if mode & 0o022 != 0 {
        bail!(
            "others may write to the data folder {}: `chmod go-w {}` first",
            path.display(),
            path.display()
        );
    }
    Ok(path)
}

const CLUSTER: &str = "cluster";
const NETWORK: &str = "network";
const SERVER: &str = "server.id";

/// The cluster and the network's name kept in a data folder, without opening it for a server.
pub(crate) fn kept(path: &Path) -> Result<Option<(ClusterId, String)>> {
    let network = read(path, NETWORK)?.unwrap_or_else(|| crate::keys::NETWORK.to_owned());
    Ok(read(path, CLUSTER)?.map(|cluster| (ClusterId(cluster), network)))
}

fn read(folder: &Path, name: &str) -> Result<Option<String>> {
    let path = folder.join(name);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{} cannot be read", path.display())),
    }
}

/// The process that has a data folder, if one has: read from the lock's file and proved by the lock being held.
pub(crate) fn holder(path: &Path) -> Option<u32> {
    let file = File::open(path.join("server.lock")).ok()?;
    if rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockShared).is_ok() {
        return None;
    }
    fs::read_to_string(path.join("server.lock"))
        .ok()?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn one_server_at_a_time_has_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        let first = DataFolder::open(path.clone()).unwrap();
        let error = DataFolder::open(path.clone()).unwrap_err().to_string();
        assert!(error.contains("another server"), "{error}");
        assert_eq!(holder(&path), Some(std::process::id()));
        drop(first);
        assert_eq!(holder(&path), None);
        DataFolder::open(path).unwrap();
    }

    #[test]
    fn the_cluster_id_is_kept_between_starts() {
        let dir = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(dir.path().join("data")).unwrap();
        assert_eq!(folder.cluster().unwrap(), None);
        let id = ClusterId::random();
        folder.keep_cluster(&id).unwrap();
        assert_eq!(folder.cluster().unwrap(), Some(id));
    }

    #[test]
    fn a_copied_folder_is_another_servers() {
        let dir = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(dir.path().join("data")).unwrap();
        let id = folder.server_id().unwrap();
        assert_eq!(folder.server_id().unwrap(), id);
        let copy = DataFolder::open(dir.path().join("copy")).unwrap();
        fs::copy(folder.path().join(SERVER), copy.path().join(SERVER)).unwrap();
        let other = copy.server_id().unwrap();
        assert_ne!(other, id);
        assert_eq!(copy.server_id().unwrap(), other);
    }

    #[test]
    fn the_lock_names_its_holder_and_nothing_of_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("server.lock"), "4294967295\nand more\n").unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let _folder = DataFolder::open(dir.path().to_owned()).unwrap();
        assert_eq!(holder(dir.path()), Some(std::process::id()));
    }

    #[test]
    fn law_7_a_folder_that_others_may_write_to_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(
            DataFolder::open(dir.path().to_owned())
                .unwrap_err()
                .to_string()
                .contains("chmod")
        );
    }
}
