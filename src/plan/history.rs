//! The history of an agent's revisions: what is recorded of the one that is asked for, and which are forgotten.

use super::action::Action;
use super::course::{Course, record};
use super::draft::{Draft, Rank};
use crate::agent::{Agent, REVISIONS_KEPT, Revision, RevisionRecord, Shape, next_number};
use crate::observed::ImageState;

/// The number and the shape under which a revision is recorded when its image is found.
pub(super) fn entry(draft: &Draft<'_>, agent: &Agent, revision: &Revision) -> (u64, Option<Shape>) {
    let records = draft.input.observed.records.as_deref().unwrap_or_default();
    let known = record(draft, revision);
    let number = known.map_or_else(|| next_number(records), |known| known.number);
    let shape = known.and_then(|known| known.shape.clone());
    let own = || (agent.revision() == *revision).then(|| Shape::of(agent));
    (number, shape.or_else(own))
}

/// Keeps the history as it shall be: the asked revision has the highest number, as in kubectl, and all that is needed to
/// make it again; and there are no more than [`REVISIONS_KEPT`].
pub(super) fn keep(draft: &mut Draft<'_>, agent: &Agent, course: &Course) {
    let Some(records) = draft.input.observed.records.as_deref() else {
        return;
    };
    if let Some(wanted) = wanted(draft, agent, &course.asked, records) {
        let record = Box::new(wanted);
        draft.act(
            Rank::Record,
            Action::KeepRevision { record },
            "the history of revisions is brought up to date",
        );
    }
    let surplus = records.len().saturating_sub(REVISIONS_KEPT);
    let last_good = agent.status.rollout.last_good.as_ref();
    let runs: Vec<&Revision> = draft
        .containers()
        .map(|container| &container.identity.revision)
        .collect();
    let needed = |revision: &Revision| {
        *revision == course.asked
            || *revision == course.target
            || last_good == Some(revision)
            || runs.contains(&revision)
    };
    let forgotten: Vec<&RevisionRecord> = records
        .iter()
        .filter(|record| !needed(&record.revision))
        .take(surplus)
        .collect();
    for record in forgotten {
        let forget = Action::ForgetRevision {
            revision: record.revision.clone(),
            tag: record.tag.clone(),
        };
        let reason = format!(
            "revision {} is older than the last {REVISIONS_KEPT}",
            record.number
        );
        draft.act(Rank::Record, forget, reason);
    }
}

/// Takes our names from all images of an agent that is gone, and forgets its revisions.
pub(super) fn let_go(draft: &mut Draft<'_>) {
    for record in draft.input.observed.records.as_deref().unwrap_or_default() {
        let forget = Action::ForgetRevision {
            revision: record.revision.clone(),
            tag: record.tag.clone(),
        };
        draft.act(Rank::Record, forget, "the agent is being deleted");
    }
}

/// What shall be recorded of the asked revision, where something else is.
fn wanted(
    draft: &Draft<'_>,
    agent: &Agent,
    asked: &Revision,
    records: &[RevisionRecord],
) -> Option<RevisionRecord> {
    // Without an image there is nothing to record; it is when the image is found.
    let Some(ImageState::Resolved(image)) = draft.input.observed.images.get(asked) else {
        return None;
    };
    let Some(known) = record(draft, asked) else {
        // The store forgot it, and its containers tell.
        return Some(RevisionRecord {
            revision: asked.clone(),
            number: next_number(records),
            image_id: image.0.clone(),
            image: agent.spec.image_or(&agent.metadata.name).to_owned(),
            tag: None,
            generation: agent.metadata.generation,
            at: draft.input.now,
            shape: Some(Shape::of(agent)),
        });
    };
    let highest = records.iter().map(|record| record.number).max();
    let latest = highest == Some(known.number);
    if latest && known.tag.is_some() && known.shape.is_some() {
        return None;
    }
    let mut wanted = known.clone();
    if !latest {
        wanted.number = next_number(records);
    }
    wanted.shape.get_or_insert_with(|| Shape::of(agent));
    Some(wanted)
}
