//! `GET /agents/{id}/logs`: what its containers wrote; of one as it was written, of several line by line with a prefix.

use axum::body::Body;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use jiff::{SignedDuration, Timestamp};

use super::merged_log::{Source, in_order_of_arrival, in_order_of_time};
use super::{find, may_see};
use crate::agent::Agent;
use crate::agent::quantity::Span;
use crate::api::Call;
use crate::api::query::Query;
use crate::api::refusal::{Answer, Refusal};
use crate::clock;
use crate::observed::Container;
use crate::runtime::LogQuery;

pub(in crate::api) async fn logs(call: Call, Path(id): Path<String>) -> Answer<Response> {
    let agent = find(&call.api, &id).await?;
    may_see(&call.role, &agent, "logs")?;
    let query = log_query(&call.query)?;
    let mut containers = call.api.runtime.list_agent(&agent.metadata.name).await?;
    containers.retain(|container| container.identity.uid == agent.metadata.uid);
    containers
        .sort_by_key(|container| (container.identity.ordinal, container.identity.incarnation));
    let containers = chosen(&agent, containers, call.query.text("instance"))?;

    let until = call.api.shutdown.clone().cancelled_owned();
    let body = match containers.as_slice() {
        [one] => {
            let log = call.api.runtime.logs(&one.id, query).await?;
            let name = one.name.clone();
            let pieces = log.map(move |piece| match piece {
                Ok(chunk) => Ok(chunk.bytes),
                Err(error) => {
                    tracing::debug!(%error, container = name, "a log broke off");
                    Err(error)
                }
            });
            Body::from_stream(pieces.take_until(until))
        }
        several => {
            let by_time = !query.follow;
            let asked = LogQuery {
                timestamps: query.timestamps || by_time,
                ..query.clone()
            };
            let mut sources = Vec::new();
            for container in several {
                let log = call.api.runtime.logs(&container.id, asked.clone()).await?;
                sources.push(Source::new(&container.name, log));
            }
            if by_time {
                Body::from_stream(in_order_of_time(sources, query.timestamps).take_until(until))
            } else {
                Body::from_stream(in_order_of_arrival(sources).take_until(until))
            }
        }
    };
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response())
}

fn log_query(query: &Query) -> Answer<LogQuery> {
    let tail = match query.text("tail") {
        Some("all") => None,
        _ => query.number("tail")?,
    };
    Ok(LogQuery {
        tail,
        since: query.text("since").map(since).transpose()?,
        follow: query.flag("follow")?,
        timestamps: query.flag("timestamps")?,
    })
}

/// A time (RFC 3339), or so long ago (`10m`).
fn since(text: &str) -> Answer<Timestamp> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    let wrong = || {
        Refusal::bad("'since' is a time such as 2026-01-31T12:00:00Z, or so long ago: 10m, 1h30m")
    };
    let span: Span = text.parse().map_err(|_| wrong())?;
    let ago = SignedDuration::from_millis(i64::try_from(span.millis).map_err(|_| wrong())?);
    clock::now().checked_sub(ago).map_err(|_| wrong())
}

fn chosen(
    agent: &Agent,
    containers: Vec<Container>,
    instance: Option<&str>,
) -> Answer<Vec<Container>> {
    let name = &agent.metadata.name;
    let refuse = |detail: String| {
        Err(Refusal::new(
            StatusCode::NOT_FOUND,
            "no-instance",
            "No such instance",
            detail,
        )
        .about(name))
    };
    if containers.is_empty() {
        let phase = agent.status.phase;
        return refuse(format!(
            "agent '{name}' has no container yet, so there is no log ({phase}); 'agentainer describe {name}' says why"
        ));
    }
    let Some(instance) = instance else {
        return Ok(containers);
    };
    let ordinal = instance.parse::<u32>().ok();
    // Of one ordinal's history the newest is meant; the name of any is good.
    let by_name = containers
        .iter()
        .rfind(|container| container.name == instance);
    let found = by_name.or_else(|| {
        containers
            .iter()
            .rfind(|container| Some(container.identity.ordinal) == ordinal)
    });
    match found {
        Some(container) => Ok(vec![container.clone()]),
        None => {
            let known: Vec<&str> = containers
                .iter()
                .map(|container| container.name.as_str())
                .collect();
            refuse(format!(
                "agent '{name}' has no such instance; it has {}",
                known.join(", ")
            ))
        }
    }
}
