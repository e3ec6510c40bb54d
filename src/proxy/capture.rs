//! Request bodies in memory: read whole to be kept in the journal, or copied while they pass, in case that no answer comes.
//!
//! All of them together are bounded. A copy that would go over is given up, and the request goes on without it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use parking_lot::Mutex;

use super::body::RequestBody;
use super::patience::BodyError;

/// Of all bodies that are copied or read at once.
const MOST: usize = 64 << 20;

/// The room for all of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Room(Arc<AtomicUsize>);

impl Room {
    fn reserve(&self, bytes: usize) -> bool {
        let more = |used: usize| used.checked_add(bytes).filter(|used| *used <= MOST);
        self.0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, more)
            .is_ok()
    }

    fn release(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// A copy of a body that is about to pass.
    pub(super) fn copy(&self, most: usize) -> Copy {
        Copy(Arc::new(Mutex::new(Pieces {
            room: self.clone(),
            most,
            pieces: Vec::new(),
            length: 0,
            whole: false,
            given_up: false,
        })))
    }
}

#[derive(Debug)]
struct Pieces {
    room: Room,
    most: usize,
    pieces: Vec<Bytes>,
    length: usize,
    whole: bool,
    given_up: bool,
}

impl Pieces {
    fn drop_all(&mut self) {
        self.pieces = Vec::new();
        self.room.release(std::mem::take(&mut self.length));
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        self.drop_all();
    }
}

/// A copy of a body that passes. The pieces are shared with the one that passes, so it costs their time in memory alone.
#[derive(Clone, Debug)]
pub(super) struct Copy(Arc<Mutex<Pieces>>);

impl Copy {
    /// A piece passes.
    pub(super) fn add(&self, piece: &Bytes) {
        let mut all = self.0.lock();
        if all.given_up {
            return;
        }
        if all.length + piece.len() > all.most || !all.room.reserve(piece.len()) {
            drop(all);
            self.give_up();
            return;
        }
        all.length += piece.len();
        all.pieces.push(piece.clone());
    }

    /// The last one has passed.
    pub(super) fn ended(&self) {
        self.0.lock().whole = true;
    }

    /// It is of no use any more.
    pub(super) fn give_up(&self) {
        let mut all = self.0.lock();
        all.given_up = true;
        all.drop_all();
    }

    /// The body, if all of it passed and there was room for it.
    pub(super) fn whole(&self) -> Option<Bytes> {
        let all = self.0.lock();
        (all.whole && !all.given_up).then(|| joined(&all.pieces, all.length))
    }
}

fn joined(pieces: &[Bytes], length: usize) -> Bytes {
    if let [one] = pieces {
        return one.clone();
    }
    let mut whole = BytesMut::with_capacity(length);
    for piece in pieces {
        whole.extend_from_slice(piece);
    }
    whole.freeze()
}

/// Why a body was not read to its end.
#[derive(Debug)]
pub(super) enum Unread {
    /// It is longer than may be kept.
    TooLong,
    /// There is no room for it just now.
    Crowded,
    /// It broke off.
    Broken(BodyError),
}

/// Reads a body to its end, for it to be kept.
pub(super) async fn gather(
    mut body: RequestBody,
    room: &Room,
    most: usize,
) -> Result<Bytes, Unread> {
    if body.size_hint().lower() > most as u64 {
        return Err(Unread::TooLong);
    }
    let copy = room.copy(most);
    let mut length = 0_usize;
    loop {
        let frame = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        let Some(frame) = frame else {
            copy.ended();
            return copy.whole().ok_or(Unread::Crowded);
        };
        // Trailers are not kept.
        let Ok(piece) = frame.map_err(Unread::Broken)?.into_data() else {
            continue;
        };
        length = length.saturating_add(piece.len());
        if length > most {
            return Err(Unread::TooLong);
        }
        copy.add(&piece);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_copy_is_whole_or_none_and_gives_its_room_back() {
        let room = Room::default();
        let used = || room.0.load(Ordering::Acquire);
        let copy = room.copy(5);
        copy.add(&Bytes::from_static(b"ab"));
        assert_eq!(copy.whole(), None, "not ended");
        copy.add(&Bytes::from_static(b"cde"));
        copy.ended();
        assert_eq!(copy.whole().unwrap(), "abcde");
        assert_eq!(used(), 5);
        copy.add(&Bytes::from_static(b"f"));
        assert_eq!((copy.whole(), used()), (None, 0), "longer than it may be");
        drop(copy);
        assert_eq!(used(), 0);
    }

    #[test]
    fn all_copies_together_are_bounded() {
        let room = Room::default();
        let long = Bytes::from(vec![0; MOST]);
        let first = room.copy(MOST);
        first.add(&long);
        let second = room.copy(MOST);
        second.add(&Bytes::from_static(b"x"));
        second.ended();
        assert_eq!(second.whole(), None);
        drop(first);
        let third = room.copy(MOST);
        third.add(&long);
        third.ended();
        assert_eq!(third.whole().unwrap().len(), MOST);
    }
}
