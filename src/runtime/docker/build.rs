//! Images from a build context, with the engine's classic builder: the one that every engine has.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use http::Request;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use parking_lot::Mutex;
use serde_json::Value;

use super::images::said_error;
use super::{DockerRuntime, error, map, query, stream, transport};
use crate::agent::redact::Secrets;
use crate::observed::ImageId;
use crate::runtime::{BuildEvent, BuildRequest, Result};

/// How long a step may print nothing; a compiler may well be silent for long.
const SILENCE: Duration = Duration::from_secs(1800);

impl DockerRuntime {
    /// The build runs while the stream is read and ends with it.
    pub(super) fn build_image(
        &self,
        request: BuildRequest,
    ) -> Result<BoxStream<'static, Result<BuildEvent>>> {
        let path = path(&request);
        let secrets = Secrets::whole(&request.args);
        let transport = self.transport.clone();
        let address = self.address.clone();
        // An error of the context would else look like one of the engine.
        let broken: Arc<Mutex<Option<String>>> = Arc::default();
        let seen = Arc::clone(&broken);
        let context = request.context.map(move |piece| match piece {
            Ok(bytes) => Ok(Frame::data(bytes)),
            Err(cause) => {
                *seen.lock() = Some(cause.to_string());
                Err(Box::<dyn std::error::Error + Send + Sync>::from(cause))
            }
        });
        let body: transport::Body = StreamBody::new(context).boxed_unsync();
        let request = Request::post(format!("http://docker{path}"))
            .header(http::header::CONTENT_TYPE, "application/x-tar")
            .body(body)
            .map_err(|cause| error::refused("build", cause.to_string()))?;
        let opened = async move {
            let open = transport.opened(request);
            let failed = |cause| match broken.lock().take() {
                Some(message) => error::refused("build", format!("the context: {message}")),
                None => error::scrubbed(error::whole("build", &address, cause), &secrets),
            };
            let response = match tokio::time::timeout(SILENCE, open).await {
                Ok(result) => result.map_err(failed)?,
                Err(_) => return Err(error::timeout("build", SILENCE)),
            };
            let lines = stream::lines(response)
                .map_err(move |cause| error::whole("build", &address, cause))
                .map(move |line| {
                    line.and_then(|line| event(&line))
                        .map_err(|cause| error::scrubbed(cause, &secrets))
                })
                .try_filter_map(|event| async move { Ok(event) });
            Ok(lines)
        };
        Ok(futures::stream::once(opened).try_flatten().boxed())
    }
}

fn path(request: &BuildRequest) -> String {
    let mut path = format!(
        "/build?rm=1&forcerm=1&dockerfile={}&t={}",
        query(&request.dockerfile),
        query(&request.tag)
    );
    if !request.args.is_empty() {
        let args = serde_json::to_string(&request.args).unwrap_or_default();
        path.push_str(&format!("&buildargs={}", query(&args)));
    }
    if let Some(target) = &request.target {
        path.push_str(&format!("&target={}", query(target)));
    }
    path
}

fn event(line: &Value) -> Result<Option<BuildEvent>> {
    if let Some(message) = said_error(line) {
        return Err(error::refused("build", message));
    }
    if let Some(id) = map::text(line, "/aux/ID") {
        return Ok(Some(BuildEvent::Done(ImageId(id.to_owned()))));
    }
    if let Some(text) = map::text(line, "/stream") {
        return Ok(Some(BuildEvent::Log(text.to_owned())));
    }
    // Progress of a pull of the base image: its words without the bars.
    Ok(map::text(line, "/status")
        .filter(|_| line.get("progressDetail").is_none())
        .map(|text| BuildEvent::Log(format!("{text}\n"))))
}
