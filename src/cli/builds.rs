//! `build:`: the client packs the context, the server's engine builds it, and the image's id goes into the spec.

use std::collections::BTreeMap;

use anyhow::Context as _;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde_json::Value;
use tokio::sync::mpsc;

use super::build_context::BuildContext;
use super::client::{RequestBody, with_query};
use super::console::Style;
use super::{Context, Failure};
use crate::agent::ApplyAgent;
use crate::agent::manifest::{Build, Bundle};
use crate::keys::BUILT_FROM;
use crate::wire::{BUILD_ARGS_HEADER, BuildLine};

/// What the annotation says: where the image was built from, and the digest of what was there.
pub(super) fn built_from(build: &Build) -> Result<String, Failure> {
    let context = BuildContext::open(&build.context, &build.dockerfile)?;
    let mut from = format!("{} {}", build.context.display(), context.digest()?);
    if build.dockerfile != "Dockerfile" {
        from.push_str(&format!(" dockerfile={}", build.dockerfile));
    }
    if let Some(target) = &build.target {
        from.push_str(&format!(" target={target}"));
    }
    Ok(from)
}

/// Writes what came of a build into a spec.
pub(super) fn write(agent: &mut ApplyAgent, image: &str, from: String) {
    agent
        .spec
        .insert("image".to_owned(), Value::String(image.to_owned()));
    agent.annotations.insert(BUILT_FROM.to_owned(), from);
}

/// Builds what these bundles ask for; equal builds once.
pub(super) async fn all(context: &Context, bundles: &mut [Bundle]) -> Result<(), Failure> {
    let mut done: Vec<(Build, String)> = Vec::new();
    for bundle in bundles {
        for agent in &mut bundle.agents {
            let Some(build) = bundle.builds.get(&agent.name) else {
                continue;
            };
            let from = built_from(build)?;
            let known = done.iter().find(|(same, _)| same == build);
            let image = match known {
                Some((_, image)) => image.clone(),
                None => {
                    let image = one(context, agent.name.as_str(), build).await?;
                    done.push((build.clone(), image.clone()));
                    image
                }
            };
            write(agent, &image, from);
        }
    }
    Ok(())
}

async fn one(context: &Context, agent: &str, build: &Build) -> Result<String, Failure> {
    let console = &context.console;
    let shown = build.context.display();
    console.note(&format!("building agent/{agent} from {shown}"));
    let path = with_query(
        "/builds",
        &[
            ("tag", Some(format!("agentainer-build/{agent}"))),
            ("dockerfile", Some(build.dockerfile.clone())),
            ("target", build.target.clone()),
        ],
    );
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-tar"));
    if !build.args.is_empty() {
        let args: BTreeMap<&str, &str> = build
            .args
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let mut value = HeaderValue::from_bytes(&serde_json::to_vec(&args)?)
            .context("the build arguments cannot be sent")?;
        value.set_sensitive(true);
        headers.insert(HeaderName::from_static(BUILD_ARGS_HEADER), value);
    }
    let packed = BuildContext::open(&build.context, &build.dockerfile)?.stream();
    let mut lines = context.client.upload(&path, headers, body(packed)).await?;
    let mut image = None;
    while let Some(line) = lines.next::<BuildLine>().await? {
        match line {
            BuildLine::Log(text) => {
                let text = text.trim_end();
                if !text.is_empty() {
                    console.note(&console.paint_err(Style::Dim, text));
                }
            }
            BuildLine::Image(id) => image = Some(id),
            BuildLine::Error(message) => {
                return Err(Failure::error(format!(
                    "agent/{agent} could not be built from {shown}: {message}; nothing was applied"
                )));
            }
        }
    }
    image.ok_or_else(|| {
        Failure::error(format!(
            "the build of agent/{agent} ended without an image; nothing was applied"
        ))
    })
}

fn body(packed: mpsc::Receiver<std::io::Result<bytes::Bytes>>) -> RequestBody {
    let frames = futures::stream::unfold(packed, |mut packed| async move {
        let piece = packed.recv().await?;
        Some((piece.map(Frame::data), packed))
    });
    BodyExt::boxed(StreamBody::new(frames))
}
