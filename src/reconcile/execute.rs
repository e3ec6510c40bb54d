//! Carries a plan's actions out, in order, and stops at the first error. Holds no policy; the next pass looks at the
//! world afresh.

use std::net::Ipv4Addr;
use std::sync::atomic::Ordering;

use super::leadership::Standing;
use super::memo::again;
use super::pulls::{Pull, failed};
use super::{Key, PassError, Reconcile};
use crate::agent::spec::PullPolicy;
use crate::agent::{Agent, Check, EventKind, Revision, RevisionRecord, Shape};
use crate::clock;
use crate::names::AgentName;
use crate::observed::{Container, ContainerId, Failure, ImageId, Observed};
use crate::plan::{self, Action, Plan};
use crate::runtime::{RuntimeClass, RuntimeError};
use crate::store::Write;

/// Why there is no image.
enum ImageError {
    Pull(Failure),
    Engine(RuntimeError),
}

impl From<RuntimeError> for ImageError {
    fn from(error: RuntimeError) -> Self {
        Self::Engine(error)
    }
}

impl Reconcile {
    /// Whether anything was done. By the lease with which the pass `began`, or not at all.
    pub(super) async fn execute(
        &self,
        began: Standing,
        name: &AgentName,
        agent: Option<&Agent>,
        observed: &Observed,
        plan: &Plan,
    ) -> Result<bool, PassError> {
        for planned in &plan.actions {
            if self.foreign.load(Ordering::Relaxed) && planned.action.needs_store() {
                return Err(PassError::Stale("the store belongs to another cluster"));
            }
            tracing::info!(agent = %name, action = planned.action.word(), reason = %planned.reason, "acting");
            let work = async {
                let effect = self
                    .carry_out(name, agent, observed, &planned.action)
                    .await?;
                if let Some(word) = planned.action.event().filter(|_| effect) {
                    self.tell(Some(name), EventKind::Normal, word, &planned.reason);
                }
                Ok::<(), PassError>(())
            };
            let heals = planned.action.only_adds() && !planned.action.needs_store();
            let work = self.leadership.during(began, heals, work);
            work.await.ok_or(PassError::NotLeading)??;
        }
        Ok(!plan.actions.is_empty())
    }

    /// Whether it took effect; if not, why is remembered and was told.
    async fn carry_out(
        &self,
        name: &AgentName,
        agent: Option<&Agent>,
        observed: &Observed,
        action: &Action,
    ) -> Result<bool, PassError> {
        let runtime = &self.parts.runtime;
        match action {
            Action::ResolveImage {
                revision,
                image,
                pull,
                number,
                shape,
                proven,
            } => {
                let entry = (*number, shape.clone(), proven.clone());
                self.resolve(name, agent, revision, image, *pull, entry)
                    .await?;
            }
            Action::KeepRevision { record } => {
                self.keep_revision(name, agent, record.as_ref().clone())
                    .await?;
            }
            Action::ForgetRevision { revision, tag } => {
                self.forget_revision(name, agent, revision, tag.as_deref())
                    .await?;
            }
            Action::Create(wanted) => return self.create(name, agent, wanted).await,
            Action::Start { container } => {
                return self.start_again(name, agent, observed, container).await;
            }
            Action::Stop { container, grace } => runtime.stop(container, *grace).await?,
            Action::Pause { container } => runtime.pause(container).await?,
            Action::Unpause { container } => runtime.unpause(container).await?,
            Action::Remove { container } => self.remove(observed, container).await?,
            Action::Rename {
                container,
                name: wanted,
            } => match runtime.rename(container, wanted).await {
                // Somebody holds the name: ours to live with, the next pass decides.
                Err(error) if error.class() == RuntimeClass::Conflict => {}
                other => other?,
            },
            Action::Connect {
                container,
                network,
                aliases,
                address,
                own_address,
            } => {
                let mine = |address: &Ipv4Addr| {
                    let mut book = self.addresses.lock();
                    book.claim(*address, &container.0, clock::now())
                };
                let address = match address.filter(mine) {
                    Some(address) => Some(address),
                    None if *own_address => self.fresh_address(container),
                    None => None,
                };
                match runtime.connect(container, network, aliases, address).await {
                    Ok(()) => {}
                    // The network is gone, and the host's pass makes it again: nothing to rest for.
                    Err(error) if error.class() == RuntimeClass::NotFound => {
                        self.wake(Key::Host);
                        return Err(error.into());
                    }
                    Err(error) => {
                        return self.remember_of(
                            name,
                            agent,
                            observed,
                            container,
                            "ConnectFailed",
                            error,
                        );
                    }
                }
            }
            Action::Disconnect { container, network } => {
                runtime.disconnect(container, network).await?
            }
            Action::UpdateLimits { container, limits } => {
                runtime.update_limits(container, *limits).await?
            }
            Action::Finalize { uid } => {
                let write = Write::Finalize {
                    name: name.clone(),
                    uid: uid.clone(),
                    at: clock::now(),
                };
                self.parts.store.commit(&[write]).await?;
                self.parts.endpoints.withdraw(name);
            }
        }
        Ok(true)
    }

    /// Finds the image of a revision, keeps its id and tags it; a failure is remembered and is no error of the pass.
    async fn resolve(
        &self,
        name: &AgentName,
        agent: Option<&Agent>,
        revision: &Revision,
        image: &str,
        pull: PullPolicy,
        (number, shape, proven): (u64, Option<Shape>, Option<Check>),
    ) -> Result<(), PassError> {
        let Some(agent) = agent else { return Ok(()) };
        let found = match self.find_image(name, image, pull).await {
            Ok(Some(id)) => id,
            // The pass goes on without it, and is made again when the pull has ended.
            Ok(None) => return Ok(()),
            Err(error) => {
                self.remember_image(name, agent, revision, error);
                return Ok(());
            }
        };
        let record = RevisionRecord {
            revision: revision.clone(),
            number,
            image_id: found.0,
            image: image.to_owned(),
            tag: None,
            generation: agent.metadata.generation,
            at: clock::now(),
            shape,
            proven,
        };
        self.keep_revision(name, Some(agent), record).await?;
        self.memo
            .lock()
            .of(name, Some(agent))
            .images
            .remove(revision);
        Ok(())
    }

