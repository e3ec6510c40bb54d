//! Sockets that listen already when we start: whoever started us (systemd's `.socket` unit) keeps them, and what connects while nobody
//! of us runs waits there. sd_listen_fds(3) says how they are passed.

use std::net::TcpListener;

use anyhow::{Context as _, Result, bail};
use listenfd::ListenFd;

/// What is spoken on a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// Clear text.
    Http,
    /// TLS.
    Https,
    /// The agents' gateway, once it has the socket's address.
    Gateway,
}

impl Gate {
    const ALL: [Self; 3] = [Self::Http, Self::Https, Self::Gateway];

    /// The socket's name: `FileDescriptorName=` of its unit.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Gateway => "gateway",
        }
    }

    fn of(word: &str) -> Result<Self> {
        let gate = Self::ALL.into_iter().find(|gate| gate.word() == word);
        gate.with_context(|| {
            format!("a socket was passed under the name '{word}': FileDescriptorName= is http, https or gateway")
        })
    }
}

/// A socket that is not ours to shut.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) gate: Gate,
    pub(super) socket: TcpListener,
}

/// What was passed to this process.
///
/// # Errors
/// What is none of our sockets, by its name or its number.
pub(super) fn given() -> Result<Vec<Given>> {
    let names = names();
    let mut passed = ListenFd::from_env();
    let gates = gates(names.as_deref(), passed.len())?;
    let mut all = Vec::new();
    for (index, gate) in gates.into_iter().enumerate() {
        let number = index + 1;
        let which = || format!("socket {number} that was passed ({})", gate.word());
        let socket = passed.take_tcp_listener(index).with_context(which)?;
        let socket = socket.with_context(which)?;
        if !rustix::net::sockopt::socket_acceptconn(&socket)? {
            bail!("{} does not listen", which());
        }
        all.push(Given { gate, socket });
    }
    Ok(all)
}

#[expect(
    clippy::disallowed_methods,
    reason = "it belongs to descriptors that were passed to this very process, and is no configuration"
)]
fn names() -> Option<String> {
    std::env::var("LISTEN_FDNAMES").ok()
}

/// What each of so many sockets is for. Without a name of its own one has its unit's, or `unknown`.
fn gates(names: Option<&str>, count: usize) -> Result<Vec<Gate>> {
    let names: Vec<&str> = match names {
        _ if count == 0 => return Ok(Vec::new()),
        Some(names) => names.split(':').collect(),
        None => vec![""; count],
    };
    if names.len() != count {
        bail!("{count} sockets were passed with {} names", names.len());
    }
    let unnamed = |name: &str| matches!(name, "" | "unknown") || name.ends_with(".socket");
    match names.as_slice() {
        [one] if unnamed(one) => Ok(vec![Gate::Http]),
        all if all.iter().any(|name| unnamed(name)) => {
            bail!(
                "{count} sockets were passed, and not all have a name: FileDescriptorName= says which is http, https or gateway"
            )
        }
        all => all.iter().map(|name| Gate::of(name)).collect(),
    }
}

/// Takes the first of these sockets, which a server that hands over was given under these names; those that were passed to us are
/// the same. Answers the others.
///
/// # Errors
/// When we know no such name.
pub(super) fn handed(
    names: &str,
    mut sockets: Vec<TcpListener>,
    given: &mut Vec<Given>,
) -> Result<Vec<TcpListener>> {
    let names = names.split(':').filter(|name| !name.is_empty());
    let gates = names.map(Gate::of).collect::<Result<Vec<_>>>()?;
    let others = sockets.split_off(gates.len().min(sockets.len()));
    for (gate, socket) in gates.into_iter().zip(sockets) {
        let address = socket.local_addr()?;
        let ours = |one: &Given| one.socket.local_addr().is_ok_and(|ours| ours == address);
        if !given.iter().any(ours) {
            given.push(Given { gate, socket });
        }
    }
    Ok(others)
}

/// The sockets themselves.
pub(super) fn sockets(given: &[Given]) -> std::io::Result<Vec<TcpListener>> {
    given.iter().map(|one| one.socket.try_clone()).collect()
}

/// That a process which leaves them behind got none.
pub(super) fn stays(given: &[Given]) -> Result<()> {
    if given.is_empty() {
        return Ok(());
    }
    bail!(
        "{} sockets were passed, which --detach would leave behind",
        given.len()
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_sockets_name_says_what_it_is_for() {
        use Gate::{Gateway, Http, Https};
        assert_eq!(gates(None, 0).unwrap(), []);
        assert_eq!(gates(Some("anything"), 0).unwrap(), []);
        for unnamed in [None, Some(""), Some("unknown"), Some("agentainer.socket")] {
            assert_eq!(gates(unnamed, 1).unwrap(), [Http]);
        }
        let all = gates(Some("https:http:http:gateway"), 4).unwrap();
        assert_eq!(all, [Https, Http, Http, Gateway]);
        let wrong = |names, count| gates(names, count).unwrap_err().to_string();
        assert!(wrong(Some("ftp"), 1).contains("'ftp'"));
        assert!(wrong(Some("http:ftp"), 2).contains("'ftp'"));
        assert!(wrong(None, 2).contains("2 sockets"));
        assert!(wrong(Some("http:unknown"), 2).contains("FileDescriptorName="));
        assert_eq!(wrong(Some("http"), 2), "2 sockets were passed with 1 names");
    }
}
