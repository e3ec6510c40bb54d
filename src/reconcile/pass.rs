//! One pass over one agent.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::host::ANOTHER_CLUSTER;
use super::leadership::{Role, Standing};
use super::{FormerLife, Key, PassError, Reconcile, Requeue};
use crate::agent::{Agent, AgentStatus, Metadata, Uid};
use crate::clock;
use crate::names::AgentName;
use crate::observed::Observed;
use crate::plan::{self, Input, Plan};
use crate::store::{self, StoreClass, StoreError};

/// Between two tries of a pass that waits for the first look at the host.
const HOST_LOOK: Duration = Duration::from_secs(1);
/// Between two looks of a server that does not act, at least.
const WATCHING: Duration = Duration::from_secs(1);
/// Between two tries to write a status that the store, which answers, does not take.
const UNSAVED: Duration = Duration::from_secs(5);
/// Until the next look when the store could not be read and the host's pass has not found it away: of an outage the
/// end is told, of a lost call nothing is.
const HICCUP: Duration = Duration::from_secs(2);

/// Why all is left alone while the store does not answer.
const AWAY: &str = "the store cannot be reached";

/// What a pass knows of the agent's object.
struct Loaded {
    agent: Option<Agent>,
    /// The status that the store has, where it is behind what passes went on from.
    behind: Option<AgentStatus>,
    /// The store cannot be reached: it is what was known last.
    away: bool,
    /// Why nothing may be removed now.
    frozen: Option<String>,
}

impl Reconcile {
    pub(super) async fn agent_pass(&self, name: &AgentName) -> Result<Requeue, PassError> {
        if !self.host_known.load(Ordering::Relaxed) {
            // Woken again as soon as the host was looked at.
            self.wake(Key::Host);
            return Ok(Requeue::After(HOST_LOOK));
        }
        let began = self.leadership.standing();
        let role = began.role;
        if role == Role::Follows && self.leadership.another_leads() {
            self.memo.lock().no_unsaved(name);
        }
        let Loaded {
            agent,
            behind,
            away,
            mut frozen,
        } = self.load(name).await?;
        if role == Role::Heals {
            frozen = frozen.or_else(|| Some(AWAY.to_owned()));
        }
        let unread = away;
        let away = away || role == Role::Heals;
        let observed = self.observe(name, agent.as_ref(), away).await;
        let seen = observed.is_ok() && !away && frozen.is_none();
        let attended = self.attend(name, agent.as_ref(), seen);
        let mut observed = observed?;
        observed.attended = attended;
        if let Some(agent) = &agent {
            frozen = frozen.or_else(|| self.older_store(name, agent, &observed));
        }
        let tombstones = self.tombstones(agent.as_ref(), &observed).await?;
        let now = clock::now();
        let input = Input {
            cluster: &self.settings.cluster,
            name,
            agent: agent.as_ref(),
            tombstones: &tombstones,
            frozen: frozen.as_deref(),
            follows: role == Role::Follows,
            observed: &observed,
            now,
        };
        let plan = plan::plan(&input);
        self.publish(name, agent.as_ref(), &observed, &plan, now);
        self.note_seen(name, agent.as_ref(), &observed, &tombstones);

        if role == Role::Follows {
            return Ok(self.watched(name, agent.as_ref(), &observed, &plan));
        }
        let rest = {
            let mut memo = self.memo.lock();
            let repeats = &mut memo.of(name, agent.as_ref()).repeats;
            repeats.rest(&plan.actions, Instant::now())
        };
        let done = match rest {
            Some(_) => Ok(false),
            None => {
                self.execute(began, name, agent.as_ref(), &observed, &plan)
                    .await
            }
        };
        if done.is_ok() {
            self.read_last_lines(name, agent.as_ref(), &observed, &plan)
                .await;
        }
        let saved = self
            .save_status(began, name, agent.as_ref(), &plan, away)
            .await;
        if let (Ok(true), Some(agent), Some(status)) = (&saved, &agent, &plan.status) {
            let before = behind.as_ref().unwrap_or(&agent.status);
            self.tell_turns(name, before, status, &observed);
        }
        let acted = done?;
        let retry = (!saved? && !away).then_some(UNSAVED);
        if let Some(wait) = rest {
            tracing::warn!(agent = %name, ?wait, "what was done several times did not help; it rests");
        } else {
            let mut memo = self.memo.lock();
            let repeats = &mut memo.of(name, agent.as_ref()).repeats;
            repeats.carried_out(&plan.actions, Instant::now());
        }
        if agent.is_none() && observed.containers.is_empty() {
            self.memo.lock().forget(name);
            self.pulls.forget(name);
            self.looked.lock().remove(name);
            return Ok(Requeue::Done);
        }
        self.looked.lock().insert(name.clone());
        // Whatever was done is looked at once more: a settled world costs one more look, a missed event nothing.
        if acted {
            self.wake(Key::Agent(name.clone()));
        }
        let unrecorded = agent.is_some() && observed.records.is_none();
        let hiccup = ((unread || unrecorded) && self.frozen.lock().is_none()).then_some(HICCUP);
        let next = [plan.recheck, rest, retry, hiccup];
        let next = next.into_iter().flatten().min();
        Ok(next.map_or(Requeue::Done, Requeue::After))
    }

