//! One container of an agent's present life as the planner sees it: what it does, whether it serves, how it fared.
//!
//! Joins what is observed with what the last status remembers. Acts on nothing.

use std::net::IpAddr;

use jiff::Timestamp;

use super::draft::{Draft, later, since};
use super::{Input, backoff};
use crate::agent::spec::{DesiredState, Restart};
use crate::agent::status::{InstanceStatus, LastExit};
use crate::agent::{Agent, AgentStatus, Phase, Revision};
use crate::observed::{Container, ContainerState, LastLines, NetworkId};

/// A container of the present life.
#[derive(Clone, Debug)]
pub(super) struct Instance<'a> {
    /// As seen.
    pub(super) container: &'a Container,
    /// What the last status says of it.
    pub(super) before: Option<&'a InstanceStatus>,
    /// Of the revision that is asked for.
    pub(super) current: bool,
    /// It answers requests, as far as is known.
    pub(super) serving: bool,
    /// How it last ended.
    pub(super) last_exit: Option<LastExit>,
    /// Failures in a row.
    pub(super) failures: u32,
    /// How often its ordinal was started again.
    pub(super) restarts: u32,
    /// It ended because its agent was stopped: no failure, and started whatever the policy.
    pub(super) meant: bool,
}

impl Instance<'_> {
    /// It runs, or may.
    pub(super) fn live(&self) -> bool {
        matches!(
            self.container.state,
            ContainerState::Running
                | ContainerState::Paused
                | ContainerState::Restarting
                | ContainerState::Unknown
        )
    }

    /// The engine is done with it, or cannot be: one goes on beside it.
    pub(super) fn gone(&self) -> bool {
        gone(self.container)
    }

    pub(super) fn name(&self) -> &str {
        &self.container.name
    }

    pub(super) fn ordinal(&self) -> u32 {
        self.container.identity.ordinal
    }

    /// The better one of two of the same ordinal and kind has the lower rank: serving, running, frozen, ended; then
    /// the older one, which was good before.
    pub(super) fn rank(&self) -> (u8, u64) {
        let state = match (self.serving, self.container.state) {
            (true, _) => 0,
            (_, ContainerState::Running) => 1,
            (_, ContainerState::Restarting | ContainerState::Unknown) => 2,
            (_, ContainerState::Paused) => 3,
            (_, ContainerState::Exited) => 4,
            _ => 5,
        };
        (state, self.container.identity.incarnation)
    }
}

/// Whether the engine is removing a container or gave up doing so.
pub(super) fn gone(container: &Container) -> bool {
    matches!(
        container.state,
        ContainerState::Removing | ContainerState::Dead
    )
}

/// A container's address on the present network. While the network is not to be seen, what it has counts (law 6).
pub(super) fn address(input: &Input<'_>, container: &Container) -> Option<IpAddr> {
    let attachment = container.attachment.as_ref()?;
    attachment
        .ip
        .filter(|_| on_network(input, &attachment.network))
}

/// Whether a network is the present one. An empty id is one that the engine has not told.
pub(super) fn on_network(input: &Input<'_>, network: &NetworkId) -> bool {
    let present = input.observed.network.as_ref();
    network.0.is_empty() || present.is_none_or(|present| present.id == *network)
}

/// Whether a container answers requests. Unknown is not dead: without a probe's word the last one stands, for as long
/// as the same process runs.
pub(super) fn serving(
    input: &Input<'_>,
    container: &Container,
    before: Option<&InstanceStatus>,
) -> bool {
    if address(input, container).is_none() {
        return false;
    }
    let remembered = before.is_some_and(|before| before.ready);
    match container.state {
        ContainerState::Unknown => remembered,
        ContainerState::Running => {
            let probe = input.observed.probes.get(&container.id);
            let same_run =
                || before.is_some_and(|before| before.started_at == container.started_at);
            probe
                .and_then(|probe| probe.ready)
                .unwrap_or_else(|| remembered && same_run())
        }
        _ => false,
    }
}

/// What the last status says of a container.
pub(super) fn remembered<'a>(
    status: &'a AgentStatus,
    container: &Container,
) -> Option<&'a InstanceStatus> {
    status.instance(&container.id.0)
}

