//! A very small Redis client (RESP 2): commands over pooled connections, and a subscription.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Mutex;
use std::time::Duration;

/// How long a connect, a read or a write may take: an agent answers without Redis rather than late.
const TIMEOUT: Duration = Duration::from_millis(1000);
/// A reply claiming to be larger is not one this agent asked for.
const MAX_BULK: usize = 8 << 20;

#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    Text(String),
    Integer(i64),
    Nil,
    List(Vec<Reply>),
}

impl Reply {
    pub fn as_text(&self) -> &str {
        match self {
            Reply::Text(text) => text,
            _ => "",
        }
    }
}

/// Where Redis is and who we are there. Its password is never printed.
pub struct Redis {
    /// `host:port`, safe to show.
    pub address: String,
    user: Option<String>,
    password: Option<String>,
    database: String,
    idle: Mutex<Vec<Connection>>,
}

impl Redis {
    /// From `redis://[[user]:password@]host[:port][/database]`, or a bare `host:port`.
    pub fn new(url: &str) -> Self {
        let rest = url.strip_prefix("redis://").unwrap_or(url);
        let (credentials, rest) = rest
            .rsplit_once('@')
            .map_or((None, rest), |(left, right)| (Some(left), right));
        let (host, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, password) = match credentials.map(|c| c.split_once(':').unwrap_or(("", c))) {
            Some((user, password)) => (Some(user.to_owned()), Some(password.to_owned())),
            None => (None, None),
        };
        let address = if host.contains(':') {
            host.to_owned()
        } else {
            format!("{host}:6379")
        };
        Redis {
            address,
            user: user.filter(|user| !user.is_empty()),
            password,
            database: database.split('?').next().unwrap_or("").to_owned(),
            idle: Mutex::new(Vec::new()),
        }
    }

    /// One command and its reply. An error reply (`-ERR …`) is an error.
    pub fn command(&self, words: &[&str]) -> io::Result<Reply> {
        // A pooled connection may have died of old age: then, and only then, once more on a new one. What is sent
        // here (counting, publishing) does no harm twice.
        let pooled = self.idle.lock().ok().and_then(|mut idle| idle.pop());
        if let Some(mut connection) = pooled
            && let Ok(reply) = connection.command(words)
        {
            self.keep(connection);
            return reply;
        }
        let mut connection = self.connect()?;
        let reply = connection.command(words)?;
        self.keep(connection);
        reply
    }

    /// Subscribes to a pattern and hands every message (channel, text) to `heard`, until the connection breaks.
    pub fn listen(&self, pattern: &str, mut heard: impl FnMut(&str, &str)) -> io::Result<()> {
        let mut connection = self.connect()?;
        connection.send(&["PSUBSCRIBE", pattern])?;
        // Events may be hours apart.
        connection.reader.get_ref().set_read_timeout(None)?;
        loop {
            if let Reply::List(parts) = connection.receive()??
                && let [kind, _pattern, channel, data] = parts.as_slice()
                && kind.as_text() == "pmessage"
            {
                heard(channel.as_text(), data.as_text());
            }
        }
    }

    fn keep(&self, connection: Connection) {
        if let Ok(mut idle) = self.idle.lock()
            && idle.len() < 8
        {
            idle.push(connection);
        }
    }

    fn connect(&self) -> io::Result<Connection> {
        let address = self
            .address
            .to_socket_addrs()?
            .next()
            .ok_or_else(|| io::Error::other(format!("{} has no address", self.address)))?;
        let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        let mut connection = Connection {
            reader: BufReader::new(stream),
        };
        match (&self.user, &self.password) {
            (Some(user), Some(password)) => drop(connection.command(&["AUTH", user, password])??),
            (None, Some(password)) => drop(connection.command(&["AUTH", password])??),
            _ => {}
        }
        if !matches!(self.database.as_str(), "" | "0") {
            connection.command(&["SELECT", &self.database])??;
        }
        Ok(connection)
    }
}

