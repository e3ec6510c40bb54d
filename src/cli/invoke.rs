//! `invoke`: sends a request to an agent as anybody would, through the proxy, and follows it to its answer if it is kept.

use std::io::Read as _;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use clap::Args;
use http::header::{ACCEPT, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::Instant;

use super::failure::Refused;
use super::names::bare;
use super::patience::{Patience, pause};
use super::{Context, Failure};
use crate::agent::quantity::Span;
use crate::problem::{MEDIA_TYPE, Problem};
use crate::wire::{AdmittedBody, ResultBody};

/// How long one look at a result waits.
const LOOK: Duration = Duration::from_secs(30);
/// The largest problem or result that is read.
const LARGEST: usize = 16 << 20;

/// Send a request to an agent, and print its answer.
///
/// It goes through the proxy as anybody's does, and needs no token. If the agent cannot answer now, the request is kept, and its
/// answer is waited for.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  agentainer invoke users                                   GET /
  agentainer invoke users /run -d '{\"task\": \"sum up\"}'      POST, as JSON
  agentainer invoke users /run -d @task.json --idempotency-key auto
  echo hello | agentainer invoke users /run -d - -H 'content-type: text/plain'
  agentainer invoke users /run -d '{}' --async               prints where the result will be

Exit codes: 0 the agent answered below 400, 3 with 404, 4 with 401 or 403, 1 with another error or not at all, 5 server unreachable, \
6 the answer did not come within --wait.")]
pub struct InvokeArgs {
    /// The agent, as NAME or agent/NAME.
    #[arg(value_name = "NAME")]
    name: String,
    /// Path and query, as the agent gets them.
    #[arg(value_name = "PATH", default_value = "/")]
    path: String,
    /// The method [default: POST with --data, else GET].
    #[arg(short = 'X', long, value_name = "METHOD")]
    method: Option<String>,
    /// The body; @FILE reads it from there, - from standard input. JSON is sent as such, anything else as text.
    #[arg(short, long, value_name = "DATA|@FILE|-", allow_hyphen_values = true)]
    data: Option<String>,
    /// A header field; may be repeated.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// Have it run in the background, and print the address of its result. Whoever has that may read it.
    #[arg(long = "async")]
    in_background: bool,
    /// How long the answer to a request is waited for that is kept: 90s, 10m.
    #[arg(long, value_name = "TIME", default_value = "60s")]
    wait: Span,
    /// A key under which it is one request however often it is sent; auto makes one and tells it.
    #[arg(long, value_name = "auto|KEY")]
    idempotency_key: Option<String>,
    /// Print status and header fields of the answer too, on standard error.
    #[arg(short, long)]
    include: bool,
}

pub(super) async fn run(context: &Context, args: &InvokeArgs) -> Result<(), Failure> {
    let name = bare(&args.name)?;
    let separator = if args.path.starts_with('/') { "" } else { "/" };
    let target = format!("/agent/{name}{separator}{}", args.path);
    let body = args.data.as_deref().map(data).transpose()?;
    let method = match &args.method {
        Some(method) => Method::from_bytes(method.to_ascii_uppercase().as_bytes())
            .map_err(|_| Failure::Usage(format!("'{method}' is no method")))?,
        None if body.is_some() => Method::POST,
        None => Method::GET,
    };
    let headers = headers(context, args, body.as_deref())?;
    let body = Bytes::from(body.unwrap_or_default());
    let response = context
        .client
        .invoke(method, &target, headers, body)
        .await?;
    if response.status() == StatusCode::ACCEPTED
        && let Some(location) = response.headers().get(LOCATION).cloned()
        && let Ok(location) = location.to_str()
        && location.contains("/results/")
    {
        return kept(context, args, location, response).await;
    }
    answered(context, args, response).await
}

/// The body that an argument names.
fn data(given: &str) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    match given {
        "-" | "@-" => {
            let read = std::io::stdin().lock().read_to_end(&mut bytes);
            read.context("standard input cannot be read")?;
        }
        given => match given.strip_prefix('@') {
            Some(file) => {
                let read = std::fs::read(file);
                bytes = read.with_context(|| format!("{file} cannot be read"))?;
            }
            None => bytes = given.as_bytes().to_vec(),
        },
    }
    Ok(bytes)
}

