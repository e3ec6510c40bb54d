//! The access log: a line for each request through the proxy when its answer is over, JSON or text (Apache's combined format, and
//! what we know beyond it).
//!
//! Written by a thread of its own, so that no request waits for a disk; when that does not keep up, lines are lost and counted. A
//! query is never written: it may hold a secret. The file is opened anew when it was moved away, so that logrotate needs no signal.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use http::{HeaderValue, Method, Version};
use jiff::Timestamp;
use jiff::fmt::strtime;
use parking_lot::Mutex;
use serde_json::json;

use crate::config::LogFormat;

/// Lines that wait for the disk.
const WAITING: usize = 8192;
/// A line is on the disk within about this long.
const SOON: Duration = Duration::from_millis(200);

/// One request whose answer is over.
#[derive(Debug)]
pub struct Entry {
    /// When its answer was over.
    pub at: Timestamp,
    /// Who asked.
    pub peer: IpAddr,
    /// What for.
    pub method: Method,
    /// The path as it came, without the query.
    pub path: String,
    /// In which protocol.
    pub version: Version,
    /// The answer's status.
    pub status: u16,
    /// Bytes of its body.
    pub sent: u64,
    /// Whether the answer reached its end.
    pub whole: bool,
    /// From the request's head to the answer's end.
    pub took: Duration,
    /// From the request's head to the answer's; zero when the proxy answered itself.
    pub first_byte: Duration,
    /// The agent, if there is one.
    pub agent: Option<String>,
    /// The container that answered, in short.
    pub instance: Option<String>,
    /// `X-Request-Id`.
    pub request_id: Option<HeaderValue>,
    /// `Referer`, without its query, nor the address of a result.
    pub referer: Option<HeaderValue>,
    /// `User-Agent`.
    pub user_agent: Option<HeaderValue>,
}

/// Where entries go.
#[derive(Debug)]
pub struct AccessLog {
    lines: SyncSender<Message>,
    lost: Arc<AtomicU64>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
enum Message {
    Line(Box<Entry>),
    End,
}

impl AccessLog {
    /// Begins one in this file, which is made with mode 0600 or appended to; `-` is standard output.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn start(path: &Path, format: LogFormat) -> io::Result<Self> {
        let output = Output::open(path)?;
        let (lines, waiting) = sync_channel(WAITING);
        let lost = Arc::new(AtomicU64::new(0));
        let writer = std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn({
                let lost = Arc::clone(&lost);
                move || write_all(&waiting, output, format, &lost)
            })?;
        Ok(Self {
            lines,
            lost,
            writer: Mutex::new(Some(writer)),
        })
    }