struct Connection {
    reader: BufReader<TcpStream>,
}

impl Connection {
    fn command(&mut self, words: &[&str]) -> io::Result<io::Result<Reply>> {
        self.send(words)?;
        self.receive()
    }

    fn send(&mut self, words: &[&str]) -> io::Result<()> {
        let mut out = format!("*{}\r\n", words.len());
        for word in words {
            out.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.reader.get_mut().write_all(out.as_bytes())
    }

    /// Outer error: the connection is of no more use. Inner error: Redis said no.
    fn receive(&mut self) -> io::Result<io::Result<Reply>> {
        read_reply(&mut self.reader, 0)
    }
}

fn read_reply(reader: &mut impl BufRead, depth: usize) -> io::Result<io::Result<Reply>> {
    let mut line = Vec::new();
    reader
        .by_ref()
        .take(64 << 10)
        .read_until(b'\n', &mut line)?;
    let line = String::from_utf8_lossy(&line);
    let Some(line) = line
        .strip_suffix("\r\n")
        .filter(|line| !line.is_empty() && depth < 8)
    else {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the connection to Redis ended",
        ));
    };
    let (kind, rest) = line.split_at(line.chars().next().map_or(0, char::len_utf8));
    let number = || {
        rest.parse::<i64>()
            .map_err(|_| io::Error::other("not a Redis reply"))
    };
    Ok(Ok(match kind {
        "+" => Reply::Text(rest.to_owned()),
        ":" => Reply::Integer(number()?),
        "-" => return Ok(Err(io::Error::other(rest.to_owned()))),
        "$" => match usize::try_from(number()?) {
            Err(_) => Reply::Nil,
            Ok(length) if length > MAX_BULK => {
                return Err(io::Error::other("a Redis reply too large"));
            }
            Ok(length) => {
                let mut bytes = vec![0; length + 2];
                reader.read_exact(&mut bytes)?;
                bytes.truncate(length);
                Reply::Text(String::from_utf8_lossy(&bytes).into_owned())
            }
        },
        "*" => {
            let mut items = Vec::new();
            for _ in 0..number()? {
                items.push(read_reply(reader, depth + 1)??);
            }
            Reply::List(items)
        }
        _ => return Err(io::Error::other("not a Redis reply")),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(bytes: &str) -> io::Result<io::Result<Reply>> {
        read_reply(&mut bytes.as_bytes(), 0)
    }

    #[test]
    fn replies_are_read() {
        assert_eq!(reply(":42\r\n").unwrap().unwrap(), Reply::Integer(42));
        assert_eq!(reply("$-1\r\n").unwrap().unwrap(), Reply::Nil);
        let list = Reply::List(vec![Reply::Text("a\r\n".into()), Reply::Text("OK".into())]);
        assert_eq!(
            reply("*2\r\n$3\r\na\r\n\r\n+OK\r\n").unwrap().unwrap(),
            list
        );
        assert_eq!(
            reply("-NOPERM no\r\n").unwrap().unwrap_err().to_string(),
            "NOPERM no"
        );
        for bytes in [
            "",
            "$5\r\nab",
            "x\r\n",
            "$99999999999\r\n",
            ":a\r\n",
            "*1\r\n",
        ] {
            assert!(reply(bytes).is_err(), "{bytes}");
        }
    }

    #[test]
    fn urls_are_read_and_passwords_are_not_in_the_address() {
        let redis = Redis::new("redis://me:p%40ss@10.0.0.1:7000/2");
        assert_eq!(
            (redis.address.as_str(), redis.database.as_str()),
            ("10.0.0.1:7000", "2")
        );
        assert_eq!(redis.user.as_deref(), Some("me"));
        assert_eq!(Redis::new("redis://:secret@host").address, "host:6379");
        assert_eq!(
            Redis::new("redis://host.docker.internal:6379").password,
            None
        );
    }
}
