//! Where the server's secrets are kept: two files of the data folder, mode 0600, made once.
//!
//! Blocking; called by the composition root at start. Two servers that start at once end up with the same secrets, since a file
//! appears under its name complete or not at all.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::tokens::{ServerKey, Tokens, random_admin_token};

/// The admin token, where the command line of the user who started the server finds it.
pub const ADMIN_TOKEN_FILE: &str = "admin.token";
/// The key under which agents' tokens are signed.
pub const SERVER_KEY_FILE: &str = "server.key";

/// The server's secrets.
#[derive(Clone)]
pub struct Secrets {
    /// Signs agents' tokens.
    pub key: ServerKey,
    /// The admin's token.
    pub admin: String,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets(***)")
    }
}

impl Secrets {
    /// Reads them from the data folder, and makes those that are missing.
    ///
    /// # Errors
    /// [`SecretsError`] names the file: it cannot be read or written, or holds something else.
    pub fn load_or_create(folder: &Path) -> Result<Self, SecretsError> {
        let key = read_or_create(&folder.join(SERVER_KEY_FILE), || {
            ServerKey::random().to_hex()
        })?;
        let admin = read_or_create(&folder.join(ADMIN_TOKEN_FILE), random_admin_token)?;
        let path = folder.join(SERVER_KEY_FILE);
        let key = ServerKey::from_hex(&key).ok_or(SecretsError::Malformed { path })?;
        if admin.len() < 32 || !admin.bytes().all(|byte| byte.is_ascii_graphic()) {
            let path = folder.join(ADMIN_TOKEN_FILE);
            return Err(SecretsError::Malformed { path });
        }
        Ok(Self { key, admin })
    }

    /// Takes over the key that all servers on a store share, and keeps it for the next start.
    ///
    /// # Errors
    /// [`SecretsError`] when it cannot be written.
    pub fn adopt_key(&mut self, folder: &Path, shared: ServerKey) -> Result<(), SecretsError> {
        if shared == self.key {
            return Ok(());
        }
        let path = folder.join(SERVER_KEY_FILE);
        let draft = path.with_extension(format!("{}.new", uuid::Uuid::new_v4().simple()));
        write(&draft, &shared.to_hex())
            .and_then(|()| fs::rename(&draft, &path))
            .map_err(|source| SecretsError::Io { path, source })?;
        tracing::info!("agents' tokens are signed with the key that the control Redis holds");
        self.key = shared;
        Ok(())
    }

    /// What requests' tokens are compared with. `default`: whether the seed's well-known token is a viewer's.
    pub fn tokens(&self, default: bool) -> Tokens {
        Tokens::new(self.key.clone(), &self.admin, default)
    }
}

/// Why the secrets are not to be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// The file cannot be read or written.
    #[error("the secret in {} cannot be kept", .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{} does not hold a secret of ours; move it away, and a new one is made at the next start", .path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
    },
}

fn read_or_create(path: &Path, make: impl FnOnce() -> String) -> Result<String, SecretsError> {
    let failed = |source| SecretsError::Io {
        path: path.to_owned(),
        source,
    };
    match read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other.map_err(failed),
    }
    // The file appears under its name with its contents, or not at all; whoever comes second takes the first one's.
    let draft = path.with_extension(format!("{}.new", uuid::Uuid::new_v4().simple()));
    let written = write(&draft, &make()).and_then(|()| fs::hard_link(&draft, path));
    let removed = fs::remove_file(&draft);
    match written {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => other.and(removed).map_err(failed)?,
    }
    read(path).map_err(failed)
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    writeln!(file, "{text}")?;
    file.sync_all()
}

fn read(path: &Path) -> io::Result<String> {
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & 0o077 != 0 {
        tracing::warn!(path = %path.display(), "a secret's file was open to others; closing it");
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    }
    Ok(fs::read_to_string(path)?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn secrets_are_made_once_and_are_nobody_elses_to_read() {
        let folder = tempfile::tempdir().unwrap();
        let first = Secrets::load_or_create(folder.path()).unwrap();
        let again = Secrets::load_or_create(folder.path()).unwrap();
        assert_eq!((first.key, first.admin), (again.key, again.admin));
        let mut names: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap())
            .inspect(|entry| {
                assert_eq!(
                    entry.metadata().unwrap().permissions().mode() & 0o777,
                    0o600
                )
            })
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, [ADMIN_TOKEN_FILE, SERVER_KEY_FILE]);
    }

    #[test]
    fn the_key_that_servers_share_replaces_our_own_for_good() {
        let folder = tempfile::tempdir().unwrap();
        let mut secrets = Secrets::load_or_create(folder.path()).unwrap();
        let shared = ServerKey::random();
        secrets.adopt_key(folder.path(), shared.clone()).unwrap();
        assert_eq!(secrets.key, shared);
        let again = Secrets::load_or_create(folder.path()).unwrap();
        assert_eq!((again.key, again.admin), (shared, secrets.admin));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn law_7_a_file_that_was_opened_to_others_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        Secrets::load_or_create(folder.path()).unwrap();
        let path = folder.path().join(ADMIN_TOKEN_FILE);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        Secrets::load_or_create(folder.path()).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn an_emptied_file_is_an_error_and_no_token() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(ADMIN_TOKEN_FILE), "").unwrap();
        let error = Secrets::load_or_create(folder.path()).unwrap_err();
        assert!(error.to_string().contains(ADMIN_TOKEN_FILE), "{error}");
    }
}
