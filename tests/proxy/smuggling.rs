//! What an agent gets of an odd message, byte for byte, and whether the connection goes on behind it (RFC 9110, 9112). Whatever the
//! client sent, it is one message by a second and stricter reading, or none.

use crate::reading::{self, Message};
use crate::recorder::{self, Record};
use crate::rig::{PATIENCE, Rig, bounded, until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const LAST: &str = "GET /agent/users/last HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n";

/// A message as it came but for what the proxy sets itself.
fn plain(message: &Message) -> String {
    let ours = |name: &str| {
        name.starts_with("x-forwarded-")
            || ["forwarded", "x-request-id", "traceparent"].contains(&name)
    };
    let mut text = format!("{}\n", message.line);
    for (name, value) in &message.fields {
        if !ours(name) {
            text += &format!("{name}: {value}\n");
        }
    }
    text += &format!("\n{}", String::from_utf8_lossy(&message.body));
    for (name, value) in &message.trailers {
        text += &format!("\n{name}: {value}");
    }
    text
}

/// All that an agent got, read strictly; what is left over of a message that never became whole is told by its beginning.
fn got(record: &Record) -> Vec<String> {
    let mut all = Vec::new();
    for bytes in record.take() {
        let (whole, rest) = reading::requests(&bytes).unwrap_or_else(|odd| panic!("{odd}"));
        all.extend(whole.iter().map(plain));
        if !rest.is_empty() {
            all.push("cut off".to_owned());
        }
    }
    all
}

async fn rig() -> (Rig, Record) {
    let rig = Rig::new();
    let (agent, record) = recorder::recording().await;
    rig.ready("users", &[("c", agent.address)]);
    (rig, record)
}

#[tokio::test]
async fn odd_messages_of_one_reading_pass_as_plain_ones_and_their_connection_goes_on() {
    let (rig, record) = rig().await;
    let fields = (0..98).fold(String::new(), |all, n| all + &format!("X-{n}: 1\r\n"));
    let hundred = format!("GET /agent/users/ HTTP/1.1\r\nHost: b\r\n{fields}X: 1\r\n\r\n");
    let all: String = (0..98).map(|n| format!("x-{n}: 1\n")).collect();
    let hundred_got = format!("GET / HTTP/1.1\nhost: b\n{all}x: 1\n\n");
    let cases: &[(&str, &str, &str)] = &[
        (
            "a length said twice",
            "POST /agent/users/ HTTP/1.1\r\nHost: b\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab",
            "POST / HTTP/1.1\nhost: b\ncontent-length: 2\n\nab",
        ),
        (
            "a length with zeros before it",
            "POST /agent/users/ HTTP/1.1\r\nHost: b\r\nContent-Length: 0002\r\n\r\nab",
            "POST / HTTP/1.1\nhost: b\ncontent-length: 0002\n\nab",
        ),
        (
            "blanks around values",
            "POST /agent/users/ HTTP/1.1\r\nHost:\t b \t\r\nContent-Length: \t2 \r\nX:\t\r\n\r\nab",
            "POST / HTTP/1.1\nhost: b\ncontent-length: 2\nx: \n\nab",
        ),
        (
            "an extension of a chunk",
            "POST /agent/users/ HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n2;a=\"b c\"\r\nab\r\n0;x\r\n\r\n",
            "POST / HTTP/1.1\nhost: b\ntransfer-encoding: chunked\n\nab",
        ),
        (
            "sizes of chunks in odd spellings",
            "POST /agent/users/ HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: Chunked \r\n\r\n0000A\r\n0123456789\r\na \r\n0123456789\r\n000\r\n\r\n",
            "POST / HTTP/1.1\nhost: b\ntransfer-encoding: chunked\n\n01234567890123456789",
        ),
        (
            "a body of GET",
            "GET /agent/users/ HTTP/1.1\r\nHost: b\r\nContent-Length: 33\r\n\r\nGET /agent/users/in HTTP/1.1\r\n\r\n.",
            "GET / HTTP/1.1\nhost: b\ncontent-length: 33\n\nGET /agent/users/in HTTP/1.1\r\n\r\n.",
        ),
        (
            "chunks of GET",
            "GET /agent/users/ HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
            "GET / HTTP/1.1\nhost: b\ntransfer-encoding: chunked\n\nab",
        ),
        (
            "lines that end with LF alone",
            "GET /agent/users/ HTTP/1.1\nHost: b\nX: 1\n\n",
            "GET / HTTP/1.1\nhost: b\nx: 1\n\n",
        ),
        (
            "empty lines before it",
            "\r\n\r\nGET /agent/users/ HTTP/1.1\r\nHost: b\r\n\r\n",
            "GET / HTTP/1.1\nhost: b\n\n",
        ),
        (
            "a length that is named as of this connection alone",
            "POST /agent/users/ HTTP/1.1\r\nHost: b\r\nConnection: content-length\r\nContent-Length: 2\r\n\r\nab",
            "POST / HTTP/1.1\nhost: b\ncontent-length: 2\n\nab",
        ),
        (
            "no body at all, with a length that is named",
            "POST /agent/users/ HTTP/1.1\r\nHost: b\r\nConnection: Content-Length\r\nContent-Length: 0\r\n\r\n",
            "POST / HTTP/1.1\nhost: b\ncontent-length: 0\n\n",
        ),
        (
            "chunks that are named",
            "POST /agent/users/ HTTP/1.1\r\nHost: b\r\nConnection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
            "POST / HTTP/1.1\nhost: b\ntransfer-encoding: chunked\n\nab",
        ),
        (
            "a host that is named",
            "GET /agent/users/ HTTP/1.1\r\nHost: b\r\nConnection: host, x-forwarded-for, x-one\r\nX-One: 1\r\n\r\n",
            "GET / HTTP/1.1\nhost: b\n\n",
        ),
        (
            "framing fields with underscores, which a CGI-like agent takes for the real ones",
            "POST /agent/users/ HTTP/1.1\r\nHost: b\r\nContent_Length: 9\r\nTransfer_Encoding: chunked\r\nContent-Length: 2\r\nX_Y: 1\r\n\r\nab",
            "POST / HTTP/1.1\nhost: b\nx_y: 1\ncontent-length: 2\n\nab",
        ),
        (
            "an absolute target without a path",
            "GET http://b?x HTTP/1.1\r\nHost: b\r\n\r\n",
            "",
        ),
        (
            "a scheme in capitals (RFC 3986 §3.1)",
            "GET HTTP://b/agent/users/x HTTP/1.1\r\nHost: b\r\n\r\n",
            "GET /x HTTP/1.1\nhost: b\n\n",
        ),
        (
            "a fragment, which is for the client alone",
            "GET /agent/users/a#/../b HTTP/1.1\r\nHost: b\r\n\r\n",
            "GET /a HTTP/1.1\nhost: b\n\n",
        ),
        (
            "escapes that an agent could take for line ends",
            "GET /agent/users/a%0d%0aX:%201/%2e%2e/..%2F%00?%0A\\ HTTP/1.1\r\nHost: b\r\n\r\n",
            "GET /a%0d%0aX:%201/%2e%2e/..%2F%00?%0A\\ HTTP/1.1\nhost: b\n\n",
        ),
        (
            "a method of the client's own",
            "get-!it /agent/users/ HTTP/1.1\r\nHost: b\r\n\r\n",
            "get-!it / HTTP/1.1\nhost: b\n\n",
        ),
        ("as many fields as may be", &hundred, &hundred_got),
    ];
    let mut wrong: Vec<String> = Vec::new();
    for (what, bytes, expected) in cases {
        let mut raw = rig.raw().await;
        raw.send(format!("{bytes}{LAST}")).await;
        let answers = raw.rest().await;
        let mut found = got(&record);
        let last = found.pop().unwrap_or_default();
        let answered = answers.matches("HTTP/1.1 ").count();
        if !last.starts_with("GET /last ") || found.concat() != *expected || answered != 2 {
            wrong.push(format!("{what}: {found:?} {last:?} {answers}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn trailers_cannot_change_what_the_message_is() {
    let (rig, record) = rig().await;
    let mut raw = rig.raw().await;
    raw.send(format!("POST /agent/users/ HTTP/1.1\r\nHost: b\r\nTE: trailers\r\nTrailer: x-sum, host, content-length\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX-Sum: 1\r\nContent-Length: 9\r\nTransfer-Encoding: gzip\r\nHost: evil\r\nAuthorization: Bearer ours\r\nX-Forwarded-For: 9.9.9.9\r\nX-Agentainer-Attempt: 1\r\n\r\n{LAST}")).await;
    raw.rest().await;
    let found = got(&record);
    let expected =
        "POST / HTTP/1.1\nte: trailers\nhost: b\ntransfer-encoding: chunked\nx-sum: 1\n\nab";
    for odd in [
        "evil",
        "gzip",
        "content-length: 9",
        "ours",
        "9.9.9.9",
        "x-agentainer",
    ] {
        assert!(
            !found[0].to_ascii_lowercase().contains(odd),
            "{odd}: {}",
            found[0]
        );
    }
    assert!(
        found[0].contains("\n\nab\nx-sum: 1"),
        "{} {expected}",
        found[0]
    );
    assert!(found[1].starts_with("GET /last "), "{found:?}");
}

#[tokio::test]
async fn what_is_no_message_is_refused_its_connection_ends_and_the_agent_gets_nothing() {
    let (rig, record) = rig().await;
    let get = |fields: &str| format!("GET /agent/users/ HTTP/1.1\r\nHost: b\r\n{fields}\r\n");
    let post = |fields: &str| format!("POST /agent/users/ HTTP/1.1\r\nHost: b\r\n{fields}\r\n");
    let mut cases: Vec<(String, Vec<u8>, &str)> = Vec::new();
    let mut add = |what: &str, bytes: String, status| {
        cases.push((what.to_owned(), bytes.into_bytes(), status))
    };
    for coding in [
        "",
        ",",
        "chunked;q=1",
        ", chunked",
        "chunked,",
        "chunked, identity",
        "\"chunked\"",
        "chunke\u{301}d",
    ] {
        add(
            &format!("a coding of {coding:?}"),
            post(&format!("Transfer-Encoding: {coding}\r\n")) + "0\r\n\r\n",
            "",
        );
    }
    add(
        "two codings on two lines",
        post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n") + "0\r\n\r\n",
        "",
    );
    add(
        "the same the other way",
        post("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n",
        "",
    );
    for length in [
        "",
        "1,1",
        "1 1",
        "1a",
        "1.0",
        "1e1",
        "1_0",
        "\u{661}",
        "0b1",
        "99999999999999999999999999",
    ] {
        add(
            &format!("a length of {length:?}"),
            post(&format!("Content-Length: {length}\r\n")) + "a",
            "400",
        );
    }
    add(
        "lengths that differ and agree",
        post("Content-Length: 1\r\nContent-Length: 1\r\nContent-Length: 2\r\n") + "ab",
        "400",
    );
    for line in [
        "GET  /agent/users/ HTTP/1.1",
        "GET\t/agent/users/ HTTP/1.1",
        " GET /agent/users/ HTTP/1.1",
        "GET /agent/users/ HTTP/1.1 ",
        "GET /agent/users/ http/1.1",
        "GET /agent/users/ HTTP/2.0",
        "GET /agent/users/ HTTP/1.10",
        "GET /agent/users/ HTTP/0.9",
        "GET /agent/users/ HTTP/+1.1",
        "GET /agent/users/",
        "GE(T /agent/users/ HTTP/1.1",
        "/agent/users/ HTTP/1.1",
        "GET HTTP/1.1",
    ] {
        add(
            &format!("{line:?}"),
            format!("{line}\r\nHost: b\r\n\r\n"),
            "400",
        );
    }
    for field in [
        "X Y: 1",
        "X\t: 1",
        "(X): 1",
        ": 1",
        "X\u{e9}: 1",
        "X\0: 1",
        "\"X\": 1",
        "X",
    ] {
        add(
            &format!("a field of {field:?}"),
            get(&format!("{field}\r\n")),
            "400",
        );
    }
    add(
        "blanks before the first field",
        "GET /agent/users/ HTTP/1.1\r\n Host: b\r\n\r\n".to_owned(),
        "400",
    );
    add(
        "a folded length",
        post("Content-Length:\r\n 1\r\n") + "a",
        "400",
    );
    add(
        "a folded coding",
        post("Transfer-Encoding:\r\n chunked\r\n") + "0\r\n\r\n",
        "400",
    );
    add(
        "a field behind a lone CR",
        get("X: 1\rContent-Length: 9\r\n"),
        "400",
    );
    add(
        "one field too many",
        get(&(0..100).fold(String::new(), |all, n| all + &format!("X-{n}: 1\r\n"))),
        "431",
    );
    add(
        "fields too large together",
        get(&(0..90).fold(String::new(), |all, n| {
            all + &format!("X-{n}: {}\r\n", "x".repeat(2000))
        })),
        "431",
    );
    add(
        "an endless request line",
        format!(
            "GET /agent/users/{} HTTP/1.1\r\nHost: b\r\n\r\n",
            "x".repeat(200_000)
        ),
        "4",
    );
    add(
        "an endless method",
        format!(
            "{} /agent/users/ HTTP/1.1\r\nHost: b\r\n\r\n",
            "X".repeat(200_000)
        ),
        "4",
    );
    for host in [
        "", "a b", "a,b", "a/", "a\\b", "http://a", "[::1", "a:b:c", "a#", "a?b",
    ] {
        add(
            &format!("a host of {host:?}"),
            format!("GET /agent/users/ HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            "400",
        );
    }
    for code in (0_u8..=31)
        .chain([127])
        .filter(|code| ![b'\t', b'\n', b'\r'].contains(code))
    {
        let c = char::from(code);
        add(
            &format!("{code} in a value"),
            get(&format!("X: a{c}b\r\n")),
            "400",
        );
        add(
            &format!("{code} in a target"),
            format!("GET /agent/users/{c} HTTP/1.1\r\nHost: b\r\n\r\n"),
            "400",
        );
    }
    for target in [
        "httq://b/agent/users/",
        "ftp://b/agent/users/",
        "httpss://b/agent/users/",
    ] {
        add(
            &format!("a target of {target:?}"),
            format!("GET {target} HTTP/1.1\r\nHost: b\r\n\r\n"),
            "400",
        );
    }
    for target in [
        "b:80",
        "*",
        "users",
        "http:///agent/users/",
        "http://u:p@b/agent/users/",
        "//b/agent/users/",
        "agent/users/",
    ] {
        add(
            &format!("a target of {target:?}"),
            format!("GET {target} HTTP/1.1\r\nHost: b\r\n\r\n"),
            "any",
        );
    }
    let mut wrong: Vec<String> = Vec::new();
    for (what, mut bytes, expected) in cases {
        bytes.extend_from_slice(match expected {
            "any" => b"GET /none HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n",
            _ => b"GET /agent/users/smuggled HTTP/1.1\r\nHost: b\r\n\r\n",
        });
        let mut raw = rig.raw().await;
        // What is refused early is not read to its end.
        let _ = bounded(raw.0.write_all(&bytes)).await;
        let mut answer = Vec::new();
        // A reset after the answer is an end too.
        let ended = tokio::time::timeout(PATIENCE / 4, raw.0.read_to_end(&mut answer)).await;
        let mut answer = String::from_utf8_lossy(&answer).into_owned();
        if ended.is_err() {
            answer += "(open) HTTP/1.1 ";
        }
        let status = answer.split(' ').nth(1).unwrap_or_default();
        let fits = match expected {
            "any" => true,
            "" => ["400", "501"].contains(&status),
            _ => status.starts_with(expected),
        };
        let found = got(&record);
        if !fits
            || !found.is_empty()
            || (expected != "any" && answer.matches("HTTP/1.1 ").count() != 1)
        {
            wrong.push(format!("{what}: {found:?} {answer}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn a_bad_chunk_ends_both_connections_and_the_agent_never_gets_a_whole_message() {
    let (rig, record) = rig().await;
    let extension = format!("2;{}\r\nab\r\n0\r\n\r\n", "x".repeat(64 * 1024));
    let trailers = format!(
        "0\r\n{}\r\n",
        format!("X: {}\r\n", "x".repeat(1000)).repeat(300)
    );
    let mut wrong: Vec<String> = Vec::new();
    for body in [
        "g\r\nab\r\n0\r\n\r\n",
        "\r\n0\r\n\r\n",
        "-1\r\na\r\n0\r\n\r\n",
        "+1\r\na\r\n0\r\n\r\n",
        "0x1\r\na\r\n0\r\n\r\n",
        "1 1\r\na\r\n0\r\n\r\n",
        "1,\r\na\r\n0\r\n\r\n",
        " 1\r\na\r\n0\r\n\r\n",
        "10000000000000000\r\na\r\n0\r\n\r\n",
        "ffffffffffffffff\r\nGET / HTTP/1.1\r\n\r\n",
        "fffffffffffffffe\r\nGET / HTTP/1.1\r\n\r\n",
        "1\na\r\n0\r\n\r\n",
        "1\r\na\n0\r\n\r\n",
        "1\r\na0\r\n\r\n",
        "1\r\nab\r\n0\r\n\r\n",
        "2\r\na\r\n0\r\n\r\n",
        "1;a\nb\r\na\r\n0\r\n\r\n",
        "1\ra\r\n0\r\n\r\n",
        "0\n\n",
        "0\r\nbad trailer\r\n\r\n",
        "0\r\nX : 1\r\n\r\n",
        "0\r\n X: 1\r\n\r\n",
        extension.as_str(),
        trailers.as_str(),
    ] {
        let what = &body[..body.len().min(40)];
        let mut raw = rig.raw().await;
        let head = "POST /agent/users/ HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n";
        let all = format!("{head}1\r\nx\r\n{body}{LAST}");
        let _ = bounded(raw.0.write_all(all.as_bytes())).await;
        let answer = match what.starts_with("fffffffffffffff") {
            // Far from its end: what comes is all of its body.
            true => String::new(),
            false => raw.rest().await,
        };
        drop(raw);
        // Its connection goes with it, and whatever came by it has come.
        until(|| record.open() == 0).await;
        let found = got(&record);
        let whole = found.iter().any(|one| one != "cut off");
        if answer.matches("HTTP/1.1 ").count() > 1 || answer.contains(" 200 ") || whole {
            wrong.push(format!("{what:?}: {found:?} {answer}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