    /// Takes a line, or loses and counts it.
    pub fn write(&self, entry: Box<Entry>) {
        if self.lines.try_send(Message::Line(entry)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lines that were lost so far.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Writes what waits. What comes later is lost.
    pub fn end(&self) {
        let _ = self.lines.send(Message::End);
        if let Some(writer) = self.writer.lock().take() {
            let _ = writer.join();
        }
    }
}

fn write_all(waiting: &Receiver<Message>, mut output: Output, format: LogFormat, lost: &AtomicU64) {
    let mut text = Vec::new();
    loop {
        let message = match waiting.recv_timeout(SOON) {
            Ok(message) => message,
            Err(RecvTimeoutError::Timeout) => {
                output.flush();
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => Message::End,
        };
        let Message::Line(entry) = message else {
            output.flush();
            return;
        };
        text.clear();
        match format {
            LogFormat::Json => json_line(&entry, &mut text),
            LogFormat::Text => text_line(&entry, &mut text),
        }
        if output.write(&text).is_err() {
            lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The file, opened again when another one, or none, has its name.
#[derive(Debug)]
enum Output {
    Stdout(BufWriter<io::Stdout>),
    File {
        path: PathBuf,
        file: BufWriter<File>,
        looked: std::time::Instant,
    },
}

impl Output {
    fn open(path: &Path) -> io::Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::Stdout(BufWriter::new(io::stdout())));
        }
        Ok(Self::File {
            path: path.to_owned(),
            file: BufWriter::new(append(path)?),
            looked: instant(),
        })
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout(out) => out.write_all(line),
            Self::File { path, file, looked } => {
                if looked.elapsed() > SOON {
                    *looked = instant();
                    if moved(path, file.get_ref()) {
                        file.flush()?;
                        *file = BufWriter::new(append(path)?);
                    }
                }
                file.write_all(line)
            }
        }
    }

    fn flush(&mut self) {
        // What cannot be written now stays in the buffer and is tried again.
        let _ = match self {
            Self::Stdout(out) => out.flush(),
            Self::File { file, .. } => file.flush(),
        };
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a thread of its own, whose pace no test's virtual time drives"
)]
fn instant() -> std::time::Instant {
    std::time::Instant::now()
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
}

fn moved(path: &Path, file: &File) -> bool {
    match (std::fs::metadata(path), file.metadata()) {
        (Ok(named), Ok(open)) => (named.dev(), named.ino()) != (open.dev(), open.ino()),
        (Err(_), _) => true,
        (Ok(_), Err(_)) => false,
    }
}

fn text_of(value: Option<&HeaderValue>) -> Option<String> {
    value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// Where results are shown.
const RESULTS: &str = "/results/";

/// Without what stands behind `?` or `#`.
fn without_query(url: Option<&HeaderValue>) -> Option<String> {
    let mut text = text_of(url)?;
    if let Some(end) = text.find(['?', '#']) {
        text.truncate(end);
    }
    // What follows opens a result to whoever reads it.
    if let Some(at) = text.find(RESULTS) {
        text.truncate(at + RESULTS.len());
    }
    Some(text)
}

fn json_line(entry: &Entry, line: &mut Vec<u8>) {
    let object = json!({
        "timestamp": entry.at.to_string(),
        "peer": entry.peer.to_string(),
        "method": entry.method.as_str(),
        "path": entry.path,
        "protocol": format!("{:?}", entry.version),
        "status": entry.status,
        "bytes": entry.sent,
        "complete": entry.whole,
        "duration": entry.took.as_secs_f64(),
        "firstByte": entry.first_byte.as_secs_f64(),
        "agent": entry.agent,
        "instance": entry.instance,
        "requestId": text_of(entry.request_id.as_ref()),
        "referer": without_query(entry.referer.as_ref()),
        "userAgent": text_of(entry.user_agent.as_ref()),
    });
    // Writing to memory.
    let _ = serde_json::to_writer(&mut *line, &object);
    line.push(b'\n');
}

fn text_line(entry: &Entry, line: &mut Vec<u8>) {
    let at = strtime::format("%d/%b/%Y:%H:%M:%S +0000", entry.at).unwrap_or_default();
    let plain = |text: Option<String>| match text {
        Some(text) => text.chars().flat_map(escaped).collect(),
        None => "-".to_owned(),
    };
    let _ = writeln!(
        line,
        "{peer} - - [{at}] \"{method} {path} {version:?}\" {status} {sent} \"{referer}\" \"{client}\" {took:.6} {first:.6} {agent} {instance} {id} {end}",
        peer = entry.peer,
        method = entry.method,
        path = plain(Some(entry.path.clone())),
        version = entry.version,
        status = entry.status,
        sent = entry.sent,
        referer = plain(without_query(entry.referer.as_ref())),
        client = plain(text_of(entry.user_agent.as_ref())),
        took = entry.took.as_secs_f64(),
        first = entry.first_byte.as_secs_f64(),
        agent = entry.agent.as_deref().unwrap_or("-"),
        instance = entry.instance.as_deref().unwrap_or("-"),
        id = plain(text_of(entry.request_id.as_ref())),
        end = if entry.whole { "complete" } else { "cut" },
    );
}

/// A character as it may stand between quotation marks on one line.
fn escaped(c: char) -> Box<dyn Iterator<Item = char>> {
    match c {
        '"' | '\\' => Box::new(['\\', c].into_iter()),
        c if c.is_control() => Box::new(c.escape_default()),
        c => Box::new(std::iter::once(c)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn entry(path: &str) -> Box<Entry> {
        Box::new(Entry {
            at: "2026-11-23T05:06:07Z".parse().unwrap(),
            peer: "192.0.2.1".parse().unwrap(),
            method: Method::GET,
            path: path.to_owned(),
            version: Version::HTTP_11,
            status: 200,
            sent: 12,
            whole: true,
            took: Duration::from_micros(1500),
            first_byte: Duration::from_micros(700),
            agent: Some("users".to_owned()),
            instance: Some("0123456789ab".to_owned()),
            request_id: Some(HeaderValue::from_static("r-1")),
            referer: Some(HeaderValue::from_static(
                "https://example.org/a?token=secret#x",
            )),
            user_agent: Some(HeaderValue::from_static("say \"hi\"")),
        })
    }

    #[test]
    fn a_line_of_text_is_the_combined_format_and_what_we_know_beyond_it() {
        let mut line = Vec::new();
        text_line(&entry("/agent/users/\u{7}"), &mut line);
        assert_eq!(
            String::from_utf8(line).unwrap(),
            "192.0.2.1 - - [23/Nov/2026:05:06:07 +0000] \"GET /agent/users/\\u{7} HTTP/1.1\" 200 12 \"https://example.org/a\" \
             \"say \\\"hi\\\"\" 0.001500 0.000700 users 0123456789ab r-1 complete\n"
        );
    }

    #[test]
    fn lines_are_on_the_disk_at_the_end_and_go_to_a_new_file_when_it_was_moved() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let log = AccessLog::start(&path, LogFormat::Json).unwrap();
        log.write(entry("/agent/users/1"));
        let mut waited = 0;
        while std::fs::read_to_string(&path).unwrap().is_empty() {
            waited += 1;
            assert!(waited < 1000, "it is written soon");
            std::thread::park_timeout(SOON / 20);
        }
        std::fs::rename(&path, folder.path().join("access.log.1")).unwrap();
        while !path.exists() {
            waited += 1;
            assert!(waited < 1000, "it is opened anew soon");
            log.write(entry("/agent/users/2"));
            std::thread::park_timeout(SOON / 20);
        }
        log.write(entry("/agent/users/3"));
        log.end();
        log.write(entry("/agent/users/4"));
        assert_eq!(log.lost(), 1);
        let text = std::fs::read_to_string(&path).unwrap();
        let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!(last.get("path").unwrap(), "/agent/users/3");
        assert_eq!(last.get("referer").unwrap(), "https://example.org/a");
        let page = HeaderValue::from_static("https://example.org/results/1234.s3cret/events");
        let shown = without_query(Some(&page)).unwrap();
        assert_eq!(shown, "https://example.org/results/");
        assert!(!text.contains("secret"));
        let mode = std::fs::metadata(&path).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o600);
    }
}
