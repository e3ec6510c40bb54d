//! The control Redis: specs, statuses and the journal, durable, on a private Unix socket.

use std::path::Path;

use super::Setup;

/// The control Redis in `folder`, with at most `memory` bytes. Nothing is opened yet.
///
/// An acknowledged write is on disk (`appendfsync always`, also while the file is rewritten); nothing is ever evicted, and
/// a full one refuses writes. No TCP port is opened; the socket is the server's user's alone.
pub fn control(folder: &Path, memory: u64) -> Setup {
    let settings = [
        ("appendonly", "yes".to_owned()),
        ("appendfsync", "always".to_owned()),
        ("no-appendfsync-on-rewrite", "no".to_owned()),
        ("save", String::new()),
        ("maxmemory", memory.to_string()),
        ("maxmemory-policy", "noeviction".to_owned()),
    ];
    Setup {
        folder: folder.to_owned(),
        settings: settings.into(),
        owner: None,
        login: None,
        acl: None,
    }
}
