//! The engine's endless answers: one JSON value a line, read as it comes.

use bollard::errors::Error;
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use http::Response;
use http_body_util::BodyDataStream;
use hyper::body::Incoming;
use serde_json::Value;
use tokio_util::codec::{FramedRead, LinesCodec, LinesCodecError};
use tokio_util::io::StreamReader;

/// The longest line: a build prints whole files sometimes.
const LONGEST_LINE: usize = 4 << 20;

/// The lines of an answer. A line that is no JSON is left out.
///
/// # Errors
/// The connection's, after which the stream is over.
pub(super) fn lines(response: Response<Incoming>) -> impl Stream<Item = Result<Value, Error>> {
    let bytes = BodyDataStream::new(response.into_body())
        .map_ok(|bytes: Bytes| bytes)
        .map_err(std::io::Error::other);
    FramedRead::new(
        StreamReader::new(bytes),
        LinesCodec::new_with_max_length(LONGEST_LINE),
    )
    .filter_map(|line| async move {
        match line {
            Ok(line) => serde_json::from_str(&line).ok().map(Ok),
            Err(LinesCodecError::MaxLineLengthExceeded) => None,
            Err(LinesCodecError::Io(err)) => Some(Err(Error::IOError { err })),
        }
    })
}
