//! The agent of agentainer's examples: one program whose part in a mesh is chosen by its environment, as the parts in
//! `examples/service-mesh/agents.yaml` are. It has no dependencies, so that it links into a `FROM scratch` image.
//!
//! | path | answer |
//! | --- | --- |
//! | `/` | who this is, a count kept in Redis, and what each upstream said to the same question |
//! | `/health` | 200, or 503 when something it depends on is down, with each check |
//! | `/echo…`, `/api…`, `/process…`, `/verify…` | the request as it arrived: method, path, query, headers, body |
//! | `/sse?n=5&ms=1000` | server-sent events, one by one |
//! | `/ws` | (WebSocket) every message back |
//! | `/slow?ms=1000` | an answer that takes its time |
//! | `/big?bytes=1048576` | that many bytes |
//! | `/status/404` | that status |
//! | `/crash` | none: the process exits with status 1 |
//! | `/publish?type=order` | (publisher, POST) publishes the body as `events:order` |

mod call;
mod events;
mod http;
mod json;
mod part;
mod redis;
mod sha256;
mod websocket;

use std::io::{self, Write};
use std::net::{Ipv6Addr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{fs, thread};

use crate::http::{Answer, Content, Request};
use crate::json::Json;
use crate::part::{Part, Role};
use crate::redis::{Redis, Reply};
use crate::sha256::Sha256;

/// A body up to this size is shown in an echo; a larger one only by length and digest.
const SHOWN_BODY: usize = 64 << 10;

struct Agent {
    part: Part,
    redis: Arc<Redis>,
    events: events::Shared,
    /// How often this agent was started, where it has a volume to remember that in.
    starts: Option<u64>,
}

fn main() -> Result<(), String> {
    let part = Part::from_env()?;
    // Both families where the kernel has both, else version 4 alone.
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, part.port))
        .or_else(|_| TcpListener::bind(("0.0.0.0", part.port)))
        .map_err(|error| format!("cannot listen on port {}: {error}", part.port))?;
    let starts = part.data_dir.as_deref().map(count_start).transpose()?;
    let redis = Arc::new(Redis::new(&part.redis_url));
    let events = Arc::new(Mutex::default());
    match part.role {
        Role::Publisher => events::tick(Arc::clone(&redis), Arc::clone(&events), part.name.clone()),
        Role::Subscriber => events::subscribe(Arc::clone(&redis), Arc::clone(&events)),
        Role::Service => {}
    }
    println!(
        "{} ({}) listens on port {}",
        part.name, part.instance, part.port
    );
    for (variable, url) in &part.upstreams {
        println!("upstream {} from {variable}", call::authority_of(url));
    }
    let agent = Agent {
        part,
        redis,
        events,
        starts,
    };
    http::serve(&listener, move |request| agent.answer(request)).map_err(|error| error.to_string())
}

/// Counts this start in a file of the data folder: it outlives the container where the folder is a volume.
fn count_start(folder: &str) -> Result<u64, String> {
    let file = format!("{folder}/starts");
    let starts = fs::read_to_string(&file)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0u64)
        + 1;
    fs::write(&file, format!("{starts}\n"))
        .map_err(|error| format!("cannot write {file}: {error}"))?;
    Ok(starts)
}

impl Agent {
    fn answer<'r>(&self, request: &'r mut Request<'_>) -> io::Result<Answer<'r>> {
        let path = request.path.clone();
        let first = path.split('/').nth(1).unwrap_or("");
        Ok(match first {
            "" => self.overview(request),
            "health" => self.health(request),
            "echo" | "api" | "process" | "verify" => self.echo(request)?,
            "publish" if self.part.role == Role::Publisher => self.publish(request)?,
            "sse" => sse(request),
            "ws" => self.websocket(request),
            "big" => big(request),
            "slow" => {
                let ms = request.query_number("ms", 1000);
                thread::sleep(Duration::from_millis(ms));
                Answer::json(200, &self.who([("slept_ms", Json::number(ms))]))
            }
            "status" => match path.split('/').nth(2).and_then(|code| code.parse().ok()) {
                Some(code @ 200..600) => Answer::json(code, &self.who([("status", Json::number(code))])),
                _ => Answer::json(400, &self.who([("error", Json::text("say /status/NNN, 200 to 599"))])),
            },
            "crash" => {
                eprintln!("asked to crash");
                std::process::exit(1);
            }
            _ => Answer::json(
                404,
                &self.who([
                    ("error", Json::text(format!("this agent has nothing at {path}"))),
                    ("try", Json::text("/ /health /echo /sse?n=5 /ws /slow?ms=1000 /big?bytes=1000 /status/404 /crash")),
                ]),
            ),
        })
    }

