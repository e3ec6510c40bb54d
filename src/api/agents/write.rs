//! `POST /agents`, and `PUT`, `PATCH` and `DELETE` of one.

use axum::extract::{Path, Request};
use axum::response::Response;
use http::header::{IF_NONE_MATCH, LOCATION};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::json;

use super::change::{Precondition, TRIES, change};
use super::{find, shown};
use crate::agent::merge::{self, Merged};
use crate::agent::{Agent, ApplyAgent, FieldPath, Metadata, ResourceVersion, Uid};
use crate::api::refusal::{Answer, Refusal};
use crate::api::view::View;
use crate::api::{ApiState, Call, body, circle, spec};
use crate::clock;
use crate::keys::{API_VERSION, DEFAULT_OWNER, FINALIZER};
use crate::names::AgentName;
use crate::problem::FieldProblem;
use crate::reconcile::FormerLife;
use crate::store::{StoreError, Write};
use crate::wire::{AgentWrite, MetadataWrite};

/// Annotations that the server sets.
const OURS: &str = "agentainer.dev/";

/// `POST /agents`: a new one; 409 when there is one of that name.
pub(in crate::api) async fn create(call: Call, request: Request) -> Answer<Response> {
    let view = View::of(&call)?;
    let (parts, body) = request.into_parts();
    let value = body::json(&parts.headers, body, body::JSON, call.api.limits.spec).await?;
    let wanted: AgentWrite = body::typed(value)?;
    let Some(name) = wanted.metadata.name.clone() else {
        return Err(Refusal::invalid(vec![wrong("metadata.name", "is missing")]));
    };
    create_new(&call.api, &view, &name, wanted).await
}

/// `PUT /agents/{id}`: all of it is replaced; it is made when there is none, unless the request names a version.
pub(in crate::api) async fn put(
    call: Call,
    Path(id): Path<String>,
    request: Request,
) -> Answer<Response> {
    let view = View::of(&call)?;
    let (parts, body) = request.into_parts();
    let value = body::json(&parts.headers, body, body::JSON, call.api.limits.spec).await?;
    let wanted: AgentWrite = body::typed(value)?;
    let precondition = precondition(&parts.headers, &wanted.metadata)?;
    let live = match AgentName::new(id.as_str()) {
        Ok(name) => call.api.store.get(&name).await?,
        Err(error) => {
            return Err(Refusal::invalid(vec![wrong(
                "metadata.name",
                &error.to_string(),
            )]));
        }
    };
    match live {
        Some(live) => {
            if parts.headers.contains_key(IF_NONE_MATCH) {
                return Err(exists(&live.metadata.name));
            }
            let edit = |live: &Agent, parts: &mut Merged| replace(live, wanted.clone(), parts);
            let agent = change(&call.api, live, &precondition, edit).await?;
            Ok(shown(&view, agent))
        }
        None if precondition != Precondition::default() => Err(Refusal::no_agent(&id, None)),
        None => {
            let name =
                AgentName::new(id.as_str()).map_err(|error| Refusal::bad(error.to_string()))?;
            if wanted
                .metadata
                .name
                .as_ref()
                .is_some_and(|given| *given != name)
            {
                return Err(Refusal::invalid(vec![wrong(
                    "metadata.name",
                    "is another than the path's",
                )]));
            }
            create_new(&call.api, &view, &name, wanted).await
        }
    }
}

