//! Who is asking and what they may do: roles, and what each route demands (design, section 8, "Roles").
//!
//! Denies by default: a request whose listener is not known counts as come from outside.

pub mod files;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::ApiState;
use super::query::{Param, Query};
use super::refusal::{Answer, Refusal};
use crate::agent::{Agent, Uid};
use crate::tokens::{Holder, bearer};
use crate::wire::{Listener, Via};

/// Who is asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The operator: everything.
    Admin,
    /// One life of an agent: a viewer that also sees itself whole.
    Agent(Uid),
    /// Names, labels, status, upstreams and the names of environment variables.
    Viewer,
}

impl Role {
    /// Whether it may see all of this agent: its logs, events and values.
    pub(super) fn owns(&self, agent: &Agent) -> bool {
        match self {
            Self::Admin => true,
            Self::Agent(uid) => *uid == agent.metadata.uid,
            Self::Viewer => false,
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Agent(_) => "agent",
            Self::Viewer => "viewer",
        }
    }
}

/// What a route demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Nothing.
    Public,
    /// Any token; what is shown depends on it.
    Viewer,
    /// An admin's, or that of the agent itself.
    Itself,
    /// An admin's.
    Admin,
}

/// What one route's gate must know.
#[derive(Clone)]
pub(super) struct Gate {
    pub(super) api: ApiState,
    pub(super) access: Access,
    pub(super) params: &'static [Param],
}

/// Lets a request through to its handler with its role and its query, or refuses it.
pub(super) async fn gate(
    State(gate): State<Gate>,
    mut request: Request,
    next: Next,
) -> Answer<Response> {
    if gate.access != Access::Public {
        let role = role(&gate.api, request.extensions().get(), request.headers()).await?;
        tracing::Span::current().record("role", role.word());
        permit(gate.access, &role)?;
        request.extensions_mut().insert(role);
    }
    let query = Query::parse(request.uri(), gate.params)?;
    request.extensions_mut().insert(query);
    Ok(next.run(request).await)
}

fn permit(access: Access, role: &Role) -> Answer<()> {
    match (access, role) {
        (Access::Public | Access::Viewer, _)
        | (_, Role::Admin)
        | (Access::Itself, Role::Agent(_)) => Ok(()),
        (Access::Itself, Role::Viewer) => Err(Refusal::forbidden(
            "a viewer sees names, labels and status; this needs an admin's token, or that of the agent itself",
        )),
        (Access::Admin, _) => Err(Refusal::forbidden(
            "this needs an admin's token (the file admin.token of the server's data folder)",
        )),
    }
}

async fn role(api: &ApiState, via: Option<&Via>, headers: &HeaderMap) -> Answer<Role> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let Some(first) = given.next() else {
        return Err(Refusal::unauthorized(false));
    };
    if given.next().is_some() {
        return Err(Refusal::unauthorized(true));
    }
    let holder = bearer(first).and_then(|token| api.tokens.holder(token));
    match holder.ok_or_else(|| Refusal::unauthorized(true))? {
        Holder::Admin => Ok(Role::Admin),
        Holder::Default => match via.map(|via| via.listener) {
            Some(Listener::Loopback | Listener::Gateway) => Ok(Role::Viewer),
            Some(Listener::Extra) | None => Err(Refusal::unauthorized(true)),
        },
        // A token dies with the life of its agent. When the store cannot say, the handler will not get far either.
        Holder::Agent { uid, .. } => match api.store.tombstones(std::slice::from_ref(&uid)).await {
            Ok(dead) if dead.contains(&uid) => Err(Refusal::unauthorized(true)),
            Ok(_) | Err(_) => Ok(Role::Agent(uid)),
        },
    }
}
