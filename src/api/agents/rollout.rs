//! `/agents/{id}/rollout`: how it stands, its history, and `undo`, `pause` and `resume`. `restart` is the agent's own.

use axum::Json;
use axum::extract::{Path, Request};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Map, Value};

use super::actions::{Wish, act};
use super::{find, may_see};
use crate::agent::merge::Merged;
use crate::agent::status::{RolloutState, condition};
use crate::agent::{Agent, Check, RevisionRecord, numbered};
use crate::api::Call;
use crate::api::refusal::{Answer, Refusal};
use crate::api::view::View;
use crate::keys::{RESTARTED_AT, ROLLOUT_PAUSED};
use crate::wire::{HistoryBody, HistoryEntry, MASK, RolloutBody};

/// `GET /agents/{id}/rollout`.
pub(in crate::api) async fn status(call: Call, Path(id): Path<String>) -> Answer<Response> {
    let agent = find(&call.api, &id).await?;
    let asked = agent.revision();
    let observed = agent.status.observed_generation >= agent.metadata.generation
        && agent.status.revision.as_ref() == Some(&asked);
    let message = said(&agent, observed);
    let (metadata, status) = (agent.metadata, agent.status);
    let body = RolloutBody {
        name: metadata.name,
        generation: metadata.generation,
        observed_generation: status.observed_generation,
        observed,
        phase: status.phase,
        revision: Some(asked),
        replicas: agent.spec.replicas.0,
        updated_replicas: status.updated_replicas,
        ready_replicas: status.ready_replicas,
        rollout: status.rollout,
        message,
    };
    Ok(Json(body).into_response())
}

fn said(agent: &Agent, observed: bool) -> String {
    let status = &agent.status;
    if !observed {
        return "the spec was not acted on yet".to_owned();
    }
    let progressing = status.condition(condition::PROGRESSING);
    match (&status.rollout.failed, status.rollout.state) {
        (Some(failed), RolloutState::Failed | RolloutState::RolledBack) => failed.message.clone(),
        (_, RolloutState::Complete) => "all instances are of the revision asked for".to_owned(),
        _ => progressing.map_or_else(String::new, |said| said.message.clone()),
    }
}

/// `GET /agents/{id}/rollout/history`.
pub(in crate::api) async fn history(call: Call, Path(id): Path<String>) -> Answer<Response> {
    let view = View::of(&call)?;
    let agent = find(&call.api, &id).await?;
    may_see(&call.role, &agent, "history")?;
    let records = call.api.store.revisions(&agent.metadata.uid).await?;
    let (asked, good) = (agent.revision(), &agent.status.rollout.last_good);
    let entry = |record: RevisionRecord| HistoryEntry {
        current: record.revision == asked,
        last_good: good.as_ref() == Some(&record.revision),
        spec: record.shape.map(|shape| masked(&view, &agent, shape.spec)),
        number: record.number,
        revision: record.revision,
        image: record.image,
        image_id: record.image_id,
        generation: record.generation,
        at: record.at,
    };
    let items = numbered(records).into_iter().map(entry).collect();
    Ok(Json(HistoryBody { items }).into_response())
}

fn masked(view: &View, agent: &Agent, mut spec: Map<String, Value>) -> Map<String, Value> {
    if !view.reveals(agent)
        && let Some(Value::Object(env)) = spec.get_mut("env")
    {
        env.values_mut().for_each(|value| *value = MASK.into());
    }
    spec
}

/// `POST /agents/{id}/rollout/undo`: the container-shaping fields of an earlier revision come back into the spec, and the health
/// check that passed on it last.
pub(in crate::api) async fn undo(
    call: Call,
    Path(id): Path<String>,
    request: Request,
) -> Answer<Response> {
    let to = call
        .query
        .number("toRevision")?
        .filter(|number| *number > 0);
    let wish = Wish::of(call, &id, request).await?;
    let store = &wish.call.api.store;
    let records = numbered(store.revisions(&wish.live.metadata.uid).await?);
    wish.carry_out(|live, wanted| {
        refuse_paused(live, "undone")?;
        go_back(chosen(live, &records, to)?, live, wanted)
    })
    .await
}

