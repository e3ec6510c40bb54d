//! A build context: which files it has, their digest, and its tar stream.
//!
//! Symbolic links are sent as links and never followed; owners become root, as Docker's own client does it.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::dockerignore::Ignore;

/// The largest context, in bytes.
const LARGEST: u64 = 512 << 20;
/// A piece of the stream.
const PIECE: usize = 64 << 10;

/// A folder as it will be sent.
#[derive(Clone, Debug)]
pub(super) struct BuildContext {
    root: PathBuf,
    /// Paths with `/` seen from the root, in order.
    entries: Vec<String>,
}

impl BuildContext {
    /// Looks at the folder. `dockerfile` is sent whatever `.dockerignore` says.
    ///
    /// # Errors
    /// The folder or its `.dockerignore` cannot be read, or it is too large.
    pub(super) fn open(root: &Path, dockerfile: &str) -> anyhow::Result<Self> {
        let shown = root.display();
        if !root.is_dir() {
            bail!("the build context {shown} is no folder");
        }
        if !root.join(dockerfile).is_file() {
            bail!(
                "there is no {dockerfile} in the build context {shown}; name another with build.dockerfile"
            );
        }
        let ignore_file = root.join(".dockerignore");
        let ignore = match fs::read_to_string(&ignore_file) {
            Ok(text) => Ignore::parse(&text)
                .map_err(|why| anyhow::anyhow!("{}: {why}", ignore_file.display()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ignore::default(),
            Err(error) => {
                return Err(error).context(format!("{} cannot be read", ignore_file.display()));
            }
        };
        let keep_looking = ignore.takes_back();
        let ignore = ignore.but_for(".dockerignore").but_for(dockerfile);
        let mut found = Found::default();
        walk(
            root,
            "",
            &ignore,
            keep_looking || dockerfile.contains('/'),
            &mut found,
        )?;
        if found.total > LARGEST {
            found
                .sizes
                .sort_by_key(|(size, _)| std::cmp::Reverse(*size));
            let largest: Vec<String> = found
                .sizes
                .iter()
                .take(3)
                .map(|(size, path)| format!("{path} ({} MiB)", size >> 20))
                .collect();
            bail!(
                "the build context {shown} has {} MiB, more than the {} that are sent; name what is not needed in \
                 .dockerignore (largest: {})",
                found.total >> 20,
                LARGEST >> 20,
                largest.join(", ")
            );
        }
        Ok(Self {
            root: root.to_owned(),
            entries: found.entries,
        })
    }

    /// The paths that are sent.
    #[cfg(test)]
    pub(super) fn entries(&self) -> &[String] {
        &self.entries
    }

    /// A digest of all paths, kinds, executable bits and contents: the same wherever and whenever they were written.
    pub(super) fn digest(&self) -> anyhow::Result<String> {
        let mut hash = Sha256::new();
        for entry in &self.entries {
            let path = self.root.join(entry);
            let metadata = fs::symlink_metadata(&path).with_context(|| unread(&path))?;
            let mut field = |text: &[u8]| {
                hash.update((text.len() as u64).to_le_bytes());
                hash.update(text);
            };
            field(entry.as_bytes());
            if metadata.is_symlink() {
                let target = fs::read_link(&path).with_context(|| unread(&path))?;
                field(b"link");
                field(target.as_os_str().as_encoded_bytes());
            } else if metadata.is_dir() {
                field(b"folder");
            } else {
                let executable = metadata.permissions().mode() & 0o111 != 0;
                field(if executable { b"program" } else { b"file" });
                let mut inner = Sha256::new();
                let mut file = File::open(&path).with_context(|| unread(&path))?;
                let mut piece = vec![0; PIECE];
                loop {
                    let read = file.read(&mut piece).with_context(|| unread(&path))?;
                    match piece.get(..read) {
                        None | Some([]) => break,
                        Some(bytes) => inner.update(bytes),
                    }
                }
                hash.update(inner.finalize());
            }
        }
        let digits = hash
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>();
        Ok(format!("sha256:{digits}"))
    }

    /// Its tar stream, made on a thread of its own. An error ends it.
    pub(super) fn stream(self) -> mpsc::Receiver<io::Result<Bytes>> {
        let (sender, receiver) = mpsc::channel(8);
        tokio::task::spawn_blocking(move || {
            let pipe = Pipe {
                sender: sender.clone(),
                buffer: Vec::with_capacity(PIECE),
            };
            if let Err(error) = self.pack(pipe) {
                // Whoever listens has gone when this fails.
                let _ = sender.blocking_send(Err(error));
            }
        });
        receiver
    }

    fn pack(&self, pipe: Pipe) -> io::Result<()> {
        let mut tar = tar::Builder::new(pipe);
        for entry in &self.entries {
            let path = self.root.join(entry);
            let named = |error: io::Error| {
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            };
            let metadata = fs::symlink_metadata(&path).map_err(named)?;
            let mut header = header(&metadata);
            if metadata.is_symlink() {
                let target = fs::read_link(&path).map_err(named)?;
                header.set_size(0);
                tar.append_link(&mut header, entry, target)?;
            } else if metadata.is_dir() {
                header.set_size(0);
                tar.append_data(&mut header, format!("{entry}/"), io::empty())?;
            } else {
                let file = File::open(&path).map_err(named)?;
                // A file that grows meanwhile is cut; one that shrinks would break the stream.
                let mut exact = Exact {
                    rest: metadata.len(),
                    file,
                };
                header.set_size(metadata.len());
                tar.append_data(&mut header, entry, &mut exact)
                    .map_err(named)?;
            }
        }
        tar.into_inner()?.flush()
    }
}

fn unread(path: &Path) -> String {
    format!("{} cannot be read", path.display())
}

fn header(metadata: &Metadata) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_metadata(metadata);
    header.set_uid(0);
    header.set_gid(0);
    header
}

#[derive(Default)]
struct Found {
    entries: Vec<String>,
    total: u64,
    sizes: Vec<(u64, String)>,
}

fn walk(
    root: &Path,
    below: &str,
    ignore: &Ignore,
    keep_looking: bool,
    found: &mut Found,
) -> anyhow::Result<()> {
    let folder = root.join(below);
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| unread(&folder))? {
        let entry = entry.with_context(|| unread(&folder))?;
        match entry.file_name().into_string() {
            Ok(name) => names.push(name),
            Err(name) => bail!(
                "{} has a name that is not UTF-8; name it in .dockerignore by a pattern or rename it",
                folder.join(name).display()
            ),
        }
    }
    names.sort();
    for name in names {
        let path = if below.is_empty() {
            name
        } else {
            format!("{below}/{name}")
        };
        let ignored = ignore.ignores(&path);
        if ignored && !keep_looking {
            continue;
        }
        let full = root.join(&path);
        let metadata = fs::symlink_metadata(&full).with_context(|| unread(&full))?;
        let kind = metadata.file_type();
        if kind.is_socket() || kind.is_fifo() || kind.is_char_device() || kind.is_block_device() {
            continue;
        }
        if !ignored {
            found.entries.push(path.clone());
            if metadata.is_file() {
                found.total = found.total.saturating_add(metadata.len());
                found.sizes.push((metadata.len(), path.clone()));
            }
        }
        if metadata.is_dir() {
            walk(root, &path, ignore, keep_looking, found)?;
        }
    }
    Ok(())
}

/// A file's first bytes, exactly so many.
struct Exact {
    rest: u64,
    file: File,
}

impl Read for Exact {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.rest)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let Some(buffer) = buffer.get_mut(..most) else {
            return Ok(0);
        };
        let read = self.file.read(buffer)?;
        if read == 0 && !buffer.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the file shrank while it was read",
            ));
        }
        self.rest = self.rest.saturating_sub(read as u64);
        Ok(read)
    }
}

/// What the tar is written to.
struct Pipe {
    sender: mpsc::Sender<io::Result<Bytes>>,
    buffer: Vec<u8>,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = Bytes::from(std::mem::take(&mut self.buffer));
        self.sender
            .blocking_send(Ok(piece))
            .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

#[cfg(test)]
#[path = "build_context_tests.rs"]
mod tests;
