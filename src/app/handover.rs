//! One server hands over to the next on the same data folder: `serve --takeover`.
//!
//! The running server listens on a socket in its data folder. The next one connects and gets, as file descriptors, the folder's
//! lock and every listening socket; it starts whole and says that it is ready; then the first one stops accepting, gives up the
//! lease, says so, and ends when what is in flight with it has finished. Until the word `ready` nothing has changed for the
//! first one: if the other end of the connection is closed, it goes on.

use std::fs::File;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::io::Interest;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::time::timeout;

/// The socket's name in the data folder; nobody else may enter that.
const SOCKET: &str = "handover.sock";
/// What the next server says first: that it speaks as we do.
const HELLO: &[u8] = b"agentainer handover 1\n";
/// Goes with the descriptors, and what the first sockets among them are called that are not ours to shut.
const HERE: &str = "here\n";
/// The longest of that.
const NAMES: usize = 1024;
/// The next server is up.
const READY: &[u8] = b"ready\n";
/// It may accept and act.
const GO: &[u8] = b"go\n";
/// How long each word may take, but the one that the next server has started.
const WORD: Duration = Duration::from_secs(10);
/// How long the next server may take to start.
const START: Duration = Duration::from_secs(90);
/// The most descriptors in one message (unix(7): SCM_MAX_FD is 253).
const MOST: usize = 64;

/// What the next server gets.
pub(super) struct Estate {
    /// The data folder's lock, then every listening socket.
    pub(super) all: Vec<OwnedFd>,
    /// Names of the first of these sockets, which somebody else keeps: `http:https`.
    pub(super) names: String,
}

/// Where the next server knocks.
#[derive(Debug)]
pub(super) struct Door {
    listener: UnixListener,
    /// Whether one has got what it asked for, and starts.
    given: watch::Sender<bool>,
}

