//! What ended containers last wrote, for people who look at a crash loop. Read after everything else was done, once for
//! each end, so that no restart waits for it.

use std::time::Duration;

use bytes::BytesMut;
use futures::StreamExt as _;

use super::{Key, Reconcile};
use crate::agent::Agent;
use crate::agent::redact::Secrets;
use crate::names::AgentName;
use crate::observed::{Container, LastLines, Observed};
use crate::plan::Plan;
use crate::runtime::LogQuery;

/// Lines that are shown.
const LINES: usize = 10;
/// What is read of a log, at most.
const BYTES: usize = 32 * 1024;
/// How long a look at a log may take.
const PATIENCE: Duration = Duration::from_secs(2);

impl Reconcile {
    /// Reads what the plan says is not known yet, and wants another pass when it did.
    pub(super) async fn read_last_lines(
        &self,
        name: &AgentName,
        agent: Option<&Agent>,
        observed: &Observed,
        plan: &Plan,
    ) {
        let Some(agent) = agent else { return };
        for id in &plan.unread {
            // Agents' names are everybody's.
            let others = observed.others.iter();
            let others = others.filter_map(|(name, there)| there.map(|_| name));
            let mut seen = observed.containers.iter();
            let Some(container) = seen.find(|container| container.id == *id) else {
                continue;
            };
            let read = tokio::time::timeout(PATIENCE, self.lines_of(agent, container, others));
            // A log that cannot be read is one without lines: this end is not asked about again.
            let lines = LastLines {
                ended: container.exit.and_then(|exit| exit.at),
                lines: read.await.ok().flatten().unwrap_or_default(),
            };
            let something = !lines.lines.is_empty();
            let mut memo = self.memo.lock();
            let memo = memo.of(name, Some(agent));
            memo.last_lines.insert(id.clone(), lines);
            if something {
                self.wake(Key::Agent(name.clone()));
            }
        }
    }

    async fn lines_of(
        &self,
        agent: &Agent,
        container: &Container,
        others: impl Iterator<Item = &AgentName>,
    ) -> Option<Vec<String>> {
        let query = LogQuery {
            tail: u64::try_from(LINES).ok(),
            ..LogQuery::default()
        };
        let mut log = self.parts.runtime.logs(&container.id, query).await.ok()?;
        let mut bytes = BytesMut::new();
        while let Some(Ok(chunk)) = log.next().await {
            bytes.extend_from_slice(&chunk.bytes);
            if bytes.len() >= BYTES {
                // The last line may end in the middle of a secret.
                let whole = bytes.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
                bytes.truncate(whole);
                break;
            }
        }
        let identity = &container.identity;
        let (uid, epoch, name) = (&identity.uid, identity.epoch, &identity.agent);
        let made_as = name.container(identity.ordinal, identity.incarnation);
        let injected = self
            .settings
            .injection
            .environment(name, uid, epoch, &made_as);
        let secrets = Secrets::of(&agent.spec.env)
            .injected(injected)
            .but([container.name.clone(), agent.spec.image_or(name).to_owned()])
            .but(others.map(AgentName::to_string));
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<String> = text
            .lines()
            .map(|line| secrets.line(line))
            .filter(|line| !line.is_empty())
            .collect();
        let surplus = lines.len().saturating_sub(LINES);
        Some(lines.into_iter().skip(surplus).collect())
    }
}
