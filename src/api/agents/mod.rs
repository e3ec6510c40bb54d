//! The operations on agents. Each file is one kind of them; what they share is here.

mod actions;
mod change;
mod list;
mod logs;
mod merged_log;
mod rollout;
mod selector;
mod watch;
mod write;

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::header::{ETAG, HeaderValue};

pub(super) use self::actions::{pause, restart, resume, scale, start, stop};
pub(super) use self::change::{TRIES, refuse_deleted, with_parts};
pub(super) use self::list::list;
pub(super) use self::logs::logs;
pub(super) use self::rollout::{
    history, pause as pause_rollout, resume as resume_rollout, status as rollout, undo,
};
pub(super) use self::write::{create, delete, new_agent, patch, put};
use super::auth::Role;
use super::refusal::{Answer, Refusal};
use super::view::View;
use super::{ApiState, Call};
use crate::agent::Agent;
use crate::names::{AgentName, nearest};

/// `GET /agents/{id}`: desired beside actual.
pub(super) async fn get(call: Call, Path(id): Path<String>) -> Answer<Response> {
    let view = View::of(&call)?;
    let agent = find(&call.api, &id).await?;
    Ok(shown(&view, agent))
}

/// The agent of this name, or the refusal that there is none, with the nearest that there is.
pub(super) async fn find(api: &ApiState, id: &str) -> Answer<Agent> {
    let found = match AgentName::new(id) {
        Ok(name) => api.store.get(&name).await?,
        Err(_) => None,
    };
    match found {
        Some(agent) => Ok(agent),
        None => {
            let names: BTreeMap<AgentName, ()> = match api.store.list().await {
                Ok(list) => list
                    .agents
                    .into_iter()
                    .map(|agent| (agent.metadata.name, ()))
                    .collect(),
                Err(_) => BTreeMap::new(),
            };
            Err(Refusal::no_agent(
                id,
                nearest(id, names.keys().map(AgentName::as_str)),
            ))
        }
    }
}

/// Refuses those that may not see `what` of this agent.
pub(super) fn may_see(role: &Role, agent: &Agent, what: &str) -> Answer<()> {
    if role.owns(agent) {
        return Ok(());
    }
    Err(
        Refusal::forbidden(format!("an agent sees its own {what} alone"))
            .about(&agent.metadata.name),
    )
}

/// An agent as an answer, with its version as the entity tag that `If-Match` takes.
fn shown(view: &View, agent: Agent) -> Response {
    let tag = HeaderValue::from_str(&format!("\"{}\"", agent.metadata.resource_version));
    let mut answer = Json(view.show(agent)).into_response();
    if let Ok(tag) = tag {
        answer.headers_mut().insert(ETAG, tag);
    }
    answer
}
