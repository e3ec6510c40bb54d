//! A process that is not our child: known by its pid, held by a descriptor of it, so that a pid that was given to another
//! process meanwhile is never signalled.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// One process.
#[derive(Debug)]
pub(super) struct Process {
    pid: Pid,
    /// Readable once the process has ended (pidfd_open(2)).
    descriptor: AsyncFd<OwnedFd>,
}

impl Process {
    /// The process of that id; `None` when there is none.
    pub(super) fn open(pid: u32) -> Option<Self> {
        let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
        let descriptor = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        #[expect(
            deprecated,
            reason = "unsound for types whose descriptor changes; an OwnedFd is one descriptor for its whole life"
        )]
        let descriptor = AsyncFd::with_interest(descriptor, Interest::READABLE).ok()?;
        let process = Self { pid, descriptor };
        Some(process)
    }

    pub(super) fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Whether its command line names the folder, where its configuration file is (`set-proc-title no`).
    pub(super) fn names(&self, folder: &Path) -> bool {
        let line = std::fs::read(format!("/proc/{}/cmdline", self.id())).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        !line.is_empty() && line.contains(&*folder.to_string_lossy())
    }

    /// Waits until it has ended.
    pub(super) async fn ended(&self) {
        // An error here means that the descriptor is of no more use; the process is then as good as gone, and whoever
        // starts another looks first.
        let _ready = self.descriptor.readable().await;
    }

    /// Whether it ends within `limit`.
    pub(super) async fn ends_within(&self, limit: Duration) -> bool {
        tokio::time::timeout(limit, self.ended()).await.is_ok()
    }

    /// Sends a signal; nothing happens when it is gone.
    pub(super) fn signal(&self, signal: Signal) {
        let _gone = pidfd_send_signal(self.descriptor.get_ref(), signal);
    }
}