    /// The end of a pass that only looks: another server acts.
    fn watched(
        &self,
        name: &AgentName,
        agent: Option<&Agent>,
        observed: &Observed,
        plan: &Plan,
    ) -> Requeue {
        let Some(agent) = agent else {
            if observed.containers.is_empty() {
                self.memo.lock().forget(name);
                return Requeue::Done;
            }
            return Self::watched_again(plan.recheck);
        };
        // What the store says is the leader's word, unless that one has yet to look.
        let agrees = |status: &AgentStatus| status.is_ready() == agent.status.is_ready();
        if self.leadership.another_leads() && plan.status.as_ref().is_some_and(agrees) {
            self.looked.lock().insert(name.clone());
        }
        let looked = self.looked.lock().contains(name);
        let unlooked = (!looked || observed.records.is_none()).then_some(WATCHING);
        Self::watched_again(plan.recheck.into_iter().chain(unlooked).min())
    }

    fn watched_again(rest: Option<Duration>) -> Requeue {
        rest.map_or(Requeue::Done, |rest| Requeue::After(rest.max(WATCHING)))
    }

    /// Since when the agent's world was looked at without a gap, this look included.
    fn attend(&self, name: &AgentName, agent: Option<&Agent>, seen: bool) -> Option<Timestamp> {
        let mut memo = self.memo.lock();
        let memo = memo.of(name, agent);
        memo.attended = seen.then(|| memo.attended.unwrap_or_else(clock::now));
        memo.attended
    }

