//! The folder of one redis-server: what we write lies in it and is ours; what Redis writes lies in `data/` and is Redis'.
//!
//! Where Redis runs as a user of its own, it can read its configuration and change nothing of ours.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown, lchown,
};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{RedisServerError, Result};

/// The user as which a redis-server runs when it is not ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Owner {
    /// When we are root: the package's `redis`, else `nobody`; else, or when there is neither: none of its own.
    pub(super) fn of_agents_redis() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let find = |wanted: &str| users.lines().find_map(|line| Self::parse(line, wanted));
        find("redis").or_else(|| find("nobody"))
    }

    fn parse(line: &str, wanted: &str) -> Option<Self> {
        let mut parts = line.split(':');
        let name = parts.next().filter(|name| *name == wanted)?;
        let _password = parts.next()?;
        let (uid, gid) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        (uid != 0).then(|| Self {
            name: name.to_owned(),
            uid,
            gid,
        })
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> RedisServerError {
    let path = path.to_owned();
    move |source| RedisServerError::Folder { path, source }
}

/// Makes the folder and its `data/`, with the right owners and modes.
pub(super) fn prepare(folder: &Path, owner: Option<&Owner>) -> Result<()> {
    make(folder, if owner.is_some() { 0o711 } else { 0o700 })?;
    if let Some(owner) = owner {
        open_the_way(folder, owner)?;
    }
    let data = folder.join("data");
    make(&data, 0o700)?;
    if let Some(owner) = owner {
        let is = fs::symlink_metadata(&data).map_err(failed(&data))?;
        if (is.uid(), is.gid()) != (owner.uid, owner.gid) {
            give(&data, owner).map_err(failed(&data))?;
        }
    }
    Ok(())
}

fn make(path: &Path, mode: u32) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(failed(path))?;
    let is = fs::symlink_metadata(path).map_err(failed(path))?;
    if !is.is_dir() {
        let not_a_folder = io::Error::new(io::ErrorKind::NotADirectory, "it is a link or a file");
        return Err(failed(path)(not_a_folder));
    }
    if is.mode() & 0o777 != mode {
        fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed(path))?;
    }
    Ok(())
}

/// Everything in a folder to another user, without following links.
fn give(path: &Path, owner: &Owner) -> io::Result<()> {
    lchown(path, Some(owner.uid), Some(owner.gid))?;
    if fs::symlink_metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), owner)?;
        }
    }
    Ok(())
}

/// Whether a user who owns nothing here may pass through.
fn passable(path: &Path, owner: &Owner) -> bool {
    fs::metadata(path)
        .is_ok_and(|is| is.mode() & 0o001 != 0 || (is.uid() == owner.uid && is.mode() & 0o100 != 0))
}

/// The folder above ours is the data folder: it may be passed through then, not listed. Folders further up are not ours.
fn open_the_way(folder: &Path, owner: &Owner) -> Result<()> {
    for (distance, path) in folder.ancestors().enumerate() {
        if path.as_os_str().is_empty() || passable(path, owner) {
            continue;
        }
        let is = fs::metadata(path).map_err(failed(path))?;
        // A data folder that was made by the user for whom we run as root is ours as well.
        if distance > 1 {
            return Err(RedisServerError::Untraversable {
                path: path.to_owned(),
                user: owner.name.clone(),
            });
        }
        let mode = is.mode() & 0o777 | 0o011;
        fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed(path))?;
    }
    Ok(())
}

/// Whether a redis-server of `owner` could have its folder in `data`.
pub(super) fn is_reachable(data: &Path, owner: &Owner) -> bool {
    data.ancestors()
        .skip(1)
        .all(|path| path.as_os_str().is_empty() || !path.exists() || passable(path, owner))
}

/// Writes a file in one step: mode 0600, or readable by the owner's group.
pub(super) fn write(path: &Path, text: &str, reader: Option<&Owner>) -> Result<()> {
    let temporary = path.with_extension("new");
    let attempt = || -> io::Result<()> {
        if let Err(error) = fs::remove_file(&temporary)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(text.as_bytes())?;
        if let Some(reader) = reader {
            chown(&temporary, None, Some(reader.gid))?;
            file.set_permissions(Permissions::from_mode(0o640))?;
        }
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    attempt().map_err(failed(path))
}

/// Reads a file of ours; `None` when there is none.
pub(super) fn read(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path)(error)),
    }
}

/// The last lines of a log, at most 4 KiB.
pub(super) fn tail(path: &Path) -> String {
    let text = fs::read(path).unwrap_or_default();
    let from = text.len().saturating_sub(4096);
    let text = String::from_utf8_lossy(text.get(from..).unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
}

/// Keeps a log from growing for ever: one older part is kept.
pub(super) fn rotate(path: &Path) {
    if fs::metadata(path).is_ok_and(|is| is.len() > 8 << 20) {
        let mut older: PathBuf = path.to_owned();
        older.set_extension("log.1");
        let _kept = fs::rename(path, older);
    }
}

/// Holds a folder against other servers until it is dropped, or the process ends.
pub(super) async fn lock(folder: &Path) -> Result<File> {
    let path = folder.join("lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(failed(&path))?;
    let waiting = async {
        while file.try_lock().is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    match tokio::time::timeout(Duration::from_secs(60), waiting).await {
        Ok(()) => Ok(file),
        Err(_elapsed) => Err(RedisServerError::Busy {
            folder: folder.to_owned(),
        }),
    }
}