    /// An object that begins with who speaks.
    fn who<const N: usize>(&self, more: [(&str, Json); N]) -> Json {
        let mut json = Json::object([
            ("agent", Json::text(self.part.name.as_str())),
            ("instance", Json::text(self.part.instance.as_str())),
        ]);
        for (name, value) in more {
            json.push(name, value);
        }
        json
    }

    /// What each upstream says at `path`, called all at once; none where the call has come far enough.
    fn ask_upstreams(&self, path: &str, depth: u64) -> Vec<call::Outcome> {
        let urls: Vec<String> = self
            .part
            .upstreams
            .iter()
            .map(|(_, url)| format!("{url}{path}"))
            .collect();
        if depth < call::MAX_DEPTH {
            call::get_all(&urls, depth)
        } else {
            Vec::new()
        }
    }

    fn overview<'r>(&self, request: &Request<'_>) -> Answer<'r> {
        let mut json = self.who([]);
        if let Some(starts) = self.starts {
            json.push("starts", Json::number(starts));
        }
        let key = format!("agents:{}:answers", self.part.name);
        json.push(
            "redis",
            match self.redis.command(&["INCR", &key]) {
                Ok(Reply::Integer(count)) => Json::object([
                    ("address", Json::text(self.redis.address.as_str())),
                    ("ok", Json::Bool(true)),
                    ("answers", Json::number(count)),
                ]),
                other => Json::object([
                    ("address", Json::text(self.redis.address.as_str())),
                    ("ok", Json::Bool(false)),
                    (
                        "error",
                        Json::text(
                            other
                                .err()
                                .map_or("an odd reply".to_owned(), |error| error.to_string()),
                        ),
                    ),
                ]),
            },
        );
        if let Some(url) = &self.part.database_url {
            json.push("database", Json::text(call::authority_of(url)));
        }
        if self.part.role != Role::Service
            && let Ok(events) = self.events.lock()
        {
            json.push("events", events.to_json());
        }
        if !self.part.upstreams.is_empty() {
            let outcomes =
                self.ask_upstreams("/", request.header(call::DEPTH).parse().unwrap_or(0));
            let mut upstreams = Json::object([]);
            for ((_, url), outcome) in self.part.upstreams.iter().zip(&outcomes) {
                upstreams.push(call::host_of(url), outcome.to_json(url));
            }
            if outcomes.is_empty() {
                upstreams = Json::text(format!(
                    "not called: this call came through {} agents already",
                    call::MAX_DEPTH
                ));
            }
            json.push("upstreams", upstreams);
        }
        Answer::json(200, &json)
    }

    /// Checks what this agent depends on. Asked by another agent it leaves out its own upstreams: a whole mesh that
    /// checks itself round and round would be slow, and two agents that check each other would never end.
    fn health<'r>(&self, request: &Request<'_>) -> Answer<'r> {
        let mut checks = Json::object([]);
        let mut healthy = true;
        if self.part.redis_is_required {
            let up = self.redis.command(&["PING"]).is_ok();
            checks.push("redis", Json::Bool(up));
            healthy &= up;
        }
        if request.header(call::DEPTH).is_empty() {
            for ((_, url), outcome) in self
                .part
                .upstreams
                .iter()
                .zip(self.ask_upstreams("/health", 0))
            {
                checks.push(call::host_of(url), Json::Bool(outcome.is_success()));
                healthy &= outcome.is_success();
            }
        }
        let status = if healthy { "healthy" } else { "unhealthy" };
        Answer::json(
            if healthy { 200 } else { 503 },
            &self.who([("status", Json::text(status)), ("checks", checks)]),
        )
    }

    fn echo<'r>(&self, request: &mut Request<'_>) -> io::Result<Answer<'r>> {
        let (length, digest, shown) = read_body(request)?;
        let mut body = Json::object([
            ("bytes", Json::number(length)),
            ("sha256", Json::text(digest)),
        ]);
        if let Some(Ok(text)) = shown.map(String::from_utf8) {
            body.push("text", Json::text(text));
        }
        let pair = |(name, value): &(String, String)| {
            Json::List(vec![Json::text(name.as_str()), Json::text(value.as_str())])
        };
        let headers = request.headers.iter().map(pair).collect();
        let json = self.who([
            ("method", Json::text(request.method.as_str())),
            ("path", Json::text(request.path.as_str())),
            ("query", Json::text(request.query.as_str())),
            ("headers", Json::List(headers)),
            ("body", body),
        ]);
        Ok(Answer::json(200, &json))
    }

    fn websocket<'r>(&self, request: &Request<'_>) -> Answer<'r> {
        let key = request.header("sec-websocket-key");
        if !request.header("upgrade").eq_ignore_ascii_case("websocket") || key.is_empty() {
            return Answer::json(
                400,
                &self.who([("error", Json::text("this is a WebSocket"))]),
            );
        }
        Answer {
            status: 101,
            headers: vec![
                ("Upgrade", "websocket".to_owned()),
                ("Connection", "Upgrade".to_owned()),
                ("Sec-WebSocket-Accept", websocket::accept(key)),
                ("X-Agent", self.part.name.clone()),
            ],
            content: Content::Upgrade(websocket::echo),
        }
    }

    fn publish<'r>(&self, request: &mut Request<'_>) -> io::Result<Answer<'r>> {
        if request.method != "POST" {
            return Ok(Answer::json(
                405,
                &self.who([("error", Json::text("use POST"))]),
            ));
        }
        let (_, _, shown) = read_body(request)?;
        let Some(Ok(data)) = shown.map(String::from_utf8) else {
            return Ok(Answer::json(
                400,
                &self.who([("error", Json::text("the body must be text, up to 64 KiB"))]),
            ));
        };
        let kind = request.query_value("type").unwrap_or("message").to_owned();
        Ok(
            match events::publish(&self.redis, &self.events, &kind, &data) {
                Ok(heard) => Answer::json(
                    200,
                    &self.who([
                        ("published", Json::text(format!("events:{kind}"))),
                        ("subscribers", Json::number(heard)),
                    ]),
                ),
                Err(error) => Answer::json(
                    503,
                    &self.who([("error", Json::text(format!("redis: {error}")))]),
                ),
            },
        )
    }
}

