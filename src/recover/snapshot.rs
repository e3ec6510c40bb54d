//! The snapshot: every agent's object as the store last had it, with how its rollout stands and its history, a file each, so
//! that a lost store can be made again.
//!
//! Holds environment values, so the folder is 0700 and its files 0600. A file is replaced whole or not at all.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::agent::{Agent, RevisionRecord};
use crate::names::AgentName;

/// One agent, written down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Kept {
    /// The object; of its status what is remembered alone. One that an earlier version wrote down remembers nothing.
    pub agent: Agent,
    /// What its owner's manifest last named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<serde_json::Value>,
    /// Its history: what each revision was made from, and the image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revisions: Vec<RevisionRecord>,
}

impl Kept {
    /// What is written down of an agent as the store has it.
    pub fn of(
        mut agent: Agent,
        applied: Option<serde_json::Value>,
        mut revisions: Vec<RevisionRecord>,
    ) -> Self {
        agent.status = agent.status.remembered();
        revisions.sort_by(|a, b| (a.number, &a.revision).cmp(&(b.number, &b.revision)));
        Self {
            agent,
            applied,
            revisions,
        }
    }
}

/// The snapshot cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("the snapshot at {} cannot be used", path.display())]
pub struct SnapshotError {
    path: PathBuf,
    source: io::Error,
}

/// The folder `snapshot` of a data folder. Cheap to clone; the files are read and written on a thread that may block.
#[derive(Clone, Debug)]
pub struct SnapshotFolder {
    path: PathBuf,
}

impl SnapshotFolder {
    /// That of a data folder; nothing is opened.
    pub fn of(data_folder: &Path) -> Self {
        Self {
            path: data_folder.join("snapshot"),
        }
    }

    /// What is written down, and a sentence for each file that cannot be read: one bad file hides no other.
    ///
    /// # Errors
    /// When the folder itself cannot be read; a missing one is empty.
    pub async fn read(&self) -> Result<(BTreeMap<AgentName, Kept>, Vec<String>), SnapshotError> {
        let path = self.path.clone();
        self.blocking(move || read(&path)).await
    }

    /// Writes one down; durable when it returns.
    ///
    /// # Errors
    /// When it cannot be written; what was there before still is.
    pub async fn write(&self, kept: Kept) -> Result<(), SnapshotError> {
        let path = self.path.clone();
        self.blocking(move || write(&path, &kept)).await
    }

    /// Forgets one.
    ///
    /// # Errors
    /// When it cannot be removed; that it is not there is none.
    pub async fn remove(&self, name: &AgentName) -> Result<(), SnapshotError> {
        let file = self.path.join(format!("{name}.json"));
        let gone = move || match fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        self.blocking(gone).await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, SnapshotError> {
        let done = tokio::task::spawn_blocking(work).await;
        done.unwrap_or_else(|_| Err(io::Error::other("the server is ending")))
            .map_err(|source| SnapshotError {
                path: self.path.clone(),
                source,
            })
    }
}

fn read(folder: &Path) -> io::Result<(BTreeMap<AgentName, Kept>, Vec<String>)> {
    let (mut found, mut problems) = (BTreeMap::new(), Vec::new());
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((found, problems)),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_none_or(|ending| ending != "json") {
            continue;
        }
        let kept = fs::read(&path)
            .and_then(|text| serde_json::from_slice::<Kept>(&text).map_err(|_| unreadable()));
        match kept {
            Ok(kept) => {
                found.insert(kept.agent.metadata.name.clone(), kept);
            }
            // Not the parser's own words: they may quote a value.
            Err(error) => problems.push(format!("{}: {error}", path.display())),
        }
    }
    problems.sort();
    Ok((found, problems))
}

fn unreadable() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "this part of the snapshot cannot be read; what it held is looked for in the containers",
    )
}

