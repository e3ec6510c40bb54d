//! The bytes of a connection to an agent. What has come is read whatever became of the agent's container; what is waited
//! for is given up once it can come no more, since the container left its address ([`Departure`]). No packet would say so.
//!
//! This is the one place for it: an answer's head, its body and a tunnel are all read through here, and what is not read,
//! because a client is slow, is not waited for.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::futures::OwnedNotified;
use tokio::time::Sleep;

use crate::endpoints::Departure;

/// How long nothing comes before it is believed that nothing will. Bytes that were on their way when the container left are
/// there within milliseconds. One that is put back under the same address, which takes a pass or two of the reconciler, goes
/// on where it was; what it sent meanwhile is sent again by its kernel within some 400 ms.
pub(super) const SILENCE: Duration = Duration::from_secs(1);

/// Why a connection is given up.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the container lost its address")]
pub(super) struct Departed;

/// A connection to an agent.
#[derive(Debug)]
pub(super) struct Line<S> {
    stream: S,
    departure: Arc<Departure>,
    turned: Pin<Box<OwnedNotified>>,
    /// As of how many turns `turned` was waited for, and who is woken by it.
    heeded: Option<(u64, Waker)>,
    silence: Option<Pin<Box<Sleep>>>,
}

impl<S> Line<S> {
    pub(super) fn new(stream: S, departure: Arc<Departure>) -> Self {
        Self {
            turned: Box::pin(departure.turned()),
            stream,
            departure,
            heeded: None,
            silence: None,
        }
    }