fn headers(
    context: &Context,
    args: &InvokeArgs,
    body: Option<&[u8]>,
) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    for given in &args.headers {
        let field = given.split_once(':').and_then(|(name, value)| {
            let name = HeaderName::try_from(name.trim()).ok()?;
            Some((name, HeaderValue::try_from(value.trim()).ok()?))
        });
        let (name, value) = field.ok_or_else(|| {
            Failure::Usage("a header field is 'Name: value'; one of --header is not".to_owned())
        })?;
        headers.append(name, value);
    }
    if let Some(body) = body
        && !headers.contains_key(CONTENT_TYPE)
    {
        let json = serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
        let kind = match (json, std::str::from_utf8(body)) {
            (true, _) => "application/json",
            (false, Ok(_)) => "text/plain; charset=utf-8",
            (false, Err(_)) => "application/octet-stream",
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    if !headers.contains_key(ACCEPT) {
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    }
    if args.in_background {
        headers.append("prefer", HeaderValue::from_static("respond-async"));
    }
    if let Some(given) = &args.idempotency_key {
        let key = match given.as_str() {
            "auto" => {
                let key = uuid::Uuid::new_v4().to_string();
                context.console.note(&format!("Idempotency-Key: {key}"));
                key
            }
            given => given.to_owned(),
        };
        let value = HeaderValue::try_from(key);
        let value =
            value.map_err(|_| Failure::Usage("the key cannot be a header's value".to_owned()))?;
        headers.insert("idempotency-key", value);
    }
    Ok(headers)
}

/// A request that is kept, to its end.
async fn kept(
    context: &Context,
    args: &InvokeArgs,
    location: &str,
    response: Response<Incoming>,
) -> Result<(), Failure> {
    let admitted: AdmittedBody = serde_json::from_slice(&whole(response).await?)?;
    let id = admitted.id;
    if args.in_background {
        context.console.note(&format!("kept as request {id}"));
        return context.console.line(location);
    }
    let agent = admitted.agent;
    context.console.note(&format!(
        "agent '{agent}' cannot answer now; kept as request {id}, waiting for its answer"
    ));
    // The server that we asked, by whatever name: the address is the one that others reach it by.
    let at = location
        .find("/results/")
        .and_then(|at| location.get(at..))
        .unwrap_or(location);
    let until = Instant::now() + args.wait.duration();
    let mut shown = admitted.status;
    // It is kept: a server that is started again meanwhile is no reason to give up.
    let mut patience = Patience::default();
    patience.begun();
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let look = left.min(LOOK).as_secs_f64().ceil();
        let looked = context.client.get(&format!("{at}?wait={look}")).await;
        let result: ResultBody = match looked {
            Ok(result) => result,
            Err(failure) => {
                patience.bear(failure).await?;
                continue;
            }
        };
        patience.heard();
        match result.status.as_str() {
            "completed" | "failed" => break,
            "unknown" | "dead" | "cancelled" | "expired" => {
                return Err(Failure::error(format!(
                    "request {id} is {}: {}",
                    result.status, result.reason
                )));
            }
            _ if Instant::now() >= until => {
                return Err(Failure::Timeout(format!(
                    "no answer to request {id} within {}; it goes on, and its result will be at {location}",
                    args.wait
                )));
            }
            status => {
                if status != shown {
                    context.console.note(&format!("request {id} is {status}"));
                    status.clone_into(&mut shown);
                }
                // One that answers early must not be asked without end.
                pause().await;
            }
        }
    }
    let answer = format!("{at}/answer");
    let (method, headers) = (Method::GET, HeaderMap::new());
    let response = context
        .client
        .invoke(method, &answer, headers, Bytes::new())
        .await?;
    answered(context, args, response).await
}

/// Prints an answer as it comes.
async fn answered(
    context: &Context,
    args: &InvokeArgs,
    response: Response<Incoming>,
) -> Result<(), Failure> {
    let status = response.status();
    if args.include {
        let mut head = format!("{status}\n");
        for (name, value) in response.headers() {
            head.push_str(&format!(
                "{name}: {}\n",
                String::from_utf8_lossy(value.as_bytes())
            ));
        }
        context.console.note(&head);
    }
    let kind = response.headers().get(CONTENT_TYPE);
    if kind.is_some_and(|kind| kind == MEDIA_TYPE) && !status.is_success() {
        let text = whole(response).await?;
        return match serde_json::from_slice::<Problem>(&text) {
            Ok(problem) => Err(Failure::Refused(Box::new(Refused {
                status: status.as_u16(),
                problem,
                hint: None,
            }))),
            Err(_) => {
                context.console.write(&text)?;
                ended(context, status)
            }
        };
    }
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|error| Failure::error(format!("the answer broke off: {error}")))?;
        if let Some(piece) = frame.data_ref() {
            context.console.write(piece)?;
        }
    }
    ended(context, status)
}

fn ended(context: &Context, status: StatusCode) -> Result<(), Failure> {
    let code = match status.as_u16() {
        ..=399 => return Ok(()),
        404 => 3,
        401 | 403 => 4,
        _ => 1,
    };
    context
        .console
        .note(&format!("the agent answered with {status}"));
    Err(Failure::Told(code))
}

async fn whole(response: Response<Incoming>) -> Result<Bytes, Failure> {
    let body = http_body_util::Limited::new(response.into_body(), LARGEST);
    let body = body.collect().await;
    let body = body.map_err(|error| Failure::error(format!("the answer broke off: {error}")))?;
    Ok(body.to_bytes())
}