/// The revision of this number; else the one that is asked for when that is good by another health check than the spec's; else
/// the last good one when the one that is asked for never was good, else the one before.
fn chosen<'a>(
    live: &Agent,
    records: &'a [RevisionRecord],
    to: Option<u64>,
) -> Answer<&'a RevisionRecord> {
    let name = &live.metadata.name;
    let (asked, good) = (live.revision(), live.status.rollout.last_good.as_ref());
    if let Some(number) = to {
        let found = records.iter().find(|record| record.number == number);
        return found.ok_or_else(|| {
            let detail = format!(
                "agent '{name}' has no revision {number} on record; `agentainer rollout history {name}` lists those it has"
            );
            let title = "No such revision";
            Refusal::new(StatusCode::NOT_FOUND, "revision-not-found", title, detail).about(name)
        });
    }
    let own = Check::of(&live.spec);
    let by_another = records.iter().find(|record| {
        let proven = record.proven.as_ref();
        record.revision == asked
            && good == Some(&asked)
            && proven.is_some_and(|one| !one.asks_like(&own))
    });
    if let Some(record) = by_another {
        return Ok(record);
    }
    let others = || records.iter().filter(|record| record.revision != asked);
    let last_good = others().find(|record| Some(&record.revision) == good);
    let before = others().max_by_key(|record| record.number);
    last_good.or(before).ok_or_else(|| {
        let detail = format!("agent '{name}' has no earlier revision to go back to");
        Refusal::conflict("no-earlier-revision", detail).about(name)
    })
}

fn go_back(record: &RevisionRecord, live: &Agent, wanted: &mut Merged) -> Answer<()> {
    let name = &live.metadata.name;
    if let Some(proven) = &record.proven {
        wanted.spec.health_check.clone_from(&proven.health_check);
    }
    if record.revision == live.revision() {
        return Ok(());
    }
    let found = record.shape.as_ref();
    let Some((shape, spec)) = found.and_then(|shape| Some((shape, shape.onto(&wanted.spec)?)))
    else {
        let detail = format!(
            "what revision {} of agent '{name}' was made from is not on record; apply its manifest instead",
            record.number
        );
        return Err(Refusal::conflict("revision-without-spec", detail).about(name));
    };
    wanted.spec = spec.normalized();
    let key = RESTARTED_AT.to_owned();
    match &shape.restarted_at {
        Some(moment) => wanted.annotations.insert(key, moment.clone()),
        None => wanted.annotations.remove(&key),
    };
    Ok(())
}

/// `POST /agents/{id}/rollout/pause`.
pub(in crate::api) async fn pause(
    call: Call,
    Path(id): Path<String>,
    request: Request,
) -> Answer<Response> {
    act(call, &id, request, |live, wanted| {
        if paused(live) {
            let name = &live.metadata.name;
            let detail = format!("the rollout of agent '{name}' is paused already");
            return Err(Refusal::conflict("rollout-paused", detail).about(name));
        }
        let annotations = &mut wanted.annotations;
        annotations.insert(ROLLOUT_PAUSED.to_owned(), "true".to_owned());
        Ok(())
    })
    .await
}

/// `POST /agents/{id}/rollout/resume`.
pub(in crate::api) async fn resume(
    call: Call,
    Path(id): Path<String>,
    request: Request,
) -> Answer<Response> {
    act(call, &id, request, |live, wanted| {
        if !paused(live) {
            let name = &live.metadata.name;
            let detail = format!("the rollout of agent '{name}' is not paused");
            return Err(Refusal::conflict("rollout-not-paused", detail).about(name));
        }
        wanted.annotations.remove(ROLLOUT_PAUSED);
        Ok(())
    })
    .await
}

fn paused(live: &Agent) -> bool {
    let annotation = live.metadata.annotations.get(ROLLOUT_PAUSED);
    annotation.is_some_and(|held| held == "true")
}

/// Refuses what a paused rollout would not carry out.
pub(super) fn refuse_paused(live: &Agent, what: &str) -> Answer<()> {
    if !paused(live) {
        return Ok(());
    }
    let name = &live.metadata.name;
    let detail = format!(
        "the rollout of agent '{name}' is paused and cannot be {what}; 'agentainer rollout resume {name}' first"
    );
    Err(Refusal::conflict("rollout-paused", detail).about(name))
}
