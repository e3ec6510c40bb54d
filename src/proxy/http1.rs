//! An HTTP/1.1 connection to an agent, driven by the request that has it.
//!
//! hyper splits a connection in two: one half takes requests, the other is a future that moves the bytes, commonly a task of its
//! own. Each message, and each piece of a body, then crosses from one task to another, and wakes it. Here the task that waits for
//! something is the one that moves the bytes, when there is something to move: it may be woken for other reasons too, as one of HTTP/2
//! is. An idle connection is nobody's, and wakes nobody. Two cases get a task after all, since there something has to move that
//! nobody waits for: an answer that begins while its request is still being sent, and a change of protocol.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::unconstrained;

use super::body::RequestBody;
use super::line::Line;
use super::seldom::Seldom;

type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// A connection.
pub(super) struct Http1 {
    sender: SendRequest<RequestBody>,
    /// What moves the bytes, until it ended or became a task.
    driver: Option<Seldom<Driver>>,
}

impl std::fmt::Debug for Http1 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http1").finish_non_exhaustive()
    }
}

impl Http1 {
    /// Begins HTTP/1.1 on a connection.
    ///
    /// # Errors
    /// hyper's.
    pub(super) async fn handshake(line: Line<TcpStream>) -> hyper::Result<Self> {
        // As hyper has it, an answer has at most 100 header fields: any other number costs memory for each answer.
        let (sender, connection) = handshake(TokioIo::new(line)).await?;
        Ok(Self {
            sender,
            driver: Some(Seldom::new(Box::pin(connection.with_upgrades()))),
        })
    }

    /// Sends a request and waits for the answer's head. Dropping the future, and the connection, cancels the request.
    pub(super) async fn send(
        &mut self,
        mut request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        let upload = request.body_mut().underway();
        // Told to wait for its turn (tokio's budget) it would wait for a waking that nobody does.
        let mut sending = pin!(unconstrained(self.sender.try_send_request(request)));
        let answered =
            std::future::poll_fn(|cx| self.poll(cx, |cx| sending.as_mut().poll(cx))).await;
        if upload.is_some_and(|upload| upload.strong_count() > 0) {
            self.run();
        }
        answered
    }

    /// Polls what only this connection's bytes bring about.
    pub(super) fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut what: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        if self.driver.is_none() {
            return what(cx);
        }
        // It comes about right here, so that nobody has to be woken for it.
        let quiet = &mut Context::from_waker(Waker::noop());
        if let Poll::Ready(there) = what(quiet) {
            return Poll::Ready(there);
        }
        self.drive(cx);
        match self.driver {
            Some(_) => what(quiet),
            None => what(cx),
        }
    }

    /// The exchange is over: whether the connection can have another one, now or soon.
    pub(super) fn settle(&mut self) -> bool {
        if self.driver.is_none() {
            return !self.is_closed();
        }
        if let Some(driver) = &mut self.driver {
            let left = driver.leave();
            self.driven(left);
        }
        self.is_ready()
    }

    /// Has a task move the bytes from now on.
    pub(super) fn run(&mut self) {
        if let Some(driver) = self.driver.take() {
            tokio::spawn(async move { told(driver.await) });
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(driver) = &mut self.driver {
            let polled = Pin::new(driver).poll(cx);
            self.driven(polled);
        }
    }

    fn driven(&mut self, polled: Poll<hyper::Result<()>>) {
        if let Poll::Ready(ended) = polled {
            self.driver = None;
            told(ended);
        }
    }
}

fn told(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::trace!(%error, "connection to an agent ended");
    }
}
