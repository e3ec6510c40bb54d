//! `POST /recover`: the agents that the store lost are made again.

use axum::Json;
use axum::extract::Request;
use http::StatusCode;

use super::refusal::{Answer, Refusal};
use super::{Call, body};
use crate::recover::RecoverError;
use crate::wire::{RecoverOutcome, RecoverRequest, RecoverResponse};

pub(super) async fn recover(call: Call, request: Request) -> Answer<Json<RecoverResponse>> {
    let (parts, body) = request.into_parts();
    let value = body::json(&parts.headers, body, body::JSON, call.api.limits.spec).await?;
    let request: RecoverRequest = body::typed(value)?;
    let Some(recovery) = &call.api.recovery else {
        return Err(Refusal::new(
            StatusCode::NOT_IMPLEMENTED,
            "no-snapshot",
            "Nothing to recover from",
            "this server keeps no snapshot",
        ));
    };
    let response = recovery.run(request).await?;
    if !response.dry_run {
        let touched =
            |outcome| matches!(outcome, RecoverOutcome::Created | RecoverOutcome::Updated);
        for result in response
            .results
            .iter()
            .filter(|result| touched(result.outcome))
        {
            tracing::info!(agent = %result.name, from = ?result.from, "recovered");
            (call.api.wake)(&result.name);
        }
    }
    Ok(Json(response))
}

impl From<RecoverError> for Refusal {
    fn from(error: RecoverError) -> Self {
        match error {
            RecoverError::Store(error) => error.into(),
            RecoverError::Runtime(error) => error.into(),
            RecoverError::Snapshot(error) => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "snapshot-unreadable",
                "The snapshot cannot be read",
                format!("{error}; 'agentainer recover --from containers' does without it"),
            ),
        }
    }
}
