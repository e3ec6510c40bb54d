//! Which status an error gets: the one place that decides it, for the ports' errors and for our own.
//!
//! A [`Refusal`] becomes an answer without a body that carries its [`Problem`]; `envelope` writes the body, since it alone knows the
//! request's id. Never put a secret or a spec in a detail.

use axum::response::{IntoResponse, Response};
use http::header::{HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};

use crate::names::AgentName;
use crate::problem::{FieldProblem, Problem};
use crate::redis_link::LinkError;
use crate::runtime::RuntimeError;
use crate::store::StoreError;

/// What a handler answers: something, or a refusal.
pub(super) type Answer<T = Response> = Result<T, Refusal>;

/// A request that is not served, and why.
#[derive(Debug)]
pub(super) struct Refusal {
    problem: Box<Problem>,
    headers: HeaderMap,
}

impl Refusal {
    pub(super) fn new(
        status: StatusCode,
        word: &str,
        title: &str,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            problem: Box::new(Problem::new(status.as_u16(), word, title, detail)),
            headers: HeaderMap::new(),
        }
    }

    /// Adds a header to the answer.
    pub(super) fn header(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.insert(name, HeaderValue::from_static(value));
        self
    }

    /// Names the agent that it concerns.
    pub(super) fn about(mut self, name: &AgentName) -> Self {
        self.problem.agent = Some(name.to_string());
        self
    }

    /// What is told to the client.
    pub(super) fn problem(&self) -> &Problem {
        &self.problem
    }

    /// 400: the request's form is wrong.
    pub(super) fn bad(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "bad-request",
            "The request cannot be understood",
            detail,
        )
    }

    /// 400: fields of the body are wrong; all of them at once. Nothing was changed.
    pub(super) fn invalid(errors: Vec<FieldProblem>) -> Self {
        let detail = match errors.as_slice() {
            [one] if one.path.is_empty() => format!("{}; nothing was changed", one.message),
            [one] => format!("{}: {}; nothing was changed", one.path, one.message),
            many => format!("{} fields are wrong; nothing was changed", many.len()),
        };
        let mut refusal = Self::new(
            StatusCode::BAD_REQUEST,
            "invalid",
            "The specification is not valid",
            detail,
        );
        refusal.problem.errors = errors;
        refusal
    }

    /// 401: no token, or nobody's.
    pub(super) fn unauthorized(given: bool) -> Self {
        let (detail, challenge) = if given {
            (
                "the token is not valid here: an admin's is in the file admin.token of the server's data folder, and the well-known \
                 token is good on the loopback and gateway listeners alone",
                "Bearer realm=\"agentainer\", error=\"invalid_token\"",
            )
        } else {
            (
                "a token is needed: send 'Authorization: Bearer <token>' (the admin's is in the file admin.token of the server's data \
                 folder)",
                "Bearer realm=\"agentainer\"",
            )
        };
        Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "No valid token",
            detail,
        )
        .header(WWW_AUTHENTICATE, challenge)
    }

    /// 403: the token is good and not for this.
    pub(super) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            "This token may not do that",
            detail,
        )
    }

    /// 404: no such agent.
    pub(super) fn no_agent(name: &str, nearest: Option<&str>) -> Self {
        let shown: String = name.chars().take(80).collect();
        let hint = nearest.map_or_else(
            || "'agentainer get agents' lists those that exist".to_owned(),
            |nearest| format!("did you mean '{nearest}'?"),
        );
        let mut refusal = Self::new(
            StatusCode::NOT_FOUND,
            "agent-not-found",
            "No such agent",
            format!("there is no agent '{shown}'; {hint}"),
        );
        refusal.problem.agent = Some(shown);
        refusal
    }

    /// 404: no such kept request, of this agent or at all.
    pub(super) fn no_request(agent: Option<&str>) -> Self {
        let hint = agent.map_or_else(
            || {
                "it may have been forgotten by now, or the address is not the one that was given"
                    .to_owned()
            },
            |agent| format!("'agentainer requests list {agent}' shows those there are"),
        );
        Self::new(
            StatusCode::NOT_FOUND,
            "request-not-found",
            "No such request",
            format!("there is no such request; {hint}"),
        )
    }

    /// 409: the object or another's claim stands against it; nothing was changed.
    pub(super) fn conflict(word: &str, detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::CONFLICT,
            word,
            "Something stands against it",
            detail,
        )
    }

    /// 413: the body is larger than this route takes.
    pub(super) fn too_large(limit: u64) -> Self {
        let shown = match limit {
            l if l >= 1 << 20 => format!("{} MiB", l >> 20),
            l if l >= 1 << 10 => format!("{} KiB", l >> 10),
            l => format!("{l} bytes"),
        };
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            "The body is too large",
            format!("this route takes at most {shown}; nothing was changed"),
        )
    }

    /// 415: the body is of another type.
    pub(super) fn wrong_type(expected: &str) -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-media-type",
            "The body is of a type that this route does not take",
            format!("send it with 'Content-Type: {expected}'"),
        )
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut answer = StatusCode::from_u16(self.problem.status)
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            .into_response();
        answer.headers_mut().extend(self.headers);
        answer.extensions_mut().insert(Carried(self.problem));
        answer
    }
}

