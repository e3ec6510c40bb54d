//! A client's body as it comes, and what becomes of its end when nobody asks for that.

use std::time::Duration;

use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

/// A client's body.
///
/// Who knows its length reads no further. On HTTP/2 its end is a frame of its own, which may come later than the agent's answer;
/// by then the stream would be reset (RFC 9113 §8.1 allows that), which not every client takes well.
#[derive(Debug)]
pub(super) struct Upload(pub(super) Option<Incoming>);

/// How long the end of a body that is all there is waited for.
const END: Duration = Duration::from_secs(5);

impl Drop for Upload {
    fn drop(&mut self) {
        let all_there =
            |body: &Incoming| body.size_hint().exact() == Some(0) && !body.is_end_stream();
        let Some(mut rest) = self.0.take().filter(all_there) else {
            return;
        };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(tokio::time::timeout(END, async move {
                while let Some(Ok(_)) = rest.frame().await {}
            }));
        }
    }
}