fn write(folder: &Path, kept: &Kept) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let name = &kept.agent.metadata.name;
    let (target, fresh) = (
        folder.join(format!("{name}.json")),
        folder.join(format!("{name}.new")),
    );
    let mut file = fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&fresh)?;
    serde_json::to_writer_pretty(&mut file, kept)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(&fresh, &target)?;
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::agent::Revision;

    fn kept(name: &str) -> Kept {
        let agent = serde_json::json!({
            "apiVersion": "agentainer.dev/v1", "kind": "Agent",
            "metadata": {"name": name, "owner": "mesh", "uid": "u1", "generation": 3, "resourceVersion": "9",
                "creationTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["agentainer.dev/containers"]},
            "spec": {"env": {"KEY": "hunter2"}},
        });
        let record = serde_json::json!({"revision": "v1:a", "number": 1, "imageId": "sha256:1", "image": name,
            "generation": 3, "at": "2026-01-01T00:00:00Z", "shape": {"spec": {"env": {"KEY": "hunter2"}}}});
        let mut agent: Agent = serde_json::from_value(agent).unwrap();
        agent.status.rollout.last_good = Some(Revision("v1:a".to_owned()));
        agent.status.ready_replicas = 1;
        Kept::of(
            agent,
            Some(serde_json::json!({"name": name})),
            vec![serde_json::from_value(record).unwrap()],
        )
    }

    #[tokio::test]
    async fn what_an_earlier_version_wrote_down_is_read() {
        let data = tempfile::tempdir().unwrap();
        let folder = SnapshotFolder::of(data.path());
        folder.write(kept("users")).await.unwrap();
        let file = folder.path.join("users.json");
        let mut value: serde_json::Value =
            serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        value.as_object_mut().unwrap().remove("revisions").unwrap();
        // As it was: the whole status, all of it empty.
        value["agent"]["status"] = serde_json::json!({"observedGeneration": 0, "phase": "Pending",
            "conditions": [], "instances": [], "replicas": 0, "readyReplicas": 0, "updatedReplicas": 0});
        fs::write(&file, value.to_string()).unwrap();
        let (read, problems) = folder.read().await.unwrap();
        assert!(problems.is_empty(), "{problems:?}");
        let read = &read[&AgentName::new("users").unwrap()];
        assert_eq!(read.agent.spec, kept("users").agent.spec);
        assert_eq!(read.agent.status, Default::default());
        assert_eq!(read.revisions, []);
    }

    #[tokio::test]
    async fn what_is_written_is_read_until_it_is_removed() {
        let data = tempfile::tempdir().unwrap();
        let folder = SnapshotFolder::of(data.path());
        assert_eq!(folder.read().await.unwrap(), (BTreeMap::new(), Vec::new()));
        folder.write(kept("users")).await.unwrap();
        folder.write(kept("auth")).await.unwrap();
        folder
            .remove(&AgentName::new("auth").unwrap())
            .await
            .unwrap();
        folder
            .remove(&AgentName::new("auth").unwrap())
            .await
            .unwrap();
        let (read, problems) = folder.read().await.unwrap();
        assert_eq!(read.into_values().collect::<Vec<_>>(), [kept("users")]);
        assert!(problems.is_empty());
    }

    #[tokio::test]
    async fn law_7_others_cannot_read_it() {
        let data = tempfile::tempdir().unwrap();
        let folder = SnapshotFolder::of(data.path());
        folder.write(kept("users")).await.unwrap();
        let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(folder.path.clone()), 0o700);
        assert_eq!(mode(folder.path.join("users.json")), 0o600);
    }

    #[tokio::test]
    async fn a_broken_file_hides_no_other_and_its_problem_quotes_nothing() {
        let data = tempfile::tempdir().unwrap();
        let folder = SnapshotFolder::of(data.path());
        folder.write(kept("users")).await.unwrap();
        fs::write(folder.path.join("auth.json"), r#"{"agent": "hunter2"}"#).unwrap();
        fs::write(folder.path.join("orders.new"), "half").unwrap();
        let (read, problems) = folder.read().await.unwrap();
        assert_eq!(read.len(), 1);
        assert_eq!(problems.len(), 1);
        assert!(
            problems
                .iter()
                .all(|text| text.contains("auth.json") && !text.contains("hunter2"))
        );
    }
}
