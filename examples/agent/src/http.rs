//! HTTP/1.1 as a server speaks it: requests with keep-alive, bodies of any size, answers whole or bit by bit.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::json::Json;

/// An idle connection is closed after this long; longer than a proxy keeps its own idle ones.
const IDLE: Duration = Duration::from_secs(120);
const MAX_HEAD: u64 = 64 << 10;

pub struct Request<'a> {
    pub method: String,
    pub path: String,
    /// What stands after the `?`, as it was sent.
    pub query: String,
    pub version: String,
    /// In the order and spelling they came, repeated ones repeated.
    pub headers: Vec<(String, String)>,
    body: Body,
    stream: &'a mut BufReader<TcpStream>,
}

enum Body {
    Length(u64),
    Chunked { left: u64 },
    Done,
}

/// What the agent says back; `write_to` for answers that come bit by bit.
pub struct Answer<'a> {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub content: Content<'a>,
}

pub enum Content<'a> {
    Whole(Vec<u8>),
    /// This many bytes, written by the function.
    Sized(u64, Writer<'a>),
    /// Unknown length: each write goes out at once as one chunk.
    Stream(Writer<'a>),
    /// Another protocol on this connection from now on, until it ends.
    Upgrade(fn(&mut BufReader<TcpStream>, &mut TcpStream) -> io::Result<()>),
}

type Writer<'a> = Box<dyn FnOnce(&mut dyn Write) -> io::Result<()> + 'a>;

impl<'a> Answer<'a> {
    pub fn json(status: u16, value: &Json) -> Self {
        let headers = vec![("Content-Type", "application/json".to_owned())];
        Answer {
            status,
            headers,
            content: Content::Whole(format!("{value}\n").into_bytes()),
        }
    }
}

impl Request<'_> {
    /// A header's value by its name in any case; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        find(&self.headers, name)
    }

    /// A value of the query by its name, as it was sent.
    pub fn query_value(&self, name: &str) -> Option<&str> {
        self.query
            .split('&')
            .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }

    /// A number of the query, or `default`.
    pub fn query_number(&self, name: &str, default: u64) -> u64 {
        self.query_value(name)
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    }

    /// Hands the body to `take`, piece by piece.
    pub fn read_body(&mut self, mut take: impl FnMut(&[u8])) -> io::Result<()> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let limit = match &mut self.body {
                Body::Done => return Ok(()),
                Body::Length(left) => *left,
                Body::Chunked { left } => {
                    if *left == 0 {
                        *left = read_chunk_size(self.stream)?;
                        if *left == 0 {
                            while !read_line(self.stream)?.is_empty() {}
                            self.body = Body::Done;
                            continue;
                        }
                    }
                    *left
                }
            };
            if limit == 0 {
                self.body = Body::Done;
                continue;
            }
            let want = buffer
                .len()
                .min(usize::try_from(limit).unwrap_or(usize::MAX));
            let got = match self.stream.read(&mut buffer[..want]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                got => got?,
            };
            if got == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            take(&buffer[..got]);
            match &mut self.body {
                Body::Length(left) => *left -= got as u64,
                Body::Chunked { left } => {
                    *left -= got as u64;
                    if *left == 0 {
                        read_line(self.stream)?;
                    }
                }
                Body::Done => {}
            }
        }
    }
}

/// Answers every connection to `listener` with `handle`, for ever, each on a thread of its own.
pub fn serve<F>(listener: &TcpListener, handle: F) -> io::Result<()>
where
    F: for<'r> Fn(&'r mut Request<'_>) -> io::Result<Answer<'r>> + Send + Sync + 'static,
{
    let handle = Arc::new(handle);
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            // Out of file descriptors, or the peer is gone again: the next one may fare better.
            Err(error) => {
                eprintln!("accept: {error}");
                thread::sleep(Duration::from_millis(20));
                continue;
            }
        };
        let handle = Arc::clone(&handle);
        let spawned = thread::Builder::new().stack_size(512 << 10).spawn(move || {
            // A connection that breaks is the peer's affair; there is nobody left to tell.
            let _ = connection(stream, &*handle);
        });
        if let Err(error) = spawned {
            eprintln!("no thread for a connection: {error}");
        }
    }
}