    fn remember_image(
        &self,
        name: &AgentName,
        agent: &Agent,
        revision: &Revision,
        error: ImageError,
    ) {
        let failure = {
            let mut memo = self.memo.lock();
            let images = &mut memo.of(name, Some(agent)).images;
            let failure = match error {
                ImageError::Pull(failure) => failure,
                ImageError::Engine(error) => failed(images.get(revision), &error, clock::now()),
            };
            images.insert(revision.clone(), failure.clone());
            failure
        };
        let kind = EventKind::Warning;
        self.tell(Some(name), kind, &failure.reason, &failure.message);
    }

    /// The id of an image; `None` while it is being pulled.
    async fn find_image(
        &self,
        name: &AgentName,
        image: &str,
        pull: PullPolicy,
    ) -> Result<Option<ImageId>, ImageError> {
        let runtime = &self.parts.runtime;
        let here = runtime.image(image).await?;
        // An image named by its id can come from nowhere but this machine.
        let pullable = pull != PullPolicy::Never && !image.starts_with("sha256:");
        if here.is_some() && !(pullable && pull == PullPolicy::Always) {
            return Ok(here);
        }
        if pullable {
            match self.pulls.want(name, image) {
                Pull::UnderWay => return Ok(None),
                Pull::Failed(failure) => return Err(ImageError::Pull(failure)),
                Pull::Done if here.is_some() => return Ok(here),
                Pull::Done => {}
            }
        }
        let remedy = if pullable {
            ""
        } else {
            " and may not be pulled"
        };
        Err(ImageError::Engine(RuntimeError::NotFound {
            call: "image",
            message: format!(
                "image '{image}' is not on this machine{remedy}; build it, or set `image:` or `build:`"
            ),
        }))
    }

    /// Starts a container that was made before; a failure is remembered for its ordinal, and is no error of the pass.
    async fn start_again(
        &self,
        name: &AgentName,
        agent: Option<&Agent>,
        observed: &Observed,
        id: &ContainerId,
    ) -> Result<bool, PassError> {
        match self.parts.runtime.start(id).await {
            Err(error) => {
                let reason = match error.class() {
                    RuntimeClass::Conflict => {
                        // Somebody has its address: the host's pass finds out who.
                        self.wake(Key::Host);
                        plan::START_CONFLICT
                    }
                    _ => plan::START_FAILED,
                };
                self.remember_of(name, agent, observed, id, reason, error)
            }
            Ok(()) => {
                if let Some(container) = seen(observed, id) {
                    self.forgive(name, agent, container.identity.ordinal);
                }
                Ok(true)
            }
        }
    }

    /// As [`Self::remember`], of a container that was seen.
    fn remember_of(
        &self,
        name: &AgentName,
        agent: Option<&Agent>,
        observed: &Observed,
        id: &ContainerId,
        reason: &str,
        error: RuntimeError,
    ) -> Result<bool, PassError> {
        match seen(observed, id) {
            Some(container) => {
                let identity = &container.identity;
                let place = (identity.ordinal, &identity.revision);
                self.remember(name, agent, place, reason, error)
            }
            None => Err(error.into()),
        }
    }

    /// A failed creation or start: remembered for its ordinal when trying again at once cannot help, else the pass's
    /// own error. Answers that there was no effect.
    pub(super) fn remember(
        &self,
        name: &AgentName,
        agent: Option<&Agent>,
        (ordinal, revision): (u32, &Revision),
        reason: &str,
        error: RuntimeError,
    ) -> Result<bool, PassError> {
        let class = error.class();
        if matches!(class, RuntimeClass::Transient)
            && matches!(error, RuntimeError::Unreachable { .. })
        {
            return Err(error.into());
        }
        let reason = if matches!(error, RuntimeError::HostPathDenied { .. }) {
            "HostPathDenied"
        } else {
            reason
        };
        let kind = EventKind::Warning;
        self.tell(Some(name), kind, reason, &error.to_string());
        let mut memo = self.memo.lock();
        let memo = memo.of(name, agent);
        let retryable = class != RuntimeClass::Terminal;
        let earlier = memo.failures.get(&ordinal);
        let earlier = earlier.filter(|earlier| earlier.of.as_ref() == Some(revision));
        let mut failure = again(earlier, reason, error.to_string(), retryable, clock::now());
        failure.of = Some(revision.clone());
        memo.failures.insert(ordinal, failure);
        Ok(false)
    }

    pub(super) fn forgive(&self, name: &AgentName, agent: Option<&Agent>, ordinal: u32) {
        self.memo.lock().of(name, agent).failures.remove(&ordinal);
    }

    async fn remove(&self, observed: &Observed, id: &ContainerId) -> Result<(), PassError> {
        self.parts.runtime.remove(id).await?;
        let attachment = seen(observed, id).and_then(|container| container.attachment.as_ref());
        if let Some(address) = attachment.and_then(|attachment| attachment.asked_ip) {
            self.addresses.lock().release(address, clock::now());
        }
        Ok(())
    }
}

/// A container as this pass saw it.
fn seen<'a>(observed: &'a Observed, id: &ContainerId) -> Option<&'a Container> {
    let mut containers = observed.containers.iter();
    containers.find(|container| container.id == *id)
}
