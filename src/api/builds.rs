//! `POST /builds`: a build context goes in as a tar stream, the engine's log comes out line by line (NDJSON).
//!
//! Build arguments come in a header of their own, since values may be secrets; they are never logged. The first thing that the engine
//! says decides the status; what goes wrong later is the last line.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};

use super::Call;
use super::body::{expect_length, expect_type};
use super::refusal::{Answer, Refusal};
use crate::runtime::{BuildEvent, BuildRequest, RuntimeError};
use crate::wire::{BUILD_ARGS_HEADER, BuildLine};

/// A tar stream.
pub(super) const TAR: &[&str] = &["application/x-tar"];

pub(super) async fn build(call: Call, request: Request) -> Answer<Response> {
    let (parts, body) = request.into_parts();
    expect_type(&parts.headers, TAR)?;
    let limit = call.api.limits.build;
    expect_length(&parts.headers, limit)?;
    let too_large = Arc::new(AtomicBool::new(false));
    let request = BuildRequest {
        context: capped(body, limit, Arc::clone(&too_large)),
        dockerfile: inside(call.query.text("dockerfile").unwrap_or("Dockerfile"))?,
        args: arguments(&parts.headers)?,
        target: call.query.text("target").map(str::to_owned),
        tag: tag(call.query.text("tag"))?,
    };
    let refuse = |error: RuntimeError, too_large: &AtomicBool| match error {
        _ if too_large.load(Ordering::Acquire) => Refusal::too_large(limit),
        // The classic builder says 500 to whatever is wrong with the context, a missing Dockerfile among it.
        RuntimeError::Engine { message, .. } => Refusal::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "build-failed",
            "The image cannot be built",
            message,
        ),
        error => Refusal::from(error),
    };
    let mut events = match call.api.runtime.build(request).await {
        Ok(events) => events,
        Err(error) => return Err(refuse(error, &too_large)),
    };
    let first = match events.next().await {
        Some(Err(error)) => return Err(refuse(error, &too_large)),
        first => first,
    };
    let (mut image, mut failed) = (None, false);
    let lines = futures::stream::iter(first)
        .chain(events)
        .map(Some)
        .chain(futures::stream::iter([None]))
        .filter_map(move |event| {
            let line = match event {
                Some(Ok(BuildEvent::Log(text))) => Some(BuildLine::Log(text)),
                // The image is the last line, and the engine has words to say after it.
                Some(Ok(BuildEvent::Done(id))) => {
                    image = Some(id);
                    None
                }
                Some(Err(error)) => {
                    failed = true;
                    Some(BuildLine::Error(if too_large.load(Ordering::Acquire) {
                        Refusal::too_large(limit).problem().detail.clone()
                    } else {
                        error.to_string()
                    }))
                }
                None if failed => None,
                None => Some(image.take().map_or_else(
                    || BuildLine::Error("the engine ended the build without an image".to_owned()),
                    |image| BuildLine::Image(image.0),
                )),
            };
            std::future::ready(line.map(|line| {
                let mut text = serde_json::to_vec(&line).unwrap_or_default();
                text.push(b'\n');
                Ok::<_, Infallible>(Bytes::from(text))
            }))
        })
        .take_until(call.api.shutdown.clone().cancelled_owned());
    Ok((
        [(CONTENT_TYPE, "application/x-ndjson")],
        Body::from_stream(lines),
    )
        .into_response())
}

/// The body up to `limit` bytes; beyond it, an error that ends the build.
fn capped(
    body: Body,
    limit: u64,
    too_large: Arc<AtomicBool>,
) -> BoxStream<'static, std::io::Result<Bytes>> {
    let mut seen = 0_u64;
    body.into_data_stream()
        .map_err(|_| std::io::Error::other("the build context broke off"))
        .and_then(move |piece| {
            seen = seen.saturating_add(piece.len() as u64);
            std::future::ready(if seen > limit {
                too_large.store(true, Ordering::Release);
                Err(std::io::Error::other("the build context is too large"))
            } else {
                Ok(piece)
            })
        })
        .boxed()
}

fn arguments(headers: &HeaderMap) -> Answer<BTreeMap<String, String>> {
    let Some(value) = headers.get(BUILD_ARGS_HEADER) else {
        return Ok(BTreeMap::new());
    };
    // The parser's own words may quote a value.
    serde_json::from_slice(value.as_bytes())
        .map_err(|_| Refusal::bad(format!("the header {BUILD_ARGS_HEADER} is one JSON object of texts, such as {{\"VERSION\": \"1\"}}")))
}

/// A path within the context.
fn inside(path: &str) -> Answer<String> {
    let leaves = path.starts_with('/') || path.split('/').any(|part| part == "..");
    if path.is_empty() || leaves || path.chars().any(char::is_control) {
        return Err(Refusal::bad(
            "'dockerfile' is a path within the build context",
        ));
    }
    Ok(path.to_owned())
}

/// An image's name and tag, as Docker takes them: `name[:tag]`, lower case, no digest.
fn tag(given: Option<&str>) -> Answer<String> {
    let refuse = || Refusal::bad("'tag' names the image to make, such as users:1.4");
    let tag = given.ok_or_else(refuse)?;
    let sound = |c: char| c.is_ascii_alphanumeric() || "._-/:".contains(c);
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    if tag.len() > 255
        || !tag.chars().all(sound)
        || !ends(tag.chars().next())
        || !ends(tag.chars().next_back())
    {
        return Err(refuse());
    }
    Ok(tag.to_owned())
}