/// A problem on its way to `envelope`.
#[derive(Clone, Debug)]
pub(super) struct Carried(pub(super) Box<Problem>);

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        let detail = error.to_string();
        match error {
            StoreError::Link(LinkError::Unreachable { .. } | LinkError::Refused { .. }) => {
                tracing::warn!(error = %Chain(&error), "the store refused a request's call");
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "store-unavailable",
                    "The store is not available",
                    format!("{detail}; running agents run on, look at GET /ready and repeat"),
                )
                .header(RETRY_AFTER, "2")
            }
            StoreError::Conflict { ref name, .. } => Self::conflict("conflict", detail).about(name),
            StoreError::Expired => Self::new(
                StatusCode::GONE,
                "expired",
                "That position is gone",
                format!("{detail} (GET /agents) and watch from its resourceVersion"),
            ),
            StoreError::Superseded
            | StoreError::Corrupt { .. }
            | StoreError::Link(LinkError::Address { .. }) => {
                tracing::error!(error = %Chain(&error), "the store's contents cannot be used");
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "store-corrupt",
                    "The store's contents cannot be used",
                    detail,
                )
            }
        }
    }
}

impl From<RuntimeError> for Refusal {
    fn from(error: RuntimeError) -> Self {
        let detail = error.to_string();
        let (status, word, title) = match error {
            RuntimeError::Unreachable { .. } | RuntimeError::Timeout { .. } => {
                tracing::warn!(error = %Chain(&error), "the engine did not answer a request's call");
                let refusal = Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "runtime-unavailable",
                    "Docker is not available",
                    detail,
                );
                return refusal.header(RETRY_AFTER, "2");
            }
            RuntimeError::Conflict { .. } => (
                StatusCode::CONFLICT,
                "runtime-conflict",
                "Docker is at odds with it",
            ),
            RuntimeError::NotFound { .. } => (
                StatusCode::NOT_FOUND,
                "container-not-found",
                "Docker does not have it",
            ),
            RuntimeError::Refused { .. }
            | RuntimeError::HostPathDenied { .. }
            | RuntimeError::ImageNotFound { .. } => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "runtime-refused",
                "Docker refuses it",
            ),
            RuntimeError::Engine { .. } | RuntimeError::RegistryUnreachable { .. } => {
                (StatusCode::BAD_GATEWAY, "runtime-failed", "Docker failed")
            }
        };
        Self::new(status, word, title, detail)
    }
}

/// An error with its sources, for the log.
struct Chain<'a>(&'a (dyn std::error::Error + 'static));

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}
