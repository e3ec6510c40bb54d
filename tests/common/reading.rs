//! A second reading of HTTP/1.1, written apart from what the server reads with, and as strict as RFC 9112 allows anybody to be: no
//! bare line feeds, no folding, no list where one value belongs, no chunk extension. What two readers can understand differently
//! is an error. It is what everything that leaves the proxy is held against.

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The request or status line.
    pub line: String,
    /// Names in lower case, values as they came.
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
    /// How many bytes all of it takes.
    pub length: usize,
}

impl Message {
    /// Every value of a field.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let named = self.fields.iter().filter(|(found, _)| found == name);
        named.map(|(_, value)| value.as_str()).collect()
    }
}

/// What ends a message that says nothing of its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A request: it has no body then.
    Request,
    /// An answer: the connection's end.
    Answer,
    /// One to `HEAD`: it never has a body.
    AnswerToHead,
}

/// Reads the first message; `None` when it is not all there.
///
/// # Errors
/// What is wrong, or has more than one reading.
pub fn read(bytes: &[u8], kind: Kind) -> Result<Option<Message>, String> {
    let Some(end) = find(bytes, b"\r\n\r\n") else {
        return Ok(None);
    };
    let mut lines = lines(&bytes[..end + 2])?.into_iter();
    let line = lines.next().unwrap_or_default();
    let bodiless = match kind {
        Kind::Request => {
            request_line(&line)?;
            false
        }
        _ => status(&line)? < 200 || [204, 304].contains(&status(&line)?),
    };
    let fields = lines.map(|line| field(&line)).collect::<Result<_, _>>()?;
    let mut message = Message {
        line,
        fields,
        body: Vec::new(),
        trailers: Vec::new(),
        length: end + 4,
    };
    let (lengths, codings) = (
        message.all("content-length"),
        message.all("transfer-encoding"),
    );
    if lengths.len() + codings.len() > 1 {
        return Err(format!("more than one length: {:?}", message.fields));
    }
    if kind == Kind::Request && message.all("host").len() != 1 {
        return Err(format!("not one host: {:?}", message.fields));
    }
    let length = lengths.first().map(|digits| {
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        let parsed = digits.parse::<usize>().ok().filter(|_| plain);
        parsed.ok_or(format!("a length of {digits:?}"))
    });
    let length = length.transpose()?;
    let chunked = match codings.first() {
        None => false,
        Some(&"chunked") => true,
        Some(other) => return Err(format!("a coding of {other:?}")),
    };
    let rest = &bytes[end + 4..];
    if bodiless || kind == Kind::AnswerToHead {
        return Ok(Some(message));
    }
    if chunked {
        return chunks(rest, message);
    }
    let length = match (length, kind) {
        (Some(length), _) => length,
        (None, Kind::Request) => 0,
        (None, _) => rest.len(),
    };
    let Some(body) = rest.get(..length) else {
        return Ok(None);
    };
    message.body = body.to_vec();
    message.length += length;
    Ok(Some(message))
}

/// Every message, one behind the other; what is left over is the beginning of one more.
///
/// # Errors
/// As [`read`].
pub fn requests(mut bytes: &[u8]) -> Result<(Vec<Message>, &[u8]), String> {
    let mut all = Vec::new();
    while let Some(message) = read(bytes, Kind::Request)? {
        bytes = &bytes[message.length..];
        all.push(message);
    }
    Ok((all, bytes))
}

fn chunks(mut rest: &[u8], mut message: Message) -> Result<Option<Message>, String> {
    loop {
        let Some(end) = find(rest, b"\r\n") else {
            return Ok(None);
        };
        let digits = String::from_utf8_lossy(&rest[..end]).into_owned();
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let size = usize::from_str_radix(&digits, 16).ok().filter(|_| plain);
        let size = size.ok_or(format!("a chunk of {digits:?}"))?;
        rest = &rest[end + 2..];
        message.length += end + 2;
        if size == 0 {
            break;
        }
        let Some(piece) = rest.get(..size + 2) else {
            return Ok(None);
        };
        if !piece.ends_with(b"\r\n") {
            return Err("a chunk without an end".to_owned());
        }
        message.body.extend_from_slice(&piece[..size]);
        rest = &rest[size + 2..];
        message.length += size + 2;
    }
    if rest.starts_with(b"\r\n") {
        message.length += 2;
        return Ok(Some(message));
    }
    let Some(end) = find(rest, b"\r\n\r\n") else {
        return Ok(None);
    };
    for line in lines(&rest[..end + 2])? {
        message.trailers.push(field(&line)?);
    }
    message.length += end + 4;
    Ok(Some(message))
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|part| part == what)
}

/// Lines that each end with CR LF, in which neither is anywhere else.
fn lines(bytes: &[u8]) -> Result<Vec<String>, String> {
    // Each byte is a character, so that nothing is lost.
    let text: String = bytes.iter().copied().map(char::from).collect();
    let text = text.strip_suffix("\r\n").unwrap_or(&text);
    let all: Vec<String> = text.split("\r\n").map(str::to_owned).collect();
    let odd = |line: &&String| line.contains(['\r', '\n', '\0']);
    match all.iter().find(odd) {
        Some(line) => Err(format!("a line within a line: {line:?}")),
        None => Ok(all),
    }
}

fn token(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(plain)
}

fn request_line(line: &str) -> Result<(), String> {
    let parts: Vec<&str> = line.split(' ').collect();
    match parts[..] {
        [method, target, "HTTP/1.1"]
            if token(method) && !target.is_empty() && target.chars().all(|c| c > ' ') =>
        {
            Ok(())
        }
        _ => Err(format!("a request line of {line:?}")),
    }
}

fn status(line: &str) -> Result<u16, String> {
    let rest = line
        .strip_prefix("HTTP/1.1 ")
        .or_else(|| line.strip_prefix("HTTP/1.0 "));
    let digits = rest
        .and_then(|rest| rest.get(..3))
        .filter(|_| line.as_bytes().get(12).is_none_or(|byte| *byte == b' '));
    let status = digits.and_then(|digits| digits.parse().ok());
    status.ok_or(format!("a status line of {line:?}"))
}

fn field(line: &str) -> Result<(String, String), String> {
    let (name, value) = line.split_once(':').ok_or(format!("no colon: {line:?}"))?;
    let control = |c: char| (c < ' ' && c != '\t') || c == '\u{7f}';
    if !token(name) || value.contains(control) {
        return Err(format!("a field of {line:?}"));
    }
    let value = value.trim_matches([' ', '\t']);
    Ok((name.to_ascii_lowercase(), value.to_owned()))
}