    /// Ready once nothing can come any more. To be asked whenever nothing is there; while all is well that costs a look at
    /// a number, and takes no lock but for who asks first.
    fn given_up(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            let turns = self.departure.turns();
            if Departure::gone(turns) {
                let silence = self
                    .silence
                    .get_or_insert_with(|| Box::pin(tokio::time::sleep(SILENCE)));
                ready!(silence.as_mut().poll(cx));
                return Poll::Ready(io::Error::new(io::ErrorKind::HostUnreachable, Departed));
            }
            self.silence = None;
            let heeded = self.heeded.as_ref();
            if heeded.is_some_and(|(at, who)| *at == turns && who.will_wake(cx.waker())) {
                return Poll::Pending;
            }
            self.turned.set(self.departure.turned());
            // It counts from here: a turn before is seen in the number, one after is told.
            if self.departure.turns() == turns && self.turned.as_mut().poll(cx).is_pending() {
                self.heeded = Some((turns, cx.waker().clone()));
                return Poll::Pending;
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Line<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if read.is_pending() {
            return self.given_up(cx).map(Err);
        }
        self.silence = None;
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Line<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::time::{Instant, sleep, timeout};

    use super::*;
    use crate::agent::{Uid, spec};
    use crate::endpoints::{Endpoints, Publication, PublishedEndpoint};
    use crate::names::AgentName;
    use crate::observed::ContainerId;
    use crate::plan::EndpointState;

    /// A container, which can leave, and a line to it.
    struct Rig {
        endpoints: Endpoints,
        agent: DuplexStream,
        line: Line<DuplexStream>,
    }

    impl Rig {
        fn new() -> Self {
            let endpoints = Endpoints::default();
            publish(&endpoints, true);
            let departure = {
                let table = endpoints.table();
                let (endpoint, _) = &table.routes.get("users").unwrap().endpoints[0];
                // Kept while something is in flight on it, as a connection in use is.
                std::mem::forget(endpoint.enter());
                Arc::clone(endpoint.departure())
            };
            let (agent, ours) = duplex(1 << 10);
            Self {
                endpoints,
                agent,
                line: Line::new(ours, departure),
            }
        }

        async fn read(&mut self) -> io::Result<String> {
            let mut bytes = [0; 64];
            let count = self.line.read(&mut bytes).await?;
            Ok(String::from_utf8_lossy(&bytes[..count]).into_owned())
        }
    }

    fn publish(endpoints: &Endpoints, there: bool) {
        let container = ContainerId("c".to_owned());
        let endpoint = PublishedEndpoint {
            container: container.clone(),
            address: SocketAddr::from(([10, 0, 0, 2], 8000)),
            state: EndpointState::Ready,
        };
        let publication = Publication {
            uid: Uid("life".to_owned()),
            endpoints: Some(endpoint).filter(|_| there).into_iter().collect(),
            departed: Some(container).filter(|_| !there).into_iter().collect(),
            explanation: String::new(),
            starting: false,
            proxy: spec::Proxy::default(),
            persistence: None,
        };
        let name = AgentName::new("users").unwrap();
        endpoints.publish(&name, publication, crate::clock::now());
    }

    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn what_is_waited_for_is_given_up_a_second_after_the_container_left() {
        let mut rig = Rig::new();
        assert!(timeout(LONG, rig.read()).await.is_err(), "all is well");
        let begun = Instant::now();
        let (endpoints, later) = (std::mem::take(&mut rig.endpoints), SILENCE * 5);
        let leaves = async {
            sleep(later).await;
            publish(&endpoints, false);
        };
        let (read, ()) = tokio::join!(rig.read(), leaves);
        let error = read.unwrap_err();
        assert!(error.get_ref().unwrap().is::<Departed>());
        let took = begun.elapsed() - later;
        assert!((SILENCE..SILENCE * 2).contains(&took), "{took:?}");
        assert!(rig.read().await.is_err(), "and so it is from then on");
    }

    #[tokio::test(start_paused = true)]
    async fn who_begins_to_wait_after_it_left_waits_a_second_too() {
        let mut rig = Rig::new();
        publish(&rig.endpoints, false);
        sleep(LONG).await;
        let begun = Instant::now();
        assert!(rig.read().await.is_err());
        assert!(begun.elapsed() >= SILENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_come_is_read_however_late_and_so_is_the_end() {
        let mut rig = Rig::new();
        rig.agent.write_all(b"the whole answer").await.unwrap();
        rig.agent.shutdown().await.unwrap();
        publish(&rig.endpoints, false);
        // A client that does not read for long.
        sleep(LONG).await;
        assert_eq!(rig.read().await.unwrap(), "the whole answer");
        sleep(LONG).await;
        assert_eq!(rig.read().await.unwrap(), "", "its end is no error");
    }

    #[tokio::test(start_paused = true)]
    async fn while_something_comes_nothing_is_given_up() {
        let mut rig = Rig::new();
        publish(&rig.endpoints, false);
        for _ in 0..10 {
            let agent = &mut rig.agent;
            let late = async {
                sleep(SILENCE - Duration::from_millis(100)).await;
                agent.write_all(b"piece").await.unwrap();
            };
            let mut bytes = [0; 5];
            let (read, ()) = tokio::join!(rig.line.read_exact(&mut bytes), late);
            assert!(read.is_ok());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_comes_back_in_time_goes_on_and_may_leave_again() {
        let mut rig = Rig::new();
        let endpoints = std::mem::take(&mut rig.endpoints);
        let wanders = async {
            for _ in 0..5 {
                sleep(SILENCE * 2).await;
                publish(&endpoints, false);
                sleep(SILENCE / 2).await;
                publish(&endpoints, true);
            }
            // So quick that nobody looked in between.
            publish(&endpoints, false);
            publish(&endpoints, true);
            sleep(SILENCE * 2).await;
            Instant::now()
        };
        let left = tokio::select! {
            biased;
            read = rig.read() => panic!("{read:?}"),
            left = wanders => left,
        };
        publish(&endpoints, false);
        assert!(rig.read().await.is_err());
        assert!(left.elapsed() < SILENCE * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn another_task_that_reads_on_is_woken_too() {
        let mut rig = Rig::new();
        // As a tunnel's does after the request's.
        assert!(timeout(SILENCE, rig.read()).await.is_err());
        let Rig {
            endpoints,
            mut line,
            agent: _agent,
        } = rig;
        let reads = tokio::spawn(async move { line.read_u8().await });
        sleep(SILENCE).await;
        publish(&endpoints, false);
        let read = timeout(SILENCE * 2, reads).await.unwrap().unwrap();
        assert!(read.is_err());
    }
}
