//! Answers of agents: a client gets one answer of one reading, whole only if the agent's was, and the next client gets its own.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::AsyncWriteExt as _;

use crate::agents;
use crate::reading::{self, Kind};
use crate::rig::{Rig, read_until, until};
use crate::run;

const TARGET: run::Target = run::Target {
    name: "answers",
    words: &[
        "\r\n",
        "\n",
        "\r\n\r\n",
        "0\r\n\r\n",
        "Content-Length: 3\r\n",
        "Content-Length: 0\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Connection: close\r\n",
        "Connection: content-length\r\n",
        "HTTP/1.0",
        "HTTP/1.1 100 Go on\r\n\r\n",
        "HTTP/1.1 204 No\r\n\r\n",
        "HTTP/1.1 304 Same\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        "101",
        "199",
        "chunked",
        " ",
        "\t",
        "\0",
        ";a=b",
        ",",
        "Set-Cookie: a=b; Path=/; Domain=x\r\n",
        "Location: /x\r\n",
        "Trailer: x-b\r\n",
        "Upgrade: websocket\r\n",
        "Connection: upgrade\r\n",
    ],
    everyday: 300,
};

const SECOND: &str = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecond";

/// Whether an answer needs no end of its connection to be whole.
fn says_its_length(mut answer: &[u8]) -> bool {
    while let Ok(Some(one)) = reading::read(answer, Kind::Answer) {
        if !one.line.starts_with("HTTP/1.1 1") {
            return ["content-length", "transfer-encoding"]
                .iter()
                .any(|name| !one.all(name).is_empty());
        }
        answer = &answer[one.length..];
    }
    false
}

async fn ask(rig: &Rig, target: &str) -> Vec<u8> {
    let mut raw = rig.raw().await;
    raw.send(format!(
        "GET /agent/users/{target} HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n"
    ))
    .await;
    let mut all = Vec::new();
    let _ = crate::rig::bounded(tokio::io::AsyncReadExt::read_to_end(&mut raw.0, &mut all)).await;
    all
}

async fn check(rig: &Rig, answer: &Mutex<Vec<u8>>, input: &[u8]) -> Result<(), String> {
    *answer.lock() = input.to_vec();
    let first = ask(rig, "first").await;
    until(|| rig.in_flight("c") == 0).await;
    let second = ask(rig, "second").await;
    until(|| rig.in_flight("c") == 0).await;
    let mut left = &first[..];
    let mut last = None;
    // Those before the last are informational.
    while let Some(one) = reading::read(left, Kind::Answer)
        .map_err(|odd| format!("the client got {odd}: {}", first.escape_ascii()))?
    {
        let informational = one
            .line
            .split(' ')
            .nth(1)
            .is_some_and(|status| status.starts_with('1'));
        left = &left[one.length..];
        last = Some(one);
        if !informational {
            break;
        }
    }
    let whole = last.is_some() && left.is_empty();
    if last.is_some() && !left.is_empty() && !left.starts_with(b"HTTP/1.1 ") {
        return Err(format!("more than an answer: {}", first.escape_ascii()));
    }
    // An answer that strictly read has not all come is never passed on as whole. A lone line feed may end a line (RFC 9112 §2.2): the
    // strict reading waits for more where a lenient one has all.
    if let (true, Some(last), Ok(None)) = (whole, &last, reading::read(input, Kind::Answer)) {
        let cut =
            last.line.starts_with("HTTP/1.1 200") && input.starts_with(b"HTTP/1.1 200 OK\r\n");
        if cut && !run::has_lone_lf(input) {
            return Err(format!(
                "whole, and the agent's was not: {}",
                first.escape_ascii()
            ));
        }
    }
    match reading::read(&second, Kind::Answer) {
        Ok(Some(own)) if own.length == second.len() && own.body == b"second" => Ok(()),
        odd => Err(format!(
            "the next client got {odd:?}: {}",
            second.escape_ascii()
        )),
    }
}

#[test]
fn answers_reach_their_own_client_with_one_reading() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let answer: Arc<Mutex<Vec<u8>>> = Arc::default();
    let rig = runtime.block_on(async {
        let rig = Rig::new();
        let given = Arc::clone(&answer);
        let agent = agents::raw(move |mut stream, _| {
            let given = Arc::clone(&given);
            async move {
                loop {
                    let head = read_until(&mut stream, "\r\n\r\n").await;
                    if head.is_empty() {
                        return;
                    }
                    if head.contains(" /second ") {
                        let _ = stream.write_all(SECOND.as_bytes()).await;
                        continue;
                    }
                    let answer = given.lock().clone();
                    let whole = says_its_length(&answer);
                    if stream.write_all(&answer).await.is_err() || !whole {
                        return;
                    }
                }
            }
        })
        .await;
        // Many failures in a row are what this is about.
        rig.publish("users", &[("c", agent.address)], |publication| {
            publication.proxy.breaker = Some(agentainer::agent::spec::Breaker {
                failures: 0,
                ..Default::default()
            });
        });
        rig
    });
    run::run(&TARGET, &run::files("fuzz/corpus/answers"), |input| {
        runtime.block_on(check(&rig, &answer, input))
    });
}
