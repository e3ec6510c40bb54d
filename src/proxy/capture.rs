//! Request bodies in memory: read whole to be kept in the journal, or copied while they pass, in case that no answer comes.
//!
//! All of them together are bounded. A copy that would go over is given up, and the request goes on without it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
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
    /// It is longer than may be kept; this is all of it.
    TooLong(RequestBody),
    /// There is no room for it just now; this is all of it.
    Crowded(RequestBody),
    /// It broke off.
    Broken(BodyError),
}

/// A body that was read to its end.
#[derive(Debug)]
pub(super) struct Gathered {
    pub(super) bytes: Bytes,
    /// Not kept, but forwarded.
    trailers: Option<HeaderMap>,
}

impl Gathered {
    /// The body to be sent.
    pub(super) fn into_body(self) -> RequestBody {
        match self.trailers {
            None if self.bytes.is_empty() => RequestBody::empty(),
            None => RequestBody::kept(self.bytes),
            trailers => RequestBody::resumed(vec![self.bytes], trailers, RequestBody::empty()),
        }
    }
}

/// Room that is taken; given back when this is dropped.
#[derive(Debug)]
struct Taken(Room, usize);

impl Taken {
    fn more(&mut self, bytes: usize) -> bool {
        let reserved = self.0.reserve(bytes);
        self.1 += if reserved { bytes } else { 0 };
        reserved
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.release(self.1);
    }
}

/// Reads a body to its end, for it to be kept.
pub(super) async fn gather(
    mut body: RequestBody,
    room: &Room,
    most: usize,
) -> Result<Gathered, Unread> {
    if body.size_hint().lower() > most as u64 {
        return Err(Unread::TooLong(body));
    }
    let mut taken = Taken(room.clone(), 0);
    let (mut pieces, mut length) = (Vec::new(), 0_usize);
    let mut trailers = None;
    loop {
        let frame = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        let Some(frame) = frame else {
            let bytes = joined(&pieces, length);
            return Ok(Gathered { bytes, trailers });
        };
        let piece = match frame.map_err(Unread::Broken)?.into_data() {
            Ok(piece) => piece,
            Err(frame) => {
                trailers = frame.into_trailers().ok();
                continue;
            }
        };
        let reserved = taken.more(piece.len());
        length = length.saturating_add(piece.len());
        pieces.push(piece);
        if length > most {
            return Err(Unread::TooLong(RequestBody::resumed(pieces, None, body)));
        }
        if !reserved {
            return Err(Unread::Crowded(RequestBody::resumed(pieces, None, body)));
        }
    }
}

/// The beginning of a body that passes, as much of it as is kept.
#[derive(Debug)]
pub(super) struct Beginning {
    taken: Taken,
    pieces: Vec<Bytes>,
    most: usize,
    /// Whether nothing was left out so far.
    all: bool,
}

impl Room {
    /// The beginning of a body that is about to pass.
    pub(super) fn beginning(&self, most: usize) -> Beginning {
        Beginning {
            taken: Taken(self.clone(), 0),
            pieces: Vec::new(),
            most,
            all: true,
        }
    }
}

impl Beginning {
    /// A piece passes.
    pub(super) fn add(&mut self, piece: &Bytes) {
        if !self.all || piece.is_empty() {
            return;
        }
        let fits = piece.len().min(self.most - self.taken.1);
        self.all = fits == piece.len();
        if fits == 0 {
            return;
        }
        match self.taken.more(fits) {
            true => self.pieces.push(piece.slice(..fits)),
            false => self.all = false,
        }
    }

    /// What is kept, and whether that is all that passed.
    pub(super) fn take(&mut self) -> (Bytes, bool) {
        let pieces = std::mem::take(&mut self.pieces);
        (joined(&pieces, self.taken.1), self.all)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
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
    fn of_a_body_that_passes_the_beginning_is_kept() {
        let room = Room::default();
        let mut beginning = room.beginning(5);
        for piece in ["abc", "", "defg", "h"] {
            beginning.add(&Bytes::from_static(piece.as_bytes()));
        }
        assert_eq!(beginning.take(), (Bytes::from_static(b"abcde"), false));
        drop(beginning);
        let mut all = room.beginning(5);
        all.add(&Bytes::from_static(b"abcde"));
        assert_eq!(all.take(), (Bytes::from_static(b"abcde"), true));
        assert_eq!(room.0.load(Ordering::Acquire), 5);
        drop(all);
        assert_eq!(room.0.load(Ordering::Acquire), 0);
    }

    #[tokio::test]
    async fn a_body_that_cannot_be_kept_is_all_there_still() {
        use http_body_util::BodyExt as _;
        let room = Room::default();
        let pieces = || {
            let pieces = ["ab", "cd"].map(|piece| Bytes::from_static(piece.as_bytes()));
            RequestBody::resumed(pieces.into(), None, RequestBody::empty())
        };
        let Err(Unread::TooLong(body)) = gather(pieces(), &room, 3).await else {
            panic!("4 are more than 3")
        };
        assert_eq!(body.collect().await.unwrap().to_bytes(), "abcd");
        let mut full = room.beginning(MOST);
        full.add(&Bytes::from(vec![0; MOST - 3]));
        let Err(Unread::Crowded(body)) = gather(pieces(), &room, 4).await else {
            panic!("there is room for 3")
        };
        assert_eq!(body.collect().await.unwrap().to_bytes(), "abcd");
        assert_eq!(room.0.load(Ordering::Acquire), MOST - 3);
        drop(full);
        assert_eq!(gather(pieces(), &room, 4).await.unwrap().bytes, "abcd");
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
