//! An agent's odd answers: one reading alone reaches the client, and what is left on the agent's connection is nobody's.

use crate::agents;
use crate::reading::{self, Kind};
use crate::rig::{Rig, bounded, read_until, until};
use tokio::io::AsyncWriteExt as _;

/// What a client gets that asks this of an agent with this answer, and then what a second one gets.
async fn asked(method: &str, answer: &'static str) -> (String, String, usize) {
    let rig = Rig::new();
    let agent = agents::raw(move |mut stream, agent| async move {
        loop {
            let head = read_until(&mut stream, "\r\n\r\n").await;
            if head.is_empty() {
                return;
            }
            agent.count();
            let second = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecond";
            let text = if head.contains(" /second ") {
                second
            } else {
                answer
            };
            if stream.write_all(text.as_bytes()).await.is_err() {
                return;
            }
            if !text.contains("ontent-")
                && !text.contains("hunked")
                && !text.contains(" 204 ")
                && !text.contains(" 304 ")
            {
                return;
            }
        }
    })
    .await;
    rig.ready("users", &[("c", agent.address)]);
    let mut raw = rig.raw().await;
    raw.send(format!(
        "{method} /agent/users/first HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n"
    ))
    .await;
    let first = raw.rest().await;
    until(|| rig.in_flight("c") == 0).await;
    let mut raw = rig.raw().await;
    raw.send("GET /agent/users/second HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n")
        .await;
    (first, raw.rest().await, agent.connections())
}

fn body(answer: &str, kind: Kind) -> String {
    match reading::read(answer.as_bytes(), kind) {
        Ok(Some(message)) => {
            assert_eq!(
                message.length,
                answer.len(),
                "more than one answer: {answer}"
            );
            String::from_utf8(message.body).unwrap()
        }
        odd => panic!("{odd:?}: {answer}"),
    }
}

#[tokio::test]
async fn an_answer_of_two_readings_is_502_and_its_connection_is_used_for_nothing_else() {
    let mut wrong: Vec<String> = Vec::new();
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\nab",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nX: 1\r\n Content-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 99 OK\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nab",
        "ICY 200 OK\r\nContent-Length: 2\r\n\r\nab",
    ] {
        let (first, second, connections) = asked("GET", answer).await;
        if !first.starts_with("HTTP/1.1 502 ")
            || !second.ends_with("\r\n\r\nsecond")
            || connections < 2
        {
            wrong.push(format!("{answer:?}: {first} {second} {connections}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn an_odd_answer_of_one_reading_passes_as_a_plain_one() {
    let mut wrong: Vec<String> = Vec::new();
    for (method, answer, status, expected) in [
        (
            "GET",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab",
            "200",
            "ab",
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nab",
            "200",
            "ab",
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2;x\r\nab\r\n0\r\n\r\n",
            "200",
            "ab",
        ),
        (
            "GET",
            "HTTP/1.0 200 OK\r\n\r\nuntil the end",
            "200",
            "until the end",
        ),
        (
            "GET",
            "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nab",
            "200",
            "ab",
        ),
        ("GET", "HTTP/1.1 204 No\r\n\r\n", "204", ""),
        (
            "GET",
            "HTTP/1.1 304 Same\r\nContent-Length: 5\r\n\r\n",
            "304",
            "",
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nConnection: content-length\r\nContent-Length: 2\r\n\r\nab",
            "200",
            "ab",
        ),
        (
            "GET",
            "HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab",
            "200",
            "ab",
        ),
        (
            "GET",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab",
            "200",
            "ab",
        ),
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            "200",
            "",
        ),
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "200",
            "",
        ),
    ] {
        let kind = if method == "HEAD" {
            Kind::AnswerToHead
        } else {
            Kind::Answer
        };
        let (first, second, _) = asked(method, answer).await;
        let last = &first[first.rfind("HTTP/1.1 ").unwrap_or(0)..];
        let read = reading::read(last.as_bytes(), kind);
        let right = match &read {
            Ok(Some(message)) => {
                message.body == expected.as_bytes() && message.length == last.len()
            }
            _ => false,
        };
        let begun = last.starts_with(&format!("HTTP/1.1 {status} "));
        if !right || !begun || !second.ends_with("\r\n\r\nsecond") {
            wrong.push(format!("{answer:?}: {read:?} {first} {second}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn a_body_where_none_may_be_is_not_the_next_answer() {
    for (method, answer) in [
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nContent-Length: 44\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
        ),
        (
            "GET",
            "HTTP/1.1 204 No\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
        ),
        (
            "GET",
            "HTTP/1.1 304 Same\r\nContent-Length: 44\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
        ),
    ] {
        let kind = if method == "HEAD" {
            Kind::AnswerToHead
        } else {
            Kind::Answer
        };
        let (first, second, connections) = asked(method, answer).await;
        assert!(
            !first.contains("evil") && !first.contains(" 502 "),
            "{answer:?}: {first}"
        );
        body(&first, kind);
        assert_eq!(body(&second, Kind::Answer), "second", "{answer:?}");
        assert_eq!(connections, 2, "{answer:?}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_never_a_whole_one() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\nxyz\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nab\n0\n\n",
    ] {
        let rig = Rig::new();
        let agent = agents::raw(move |mut stream, _| async move {
            read_until(&mut stream, "\r\n\r\n").await;
            let _ = stream.write_all(answer.as_bytes()).await;
        })
        .await;
        rig.ready("users", &[("c", agent.address)]);
        let mut raw = rig.raw().await;
        raw.send("GET /agent/users/ HTTP/1.1\r\nHost: b\r\n\r\n")
            .await;
        let all = raw.rest().await;
        if all.starts_with("HTTP/1.1 200 ") {
            let read = reading::read(all.as_bytes(), Kind::Answer);
            assert!(matches!(read, Ok(None) | Err(_)), "{answer:?}: {all}");
        } else {
            assert!(all.starts_with("HTTP/1.1 502 "), "{answer:?}: {all}");
        }
    }
}

#[tokio::test]
async fn what_an_agent_says_unasked_is_nobodys_answer() {
    let rig = Rig::new();
    let (tell, told) = tokio::sync::watch::channel(false);
    let agent = agents::raw(move |mut stream, agent| {
        let mut told = told.clone();
        async move {
            while !read_until(&mut stream, "\r\n\r\n").await.is_empty() {
                agent.count();
                let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                stream.write_all(answer.as_bytes()).await.unwrap();
                if agent.connections() == 1 {
                    bounded(told.wait_for(|told| *told)).await.unwrap();
                    let unasked = "HTTP/1.1 408 Late\r\ncontent-length: 4\r\n\r\nevil";
                    stream.write_all(unasked.as_bytes()).await.unwrap();
                    agent.count();
                }
            }
        }
    })
    .await;
    rig.ready("users", &[("c", agent.address)]);
    assert_eq!(rig.get("/agent/users/").await.text, "ok");
    tell.send(true).unwrap();
    until(|| agent.requests() == 2).await;
    let answer = rig.get("/agent/users/").await;
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, "ok"));
}
