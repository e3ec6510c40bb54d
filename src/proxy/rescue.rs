//! A request's body lent to an HTTP/2 connection, to be had back when the agent says that it took nothing of the request.
//!
//! On HTTP/2 a body is on its way before the agent has said a word, and a refusal (REFUSED_STREAM, or a GOAWAY that does not
//! reach as far) may come after its first pieces. It means that nothing was handled (RFC 9113 §8.7), so the request may be sent
//! again, whatever its method: if its body is whole still. Its first pieces are kept for that; of a longer body none.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};
use parking_lot::Mutex;

use super::body::RequestBody;
use super::patience::BodyError;

/// How much of a body is kept while nothing has been answered.
const KEPT: usize = 64 * 1024;

/// A body that is lent: what of it is gone, and the rest.
#[derive(Debug)]
struct Lent {
    /// `None` once it was taken back.
    body: Option<RequestBody>,
    /// What was passed on; `None` once that was too much to keep.
    passed: Option<Pieces>,
    /// Why it ended before its end.
    broke: Option<BodyError>,
}

/// The connection's side: gives the body's pieces.
#[derive(Debug)]
pub(super) struct Loan(Arc<Mutex<Lent>>);

/// Our side: has the body back.
#[derive(Debug)]
pub(super) struct Rescue(Arc<Mutex<Lent>>);

/// Lends a body.
pub(super) fn lend(body: RequestBody) -> (Loan, Rescue) {
    let lent = Arc::new(Mutex::new(Lent {
        body: Some(body),
        passed: Some(Pieces::default()),
        broke: None,
    }));
    (Loan(Arc::clone(&lent)), Rescue(lent))
}

impl Rescue {
    /// The body as it was; `None` when too much of it is gone.
    pub(super) fn take_back(&self) -> Option<RequestBody> {
        let mut lent = self.0.lock();
        let rest = lent.body.take()?;
        let passed = lent.passed.take()?;
        Some(if passed.is_empty() {
            rest
        } else {
            RequestBody::again(Again { passed, rest })
        })
    }

    /// Why the body broke off, when it did: then that was the end of the exchange, and not the agent.
    pub(super) fn broke(&self) -> Option<BodyError> {
        self.0.lock().broke.take()
    }

    /// The exchange has an answer: nothing is kept from now on.
    pub(super) fn give_up(&self) {
        self.0.lock().passed = None;
    }
}

impl Loan {
    pub(super) fn poll_frame(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut lent = self.0.lock();
        let Some(body) = &mut lent.body else {
            return Poll::Ready(Some(Err(BodyError::TakenBack)));
        };
        match std::task::ready!(Pin::new(body).poll_frame(cx)) {
            Some(Ok(frame)) => {
                if lent.passed.as_mut().is_some_and(|kept| !kept.keep(&frame)) {
                    lent.passed = None;
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                lent.broke = Some(error);
                lent.body = None;
                Poll::Ready(Some(Err(BodyError::TakenBack)))
            }
            None => Poll::Ready(None),
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        let lent = self.0.lock();
        lent.body.as_ref().is_some_and(RequestBody::is_end_stream)
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let lent = self.0.lock();
        lent.body
            .as_ref()
            .map_or_else(SizeHint::new, RequestBody::size_hint)
    }
}

/// Pieces of a body in their order.
#[derive(Debug, Default)]
struct Pieces {
    data: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
    size: usize,
}

impl Pieces {
    /// Keeps a copy; `false` when it is too much.
    fn keep(&mut self, frame: &Frame<Bytes>) -> bool {
        if let Some(data) = frame.data_ref() {
            self.size += data.len();
            self.data.push_back(data.clone());
        }
        if let Some(trailers) = frame.trailers_ref() {
            self.trailers = Some(trailers.clone());
        }
        self.size <= KEPT
    }

    fn is_empty(&self) -> bool {
        self.data.is_empty() && self.trailers.is_none()
    }
}

/// A body that was taken back: what was passed on once already, then the rest.
#[derive(Debug)]
pub(super) struct Again {
    passed: Pieces,
    rest: RequestBody,
}

impl Again {
    /// What was read of a body already, and the rest.
    pub(super) fn of(pieces: Vec<Bytes>, trailers: Option<HeaderMap>, rest: RequestBody) -> Self {
        let passed = Pieces {
            size: pieces.iter().map(Bytes::len).sum(),
            data: pieces.into(),
            trailers,
        };
        Self { passed, rest }
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(data) = self.passed.data.pop_front() {
            self.passed.size = self.passed.size.saturating_sub(data.len());
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if let Some(trailers) = self.passed.trailers.take() {
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        Pin::new(&mut self.rest).poll_frame(cx)
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.passed.is_empty() && self.rest.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let rest = self.rest.size_hint().exact();
        let passed = u64::try_from(self.passed.size).unwrap_or(u64::MAX);
        rest.map_or_else(SizeHint::new, |rest| {
            SizeHint::with_exact(rest.saturating_add(passed))
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use http_body_util::BodyExt as _;

    use super::*;

    async fn first(body: &mut RequestBody) -> Bytes {
        body.frame().await.unwrap().unwrap().into_data().unwrap()
    }

    #[tokio::test]
    async fn what_was_passed_on_comes_again_and_the_rest_after_it() {
        let (mut lent, rescue) = RequestBody::kept(Bytes::from_static(b"abc")).lent();
        assert_eq!(lent.size_hint().exact(), Some(3));
        assert_eq!(first(&mut lent).await, "abc");
        let body = rescue.take_back().unwrap();
        assert_eq!(body.size_hint().exact(), Some(3));
        assert!(!body.is_end_stream());
        // The connection that it was lent to gets no more of it.
        assert!(lent.frame().await.unwrap().is_err());
        // And once more.
        let (mut lent, rescue) = body.lent();
        assert_eq!(first(&mut lent).await, "abc");
        let body = rescue.take_back().unwrap();
        assert_eq!(body.collect().await.unwrap().to_bytes(), "abc");
        assert!(rescue.take_back().is_none());
    }

    #[tokio::test]
    async fn of_a_long_body_nothing_is_kept() {
        let long = Bytes::from(vec![0; KEPT + 1]);
        let (mut lent, rescue) = RequestBody::kept(long).lent();
        first(&mut lent).await;
        assert!(rescue.take_back().is_none());
    }

    #[tokio::test]
    async fn nothing_is_kept_once_there_is_an_answer() {
        let (mut lent, rescue) = RequestBody::kept(Bytes::from_static(b"abc")).lent();
        rescue.give_up();
        assert_eq!(first(&mut lent).await, "abc");
        assert!(rescue.take_back().is_none());
    }
}