    /// The object, or what was last known of it while the store is away or another cluster's (law 6).
    async fn load(&self, name: &AgentName) -> Result<Loaded, PassError> {
        let record = self.parts.store.cluster().await;
        self.note_owner(&record);
        if self.foreign.load(Ordering::Relaxed) {
            self.wake_host_if_thawed();
            return Ok(Loaded {
                agent: self.memo.lock().last(name),
                behind: None,
                away: true,
                frozen: Some(ANOTHER_CLUSTER.to_owned()),
            });
        }
        match self.parts.store.get(name).await {
            Ok(Some(agent)) => {
                // Not looked up while it is remembered, so that an older life's failures are forgotten.
                self.memo.lock().of(name, Some(&agent));
                let stored = agent.status.clone();
                let agent = self.with_unsaved(name, agent);
                Ok(Loaded {
                    behind: (agent.status != stored).then_some(stored),
                    agent: Some(agent),
                    away: false,
                    frozen: self.frozen.lock().clone(),
                })
            }
            Ok(None) => {
                self.memo.lock().no_object(name);
                Ok(Loaded {
                    agent: None,
                    behind: None,
                    away: false,
                    frozen: self.frozen.lock().clone(),
                })
            }
            Err(error) if error.class() == StoreClass::Transient => {
                self.wake_host_if_thawed();
                let last = self.memo.lock().last(name);
                let known = last.or_else(|| self.agents.get(name).map(|agent| (*agent).clone()));
                match known {
                    Some(agent) => Ok(Loaded {
                        agent: Some(self.with_unsaved(name, agent)),
                        behind: None,
                        away: true,
                        frozen: Some(AWAY.to_owned()),
                    }),
                    None => Err(error.into()),
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The agent with the status of its last pass, where the store did not take that: without it a crash loop would
    /// count its failures from the same number each time, and never rest.
    fn with_unsaved(&self, name: &AgentName, mut agent: Agent) -> Agent {
        if let Some(status) = &self.memo.lock().of(name, Some(&agent)).unsaved {
            agent.status = status.clone();
        }
        agent
    }

    /// Writes a status that says something new, if it can be written; answers whether the store has it. That it has not
    /// is no failure of the pass, whose next look must not wait for it.
    async fn save_status(
        &self,
        began: Standing,
        name: &AgentName,
        agent: Option<&Agent>,
        plan: &Plan,
        away: bool,
    ) -> Result<bool, PassError> {
        let (Some(agent), Some(status)) = (agent, &plan.status) else {
            return Ok(true);
        };
        let pending = self.memo.lock().of(name, Some(agent)).unsaved.is_some();
        if agent.status == *status && !pending {
            return Ok(true);
        }
        let unsaved = match away {
            true => true,
            false => match self.put_status(began, &agent.metadata, status).await? {
                Ok(()) => false,
                // What it rests on is no more: the next look sees what is.
                Err(StoreError::Conflict { .. }) => {
                    self.wake(Key::Agent(name.clone()));
                    return Ok(false);
                }
                Err(error) if error.class() == StoreClass::Transient => {
                    tracing::warn!(agent = %name, %error, "status was not written");
                    true
                }
                Err(error) => return Err(error.into()),
            },
        };
        let mut memo = self.memo.lock();
        let memo = memo.of(name, Some(agent));
        memo.unsaved = unsaved.then(|| status.clone());
        if let Some(last) = &mut memo.last {
            last.status = status.clone();
        }
        Ok(!unsaved)
    }

    async fn put_status(
        &self,
        began: Standing,
        read: &Metadata,
        status: &AgentStatus,
    ) -> Result<store::Result<()>, PassError> {
        let write = self.parts.store.put_status(read, status);
        let written = self.leadership.during(began, false, write).await;
        written.ok_or(PassError::NotLeading)
    }

    /// The host's pass says what is wrong with the store, and when it is well again.
    fn wake_host_if_thawed(&self) {
        if self.frozen.lock().is_none() {
            self.wake(Key::Host);
        }
    }

    /// A container of this life with a later generation than the object's: the store is older than the world. Holds
    /// until somebody writes the object again, which is their word that it is meant.
    fn older_store(&self, name: &AgentName, agent: &Agent, observed: &Observed) -> Option<String> {
        let ours = |uid: &Uid| *uid == agent.metadata.uid;
        let latest = observed
            .containers
            .iter()
            .filter(|container| ours(&container.identity.uid))
            .map(|container| container.identity.generation)
            .max()?;
        if latest <= agent.metadata.generation {
            // Over: should the store be older another time, that is another time.
            self.memo.lock().of(name, Some(agent)).older_at = None;
            return None;
        }
        let version = agent.metadata.resource_version;
        let mut memo = self.memo.lock();
        let first = *memo.of(name, Some(agent)).older_at.get_or_insert(version);
        (first == version).then(|| {
            format!(
                "the store is older than this agent's containers (generation {} against {latest}); \
                 `agentainer restart {name}` confirms the spec as it is",
                agent.metadata.generation
            )
        })
    }

    /// Which earlier lives of this agent are known to be deleted. Asked only when there are containers of one.
    async fn tombstones(
        &self,
        agent: Option<&Agent>,
        observed: &Observed,
    ) -> Result<BTreeSet<Uid>, PassError> {
        let current = agent.map(|agent| &agent.metadata.uid);
        let others: BTreeSet<Uid> = observed
            .containers
            .iter()
            .map(|container| &container.identity.uid)
            .filter(|uid| Some(*uid) != current)
            .cloned()
            .collect();
        if others.is_empty() {
            return Ok(BTreeSet::new());
        }
        let asked: Vec<Uid> = others.into_iter().collect();
        match self.parts.store.tombstones(&asked).await {
            Ok(dead) => Ok(dead.into_iter().collect()),
            // No proof, no removal.
            Err(error) if error.class() == StoreClass::Transient => Ok(BTreeSet::new()),
            Err(error) => Err(error.into()),
        }
    }

    /// Remembers which agents have containers, and which of those have no object and no tombstone.
    fn note_seen(
        &self,
        name: &AgentName,
        agent: Option<&Agent>,
        observed: &Observed,
        dead: &BTreeSet<Uid>,
    ) {
        {
            let mut seen = self.seen.lock();
            if observed.containers.is_empty() {
                seen.remove(name);
            } else {
                seen.insert(name.clone());
            }
        }
        let alive = observed
            .containers
            .iter()
            .map(|container| &container.identity);
        let latest = alive
            .filter(|identity| !dead.contains(&identity.uid))
            .max_by_key(|identity| identity.generation);
        let mut strays = self.strays.lock();
        match latest {
            Some(identity) if agent.is_none() => {
                let life = FormerLife {
                    uid: identity.uid.clone(),
                    generation: identity.generation,
                };
                if strays.insert(name.clone(), life).is_none() {
                    // The store forgot an agent: the host's pass finds out why.
                    self.wake(Key::Host);
                }
            }
            _ => {
                strays.remove(name);
            }
        }
    }
}
