//! The bytes of a client's connection: what was read of them already comes first, and what moves is noted.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

use super::asked::Asked;

/// How HTTP/2 begins with prior knowledge (RFC 9113 §3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// See the module.
#[derive(Debug)]
pub(super) struct Wire<S> {
    before: Bytes,
    stream: S,
    asked: Arc<Asked>,
}

impl<S> Wire<S> {
    pub(super) const fn new(stream: S, asked: Arc<Asked>) -> Self {
        Self {
            before: Bytes::new(),
            stream,
            asked,
        }
    }

    /// Has these bytes read before all others.
    pub(super) fn rewind(&mut self, before: Bytes) {
        self.before = before;
    }
}

impl<S: AsyncRead + Unpin> Wire<S> {
    /// Waits until bytes come, which are not lost; `false` at the end.
    ///
    /// # Errors
    /// The connection's.
    pub(super) async fn comes(&mut self) -> io::Result<bool> {
        if self.before.is_empty() {
            let mut bytes = [0; PREFACE.len()];
            let count = self.stream.read(&mut bytes).await?;
            self.before = Bytes::copy_from_slice(bytes.get(..count).unwrap_or_default());
        }
        Ok(!self.before.is_empty())
    }

    /// Whether HTTP/2 begins here.
    ///
    /// # Errors
    /// The connection's.
    pub(super) async fn is_http2(&mut self) -> io::Result<bool> {
        let mut bytes = [0; PREFACE.len()];
        let mut count = 0;
        while let Some(rest) = bytes.get_mut(count..).filter(|rest| !rest.is_empty()) {
            let more = self.stream.read(rest).await?;
            count += more;
            let read = bytes.get(..count).unwrap_or_default();
            if more == 0 || !PREFACE.starts_with(read) {
                break;
            }
        }
        self.before = Bytes::copy_from_slice(bytes.get(..count).unwrap_or_default());
        Ok(*self.before == PREFACE[..])
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.before.is_empty() {
            let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
            if read.is_ready() {
                self.asked.heard();
            }
            return read;
        }
        self.asked.heard();
        let count = self.before.len().min(buffer.remaining());
        buffer.put_slice(self.before.get(..count).unwrap_or_default());
        self.before.advance(count);
        if self.before.is_empty() {
            // Its memory, too.
            self.before = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S> Wire<S> {
    fn wrote(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.asked.write_waits(written.is_pending());
        written
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.asked.write_waits(flushed.is_pending());
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::io::{AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn the_preface_of_http2_is_known_however_it_comes_and_nothing_is_lost() {
        for (text, expected) in [
            (&PREFACE[..], true),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nmore", true),
            (b"PRI * HTTP/1.1\r\n\r\n", false),
            (b"POST / HTTP/1.1\r\n\r\n", false),
            (b"G", false),
            (b"PRI * HTTP/2.0\r\n", false),
            (b"", false),
        ] {
            for piece in [1, 5, 100] {
                let (mut client, ours) = duplex(64);
                let mut wire = Wire::new(ours, Arc::default());
                let sends = async {
                    for piece in text.chunks(piece) {
                        client.write_all(piece).await.unwrap();
                        tokio::task::yield_now().await;
                    }
                    drop(client);
                };
                let (is_http2, ()) = tokio::join!(wire.is_http2(), sends);
                assert_eq!(is_http2.unwrap(), expected);
                let mut all = Vec::new();
                wire.read_to_end(&mut all).await.unwrap();
                assert_eq!(all, text);
            }
        }
    }
}
