//! A small HTTP client for tests, on curl: not ours, so that it judges us fairly.

use std::process::Command;

use crate::process::run;

pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.body))
    }
}

/// `None` when there was no answer at all.
pub fn curl(args: &[&str]) -> Option<Answer> {
    let output = run(Command::new("curl")
        .args(["-sS", "-i", "--max-time", "40"])
        .args(args));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // Interim answers (100 Continue) come first, each with a head of its own.
    let mut rest = text.as_str();
    loop {
        let (head, body) = rest.split_once("\r\n\r\n")?;
        let status: u16 = head.split_whitespace().nth(1)?.parse().ok()?;
        if (100..200).contains(&status) && status != 101 {
            rest = body;
            continue;
        }
        return Some(Answer {
            status,
            head: head.to_ascii_lowercase(),
            body: body.to_owned(),
        });
    }
}

pub fn get(url: &str) -> Option<Answer> {
    curl(&[url])
}