fn connection<F>(stream: TcpStream, handle: &F) -> io::Result<()>
where
    F: for<'r> Fn(&'r mut Request<'_>) -> io::Result<Answer<'r>>,
{
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(IDLE))?;
    let mut out = stream.try_clone()?;
    let mut stream = BufReader::with_capacity(16 << 10, stream);
    loop {
        let mut request = match read_request(&mut stream) {
            Ok(Some(request)) => request,
            Ok(None) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                let problem = Json::object([("error", Json::text(error.to_string()))]);
                return write_answer(&mut out, Answer::json(400, &problem), false, false);
            }
            Err(error) => return Err(error),
        };
        if request
            .header("expect")
            .eq_ignore_ascii_case("100-continue")
        {
            out.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let keep = request.version == "HTTP/1.1"
            && !request.header("connection").eq_ignore_ascii_case("close");
        let head_only = request.method == "HEAD";
        let answer = handle(&mut request)?;
        if let Content::Upgrade(speak) = answer.content {
            write_answer(&mut out, answer, head_only, true)?;
            return speak(&mut stream, &mut out);
        }
        write_answer(&mut out, answer, head_only, keep)?;
        // What the agent did not care to read stands between us and the next request.
        request.read_body(|_| {})?;
        if !keep {
            return Ok(());
        }
    }
}

fn read_request(stream: &mut BufReader<TcpStream>) -> io::Result<Option<Request<'_>>> {
    loop {
        match stream.fill_buf() {
            Ok([]) => return Ok(None),
            Ok(_) => break,
            // A process that was frozen and thawed (`docker pause`) wakes like this where a time-out is set (signal(7)).
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let mut lines = Vec::new();
    let mut size = 0;
    loop {
        let line = read_line(stream)?;
        size += line.len() as u64;
        if size > MAX_HEAD {
            return Err(invalid("the request's head is too large"));
        }
        if line.is_empty() && !lines.is_empty() {
            break;
        }
        if !line.is_empty() {
            lines.push(line);
        }
    }
    let first = lines.remove(0);
    let mut words = first.split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(invalid("not an HTTP request"));
    };
    let mut headers = Vec::new();
    for line in &lines {
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| invalid("a header without a colon"))?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let body = if find(&headers, "transfer-encoding")
        .to_ascii_lowercase()
        .contains("chunked")
    {
        Body::Chunked { left: 0 }
    } else {
        match find(&headers, "content-length") {
            "" => Body::Done,
            length => Body::Length(
                length
                    .parse()
                    .map_err(|_| invalid("a Content-Length that is no number"))?,
            ),
        }
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Ok(Some(Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        version: version.to_owned(),
        headers,
        body,
        stream,
    }))
}

fn write_answer(
    out: &mut TcpStream,
    answer: Answer<'_>,
    head_only: bool,
    keep: bool,
) -> io::Result<()> {
    let mut head = format!("HTTP/1.1 {} {}\r\n", answer.status, reason(answer.status));
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !keep {
        head.push_str("Connection: close\r\n");
    }
    // 1xx, 204 and 304 have no body (RFC 9110, 6.4.1), whatever the handler made.
    let bodiless = matches!(answer.status, 100..200 | 204 | 304);
    match &answer.content {
        _ if bodiless => {}
        Content::Upgrade(_) => {}
        Content::Whole(bytes) => head.push_str(&format!("Content-Length: {}\r\n", bytes.len())),
        Content::Sized(bytes, _) => head.push_str(&format!("Content-Length: {bytes}\r\n")),
        Content::Stream(_) => head.push_str("Transfer-Encoding: chunked\r\n"),
    }
    head.push_str("\r\n");
    let mut head = head.into_bytes();
    if bodiless || head_only {
        return out.write_all(&head);
    }
    match answer.content {
        Content::Upgrade(_) => out.write_all(&head),
        Content::Whole(bytes) => {
            head.extend_from_slice(&bytes);
            out.write_all(&head)
        }
        Content::Sized(_, write) => {
            out.write_all(&head)?;
            write(out)
        }
        Content::Stream(write) => {
            out.write_all(&head)?;
            write(&mut Chunks(out))?;
            out.write_all(b"0\r\n\r\n")
        }
    }
}

/// Frames each write as one chunk.
struct Chunks<'a>(&'a mut TcpStream);

impl Write for Chunks<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if !data.is_empty() {
            let mut chunk = format!("{:x}\r\n", data.len()).into_bytes();
            chunk.extend_from_slice(data);
            chunk.extend_from_slice(b"\r\n");
            self.0.write_all(&chunk)?;
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// One line without its end; header bytes outside UTF-8 are replaced.
pub fn read_line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    stream
        .by_ref()
        .take(MAX_HEAD)
        .read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

/// The size of the next chunk; 0 at the end.
pub fn read_chunk_size(stream: &mut impl BufRead) -> io::Result<u64> {
    let line = read_line(stream)?;
    let digits = line.split(';').next().unwrap_or("").trim();
    u64::from_str_radix(digits, 16).map_err(|_| invalid("a chunk without a size"))
}

pub fn find<'a>(headers: &'a [(String, String)], name: &str) -> &'a str {
    headers
        .iter()
        .find(|(other, _)| other.eq_ignore_ascii_case(name))
        .map_or("", |(_, value)| value)
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn reason(status: u16) -> &'static str {
    match status {
        101 => "Switching Protocols",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Status",
    }
}
