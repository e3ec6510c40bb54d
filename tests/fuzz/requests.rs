//! Requests from raw sockets: what reaches the agent has one reading, and where the request itself had one, it is that one.

use tokio::io::AsyncWriteExt as _;

use crate::reading::{self, Kind, Message};
use crate::recorder;
use crate::rig::{Rig, bounded, until};
use crate::run;

const TARGET: run::Target = run::Target {
    name: "requests",
    words: &[
        "\r\n",
        "\n",
        "\r",
        "\r\n\r\n",
        "0\r\n\r\n",
        "Content-Length: 3\r\n",
        "Content-Length: 0\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Content_Length: 4\r\n",
        "Connection: close\r\n",
        "Connection: content-length\r\n",
        "Connection: x-a, host\r\n",
        "X-A: 1\r\n",
        "Host: c\r\n",
        "Host: b\r\n",
        "Expect: 100-continue\r\n",
        "Upgrade: websocket\r\n",
        "Connection: upgrade\r\n",
        "TE: trailers\r\n",
        "Trailer: x-b\r\n",
        "Authorization: Bearer ours\r\n",
        "X-Agentainer-Attempt: 1\r\n",
        "HTTP/1.0",
        "HTTP/1.1",
        "chunked",
        " ",
        "\t",
        "\0",
        "\u{b}",
        ";a=b",
        ",",
        "GET /agent/users/smuggled HTTP/1.1\r\nHost: b\r\n\r\n",
        "POST /agent/users/p HTTP/1.1\r\nHost: b\r\n",
        "HEAD",
        "CONNECT",
        "http://b",
        "#",
        "?",
        "%0d%0a",
    ],
    everyday: 400,
};

/// Fields that concern one connection, or are ours alone.
fn stays_out(message: &Message) -> Option<&str> {
    let field = |(name, value): &(String, String)| {
        let spelled = name.replace('_', "-");
        let hop = [
            "keep-alive",
            "proxy-connection",
            "proxy-authorization",
            "http2-settings",
        ]
        .contains(&name.as_str());
        let framing = name.contains('_')
            && ["content-length", "transfer-encoding", "x-request-id"].contains(&spelled.as_str());
        let options = value
            .split(',')
            .map(|word| word.trim().to_ascii_lowercase());
        let connection = name == "connection"
            && options
                .into_iter()
                .any(|word| !["te", "upgrade"].contains(&word.as_str()));
        hop || framing
            || connection
            || spelled.starts_with("x-agentainer-")
            || (name == "authorization" && value == "Bearer ours")
    };
    message
        .fields
        .iter()
        .find(|it| field(it))
        .map(|(name, _)| name.as_str())
}

/// Method, target and body, as an agent gets them of a plain request.
fn essence(message: &Message) -> Option<(String, String, Vec<u8>)> {
    let mut parts = message.line.split(' ');
    let (method, target) = (parts.next()?, parts.next()?);
    let target = target.split('#').next()?;
    let path = target.strip_prefix("http://b").unwrap_or(target);
    let rest = path.strip_prefix("/agent/users")?.to_owned();
    rest.starts_with('/')
        .then(|| (method.to_owned(), rest, message.body.clone()))
}

async fn check(rig: &Rig, record: &recorder::Record, input: &[u8]) -> Result<(), String> {
    let mut raw = rig.raw().await;
    // What is refused early is not read to its end.
    let _ = bounded(raw.0.write_all(input)).await;
    let _ = raw.0.shutdown().await;
    let mut answers = Vec::new();
    let _ = bounded(tokio::io::AsyncReadExt::read_to_end(
        &mut raw.0,
        &mut answers,
    ))
    .await;
    until(|| rig.in_flight("c") == 0).await;
    let mut reached = Vec::new();
    for bytes in record.take() {
        let (whole, _cut) = reading::requests(&bytes)
            .map_err(|odd| format!("the agent got {odd}: {}", bytes.escape_ascii()))?;
        for message in &whole {
            if let Some(name) = stays_out(message) {
                return Err(format!("{name} reached the agent: {message:?}"));
            }
        }
        reached.extend(whole);
    }
    // Where all of the input has one strict reading, what came is what was asked, in that order, as far as it came.
    if let Ok((asked, rest)) = reading::requests(input)
        && !run::has_lone_lf(rest)
    {
        let mut asked = asked.iter().filter_map(essence);
        for message in &reached {
            let mut found = essence(message).unwrap_or_default();
            if found.1.is_empty() {
                let mut parts = message.line.split(' ').map(str::to_owned);
                found = (
                    parts.next().unwrap_or_default(),
                    parts.next().unwrap_or_default(),
                    message.body.clone(),
                );
            }
            if !asked.any(|one| one == found) {
                return Err(format!("nobody asked {found:?}"));
            }
        }
    }
    // Which of them answers a HEAD cannot be told from here.
    if input.windows(4).any(|word| word == b"HEAD") {
        return Ok(());
    }
    let mut left = &answers[..];
    // A status line of HTTP/1.0 answers a request of HTTP/1.0.
    while let Ok(Some(answer)) = reading::read(left, Kind::Answer) {
        left = &left[answer.length..];
    }
    match left.is_empty() || left.starts_with(b"HTTP/1.") {
        true => Ok(()),
        false => Err(format!("the client got {}", answers.escape_ascii())),
    }
}

#[test]
fn requests_reach_the_agent_with_one_reading_or_not_at_all() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (rig, record) = runtime.block_on(async {
        let rig = Rig::new();
        let (agent, record) = recorder::recording().await;
        rig.ready("users", &[("c", agent.address)]);
        (rig, record)
    });
    run::run(&TARGET, &run::files("fuzz/corpus/requests"), |input| {
        runtime.block_on(check(&rig, &record, input))
    });
}