/// `PATCH /agents/{id}`: a JSON Merge Patch (RFC 7396) of `metadata` and `spec`.
pub(in crate::api) async fn patch(
    call: Call,
    Path(id): Path<String>,
    request: Request,
) -> Answer<Response> {
    let view = View::of(&call)?;
    let (parts, body) = request.into_parts();
    let change_wanted = body::json(
        &parts.headers,
        body,
        body::MERGE_PATCH,
        call.api.limits.spec,
    )
    .await?;
    if !change_wanted.is_object() {
        return Err(Refusal::bad(
            "a merge patch of an agent is an object, such as {\"spec\": {\"replicas\": 2}}",
        ));
    }
    let live = find(&call.api, &id).await?;
    let patched = |live: &Agent| -> Answer<AgentWrite> {
        let labels = &live.metadata.labels;
        let mut document = json!({
            "metadata": {"labels": labels, "annotations": live.metadata.annotations},
            "spec": live.spec,
        });
        merge::patch(&mut document, &change_wanted);
        body::typed(document)
    };
    let precondition = precondition(&parts.headers, &patched(&live)?.metadata)?;
    let edit = |live: &Agent, parts: &mut Merged| replace(live, patched(live)?, parts);
    let agent = change(&call.api, live, &precondition, edit).await?;
    Ok(shown(&view, agent))
}

/// `DELETE /agents/{id}`: its containers are removed, then it is gone; until then it is shown with a `deletionTimestamp`.
pub(in crate::api) async fn delete(
    call: Call,
    Path(id): Path<String>,
    request: Request,
) -> Answer<Response> {
    let view = View::of(&call)?;
    let (parts, body) = request.into_parts();
    body::none(&parts.headers, body).await?;
    let precondition = Precondition::of(&parts.headers)?;
    let mut live = find(&call.api, &id).await?;
    for _ in 0..TRIES {
        precondition.check(&live)?;
        let at = clock::now();
        let name = live.metadata.name.clone();
        let write = Write::Delete {
            name: name.clone(),
            expected: Some(live.metadata.resource_version),
            at,
        };
        match call.api.store.commit(&[write]).await {
            Ok(written) => {
                (call.api.wake)(&name);
                let mut agent = written.into_iter().next().flatten().unwrap_or(live);
                agent.metadata.deletion_timestamp.get_or_insert(at);
                let mut answer = shown(&view, agent);
                *answer.status_mut() = StatusCode::ACCEPTED;
                return Ok(answer);
            }
            Err(StoreError::Conflict { .. }) => live = find(&call.api, &id).await?,
            Err(error) => return Err(error.into()),
        }
    }
    Err(Refusal::conflict(
        "conflict",
        "the agent is being changed all the time; nothing was changed, repeat",
    ))
}

fn precondition(headers: &HeaderMap, metadata: &MetadataWrite) -> Answer<Precondition> {
    let header = Precondition::of(headers)?;
    let version = metadata.resource_version;
    if let (Some(one), Some(other)) = (header.version, version)
        && one != other
    {
        return Err(Refusal::bad(
            "If-Match and metadata.resourceVersion name different versions",
        ));
    }
    Ok(Precondition {
        version: header.version.or(version),
        uid: metadata.uid.clone(),
    })
}

fn replace(live: &Agent, mut wanted: AgentWrite, parts: &mut Merged) -> Answer<()> {
    let mut errors = kind_problems(&wanted);
    if wanted
        .metadata
        .name
        .as_ref()
        .is_some_and(|name| *name != live.metadata.name)
    {
        errors.push(wrong(
            "metadata.name",
            "is another than the path's; an agent cannot be renamed",
        ));
    }
    if wanted
        .metadata
        .owner
        .as_ref()
        .is_some_and(|owner| *owner != live.metadata.owner)
    {
        errors.push(wrong(
            "metadata.owner",
            "cannot be changed here; 'agentainer apply --force' takes an agent over",
        ));
    }
    spec::unmask(&mut wanted.spec, Some(live));
    // What the server noted stays unless it is named: a replacement of the spec must not undo a restart, which would be another.
    for (key, value) in &live.metadata.annotations {
        if key.starts_with(OURS) && !wanted.metadata.annotations.contains_key(key) {
            let annotations = &mut wanted.metadata.annotations;
            annotations.insert(key.clone(), value.clone());
        }
    }
    *parts = checked(&live.metadata.name, Some(live), wanted, errors)?;
    Ok(())
}