impl Door {
    /// Opens it in a data folder whose lock is ours; an earlier one there is nobody's any more.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(SOCKET);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let listener = UnixListener::bind(&path)
            .with_context(|| format!("{} cannot be listened on", path.display()))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self {
            listener,
            given: watch::channel(false).0,
        })
    }

    /// Waits for a server that takes over, or for the end of this one: `None`. An end that is asked for while the next one
    /// starts waits for it: ending would close its sockets. One that is asked for twice does not.
    ///
    /// # Errors
    /// What `end` fails with.
    pub(super) async fn next_or<E>(
        &self,
        give: impl Fn() -> std::io::Result<Estate>,
        mut end: impl AsyncFnMut() -> Result<(), E>,
    ) -> Result<Option<Successor>, E> {
        let mut given = self.given.subscribe();
        let mut next = std::pin::pin!(self.next(give));
        tokio::select! {
            biased;
            ended = end() => ended?,
            next = &mut next => return Ok(Some(next)),
        }
        if !*given.borrow_and_update() {
            return Ok(None);
        }
        tracing::info!("to end, as soon as the server that is starting has taken over");
        tokio::select! {
            biased;
            next = &mut next => Ok(Some(next)),
            // Its sender is ours.
            _ = given.wait_for(|given| !given) => Ok(None),
            ended = end() => ended.map(|()| None),
        }
    }

    /// Waits for a server that took all that `give` gave and is ready. One that fails meanwhile leaves no trace.
    async fn next(&self, give: impl Fn() -> std::io::Result<Estate>) -> Successor {
        loop {
            let taken = async {
                let (stream, _) = self.listener.accept().await?;
                tracing::info!("another server asks to take over");
                let stream = offer(stream, &give).await?;
                self.given.send_replace(true);
                expect(&stream, READY, START).await?;
                Ok::<_, anyhow::Error>(Successor(stream))
            };
            let taken = taken.await;
            match taken {
                Ok(successor) => return successor,
                Err(error) => {
                    self.given.send_replace(false);
                    tracing::warn!(
                        error = format!("{error:#}"),
                        "the other server did not take over: this one goes on"
                    );
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

async fn offer(
    stream: UnixStream,
    give: &impl Fn() -> std::io::Result<Estate>,
) -> Result<UnixStream> {
    expect(&stream, HELLO, WORD).await?;
    let Estate { all, names } = give()?;
    let all: Vec<BorrowedFd<'_>> = all.iter().map(|one| one.as_fd()).collect();
    let here = format!("{HERE}{names}");
    if all.len() > MOST || here.len() > NAMES {
        bail!("there are more listening sockets than one message carries");
    }
    timeout(WORD, stream.writable()).await??;
    stream.try_io(Interest::WRITABLE, || {
        let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&all));
        sendmsg(
            &stream,
            &[IoSlice::new(here.as_bytes())],
            &mut control,
            SendFlags::empty(),
        )
        .map_err(std::io::Error::from)
    })?;
    Ok(stream)
}

/// The server that takes over and waits for our word.
#[derive(Debug)]
pub(super) struct Successor(UnixStream);

impl Successor {
    /// It may accept and act from now on.
    pub(super) async fn go(self) {
        if let Err(error) = say(&self.0, GO).await {
            tracing::warn!(%error, "the server that takes over has gone");
        }
    }
}

/// What a server that takes over has got.
#[derive(Debug)]
pub(super) struct Inheritance {
    pub(super) lock: File,
    pub(super) sockets: Vec<TcpListener>,
    /// As in [`Estate`].
    pub(super) names: String,
    pub(super) predecessor: Predecessor,
}

/// The server that hands over to us.
#[derive(Debug)]
pub(super) struct Predecessor(UnixStream);

impl Predecessor {
    /// We are up: waits until it has let go of everything, or is no more.
    pub(super) async fn relieve(self) -> Result<()> {
        say(&self.0, READY)
            .await
            .context("the server that was to hand over is gone; start again")?;
        // Without its word it died: the sockets and the lock are ours all the same.
        let _ = expect(&self.0, GO, WORD).await;
        Ok(())
    }
}

/// Asks the server that runs on a data folder to hand over; `None`: none answers there.
///
/// # Errors
/// When one answers and does not do so.
pub(super) async fn ask(folder: &Path) -> Result<Option<Inheritance>> {
    let Ok(stream) = UnixStream::connect(folder.join(SOCKET)).await else {
        return Ok(None);
    };
    say(&stream, HELLO).await?;
    let (fds, names) = timeout(WORD, receive(&stream))
        .await
        .context("the running server does not hand over; is it handing over to another one?")??;
    let mut fds = fds.into_iter();
    let lock = fds
        .next()
        .context("the running server does not hand over; `agentainer stop --all` ends it")?;
    Ok(Some(Inheritance {
        lock: File::from(lock),
        sockets: fds.map(TcpListener::from).collect(),
        names,
        predecessor: Predecessor(stream),
    }))
}

async fn receive(stream: &UnixStream) -> Result<(Vec<OwnedFd>, String)> {
    loop {
        stream.readable().await?;
        let mut fds = Vec::new();
        let received = stream.try_io(Interest::READABLE, || {
            let mut bytes = [0_u8; NAMES];
            let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut slices = [IoSliceMut::new(&mut bytes)];
            let got = recvmsg(stream, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)?.bytes;
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(all) = message {
                    fds.extend(all);
                }
            }
            let said = String::from_utf8_lossy(bytes.get(..got).unwrap_or_default());
            Ok(said.strip_prefix(HERE).unwrap_or_default().to_owned())
        });
        match received {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            other => return Ok((fds, other?)),
        }
    }
}

async fn say(stream: &UnixStream, word: &[u8]) -> std::io::Result<()> {
    let mut rest = word;
    while !rest.is_empty() {
        stream.writable().await?;
        match stream.try_write(rest) {
            Ok(count) => rest = rest.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn expect(stream: &UnixStream, word: &[u8], within: Duration) -> Result<()> {
    let heard = async {
        let mut heard: Vec<u8> = Vec::new();
        while heard.len() < word.len() {
            stream.readable().await?;
            let mut bytes = vec![0_u8; word.len() - heard.len()];
            match stream.try_read(&mut bytes) {
                Ok(0) => bail!("the other server closed the connection"),
                Ok(count) => heard.extend(bytes.iter().take(count)),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(heard)
    };
    let heard = timeout(within, heard)
        .await
        .context("the other server took too long")??;
    if heard != word {
        bail!("the other server speaks another language; is it of another version?");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn empty(all: Vec<OwnedFd>) -> Estate {
        let names = String::new();
        Estate { all, names }
    }

    fn socket() -> (TcpListener, std::net::SocketAddr) {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        (socket, address)
    }

    #[tokio::test]
    async fn lock_and_sockets_are_handed_over_and_one_that_fails_to_start_leaves_no_trace() {
        let folder = tempfile::tempdir().unwrap();
        assert!(ask(folder.path()).await.unwrap().is_none());
        let door = Door::open(folder.path()).unwrap();
        let lock = File::create(folder.path().join("lock")).unwrap();
        let ((one, first), (two, second)) = (socket(), socket());
        let give = || {
            Ok(Estate {
                all: vec![
                    lock.as_fd().try_clone_to_owned()?,
                    one.as_fd().try_clone_to_owned()?,
                    two.as_fd().try_clone_to_owned()?,
                ],
                names: "https".to_owned(),
            })
        };
        let asks = async {
            // One that dies before it is ready.
            drop(ask(folder.path()).await.unwrap().unwrap());
            let got = ask(folder.path()).await.unwrap().unwrap();
            let addresses = got.sockets.iter().map(|one| one.local_addr().unwrap());
            assert_eq!(addresses.collect::<Vec<_>>(), [first, second]);
            assert_eq!(got.names, "https");
            got.predecessor.relieve().await.unwrap();
        };
        let gives = async { door.next(give).await.go().await };
        let both = async { tokio::join!(asks, gives) };
        timeout(Duration::from_secs(20), both).await.unwrap();
        // A door of a server that is no more is replaced.
        Door::open(folder.path()).unwrap();
    }

    /// What becomes of an end that is asked for when the next server has all that it asked for.
    async fn end_meanwhile(
        folder: &Path,
        then: impl AsyncFnOnce(Inheritance),
        ends: usize,
    ) -> Option<Successor> {
        let door = Door::open(folder).unwrap();
        let lock = File::create(folder.join("lock")).unwrap();
        let give = || Ok(empty(vec![lock.as_fd().try_clone_to_owned()?]));
        let asked = tokio::sync::Semaphore::new(0);
        let end = async || {
            asked.acquire().await.unwrap().forget();
            Ok::<_, anyhow::Error>(())
        };
        let starts = async {
            let got = ask(folder).await.unwrap().unwrap();
            asked.add_permits(ends);
            // It is seen before the next server says anything more.
            while asked.available_permits() > 0 {
                tokio::task::yield_now().await;
            }
            then(got).await;
        };
        let both = async { tokio::join!(door.next_or(give, end), starts) };
        let (next, ()) = timeout(Duration::from_secs(20), both).await.unwrap();
        next.unwrap()
    }

    #[tokio::test]
    async fn law_5_an_end_while_the_next_server_starts_waits_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let relieves = async |got: Inheritance| say(&got.predecessor.0, READY).await.unwrap();
        let next = end_meanwhile(folder.path(), relieves, 1).await;
        assert!(next.is_some(), "it takes over all the same");
        let fails = async |got: Inheritance| drop(got);
        let next = end_meanwhile(folder.path(), fails, 1).await;
        assert!(next.is_none(), "it failed to start, and nobody serves");
        let hangs = async |got: Inheritance| std::mem::forget(got);
        let next = end_meanwhile(folder.path(), hangs, 2).await;
        assert!(next.is_none(), "who asks twice is not kept waiting");
        let door = Door::open(folder.path()).unwrap();
        let end = async || Ok::<_, anyhow::Error>(());
        let next = door.next_or(|| Ok(empty(Vec::new())), end).await.unwrap();
        assert!(next.is_none(), "nobody has asked");
    }
}