/// Reads a whole body: its length, its digest, and itself where it is small enough to be shown.
fn read_body(request: &mut Request<'_>) -> io::Result<(u64, String, Option<Vec<u8>>)> {
    let (mut length, mut digest, mut shown) = (0u64, Sha256::new(), Some(Vec::new()));
    request.read_body(|piece| {
        length += piece.len() as u64;
        digest.update(piece);
        if length > SHOWN_BODY as u64 {
            shown = None;
        } else if let Some(shown) = &mut shown {
            shown.extend_from_slice(piece);
        }
    })?;
    Ok((length, digest.finish(), shown))
}

fn sse<'r>(request: &Request<'_>) -> Answer<'r> {
    let (n, ms) = (
        request.query_number("n", 5),
        request.query_number("ms", 1000),
    );
    Answer {
        status: 200,
        headers: vec![
            ("Content-Type", "text/event-stream".to_owned()),
            ("Cache-Control", "no-cache".to_owned()),
        ],
        content: Content::Stream(Box::new(move |out| {
            for i in 1..=n {
                if i > 1 {
                    thread::sleep(Duration::from_millis(ms));
                }
                out.write_all(
                    format!("id: {i}\ndata: {{\"n\": {i}, \"of\": {n}}}\n\n").as_bytes(),
                )?;
            }
            Ok(())
        })),
    }
}

fn big<'r>(request: &Request<'_>) -> Answer<'r> {
    let bytes = request.query_number("bytes", 1 << 20);
    let write = move |out: &mut dyn Write| {
        let piece = [b'x'; 64 << 10];
        let mut left = bytes;
        while left > 0 {
            let now = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
            out.write_all(&piece[..now])?;
            left -= now as u64;
        }
        Ok(())
    };
    let chunked = request.query_value("chunked").is_some();
    Answer {
        status: 200,
        headers: vec![("Content-Type", "application/octet-stream".to_owned())],
        content: if chunked {
            Content::Stream(Box::new(write))
        } else {
            Content::Sized(bytes, Box::new(write))
        },
    }
}
