//! Several containers' logs as one: whole lines, each behind its container's name.

use std::collections::VecDeque;
use std::convert::Infallible;

use bytes::{Bytes, BytesMut};
use futures::stream::{BoxStream, SelectAll};
use futures::{Stream, StreamExt};
use jiff::Timestamp;

use crate::runtime::{LogChunk, RuntimeError};

/// A line without its end is passed on when it is this long.
const LONGEST_LINE: usize = 1 << 20;

/// One container's log, line by line.
pub(super) struct Source {
    name: String,
    log: BoxStream<'static, Result<LogChunk, RuntimeError>>,
    lines: VecDeque<Bytes>,
    // Standard output and error are written independently of each other; neither may cut the other's lines.
    rest: [BytesMut; 2],
    ended: bool,
}

impl Source {
    pub(super) fn new(name: &str, log: BoxStream<'static, Result<LogChunk, RuntimeError>>) -> Self {
        Self {
            name: name.to_owned(),
            log,
            lines: VecDeque::new(),
            rest: Default::default(),
            ended: false,
        }
    }

    /// The next line with its end; `None` after the last. A log that breaks off says so in its last line.
    async fn next(&mut self) -> Option<Bytes> {
        while self.lines.is_empty() && !self.ended {
            match self.log.next().await {
                Some(Ok(chunk)) => self.take(&chunk),
                Some(Err(error)) => {
                    self.finish();
                    self.lines.push_back(Bytes::from(format!(
                        "agentainer: the log ended early: {error}\n"
                    )));
                }
                None => self.finish(),
            }
        }
        self.lines.pop_front()
    }

    fn take(&mut self, chunk: &LogChunk) {
        let [out, err] = &mut self.rest;
        let rest = if chunk.stderr { err } else { out };
        rest.extend_from_slice(&chunk.bytes);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.lines.push_back(rest.split_to(end + 1).freeze());
        }
        if rest.len() >= LONGEST_LINE {
            rest.extend_from_slice(b"\n");
            self.lines.push_back(rest.split().freeze());
        }
    }

    fn finish(&mut self) {
        self.ended = true;
        for rest in &mut self.rest {
            if !rest.is_empty() {
                rest.extend_from_slice(b"\n");
                self.lines.push_back(rest.split().freeze());
            }
        }
    }
}

/// Lines as they come; for logs that are followed.
pub(super) fn in_order_of_arrival(
    sources: Vec<Source>,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    let mut all = SelectAll::new();
    for source in sources {
        let lines = futures::stream::unfold(source, |mut source| async move {
            let line = source.next().await?;
            Some((Ok(prefixed(&source.name, &line)), source))
        });
        all.push(lines.boxed());
    }
    all
}

/// Lines by their times, which each line begins with and, unless `keep`, does not when it is passed on.
pub(super) fn in_order_of_time(
    sources: Vec<Source>,
    keep: bool,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    let heads: Vec<(Source, Option<Head>)> =
        sources.into_iter().map(|source| (source, None)).collect();
    futures::stream::unfold((heads, false), move |(mut heads, begun)| async move {
        if !begun {
            for (source, head) in &mut heads {
                *head = read_head(source, Timestamp::MIN).await;
            }
        }
        let (source, head) = heads
            .iter_mut()
            .filter(|(_, head)| head.is_some())
            .min_by_key(|(_, head)| head.as_ref().map(|head| head.at))?;
        let Head { at, line, text } = head.take()?;
        let shown = if keep { line } else { text };
        let out = prefixed(&source.name, &shown);
        *head = read_head(source, at).await;
        Some((Ok(out), (heads, true)))
    })
}

struct Head {
    at: Timestamp,
    line: Bytes,
    text: Bytes,
}

/// The next line and its time; one without a time belongs to the line before it.
async fn read_head(source: &mut Source, before: Timestamp) -> Option<Head> {
    let line = source.next().await?;
    let space = line.iter().position(|byte| *byte == b' ');
    let parsed = space.and_then(|space| {
        let stamp = std::str::from_utf8(line.get(..space)?).ok()?;
        Some((stamp.parse::<Timestamp>().ok()?, line.slice(space + 1..)))
    });
    let (at, text) = parsed.unwrap_or_else(|| (before, line.clone()));
    Some(Head { at, line, text })
}

fn prefixed(name: &str, line: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(name.len() + line.len() + 3);
    out.extend_from_slice(b"[");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"] ");
    out.extend_from_slice(line);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(name: &str, pieces: &[(bool, &str)]) -> Source {
        let pieces: Vec<_> = pieces
            .iter()
            .map(|(stderr, text)| {
                Ok(LogChunk {
                    stderr: *stderr,
                    bytes: Bytes::from((*text).to_owned()),
                })
            })
            .collect();
        Source::new(name, futures::stream::iter(pieces).boxed())
    }

    async fn text(stream: impl Stream<Item = Result<Bytes, Infallible>>) -> String {
        let pieces: Vec<Bytes> = stream
            .filter_map(|piece| async { piece.ok() })
            .collect()
            .await;
        String::from_utf8_lossy(&pieces.concat()).into_owned()
    }

    #[tokio::test]
    async fn lines_of_several_are_put_in_the_order_of_their_times() {
        let sources = || {
            vec![
                source(
                    "a-0-1",
                    &[
                        (false, "2026-01-01T00:00:01Z one\n2026-01-01T00:00:03Z thr"),
                        (false, "ee\n"),
                    ],
                ),
                source(
                    "a-1-1",
                    &[
                        (true, "2026-01-01T00:00:02Z two\n"),
                        (false, "2026-01-01T00:00:04Z four"),
                    ],
                ),
            ]
        };
        assert_eq!(
            text(in_order_of_time(sources(), false)).await,
            "[a-0-1] one\n[a-1-1] two\n[a-0-1] three\n[a-1-1] four\n"
        );
        let kept = text(in_order_of_time(sources(), true)).await;
        assert!(
            kept.starts_with("[a-0-1] 2026-01-01T00:00:01Z one\n"),
            "{kept}"
        );
    }

    #[tokio::test]
    async fn output_and_error_never_cut_each_others_lines() {
        let pieces = [(false, "out"), (true, "err\n"), (false, "put\n")];
        let whole = text(in_order_of_arrival(vec![source("x", &pieces)])).await;
        assert_eq!(whole, "[x] err\n[x] output\n");
    }
}
