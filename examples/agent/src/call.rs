//! Calling another agent: one GET, within a bound, DNS included.

use std::io::{self, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::http;
use crate::json::Json;

/// Says how many agents a call has passed through, so that agents naming each other do not call for ever.
pub const DEPTH: &str = "X-Agent-Depth";
/// An agent reached over this many others calls no further.
pub const MAX_DEPTH: u64 = 4;
/// More than this of an answer is cut off.
const MAX_ANSWER: u64 = 1 << 20;

/// What came back from an upstream.
pub struct Outcome {
    pub took: Duration,
    /// The status and the body, or why there is none.
    pub result: Result<(u16, Vec<u8>), String>,
}

impl Outcome {
    pub fn is_success(&self) -> bool {
        matches!(&self.result, Ok((200..300, _)))
    }

    /// For people: whether it went well, how long it took, and the answer (as JSON where it is) or the error.
    pub fn to_json(&self, url: &str) -> Json {
        let mut json = Json::object([
            ("url", Json::text(shown(url))),
            ("ok", Json::Bool(self.is_success())),
            ("ms", Json::number(self.took.as_millis())),
        ]);
        match &self.result {
            Ok((status, body)) => {
                let text = String::from_utf8_lossy(body);
                json.push("status", Json::number(status));
                json.push(
                    "answer",
                    Json::parse(&text).unwrap_or_else(|| Json::text(text.trim())),
                );
            }
            Err(why) => json.push("error", Json::text(why.as_str())),
        }
        json
    }
}

/// Calls all the URLs at once and waits for them together; `results` are in the order of `urls`.
pub fn get_all(urls: &[String], depth: u64) -> Vec<Outcome> {
    // Whoever is called has less time than its caller, so that a slow agent at the far end is named by its own
    // caller rather than seen as a time-out all the way up.
    let budget =
        Duration::from_millis(4500).saturating_sub(Duration::from_millis(800) * depth as u32);
    let start = Instant::now();
    let calls: Vec<_> = urls
        .iter()
        .map(|url| {
            let (send, receive) = mpsc::channel();
            let url = url.clone();
            thread::spawn(move || {
                let result = get(&url, depth + 1, budget).map_err(|error| error.to_string());
                let _ = send.send((result, start.elapsed()));
            });
            receive
        })
        .collect();
    let outcome = |call: mpsc::Receiver<_>| {
        let left = budget.saturating_sub(start.elapsed());
        let late = || (Err(format!("no answer within {budget:?}")), start.elapsed());
        let (result, took) = call.recv_timeout(left).unwrap_or_else(|_| late());
        Outcome { took, result }
    };
    calls.into_iter().map(outcome).collect()
}

fn get(url: &str, depth: u64, timeout: Duration) -> io::Result<(u16, Vec<u8>)> {
    let (authority, path) = split(url).ok_or_else(|| io::Error::other("not an http:// URL"))?;
    let host = if authority.contains(':') {
        authority.to_owned()
    } else {
        format!("{authority}:80")
    };
    let address = host
        .to_socket_addrs()
        .map_err(|error| io::Error::other(format!("the name {host} was not found: {error}")))?
        .next()
        .ok_or_else(|| io::Error::other(format!("the name {host} has no address")))?;
    let mut stream = TcpStream::connect_timeout(&address, timeout.min(Duration::from_secs(2)))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: {authority}\r\nAccept: application/json\r\n{DEPTH}: {depth}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    read_answer(&mut BufReader::new(stream))
}

fn read_answer(stream: &mut BufReader<TcpStream>) -> io::Result<(u16, Vec<u8>)> {
    let first = http::read_line(stream)?;
    let status = first.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| io::Error::other("the answer is not HTTP"))?;
    let mut headers = Vec::new();
    loop {
        let line = http::read_line(stream)?;
        match line.split_once(':') {
            Some((name, value)) => headers.push((name.to_owned(), value.trim().to_owned())),
            None => break,
        }
    }
    let mut body = Vec::new();
    if http::find(&headers, "transfer-encoding").eq_ignore_ascii_case("chunked") {
        loop {
            let size = http::read_chunk_size(stream)?.min(MAX_ANSWER);
            if size == 0 || body.len() as u64 > MAX_ANSWER {
                break;
            }
            stream.by_ref().take(size).read_to_end(&mut body)?;
            http::read_line(stream)?;
        }
    } else {
        let length = http::find(&headers, "content-length")
            .parse()
            .unwrap_or(MAX_ANSWER);
        stream
            .by_ref()
            .take(length.min(MAX_ANSWER))
            .read_to_end(&mut body)?;
    }
    Ok((status, body))
}

/// `http://user:password@host:port/path` as (`host:port`, `/path`).
fn split(url: &str) -> Option<(&str, &str)> {
    let rest = url.strip_prefix("http://")?;
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let authority = authority.rsplit('@').next().unwrap_or(authority);
    Some((authority, if path.is_empty() { "/" } else { path }))
}

/// A URL without what may stand before its `@`.
fn shown(url: &str) -> String {
    split(url).map_or_else(
        || url.to_owned(),
        |(authority, path)| format!("http://{authority}{path}"),
    )
}

/// The name an upstream goes by in an answer: its host.
pub fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or(rest);
    let authority = authority.rsplit('@').next().unwrap_or(authority);
    authority.split(':').next().unwrap_or(authority)
}

/// `host:port` of any URL: what may be shown of a database.
pub fn authority_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or(rest);
    authority.rsplit('@').next().unwrap_or(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart_and_credentials_are_not_shown() {
        assert_eq!(split("http://auth:8000"), Some(("auth:8000", "/")));
        assert_eq!(split("http://me:pw@auth/x?y=1"), Some(("auth", "/x?y=1")));
        assert_eq!(split("ftp://auth"), None);
        assert_eq!(shown("http://me:pw@auth/x"), "http://auth/x");
        assert_eq!(
            authority_of("postgres://me:pw@host.docker.internal:5432/users"),
            "host.docker.internal:5432"
        );
        assert_eq!(host_of("http://auth:8000/x"), "auth");
    }
}
