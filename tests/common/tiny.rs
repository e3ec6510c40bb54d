//! The program in the tests' image: a small HTTP server without dependencies, compiled by `image.rs` alone.
//!
//! It handles no signal. `tiny exit CODE` ends at once. `PORT` (default 8000) is where it listens; `LISTEN_AFTER_MS`
//! delays that; `EXIT_AFTER_MS` ends it with code 1.
//!
//! | path | answer |
//! | --- | --- |
//! | `/` | host name and `AGENT_INSTANCE`, one a line |
//! | `/health` | 200, or what `/health?status=N` (POST) last set |
//! | `/slow?ms=N` | the same as `/`, after N milliseconds |
//! | `/sse?n=N&ms=M` | N events, M milliseconds apart |
//! | `/echo` | the request as it came: first line, headers, body |
//! | `/crash` | none: the program ends with code 1 |
//! | `/sleep` | none: the connection stays open |
//! | `/env?name=NAME` | the variable's value |
//! | `/resolve?name=NAME` | the addresses of a name, one a line |
//! | `/get?host=H&port=P&path=/…` | what another server answers |
//! | `/read?path=/…`, `/write?path=/…` (POST) | a file |
//! | `/connections` | how many connections were accepted |

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

static HEALTH: AtomicU16 = AtomicU16::new(200);
static ACCEPTED: AtomicU64 = AtomicU64::new(0);

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).map(String::as_str) == Some("exit") {
        let code = arguments.get(2).and_then(|code| code.parse().ok()).unwrap_or(0);
        std::process::exit(code);
    }
    println!("started {}", variable("AGENT_INSTANCE"));
    eprintln!("a line on standard error");
    if let Ok(milliseconds) = variable("EXIT_AFTER_MS").parse() {
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(milliseconds));
            std::process::exit(1);
        });
    }
    if let Ok(milliseconds) = variable("LISTEN_AFTER_MS").parse() {
        std::thread::sleep(Duration::from_millis(milliseconds));
    }
    let port: u16 = variable("PORT").parse().unwrap_or(8000);
    let listener = TcpListener::bind(("0.0.0.0", port)).expect("the port is free");
    for stream in listener.incoming().flatten() {
        ACCEPTED.fetch_add(1, Ordering::Relaxed);
        std::thread::spawn(move || while serve(&stream).unwrap_or(false) {});
    }
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

struct Request {
    head: String,
    method: String,
    path: String,
    query: BTreeMap<String, String>,
    body: Vec<u8>,
    keep: bool,
}

/// One request and its answer; whether the connection goes on.
fn serve(stream: &TcpStream) -> std::io::Result<bool> {
    let Some(request) = read(stream)? else {
        return Ok(false);
    };
    let keep = request.keep;
    let text = |name: &str| request.query.get(name).cloned().unwrap_or_default();
    let number = |name: &str| text(name).parse::<u64>().unwrap_or(0);
    let (status, body) = match request.path.as_str() {
        "/" => (200, whoami()),
        "/health" => {
            if let Ok(status) = text("status").parse() {
                HEALTH.store(status, Ordering::Relaxed);
            }
            (HEALTH.load(Ordering::Relaxed), b"health\n".to_vec())
        }
        "/slow" => {
            std::thread::sleep(Duration::from_millis(number("ms")));
            (200, whoami())
        }
        "/sse" => {
            events(stream, number("n"), number("ms"))?;
            return Ok(false);
        }
        "/echo" => {
            let mut echoed = request.head.clone().into_bytes();
            echoed.extend_from_slice(&request.body);
            (200, echoed)
        }
        "/crash" => std::process::exit(1),
        "/sleep" => loop {
            std::thread::park();
        },
        "/env" => (200, variable(&text("name")).into_bytes()),
        "/resolve" => match (text("name").as_str(), 0).to_socket_addrs() {
            Ok(found) => {
                let lines: Vec<String> = found.map(|address| format!("{}\n", address.ip())).collect();
                (200, lines.concat().into_bytes())
            }
            Err(cause) => (502, format!("{cause}\n").into_bytes()),
        },
        "/get" => match get(&text("host"), number("port") as u16, &text("path")) {
            Ok(answer) => (200, answer),
            Err(cause) => (502, format!("{cause}\n").into_bytes()),
        },
        "/read" => match std::fs::read(text("path")) {
            Ok(bytes) => (200, bytes),
            Err(cause) => (500, format!("{cause}\n").into_bytes()),
        },
        "/write" => match std::fs::write(text("path"), &request.body) {
            Ok(()) => (200, Vec::new()),
            Err(cause) => (500, format!("{cause}\n").into_bytes()),
        },
        "/connections" => (200, format!("{}\n", ACCEPTED.load(Ordering::Relaxed)).into_bytes()),
        _ => (404, b"no such path\n".to_vec()),
    };
    let mut stream = stream;
    let length = body.len();
    let connection = if keep { "keep-alive" } else { "close" };
    write!(
        stream,
        "HTTP/1.1 {status} -\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\nconnection: {connection}\r\n\r\n"
    )?;
    if request.method != "HEAD" {
        stream.write_all(&body)?;
    }
    Ok(keep)
}

fn whoami() -> Vec<u8> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}\n{}\n", host.trim(), variable("AGENT_INSTANCE")).into_bytes()
}

fn read(stream: &TcpStream) -> std::io::Result<Option<Request>> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    let mut length = 0;
    let mut chunked = false;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        chunked |= lower.starts_with("transfer-encoding:") && lower.contains("chunked");
        head.push_str(&line);
        if line == "\r\n" {
            break;
        }
    }
    let body = if chunked { read_chunks(&mut reader)? } else { read_exactly(&mut reader, length)? };
    let mut words = head.split_ascii_whitespace();
    let method = words.next().unwrap_or_default().to_owned();
    let target = words.next().unwrap_or("/");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let query = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    Ok(Some(Request {
        keep: !head.to_ascii_lowercase().contains("connection: close"),
        method,
        path: path.to_owned(),
        query,
        body,
        head: head.clone(),
    }))
}

fn read_exactly(reader: &mut impl Read, length: usize) -> std::io::Result<Vec<u8>> {
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(body)
}

fn read_chunks(reader: &mut impl BufRead) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let length = usize::from_str_radix(line.trim(), 16).unwrap_or(0);
        body.extend(read_exactly(reader, length)?);
        reader.read_line(&mut line)?;
        if length == 0 {
            return Ok(body);
        }
    }
}

fn events(mut stream: &TcpStream, count: u64, milliseconds: u64) -> std::io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 -\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")?;
    for number in 0..count {
        write!(stream, "data: {number}\n\n")?;
        stream.flush()?;
        std::thread::sleep(Duration::from_millis(milliseconds));
    }
    Ok(())
}

fn get(host: &str, port: u16, path: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect((host, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").map_or(0, |at| at + 4);
    Ok(answer.split_off(end))
}
