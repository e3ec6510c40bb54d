//! The management API: REST under `/agents`, with Kubernetes' meanings (design, section 8).
//!
//! Owns who may ask what, what is shown to whom, and which status an error gets. Decides nothing about containers: it writes what
//! shall be into the store and shows what is. Built by the composition root as one [`axum::Router`], which the front end calls with
//! each request that is not the proxy's, after it put a [`Via`](crate::wire::Via) into the request's extensions.
//!
//! | file | holds |
//! | --- | --- |
//! | `routes` | the table of operations: the router and `openapi` are made from it |
//! | `envelope`, `hosts`, `auth` | what every request passes through, from the outside in |
//! | `query`, `body`, `spec` | what came in |
//! | `view`, `refusal` | what goes out |
//! | `agents/`, `apply/`, `builds`, `events`, `health`, `recover` | the operations |

mod agents;
mod apply;
pub mod auth;
mod body;
mod builds;
mod circle;
mod envelope;
mod events;
mod health;
mod hosts;
mod last_event;
pub mod openapi;
mod query;
mod recover;
mod refusal;
mod requests;
mod result_events;
mod results;
mod routes;
mod spec;
mod view;

use std::sync::Arc;

use axum::Router;
use axum::extract::FromRequestParts;
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use http::StatusCode;
use http::request::Parts;
use tokio_util::sync::CancellationToken;

use self::auth::{Gate, Role};
use self::query::Query;
use self::refusal::Refusal;
use crate::agent::Condition;
use crate::journal::{Backlog, EventJournal, News, RequestJournal};
use crate::names::AgentName;
use crate::reconcile::FormerLife;
use crate::recover::Recovery;
use crate::runtime::ContainerRuntime;
use crate::store::AgentStore;
use crate::tokens::Tokens;

/// All that the API works with. Cheap to clone.
#[derive(Clone)]
pub struct ApiState {
    /// Specs, statuses, events.
    pub store: Arc<dyn AgentStore>,
    /// The engine, for logs and builds alone.
    pub runtime: Arc<dyn ContainerRuntime>,
    /// Whose token is whose.
    pub tokens: Arc<Tokens>,
    /// Names that `Host` may carry beside loopback's and `host.docker.internal`: the gateway's address, what the operator
    /// configured. Asked with each request, since the gateway comes and goes.
    pub allowed_hosts: Arc<dyn Fn() -> Vec<String> + Send + Sync>,
    /// The host's own conditions, shown by `GET /ready`. Public: no secret may be in them.
    pub host_conditions: Arc<dyn Fn() -> Vec<Condition> + Send + Sync>,
    /// Told the name of each agent that a request changed, so that a pass can begin before the store's watch says so.
    pub wake: Arc<dyn Fn(&AgentName) + Send + Sync>,
    /// Who an agent was before the store forgot it, if its containers still run: one that is made under that name again is the
    /// same one, and its containers are its own again (law 6).
    pub former_life: FormerLives,
    /// Whether an agent was looked at since this server began: before that its status is an earlier server's.
    pub looked_at: Arc<dyn Fn(&AgentName) -> bool + Send + Sync>,
    /// The text of `GET /metrics`.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// Makes lost agents again; `None`: there is no snapshot to do it from.
    pub recovery: Option<Recovery>,
    /// Requests that are kept, and the news of them; `None`: none are.
    pub requests: Option<(Arc<dyn RequestJournal>, Arc<News>)>,
    /// Events of runs that are kept; `None`: none are.
    pub events: Option<Arc<dyn EventJournal>>,
    /// How large bodies may be.
    pub limits: Limits,
    /// Our version.
    pub version: Arc<str>,
    /// Ends watches and followed logs, so that a shutdown need not wait for them.
    pub shutdown: CancellationToken,
    ready: Arc<health::Readiness>,
}

impl ApiState {
    /// With no further host names, no conditions, nobody to wake and the usual limits; the fields are there to be set.
    pub fn new(
        store: Arc<dyn AgentStore>,
        runtime: Arc<dyn ContainerRuntime>,
        tokens: Tokens,
    ) -> Self {
        Self {
            store,
            runtime,
            tokens: Arc::new(tokens),
            allowed_hosts: Arc::new(Vec::new),
            host_conditions: Arc::new(Vec::new),
            wake: Arc::new(|_| {}),
            former_life: Arc::new(|_| None),
            looked_at: Arc::new(|_| true),
            metrics: Arc::new(String::new),
            recovery: None,
            requests: None,
            events: None,
            limits: Limits::default(),
            version: env!("CARGO_PKG_VERSION").into(),
            shutdown: CancellationToken::new(),
            ready: Arc::default(),
        }
    }

    /// What is kept for agents, as it was seen last.
    fn backlogs(&self) -> Option<Arc<Vec<Backlog>>> {
        self.requests.as_ref().and_then(|(_, news)| news.backlogs())
    }

    /// The journal, as far as there is one.
    fn requests(&self) -> Result<(&dyn RequestJournal, &News), Refusal> {
        match &self.requests {
            Some((journal, news)) => Ok((journal.as_ref(), news)),
            None => Err(Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "journal-unavailable",
                "The journal of requests is not available",
                "this server keeps no requests",
            )),
        }
    }
}

/// Asked who an agent was before the store forgot it.
pub type FormerLives = Arc<dyn Fn(&AgentName) -> Option<FormerLife> + Send + Sync>;

/// How large bodies may be, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// One agent's spec or patch.
    pub spec: u64,
    /// A bundle.
    pub apply: u64,
    /// A build context.
    pub build: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            spec: 1 << 20,
            apply: 4 << 20,
            build: 1 << 30,
        }
    }
}

/// The API as a router. Its paths are those of `routes`; anything else is a 404 problem.
pub fn router(api: ApiState) -> Router {
    let mut router = Router::new();
    for operation in routes::operations() {
        let gate = Gate {
            api: api.clone(),
            access: operation.access,
            params: operation.params,
        };
        let handler = (operation.handler)().route_layer(from_fn_with_state(gate, auth::gate));
        router = router.route(operation.path, handler);
    }
    router
        .fallback(no_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(api.clone(), hosts::check))
        .layer(axum::middleware::from_fn(envelope::wrap))
        .with_state(api)
}

async fn no_route(uri: http::Uri) -> Refusal {
    let bare = uri.path().trim_end_matches('/');
    let known = routes::operations().map(|operation| operation.path);
    let hint = crate::names::nearest(bare, known).map_or_else(
        || "GET /openapi.json lists the routes".to_owned(),
        |near| format!("did you mean '{near}'?"),
    );
    Refusal::new(
        StatusCode::NOT_FOUND,
        "no-such-route",
        "No such route",
        format!("there is nothing at this path; {hint}"),
    )
}

async fn wrong_method(method: http::Method) -> impl IntoResponse {
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        "This path does not take that method",
        format!("{method} is not for this path; the Allow header lists what is"),
    )
}

/// A request that came through its gate.
pub(in crate::api) struct Call {
    api: ApiState,
    role: Role,
    query: Query,
}

impl FromRequestParts<ApiState> for Call {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, api: &ApiState) -> Result<Self, Refusal> {
        // Every route has a gate, which puts both there; without them nothing is served.
        let role = parts
            .extensions
            .get::<Role>()
            .ok_or_else(|| Refusal::unauthorized(false))?;
        Ok(Self {
            api: api.clone(),
            role: role.clone(),
            query: parts.extensions.get::<Query>().cloned().unwrap_or_default(),
        })
    }
}
