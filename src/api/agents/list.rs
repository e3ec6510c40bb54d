//! `GET /agents`: the list, or a watch.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;

use super::selector::Selector;
use super::watch;
use crate::api::Call;
use crate::api::refusal::Answer;
use crate::api::view::View;
use crate::keys::API_VERSION;
use crate::wire::{AgentListBody, ListMetadata};

pub(in crate::api) async fn list(call: Call, headers: HeaderMap) -> Answer<Response> {
    let view = View::of(&call)?;
    let selector = Selector::of(&call.query)?;
    if call.query.flag("watch")? {
        return watch::watch(call, &headers, view, selector).await;
    }
    let list = call.api.store.list().await?;
    let items = list
        .agents
        .into_iter()
        .filter(|agent| selector.matches(agent));
    let body = AgentListBody {
        api_version: API_VERSION.to_owned(),
        kind: "AgentList".to_owned(),
        metadata: ListMetadata {
            resource_version: list.resource_version,
        },
        items: items.map(|agent| view.show(agent)).collect(),
    };
    Ok(Json(body).into_response())
}