fn checked(
    name: &AgentName,
    live: Option<&Agent>,
    wanted: AgentWrite,
    mut errors: Vec<FieldProblem>,
) -> Answer<Merged> {
    let wanted = ApplyAgent {
        name: name.clone(),
        labels: wanted.metadata.labels,
        annotations: wanted.metadata.annotations,
        spec: wanted.spec,
    };
    errors.extend(spec::check(&wanted, live, &FieldPath::root()));
    if !errors.is_empty() {
        return Err(Refusal::invalid(errors));
    }
    merge::apply(None, &wanted, None)
        .map_err(|error| Refusal::invalid(vec![wrong("spec", &error.to_string())]))
}

fn kind_problems(wanted: &AgentWrite) -> Vec<FieldProblem> {
    let mut errors = Vec::new();
    if wanted
        .api_version
        .as_ref()
        .is_some_and(|version| version != API_VERSION)
    {
        errors.push(wrong("apiVersion", &format!("must be '{API_VERSION}'")));
    }
    if wanted.kind.as_ref().is_some_and(|kind| kind != "Agent") {
        errors.push(wrong("kind", "must be 'Agent'; bundles go to POST /apply"));
    }
    errors
}

async fn create_new(
    api: &ApiState,
    view: &View,
    name: &AgentName,
    mut wanted: AgentWrite,
) -> Answer<Response> {
    let mut errors = kind_problems(&wanted);
    let owner = wanted
        .metadata
        .owner
        .take()
        .unwrap_or_else(|| DEFAULT_OWNER.to_owned());
    errors.extend(super::super::apply::owner_problem(&owner, "metadata.owner"));
    let known = api.store.list().await?.agents;
    let clash = name.clash(known.iter().map(|agent| &agent.metadata.name));
    errors.extend(clash.map(|message| FieldProblem {
        path: "metadata.name".to_owned(),
        message,
    }));
    let parts = checked(name, None, wanted, errors)?;
    let mut guard = circle::guard(api, name, &parts.spec.depends_on).await?;
    let agent = new_agent(name, &owner, parts, (api.former_life)(name));
    let mut writes = vec![Write::Create {
        agent: Box::new(agent),
        applied: None,
    }];
    writes.append(&mut guard);
    match api.store.commit(&writes).await {
        Ok(written) => {
            (api.wake)(name);
            let agent = written.into_iter().next().flatten();
            let mut answer = shown(
                view,
                agent.ok_or_else(|| Refusal::no_agent(name.as_str(), None))?,
            );
            *answer.status_mut() = StatusCode::CREATED;
            if let Ok(place) = HeaderValue::from_str(&format!("/agents/{name}")) {
                answer.headers_mut().insert(LOCATION, place);
            }
            Ok(answer)
        }
        Err(StoreError::Conflict { name: whose, .. }) if whose == *name => Err(exists(name)),
        Err(error) => Err(error.into()),
    }
}

/// A new agent's object, as it is given to the store: a new life, or the one that the store forgot.
pub(in crate::api) fn new_agent(
    name: &AgentName,
    owner: &str,
    parts: Merged,
    former: Option<FormerLife>,
) -> Agent {
    let (uid, generation) = former.map_or_else(
        || (Uid::random(), 1),
        |life| (life.uid, life.generation.max(1)),
    );
    let metadata = Metadata {
        name: name.clone(),
        labels: parts.labels,
        annotations: parts.annotations,
        owner: owner.to_owned(),
        uid,
        generation,
        resource_version: ResourceVersion::default(),
        creation_timestamp: clock::now(),
        deletion_timestamp: None,
        finalizers: vec![FINALIZER.to_owned()],
    };
    Agent::new(metadata, parts.spec)
}

fn exists(name: &AgentName) -> Refusal {
    let detail = format!(
        "there is an agent '{name}' already; PUT /agents/{name} replaces it, PATCH changes it"
    );
    Refusal::conflict("already-exists", detail).about(name)
}

fn wrong(path: &str, message: &str) -> FieldProblem {
    FieldProblem {
        path: path.to_owned(),
        message: message.to_owned(),
    }
}