/// The containers of the agent's present life, by ordinal and incarnation.
pub(super) fn of<'a>(
    draft: &mut Draft<'a>,
    agent: &'a Agent,
    asked: &Revision,
    restart: &Restart,
) -> Vec<Instance<'a>> {
    let mut own: Vec<&'a Container> = draft
        .containers()
        .filter(|container| container.identity.uid == agent.metadata.uid)
        .collect();
    own.sort_by_key(|container| {
        let identity = &container.identity;
        (identity.ordinal, identity.incarnation, &container.id)
    });
    let instances = own.into_iter().map(|container| {
        let input = draft.input;
        let before = remembered(&agent.status, container);
        let serving = serving(input, container, before);
        let current = container.identity.revision == *asked;
        let history = History {
            agent,
            restart,
            container,
            before,
            lines: input.observed.last_lines.get(&container.id),
            now: input.now,
        };
        let last_exit = history.last_exit();
        let (failures, meant, heals_at) = history.failures(last_exit.as_ref(), serving);
        if let Some(moment) = heals_at {
            draft.look_at(moment);
        }
        Instance {
            container,
            before,
            current,
            serving,
            restarts: history.restarts(),
            last_exit,
            failures,
            meant,
        }
    });
    instances.collect()
}

struct History<'a> {
    agent: &'a Agent,
    restart: &'a Restart,
    container: &'a Container,
    before: Option<&'a InstanceStatus>,
    lines: Option<&'a LastLines>,
    now: Timestamp,
}

impl History<'_> {
    /// The end that is seen, else the one that is remembered. An end without a time is dated by the start, never by
    /// the present, so that it is the same end at every look.
    fn last_exit(&self) -> Option<LastExit> {
        let container = self.container;
        let remembered = || self.before.and_then(|before| before.last_exit.clone());
        if container.state != ContainerState::Exited {
            return remembered();
        }
        let Some(exit) = container.exit else {
            return remembered();
        };
        let dated = exit.at.or(container.started_at).or(container.created_at);
        let mut seen = LastExit {
            code: exit.code,
            oom_killed: exit.oom_killed,
            at: dated.unwrap_or(Timestamp::UNIX_EPOCH),
            last_lines: Vec::new(),
        };
        if let Some(read) = self.lines.filter(|read| read.ended == exit.at) {
            seen.last_lines.clone_from(&read.lines);
        } else if let Some(same) = remembered().filter(|remembered| remembered.is(&seen)) {
            seen.last_lines = same.last_lines;
        }
        Some(seen)
    }

    /// Failures in a row, whether the end was meant, and when a run will have ended the row.
    fn failures(
        &self,
        last_exit: Option<&LastExit>,
        serving: bool,
    ) -> (u32, bool, Option<Timestamp>) {
        let before = match self.before {
            Some(before) => before.failures,
            None => self.predecessor().map_or(0, |earlier| earlier.failures),
        };
        match self.container.state {
            ContainerState::Exited => {
                let seen = self.before.and_then(|before| before.last_exit.as_ref());
                let same_end = match (seen, last_exit) {
                    (Some(seen), Some(last)) => seen.is(last),
                    (None, None) => self.before.is_some(),
                    _ => false,
                } && self.before.is_some_and(|before| before.state == "exited");
                let stopped = self.agent.spec.state == DesiredState::Stopped
                    || self.agent.status.phase == Phase::Stopped;
                if stopped {
                    (0, true, None)
                } else if same_end {
                    (before, before == 0, None)
                } else {
                    let row = if self.ran_well(last_exit) { 0 } else { before };
                    (row.saturating_add(1), false, None)
                }
            }
            ContainerState::Running if before > 0 => {
                let well_after = backoff::well_after(self.restart, serving);
                match self.container.started_at {
                    Some(started) if since(started, self.now) >= well_after => (0, false, None),
                    Some(started) => (before, false, Some(later(started, well_after))),
                    None => (before, false, None),
                }
            }
            _ => (before, false, None),
        }
    }

    fn ran_well(&self, last_exit: Option<&LastExit>) -> bool {
        let (Some(started), Some(exit)) = (self.container.started_at, last_exit) else {
            return false;
        };
        let was_ready = self.before.is_some_and(|before| before.ready);
        since(started, exit.at) >= backoff::well_after(self.restart, was_ready)
    }

    fn restarts(&self) -> u32 {
        if let Some(before) = self.before {
            let started_again = before.started_at.is_some()
                && self.container.started_at.is_some()
                && before.started_at != self.container.started_at;
            return before.restarts.saturating_add(u32::from(started_again));
        }
        self.predecessor()
            .map_or(0, |earlier| earlier.restarts.saturating_add(1))
    }

    /// The one in whose place this container was made, when that is gone.
    fn predecessor(&self) -> Option<&InstanceStatus> {
        let identity = &self.container.identity;
        let earlier = self.agent.status.instances.iter().filter(|instance| {
            instance.ordinal == identity.ordinal
                && instance.revision == identity.revision
                && instance.incarnation < identity.incarnation
        });
        earlier.max_by_key(|instance| instance.incarnation)
    }
}
