//! The image of the asked revision: looked up only when a container of it is wanted, with a back-off of its own.

use super::action::Action;
use super::draft::{Draft, Rank};
use super::lifecycle::Frame;
use super::{backoff, history};
use crate::observed::{ImageId, ImageState};

/// The image to make containers of, if it is known. Else what is done about it is planned: it is resolved, or a failed
/// try rests. A lost one is resolved anew, which may help when the spec's name still leads somewhere; containers that
/// run on it are not touched, since nothing is replaced within a revision.
pub(super) fn wanted(draft: &mut Draft<'_>, frame: &Frame<'_, '_>) -> Option<ImageId> {
    let (agent, revision) = (frame.agent, frame.asked);
    let failed = match draft.input.observed.images.get(revision) {
        Some(ImageState::Resolved(image)) => return Some(image.clone()),
        Some(ImageState::Pulling(progress)) => {
            let image = agent.spec.image_or(&agent.metadata.name);
            draft.wait("Pulling", pulling(image, progress));
            return None;
        }
        Some(ImageState::Failed(failure)) => Some(failure),
        Some(ImageState::Lost { failed, .. }) => failed.as_ref(),
        Some(ImageState::Unresolved) | None => None,
    };
    if draft.rested(failed, backoff::image) {
        let image = frame.spec.image_or(&agent.metadata.name);
        let (number, shape, proven) = history::entry(draft, agent, revision);
        let resolve = Action::ResolveImage {
            revision: revision.clone(),
            image: image.to_owned(),
            pull: agent.spec.pull_policy,
            number,
            shape,
            proven,
        };
        if let Some(failure) = failed {
            draft.blocked(&failure.reason, failure.message.clone());
        }
        draft.act(
            Rank::Resolve,
            resolve,
            format!("image '{image}' is to be found for a new container"),
        );
        draft.wait("ResolvingImage", format!("waiting for image '{image}'"));
    }
    None
}

/// That an image is being pulled, and how far.
pub(super) fn pulling(image: &str, progress: &str) -> String {
    match progress {
        "" => format!("pulling image '{image}'"),
        progress => format!("pulling image '{image}': {progress}"),
    }
}
