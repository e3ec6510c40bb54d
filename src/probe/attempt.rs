//! One probe: a GET of the check's path on a connection of its own, or, without a check, the connection alone.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, HOST, HeaderValue, USER_AGENT};
use http::{Request, Response, Uri, Version};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustix::io::Errno;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::Target;
use crate::agent::spec::{HealthCheck, Protocol};

/// How long a connection may take when no check says so.
const CONNECT: Duration = Duration::from_secs(2);

/// How long one may take while the container is starting: before its network is up a first packet may be lost, and the
/// system sends the next one only a second later.
const CONNECT_STARTING: Duration = Duration::from_millis(250);

/// A probe that took so much longer than it may was held up on our side: this machine or this process stood still.
const HELD_UP: Duration = Duration::from_secs(2);

/// How much of an answer is read, so that the agent can finish writing it.
const READ: usize = 64 * 1024;

/// What one probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It accepts, and answered 2xx if it was asked.
    Ready,
    /// It answered, but not 2xx; with a sentence for people.
    NotReady(String),
    /// It did not answer; with a sentence for people.
    Unanswered(String),
    /// It could not be asked, for a reason of ours: nothing is known of it. With a sentence for people.
    Unknown(String),
}

/// Asks once. `ready` says whether the container was ready until now.
pub(super) async fn ask(target: Target, ready: bool) -> Outcome {
    let begun = Instant::now();
    let whole = target.check.as_ref().map_or(CONNECT, |check| {
        check.timeout.duration().max(Duration::from_millis(1))
    });
    let connect = if ready {
        whole
    } else {
        whole.min(CONNECT_STARTING)
    };
    let stream = match tokio::time::timeout(connect, TcpStream::connect(target.address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            return Outcome::Unanswered(format!(
                "nothing listens on port {} yet, or only on 127.0.0.1 instead of 0.0.0.0",
                target.address.port()
            ));
        }
        Ok(Err(error)) if ours(&error) => {
            return Outcome::Unknown(format!("it cannot be asked from here: {error}"));
        }
        Ok(Err(error)) => {
            return Outcome::Unanswered(format!("cannot connect to {}: {error}", target.address));
        }
        Err(_) if begun.elapsed() > connect + HELD_UP => return held_up(),
        Err(_) => {
            return Outcome::Unanswered(format!(
                "no connection to {} within {connect:?}",
                target.address
            ));
        }
    };
    let Some(check) = &target.check else {
        return Outcome::Ready;
    };
    match tokio::time::timeout(whole, get(stream, &target, check)).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => {
            Outcome::Unanswered(format!("no answer to GET {}: {error}", check.endpoint))
        }
        Err(_) if begun.elapsed() > connect + whole + HELD_UP => held_up(),
        Err(_) => Outcome::Unanswered(format!(
            "no answer to GET {} within {whole:?}",
            check.endpoint
        )),
    }
}

fn held_up() -> Outcome {
    Outcome::Unknown("it could not be asked in time: this machine stood still".to_owned())
}

/// Whether it is for want of something of ours that no connection came about: open files, memory, ports, a route. (No
/// route to the host is another matter: nobody on the network has the address.)
fn ours(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{
        AddrInUse, AddrNotAvailable, NetworkDown, NetworkUnreachable, OutOfMemory, PermissionDenied,
    };
    let scarce = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOBUFS,
        Errno::NOMEM,
        Errno::AGAIN,
    ];
    Errno::from_io_error(error).is_some_and(|errno| scarce.contains(&errno))
        || matches!(
            error.kind(),
            AddrInUse
                | AddrNotAvailable
                | NetworkDown
                | NetworkUnreachable
                | OutOfMemory
                | PermissionDenied
        )
}

async fn get(stream: TcpStream, target: &Target, check: &HealthCheck) -> hyper::Result<Outcome> {
    let path = if check.endpoint.starts_with('/') {
        check.endpoint.clone()
    } else {
        format!("/{}", check.endpoint)
    };
    let authority = target.address.to_string();
    let uri = match target.protocol {
        Protocol::Http1 => Uri::try_from(path),
        // The host is part of the target there (RFC 9113 §8.3.1).
        Protocol::H2c => Uri::try_from(format!("http://{authority}{path}")),
    };
    let (Ok(uri), Ok(host)) = (uri, HeaderValue::try_from(authority)) else {
        return Ok(Outcome::Unknown(format!(
            "healthCheck.endpoint '{}' is not a path",
            check.endpoint
        )));
    };
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    headers.insert(USER_AGENT, HeaderValue::from_static("agentainer-probe"));
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    match target.protocol {
        Protocol::Http1 => {
            headers.insert(HOST, host);
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            outcome(sender.send_request(request), connection, check).await
        }
        Protocol::H2c => {
            *request.version_mut() = Version::HTTP_2;
            let begun = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
            let (mut sender, connection) = begun;
            outcome(sender.send_request(request), connection, check).await
        }
    }
}

/// What a probe's answer says, while its connection is driven.
async fn outcome(
    sending: impl Future<Output = hyper::Result<Response<Incoming>>>,
    connection: impl Future<Output = hyper::Result<()>>,
    check: &HealthCheck,
) -> hyper::Result<Outcome> {
    let exchange = async {
        let response = sending.await?;
        let status = response.status();
        // What the body says or how it ends is of no matter, only that a well-behaved agent is not cut short.
        let _ = Limited::new(response.into_body(), READ).collect().await;
        Ok(if status.is_success() {
            Outcome::Ready
        } else {
            Outcome::NotReady(format!("GET {} answered {status}", check.endpoint))
        })
    };
    tokio::pin!(connection, exchange);
    tokio::select! {
        biased;
        answered = &mut exchange => answered,
        ended = &mut connection => match ended {
            // The connection is done with; what it delivered is still there to be read.
            Ok(()) => exchange.await,
            Err(error) => Err(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn law_6_what_fails_for_want_of_something_of_ours_says_nothing_of_the_agent() {
        let of = |errno: Errno| std::io::Error::from_raw_os_error(errno.raw_os_error());
        for errno in [
            Errno::MFILE,
            Errno::NFILE,
            Errno::NOBUFS,
            Errno::NOMEM,
            Errno::ADDRNOTAVAIL,
            Errno::NETUNREACH,
            Errno::NETDOWN,
            Errno::PERM,
            Errno::ACCESS,
        ] {
            assert!(ours(&of(errno)), "{errno}");
        }
        for errno in [
            Errno::CONNREFUSED,
            Errno::CONNRESET,
            Errno::HOSTUNREACH,
            Errno::TIMEDOUT,
        ] {
            assert!(!ours(&of(errno)), "{errno}");
        }
    }
}
