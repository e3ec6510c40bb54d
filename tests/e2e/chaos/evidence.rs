//! What there is to judge by when a run is over: the records, what the addresses show that clients were given, and what agents wrote down.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::history::{Final, Got, History, Promise};
use crate::history_clients::Outcome;
use crate::server::Server;

use super::STRICT;

async fn get(server: &Server, path: &str) -> Option<Value> {
    let token = std::fs::read_to_string(server.data_dir().join("admin.token")).unwrap();
    let to = SocketAddr::from(([127, 0, 0, 1], server.port));
    let mut stream = TcpStream::connect(to).await.ok()?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{}\r\nauthorization: Bearer {}\r\nconnection: close\r\n\r\n",
        server.port,
        token.trim()
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut said = Vec::new();
    stream.read_to_end(&mut said).await.ok()?;
    let said = String::from_utf8_lossy(&said).into_owned();
    let (head, body) = said.split_once("\r\n\r\n")?;
    if !head.starts_with("HTTP/1.1 200 ") {
        return None;
    }
    Some(serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {said}")))
}

/// Whether no request waits or is on its way.
pub async fn settled(server: &Server, agents: &[&str]) -> bool {
    for agent in agents {
        let path = format!("/agents/{agent}/requests?state=pending,claimed,retrying&limit=1");
        let page = get(server, &path).await;
        if page.is_none_or(|page| page["items"] != serde_json::json!([])) {
            return false;
        }
    }
    true
}

async fn records(server: &Server, agents: &[&str]) -> Vec<Final> {
    let mut all = Vec::new();
    for agent in agents {
        let mut before = String::new();
        loop {
            let path = format!("/agents/{agent}/requests?limit=1000{before}");
            let page = get(server, &path).await.expect("the list is shown");
            for item in page["items"].as_array().unwrap() {
                let status = item["answer"]["status"].as_u64();
                all.push(Final {
                    id: text(&item["id"]),
                    target: text(&item["target"]),
                    state: text(&item["status"]),
                    attempts: u32::try_from(item["attempts"].as_u64().unwrap()).unwrap(),
                    answer: status.map(|status| (u16::try_from(status).unwrap(), None)),
                });
            }
            match page["next"].as_u64() {
                Some(next) => before = format!("&before={next}"),
                None => break,
            }
        }
    }
    all
}

/// All that is known of a run.
pub async fn gathered(
    server: &Server,
    agents: &[&str],
    folder: &Path,
    begin: u64,
    outcomes: Vec<Outcome>,
    troubles: Vec<(u64, u64)>,
) -> History {
    let mut records = records(server, agents).await;
    let mut opened = BTreeMap::new();
    for Outcome { sent, secret } in &outcomes {
        let (Promise::Kept { id } | Promise::Unknown { id }, Some(secret)) =
            (&sent.promise, secret)
        else {
            continue;
        };
        let Some(shown) = get(server, &format!("/results/{id}.{secret}")).await else {
            continue;
        };
        opened.insert(id.clone(), text(&shown["status"]));
        let of = shown["answer"]["body"]
            .as_str()
            .and_then(|body| body.split(' ').next());
        let record = records.iter_mut().find(|record| record.id == *id);
        if let Some(answer) = record.and_then(|record| record.answer.as_mut()) {
            answer.1 = of.and_then(|of| of.parse().ok());
        }
    }
    let mut history = History {
        sent: outcomes.into_iter().map(|outcome| outcome.sent).collect(),
        records,
        opened,
        troubles,
        strict: BTreeSet::from([STRICT.to_owned()]),
        max_retries: 3,
        lease: 15_000,
        margin: 5000,
        ..History::default()
    };
    written_down(folder, begin, &mut history);
    history
}

/// What agents got so far.
pub fn got(folder: &Path, begin: u64) -> Vec<Got> {
    let mut history = History::default();
    written_down(folder, begin, &mut history);
    history.got
}

/// What agents wrote down, of all their lives.
fn written_down(folder: &Path, begin: u64, history: &mut History) {
    let mut all: BTreeMap<String, Got> = BTreeMap::new();
    for file in std::fs::read_dir(folder).unwrap().flatten() {
        if file.path().extension().is_none_or(|kind| kind != "jsonl") {
            continue;
        }
        for line in std::fs::read_to_string(file.path()).unwrap().lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let at = line["at"].as_u64().map_or(0, |at| at.saturating_sub(begin));
            if let Some(name) = line["got"].as_str() {
                all.insert(name.to_owned(), one(&line, at));
            } else if let Some(name) = line["body"].as_str() {
                all.get_mut(name).unwrap().body = Some(text(&line["digest"]));
            } else if let Some(name) = line["answered"].as_str() {
                let status = u16::try_from(line["status"].as_u64().unwrap()).unwrap();
                let got = all.get_mut(name).unwrap();
                (got.answered, got.ended) = (Some((at, status)), Some(at));
            } else {
                history.troubles.push((at, at));
            }
        }
    }
    history.got = all.into_values().collect();
}

fn one(line: &Value, at: u64) -> Got {
    let bytes = |value: &Value| -> Vec<u8> {
        let text = value.as_str().unwrap();
        text.chars()
            .map(|c| u8::try_from(u32::from(c)).unwrap())
            .collect()
    };
    let fields = line["fields"].as_array().unwrap().iter();
    let attempt = u32::try_from(line["attempt"].as_u64().unwrap()).unwrap();
    Got {
        agent: text(&line["agent"]),
        record: line["record"].as_str().map(|id| (id.to_owned(), attempt)),
        method: text(&line["method"]),
        target: text(&line["target"]),
        fields: fields
            .map(|field| (text(&field[0]), bytes(&field[1])))
            .collect(),
        body: None,
        at,
        answered: None,
        // When it ended without an answer is not known: as good as at once.
        ended: Some(at),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
