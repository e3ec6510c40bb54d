//! Making a container: what it needs, and the action complete.

use std::time::Duration;

use crate::agent::Revision;
use crate::agent::spec::DesiredState;
use crate::observed::ContainerState;
use crate::plan::action::{Action, CreateInstance};
use crate::plan::course::Recipe;
use crate::plan::draft::{Draft, Rank, later};
use crate::plan::lifecycle::Frame;
use crate::plan::{backoff, dependencies, images, naming};

/// How long a removal that was begun may take before one goes on beside it.
const LEAVING: Duration = Duration::from_secs(2);
/// How often it is looked at meanwhile; its end is an event too.
const LEAVING_LOOK: Duration = Duration::from_millis(100);

/// What new containers are made from, when all that they need is there.
pub(super) fn makeable(draft: &mut Draft<'_>, frame: &Frame<'_, '_>) -> Option<Recipe> {
    let image = images::wanted(draft, frame);
    let ever_made = dependencies::ever_made(frame.agent, frame.instances);
    if !dependencies::met(draft, frame.agent, frame.spec, ever_made) {
        return None;
    }
    if draft.input.observed.network.is_none() {
        draft.wait("NetworkMissing", "waiting for the agents' network");
        return None;
    }
    Some(Recipe {
        revision: frame.asked.clone(),
        spec: frame.spec.clone(),
        restarted_at: frame.course.restarted_at.clone(),
        image: image?,
    })
}

/// What a container of the last good revision is made from, for a place that has lost its own while the asked revision
/// is not known to be good.
pub(super) fn good<'b>(draft: &Draft<'_>, frame: &Frame<'_, 'b>) -> Option<&'b Recipe> {
    let there = draft.input.observed.network.is_some();
    frame.course.good.as_ref().filter(|_| there)
}

/// Whether a container of a revision may be made for an ordinal now: no failed try of it rests, and none that is just being removed
/// still holds the agent's name, which the new one would then have to go without.
pub(super) fn rested(
    draft: &mut Draft<'_>,
    frame: &Frame<'_, '_>,
    ordinal: u32,
    revision: &Revision,
) -> bool {
    let agent = draft.input.name.as_str();
    let leaving = frame.instances.iter().find_map(|instance| {
        let container = instance.container;
        let ended = container.exit.and_then(|exit| exit.at)?;
        let holds_the_name = container.state == ContainerState::Removing
            && container.name == agent
            && container.identity.ordinal == ordinal;
        holds_the_name.then(|| later(ended, LEAVING))
    });
    if let Some(until) = leaving.filter(|until| *until > draft.input.now) {
        draft.wait("Removing", "waiting for the engine to finish a removal");
        draft.look_at(until);
        draft.look_in(LEAVING_LOOK);
        return false;
    }
    let failure = draft.input.observed.failures.get(&ordinal);
    let failure = failure.filter(|failure| failure.of.as_ref().is_none_or(|of| of == revision));
    draft.rested(failure, |failure| {
        backoff::effort(&frame.spec.restart, failure)
    })
}

/// Plans a container for an ordinal.
pub(super) fn create(draft: &mut Draft<'_>, frame: &Frame<'_, '_>, ordinal: u32, recipe: &Recipe) {
    let remembered = frame.agent.status.instances.iter();
    let remembered = remembered.filter(|instance| instance.ordinal == ordinal);
    let seen = draft
        .containers()
        .filter(|container| container.identity.ordinal == ordinal);
    let incarnations = seen.map(|container| container.identity.incarnation);
    let after = incarnations.chain(remembered.clone().map(|instance| instance.incarnation));
    let after = after.max().unwrap_or(0);
    let here = frame
        .instances
        .iter()
        .any(|instance| instance.ordinal() == ordinal);
    let reason = match remembered.max_by_key(|instance| instance.incarnation) {
        Some(before) if !here => format!("{} is gone", before.name),
        Some(_) if recipe.revision == *frame.asked => {
            format!("ordinal {ordinal} has no container of the asked revision")
        }
        Some(_) => format!("ordinal {ordinal} has no container of the last good revision"),
        None => format!("ordinal {ordinal} has no container"),
    };
    let take_agent_name = ordinal == 0 && naming::take_for_new(draft, frame.instances);
    let instance = CreateInstance {
        uid: frame.agent.metadata.uid.clone(),
        generation: frame.agent.metadata.generation,
        revision: recipe.revision.clone(),
        image: recipe.image.clone(),
        ordinal,
        after_incarnation: after,
        take_agent_name,
        spec: recipe.spec.clone(),
        restarted_at: recipe.restarted_at.clone(),
        paused: frame.spec.state == DesiredState::Paused,
        start: true,
    };
    draft.act(
        Rank::Create,
        Action::Create(Box::new(instance)),
        reason.clone(),
    );
    draft.wait("Creating", format!("{reason}; a new one is made"));
}
