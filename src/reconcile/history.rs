//! Carries out what a plan says of an agent's recorded revisions: the image first, then the record, so that what is
//! recorded is there, and what is forgotten is gone.

use super::{PassError, Reconcile};
use crate::agent::{Agent, Revision, RevisionRecord};
use crate::names::AgentName;
use crate::runtime::RuntimeClass;

impl Reconcile {
    /// Gives the image of a revision its name of ours, if it has none yet, and keeps the record.
    pub(super) async fn keep_revision(
        &self,
        name: &AgentName,
        agent: Option<&Agent>,
        mut record: RevisionRecord,
    ) -> Result<(), PassError> {
        let Some(agent) = agent else { return Ok(()) };
        if record.tag.is_none() {
            let (repository, tag) = (
                name.image_repository(),
                record.revision.tag(&self.settings.cluster),
            );
            let image = crate::observed::ImageId(record.image_id.clone());
            self.parts.runtime.tag(&image, &repository, &tag).await?;
            record.tag = Some(format!("{repository}:{tag}"));
        }
        let uid = &agent.metadata.uid;
        Ok(self.parts.store.put_revision(uid, &record).await?)
    }

    /// Takes our name from the image of a revision and forgets the record. A name that the engine does not let go harms
    /// nothing and keeps nothing up.
    pub(super) async fn forget_revision(
        &self,
        name: &AgentName,
        agent: Option<&Agent>,
        revision: &Revision,
        tag: Option<&str>,
    ) -> Result<(), PassError> {
        let Some(agent) = agent else { return Ok(()) };
        if let Some(tag) = tag {
            match self.parts.runtime.untag(tag).await {
                Err(error) if error.class() == RuntimeClass::Transient => return Err(error.into()),
                Err(error) => {
                    tracing::debug!(agent = %name, tag, %error, "an image keeps its name")
                }
                Ok(()) => {}
            }
        }
        let uid = &agent.metadata.uid;
        Ok(self.parts.store.forget_revision(uid, revision).await?)
    }
}
