//! `start`, `stop`, `pause`, `resume`, `restart` and `scale`: a word for a change of the spec.

use axum::body::Body;
use axum::extract::{Path, Request};
use axum::response::Response;

use super::change::{Precondition, change};
use super::rollout::refuse_paused;
use super::{find, shown};
use crate::agent::Agent;
use crate::agent::merge::Merged;
use crate::agent::spec::{DesiredState, Replicas};
use crate::api::refusal::{Answer, Refusal};
use crate::api::view::View;
use crate::api::{Call, body};
use crate::clock;
use crate::keys::RESTARTED_AT;
use crate::problem::FieldProblem;
use crate::wire::ScaleRequest;

pub(in crate::api) async fn start(
    call: Call,
    Path(id): Path<String>,
    request: Request,
) -> Answer<Response> {
    act(call, &id, request, |_, wanted| {
        wanted.spec.state = DesiredState::Running;
        Ok(())
    })
    .await
}

pub(in crate::api) async fn stop(
    call: Call,
    Path(id): Path<String>,
    request: Request,
) -> Answer<Response> {
    act(call, &id, request, |_, wanted| {
        wanted.spec.state = DesiredState::Stopped;
        Ok(())
    })
    .await
}

pub(in crate::api) async fn pause(
    call: Call,
    Path(id): Path<String>,
    request: Request,
) -> Answer<Response> {
    act(call, &id, request, |live, wanted| {
        refuse_stopped(live, "pause")?;
        wanted.spec.state = DesiredState::Paused;
        Ok(())
    })
    .await
}

pub(in crate::api) async fn resume(
    call: Call,
    Path(id): Path<String>,
    request: Request,
) -> Answer<Response> {
    act(call, &id, request, |live, wanted| {
        refuse_stopped(live, "resume")?;
        wanted.spec.state = DesiredState::Running;
        Ok(())
    })
    .await
}

/// New containers with the image resolved anew; a stopped agent is started, as `docker restart` does.
pub(in crate::api) async fn restart(
    call: Call,
    Path(id): Path<String>,
    request: Request,
) -> Answer<Response> {
    let now = clock::now().to_string();
    act(call, &id, request, move |live, wanted| {
        refuse_paused(live, "restarted")?;
        wanted
            .annotations
            .insert(RESTARTED_AT.to_owned(), now.clone());
        wanted.spec.state = DesiredState::Running;
        Ok(())
    })
    .await
}

pub(in crate::api) async fn scale(
    call: Call,
    Path(id): Path<String>,
    request: Request,
) -> Answer<Response> {
    let (parts, body) = request.into_parts();
    let value = body::json(&parts.headers, body, body::JSON, call.api.limits.spec).await?;
    let ScaleRequest { replicas } = body::typed(value)?;
    if replicas > 100 {
        return Err(Refusal::invalid(vec![FieldProblem {
            path: "replicas".to_owned(),
            message: "must be from 0 to 100".to_owned(),
        }]));
    }
    let request = Request::from_parts(parts, Body::empty());
    act(call, &id, request, move |_, wanted| {
        wanted.spec.replicas = Replicas(replicas);
        Ok(())
    })
    .await
}

fn refuse_stopped(live: &Agent, verb: &str) -> Answer<()> {
    let name = &live.metadata.name;
    if live.spec.state != DesiredState::Stopped {
        return Ok(());
    }
    let detail = format!(
        "agent '{name}' is stopped, so there is nothing to {verb}; 'agentainer start {name}' starts it"
    );
    Err(Refusal::conflict("stopped", detail).about(name))
}

pub(super) async fn act(
    call: Call,
    id: &str,
    request: Request,
    edit: impl Fn(&Agent, &mut Merged) -> Answer<()>,
) -> Answer<Response> {
    Wish::of(call, id, request).await?.carry_out(edit).await
}

/// An action that was asked for, and the agent that it is about.
pub(super) struct Wish {
    pub(super) call: Call,
    pub(super) live: Agent,
    view: View,
    precondition: Precondition,
}

impl Wish {
    pub(super) async fn of(call: Call, id: &str, request: Request) -> Answer<Self> {
        let view = View::of(&call)?;
        let (parts, body) = request.into_parts();
        // `scale` has read its own.
        body::none(&parts.headers, body).await?;
        let precondition = Precondition::of(&parts.headers)?;
        let live = find(&call.api, id).await?;
        Ok(Self {
            call,
            live,
            view,
            precondition,
        })
    }

    pub(super) async fn carry_out(
        self,
        edit: impl Fn(&Agent, &mut Merged) -> Answer<()>,
    ) -> Answer<Response> {
        let agent = change(&self.call.api, self.live, &self.precondition, edit).await?;
        Ok(shown(&self.view, agent))
    }
}
