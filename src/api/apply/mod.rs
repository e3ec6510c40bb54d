//! `POST /apply`: a whole bundle, all or none (design, section 3, "Apply").
//!
//! Reads the world, works out in pure code what the bundle makes of it ([`outcome`]), and writes that in one commit which holds only
//! if nothing it rests on changed meanwhile; else all over again. A dry run is the same without the commit.

mod outcome;

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, TryStreamExt};
use tokio::time::Instant;

use self::outcome::{Outcome, World};
use super::agents::TRIES;
use super::refusal::{Answer, Refusal};
use super::view::View;
use super::{ApiState, Call, body};
use crate::agent::{ApplyAgent, validate};
use crate::clock;
use crate::names::AgentName;
use crate::problem::FieldProblem;
use crate::store::StoreError;
use crate::wire::{ApplyOutcome, ApplyRequest, ApplyResponse, ApplyResult};

/// How long an agent that stays as it is may take to be looked at.
const LOOK: Duration = Duration::from_secs(5);
/// Between two looks whether it was.
const LOOK_AGAIN: Duration = Duration::from_millis(25);
/// Reads from the store at once.
const READS: usize = 16;

pub(super) async fn apply(call: Call, request: Request) -> Answer<Response> {
    let view = View::of(&call)?;
    let (parts, body) = request.into_parts();
    let value = body::json(&parts.headers, body, body::JSON, call.api.limits.apply).await?;
    let request: ApplyRequest = body::typed(value)?;
    let owner = owner_problem(&request.owner, "owner");
    for _ in 0..TRIES {
        let world = read(&call.api, &request).await?;
        let outcome = outcome::of(&request, &world, owner.clone())?;
        if request.dry_run {
            return Ok(answer(&view, true, outcome));
        }
        match commit(&call.api, outcome).await {
            Ok(outcome) => {
                looked_at(&call.api, &outcome).await;
                return Ok(answer(&view, false, outcome));
            }
            Err(StoreError::Conflict { name, .. }) => {
                tracing::debug!(agent = %name, "an agent changed under an apply; beginning again");
            }
            Err(error) => return Err(error.into()),
        }
    }
    let detail = "agents of this bundle are being changed by somebody else all the time; nothing was changed, repeat";
    Err(Refusal::conflict("conflict", detail))
}

/// Why a text is no owner's name, if it is none.
pub(super) fn owner_problem(owner: &str, path: &str) -> Option<FieldProblem> {
    let message = validate::owner(owner).err()?;
    Some(FieldProblem {
        path: path.to_owned(),
        message,
    })
}

async fn read(api: &ApiState, request: &ApplyRequest) -> Answer<World> {
    let list = api.store.list().await?;
    let live: BTreeMap<_, _> = list
        .agents
        .into_iter()
        .map(|agent| (agent.metadata.name.clone(), agent))
        .collect();
    let named: Vec<AgentName> = request
        .agents
        .iter()
        .map(|agent| &agent.name)
        .filter(|name| live.contains_key(*name))
        .cloned()
        .collect();
    let applied = futures::stream::iter(named)
        .map(|name| async {
            let record = api.store.applied(&name).await?;
            Ok::<_, StoreError>((name, record))
        })
        .buffered(READS)
        .try_collect::<Vec<_>>()
        .await?;
    let applied = applied.into_iter().filter_map(|(name, record)| {
        let known = serde_json::from_value::<ApplyAgent>(record?);
        if known.is_err() {
            tracing::warn!(agent = %name, "what was applied last cannot be read; taking it as never applied");
        }
        Some((name, known.ok()?))
    });
    let names = request.agents.iter().map(|agent| &agent.name);
    let former = names
        .filter_map(|name| Some((name.clone(), (api.former_life)(name)?)))
        .collect();
    Ok(World {
        former,
        applied: applied.collect(),
        live,
        now: clock::now(),
    })
}

async fn commit(api: &ApiState, mut outcome: Outcome) -> Result<Outcome, StoreError> {
    let written = api.store.commit(&outcome.writes).await?;
    for (result, object) in outcome.results.iter_mut().zip(written) {
        if let Some(object) = object {
            result.after = Some(object);
        }
        (api.wake)(&result.name);
    }
    Ok(outcome)
}

/// Waits a little until what stays as it is was looked at. Right after a server's start its status is that of an earlier
/// life, and who waits for it to be ready would believe that.
async fn looked_at(api: &ApiState, outcome: &Outcome) {
    let unchanged = |result: &&ApplyResult| result.outcome == ApplyOutcome::Unchanged;
    let all = || {
        let mut results = outcome.results.iter().filter(unchanged);
        results.all(|result| (api.looked_at)(&result.name))
    };
    let until = Instant::now() + LOOK;
    while !all() && Instant::now() < until {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn answer(view: &View, dry_run: bool, outcome: Outcome) -> Response {
    let mut results = outcome.results;
    for result in &mut results {
        result.before = result.before.take().map(|agent| view.show(agent));
        result.after = result.after.take().map(|agent| view.show(agent));
    }
    Json(ApplyResponse { dry_run, results }).into_response()
}
