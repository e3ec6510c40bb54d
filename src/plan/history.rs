//! The history of an agent's revisions: what is recorded of the one that is asked for, and which are forgotten.

use super::action::Action;
use super::course::{Course, record};
use super::draft::{Draft, Rank};
use crate::agent::{Agent, Check, REVISIONS_KEPT, Revision, RevisionRecord, Shape, next_number};
use crate::observed::ImageState;

/// The number, the shape and the check under which a revision is recorded when its image is found.
pub(super) fn entry(
    draft: &Draft<'_>,
    agent: &Agent,
    revision: &Revision,
) -> (u64, Option<Shape>, Option<Check>) {
    let records = draft.input.observed.records.as_deref().unwrap_or_default();
    let known = record(draft, revision);
    let number = known.map_or_else(|| next_number(records), |known| known.number);
    let shape = known.and_then(|known| known.shape.clone());
    let own = || (agent.revision() == *revision).then(|| Shape::of(agent));
    let proven = draft.checks.proven(revision).cloned();
    (number, shape.or_else(own), proven)
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
    // What has passed on an instance of another one before the spec asked for this one.
    let passed = records.iter().filter(|record| {
        let known = record.proven.is_some() || record.tag.is_none();
        !known && record.revision != course.asked
    });
    for record in passed {
        if let Some(proven) = draft.checks.proven(&record.revision).cloned() {
            let record = RevisionRecord {
                proven: Some(proven),
                ..record.clone()
            };
            let record = Box::new(record);
            draft.act(
                Rank::Record,
                Action::KeepRevision { record },
                "a check has passed on an instance of it",
            );
        }
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
    let proven = draft.checks.proven(asked);
    let image = match draft.input.observed.images.get(asked) {
        Some(ImageState::Resolved(image)) => Some(image),
        _ => None,
    };
    let Some(known) = record(draft, asked) else {
        // The store forgot it, and its containers tell. Without an image there is nothing to record; it is when the image is
        // found.
        return Some(RevisionRecord {
            revision: asked.clone(),
            number: next_number(records),
            image_id: image?.0.clone(),
            image: agent.spec.image_or(&agent.metadata.name).to_owned(),
            tag: None,
            generation: agent.metadata.generation,
            at: draft.input.now,
            shape: Some(Shape::of(agent)),
            proven: proven.cloned(),
        });
    };
    let mut wanted = known.clone();
    wanted.proven = proven.cloned();
    if image.is_some() {
        let highest = records.iter().map(|record| record.number).max();
        if highest != Some(known.number) {
            wanted.number = next_number(records);
        }
        wanted.shape.get_or_insert_with(|| Shape::of(agent));
    }
    let named = known.tag.is_some();
    (wanted != *known && named || image.is_some() && !named).then_some(wanted)
}
